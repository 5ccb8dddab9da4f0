"""`bonded completion`: what a shell needs to complete our lines."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from bonded.cli.grammar import Command

# The first line of a paragraph that click shall not wrap is a backspace.
_HELP = """Print a completion script.

\b
bash  echo 'eval "$(bonded completion bash)"' >> ~/.bashrc
zsh   echo 'eval "$(bonded completion zsh)"' >> ~/.zshrc
fish  bonded completion fish > ~/.config/fish/completions/bonded.fish
"""


@click.command(cls=Command, help=_HELP)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a completion script."""
    kind = get_completion_class(shell)
    assert kind is not None, "click knows the three shells"
    root = click.get_current_context().find_root()
    name = root.info_name or "bonded"
    click.echo(kind(root.command, {}, name, f"_{name.upper()}_COMPLETE").source(), nl=False)
