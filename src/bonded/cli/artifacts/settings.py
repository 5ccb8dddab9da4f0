"""`bonded artifacts print-settings`: what to paste into a client's configuration."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from bonded.cli.artifacts.hosts import find_hurdle, server_of
from bonded.cli.artifacts.locating import RepositoryPlace, get_repository, locate
from bonded.cli.grammar import Group
from bonded.cli.session import Session, missing, pass_session
from bonded.client import properties, snippets
from bonded.client.accounts import read_key_file
from bonded.client.api import Message
from bonded.client.errors import Misconfigured, Refused


@click.group(cls=Group)
def print_settings() -> None:
    """Print settings for clients of a repository."""


@print_settings.command()
@click.option("--repository", metavar="REPOSITORY", help="The repository.")
@click.option("--location", metavar="LOCATION", help="The repository's location.")
@click.option(
    "--json-key",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A service-account key that the clients are to use.",
)
@click.option(
    "--tool",
    type=click.Choice(list(snippets.TOOLS)),
    help="The client; by default .pypirc and pip.conf.",
)
@click.option(
    "--explicit",
    is_flag=True,
    help="Only for packages whose source names this repository; all others stay with the public "
    "index (uv and Poetry).",
)
@pass_session
def python(
    session: Session,
    repository: str | None,
    location: str | None,
    json_key: Path | None,
    tool: str | None,
    *,
    explicit: bool,
) -> None:
    """Print settings for pip, uv, Poetry, PDM or twine."""
    if explicit and tool not in snippets.EXPLICIT_TOOLS:
        raise Misconfigured(
            f"[--explicit] is for --tool={' and --tool='.join(snippets.EXPLICIT_TOOLS)}.",
            hint="Other tools cannot say that an index is for some packages only.",
        )
    target = find_target(session, repository, location, json_key)
    target = replace(target, is_explicit=explicit)
    if tool == "twine":
        require_uploads(target)
    write = snippets.TOOLS[tool] if tool else snippets.pypirc_and_pip
    click.echo(write(target), nl=False)


def find_target(
    session: Session, repository: str | None, location: str | None, json_key: Path | None
) -> snippets.Target:
    """Return the repository that the line means, as its clients reach it.

    Raises:
        ClientError: nothing says which, it cannot be had, or it holds no packages of Python.
    """
    key_file = None
    if json_key:
        session.key_at_hand = read_key_file(json_key)
        key_file = snippets.KeyFile(str(json_key), session.key_at_hand)
    repository = repository or session.configuration.find(properties.REPOSITORY)
    if repository is None:
        raise missing("repository", properties.REPOSITORY)
    place = locate(session, repository, location)
    found = get_repository(session, place)
    if found.get("format") != "PYTHON":
        raise Misconfigured(f"Invalid repository type {found.get('format')}. Valid type is PYTHON.")
    if hurdle := find_hurdle(session.server, place, found):
        session.say(hurdle)
    published_to = _published_to(session, place, found)
    return snippets.Target(
        *(server_of(session.server, place, found), place.project, place.location),
        *(place.repository, key_file),
        published_to=published_to,
        refusal="" if published_to else _refusal(found),
    )


def require_uploads(target: snippets.Target) -> None:
    """Refuse a repository that takes no uploads, for a tool that does nothing else.

    Raises:
        Misconfigured: it takes none, and shows none that does.
    """
    if target.refusal:
        what, _, hint = target.refusal.partition(". ")
        raise Misconfigured(f"Nothing can be published: {what}.", hint=hint)


def _refusal(repository: Message) -> str:
    """Return why nothing can be published to a repository; nothing if it can."""
    mode = str(repository.get("mode", "")).partition("_")[0].lower()
    if mode not in ("remote", "virtual"):
        return ""
    name = str(repository["name"]).rpartition("/")[2]
    what = "shows no standard repository" if mode == "virtual" else "is a remote repository"
    return f"[{name}] {what}. Publish to a standard one, and print the settings of that."


def _published_to(session: Session, place: RepositoryPlace, repository: Message) -> str:
    """Return the standard repository that shows first in a virtual one, beside it; or nothing."""
    policies = repository.get("virtualRepositoryConfig", {}).get("upstreamPolicies", [])
    beside = f"{place.path.removeprefix('/v1/').rpartition('/')[0]}/"
    for policy in sorted(policies, key=lambda one: -int(one.get("priority", 0))):
        name = str(policy.get("repository", ""))
        if not name.startswith(beside):
            continue
        try:
            mode = session.api.get(f"/v1/{name}").get("mode")
        except Refused:
            # Who may only read the virtual repository publishes nowhere.
            continue
        if mode == "STANDARD_REPOSITORY":
            return name.removeprefix(beside)
    return ""


# The older gcloud's name of the same command.
print_settings.add_command(python, "pypi")
