"""`bonded artifacts repositories refresh` and `prefetch`: the caches of remote repositories."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import click

from bonded.cli.artifacts.locating import locate
from bonded.cli.grammar import Command
from bonded.cli.session import Session, pass_session
from bonded.client.api import segment
from bonded.client.errors import ClientError, Refused
from bonded.client.index import Index
from bonded.client.wanted import Wanted, choose, read_wanted

AT_ONCE_MAX = 8
BYTES_PER_MB = 1024 * 1024
LOCATION = click.option("--location", metavar="LOCATION", help="The repository's location.")


@click.command(cls=Command)
@click.argument("repository")
@LOCATION
@click.option("--package", metavar="NAME", help="Only this package; all by default.")
@pass_session
def refresh(
    session: Session, *, repository: str, location: str | None, package: str | None
) -> None:
    """Have a remote repository ask its upstream before its next answers."""
    place = locate(session, repository, location)
    path = f"{place.path}/packages/{segment(package)}" if package else place.path
    answer = session.api.post(f"{path}:refresh", {})
    pages = "1 page" if answer["pages"] == 1 else f"{answer['pages']} pages"
    session.say(f"{pages} of [{place.repository}] will be asked for again.")


@click.command(cls=Command)
@click.argument("repository")
@LOCATION
@click.option(
    "-r",
    "--requirement",
    "files",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    required=True,
    metavar="FILE",
    help="A requirements.txt, uv.lock or pylock.toml. May be given several times.",
)
@click.option(
    "--all-platforms",
    is_flag=True,
    help="Every file of a version, or that the lock names; by default those for this interpreter.",
)
@pass_session
def prefetch(
    session: Session,
    *,
    repository: str,
    location: str | None,
    files: tuple[Path, ...],
    all_platforms: bool,
) -> None:
    """Have a repository fetch what a lock or requirements file names, and say what is missing.

    Nothing is resolved: give a lock file, or requirements with every dependency.
    """
    place = locate(session, repository, location)
    wanted = list(dict.fromkeys(one for path in files for one in read_wanted(path)))
    url = f"{session.server}/{segment(place.project)}/{segment(place.repository)}"
    index = Index(session.server, url, session.tokens)
    # Once before the threads: they then find it in the cache.
    session.tokens.get_token()
    fetch = partial(_fetch, index, every_platform=all_platforms)
    count, size, missing = 0, 0, []
    with ThreadPoolExecutor(AT_ONCE_MAX) as threads:
        for one, result in zip(wanted, threads.map(fetch, wanted), strict=True):
            if isinstance(result, str):
                missing.append(f"{one}: {result}")
            else:
                count, size = count + len(result), size + sum(result)
    session.say(f"{count} files ({size / BYTES_PER_MB:.1f} MB) are in [{place.repository}].")
    if missing:
        session.say(f"Missing, {len(missing)} of {len(wanted)}:")
        for line in missing:
            print(line)
        sys.exit(1)


def _fetch(index: Index, wanted: Wanted, *, every_platform: bool) -> list[int] | str:
    """Return the sizes of the files that were fetched, or why there are none."""
    try:
        listed = index.list_files(wanted.name)
        chosen = choose(wanted, listed, every_platform=every_platform)
        if not chosen:
            return "no file fits"
        return [index.pull(wanted.name, filename) for filename in chosen]
    except Refused as error:
        return str(error)
    except ClientError as error:
        return f"{error}"
