"""The style sheet and the icon, kept in memory: they change with the version alone."""

from __future__ import annotations

import hashlib
from pathlib import Path

from bonded.server.core.errors import NotFound
from bonded.server.web.messages import Answer, Call, Reply

KEPT_S = 3600
_TYPES = {"style.css": b"text/css; charset=utf-8", "icon.svg": b"image/svg+xml"}


class Static:
    """Answers `/_/static/NAME`."""

    def __init__(self) -> None:
        directory = Path(__file__).parent / "static"
        self._files = {name: (directory / name).read_bytes() for name in _TYPES}

    async def show(self, call: Call) -> Answer:
        """Answer with one file."""
        name = call.params["name"]
        body = self._files.get(name)
        if body is None:
            raise NotFound("There is nothing at this address")
        etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'.encode()
        headers = (
            (b"etag", etag),
            (b"cache-control", f"public, max-age={KEPT_S}".encode()),
            (b"x-content-type-options", b"nosniff"),
        )
        if call.has_already(etag):
            return Reply(304, b"", headers)
        described = (
            (b"content-type", _TYPES[name]),
            (b"content-length", str(len(body)).encode()),
        )
        return Reply(200, body, (*described, *headers))
