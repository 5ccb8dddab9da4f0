"""`bonded components`: gcloud updates itself, Bonded is updated by whatever installed it."""

from __future__ import annotations

import json
import shlex
import sys
from importlib.metadata import Distribution, distribution
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

import click

from bonded import __version__
from bonded.cli.grammar import Group
from bonded.cli.session import Session, pass_session

_MODULES_OF_EXTRAS = {"keyring": "keyring", "server": "granian"}


@click.group(cls=Group)
def components() -> None:
    """Show how this installation is kept up to date."""


@components.command()
@pass_session
def update(session: Session) -> None:
    """Say how this installation is upgraded; nothing is changed."""
    command = upgrade_command(distribution("bonded"), Path(sys.prefix))
    session.say(f"This is Bonded {__version__}. It does not update itself. To upgrade it, run:\n")
    click.echo(f"  $ {command}")
    if "SOURCE" in command:
        # Never the bare name: where nobody holds it for us, it may be anybody's.
        session.say(
            "\nSOURCE is a checkout of Bonded, or a newer wheel of it, from where you had this one."
        )


def upgrade_command(installed: Distribution, prefix: Path) -> str:
    """Return the command of the tool that made the installation below *prefix*."""
    # PEP 610: where it came from, if not from an index.
    origin = json.loads(installed.read_text("direct_url.json") or "{}")
    checkout = unquote(urlsplit(origin["url"]).path) if "dir_info" in origin else ""
    pull = f"git -C {shlex.quote(checkout)} pull" if checkout else ""
    if origin.get("dir_info", {}).get("editable"):
        return pull
    # Extras must be named again: the server's part came by one, and keyring perhaps.
    extras = ",".join(
        extra for extra, module in _MODULES_OF_EXTRAS.items() if find_spec(module) is not None
    )
    what = shlex.quote((checkout or "SOURCE") + (f"[{extras}]" if extras else ""))
    first = f"{pull} && " if pull else ""
    if (prefix / "uv-receipt.toml").exists():
        return f"{first}uv tool install --force {what}"
    if (prefix / "pipx_metadata.json").exists():
        return f"{first}pipx install --force {what}"
    python = shlex.quote(sys.executable)
    # PEP 376: which tool installed it.
    if (installed.read_text("INSTALLER") or "").strip() == "uv":
        return f"{first}uv pip install --python {python} --upgrade {what}"
    return f"{first}{python} -m pip install --upgrade {what}"
