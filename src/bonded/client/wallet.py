"""Which credential to show to a host: the one that belongs there, and none to any other."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from bonded.client import properties
from bonded.client.accounts import Account, AccountStore
from bonded.client.configurations import Configurations
from bonded.client.default_credentials import (
    find_attached,
    find_default,
    is_default_named,
)
from bonded.client.environment import Environment
from bonded.client.errors import ClientError, Misconfigured, NotSignedIn
from bonded.client.services import Service, belongs, is_repository
from bonded.client.sources import tokens_of
from bonded.client.tokens import AccessToken, CachedTokens, TokenSource

# pip asks twice for each index. A server that is down need not be waited for twice.
FAILURE_LIFE_S = 60.0

_Source = tuple[Account, TokenSource]


class Wallet:
    """The credentials of this user, tried in the order that Google's own plugin documents.

    Application Default Credentials come first, then the identity of the machine if it was asked
    for, then the accounts of the command line, the active one before the others. But a file that
    GOOGLE_APPLICATION_CREDENTIALS names comes alone where it belongs, and where it is unusable.
    """

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._directory = environment.config_directory
        self._accounts = AccountStore(self._directory)
        self._tokens: dict[Account, CachedTokens] = {}
        self._failed: dict[Account, tuple[float, ClientError]] = {}

    def find_token(self, name: str) -> AccessToken | None:
        """Return a token for the service called *name*, or None if it is not one of ours.

        Raises:
            ClientError: it is one of ours, and no credential for it can be had.
        """
        service = Service.parse(name)
        if service is None:
            return None
        is_ours, sources, failures = self._survey(service, name)
        for account, source in sources:
            try:
                return self._get_token(account, source)
            except ClientError as error:
                failures.append(error)
        if not is_ours and not sources:
            return None
        raise failures[0] if failures else _nothing_for(service)

    def _survey(self, service: Service, name: str) -> tuple[bool, list[_Source], list[ClientError]]:
        """Say whether *service* is ours, what may be shown to it, and what is broken.

        A credential file that the environment names is meant: if it is of no use, no other token
        is given in its place, as google-auth gives none. It cannot even say then whose it is, and
        where nothing else says what is ours, the URL that was asked for may.
        """
        self._configuration = Configurations(self._directory, self._environment).open()
        accounts = [
            each for each in self._accounts.list_accounts() if self._belongs(each.server, service)
        ]
        is_ours, failures = self._recognize(service)
        is_ours = is_ours or bool(accounts)
        is_named = is_default_named(self._environment)
        sources: list[_Source] = []
        try:
            default = find_default(self._environment)
            if default and self._belongs(default.server, service):
                sources.append((Account(default.account, default.server), default))
        except ClientError as error:
            failures.append(error)
            if is_named:
                could_be = self._configuration.names is None and is_repository(name)
                return is_ours or could_be, [], failures
        if not (is_named and sources):
            sources += self._list_others(service, accounts, failures)
        return is_ours, sources, failures

    def _recognize(self, service: Service) -> tuple[bool, list[ClientError]]:
        """Say whether *service* is ours whoever is signed in, and what is wrong about that."""
        names = self._configuration.names
        if names is None and self._is_nobodys(service):
            return True, [_of_no_server(service)]
        is_ours = service.is_pkg_dev or bool(names and names.cover(service))
        return is_ours or self._is_shown_the_machine(service), []

    def _list_others(
        self, service: Service, accounts: Sequence[Account], failures: list[ClientError]
    ) -> Iterator[_Source]:
        """Yield what may be shown to *service* after the default; note what is broken."""
        if self._is_shown_the_machine(service):
            attached = find_attached(self._environment)
            yield Account(attached.account, "attached"), attached
        try:
            if account := self._choose(service, accounts):
                yield account, self._open(account)
        except ClientError as error:
            failures.append(error)

    def _is_shown_the_machine(self, service: Service) -> bool:
        """Say whether *service* may be shown the identity of this machine."""
        return any(map(service.matches_origin, self._configuration.attached_identity_origins))

    def _belongs(self, issuer: str, service: Service) -> bool:
        return belongs(issuer, service, self._configuration.names)

    def _is_nobodys(self, service: Service) -> bool:
        """Say whether *service* is listed as another host of a server that nothing names."""
        return any(service.matches(each, service.scheme) for each in self._configuration.hosts)

    def _choose(self, service: Service, accounts: Sequence[Account]) -> Account | None:
        """Return the active one of *accounts*, else the only one.

        Raises:
            Misconfigured: nothing says which of several.
        """
        active = self._configuration.find(properties.ACCOUNT)
        accounts = [each for each in accounts if each.email == active] or accounts
        accounts = [each for each in accounts if service.is_at(each.server)] or accounts
        if len(accounts) > 1:
            listed = ", ".join(each.email for each in accounts)
            raise Misconfigured(
                f"Several accounts are signed in to {service}: {listed}.",
                hint="Choose one with `bonded config set account ACCOUNT`.",
            )
        return accounts[0] if accounts else None

    def _open(self, account: Account) -> TokenSource:
        credential = self._accounts.find(account)
        if credential is None:
            raise _nothing_for(account.server)
        return tokens_of(credential)

    def _get_token(self, account: Account, source: TokenSource) -> AccessToken:
        """Return a token of *source*, unless it has just failed to give one."""
        now = time.monotonic()
        failed_at, failure = self._failed.get(account, (0.0, None))
        if failure and now - failed_at < FAILURE_LIFE_S:
            raise failure
        tokens = self._tokens.get(account)
        if tokens is None:
            tokens = CachedTokens(source, self._directory, account.server)
            self._tokens[account] = tokens
        try:
            return tokens.get_token()
        except ClientError as error:
            self._failed[account] = (now, error)
            raise


def _of_no_server(service: Service) -> Misconfigured:
    return Misconfigured(
        f"[core/hosts] lists {service}, and nothing says of which server that is a name.",
        hint="Say it with `bonded config set core/server URL`, or BONDED_SERVER.",
    )


def _nothing_for(service: Service | str) -> NotSignedIn:
    return NotSignedIn(
        f"No credential here belongs to {service}.",
        hint="Sign in with `bonded auth login --server=URL`, or with a key that it issued and "
        "`bonded auth activate-service-account --key-file=FILE`, or name a credential file of it "
        "in GOOGLE_APPLICATION_CREDENTIALS.",
    )
