"""`bonded serve`: the registry itself, where the server's dependencies are installed."""

from __future__ import annotations

from pathlib import Path

import click

from bonded.cli.grammar import Command
from bonded.client.configurations import ACTIVE_VARIABLE
from bonded.client.errors import Misconfigured
from bonded.client.properties import PROPERTIES


@click.command(cls=Command)
@click.option("--data-dir", metavar="DIR", help="Where the registry keeps its data.")
@click.option("--listen", metavar="HOST:PORT", help="Where it answers.")
@click.option("--public-url", metavar="URL", help="How clients reach it.")
@click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="Settings in TOML.")
def serve(
    data_dir: str | None, listen: str | None, public_url: str | None, config: Path | None
) -> None:
    """Run the registry."""
    given = {"data_dir": data_dir, "listen": listen, "public_url": public_url}
    overrides = {name: value for name, value in given.items() if value is not None}
    try:
        from bonded.server.serving import serve as run  # noqa: PLC0415 - only here is the server needed
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "bonded":
            raise
        raise Misconfigured(
            f"The server is not installed: there is no module [{error.name}].",
            hint="Run ./serve in a checkout of Bonded, or install that with its extra: "
            '`pip install "/path/to/checkout[server]"`.',
        ) from error
    run(overrides, config, _OF_THE_COMMAND_LINE)


_OF_THE_COMMAND_LINE = {
    *("BONDED_CONFIG", "BONDED_DEBUG", ACTIVE_VARIABLE),
    *(name for known in PROPERTIES for name in known.variables),
}
