"""Writes an answer to the connection, at constant memory."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

from bonded.server.blobs.reading import read_cached
from bonded.server.blobs.staging import disk_errors
from bonded.server.core.errors import Unavailable
from bonded.server.core.files import InMemory, OnDisk, Streamed
from bonded.server.web.messages import Answer, ClientGone, ContentReply, Receive, Reply, Scope, Send

CHUNK_SIZE_BYTES = 32 * 1024
"""The server queues several of them for a client that is slow."""


async def send_answer(answer: Answer, scope: Scope, receive: Receive, send: Send) -> None:
    """Send *answer*; for HEAD, only its status and headers.

    Raises:
        ClientGone: the client went away before it had everything.
        Unavailable: the contents could not be read to their end.
    """
    await send(
        {"type": "http.response.start", "status": answer.status, "headers": list(answer.headers)}
    )
    if isinstance(answer, Reply):
        body = b"" if scope["method"] == "HEAD" else answer.body
        await send({"type": "http.response.body", "body": body})
    elif scope["method"] == "HEAD":
        await send({"type": "http.response.body", "body": b""})
    else:
        await _send_content(answer, scope, receive, send)


async def _send_content(reply: ContentReply, scope: Scope, receive: Receive, send: Send) -> None:
    match reply.content:
        case InMemory(data):
            body = data if reply.status == 200 else data[reply.start : reply.stop]
            await send({"type": "http.response.body", "body": body})
        case OnDisk(path) if reply.status == 200 and _can_send_paths(scope):
            await send({"type": "http.response.pathsend", "path": str(path)})
        case OnDisk(path):
            await _send_chunks(_read_file(path, reply.start, reply.stop), receive, send)
        case Streamed(_, read):
            await _send_chunks(read(reply.start, reply.stop), receive, send)


def _can_send_paths(scope: Scope) -> bool:
    return "http.response.pathsend" in (scope.get("extensions") or {})


async def _send_chunks(chunks: AsyncIterator[bytes], receive: Receive, send: Send) -> None:
    # Nothing else says that the client has gone: what is sent to nobody is swallowed.
    gone = asyncio.ensure_future(_leaving(receive))
    try:
        async for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            # Neither reading nor sending need wait for anything: without this, nobody is told.
            await asyncio.sleep(0)
            if gone.done():
                raise ClientGone
        await send({"type": "http.response.body", "body": b""})
    finally:
        gone.cancel()


async def _leaving(receive: Receive) -> None:
    """Return when the client has gone; its request, though empty, is told of before that."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _read_file(path: Path, start: int, stop: int) -> AsyncIterator[bytes]:
    with disk_errors("a download"):
        descriptor = await asyncio.to_thread(os.open, path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        while start < stop:
            wanted = min(CHUNK_SIZE_BYTES, stop - start)
            chunk = read_cached(descriptor, start, start + wanted)
            if chunk is None:
                with disk_errors("a download"):
                    chunk = await asyncio.to_thread(os.pread, descriptor, wanted, start)
            if not chunk:
                raise Unavailable(f"The blob {path.name} is damaged: it ends at {start} bytes")
            start += len(chunk)
            yield chunk
    finally:
        os.close(descriptor)
