"""Where the time of an upload goes: the whole registry in this process, under cProfile.

python benchmarks/profile_uploads.py [UPLOADS]: prints the packages in which the event
loop's thread spends its time, and the processor time of each upload without the profiler.
"""

import asyncio
import base64
import cProfile
import json
import pstats
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import uvloop
from google.auth import jwt
from google.auth.crypt import RSASigner

from bonded.server.app import Registry, build
from bonded.server.settings import Settings
from corpus import BOUNDARY, upload_form, versions

CLIENTS = 8
# The part of a path after which the package's name comes, or what to call it.
PLACES = ("site-packages/", "bonded/server/")


async def main(uploads: int) -> None:
    """Upload without the profiler, then with it."""
    with tempfile.TemporaryDirectory() as directory:
        registry = await build(Settings(data_dir=Path(directory)))
        key = json.loads((Path(directory) / "admin-key.json").read_text())
        forms = [upload_form(wheel) for wheel in versions("demo", 2 * uploads)]
        started = time.process_time()
        await _upload(registry, key, forms[:uploads])
        print(f"{(time.process_time() - started) / uploads * 1e6:,.0f} µs of processor time each")
        profile = cProfile.Profile()
        profile.enable()
        await _upload(registry, key, forms[uploads:])
        profile.disable()
        await registry.close()
    _show(profile)


async def _upload(registry: Registry, key: dict[str, str], forms: list[bytes]) -> None:
    authorization = b"Basic " + base64.b64encode(b"oauth2accesstoken:" + _assertion(key))
    headers = [
        (b"host", b"127.0.0.1"),
        (b"authorization", authorization),
        (b"content-type", b"multipart/form-data; boundary=" + BOUNDARY),
    ]
    scope = {
        "type": "http",
        "method": "POST",
        "query_string": b"",
        "headers": headers,
        "path": "/my-project/python/",
        "raw_path": b"/my-project/python/",
    }
    waiting = list(forms)

    async def client() -> None:
        while waiting:
            form = waiting.pop()

            async def receive(form: bytes = form) -> dict[str, Any]:
                return {"type": "http.request", "body": form, "more_body": False}

            async def send(message: Any) -> None:
                if message.get("status", 200) != 200:
                    sys.exit(f"the upload was answered {message}")

            await registry.application(scope, receive, send)

    await asyncio.gather(*[client() for _ in range(CLIENTS)])


def _assertion(key: dict[str, str]) -> bytes:
    now = int(time.time())
    claims = {"iss": key["client_email"], "sub": key["client_email"], "iat": now, "exp": now + 3600}
    signer = RSASigner.from_string(key["private_key"], key["private_key_id"])  # type: ignore[no-untyped-call]
    token: bytes = jwt.encode(signer, claims)  # type: ignore[no-untyped-call]
    return token


def _show(profile: cProfile.Profile) -> None:
    spent: Counter[str] = Counter()
    for (file, _, _), (_, _, own, _, _) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        spent[_place(file)] += own
    total = sum(spent.values())
    for place, seconds in spent.most_common(12):
        print(f"{seconds / total:6.1%}  {place}")


def _place(file: str) -> str:
    for marker in PLACES:
        if marker in file:
            return marker.partition("/")[0] + ": " + file.partition(marker)[2].split("/")[0]
    return "built in (sqlite3, hashing, system calls)" if file == "~" else "standard library"


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 600))
