"""The URLs in a lock file: which they are, and the same file with others in their place.

Nothing but URLs changes, so what is replaced and replaced back is the same to the byte.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)

from bonded.client.errors import Misconfigured

# What follows `#` or `?` in a URL is no part of where a file is.
_URL = re.compile(r"https?://[^\s\"'#?;]+")
_INDEXES = (
    # uv.lock: of a package, and of what depends on one that is there twice.
    re.compile(r'\bname = "(?P<name>[^"]+)"[^{}\[\]]*?source = \{ registry = "(?P<url>[^"]+)" \}'),
    # pylock.toml (PEP 751).
    re.compile(r'\bname = "(?P<name>[^"]+)"[^\[\]]*?\nindex = "(?P<url>[^"]+)"'),
)


@dataclass(frozen=True, slots=True)
class Locked:
    """A file that a lock names by its URL."""

    package: str
    """Normalized."""
    url: str
    index: str
    """Which the package comes from; empty if the lock does not say."""

    @property
    def filename(self) -> str:
        """The last part of its URL."""
        return unquote(self.url.rpartition("/")[2])


def list_locked(text: str) -> list[Locked]:
    """Return the files that a uv.lock, a pylock.toml or requirements name by a URL, in order.

    Raises:
        Misconfigured: it begins like TOML, and is none.
    """
    if not re.search(r"^(?:lock-)?version = ", text, re.MULTILINE):
        return list(_of_requirements(text))
    try:
        data = tomllib.loads(text)
    except ValueError as error:
        raise Misconfigured(f"The lock file cannot be read: {error}.") from error
    return [*_of_tables(data.get("package", ())), *_of_tables(data.get("packages", ()))]


def _of_tables(packages: Iterable[Mapping[str, Any]]) -> Iterator[Locked]:
    for package in packages:
        index = package.get("source", package).get("registry", package.get("index"))
        if index is None and "source" in package:
            # From a checkout, or from another address: no index is asked for it.
            continue
        files = [package.get("sdist"), *package.get("wheels", ())]
        for file in filter(None, files):
            if found := _URL.match(file.get("url", "")):
                yield Locked(canonicalize_name(package["name"]), found[0], index or "")


def _of_requirements(text: str) -> Iterator[Locked]:
    for url in _URL.findall(text):
        if name := _name_in(unquote(urlsplit(url).path.rpartition("/")[2])):
            yield Locked(name, url, "")


def _name_in(filename: str) -> str:
    try:
        if filename.endswith(".whl"):
            return parse_wheel_filename(filename)[0]
        return parse_sdist_filename(filename)[0]
    except (InvalidWheelFilename, InvalidSdistFilename):
        return ""


def replace(text: str, urls: Mapping[str, str], indexes: Mapping[tuple[str, str], str]) -> str:
    """Return *text* with other URLs of files, and of the indexes of packages.

    Args:
        text: a lock file.
        urls: what takes the place of each; those that are not here stay.
        indexes: the same for those of indexes, by the package's normalized name and the URL.
    """
    text = _URL.sub(lambda found: urls.get(found[0], found[0]), text)
    for pattern in _INDEXES:
        text = pattern.sub(lambda found: _with_index(found, indexes), text)
    return text


def _with_index(found: re.Match[str], indexes: Mapping[tuple[str, str], str]) -> str:
    url = found["url"]
    other = indexes.get((canonicalize_name(found["name"]), url), url)
    start, stop = (at - found.start() for at in found.span("url"))
    return found[0][:start] + other + found[0][stop:]


def like(index: str, before: str) -> str:
    """Return *index* with a slash at its end if *before* has one: tools write both."""
    return index.rstrip("/") + ("/" if before.endswith("/") else "")


def file_url(repository: str, locked: Locked) -> str:
    """Return the URL of a file below that of a repository, as its pages have it."""
    return f"{repository}/{locked.package}/{quote(locked.filename)}"
