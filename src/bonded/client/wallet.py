"""Which credential to show to a host: the one that belongs there, and none to any other."""

from __future__ import annotations

import time
from collections.abc import Sequence

from bonded.client import properties
from bonded.client.accounts import Account, AccountStore
from bonded.client.configurations import Configurations
from bonded.client.default_credentials import find_attached, find_default
from bonded.client.environment import Environment
from bonded.client.errors import ClientError, Misconfigured, NotSignedIn
from bonded.client.services import Service, belongs
from bonded.client.sources import tokens_of
from bonded.client.tokens import AccessToken, CachedTokens, TokenSource

# pip asks twice for each index. A server that is down need not be waited for twice.
FAILURE_LIFE_S = 60.0


class Wallet:
    """The credentials of this user, tried in the order that Google's own plugin documents.

    Application Default Credentials come first, then the identity of the machine if it was asked
    for, then the accounts of the command line, the active one before the others.
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
        is_ours, sources, failures = self._survey(service)
        for account, source in sources:
            try:
                return self._get_token(account, source)
            except ClientError as error:
                failures.append(error)
        if not is_ours and not sources:
            return None
        raise failures[0] if failures else _nothing_for(service)

    def _survey(
        self, service: Service
    ) -> tuple[bool, list[tuple[Account, TokenSource]], list[ClientError]]:
        """Say whether *service* is ours, what may be shown to it, and what is broken."""
        self._configuration = Configurations(self._directory, self._environment).open()
        sources: list[tuple[Account, TokenSource]] = []
        failures: list[ClientError] = []
        names = self._configuration.names
        is_ours = service.is_pkg_dev or bool(names and names.cover(service))
        if names is None and self._is_nobodys(service):
            is_ours = True
            failures.append(_of_no_server(service))
        try:
            default = find_default(self._environment)
            if default and self._belongs(default.server, service):
                sources.append((Account(default.account, default.server), default))
        except ClientError as error:
            failures.append(error)
        if any(map(service.matches_origin, self._configuration.attached_identity_origins)):
            attached = find_attached(self._environment)
            sources.append((Account(attached.account, "attached"), attached))
        accounts = [
            each for each in self._accounts.list_accounts() if self._belongs(each.server, service)
        ]
        try:
            if account := self._choose(service, accounts):
                sources.append((account, self._open(account)))
        except ClientError as error:
            failures.append(error)
        return is_ours or bool(accounts), sources, failures

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
