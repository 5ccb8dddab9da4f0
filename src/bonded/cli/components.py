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


@click.group(cls=Group)
def components() -> None:
    """Show how this installation is kept up to date."""


@components.command()
@pass_session
def update(session: Session) -> None:
    """Say how this installation is upgraded; nothing is changed."""
    session.say(f"This is Bonded {__version__}. It does not update itself. To upgrade it, run:\n")
    click.echo(f"  $ {_upgrade_command(distribution('bonded'), Path(sys.prefix))}")


def _upgrade_command(installed: Distribution, prefix: Path) -> str:
    """Return the command of the tool that made the installation below *prefix*."""
    # PEP 610: where it came from, if not from an index.
    origin = json.loads(installed.read_text("direct_url.json") or "{}")
    if origin.get("dir_info", {}).get("editable"):
        checkout = unquote(urlsplit(origin["url"]).path)
        return f"git -C {shlex.quote(checkout)} pull"
    if (prefix / "uv-receipt.toml").exists():
        return "uv tool upgrade bonded"
    if (prefix / "pipx_metadata.json").exists():
        return "pipx upgrade bonded"
    # The server's part came by an extra, which an upgrade must name again.
    what = "'bonded[server]'" if find_spec("granian") else "bonded"
    python = shlex.quote(sys.executable)
    # PEP 376: which tool installed it.
    if (installed.read_text("INSTALLER") or "").strip() == "uv":
        return f"uv pip install --python {python} --upgrade {what}"
    return f"{python} -m pip install --upgrade {what}"
