"""What the audit log costs a download: the whole registry in this process, without a network.

python benchmarks/profile_audit.py [DOWNLOADS]: prints the processor time of each download with
`audit_downloads` off and on, within the request and with what is written later.
"""

import base64
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import uvloop

from bonded.server.app import Registry, build
from bonded.server.settings import Settings
from corpus import upload_form, versions
from profile_uploads import _assertion, _upload

WARM = 300


async def main(downloads: int) -> None:
    """Download without the log, then with it."""
    for is_on in (False, True):
        with tempfile.TemporaryDirectory() as directory:
            settings = Settings(data_dir=Path(directory), audit_downloads=is_on)
            registry = await build(settings)
            key = json.loads((Path(directory) / "admin-key.json").read_text())
            (wheel,) = versions("demo", 1)
            await _upload(registry, key, [upload_form(wheel)])
            path = f"/my-project/python/demo/{wheel.filename}"
            await _download(registry, key, path, WARM)
            await registry.trail.flush()
            started = time.process_time()
            await _download(registry, key, path, downloads)
            asked = time.process_time() - started
            await registry.trail.flush()
            written = time.process_time() - started
            await registry.close()
        asked_us, written_us = asked / downloads * 1e6, written / downloads * 1e6
        print(f"audit_downloads {is_on}: {asked_us:.0f} µs asked, {written_us:.0f} µs in all")


async def _download(registry: Registry, key: dict[str, str], path: str, times: int) -> None:
    authorization = b"Basic " + base64.b64encode(b"oauth2accesstoken:" + _assertion(key))
    scope = {
        "type": "http",
        "method": "GET",
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1"), (b"authorization", authorization)],
        "path": path,
        "raw_path": path.encode(),
        "client": ("127.0.0.1", 1),
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message.get("status", 200) != 200:
            sys.exit(f"the download was answered {message}")

    for _ in range(times):
        await registry.application(scope, receive, send)


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5000))
