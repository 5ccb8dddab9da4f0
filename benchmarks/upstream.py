"""An index far away: it serves a directory, and takes the time of a distance for each answer.

    python upstream.py PORT DELAY_MS DIRECTORY

It speaks as much HTTP as caching proxies need: kept connections, GET, HEAD and `If-None-Match`.
"""

import asyncio
import contextlib
import hashlib
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

JSON = "application/vnd.pypi.simple.v1+json"
COUNT_PATH = "/asked"  # how many other requests there were


class Upstream:
    """The directory, and a count of what was asked."""

    def __init__(self, root: Path, delay_s: float) -> None:
        """Serve *root*, each answer *delay_s* after its request."""
        self._root = root
        self._delay_s = delay_s
        self._asked = 0
        self._read = cache(self._read_file)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection, one after the other."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                first, *lines = head.strip().split("\r\n")
                method, path, _ = first.split()
                pairs = (line.partition(":") for line in lines)
                headers = {name.lower(): value.strip() for name, _, value in pairs}
                if path != COUNT_PATH:
                    self._asked += 1
                    await asyncio.sleep(self._delay_s)
                answer, body = self._answer(path, headers)
                writer.write(answer if method == "HEAD" else answer + body)
                await writer.drain()
        writer.close()

    def _answer(self, path: str, headers: Mapping[str, str]) -> tuple[bytes, bytes]:
        if path == COUNT_PATH:
            return _head(200, {}, len(count := str(self._asked).encode())), count
        found = self._read(path)
        if found is None:
            return _head(404, {}, 0), b""
        fields, body = found
        if headers.get("if-none-match") == fields["ETag"]:
            return _head(304, fields, 0), b""
        return _head(200, fields, len(body)), body

    def _read_file(self, path: str) -> tuple[dict[str, str], bytes] | None:
        file = self._root / path.lstrip("/")
        kind = "application/octet-stream"
        if path.endswith("/"):
            file, kind = file / "index.json", JSON
        if not file.is_file():
            return None
        body = file.read_bytes()
        etag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        return {"Content-Type": kind, "ETag": etag, "Cache-Control": "max-age=600"}, body


def _head(status: int, fields: Mapping[str, str], length: int) -> bytes:
    lines = [f"HTTP/1.1 {status} Status", f"Content-Length: {length}"]
    lines += [f"{name}: {value}" for name, value in fields.items()]
    return "\r\n".join([*lines, "", ""]).encode()


async def main(port: int, delay_ms: float, root: Path) -> None:
    """Serve *root* on loopback until the process is ended."""
    upstream = Upstream(root, delay_ms / 1000)
    async with await asyncio.start_server(upstream.serve, "127.0.0.1", port) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3])))
