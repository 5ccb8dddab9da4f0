"""The URLs in a lock file: which they are, and the same file with others in their place.

Nothing but URLs changes, so what is replaced and replaced back is the same to the byte; and who
reads the file finds nothing else changed, whatever was to take a URL's place.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from dataclasses import replace as replaced
from typing import Any, TypeVar
from urllib.parse import quote, unquote, urlsplit

from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)

from bonded.client.errors import ClientError, Misconfigured

# What follows `#` or `?` in a URL is no part of where a file is.
_URL = re.compile(r"https?://[^\s\"'#?;]+")
# What RFC 3986 lets a URL have, of that. No quotation mark, space, backslash or brace is among it:
# in a lock file they end a string, begin an option, or name a variable.
_WRITABLE_URL = re.compile(r"https?://[A-Za-z0-9._~:/\[\]@!$&()*+,=%-]+")
_INDEXES = (
    # uv.lock: of a package, and of what depends on one that is there twice.
    re.compile(r'\bname = "(?P<name>[^"]+)"[^{}\[\]]*?source = \{ registry = "(?P<url>[^"]+)" \}'),
    # pylock.toml (PEP 751).
    re.compile(r'\bname = "(?P<name>[^"]+)"[^\[\]]*?\nindex = "(?P<url>[^"]+)"'),
)

_Table = dict[str, Any]
_Kind = TypeVar("_Kind")
_KINDS: Mapping[type, str] = {dict: "table", list: "list", str: "string"}


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


def is_writable(url: str) -> bool:
    """Say whether *url* means nothing but itself wherever a lock file has a URL."""
    return _WRITABLE_URL.fullmatch(url) is not None


def list_locked(text: str) -> list[Locked]:
    """Return the files that a uv.lock, a pylock.toml or requirements name by a URL, in order.

    Raises:
        Misconfigured: it begins like TOML, and is none, or no lock file.
    """
    return list(_of_tables(_parse(text)) if _is_toml(text) else _of_requirements(text))


def _is_toml(text: str) -> bool:
    return re.search(r"^(?:lock-)?version = ", text, re.MULTILINE) is not None


def _parse(text: str) -> _Table:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise _unreadable(str(error)) from error


def _of_tables(lock: _Table) -> Iterator[Locked]:
    for package in [*_tables(lock, "package"), *_tables(lock, "packages")]:
        source = _part(package, "source", dict, {})
        index = _part(source, "registry", str, "") or _part(package, "index", str, "")
        if not index and "source" in package:
            # From a checkout, or from another address: no index is asked for it.
            continue
        sdist = _part(package, "sdist", dict, {})
        for file in [sdist, *_tables(package, "wheels")]:
            if found := _URL.match(_part(file, "url", str, "")):
                name = _part(package, "name", str, "")
                if not name:
                    raise _unreadable(f"the package of {found[0]} has no name")
                yield Locked(canonicalize_name(name), found[0], index)


def _tables(table: _Table, key: str) -> list[_Table]:
    found = _part(table, key, list, [])
    if not all(isinstance(one, dict) for one in found):
        raise _unreadable(f"{key} has what is no table")
    return found


def _part(table: _Table, key: str, kind: type[_Kind], default: _Kind) -> _Kind:
    found = table.get(key, default)
    if not isinstance(found, kind):
        raise _unreadable(f"{key} is not a {_KINDS[kind]}")
    return found


def _unreadable(why: str) -> Misconfigured:
    return Misconfigured(
        f"The lock file cannot be read: {why}.", hint="Have the tool that wrote it write it anew."
    )


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

    Raises:
        ClientError: whoever reads it would find more changed than URLs.
    """
    changed = _URL.sub(lambda found: urls.get(found[0], found[0]), text)
    for pattern in _INDEXES:
        changed = pattern.sub(lambda found: _with_index(found, indexes), changed)
    wanted = [replaced(one, url=urls.get(one.url, one.url), index="") for one in list_locked(text)]
    if not _is(changed, wanted, _rest(text)):
        raise ClientError(
            "Nothing is written: with the other URLs, more than URLs would be another.",
            hint="Have the tool that wrote the lock file write it anew with the other index.",
        )
    return changed


def _is(text: str, locked: list[Locked], rest: object) -> bool:
    try:
        found = [replaced(one, index="") for one in list_locked(text)]
        return found == locked and _rest(text) == rest
    except Misconfigured:
        return False


def _rest(text: str) -> object:
    """Return all but the URLs, as whoever reads it finds it."""
    # By lines as pip's: a form feed ends one too.
    return _without_urls(_parse(text) if _is_toml(text) else text.splitlines())


def _without_urls(part: object) -> object:
    match part:
        case dict():
            return {key: _without_urls(each) for key, each in part.items()}
        case list():
            return [_without_urls(each) for each in part]
        case str():
            return _URL.sub("", part)
        case _:
            return part


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
