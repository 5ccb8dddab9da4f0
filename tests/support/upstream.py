"""A small index that speaks real HTTP on loopback, counts what it is asked, and fails on demand."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import re
import ssl
import threading
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from html import escape
from io import BytesIO
from typing import Any
from urllib.parse import unquote

from packaging.utils import canonicalize_name, parse_sdist_filename, parse_wheel_filename

from support.wheels import Distribution

JSON = "application/vnd.pypi.simple.v1+json"
HTML = "text/html; charset=utf-8"


@dataclass(frozen=True)
class Request:
    """What the index was asked."""

    method: str
    path: str
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Response:
    """What it answers, in full."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    def __bytes__(self) -> bytes:
        headers = {"Content-Length": str(len(self.body)), **self.headers}
        lines = [f"HTTP/1.1 {self.status} Whatever"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "", ""]).encode() + self.body


Fault = Callable[[Request, asyncio.StreamWriter], Awaitable[None]]
"""Does to a request what it likes; the connection is closed afterwards."""


@dataclass
class Index:
    """An index: what is published, how it answers, and what it was asked."""

    port: int = 0
    tls: ssl.SSLContext | None = None
    form: str = JSON
    has_core_metadata: bool = True
    has_ranges: bool = True
    has_etags: bool = True
    algorithm: str = "sha256"
    """Of the digests that it tells; empty: none."""
    changes: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What it says otherwise of a file, by its filename."""
    page_changes: dict[str, Any] = field(default_factory=dict)
    faults: dict[str, Fault] = field(default_factory=dict)
    """By the start of a path."""
    asked: list[Request] = field(default_factory=list)
    published: dict[str, dict[str, Distribution]] = field(default_factory=dict)
    serving: set[asyncio.Task[None]] = field(default_factory=set, repr=False)

    @property
    def url(self) -> str:
        """Where its pages are."""
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}/simple/"

    def publish(self, *distributions: Distribution) -> None:
        """List distributions."""
        for one in distributions:
            if one.filename.endswith(".whl"):
                name: str = parse_wheel_filename(one.filename)[0]
            else:
                name = parse_sdist_filename(one.filename)[0]
            self.published.setdefault(canonicalize_name(name), {})[one.filename] = one

    def paths(self, start: str = "/") -> list[str]:
        """Return the paths asked for, in order, that begin with *start*."""
        return [one.path for one in self.asked if one.path.startswith(start)]

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        task = asyncio.current_task()
        assert task is not None
        self.serving.add(task)
        try:
            await self._serve(reader, writer)
        finally:
            self.serving.discard(task)
            # One that has closed after it was flushed has no loop any more, and fails to abort.
            socket = writer.get_extra_info("socket")
            if socket is not None and socket.fileno() >= 0:
                writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while request := await _read_request(reader):
                self.asked.append(request)
                starts = [start for start in self.faults if request.path.startswith(start)]
                if starts:
                    await self.faults[max(starts, key=len)](request, writer)
                    break
                writer.write(bytes(self.answer(request)))
                await writer.drain()
            writer.close()
            await writer.wait_closed()

    def answer(self, request: Request) -> Response:
        """Answer as a healthy index does."""
        parts = unquote(request.path.partition("?")[0]).strip("/").split("/")
        match parts:
            case ["simple"]:
                return self.listing()
            case ["simple", name] if name in self.published:
                return self._page(name, request)
            case ["files", filename]:
                return self._file(filename, request)
            case _:
                return Response(404, b"there is no such thing")

    def listing(self) -> Response:
        """Return the list of packages."""
        if self.form == JSON:
            projects = [{"name": name} for name in self.published]
            body = json.dumps({"meta": {"api-version": "1.4"}, "projects": projects})
        else:
            links = "".join(f'<a href="{name}/">{name}</a><br>' for name in self.published)
            body = f"<!DOCTYPE html><html><body>{links}</body></html>"
        return Response(200, body.encode(), {"Content-Type": self.form})

    def _page(self, name: str, request: Request) -> Response:
        files = [self.entry(one) for one in self.published[name].values()]
        if self.form == JSON:
            page = {"meta": {"api-version": "1.4"}, "name": name, "files": files}
            body = json.dumps(page | self.page_changes).encode()
        else:
            anchors = "".join(_anchor(entry) for entry in files)
            body = f"<!DOCTYPE html><html><body>{anchors}</body></html>".encode()
        etag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        if self.has_etags and request.headers.get("if-none-match") == etag:
            return Response(304, b"", {"ETag": etag})
        validators = {"ETag": etag} if self.has_etags else {}
        return Response(200, body, {"Content-Type": self.form, **validators})

    def entry(self, distribution: Distribution) -> dict[str, Any]:
        """Return what the page says of a file."""
        digest = (
            hashlib.new(self.algorithm, distribution.data).hexdigest() if self.algorithm else ""
        )
        entry: dict[str, Any] = {
            "filename": distribution.filename,
            "url": f"../../files/{distribution.filename}",
            "hashes": {self.algorithm: digest} if digest else {},
            "size": len(distribution.data),
            "upload-time": "2024-02-03T04:05:06.000007Z",
        }
        if self.has_core_metadata and distribution.filename.endswith(".whl"):
            sha256 = hashlib.sha256(core_metadata_of(distribution)).hexdigest()
            entry["core-metadata"] = {"sha256": sha256}
        changed = entry | self.changes.get(distribution.filename, {})
        return {key: value for key, value in changed.items() if value is not ...}

    def _file(self, filename: str, request: Request) -> Response:
        wheel = filename.removesuffix(".metadata")
        found = [files[wheel] for files in self.published.values() if wheel in files]
        if not found or (filename != wheel and not self.has_core_metadata):
            return Response(404)
        data = found[0].data if filename == wheel else core_metadata_of(found[0])
        headers = {
            "Content-Type": "application/octet-stream",
            "ETag": f'"{hashlib.sha256(data).hexdigest()}"',
            "Last-Modified": "Fri, 03 Feb 2023 04:05:06 GMT",
        }
        wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("range", ""))
        if wanted is None or not self.has_ranges:
            return Response(200, data, headers)
        if wanted[1]:
            start, stop = int(wanted[1]), min(int(wanted[2] or len(data) - 1) + 1, len(data))
        else:
            start, stop = max(len(data) - int(wanted[2]), 0), len(data)
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
        return Response(206, data[start:stop], headers)


def core_metadata_of(distribution: Distribution) -> bytes:
    """Return METADATA of a wheel."""
    with zipfile.ZipFile(BytesIO(distribution.data)) as archive:
        (name,) = [one for one in archive.namelist() if one.endswith(".dist-info/METADATA")]
        return archive.read(name)


def _anchor(entry: Mapping[str, Any]) -> str:
    fragment = "".join(f"#{name}={digest}" for name, digest in entry["hashes"].items())
    attributes = f'href="{escape(entry["url"])}{fragment}"'
    for key, value in entry.items():
        if key in ("yanked", "requires-python") and value not in (False, None):
            attributes += f' data-{key}="{escape("" if value is True else value)}"'
    if core := entry.get("core-metadata"):
        attributes += f' data-core-metadata="sha256={core["sha256"]}"'
    return f"<a {attributes}>{entry['filename']}</a><br>"


async def _read_request(reader: asyncio.StreamReader) -> Request | None:
    head = await reader.readuntil(b"\r\n\r\n") if not reader.at_eof() else b""
    if not head:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    method, path, _ = first.split(" ")
    pairs = (line.partition(":") for line in lines if line)
    return Request(method, path, {name.lower(): value.strip() for name, _, value in pairs})


@asynccontextmanager
async def open_index(**settings: Any) -> AsyncIterator[Index]:
    """Serve an index on this loop."""
    index = Index(**settings)
    server = await asyncio.start_server(index.connected, "127.0.0.1", index.port, ssl=index.tls)
    index.port = server.sockets[0].getsockname()[1]
    try:
        yield index
    finally:
        server.close()
        for task in index.serving:
            task.cancel()
        await asyncio.gather(*index.serving, return_exceptions=True)


@contextmanager
def running_index(**settings: Any) -> Iterator[Index]:
    """Serve an index on a thread of its own, for servers that are other processes."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="index", daemon=True)
    thread.start()
    opened = open_index(**settings)
    index = asyncio.run_coroutine_threadsafe(opened.__aenter__(), loop).result(10)
    try:
        yield index
    finally:
        closing = opened.__aexit__(None, None, None)
        asyncio.run_coroutine_threadsafe(closing, loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def say(response: Response) -> Fault:
    """Answer with this, whatever was asked."""

    async def fault(_request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(bytes(response))
        await writer.drain()

    return fault


async def reset(_request: Request, writer: asyncio.StreamWriter) -> None:
    """Cut the connection with a reset."""
    writer.transport.abort()


def cut(response: Response, keep_bytes: int) -> Fault:
    """Send so much of a response's body, and close."""

    async def fault(_request: Request, writer: asyncio.StreamWriter) -> None:
        whole = bytes(response)
        writer.write(whole[: len(whole) - len(response.body) + keep_bytes])
        await writer.drain()

    return fault


def hang(seconds: float) -> Fault:
    """Say nothing for a while."""

    async def fault(_request: Request, _writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(seconds)

    return fault
