"""What the headers of requests and responses say (RFC 9110)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import aiohttp

from bonded.server.core.errors import UpstreamFailed
from bonded.server.upstream.rules import shown


@dataclass(frozen=True, slots=True)
class Validators:
    """What a conditional request is made with (RFC 9110 §13)."""

    etag: str = ""
    last_modified: str = ""


def conditions(validators: Validators | None) -> dict[str, str]:
    """Return the headers that make a request conditional."""
    if validators is None:
        return {}
    sent = {}
    if validators.etag:
        sent["If-None-Match"] = validators.etag
    if validators.last_modified:
        sent["If-Modified-Since"] = validators.last_modified
    return sent


def confirmed(asked: Validators | None, found: Validators, url: str) -> Validators:
    """Return the validators that a 304 leaves. Raises UpstreamFailed if none was asked for."""
    if not asked or not (asked.etag or asked.last_modified):
        raise UpstreamFailed(f"{shown(url)} answers 304 to a request without conditions")
    return Validators(found.etag or asked.etag, found.last_modified or asked.last_modified)


def header(response: aiohttp.ClientResponse, name: str) -> str:
    """Return a header, "" if it is absent or not printable."""
    value = response.headers.get(name, "")
    return value if value.isprintable() else ""


def expect(response: aiohttp.ClientResponse, *statuses: int) -> None:
    """Raise UpstreamFailed for a status that answers another request than was sent."""
    if response.status not in statuses:
        raise UpstreamFailed(
            f"{shown(str(response.url))} answers with status {response.status}, which was not "
            "asked for"
        )


def expect_file(response: aiohttp.ClientResponse) -> None:
    """Raise UpstreamFailed for a page, such as a sign-in form; no file is of that type."""
    media = header(response, "Content-Type").partition(";")[0].strip().lower()
    if media in ("text/html", "application/xhtml+xml"):
        raise UpstreamFailed(f"{shown(str(response.url))} answers with an HTML page, not the file")


def is_chunked(response: aiohttp.ClientResponse) -> bool:
    """Say whether the body comes in chunks, the last of which says that it is."""
    return "chunked" in header(response, "Transfer-Encoding").lower()


def content_range(response: aiohttp.ClientResponse) -> tuple[int, int]:
    """Return where a part begins, and the size of the whole."""
    said = header(response, "Content-Range").removeprefix("bytes ")
    span, _, size = said.partition("/")
    first = span.partition("-")[0]
    if response.status != 206 or not (first.isdigit() and size.isdigit()):
        raise UpstreamFailed(
            f"{shown(str(response.url))} does not answer with the range that was asked for"
        )
    return int(first), int(size)


def moment(text: str) -> datetime | None:
    """Return the moment that an HTTP date names, in UTC; None if it names none."""
    try:
        found = parsedate_to_datetime(text)
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def with_path_suffix(url: str, suffix: str) -> str:
    """Return *url* with *suffix* behind its path."""
    path, mark, query = url.partition("?")
    return f"{path}{suffix}{mark}{query}"
