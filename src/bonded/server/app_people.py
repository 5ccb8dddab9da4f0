"""The wiring of what people sign in by; a part of app.py, on a page of its own."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TypedDict
from urllib.parse import urlsplit

from bonded.server.core.clock import Clock
from bonded.server.core.errors import Rejected
from bonded.server.identity.authentication import Authenticator
from bonded.server.identity.codes import CodeGrants
from bonded.server.identity.devices import DeviceGrants
from bonded.server.identity.directory import Directory, make_invitation
from bonded.server.identity.documents import Documents
from bonded.server.identity.expressions import Expression, parse_expression
from bonded.server.identity.issuers import Issuer
from bonded.server.identity.passwords import Passwords
from bonded.server.identity.provider import Provider, ProviderSettings, vouches_for
from bonded.server.identity.sealing import Sealer
from bonded.server.identity.seals import Seals
from bonded.server.identity.sessions import Sessions
from bonded.server.identity.standing import Standings
from bonded.server.identity.throttle import Budget, Throttle
from bonded.server.identity.tokens import IdTokenIssuer
from bonded.server.metadata.store import MetadataStore
from bonded.server.operations.naming import Naming
from bonded.server.operations.owning import Owners
from bonded.server.operations.users import Users
from bonded.server.settings import Settings, SettingsError
from bonded.server.web.networks import Failures, Networks
from bonded.server.web.oauth.authorize import Authorize
from bonded.server.web.oauth.devices import Devices
from bonded.server.web.oauth.token import TokenEndpoint
from bonded.server.web.ui import invitations, sign_in
from bonded.server.web.ui.account import Account
from bonded.server.web.ui.browser import Browser
from bonded.server.web.ui.invitations import Invitations
from bonded.server.web.ui.sign_in import SignIn
from bonded.server.web.ui.static import Static
from bonded.server.web.v1.users import UsersApi

FAILED_TOKENS = (300, 5)
"""Requests for tokens from one network that may fail: at once, and a second."""
STARTED_DEVICES = (30, 0.1)
"""Devices of one network that may start to wait: at once, and a second."""
UNKNOWN_DEVICES = (20, 1 / 60)
"""Wrong codes for one account from devices that it was never used on: at once, and a second."""


class PeopleRoutes(TypedDict):
    """The handlers of people's routes, as the route table names them."""

    tokens: TokenEndpoint
    users: UsersApi
    authorize: Authorize
    devices: Devices
    sign_in: SignIn
    invitations: Invitations
    account: Account
    static: Static


def open_standings(settings: Settings, clock: Clock) -> Standings:
    """Return who looks whether somebody whom a policy names can sign in."""
    domains = _allowed_domains(settings)
    known = partial(vouches_for, issuer=settings.oidc_issuer, allowed_domains=domains)
    return Standings(clock, known)


def wire_people(
    settings: Settings,
    clock: Clock,
    *,
    metadata: MetadataStore,
    owners: Owners,
    sealer: Sealer,
    id_tokens: IdTokenIssuer,
    authenticator: Authenticator,
    sessions: Sessions,
    documents: Documents,
    networks: Networks,
    failures: Failures,
) -> PeopleRoutes:
    """Lay the parts over each other."""
    url = settings.url
    seals = Seals(sealer, clock)
    browser = Browser(seals, sessions, networks, url)
    passwords = Throttle(clock)
    # Codes of six digits, and of eight letters: bounded for the account as a whole.
    codes = Throttle(clock, Budget(clock, *UNKNOWN_DEVICES))
    hashing = Passwords(settings.password_memory_kib)
    directory = Directory(metadata, hashing, sealer, clock, urlsplit(url).netloc)
    users = Users(
        metadata,
        clock,
        owners,
        make_invitation=make_invitation,
        link_to=lambda secret: f"{url}{invitations.PATH}?code={secret}",
        invitation_life=timedelta(seconds=settings.invitation_life_s),
    )
    code_grants = CodeGrants(metadata, sessions, clock)
    device_grants = DeviceGrants(metadata, sessions, clock)
    return PeopleRoutes(
        tokens=TokenEndpoint(
            authenticator=authenticator,
            sessions=sessions,
            codes=code_grants,
            devices=device_grants,
            id_tokens=id_tokens,
            networks=networks,
            failures=failures,
        ),
        users=UsersApi(users),
        authorize=Authorize(browser, code_grants, seals, url),
        devices=Devices(
            browser=browser,
            grants=device_grants,
            networks=networks,
            starts=Budget(clock, *STARTED_DEVICES),
            guesses=codes,
            server_url=url,
        ),
        sign_in=SignIn(
            browser=browser,
            directory=directory,
            provider=_open_provider(settings, clock, documents),
            sessions=sessions,
            seals=seals,
            networks=networks,
            passwords=passwords,
            codes=codes,
        ),
        invitations=Invitations(browser, directory, passwords),
        account=Account(browser, directory, users, passwords),
        static=Static(),
    )


def _open_provider(settings: Settings, clock: Clock, documents: Documents) -> Provider | None:
    if not settings.oidc_issuer:
        return None
    secret = settings.oidc_client_secret
    if settings.oidc_client_secret_file:
        secret = _read_secret(Path(settings.oidc_client_secret_file).expanduser())
    return Provider(
        settings=ProviderSettings(
            issuer=settings.oidc_issuer,
            client_id=settings.oidc_client_id,
            client_secret=secret,
            name=settings.oidc_name,
            scopes=settings.oidc_scopes,
            address_claim=settings.oidc_address_claim,
            groups_claim=settings.oidc_groups_claim,
            groups_domain=_groups_domain(settings),
            allowed_domains=_allowed_domains(settings),
            condition=_condition(settings.oidc_condition),
        ),
        issuer=Issuer(documents, clock, settings.oidc_issuer),
        documents=documents,
        clock=clock,
        redirect_uri=f"{settings.url}{sign_in.CALLBACK}",
    )


def open_naming(settings: Settings) -> Naming:
    """Return the rule about names, which knows the domain of the identity provider's groups."""
    return Naming(_groups_domain(settings))


def _groups_domain(settings: Settings) -> str:
    if not (settings.oidc_issuer and settings.oidc_groups_claim):
        return ""
    return (settings.oidc_groups_domain or urlsplit(settings.oidc_issuer).hostname or "").lower()


def _allowed_domains(settings: Settings) -> tuple[str, ...]:
    domains = (one.strip().lower() for one in settings.oidc_allowed_domains.split(","))
    return tuple(one for one in domains if one)


def _condition(text: str) -> Expression | None:
    try:
        return parse_expression(text, ("assertion",), is_condition=True) if text else None
    except Rejected as error:
        raise SettingsError(f"oidc_condition: {error}") from error


def _read_secret(path: Path) -> str:
    try:
        secret = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise SettingsError(f"oidc_client_secret_file {path} cannot be read: {reason}.") from error
    if not secret:
        raise SettingsError(f"oidc_client_secret_file {path} is empty.")
    return secret
