"""gcloud's grammar on click: groups that load late, and global flags that may stand anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import click

from bonded.client.errors import ClientError

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@dataclass(slots=True)
class Flags:
    """The flags that every command takes, as they stood on the line; the last one counts."""

    project: str | None = None
    account: str | None = None
    server: str | None = None
    configuration: str | None = None
    impersonate_service_account: str | None = None
    format: str | None = None
    quiet: bool = False


class CommandFailed(click.ClickException):
    """A command that could not do what it was asked, under the name that gcloud would print."""

    def __init__(self, path: str, error: ClientError) -> None:
        super().__init__(f"({path.replace(' ', '.')}) {error}")


class Command(click.Command):
    """A command that takes the global flags and fails with a sentence."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("context_settings", CONTEXT)
        super().__init__(*args, **kwargs)
        self.params.extend(_global_options())

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what went wrong is told under the command's own name.

        Raises:
            CommandFailed: the command could not do what it was asked.
        """
        try:
            return super().invoke(ctx)
        except ClientError as error:
            raise CommandFailed(ctx.command_path, error) from error


class Group(click.Group):
    """A group that takes the global flags and imports a command when it is named.

    Importing every command would double the time of the shortest one.
    """

    command_class = Command

    def __init__(self, *args: Any, places: Mapping[str, str] | None = None, **kwargs: Any) -> None:
        kwargs.setdefault("context_settings", CONTEXT)
        super().__init__(*args, **kwargs)
        self.params.extend(_global_options())
        self._places = places or {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, whether loaded or not."""
        return sorted({*super().list_commands(ctx), *self._places})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command, from the `module:attribute` where it lives if that is known."""
        place = self._places.get(cmd_name)
        if place is None:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = place.partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command


Group.group_class = Group


def flags_of(ctx: click.Context) -> Flags:
    """Return the global flags of the whole line."""
    flags: Flags = ctx.meta.setdefault("bonded.flags", Flags())
    return flags


def _remember(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
    """Keep a global flag that stood at this level of the line."""
    if value and parameter.name:
        setattr(flags_of(ctx), parameter.name, value)


def _global_options() -> list[click.Option]:
    """Return the flags that every command takes."""

    def option(*names: str, **kwargs: Any) -> click.Option:
        return click.Option(names, callback=_remember, expose_value=False, **kwargs)

    return [
        option("--project", metavar="PROJECT_ID", help="The project to act on."),
        option("--account", metavar="ACCOUNT", help="The account to act as."),
        option("--server", metavar="URL", help="The registry, such as http://127.0.0.1:8080."),
        option("--configuration", metavar="NAME", help="The configuration to use."),
        option(
            "--impersonate-service-account",
            metavar="EMAIL",
            help="The service account to act as, with what the account may do to it.",
        ),
        option("--format", metavar="FORMAT", help="yaml, json, jsonl, table or value(a.b,c)."),
        option("--quiet", "-q", is_flag=True, help="Ask nothing: take every default."),
    ]
