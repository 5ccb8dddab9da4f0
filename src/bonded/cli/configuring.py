"""`bonded auth configure-…`: write what print-settings prints, after showing what would change."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import indent
from typing import Any, TypeVar

import click

from bonded.cli.artifacts.settings import find_target, require_uploads
from bonded.cli.grammar import Command
from bonded.cli.session import Session, pass_session
from bonded.cli.shown_changes import diff
from bonded.client import config_files
from bonded.client.errors import Misconfigured
from bonded.client.netrc_files import find_netrc_losses, set_netrc
from bonded.client.private_files import read_private, write_private

F = TypeVar("F", bound=Callable[..., Any])
Edit = Callable[[str], str]

# What twine knows while no list says otherwise: once there is one, it reads no section beside it.
_TWINE_SERVERS = "pypi testpypi"
_COPIES_MAX = 100


def _options(command: F) -> F:
    """Add the options of every command here."""
    for option in (
        click.option("--file", "path", type=click.Path(path_type=Path), help="Another file."),
        click.option("--location", metavar="LOCATION", help="The repository's location."),
        click.option("--repository", metavar="REPOSITORY", help="The repository."),
    ):
        command = option(command)
    return command


@click.command("configure-pip", cls=Command)
@_options
@click.option(
    "--keyring-provider",
    type=click.Choice(["subprocess", "import"]),
    default="subprocess",
    help="Whether pip runs the keyring command or imports keyring from its own environment.",
)
@pass_session
def configure_pip(
    session: Session,
    repository: str | None,
    location: str | None,
    path: Path | None,
    keyring_provider: str,
) -> None:
    """Point pip at a repository, with tokens from keyring."""
    target = find_target(session, repository, location, None)
    url = target.index_url
    if keyring_provider == "subprocess":
        # pip runs the command only for a user name that it knows (standards.md §3.1).
        url = url.replace("://", f"://{target.user}@", 1)

    def edit(text: str) -> str:
        text = config_files.set_option(text, "global", "index-url", url)
        text = config_files.set_option(text, "global", "keyring-provider", keyring_provider)
        if not target.is_insecure:
            return text
        host = target.server.partition("//")[2]
        return config_files.add_word(text, "global", "trusted-host", host)

    _change(session, path or _pip_path(session), edit, find_rivals=config_files.find_pip_rivals)


@click.command("configure-uv", cls=Command)
@_options
@pass_session
def configure_uv(
    session: Session, repository: str | None, location: str | None, path: Path | None
) -> None:
    """Point uv at a repository, with tokens from the keyring command."""
    target = find_target(session, repository, location, None)
    index = {
        "name": target.repository,
        "url": target.index_url,
        **({} if target.refusal else {"publish-url": target.upload_url}),
        "default": True,
        "authenticate": "always",
    }
    path = path or _config_home(session) / "uv" / "uv.toml"
    _change(
        session,
        path,
        lambda text: config_files.set_uv_index(text, index),
        find_rivals=lambda text: config_files.find_uv_rivals(text, target.repository),
    )
    command = f"uv publish --index {target.repository} --username {target.user}"
    session.say(f"Publish: {target.refusal or command}")


@click.command("configure-twine", cls=Command)
@_options
@pass_session
def configure_twine(
    session: Session, repository: str | None, location: str | None, path: Path | None
) -> None:
    """Name a repository in .pypirc, with tokens from keyring."""
    target = find_target(session, repository, location, None)
    require_uploads(target)

    def edit(text: str) -> str:
        text = config_files.add_word(
            text, "distutils", "index-servers", target.repository, absent=_TWINE_SERVERS
        )
        text = config_files.set_option(text, target.repository, "repository", target.upload_url)
        return config_files.set_option(text, target.repository, "username", target.user)

    _change(
        session,
        path or _home(session) / ".pypirc",
        edit,
        find_rivals=lambda text: config_files.find_pypirc_rivals(text, target.repository),
    )
    session.say(f"Publish: twine upload --repository {target.repository} dist/*")


@click.command("configure-netrc", cls=Command)
@_options
@click.option(
    "--json-key",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A service-account key to write instead of a token.",
)
@pass_session
def configure_netrc(
    session: Session,
    repository: str | None,
    location: str | None,
    path: Path | None,
    json_key: Path | None,
) -> None:
    """Write a credential into netrc, for tools that know no keyring."""
    target = find_target(session, repository, location, json_key)
    password = target.key_file.password if target.key_file else session.tokens.get_token().secret
    name = "_netrc" if sys.platform == "win32" else ".netrc"
    chosen = path or Path(session.environment.find("NETRC") or _home(session) / name)
    _change(
        session,
        chosen,
        lambda text: set_netrc(text, target.host, target.user, password),
        find_losses=lambda text: find_netrc_losses(text, target.host, target.user),
        hides_text=True,
    )
    session.say(f"WARNING: {chosen} holds a secret now, for every port of {target.host}.")
    if not target.key_file:
        session.say("It is a token and expires within the hour: run the command again then.")


def _change(
    session: Session,
    path: Path,
    edit: Edit,
    *,
    find_rivals: Callable[[str], tuple[str, ...]] = lambda _: (),
    find_losses: Callable[[str], tuple[str, ...] | None] = lambda _: (),
    hides_text: bool = False,
) -> None:
    """Show what *edit* changes in the file at *path*, ask, keep a copy and write.

    *find_rivals* says what in the new text is in the way of ours, and *find_losses* what of the old
    one is in no other place; None if nothing is lost but what we wrote, so that no copy is kept.

    Raises:
        Misconfigured: the file is one that *edit* cannot change, or the answer is no.
    """
    # What a link points at is changed, not the link.
    path = path.expanduser().resolve()
    if path.exists() and not path.is_file():
        # PIP_CONFIG_FILE is often the null device, which must not become a file.
        raise Misconfigured(f"{path} is no file.", hint="Say with --file which one to write.")
    old = read_private(path)
    new = _edited(path, old or "", edit, hides_text=hides_text)
    losses = find_losses(old or "")
    for each in (*find_rivals(new), *(losses or ())):
        session.say(f"WARNING: {each}")
    if new == old:
        session.say(f"{path} is as it should be.")
        return
    if hides_text:
        session.say(f"{path}: one entry is written; its secrets are not shown.")
    else:
        session.say(diff(old or "", new, path))
    session.confirm(f"\n{path} will be {'created' if old is None else 'changed'}.")
    mode = None if old is None or hides_text else path.stat().st_mode & 0o777
    kept = "" if old is None or losses is None else f" The old one is {_keep(path, old).name}."
    write_private(path, new)
    if mode is not None:
        path.chmod(mode)
    session.say(f"Wrote {path}.{kept}")


def _keep(path: Path, old: str) -> Path:
    """Write the *old* text of *path* beside it, over no copy that was kept before.

    Raises:
        Misconfigured: it cannot be written, or there are too many copies.
    """
    for number in range(1, _COPIES_MAX + 1):
        copy = path.with_name(f"{path.name}.bak{number if number > 1 else ''}")
        if not os.path.lexists(copy):
            write_private(copy, old)
            return copy
        if copy.is_file() and read_private(copy) == old:
            return copy
    raise Misconfigured(
        f"{_COPIES_MAX} copies of {path} are kept already, as {path.name}.bak and so on.",
        hint="Nothing was changed. Remove those that you do not need.",
    )


def _edited(path: Path, old: str, edit: Edit, *, hides_text: bool) -> str:
    """Return what *edit* makes of *old*.

    Raises:
        Misconfigured: it is for a person to change; what the file must say then is shown.
    """
    try:
        return edit(old)
    except Misconfigured as error:
        by_hand = indent(edit(""), "  ")
        if hides_text:
            by_hand = re.sub(r"(password) \S+", r"\1 …", by_hand)
        raise Misconfigured(
            f"Cannot change {path}. {error.message}",
            hint=f"{error.hint} Nothing was changed. By hand, have it say:\n\n{by_hand}".strip(),
        ) from error


def _home(session: Session) -> Path:
    return Path(session.environment.find("HOME", "USERPROFILE") or "~").expanduser()


def _config_home(session: Session) -> Path:
    """Return where the user's settings are; unlike most, uv and pip use the same on macOS."""
    chosen = session.environment.find("APPDATA" if sys.platform == "win32" else "XDG_CONFIG_HOME")
    return Path(chosen) if chosen else _home(session) / ".config"


def _pip_path(session: Session) -> Path:
    """Return the file that pip reads for this user."""
    if chosen := session.environment.find("PIP_CONFIG_FILE"):
        return Path(chosen)
    if sys.platform == "win32":
        return _config_home(session) / "pip" / "pip.ini"
    older = _home(session) / "Library" / "Application Support" / "pip"
    if sys.platform == "darwin" and older.is_dir():
        return older / "pip.conf"
    return _config_home(session) / "pip" / "pip.conf"
