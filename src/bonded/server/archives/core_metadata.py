"""The fields of core metadata that an index needs, read without trusting them (PEP 566, PEP 643).

The grammar is that of e-mail headers. It is read here rather than with `email`, which takes ten
times as long over classifiers and descriptions that nobody asked for; the rules for where a
header begins, continues and ends are the same, so installers read the same fields.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from bonded.server.core.errors import Rejected
from bonded.server.core.files import Filename
from bonded.server.core.names import PackageName

FIELD_LENGTH_MAX = 1_000
"""Characters of a field that is parsed; also keeps integers in versions below Python's limit."""
SUMMARY_LENGTH_MAX = 2_000
"""Characters of the summary that are kept: PyPA's limit is 512, old distributions have more."""

_LINE_END = re.compile(r"\r\n|\r|\n")
_HEADER = re.compile(r"([!-9;-~]*):(.*)", re.DOTALL)
_METADATA_VERSION = re.compile(r"([0-9]{1,4})\.[0-9]{1,4}")
_MAJORS = ("1", "2")
_ONCE = frozenset({"metadata-version", "name", "version", "requires-python", "summary"})


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a wheel or sdist says about itself, once it is known to be what its filename says."""

    core_metadata: bytes
    """METADATA (wheel) or PKG-INFO (sdist), exactly as it is in the archive."""
    metadata_version: str
    name: PackageName
    """As its author spells it."""
    summary: str | None
    """One printable line."""
    requires_python: str | None
    """A valid PEP 440 specifier set."""


def read_core_metadata(member: str, data: bytes, filename: Filename) -> Inspection:
    """Read *data*, the contents of *member*, and hold it against the filename.

    Raises:
        Rejected: not UTF-8, a field is missing, repeated or malformed, the major version of the
            format is unknown, or name or version are not the filename's.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise Rejected(f"{member} is not UTF-8 at byte {error.start}") from error
    fields = _fields(member, text)
    name = _name(member, fields, filename)
    _check_version(member, fields, filename)
    return Inspection(
        core_metadata=data,
        metadata_version=_metadata_version(member, fields),
        name=name,
        summary=_summary(fields),
        requires_python=_requires_python(member, fields),
    )


def _fields(member: str, text: str) -> dict[str, str]:
    """Return the fields this module reads, by lower-case name."""
    found: dict[str, str] = {}
    for key, value in _headers(text):
        if key not in _ONCE:
            continue
        if key in found:
            raise Rejected(f"{member} has more than one {key.title()}")
        found[key] = value
    return found


def _headers(text: str) -> Iterator[tuple[str, str]]:
    """Yield every header up to the first line that neither is one nor continues one."""
    key, lines = "", [""]
    for line in _lines(text):
        if line[:1] in (" ", "\t"):
            lines.append(line)
            continue
        if key:
            yield key, " ".join(lines)
        header = _HEADER.fullmatch(line)
        if header is None:
            return
        key, lines = header[1].lower(), [header[2]]
    if key:
        yield key, " ".join(lines)


def _lines(text: str) -> Iterator[str]:
    """Yield line after line, leaving the description unread when the reader stops before it."""
    start = 0
    for end in _LINE_END.finditer(text):
        yield text[start : end.start()]
        start = end.end()
    if start < len(text):
        yield text[start:]


def _required(member: str, fields: dict[str, str], key: str) -> str:
    value = fields.get(key, "").strip()
    if not value:
        raise Rejected(f"{member} has no {key.title()}")
    if len(value) > FIELD_LENGTH_MAX:
        raise Rejected(f"{key.title()} in {member} is longer than {FIELD_LENGTH_MAX} characters")
    return value


def _metadata_version(member: str, fields: dict[str, str]) -> str:
    """Return the version of the format: a new minor is readable, a new major is not (PEP 566)."""
    value = _required(member, fields, "metadata-version")
    parts = _METADATA_VERSION.fullmatch(value)
    if parts is None or parts[1] not in _MAJORS:
        raise Rejected(
            f"Metadata-Version {value[:40]!a} in {member} is not known",
            hint="Versions 1.x and 2.x of the format are.",
        )
    return value


def _name(member: str, fields: dict[str, str], filename: Filename) -> PackageName:
    value = _required(member, fields, "name")
    try:
        name = PackageName.parse(value)
    except Rejected as error:
        raise Rejected(f"Name in {member}: {error.message}", hint=error.hint) from error
    if name != filename.name:
        raise Rejected(f"Name in {member} is {value!a}, but the file is named {filename.text}")
    return name


def _check_version(member: str, fields: dict[str, str], filename: Filename) -> None:
    value = _required(member, fields, "version")
    try:
        version = Version(value)
    except InvalidVersion as error:
        raise Rejected(f"Version in {member} is not a PEP 440 version: {value[:80]!a}") from error
    if version != filename.version:
        raise Rejected(f"Version in {member} is {value!a}, but the file is named {filename.text}")


def _requires_python(member: str, fields: dict[str, str]) -> str | None:
    """Return the specifiers, or None; installers choke on others, so they never get any."""
    if not fields.get("requires-python", "").strip():
        return None
    value = " ".join(_required(member, fields, "requires-python").split())
    try:
        SpecifierSet(value)
    except InvalidSpecifier as error:
        raise Rejected(
            f"Requires-Python in {member} is not a PEP 440 specifier set: {value[:80]!a}"
        ) from error
    return value


def _summary(fields: dict[str, str]) -> str | None:
    """Return the summary as one printable line; it is shown, never obeyed, so it is not refused."""
    text = fields.get("summary", "")[:SUMMARY_LENGTH_MAX]
    printable = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(printable.split()) or None
