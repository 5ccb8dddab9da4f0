"""Which representation a client wants: media type (PEP 691) and content coding (RFC 9110 §12.5)."""

from __future__ import annotations

import enum
from functools import lru_cache

ACCEPT_LENGTH_MAX = 1024
"""A longer Accept header is read as none at all."""


class Media(enum.Enum):
    """The two forms a page has, and the names a client may ask for them by."""

    # Looked up on every request, and Enum's own hash is a Python function.
    __hash__ = object.__hash__

    JSON = "application/vnd.pypi.simple.v1+json"
    HTML = "application/vnd.pypi.simple.v1+html"
    # What browsers and the oldest clients ask for; the same bytes as HTML.
    PLAIN_HTML = "text/html"


class Coding(enum.Enum):
    """Content codings, cheapest to decode first among those that save as much."""

    __hash__ = object.__hash__

    ZSTD = "zstd"
    GZIP = "gzip"
    IDENTITY = "identity"


_EXACT = {
    Media.JSON.value: Media.JSON,
    Media.HTML.value: Media.HTML,
    Media.PLAIN_HTML.value: Media.PLAIN_HTML,
    # PEP 691: `latest` is answered with the version that it stands for.
    "application/vnd.pypi.simple.latest+json": Media.JSON,
    "application/vnd.pypi.simple.latest+html": Media.HTML,
}
_WILD = {
    "*/*": Media.PLAIN_HTML,
    "text/*": Media.PLAIN_HTML,
    "application/*": Media.JSON,
}
# Between equally welcome types, the one that says most.
_RICHNESS = {Media.JSON: 2, Media.HTML: 1, Media.PLAIN_HTML: 0}


def choose_media(accept: bytes) -> Media:
    """Return the best form for an Accept header; text/html where none fits.

    PEP 691 allows 406 there, but installers take 406 as fatal or as an absent
    index, and PyPI answers text/html too (standards.md D-16).
    """
    return Media.PLAIN_HTML if len(accept) > ACCEPT_LENGTH_MAX else _choose_media(accept)


def choose_coding(accept_encoding: bytes) -> Coding:
    """Return the best coding for an Accept-Encoding header; identity where none fits."""
    if len(accept_encoding) > ACCEPT_LENGTH_MAX:
        return Coding.IDENTITY
    return _choose_coding(accept_encoding)


# Kept, for a few clients send the same few headers; what is kept is short.
@lru_cache(maxsize=512)
def _choose_media(accept: bytes) -> Media:
    best: tuple[float, int, Media] = (0.0, -1, Media.PLAIN_HTML)
    for name, quality in _preferences(accept):
        # A wildcard is a last resort: it never beats a type that was named.
        weight = quality if name in _EXACT else quality / 1_000_000
        media = _EXACT.get(name) or _WILD.get(name)
        if media is not None and weight:
            best = max(best, (weight, _RICHNESS[media], media), key=lambda choice: choice[:2])
    return best[2]


@lru_cache(maxsize=512)
def _choose_coding(accept_encoding: bytes) -> Coding:
    qualities = dict(_preferences(accept_encoding))
    best, best_quality = Coding.IDENTITY, 0.0
    for coding in (Coding.ZSTD, Coding.GZIP):
        quality = qualities.get(coding.value, qualities.get("*", 0.0))
        if quality > best_quality:
            best, best_quality = coding, quality
    return best


def _preferences(header: bytes) -> list[tuple[str, float]]:
    preferences = []
    for part in header.decode("latin-1").split(","):
        name, *parameters = (piece.strip() for piece in part.lower().split(";"))
        quality = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    quality = min(max(0.0, float(parameter[2:])), 1.0)
                except ValueError:
                    quality = 0.0
        preferences.append((name, quality))
    return preferences
