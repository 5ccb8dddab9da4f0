"""Reads an upload's multipart form as a stream: fields into memory, the file into the stage.

The order of parts is the client's business: Poetry sends the digests first,
uv `attestations` after the file (standards.md §2.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from bonded.server.blobs.store import Staged
from bonded.server.core.errors import Rejected, TooLarge
from bonded.server.web.messages import Call, ClientGone

FIELDS_SIZE_MAX_BYTES = 16 * 1024 * 1024
"""All fields but the file: long descriptions and hundreds of requirements fit many times."""
FIELDS_MAX = 4096
VALUE_LENGTH_MAX = 1024
"""Of the fields that are read: names, versions and digests."""
PART_HEADERS_MAX_BYTES = 16 * 1024
FILE_FIELD = "content"


@dataclass(slots=True)
class Form:
    """The fields of a form, in order, and the filename that came with the file."""

    fields: dict[str, list[str]] = field(default_factory=dict)
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
        values = self.fields.get(name, [])
        if len(values) > 1:
            raise Rejected(f"The field {name} is given {len(values)} times")
        value = values[0] if values else ""
        if len(value) > VALUE_LENGTH_MAX:
            raise TooLarge(f"The field {name} is longer than {VALUE_LENGTH_MAX} characters")
        return value


async def read_form(call: Call, staged: Staged) -> Form:
    """Read the whole body of *call*; its file goes to *staged*, at constant memory.

    Raises:
        Rejected: not a form, malformed, or truncated.
        TooLarge: the fields, or the file, are over their limits.
        ClientGone: the client went away.
    """
    reader = _Reader(_boundary(call.headers))
    while True:
        message = await call.receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        for chunk in reader.feed(message.get("body", b"")):
            await staged.write(chunk)
        if not message.get("more_body"):
            return reader.finish()


def _boundary(headers: Mapping[bytes, bytes]) -> bytes:
    kind, options = parse_options_header(headers.get(b"content-type", b""))
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise Rejected(
            "The upload is not multipart/form-data",
            hint="Upload with twine, uv, Poetry, PDM, Hatch or flit.",
        )
    return boundary


class _Reader:
    """Collects what the push parser says. `feed` returns the file's bytes as they come."""

    def __init__(self, boundary: bytes) -> None:
        self._form = Form()
        self._header_name = bytearray()
        self._header_value = bytearray()
        self._headers: dict[str, bytes] = {}
        self._name = ""
        self._value: bytearray | None = None
        self._has_filename = False
        self._file_chunks: list[bytes] = []
        self._size_bytes = 0
        self._parts = 0
        self._is_complete = False
        callbacks = {
            "on_part_begin": self._begin,
            "on_header_field": self._take_header_name,
            "on_header_value": self._take_header_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._open_part,
            "on_part_data": self._take_data,
            "on_part_end": self._end_part,
            "on_end": self._end,
        }
        try:
            self._parser = MultipartParser(boundary, callbacks)  # type: ignore[arg-type]
        except FormParserError as error:
            raise Rejected(f"The form's boundary cannot be used: {error}") from error

    def feed(self, data: bytes) -> list[bytes]:
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise Rejected(f"The upload is not a well-formed form: {error}") from error
        chunks, self._file_chunks = self._file_chunks, []
        return chunks

    def finish(self) -> Form:
        if not self._is_complete:
            raise Rejected("The upload ends before its form does", hint="Upload it again.")
        return self._form

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > FIELDS_MAX:
            raise TooLarge(f"The form has more than {FIELDS_MAX} fields")
        self._headers = {}

    def _take_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]
        self._check_headers()

    def _take_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]
        self._check_headers()

    def _check_headers(self) -> None:
        if len(self._header_name) + len(self._header_value) > PART_HEADERS_MAX_BYTES:
            raise TooLarge(f"A part's header is longer than {PART_HEADERS_MAX_BYTES} bytes")

    def _end_header(self) -> None:
        self._headers[self._header_name.decode("latin-1").lower()] = bytes(self._header_value)
        self._header_name.clear()
        self._header_value.clear()

    def _open_part(self) -> None:
        disposition = self._headers.get("content-disposition", b"")
        _, options = parse_options_header(disposition)
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        filename = options.get(b"filename")
        self._has_filename = filename is not None
        if self._name != FILE_FIELD:
            self._value = bytearray()
            return
        if self._form.filename is not None:
            raise Rejected("The field content is given 2 times")
        if not filename:
            raise Rejected("The field content is not a file")
        self._value = None
        self._form.filename = filename.decode("utf-8", "replace")

    def _take_data(self, data: bytes, start: int, end: int) -> None:
        if self._value is None:
            self._file_chunks.append(data[start:end])
            return
        self._size_bytes += end - start
        if self._size_bytes > FIELDS_SIZE_MAX_BYTES:
            raise TooLarge(f"The form's fields are larger than {FIELDS_SIZE_MAX_BYTES} bytes")
        self._value += data[start:end]

    def _end_part(self) -> None:
        # A detached GPG signature comes as a file; PyPI ignores it too (standards.md §2.1).
        if self._value is None or self._has_filename:
            return
        value = self._value.decode("utf-8", "replace")
        self._form.fields.setdefault(self._name, []).append(value)

    def _end(self) -> None:
        self._is_complete = True
