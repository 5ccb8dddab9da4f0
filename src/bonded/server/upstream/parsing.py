"""The two forms of the simple repository API, read into one model (PEP 503, 691)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

import msgspec
import orjson

from bonded.server.core.errors import TooLarge, UpstreamFailed
from bonded.server.core.files import Package
from bonded.server.core.names import PackageName
from bonded.server.upstream.pages import FILES_MAX, EntryReader
from bonded.server.upstream.rules import shown
from bonded.server.upstream.tags import read_tags

ACCEPT = (
    "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, "
    "text/html;q=0.01"
)
"""JSON if there is any: HTML cannot say everything (PEP 691)."""
JSON_MEDIA = "application/vnd.pypi.simple.v1+json"
PARTS_MAX = 2_000_000
"""Of a JSON page: values between commas. An entry has some fifteen."""
PART_LENGTH_MAX = 64 * 1024
"""Of an entry, and of what a page says besides its files; a longer one is left out."""
_HTML = ("application/vnd.pypi.simple.v1+html", "text/html")
_ATTRIBUTES = frozenset(
    (
        *("href", "name", "content", "data-size", "data-upload-time", "data-requires-python"),
        *("data-core-metadata", "data-dist-info-metadata", "data-yanked", "data-provenance"),
    )
)
_NOTHING = msgspec.Raw(b"null")

_log = logging.getLogger("bonded.server.upstream")


class _Page(msgspec.Struct, rename="kebab", gc=False):
    """A JSON page, its parts as they came: what is unknown never becomes an object."""

    files: list[msgspec.Raw]
    meta: msgspec.Raw = _NOTHING
    versions: msgspec.Raw = _NOTHING
    project_status: msgspec.Raw = _NOTHING


_page_decoder = msgspec.json.Decoder(_Page)


def parse_page(
    body: bytes | bytearray, content_type: str, name: PackageName, url: str, seen_at: datetime
) -> Package:
    """Return the package that an upstream's page describes.

    *url* is where the page came from, against which its links are resolved. Takes some
    100 ms for a page of 5,000 files, and a few seconds for the worst of pages: run it in a
    thread.

    Raises:
        UpstreamFailed: it is not a page of the simple repository API.
    """
    parse = _parse_json if check_media(content_type, url) == JSON_MEDIA else _parse_html
    try:
        return parse(body, name, url, seen_at)
    except UpstreamFailed:
        raise
    except TooLarge as error:
        raise UpstreamFailed(f"{shown(url)} is too large a page: {error.message}") from error
    except Exception as error:
        # A boundary: whatever a stranger's page makes a parser do, it is the page's fault.
        _log.exception("The page %s could not be read", url)
        raise UpstreamFailed(f"{shown(url)} could not be read: {type(error).__name__}") from error


def check_media(content_type: str, url: str) -> str:
    """Return the media type of a page.

    Raises:
        UpstreamFailed: it is not one of the simple repository API's.
    """
    media = content_type.partition(";")[0].strip().lower()
    if media in (JSON_MEDIA, *_HTML):
        return media
    raise UpstreamFailed(
        f"{shown(url)} answers with the content type {media[:80]!r}, which is not the simple API's",
        hint="Check that the repository's upstream URL is that of an index, such as …/simple/.",
    )


def _parse_json(body: bytes | bytearray, name: PackageName, url: str, seen_at: datetime) -> Package:
    # Before anything is built: an object of two bytes takes a hundred in memory.
    if body.count(b",") > PARTS_MAX:
        raise TooLarge(f"It has more than {PARTS_MAX} values")
    try:
        page = _page_decoder.decode(body)
    except msgspec.ValidationError as error:
        raise UpstreamFailed(f"{shown(url)} is JSON, but not a page of the simple API") from error
    except msgspec.DecodeError as error:
        raise UpstreamFailed(f"{shown(url)} is not valid JSON: {error}") from error
    meta = _part(page.meta, dict)
    _check_version(meta.get("api-version"), url)
    _check_number(len(page.files))
    reader = EntryReader(name, url, seen_at)
    for raw in page.files:
        entry = _part(raw, dict)
        if isinstance(entry.get("filename"), str):
            _read_entry(reader, entry)
    # Bounded by the number of parts; the versions of many files are longer than one entry.
    versions = _part(page.versions, list, len(body))
    status = _part(page.project_status, dict)
    return reader.package(versions, status.get("status"), status.get("reason"))


def _part(raw: msgspec.Raw, kind: type, length_max: int = PART_LENGTH_MAX) -> Any:
    """Return a part of a page, or an empty one if it is of another *kind*, or too long."""
    found = orjson.loads(memoryview(raw)) if len(memoryview(raw)) <= length_max else None
    return found if isinstance(found, kind) else kind()


def _read_entry(reader: EntryReader, entry: Mapping[str, object]) -> None:
    hashes = entry.get("hashes")
    reader.add(
        filename=str(entry["filename"]),
        url=entry.get("url"),
        hashes=hashes if isinstance(hashes, dict) else {},
        size=entry.get("size"),
        upload_time=entry.get("upload-time"),
        requires_python=entry.get("requires-python"),
        # PEP 714: the newer name wins where both are.
        core_metadata=entry.get("core-metadata", entry.get("dist-info-metadata")),
        yanked=entry.get("yanked") or None,
        provenance=entry.get("provenance"),
    )


def _check_version(said: object, url: str) -> None:
    # A new minor version is readable, a new major one is not (PEP 629).
    if isinstance(said, str) and not said.startswith("1.") and said != "1":
        raise UpstreamFailed(f"{shown(url)} speaks version {said[:20]!r} of the simple API, not 1")


def _parse_html(body: bytes | bytearray, name: PackageName, url: str, seen_at: datetime) -> Package:
    base_url = url
    anchors: list[dict[str, str]] = []
    said: dict[str, str] = {}
    for tag in read_tags(body.decode("utf-8", errors="replace"), _ATTRIBUTES):
        attributes = tag.attributes
        match tag.name:
            case "a" if attributes.get("href"):
                anchors.append(attributes)
                _check_number(len(anchors))
            case "base" if attributes.get("href"):
                base_url = urljoin(url, attributes["href"])
            case "meta" if "content" in attributes:
                said[attributes.get("name", "")] = attributes["content"]
            case _:
                pass
    _check_version(said.get("pypi:repository-version"), url)
    reader = EntryReader(name, base_url, seen_at)
    for anchor in anchors:
        _read_anchor(reader, anchor)
    # A sign-in form or a proxy's notice is HTML too, and must not pass for an empty package.
    if not reader.files and "pypi:repository-version" not in said:
        raise UpstreamFailed(
            f"{shown(url)} is HTML, but not a page of the simple API: it lists no file"
        )
    status, reason = said.get("pypi:project-status"), said.get("pypi:project-status-reason")
    return reader.package((), status, reason)


def _check_number(entries: int) -> None:
    # Left out silently, the rest would be absent.
    if entries > FILES_MAX:
        raise TooLarge(f"It lists more than {FILES_MAX} files")


def _read_anchor(reader: EntryReader, anchor: Mapping[str, str]) -> None:
    url, _, fragment = anchor["href"].partition("#")
    algorithm, _, digest = fragment.partition("=")
    size = anchor.get("data-size", "")
    reader.add(
        # Of the URL, not of the text: installers do so too (standards.md D-11).
        filename=_last_component(url),
        url=url,
        hashes={algorithm: digest} if digest else {},
        # Not in the standard, but uv reads both (standards.md D-23).
        size=int(size) if size.isascii() and size.isdigit() and len(size) < 18 else None,
        upload_time=anchor.get("data-upload-time"),
        requires_python=anchor.get("data-requires-python"),
        core_metadata=_core_metadata(anchor),
        # The attribute alone means yanked (PEP 592).
        yanked=anchor.get("data-yanked"),
        provenance=anchor.get("data-provenance"),
    )


def _last_component(url: str) -> str:
    try:
        return unquote(urlsplit(url).path.rpartition("/")[2])
    except ValueError:
        return ""


def _core_metadata(anchor: Mapping[str, str]) -> object:
    said = anchor.get("data-core-metadata", anchor.get("data-dist-info-metadata"))
    if not said or said == "false":
        return None
    algorithm, _, digest = said.partition("=")
    return {algorithm: digest} if digest else True
