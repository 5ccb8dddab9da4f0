"""The start tags of an HTML page, found in one pass over it.

A page comes from a stranger. The standard library's parser is quadratic on what is not closed:
40 kB take it a minute. Parsers that build a tree are quadratic on what is nested: half a mebibyte
of `<div>` takes the fastest of them as long. Anchors need no tree, and here no character is
looked at more than a few times: quantifiers are possessive, and what is not closed ends the page.
"""

from __future__ import annotations

import html
import re
from collections.abc import Container, Iterator
from dataclasses import dataclass

from bonded.server.core.errors import TooLarge

VALUE_LENGTH_MAX = 16_384
"""Of an attribute; a longer one is left out."""
PIECES_MAX = 1_000_000
"""Tags, attributes and comments of one page; a file's anchor has some ten."""

_MARKUP = re.compile(
    r"<(?:(?P<comment>!--)|(?P<close>/?)(?P<name>[A-Za-z][^\s/>]*+)|(?P<other>[!?/]))", re.ASCII
)
# An attribute, or what ends the tag. A quote that is not closed goes on to the end of the page.
_ATTRIBUTE = re.compile(
    r"""[\s/]*+(?:(?P<end>>)|(?P<name>[^\s/>][^\s/>=]*+)
    (?:\s*+=\s*+(?:"(?P<double>[^"]*+)"?|'(?P<single>[^']*+)'?|(?P<bare>[^\s>]*+)))?)""",
    re.ASCII | re.VERBOSE,
)
_COMMENT_END = re.compile(r"--!?>")
_DECLARATION_END = re.compile(">")
# What is in these is text, whatever it looks like.
_RAW_ENDS = {
    name: re.compile(rf"</{name}(?=[\s/>])", re.ASCII | re.IGNORECASE)
    for name in ("script", "style")
}
# A name without a semicolon is none where a query goes on, as in ?a=1&copy=2 (HTML §13.2.5.73).
_REFERENCE = re.compile(
    r"&(?:#(?:[0-9]{1,9}|[xX][0-9A-Fa-f]{1,8});?|[A-Za-z][A-Za-z0-9]{0,31}(?:;|(?![=A-Za-z0-9])))"
)


@dataclass(frozen=True, slots=True)
class Tag:
    """A start tag."""

    name: str
    """In lower case."""
    attributes: dict[str, str]
    """Those that were wanted; one without a value has an empty one."""
    text: str
    """What follows, up to the next tag of whatever kind."""


def read_tags(page: str, wanted: Container[str]) -> Iterator[Tag]:
    """Yield the start tags of *page* with their *wanted* attributes, as a browser finds them.

    Raises:
        TooLarge: the page has more markup than any page needs.
    """
    return _TagReader(page, wanted).read()


class _TagReader:
    def __init__(self, page: str, wanted: Container[str]) -> None:
        self._page = page
        self._wanted = wanted
        self._at = 0
        self._pieces = 0

    def read(self) -> Iterator[Tag]:
        while (found := _MARKUP.search(self._page, self._at)) is not None:
            self._count()
            if found["name"] is None:
                # `<!-->` is a comment already.
                end = _COMMENT_END if found["comment"] else _DECLARATION_END
                self._skip(end, found.start() + 2)
                continue
            attributes = self._read_attributes(found.end())
            if attributes is None:
                return
            if not found["close"]:
                yield self._end(found["name"].lower(), attributes)

    def _end(self, name: str, attributes: dict[str, str]) -> Tag:
        following = self._page.find("<", self._at)
        stop = following if following >= 0 else len(self._page)
        tag = Tag(name, attributes, self._page[self._at : stop])
        if name in _RAW_ENDS:
            self._skip(_RAW_ENDS[name], self._at)
        return tag

    def _skip(self, end: re.Pattern[str], start: int) -> None:
        """Go on behind the next *end*, or past the page if there is none."""
        found = end.search(self._page, start)
        self._at = len(self._page) if found is None else found.end()

    def _read_attributes(self, start: int) -> dict[str, str] | None:
        """Return the wanted attributes of a tag, and go on behind it; None if it does not end."""
        attributes: dict[str, str] = {}
        self._at = start
        while (match := _ATTRIBUTE.match(self._page, self._at)) is not None:
            self._count()
            self._at = match.end()
            if match["end"] is not None:
                return attributes
            name = match["name"].lower()
            if name in self._wanted:
                value = match["double"] or match["single"] or match["bare"] or ""
                if len(value) <= VALUE_LENGTH_MAX:
                    attributes[name] = _REFERENCE.sub(lambda one: html.unescape(one[0]), value)
        return None

    def _count(self) -> None:
        self._pieces += 1
        if self._pieces > PIECES_MAX:
            raise TooLarge(f"It has more than {PIECES_MAX} tags and attributes")
