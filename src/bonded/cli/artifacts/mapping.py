"""`bonded artifacts repositories map`: the URLs in a lock file, of an index or of a repository."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from dataclasses import replace as replaced
from functools import partial
from pathlib import Path

import click
import requests

from bonded.cli.artifacts.locating import locate
from bonded.cli.grammar import Command
from bonded.cli.session import Session, pass_session
from bonded.client.api import Api, Message, segment
from bonded.client.errors import ClientError, Misconfigured, Refused
from bonded.client.lock_urls import Locked, file_url, is_writable, like, list_locked, replace
from bonded.client.whole_files import rewrite

AT_ONCE_MAX = 8
SHOWN_MAX = 20
"""More files that are missing than these help nobody."""


@dataclass(frozen=True, slots=True)
class _Mapping:
    """What becomes of a lock file."""

    urls: Mapping[str, str]
    indexes: Mapping[tuple[str, str], str]
    own: int = 0
    """Files that are in no index but here, and stay."""


@click.command("map", cls=Command)
@click.argument("repository")
@click.option("--location", metavar="LOCATION", help="The repository's location.")
@click.option(
    "-r",
    "--requirement",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    metavar="FILE",
    help="A uv.lock, a pylock.toml, or requirements with URLs. It is changed in place.",
)
@click.option(
    "--to",
    type=click.Choice(["repository", "upstream"]),
    default="repository",
    show_default=True,
    help="Whose URLs the file is to have.",
)
@click.option(
    "--index",
    metavar="URL",
    help="Whose packages are meant, if the file names several indexes.",
)
@pass_session
def map_urls(
    session: Session,
    *,
    repository: str,
    location: str | None,
    file: Path,
    to: str,
    index: str | None,
) -> None:
    """Write the URLs of a lock file anew: from an index to a repository in front of it, or back.

    Hashes stay as they are, and no file need be cached. Of a virtual repository, files of your
    own packages have no other URL, and stay. If one file is not where the lock has it, nothing
    is written.
    """
    place = locate(session, repository, location)
    url = f"{session.server}/{segment(place.project)}/{segment(place.repository)}"
    try:
        # As it is, with the line ends that it has.
        text = file.read_bytes().decode()
    except ValueError as error:
        raise Misconfigured(f"{file} is no text in UTF-8: {error}.") from error
    locked = list_locked(text)
    wanted = _below(locked, url, file) if to == "upstream" else _of_index(locked, url, index, file)
    asked = _ask(session, place.path, sorted({one.package for one in wanted}))
    found = _to_upstream(wanted, asked, url) if to == "upstream" else _to_here(wanted, asked, url)
    rewrite(file, replace(text, found.urls, found.indexes).encode())
    stay = f" {found.own} of your own packages stay." if found.own else ""
    session.say(f"{len(found.urls)} URLs of [{file}] are the {to}'s now.{stay}")


def _below(locked: Sequence[Locked], url: str, file: Path) -> list[Locked]:
    wanted = [one for one in locked if one.url.startswith(f"{url}/")]
    if not wanted:
        raise Misconfigured(f"{file} names no file of {url}/.")
    return wanted


def _of_index(locked: Sequence[Locked], url: str, index: str | None, file: Path) -> list[Locked]:
    elsewhere = [one for one in locked if not one.url.startswith(f"{url}/")]
    indexes = sorted({one.index.rstrip("/") for one in elsewhere})
    chosen = indexes if index is None else [index.rstrip("/")]
    if len(chosen) > 1:
        # Whoever is asked for a name learns it: an index is not to hear of another's.
        raise Misconfigured(
            f"{file} names several indexes: {', '.join(indexes)}.",
            hint="Say with --index=URL which of them the repository stands in front of.",
        )
    wanted = [one for one in elsewhere if one.index.rstrip("/") in chosen]
    if not wanted:
        named = f" of {chosen[0]}" if index is not None else ""
        raise Misconfigured(f"{file} names no file{named} that is not of {url}/ already.")
    return wanted


def _ask(session: Session, path: str, names: Sequence[str]) -> dict[str, Message]:
    # Once before the threads: they then find it in the cache.
    session.tokens.get_token()
    parts = [names[start::AT_ONCE_MAX] for start in range(AT_ONCE_MAX)]
    with ThreadPoolExecutor(AT_ONCE_MAX) as threads:
        answers = threads.map(partial(_ask_some, session, path), parts)
        return {name: answer for part in answers for name, answer in part.items()}


def _ask_some(session: Session, path: str, names: Sequence[str]) -> dict[str, Message]:
    # Of its own: connections are not to be shared by threads.
    with closing(Api(session.server, session.tokens)) as api:
        found = {}
        for name in names:
            try:
                found[name] = api.get(f"{path}/packages/{segment(name)}:listUpstreamFiles")
            except Refused as refusal:
                if refusal.code != requests.codes.not_found:
                    raise
                found[name] = {}
        return found


def _urls(answer: Message) -> dict[str, str]:
    return {one["filename"]: one.get("upstreamUrl", "") for one in answer.get("files", ())}


def _to_upstream(wanted: Sequence[Locked], asked: Mapping[str, Message], url: str) -> _Mapping:
    listed = {name: _urls(answer) for name, answer in asked.items()}
    missing = [one.url for one in wanted if one.filename not in listed[one.package]]
    _refuse(missing, "Nothing is written. These are on no page any more:")
    urls = {one.url: found for one in wanted if (found := listed[one.package][one.filename])}
    _check(wanted, urls)
    here = f"{url}/simple"
    indexes = {
        (one.package, one.index): like(index, one.index)
        for one in wanted
        if one.url in urls
        and one.index.rstrip("/") == here
        and (index := asked[one.package].get("indexUri"))
    }
    odd = sorted({ascii(url) for url in indexes.values() if not is_writable(url)})
    _refuse(odd, "Nothing is written. These indexes are at no URL that a lock file can have:")
    return _Mapping(urls, indexes, len(wanted) - len(urls))


def _check(wanted: Sequence[Locked], urls: Mapping[str, str]) -> None:
    """Refuse URLs that would say something else in a lock file; the index has made them up."""
    odd = [
        f"{one.filename}: {url!a}"
        for one in wanted
        if (url := urls.get(one.url)) is not None
        # Installers take its last part for the filename.
        and not (is_writable(url) and replaced(one, url=url).filename == one.filename)
    ]
    _refuse(odd, "Nothing is written. The index has these at no URL that a lock file can have:")


def _to_here(wanted: Sequence[Locked], asked: Mapping[str, Message], url: str) -> _Mapping:
    listed = {name: _urls(answer) for name, answer in asked.items()}
    missing = [one.url for one in wanted if listed[one.package].get(one.filename) != one.url]
    _refuse(missing, f"Nothing is written. These are not where {url}/ has its files from:")
    urls = {one.url: file_url(url, one) for one in wanted}
    indexes = {
        (one.package, one.index): like(f"{url}/simple", one.index) for one in wanted if one.index
    }
    return _Mapping(urls, indexes)


def _refuse(missing: Sequence[str], why: str) -> None:
    if missing:
        more = [f"… and {len(missing) - SHOWN_MAX} more"] if len(missing) > SHOWN_MAX else []
        raise ClientError(why, hint="\n".join([*missing[:SHOWN_MAX], *more]))
