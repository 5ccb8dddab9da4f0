"""`bonded init`: from nothing to a machine whose tools are signed in, one question at a time."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from bonded.cli.configuring import configure_pip, configure_uv
from bonded.cli.grammar import Command
from bonded.cli.login import login
from bonded.cli.session import Session, pass_session
from bonded.cli.signing_in import ways_to_sign_in
from bonded.client import properties
from bonded.client.errors import ClientError, Misconfigured, Refused
from bonded.client.servers import parse_server

_TOOLS = {"pip": configure_pip, "uv": configure_uv}


@click.command(cls=Command)
@ways_to_sign_in
@click.option("--skip-sign-in", is_flag=True, help="Go on as the account that is active.")
@click.option("--repository", metavar="REPOSITORY", help="The repository to use.")
@click.option("--location", metavar="LOCATION", help="The repository's location.")
@click.option(
    "--tool",
    "tools",
    type=click.Choice(list(_TOOLS)),
    multiple=True,
    help="A tool to point at the repository; may be given again.",
)
@pass_session
def init(
    session: Session,
    repository: str | None,
    location: str | None,
    tools: tuple[str, ...],
    *,
    no_browser: bool,
    skip_sign_in: bool,
) -> None:
    """Set this machine up: which registry, who you are, which project, which tools.

    Whatever the line says is not asked. With --quiet nothing is asked: what is needed and not said
    is an error, and what is optional is left as it is.
    """
    session.say("Welcome! This command will take you through the configuration of bonded.\n")
    guide = _Guide(session)
    server = guide.choose_server()
    session.configuration.set(properties.SERVER, server)
    if not (skip_sign_in or guide.goes_on_as_somebody()):
        click.get_current_context().invoke(login, no_browser=no_browser, force=False, activate=True)
    # What was asked before somebody was signed in may be answered otherwise now.
    session = Session(session.flags, session.environment)
    guide = _Guide(session)
    guide.choose_project()
    guide.choose_place(location, repository)
    chosen = tools or guide.choose_tools()
    for tool in chosen:
        click.get_current_context().invoke(_TOOLS[tool])
    session.say(
        "\nBonded is configured and ready to use.\n\n"
        "* `bonded config list` shows what is set.\n"
        "* `bonded artifacts print-settings python --tool=TOOL` shows settings of other tools."
    )


class _Guide:
    """Asks what the line left open."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def choose_server(self) -> str:
        """Return the registry.

        Raises:
            Misconfigured: nobody says which.
        """
        if self._session.flags.server:
            return parse_server(self._session.flags.server)
        known = sorted({account.server for account in self._session.accounts.list_accounts()})
        current = self._session.configuration.server or (known[0] if known else None)
        if self._session.flags.quiet:
            if current:
                return current
            raise Misconfigured(
                "Nothing says which registry to use.", hint="Name it with --server."
            )
        return parse_server(self._ask("Address of the registry", current))

    def goes_on_as_somebody(self) -> bool:
        """Say whether to go on as an account that is signed in, and make that one active."""
        server = self._session.configuration.server
        stored = self._session.accounts.list_accounts()
        emails = [each.email for each in stored if each.server == server]
        if not emails:
            return False
        active = self._session.configuration.find(properties.ACCOUNT)
        if self._session.flags.account in emails or self._session.flags.quiet:
            usual = active if active in emails else emails[0]
            chosen: str | None = self._session.flags.account or usual
        else:
            menu = [*emails, "Sign in with another account"]
            chosen = self._pick("Choose the account to act as", menu, active)
            if chosen == menu[-1]:
                return False
        self._session.configuration.set(properties.ACCOUNT, chosen or emails[0])
        return True

    def choose_project(self) -> None:
        """Choose and store the project."""
        said = self._session.flags.project
        current = self._session.configuration.find(properties.PROJECT)
        if said is None and not self._session.flags.quiet:
            said = self._choose("project", "/v1/projects", "projects", "projectId", current)
        if said:
            self._session.configuration.set(properties.PROJECT, said)

    def choose_place(self, location: str | None, repository: str | None) -> None:
        """Choose and store location and repository, as far as anything is known of them."""
        session = self._session
        project = session.configuration.find(properties.PROJECT)
        is_asking = project is not None and not session.flags.quiet
        if location is None and is_asking:
            path = f"/v1/projects/{project}/locations"
            current = session.configuration.find(properties.LOCATION) or self._usual_location()
            location = self._choose("location", path, "locations", "locationId", current)
        if location:
            session.configuration.set(properties.LOCATION, location)
        if repository is None and location and is_asking:
            path = f"/v1/projects/{project}/locations/{location}/repositories"
            current = session.configuration.find(properties.REPOSITORY)
            repository = self._choose("repository", path, "repositories", "name", current)
        if repository:
            session.configuration.set(properties.REPOSITORY, repository)

    def choose_tools(self) -> tuple[str, ...]:
        """Return the tools to configure: none without a repository."""
        if self._session.flags.quiet or not self._session.configuration.find(properties.REPOSITORY):
            return ()
        menu = [*_TOOLS, "both", "none"]
        chosen = self._pick("Point which tools at the repository", menu, "none")
        return tuple(_TOOLS) if chosen == "both" else (chosen,) if chosen in _TOOLS else ()

    def _choose(
        self, noun: str, path: str, listed: str, field: str, current: str | None
    ) -> str | None:
        """Return one of what the server lists; what is typed, for whoever may not list."""
        try:
            found = [str(each[field]) for each in self._session.api.list_all(path, listed)]
        except ClientError as error:
            # What one may not see need not stop anybody: a role on one repository is enough.
            if isinstance(error, Refused) and error.status == "PERMISSION_DENIED":
                self._session.say(f"Your roles do not list what there is: name the {noun}.")
            else:
                self._session.say(f"WARNING: {error}")
            return self._ask_name(noun, current)
        menu = [name.rpartition("/")[2] for name in found]
        return self._pick(f"Pick the {noun} to use", menu, current)

    def _usual_location(self) -> str | None:
        """Return the location that the server says to everybody."""
        try:
            return self._session.location(None)
        except ClientError:
            return None

    def _pick(self, question: str, menu: Sequence[str], current: str | None) -> str | None:
        """Return one of *menu*, by number or by name; what is current, for no answer."""
        if not menu:
            return current
        lines = "".join(f" [{number}] {each}\n" for number, each in enumerate(menu, start=1))
        default = current if current in menu else menu[0]
        while True:
            answer = self._ask(f"{question}:\n{lines}Number or name", default)
            if answer.isdecimal() and 1 <= int(answer) <= len(menu):
                return menu[int(answer) - 1]
            if answer in menu:
                return answer
            self._session.say(f"[{answer}] is none of them.")

    def _ask_name(self, noun: str, default: str | None) -> str | None:
        """Return a name that somebody who was told it types, or *default* for none."""
        shown = f" [{default}]" if default else ", or nothing to go on without one"
        click.echo(f"Type the name of the {noun} to use{shown}:  ", nl=False, err=True)
        line = sys.stdin.readline()
        self._session.say("")
        return line.strip() or default

    def _ask(self, question: str, default: str | None) -> str:
        """Return an answer; the default, for none.

        Raises:
            Misconfigured: nobody answers, and there is no default.
        """
        while True:
            click.echo(f"{question}{f' [{default}]' if default else ''}:  ", nl=False, err=True)
            line = sys.stdin.readline()
            self._session.say("")
            if answer := line.strip() or (default or ""):
                return answer
            if not line:
                raise Misconfigured(
                    "Nobody answers.", hint="Say on the line what is asked, or use --quiet."
                )
