"""`bonded metadata-server`: an identity for machines and containers that hold no key file."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import click

from bonded.cli.artifacts.locating import locate
from bonded.cli.grammar import Command
from bonded.cli.session import Session, pass_session
from bonded.client import properties
from bonded.client.accounts import ServiceAccountKey, SignIn, read_key_file
from bonded.client.api import segment
from bonded.client.errors import Misconfigured, Refused
from bonded.client.identity_tokens import identity_token_of
from bonded.client.impersonation import NarrowedTokens
from bonded.client.metadata_server import LOOPBACK_HOSTS, Identity, MetadataServer
from bonded.client.tokens import CachedTokens

DEFAULT_LISTEN = "127.0.0.1:8091"


@click.command("metadata-server", cls=Command)
@click.option(
    "--listen",
    metavar="HOST:PORT",
    default=DEFAULT_LISTEN,
    show_default=True,
    help="Where it answers; port 0 takes any that is free.",
)
@click.option(
    "--host",
    "hosts",
    metavar="NAME",
    multiple=True,
    help="A name by which clients call it, beside those of loopback and metadata.google.internal.",
)
@click.option(
    "--key-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The service account to be; by default the active account.",
)
@click.option(
    "--universe-domain",
    metavar="DOMAIN",
    help="The universe that clients are told; by default the registry's host, so that Google's "
    "libraries ask nobody at Google about the token.",
)
@click.option(
    "--repository",
    "repositories",
    metavar="REPOSITORY",
    multiple=True,
    help="Give tokens for this repository only; a name, or projects/…/repositories/…. Again for "
    "more.",
)
@click.option("--location", help="Where repositories are that are given by name.")
@click.option("--read-only", is_flag=True, help="Give tokens for reading only.")
@pass_session
def metadata_server(
    session: Session,
    /,
    *,
    listen: str,
    hosts: tuple[str, ...],
    key_file: Path | None,
    universe_domain: str | None,
    repositories: tuple[str, ...],
    location: str | None,
    read_only: bool,
) -> None:
    """Answer on loopback as the metadata server of a machine of Google's does.

    Everything that reaches it can act as the account, within --repository and --read-only.
    """
    host, port = parse_listen(listen)
    if key_file:
        if session.impersonated:
            raise Misconfigured(
                "[--key-file] and [--impersonate-service-account] exclude each other."
            )
        session.credential = read_key_file(key_file)
    credential = session.credential
    identity = _find_identity(session, universe_domain)
    if repositories or read_only:
        identity = _narrowed(session, identity, repositories, location, read_only=read_only)
    # A credential that is refused is told now, not to the first client.
    identity.tokens.get_token()
    names = frozenset(name.lower() for name in hosts)
    with MetadataServer((host, port), identity, names, session.say) as server:
        if host not in LOOPBACK_HOSTS:
            session.say(
                f"WARNING: whoever reaches {host} gets tokens of [{identity.email}]. "
                "Let a firewall see to it that only those do who should."
            )
        address = f"[{host}]" if ":" in host else host
        address = f"{address}:{server.server_address[1]}"
        shown_to = session.find_server() or credential.server
        session.say(
            f"This machine is [{identity.email}] to what finds these variables:\n\n"
            f"export GCE_METADATA_HOST={address} GCE_METADATA_IP={address} \\\n"
            f"  BONDED_ATTACHED_IDENTITY_HOSTS={shown_to}\n"
        )
        _serve(server)


def _serve(server: MetadataServer) -> None:
    """Serve until the person at the keyboard or the system says to stop."""
    from signal import SIGTERM, signal  # noqa: PLC0415 - no other command needs it

    # shutdown() waits for the loop to end, so the loop's own thread must not call it.
    signal(SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    try:
        server.serve_forever(0.5)
    except KeyboardInterrupt:
        return


def _find_identity(session: Session, universe: str | None) -> Identity:
    """Return who the machine is to be.

    Raises:
        Misconfigured: nothing says in which project.
    """
    credential = session.credential
    project = session.flags.project or credential.project
    project = project or session.configuration.find(properties.PROJECT)
    if not project:
        raise Misconfigured(
            f"Nothing says in which project the machine of [{credential.email}] is.",
            hint="Name it with --project.",
        )
    universe = universe or urlsplit(credential.server).hostname or ""
    email = session.impersonated or credential.email
    return Identity(
        email,
        project,
        universe,
        session.tokens,
        _identity_tokens(session, email),
        _find_number(session, project),
    )


def _find_number(session: Session, project: str) -> str:
    """Return the number of *project*; nothing if the account may not know."""
    try:
        return str(session.api.get(f"/v1/projects/{segment(project)}").get("projectNumber", ""))
    except Refused:
        return ""


def _identity_tokens(session: Session, email: str) -> Callable[[str], str] | None:
    """Return what makes ID tokens of the account *email*; None if nothing does."""
    credential = session.credential
    if session.impersonated is None and isinstance(credential, ServiceAccountKey):
        return partial(identity_token_of, credential)
    if session.impersonated is None and isinstance(credential, SignIn):
        return None
    return partial(session.impersonate(email).get_identity_token, has_email=True)


def _narrowed(
    session: Session,
    identity: Identity,
    repositories: Sequence[str],
    location: str | None,
    *,
    read_only: bool,
) -> Identity:
    """Return *identity* with tokens that do less, and without a proof that works elsewhere."""
    places = [locate(session, name, location) for name in repositories]
    named = [place.path.removeprefix("/v1/") for place in places]
    tokens = NarrowedTokens(session.tokens, session.server, named, read_only=read_only)
    kept = CachedTokens(tokens, session.directory, session.server)
    return replace(identity, tokens=kept, get_identity_token=None, limits=tokens.limits)


def parse_listen(text: str) -> tuple[str, int]:
    """Return host and port.

    Raises:
        Misconfigured: it is not `HOST:PORT`.
    """
    wrong = Misconfigured(
        f"[{text}] is no address to listen on.", hint=f"Write it as {DEFAULT_LISTEN}."
    )
    try:
        url = urlsplit(f"//{text}")
        host, port = url.hostname, url.port
    except ValueError as error:
        raise wrong from error
    if not host or port is None or url.netloc != text or "@" in text:
        raise wrong
    return host, port
