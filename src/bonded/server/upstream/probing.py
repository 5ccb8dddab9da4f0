"""Whether an address is that of an index: looked at once, before anybody relies on it.

HTML is the difficulty: a welcome page, a directory listing and a sign-in form are HTML as well
as the list of packages is, and from the wrong one of them every package would be absent.
"""

from __future__ import annotations

import enum
from html.parser import HTMLParser
from urllib.parse import unquote, urljoin, urlsplit

from packaging.utils import canonicalize_name

from bonded.server.core.errors import NotFound, UpstreamFailed
from bonded.server.upstream.client import UpstreamClient
from bonded.server.upstream.pages import SUFFIXES
from bonded.server.upstream.parsing import JSON_MEDIA, check_media

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
    page = _ListReader(url)
    page.feed(head.decode("utf-8", errors="replace"))
    if page.has_version or media != "text/html":
        return _Look.LIST
    return _Look.LINKS if page.has_packages else _Look.NO_LINKS


class _ListReader(HTMLParser):
    """Finds a link to a package: one level below the page, and called what the link says."""

    def __init__(self, url: str) -> None:
        super().__init__(convert_charrefs=True)
        self._url = url
        self._segment = ""
        self.has_version = False
        self.has_packages = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take in a tag."""
        attributes = dict(attrs)
        if tag == "meta" and attributes.get("name") == "pypi:repository-version":
            self.has_version = True
        if tag == "a":
            self._segment = self._below(attributes.get("href") or "")

    def handle_data(self, data: str) -> None:
        """Take in a text: of a link, if its tag came before."""
        said, segment, self._segment = data.strip().rstrip("/"), self._segment, ""
        # Of welcome pages, the link to the index itself.
        is_usual = segment != _NAME.rstrip("/") and not segment.endswith(SUFFIXES)
        if segment and is_usual:
            self.has_packages |= canonicalize_name(said) == canonicalize_name(segment)

    def _below(self, href: str) -> str:
        """Return the one segment of the path that *href* has more than the page, if it is one."""
        try:
            path = urlsplit(urljoin(self._url, href)).path.rstrip("/")
        except ValueError:
            return ""
        parent, _, segment = path.rpartition("/")
        return unquote(segment) if parent == urlsplit(self._url).path.rstrip("/") else ""
