"""`bonded artifacts`: repositories, and the settings that clients need to use them."""

from __future__ import annotations

import click

from bonded.cli.grammar import Group

PLACES = {
    "files": "bonded.cli.artifacts.contents:files",
    "packages": "bonded.cli.artifacts.contents:packages",
    "versions": "bonded.cli.artifacts.contents:versions",
    "print-settings": "bonded.cli.artifacts.settings:print_settings",
    "repositories": "bonded.cli.artifacts.repositories:repositories",
    "trusted-publishers": "bonded.cli.artifacts.trusted_publishers:trusted_publishers",
}


@click.group(cls=Group, places=PLACES)
def artifacts() -> None:
    """Manage repositories and what is in them."""
