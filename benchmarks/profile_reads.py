"""What a warm answer costs, by mode: the whole registry in this process, without a network.

python benchmarks/profile_reads.py [REQUESTS] [--profile ROW]: prints the processor time of each
request to a standard repository, and to a remote and a virtual one whose caches are warm.
"""

import argparse
import asyncio
import base64
import cProfile
import json
import pstats
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvloop

from bonded.server.app import Registry, build
from bonded.server.settings import Settings
from corpus import make_wheel, upload_form, versions
from peers import render_page
from profile_uploads import _assertion, _upload
from servers import PAGE_HEADERS
from upstream import Upstream

WARM = 300


async def main(requests: int, profiled: str) -> None:
    """Ask for every kind of answer in every mode."""
    with tempfile.TemporaryDirectory() as directory:
        async with await asyncio.start_server(
            _upstream(Path(directory) / "tree").serve, "127.0.0.1", 0
        ) as server:
            port = server.sockets[0].getsockname()[1]
            settings = Settings(
                data_dir=Path(directory) / "data",
                public_index_url=f"http://127.0.0.1:{port}/simple/",
            )
            registry = await build(settings)
            key = json.loads((settings.data_dir / "admin-key.json").read_text())
            own = (*versions("own", 9), make_wheel("own", "1.9", padding_bytes=20_000))
            await _upload(registry, key, [upload_form(wheel) for wheel in own])
            caller = Caller(registry, key)
            for row, path, headers in _rows():
                if profiled in row:
                    await caller.measure(row, path, headers, requests, is_profiled=bool(profiled))
            await registry.close()


def _upstream(root: Path) -> Upstream:
    wheels = (*versions("public", 9), make_wheel("public", "1.9", padding_bytes=20_000))
    pages = {"simple/public/index.json": render_page("public", list(wheels))}
    for wheel in wheels:
        pages[f"public/{wheel.filename}"] = wheel.content
        pages[f"public/{wheel.filename}.metadata"] = wheel.core_metadata
    for path, content in pages.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    return Upstream(root, 0)


def _rows() -> Iterator[tuple[str, str, dict[str, str]]]:
    for repository, package in (
        ("python", "own"),
        ("pypi", "public"),
        ("all", "own"),
        ("all", "public"),
    ):
        name = f"{repository}, {package}"
        page = f"/my-project/{repository}/simple/{package}/"
        file = f"/my-project/{repository}/{package}/{package}-1.9-py3-none-any.whl"
        yield f"{name}: page", page, PAGE_HEADERS
        yield f"{name}: 304", page, PAGE_HEADERS | {"If-None-Match": "?"}
        yield f"{name}: file", file, {}
        yield f"{name}: .metadata", f"{file}.metadata", {}


class Caller:
    """An installer that calls the application."""

    def __init__(self, registry: Registry, key: dict[str, str]) -> None:
        """Have a credential ready."""
        self._registry = registry
        self._basic = b"Basic " + base64.b64encode(b"oauth2accesstoken:" + _assertion(key))
        self.status = 0
        self.etag = b""

    async def measure(
        self, row: str, path: str, headers: dict[str, str], requests: int, *, is_profiled: bool
    ) -> None:
        """Warm what there is to warm, and print what each further request costs."""
        sent = {name.lower().encode(): value.encode() for name, value in headers.items()}
        sent |= {b"host": b"127.0.0.1", b"authorization": self._basic}
        condition = sent.pop(b"if-none-match", None)
        await self._ask(path, sent, WARM)
        if condition:
            sent[b"if-none-match"] = self.etag
        profile = cProfile.Profile()
        started = time.process_time()
        if is_profiled:
            profile.enable()
        await self._ask(path, sent, requests)
        profile.disable()
        spent_us = (time.process_time() - started) / requests * 1e6
        print(f"{row:28} {self.status} {spent_us:6.1f} µs", flush=True)
        if is_profiled:
            pstats.Stats(profile).sort_stats("tottime").print_stats(40)

    async def _ask(self, path: str, headers: dict[bytes, bytes], times: int) -> None:
        scope = {
            "type": "http",
            "method": "GET",
            "query_string": b"",
            "path": path,
            "raw_path": path.encode(),
            "client": ("127.0.0.1", 1),
        }
        listed = list(headers.items())

        async def receive() -> dict[str, Any]:
            await asyncio.Event().wait()
            return {}

        async def send(message: Any) -> None:
            if "status" in message:
                self.status = message["status"]
                self.etag = dict(message["headers"])[b"etag"]

        for _ in range(times):
            await self._registry.application(scope | {"headers": listed}, receive, send)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("requests", type=int, nargs="?", default=5000)
    parser.add_argument("--profile", default="", metavar="ROW")
    options = parser.parse_args()
    uvloop.run(main(options.requests, options.profile))
