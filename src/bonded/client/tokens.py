"""Access tokens: fetched with google-auth, kept on disk, refreshed before they expire."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC
from pathlib import Path
from typing import Any, Protocol

from bonded.client.accounts import (
    Account,
    Credential,
    ServiceAccountKey,
    SignIn,
    Workload,
    quoted,
)
from bonded.client.errors import ClientError, Misconfigured, NotSignedIn, Unreachable
from bonded.client.private_files import (
    make_private,
    read_private,
    remove_private,
    write_private,
)

# A token that is handed out must outlive the work it is handed out for: a build, an upload.
REMAINING_LIFE_MIN_S = 5 * 60
REQUEST_TIMEOUT_S = 10.0
LOCK_TIMEOUT_S = 60.0
SCOPE = "https://www.googleapis.com/auth/cloud-platform"


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A token and the moment it dies, in seconds since the epoch."""

    secret: str = field(repr=False)
    expires_at: float

    def is_fresh(self, now: float) -> bool:
        """Say whether the token outlives *now* by enough to be handed out."""
        return self.expires_at - now > REMAINING_LIFE_MIN_S


class TokenSource(Protocol):
    """What the API client needs: whose token it is, the token, and a way to say it was refused."""

    @property
    def account(self) -> str:
        """The account that the tokens speak for."""

    def get_token(self) -> AccessToken:
        """Return a token with life left in it."""

    def forget(self) -> None:
        """Hand out no token again that was handed out before."""


class KeyTokens:
    """Tokens for a service-account key, by the JWT-bearer grant (RFC 7523) of google-auth."""

    def __init__(self, key: ServiceAccountKey) -> None:
        self._key = key

    @property
    def account(self) -> str:
        """The service account's address."""
        return self._key.email

    def get_token(self) -> AccessToken:
        """Fetch a new token from the key's `token_uri`.

        Raises:
            Misconfigured: the key file holds no usable private key.
            NotSignedIn: the server refuses the key.
            Unreachable: nobody answers at the `token_uri`.
        """
        # google-auth costs some 200 ms to import, so only a real fetch pays for it.
        from google.oauth2.service_account import Credentials  # noqa: PLC0415

        try:
            credentials = Credentials.from_service_account_info(  # type: ignore[no-untyped-call]
                self._key.info, scopes=[SCOPE]
            )
        except ValueError as error:
            raise Misconfigured(
                f"The key of [{self.account}] holds no usable private key: {error}",
                hint="Create another with `bonded iam service-accounts keys create`.",
            ) from error
        return fetch_token(
            credentials,
            subject=f"the key of [{self.account}]",
            endpoint=self._key.token_uri,
            hint="A key that is gone is replaced with `bonded iam service-accounts keys create`, "
            "and then `bonded auth activate-service-account --key-file=FILE`.",
        )

    def forget(self) -> None:
        """Do nothing: nothing is kept."""


class SignInTokens:
    """Tokens for a person's sign-in, by its refresh token (RFC 6749 §6).

    The server does not replace a refresh token when it is used, so any number of processes may.
    """

    def __init__(self, sign_in: SignIn) -> None:
        self._sign_in = sign_in

    @property
    def account(self) -> str:
        """The person's address."""
        return self._sign_in.email

    def get_token(self) -> AccessToken:
        """Fetch a new token from the server that the person signed in to.

        Raises:
            NotSignedIn: the sign-in has ended, or its refresh token cannot be had.
            Unreachable: nobody answers.
        """
        from google.auth.external_account_authorized_user import Credentials  # noqa: PLC0415

        sign_in = complete(self._sign_in)
        return fetch_token(
            Credentials.from_info(sign_in.info),  # type: ignore[no-untyped-call]
            subject=f"the sign-in of [{self.account}]",
            endpoint=sign_in.info["token_url"],
            hint=f"Sign in again with `bonded auth login {self.account}`.",
        )

    def forget(self) -> None:
        """Do nothing: nothing is kept."""


class WorkloadTokens:
    """Tokens for an outside identity, which google-auth exchanges for ours (RFC 8693)."""

    def __init__(self, workload: Workload) -> None:
        self._workload = workload

    @property
    def account(self) -> str:
        """The name of the identity here."""
        return self._workload.email

    def get_token(self) -> AccessToken:
        """Exchange the proof that the file names for a new token.

        Raises:
            ClientError: there is no proof, the server refuses it, or nobody answers.
        """
        # Until somebody has signed in with it, the server's name for it is not known.
        known = f" of [{self.account}]" if self.account else ""
        return fetch_by_file(
            self._workload.text,
            source=f"The configuration{known}",
            subject=f"the outside identity{known}",
            endpoint=self._workload.endpoint,
            hint="Look whether its proof is where the file said, then sign in again with "
            "`bonded auth login --cred-file=FILE`.",
        )

    def forget(self) -> None:
        """Do nothing: nothing is kept."""


def complete(sign_in: SignIn) -> SignIn:
    """Return *sign_in* with its refresh token, from the system's keyring if it is there.

    Raises:
        NotSignedIn: the keyring does not give it.
    """
    if sign_in.refresh_token:
        return sign_in
    from bonded.client.system_keyring import find_secret  # noqa: PLC0415 - seldom needed

    secret = find_secret(sign_in.account)
    if secret is None:
        raise NotSignedIn(
            f"The sign-in of [{sign_in.email}] is in the system's keyring, which does not give it.",
            hint="Unlock the keyring, or sign in again from here with "
            f"`bonded auth login {sign_in.email} --force`.",
        )
    return replace(sign_in, refresh_token=secret)


def tokens_of(credential: Credential) -> TokenSource:
    """Return what fetches tokens for *credential*."""
    match credential:
        case ServiceAccountKey():
            return KeyTokens(credential)
        case SignIn():
            return SignInTokens(credential)
        case Workload():
            return WorkloadTokens(credential)


def fetch_by_file(text: str, *, source: str, subject: str, endpoint: str, hint: str) -> AccessToken:
    """Fetch a token with the contents of a credential file of any type that google-auth knows.

    *source* names the file in errors; the others are as for `fetch_token`.

    Raises:
        ClientError: the file is not usable, the server refuses it, or nobody answers.
    """
    import warnings  # noqa: PLC0415 - google-auth is slow to import, so only a fetch pays

    import google.auth  # noqa: PLC0415
    from google.auth.credentials import with_scopes_if_required  # noqa: PLC0415
    from google.auth.exceptions import GoogleAuthError  # noqa: PLC0415

    fields = json.loads(text)
    try:
        with warnings.catch_warnings():
            # It warns of files that strangers wrote. This one is the user's own choice.
            warnings.simplefilter("ignore")
            # Scopes are added later: with them, it asks Google for the name of a project.
            loaded, _ = google.auth.load_credentials_from_dict(  # type: ignore[no-untyped-call]
                fields
            )
            scoped = with_scopes_if_required(loaded, [SCOPE])  # type: ignore[no-untyped-call]
    except (GoogleAuthError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise Misconfigured(f"{source} is no usable credential file: {error}", hint=hint) from error
    return fetch_token(
        scoped,
        subject=subject,
        endpoint=endpoint,
        asks_elsewhere="service_account" not in fields["type"],
        hint=hint,
    )


def fetch_token(
    credentials: Any, *, subject: str, endpoint: str, hint: str, asks_elsewhere: bool = False
) -> AccessToken:
    """Fetch a token with a credential of google-auth; the other arguments are for the errors.

    *asks_elsewhere* says that something beside the *endpoint* has a part in it, such as a file with
    a subject token, so that an error without an answer may be about that.

    Raises:
        Misconfigured: the credential cannot be used here.
        NotSignedIn: the server refuses it; *hint* says what to do then.
        Unreachable: nobody answers at the *endpoint*.
    """
    from functools import partial  # noqa: PLC0415 - see above

    import requests  # noqa: PLC0415
    from google.auth.exceptions import GoogleAuthError, OAuthError, RefreshError  # noqa: PLC0415
    from google.auth.transport.requests import Request  # noqa: PLC0415

    try:
        # refresh() alone: before_request() would also send the token to Google.
        with requests.Session() as session:
            # Without these, requests would send what netrc says about the host in place of what
            # google-auth says, and carry either to wherever an answer points.
            session.auth = lambda request: request
            session.max_redirects = 0
            credentials.refresh(partial(Request(session), timeout=REQUEST_TIMEOUT_S))
    except (RefreshError, OAuthError) as error:
        if asks_elsewhere and len(error.args) == 1:
            raise Misconfigured(f"Cannot use {subject}: {error}", hint=hint) from error
        raise _refusal(error.args, subject, endpoint, hint) from error
    except GoogleAuthError as error:
        raise Unreachable(
            f"Nobody answers at {endpoint}, where {subject} is to be exchanged for a token.",
            hint="Start the server with `bonded serve`, or check the network and the address.",
        ) from error
    # google-auth's expiry is in UTC but does not say so.
    expires_at = credentials.expiry.replace(tzinfo=UTC).timestamp()
    return AccessToken(credentials.token, expires_at)


def _refusal(arguments: tuple[Any, ...], subject: str, endpoint: str, hint: str) -> ClientError:
    """Return our error for google-auth's: a text, and the body that the server sent."""
    body = arguments[-1] if arguments else None
    if isinstance(body, str):
        with suppress(ValueError):
            body = json.loads(body)
    if not isinstance(body, dict) or not isinstance(body.get("error"), str):
        return Unreachable(
            f"{endpoint} does not answer as a Bonded server does.",
            hint="It may be failing, or something else may be listening there.",
        )
    # RFC 6749 §5.2: a code, and perhaps a sentence.
    reason = body.get("error_description") or body["error"]
    if body["error"] in {"temporarily_unavailable", "server_error"}:
        return Unreachable(f"{endpoint} cannot answer now: {reason}", hint="Try again later.")
    return NotSignedIn(f"The server refuses {subject}: {reason}", hint=hint)


class CachedTokens:
    """Another source's tokens, kept in a private file for each account and server.

    However many processes find the token stale, one of them fetches: the others wait for its lock
    and then read what it wrote. Where nothing can be written, as in a container with a read-only
    home, a token serves one process.
    """

    def __init__(self, source: TokenSource, directory: Path, server: str) -> None:
        self._source = source
        self._path = _token_path(directory, Account(source.account, server))
        self._held: AccessToken | None = None

    @property
    def account(self) -> str:
        """The account that the tokens speak for."""
        return self._source.account

    def get_token(self) -> AccessToken:
        """Return the token at hand while it is fresh, else fetch another.

        Raises:
            ClientError: no token can be had; the source says why.
        """
        if token := self._find_fresh():
            return token
        # Not on the path of a cached token: filelock costs some 40 ms to import.
        from filelock import FileLock, Timeout  # noqa: PLC0415

        lock = FileLock(self._path.with_suffix(".lock"), timeout=LOCK_TIMEOUT_S, mode=0o600)
        try:
            make_private(self._path.parent)
            lock.acquire()
        except Timeout as error:
            raise ClientError(
                f"Another process has been fetching a token for {LOCK_TIMEOUT_S:.0f} s.",
                hint=f"If none is running, remove {lock.lock_file} and try again.",
            ) from error
        except OSError:
            return self._fetch()
        try:
            return self._find_fresh() or self._fetch()
        finally:
            lock.release()

    def forget(self) -> None:
        """Remove the token, because the server refused it."""
        self._held = None
        remove_private(self._path)
        self._source.forget()

    def _fetch(self) -> AccessToken:
        """Fetch a token and keep it, on disk if that can be."""
        token = self._source.get_token()
        kept = {"access_token": token.secret, "expires_at": token.expires_at}
        try:
            write_private(self._path, json.dumps(kept))
        except Misconfigured:
            self._held = token
        return token

    def _find_fresh(self) -> AccessToken | None:
        """Return the token at hand; an unreadable one counts as none, since it can be had again."""
        now = time.time()
        for token in (self._held, self._read()):
            if token and token.is_fresh(now):
                return token
        return None

    def _read(self) -> AccessToken | None:
        """Return the token on disk."""
        try:
            kept = json.loads(read_private(self._path) or "")
            return AccessToken(str(kept["access_token"]), float(kept["expires_at"]))
        except (ValueError, TypeError, KeyError, Misconfigured):
            return None


def keep_token(directory: Path, account: Account, token: AccessToken) -> None:
    """Keep a token that was had by the way, so that nobody needs to fetch it."""
    kept = {"access_token": token.secret, "expires_at": token.expires_at}
    with suppress(Misconfigured):
        write_private(_token_path(directory, account), json.dumps(kept))


def forget_tokens(directory: Path, account: Account) -> None:
    """Remove the token of *account*, and its lock unless somebody holds it."""
    path = _token_path(directory, account)
    remove_private(path)
    lock = path.with_suffix(".lock")
    if lock.exists():
        from filelock import FileLock, Timeout  # noqa: PLC0415 - as above

        with suppress(OSError, Timeout), FileLock(lock, timeout=0):
            remove_private(lock)


def _token_path(directory: Path, account: Account) -> Path:
    """Return where the token of *account* is kept."""
    return directory / "tokens" / quoted(account.server) / f"{quoted(account.email)}.json"
