"""The web server that Bonded runs on, with an application that only repeats files.

python benchmarks/bare.py DIRECTORY PORT: what this spends on a request is not ours to save.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvloop
from granian.constants import Interfaces
from granian.server.embed import Server

PAGE_HEADERS = [
    (b"content-type", b"application/vnd.pypi.simple.v1+json"),
    (b"content-encoding", b"gzip"),
    (b"etag", b'"bare"'),
]
FILE_HEADERS = [(b"content-type", b"application/octet-stream")]


def application(directory: Path) -> Callable[..., Any]:
    """Return an ASGI application that answers with the files below *directory*.

    It looks at no credentials, and believes that whatever tag it is asked with is the right one.
    """
    kept: dict[str, tuple[list[tuple[bytes, bytes]], bytes]] = {}

    def read(path: str) -> tuple[list[tuple[bytes, bytes]], bytes]:
        is_page = path.endswith("/")
        file = directory / (f"{path[1:]}index.json.gz" if is_page else path[1:])
        body = file.read_bytes()
        length = (b"content-length", str(len(body)).encode())
        return [*(PAGE_HEADERS if is_page else FILE_HEADERS), length], body

    async def answer(scope: Any, _: Any, send: Any) -> None:
        path, status = scope["path"], 200
        if path not in kept:
            try:
                kept[path] = read(path)
            except OSError:
                kept[path] = [(b"content-length", b"0")], b""
        headers, body = kept[path]
        if not body:
            status = 404
        elif any(name == b"if-none-match" for name, _ in scope["headers"]):
            status, headers, body = 304, PAGE_HEADERS, b""
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return answer


async def _serve(directory: Path, port: int) -> None:
    target = application(directory)
    await Server(
        target,
        address="127.0.0.1",
        port=port,
        interface=Interfaces.ASGINL,
        websockets=False,
        log_enabled=False,
    ).serve()


if __name__ == "__main__":
    uvloop.run(_serve(Path(sys.argv[1]), int(sys.argv[2])))
