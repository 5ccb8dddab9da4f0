"""Reads an upload's multipart form as a stream: few fields into memory, the file into the stage.

The order of parts is the client's business: Poetry sends the digests first,
uv `attestations` after the file (standards.md §2.1).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass

from multipart import (  # type: ignore[import-untyped]
    MultipartError,
    MultipartSegment,
    ParserLimitReached,
    PushMultipartParser,
    parse_options_header,
)

from bonded.server.blobs.store import Staged
from bonded.server.core.errors import Rejected, TooLarge
from bonded.server.core.files import FILENAME_LENGTH_MAX, Filename
from bonded.server.core.names import PackageName
from bonded.server.web.messages import Call, ClientGone

FIELDS_SIZE_MAX_BYTES = 16 * 1024 * 1024
"""All of a form but the file: long descriptions and hundreds of requirements fit many times.

What is before the first part and after the last (RFC 2046 §5.1.1) counts too.
"""
FIELDS_MAX = 4096
VALUE_LENGTH_MAX = 1024
"""Of the fields that are read: names, versions and digests."""
_VALUE_KEPT_BYTES = 4 * (VALUE_LENGTH_MAX + 1)
"""Enough to see that a value is too long: no character takes more than four (RFC 3629 §3)."""
PART_HEADERS_MAX_BYTES = 16 * 1024
BOUNDARY_LENGTH_MAX = 70
"""RFC 2046 §5.1.1."""
FILE_FIELD = "content"
HEARD_MAX_BYTES = 64 * 1024
"""Of a refused upload: tools send the name long before the file."""


@dataclass(slots=True)
class Form:
    """The fields of a form that are read, and the filename that came with the file."""

    fields: dict[str, list[str]]
    """Each that is read, with its values. One that is not read is not kept, and is a KeyError."""
    filename: str | None = None

    def one(self, name: str) -> str:
        """Return the single value of a field.

        Raises:
            Rejected: it is missing, empty, or given more than once.
        """
        value = self.optional(name)
        if not value:
            raise Rejected(f"The field {name} is missing")
        return value

    def optional(self, name: str) -> str:
        """Return the single value of a field, or "" for none: clients send both (U-3).

        Raises:
            Rejected: it is given more than once.
            TooLarge: it is longer than anything that belongs there.
        """
        values = self.fields[name]
        if len(values) > 1:
            raise Rejected(f"The field {name} is given {len(values)} times")
        value = values[0] if values else ""
        if len(value) > VALUE_LENGTH_MAX:
            raise TooLarge(f"The field {name} is longer than {VALUE_LENGTH_MAX} characters")
        return value


async def read_form(call: Call, staged: Staged, names: Collection[str]) -> Form:
    """Read the whole body of *call*; its file goes to *staged*, at constant memory.

    Of the fields, only those of *names* are kept: descriptions are long.

    Raises:
        Rejected: not a form, malformed, or truncated.
        TooLarge: the fields, or the file, are over their limits.
        ClientGone: the client went away.
    """
    reader = _Reader(_boundary(call.headers), names)
    while True:
        message = await call.receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        for chunk in reader.feed(message.get("body", b"")):
            await staged.write(chunk)
        if not message.get("more_body"):
            return reader.finish()


def _boundary(headers: Mapping[bytes, bytes]) -> str:
    content_type = headers.get(b"content-type", b"").decode("latin-1")
    kind, options = parse_options_header(content_type)
    boundary: str = options.get("boundary", "")
    if kind != "multipart/form-data" or not boundary:
        raise Rejected(
            "The upload is not multipart/form-data",
            hint="Upload with twine, uv, Poetry, PDM, Hatch or flit.",
        )
    if len(boundary) > BOUNDARY_LENGTH_MAX:
        raise Rejected(f"The form's boundary is longer than {BOUNDARY_LENGTH_MAX} characters")
    return boundary


def claimed(name: str, filename: str) -> dict[str, str]:
    """Return what an upload says that it is, as the audit log names it; it may be untrue."""
    said = {"filename": filename[:FILENAME_LENGTH_MAX]} if filename else {}
    with suppress(Rejected):
        package = PackageName.parse(name) if name else Filename.parse(filename).name
        said["package"] = package.normalized
    return said


class Claims:
    """Hears of a refused upload what it says that it is, as far as that comes early."""

    def __init__(self, headers: Mapping[bytes, bytes]) -> None:
        self._reader: _Reader | None = None
        self._left_bytes = HEARD_MAX_BYTES
        with suppress(Rejected):
            self._reader = _Reader(_boundary(headers), ("name",))

    def hear(self, data: bytes) -> None:
        """Take in a part of the body; what is no form says nothing more."""
        if self._reader is None or self._left_bytes <= 0:
            return
        try:
            self._reader.feed(data[: self._left_bytes])
        except (Rejected, TooLarge):
            self._left_bytes = 0
        self._left_bytes -= len(data)

    def found(self) -> dict[str, str]:
        """Return what was heard."""
        if self._reader is None:
            return {}
        form = self._reader.form
        return claimed("".join(form.fields["name"][:1]), form.filename or "")


class _Reader:
    """Collects what the push parser says. `feed` returns the file's bytes as they come."""

    def __init__(self, boundary: str, names: Collection[str]) -> None:
        self.form = Form({name: [] for name in names})
        self._name = ""
        self._value: bytearray | None = bytearray()
        """Of the field that is being read; None while it is the file."""
        self._is_kept = False
        self._size_bytes = 0
        """Of all that came but the file."""
        self._parts = 0
        try:
            self._parser = PushMultipartParser(boundary, max_header_size=PART_HEADERS_MAX_BYTES)
        except MultipartError as error:
            raise Rejected(f"The form's boundary cannot be used: {error}") from error

    def feed(self, data: bytes) -> list[bytes]:
        if not data or self._parser.closed:
            return []
        chunks: list[bytes] = []
        self._size_bytes += len(data)
        try:
            for event in self._parser.parse(data):
                if isinstance(event, MultipartSegment):
                    self._begin(event)
                elif event is None:
                    self._end()
                elif self._value is None:
                    chunks.append(bytes(event))
                    self._size_bytes -= len(event)
                else:
                    self._extend(self._value, event)
        except ParserLimitReached as error:
            raise TooLarge(
                "A part of the form has too many headers, "
                f"or one of more than {PART_HEADERS_MAX_BYTES} bytes"
            ) from error
        except MultipartError as error:
            raise Rejected(f"The upload is not a well-formed form: {error}") from error
        if self._size_bytes > FIELDS_SIZE_MAX_BYTES:
            raise TooLarge(
                f"The form is larger than {FIELDS_SIZE_MAX_BYTES} bytes without its file"
            )
        return chunks

    def finish(self) -> Form:
        try:
            self._parser.close()
        except MultipartError as error:
            raise Rejected(
                "The upload ends before its form does", hint="Upload it again."
            ) from error
        return self.form

    def _begin(self, part: MultipartSegment) -> None:
        self._parts += 1
        if self._parts > FIELDS_MAX:
            raise TooLarge(f"The form has more than {FIELDS_MAX} fields")
        self._name = part.name
        # A detached GPG signature comes as a file; PyPI ignores it too (standards.md §2.1).
        self._is_kept = part.filename is None and part.name in self.form.fields
        if part.name != FILE_FIELD:
            self._value = bytearray()
            return
        if self.form.filename is not None:
            raise Rejected("The field content is given 2 times")
        if not part.filename:
            raise Rejected("The field content is not a file")
        self._value = None
        self.form.filename = part.filename

    def _extend(self, value: bytearray, data: bytes | bytearray) -> None:
        if self._is_kept:
            value += data[: _VALUE_KEPT_BYTES - len(value)]

    def _end(self) -> None:
        if self._value is not None and self._is_kept:
            values = self.form.fields[self._name]
            # That there is a second is enough to know of it.
            values.append("" if values else self._value.decode("utf-8", "replace"))
