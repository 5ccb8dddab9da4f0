"""The root of the command line, and the one place where errors become text and exit codes."""

from __future__ import annotations

from collections.abc import Sequence

import click

from bonded import __version__
from bonded.cli.grammar import Group
from bonded.client.environment import read_environment

PLACES = {
    "artifacts": "bonded.cli.artifacts:artifacts",
    "auth": "bonded.cli.auth:auth",
    "completion": "bonded.cli.completion:completion",
    "components": "bonded.cli.components:components",
    "config": "bonded.cli.config:config",
    "doctor": "bonded.cli.doctor:doctor",
    "groups": "bonded.cli.groups:groups",
    "iam": "bonded.cli.iam:iam",
    "init": "bonded.cli.init:init",
    "metadata-server": "bonded.cli.metadata_server:metadata_server",
    "logging": "bonded.cli.logs:logs",
    "organizations": "bonded.cli.organizations:organizations",
    "policy-troubleshoot": "bonded.cli.troubleshoot:policy_troubleshoot",
    "projects": "bonded.cli.projects:projects",
    "serve": "bonded.cli.serve:serve",
    "services": "bonded.cli.services:services",
    "users": "bonded.cli.users:users",
}
# gcloud's codes: 1 for a command that failed, 2 for one that was not understood.
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


@click.group(cls=Group, places=PLACES)
@click.version_option(__version__, message="Bonded %(version)s")
def program() -> None:
    """Run and use a private Python package registry."""


def run(arguments: Sequence[str], name: str = "bonded") -> int:
    """Run one command line, of a program that was called *name*, and return its exit code."""
    try:
        status = program.main(list(arguments), prog_name=name, standalone_mode=False)
    except click.UsageError as error:
        click.echo(_usage(error), err=True)
        return EXIT_USAGE
    except click.ClickException as error:
        click.echo(f"ERROR: {error.format_message()}", err=True)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("\nInterrupted.", err=True)
        return EXIT_INTERRUPTED
    except Exception as error:  # the outermost boundary: no user is helped by a traceback
        if read_environment().find("BONDED_DEBUG"):
            raise
        click.echo(_crash(error), err=True)
        return 1
    return status if isinstance(status, int) else 0


def _usage(error: click.UsageError) -> str:
    """Return what was not understood, and how the command is used."""
    if error.ctx is None:
        return f"ERROR: {error.format_message()}"
    # A group named alone is a question; click's answer is the group's help.
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        return error.format_message()
    path = error.ctx.command_path
    return (
        f"ERROR: ({path.replace(' ', '.')}) {error.format_message()}\n"
        f"{error.ctx.get_usage()}\n"
        f"For more, run `{path} --help`."
    )


def _crash(error: Exception) -> str:
    """Return one paragraph about an error that is ours."""
    return (
        f"ERROR: bonded crashed ({type(error).__name__}): {error}\n"
        "This is a fault of Bonded. Set BONDED_DEBUG=1 and run the command again to see where."
    )
