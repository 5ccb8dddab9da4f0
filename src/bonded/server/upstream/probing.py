"""Whether an address is that of an index: looked at once, before anybody relies on it.

HTML is the difficulty: a welcome page, a directory listing and a sign-in form are HTML as well
as the list of packages is, and from the wrong one of them every package would be absent.
"""

from __future__ import annotations

import enum
from urllib.parse import unquote, urljoin, urlsplit

from packaging.utils import canonicalize_name

from bonded.server.core.errors import NotFound, UpstreamFailed
from bonded.server.upstream.client import UpstreamClient
from bonded.server.upstream.pages import SUFFIXES
from bonded.server.upstream.parsing import JSON_MEDIA, check_media
from bonded.server.upstream.tags import read_tags

HEAD_SIZE_BYTES = 64 * 1024
"""Of the list of packages: all that is looked at. The public index has some ten MB of it."""
_NAME = "simple/"
"""The end of the address of nearly every index."""


class _Look(enum.Enum):
    """What a page looks like."""

    LIST = enum.auto()
    """It says itself that it is of the simple repository API."""
    LINKS = enum.auto()
    """It is HTML with links to packages."""
    NO_LINKS = enum.auto()
    """It is HTML without: an index that is empty, or anything."""
    OTHER = enum.auto()
    """It is not there, or of another kind."""


async def probe(client: UpstreamClient) -> None:
    """Ask an index for the list of packages, and read no further than its head.

    Raises:
        UpstreamFailed: the index does not answer, refuses us, or is none.
    """
    url = client.index_url
    look = await _look_at(client, url)
    if look in (_Look.LIST, _Look.LINKS):
        return
    is_named = url.endswith(f"/{_NAME}")
    if not is_named and await _is_list(client, url + _NAME):
        raise UpstreamFailed(
            f"{url} is not the address of an index, but {url}{_NAME} is",
            hint=f"Give {url}{_NAME} as the upstream.",
        )
    if look is _Look.NO_LINKS and is_named:
        return
    raise UpstreamFailed(
        f"{url} has no list of packages",
        hint="Check that it is the URL of an index, such as …/simple/. If it is, and has no such "
        "list, create the repository with --disable-remote-validation.",
    )


async def _is_list(client: UpstreamClient, url: str) -> bool:
    try:
        return await _look_at(client, url) in (_Look.LIST, _Look.LINKS)
    except UpstreamFailed:
        # It was a guess: what is told is what the address that was given answers.
        return False


async def _look_at(client: UpstreamClient, url: str) -> _Look:
    try:
        content_type, head = await client.read_head(url, HEAD_SIZE_BYTES)
    except NotFound:
        return _Look.OTHER
    try:
        media = check_media(content_type, url)
    except UpstreamFailed:
        return _Look.OTHER
    if media == JSON_MEDIA:
        # The page of one package is of this type too.
        return _Look.LIST if b'"projects"' in head else _Look.OTHER
    return _look_at_html(head.decode("utf-8", errors="replace"), url, media)


def _look_at_html(page: str, url: str, media: str) -> _Look:
    look = _Look.NO_LINKS
    if media != "text/html":
        return _Look.LIST
    segment = ""
    for tag in read_tags(page, {"name", "href"}):
        if tag.name == "meta" and tag.attributes.get("name") == "pypi:repository-version":
            return _Look.LIST
        if tag.name == "a":
            segment = _below(url, tag.attributes.get("href", ""))
        # The name may be set in a tag of its own, within the link.
        if said := tag.text.strip().rstrip("/"):
            if segment and canonicalize_name(said) == canonicalize_name(segment):
                look = _Look.LINKS
            segment = ""
    return look


def _below(url: str, href: str) -> str:
    """Return the one segment of the path that *href* has more than the page, if it is one.

    It is the name of a package then, unless it is a file, or the index that a welcome page names.
    """
    try:
        path = urlsplit(urljoin(url, href)).path.rstrip("/")
    except ValueError:
        return ""
    parent, _, last = path.rpartition("/")
    segment = unquote(last) if parent == urlsplit(url).path.rstrip("/") else ""
    return "" if segment == _NAME.rstrip("/") or segment.endswith(SUFFIXES) else segment
