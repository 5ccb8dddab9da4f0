"""What one command line knows: flags, properties, account, server; and how it speaks to people."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property, update_wrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import click

from bonded.cli.grammar import Flags, flags_of
from bonded.client import properties
from bonded.client.accounts import Account, AccountStore, Credential, ServiceAccountKey
from bonded.client.configurations import Configurations
from bonded.client.environment import Environment, read_environment
from bonded.client.errors import ClientError, Misconfigured, NotSignedIn, Refused
from bonded.client.properties import Configuration
from bonded.client.servers import parse_server
from bonded.client.services import Service, belongs
from bonded.client.sources import tokens_of
from bonded.client.tokens import CachedTokens

if TYPE_CHECKING:
    # requests and the formats cost 100 ms, which a cached token does not need.
    from bonded.cli.output import Column
    from bonded.client.api import Api, Message
    from bonded.client.impersonation import ImpersonatedTokens

P = ParamSpec("P")
R = TypeVar("R")


class Session:
    """Answers what the flags left open: from the environment, the properties, the account's key."""

    def __init__(self, flags: Flags, environment: Environment) -> None:
        self.flags = flags
        self.directory: Path = environment.config_directory
        self.environment = environment
        self.configurations = Configurations(self.directory, environment)
        self.accounts = AccountStore(self.directory)
        # A key file named on the line stands in where nobody is signed in.
        self.key_at_hand: ServiceAccountKey | None = None

    @cached_property
    def configuration(self) -> Configuration:
        """The properties in force: those of the configuration that the line names, or is active."""
        return self.configurations.open(self.flags.configuration)

    @property
    def sentinel(self) -> Path:
        """The file that is new whenever a property has changed."""
        return self.directory / properties.SENTINEL

    def find_account(self) -> str | None:
        """Return the address of the account to act as."""
        return self.flags.account or self.configuration.find(properties.ACCOUNT)

    def find_credential(self) -> Credential | None:
        """Return the active account's credential, or the key at hand if no account is active.

        Raises:
            NotSignedIn: an account is active, but nothing is stored for it here or for the server.
            Misconfigured: it is signed in to several servers, and nothing says to which to go.
        """
        email = self.find_account()
        if email is None:
            return self.key_at_hand
        stored = self.accounts.list_accounts(email)
        account = self.choose(stored)
        credential = self.accounts.find(account) if account else None
        if credential:
            return credential
        if not stored:
            raise NotSignedIn(
                f"Your current active account [{email}] does not have any valid credentials.",
                hint=_SIGN_IN,
            )
        servers = ", ".join(each.server for each in stored)
        server = self.find_server()
        if server is None:
            raise Misconfigured(
                f"Account [{email}] is signed in to several servers: {servers}.",
                hint="Choose one with --server, BONDED_SERVER or "
                "`bonded config set core/server URL`.",
            )
        other = stored[0].server if self.configuration.server == server else server
        # Its token is nobody's business but its own server's.
        raise NotSignedIn(
            f"Account [{email}] is signed in to {servers}, not to {server}.",
            hint=f"Sign in there: `bonded auth login --server={server}`, or `bonded auth "
            "activate-service-account --key-file=FILE` with a key of that server. If it is the "
            "same server by another name, run "
            f"`bonded config set core/hosts {other.partition('//')[2]}`.",
        )

    def choose(self, accounts: Sequence[Account]) -> Account | None:
        """Return the one of *accounts* that is of the server to act on, if one is."""
        server = self.find_server()
        if server:
            accounts = [each for each in accounts if self.is_for(server, each.server)]
            accounts = [each for each in accounts if each.server == server] or accounts
        return accounts[0] if len(accounts) == 1 else None

    def is_for(self, server: str, issuer: str) -> bool:
        """Say whether *server* may see what *issuer* issues."""
        service = Service.parse(server)
        names = self.configuration.names
        return server == issuer or bool(service and belongs(issuer, service, names))

    @cached_property
    def credential(self) -> Credential:
        """The credential to act with.

        Raises:
            NotSignedIn: there is none.
        """
        credential = self.find_credential()
        if credential is None:
            raise NotSignedIn(
                "You do not currently have an active account selected.", hint=_SIGN_IN
            )
        return credential

    @cached_property
    def server(self) -> str:
        """The server to act on.

        Raises:
            NotSignedIn: nothing says which.
        """
        return self.find_server() or self.credential.server

    def find_server(self) -> str | None:
        """Return the server that the line or a property names, whatever the account says."""
        return parse_server(self.flags.server) if self.flags.server else self.configuration.server

    @cached_property
    def project(self) -> str:
        """The project to act on.

        Raises:
            NotSignedIn: nothing says which, and no key is at hand that would.
            Misconfigured: nothing says which.
        """
        chosen = self.flags.project or self.configuration.find(properties.PROJECT)
        if chosen:
            return chosen
        # Without an account the advice is to sign in: a key then brings its project.
        if self.credential.project is None:
            raise Misconfigured(
                "The required property [project] is not currently set.",
                hint="Use the flag [--project], run `bonded config set project PROJECT_ID`, or set "
                "the environment variable [BONDED_CORE_PROJECT].",
            )
        return self.credential.project

    def location(self, chosen: str | None) -> str:
        """Return *chosen*, else the property, else the location that the server lists first.

        Raises:
            Misconfigured: nothing says which.
        """
        if found := chosen or self.configuration.find(properties.LOCATION):
            return found
        if found := self._find_first_location():
            return found
        raise missing("location", properties.LOCATION)

    def _find_first_location(self) -> str | None:
        try:
            path = f"/v1/projects/{self.project}/locations"
            for location in self.api.list_all(path, "locations"):
                return str(location["locationId"])
        except Refused as refusal:
            if refusal.status != "PERMISSION_DENIED":
                raise
            # Whose roles are on repositories alone may not list, so the server says its own to all.
            with suppress(ClientError):
                said = self.api.get("/.well-known/oauth-authorization-server")
                return said.get("bonded_default_location")
        return None

    @property
    def impersonated(self) -> str | None:
        """The service account to act as through the account, if there is one."""
        flag = self.flags.impersonate_service_account
        return flag or self.configuration.find(properties.IMPERSONATED)

    @cached_property
    def tokens(self) -> CachedTokens:
        """The tokens to act with: the active account's, or those of whom it impersonates."""
        own = self.tokens_of(self.credential)
        email = self.impersonated
        if email is None:
            return own
        from bonded.client.impersonation import ImpersonatedTokens  # noqa: PLC0415 - see above

        self.say(
            "WARNING: This command is using service account impersonation. All API calls will be "
            f"executed as [{email}]."
        )
        source = ImpersonatedTokens(self.server, own, email)
        return CachedTokens(source, self.directory, self.server)

    def impersonate(self, email: str, life_s: int | None = None) -> ImpersonatedTokens:
        """Return the tokens of a service account, for the active account to act as it."""
        from bonded.client.impersonation import ImpersonatedTokens  # noqa: PLC0415 - see above

        return ImpersonatedTokens(self.server, self.tokens_of(self.credential), email, life_s)

    def tokens_of(self, credential: Credential) -> CachedTokens:
        """Return the tokens of *credential*."""
        return CachedTokens(tokens_of(credential), self.directory, credential.server)

    @cached_property
    def api(self) -> Api:
        """The server's API, as the active account."""
        from bonded.client.api import Api  # noqa: PLC0415 - see above

        api = Api(self.server, self.tokens)
        click.get_current_context().call_on_close(api.close)
        return api

    def say(self, text: str) -> None:
        """Tell the person something; standard output is for data."""
        click.echo(text, err=True)

    def confirm(self, text: str) -> None:
        """Ask whether to go on. An empty line means yes, as gcloud has it.

        Raises:
            Misconfigured: the answer is no, or nobody is there to answer.
        """
        if self.flags.quiet:
            return
        self.say(f"{text}\n")
        click.echo("Do you want to continue (Y/n)?  ", nl=False, err=True)
        while (line := sys.stdin.readline()).strip().lower() not in {"", "y", "yes", "n", "no"}:
            click.echo("Please enter 'y' or 'n':  ", nl=False, err=True)
        self.say("")
        if not line:
            # A pipe that has ended is nobody's consent.
            raise Misconfigured(
                "This prompt could not be answered: the input is at its end.",
                hint="Re-run the command with the --quiet flag to accept the default answers for "
                "all prompts.",
            )
        if line.strip().lower().startswith("n"):
            raise Misconfigured("Aborted by user.")

    def confirm_risk(self, text: str, flag: str) -> None:
        """Ask whether to do what cannot be undone. Silence means no; *flag* says yes beforehand.

        Raises:
            Misconfigured: the answer is not yes, or nobody is to be asked.
        """
        self.say(f"{text}\n")
        answer = ""
        if not self.flags.quiet:
            click.echo("Do you want to continue (y/N)?  ", nl=False, err=True)
            answer = sys.stdin.readline().strip().lower()
            self.say("")
        if answer not in {"y", "yes"}:
            raise Misconfigured("Nothing was changed.", hint=f"If you mean it, add {flag}.")

    def finish(self, operation: Message, verb: str = "complete") -> Message:
        """Wait for *operation*, saying so, and return its response."""
        click.echo(f"Waiting for operation [{operation['name']}] to {verb}...", nl=False, err=True)
        try:
            response = self.api.wait(operation)
        except ClientError:
            self.say("failed.")
            raise
        self.say("done.")
        return response

    def show_issued(self, operation: Message) -> None:
        """Show *operation* to somebody who does not wait for it."""
        # Bonded keeps no operation that could be asked for later: all are done when answered.
        words = "is done" if operation.get("done") else "goes on; Bonded cannot be asked about it"
        self.say(f"Operation [{operation['name']}] {words}.")
        self.show(operation)

    def check_format(self) -> None:
        """Refuse a format that does not exist before anything is done.

        Raises:
            Misconfigured: there is no such format.
        """
        if self.flags.format:
            from bonded.cli import output  # noqa: PLC0415 - see above

            output.Format.parse(self.flags.format)

    def show(self, resource: Mapping[str, Any], form: str = "yaml") -> None:
        """Print a resource in the format of the line, else in *form*."""
        from bonded.cli import output  # noqa: PLC0415 - see above

        click.echo(output.render(resource, output.Format.parse(self.flags.format or form)))

    def show_all(
        self, resources: Iterable[Mapping[str, Any]], columns: Sequence[Column], title: str = ""
    ) -> None:
        """Print a list in the format of the line, else as a table."""
        from bonded.cli import output  # noqa: PLC0415 - see above

        form = output.Format.parse(self.flags.format or "table")
        items = list(resources)
        if form.kind == "table" and not items:
            self.say("Listed 0 items.")
        elif items or form.kind == "json":
            click.echo(output.render_list(items, form, columns, title))


def missing(attribute: str, known: properties.Property) -> Misconfigured:
    """Return gcloud's error for an attribute that neither the line nor a property gives."""
    return Misconfigured(
        f"Failed to find attribute [{attribute}]. The attribute can be set in the following ways:",
        hint=f"- Set the argument [--{attribute}] on the command line\n"
        f"- Set the property [{known.name}], with `bonded config set {known.name} VALUE`",
    )


def pass_session(command: Callable[Concatenate[Session, P], R]) -> Callable[P, R]:
    """Give *command* the session of its line as its first argument."""

    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        session = Session(flags_of(click.get_current_context()), read_environment())
        session.check_format()
        try:
            return command(session, *args, **kwargs)
        except Refused as refusal:
            if refusal.status == "NOT_FOUND" and not refusal.hint:
                from bonded.cli.guessing import guess  # noqa: PLC0415 - see above

                refusal.hint = guess(session, refusal.path)
            raise

    return update_wrapper(wrapped, command)


_SIGN_IN = """Please run:

  $ bonded auth login

or, with the key of a service account,

  $ bonded auth activate-service-account --key-file=FILE

to obtain new credentials. To select an account that `bonded auth list` shows, run

  $ bonded config set account ACCOUNT

or name it in the environment variable [BONDED_CORE_ACCOUNT]."""
