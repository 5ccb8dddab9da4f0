"""The two forms of the simple repository API, read into one model (PEP 503, 691)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from html.parser import HTMLParser
from urllib.parse import unquote, urljoin, urlsplit

import orjson

from bonded.server.core.errors import UpstreamFailed
from bonded.server.core.files import Package
from bonded.server.core.names import PackageName
from bonded.server.upstream.pages import EntryReader

ACCEPT = (
    "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, "
    "text/html;q=0.01"
)
"""JSON if there is any: HTML cannot say everything (PEP 691)."""
JSON_MEDIA = "application/vnd.pypi.simple.v1+json"
_HTML = ("application/vnd.pypi.simple.v1+html", "text/html")


def parse_page(
    body: bytes, content_type: str, name: PackageName, url: str, seen_at: datetime
) -> Package:
    """Return the package that an upstream's page describes.

    *url* is where the page came from, against which its links are resolved. Takes some
    100 ms for a page of 5,000 files: run it in a thread.

    Raises:
        UpstreamFailed: it is not a page of the simple repository API.
    """
    if check_media(content_type, url) == JSON_MEDIA:
        return _parse_json(body, name, url, seen_at)
    return _parse_html(body, name, url, seen_at)


def check_media(content_type: str, url: str) -> str:
    """Return the media type of a page.

    Raises:
        UpstreamFailed: it is not one of the simple repository API's.
    """
    media = content_type.partition(";")[0].strip().lower()
    if media in (JSON_MEDIA, *_HTML):
        return media
    raise UpstreamFailed(
        f"{url} answers with the content type {media[:80]!r}, which is not the simple API's",
        hint="Check that the repository's upstream URL is that of an index, such as …/simple/.",
    )


def _parse_json(body: bytes, name: PackageName, url: str, seen_at: datetime) -> Package:
    try:
        page = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise UpstreamFailed(f"{url} is not valid JSON: {error}") from error
    if not isinstance(page, dict) or not isinstance(page.get("files"), list):
        raise UpstreamFailed(f"{url} is JSON, but not a page of the simple API")
    meta = page.get("meta")
    _check_version(meta.get("api-version") if isinstance(meta, dict) else None, url)
    reader = EntryReader(name, url, seen_at)
    for entry in page["files"]:
        if isinstance(entry, dict) and isinstance(entry.get("filename"), str):
            _read_entry(reader, entry)
    versions = page.get("versions")
    status = page.get("project-status")
    status = status if isinstance(status, dict) else {}
    return reader.package(
        versions if isinstance(versions, list) else (), status.get("status"), status.get("reason")
    )


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
        raise UpstreamFailed(f"{url} speaks version {said[:20]!r} of the simple API, not 1")


def _parse_html(body: bytes, name: PackageName, url: str, seen_at: datetime) -> Package:
    reader = _HtmlReader(name, url, seen_at)
    reader.feed(body.decode("utf-8", errors="replace"))
    reader.close()
    _check_version(reader.version, url)
    entries = reader.entries()
    # A sign-in form or a proxy's notice is HTML too, and must not pass for an empty package.
    if not entries.files and reader.version is None:
        raise UpstreamFailed(f"{url} is HTML, but not a page of the simple API: it lists no file")
    return entries.package((), reader.status, reader.reason)


class _HtmlReader(HTMLParser):
    """Collects the anchors; the standard library's parser, which stumbles over nothing."""

    def __init__(self, name: PackageName, url: str, seen_at: datetime) -> None:
        super().__init__(convert_charrefs=True)
        self._name, self._url, self._seen_at = name, url, seen_at
        self._base_url = url
        self._anchors: list[dict[str, str | None]] = []
        self.version: str | None = None
        self.status: str | None = None
        self.reason: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take in a tag."""
        attributes = dict(attrs)
        match tag:
            case "a" if attributes.get("href"):
                self._anchors.append(attributes)
            case "base" if attributes.get("href"):
                self._base_url = urljoin(self._url, attributes["href"] or "")
            case "meta":
                self._read_meta(attributes.get("name"), attributes.get("content"))
            case _:
                pass

    def _read_meta(self, name: str | None, content: str | None) -> None:
        match name:
            case "pypi:repository-version":
                self.version = content
            case "pypi:project-status":
                self.status = content
            case "pypi:project-status-reason":
                self.reason = content
            case _:
                pass

    def entries(self) -> EntryReader:
        """Return the files that the anchors name."""
        reader = EntryReader(self._name, self._base_url, self._seen_at)
        for anchor in self._anchors:
            href = anchor["href"] or ""
            url, _, fragment = href.partition("#")
            algorithm, _, digest = fragment.partition("=")
            size = anchor.get("data-size") or ""
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
                yanked=(anchor["data-yanked"] or "") if "data-yanked" in anchor else None,
                provenance=anchor.get("data-provenance"),
            )
        return reader


def _last_component(url: str) -> str:
    try:
        return unquote(urlsplit(url).path.rpartition("/")[2])
    except ValueError:
        return ""


def _core_metadata(anchor: Mapping[str, str | None]) -> object:
    said = anchor.get("data-core-metadata", anchor.get("data-dist-info-metadata"))
    if not said or said == "false":
        return None
    algorithm, _, digest = said.partition("=")
    return {algorithm: digest} if digest else True
