"""Access tokens: fetched with google-auth, kept on disk, refreshed before they expire."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC
from pathlib import Path
from typing import Any, Protocol

from bonded.client.accounts import Account, quoted
from bonded.client.errors import ClientError, Misconfigured, Unreachable
from bonded.client.private_files import (
    make_private,
    read_private,
    remove_private,
    write_private,
)
from bonded.client.refusals import refusal_of

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

    def find_mark(self) -> str | None:
        """Return what tells who that is now, where the account's name does not say it all.

        Tokens are kept under both. It is None if no more than the next token itself tells, so that
        nothing can be kept for another process.
        """

    def get_token(self) -> AccessToken:
        """Return a token with life left in it."""

    def forget(self) -> None:
        """Hand out no token again that was handed out before."""


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
        NotSignedIn: the server refuses it; *hint* says what to do if the server does not.
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
        raise refusal_of(error.args, subject=subject, endpoint=endpoint, hint=hint) from error
    except GoogleAuthError as error:
        raise Unreachable(
            f"Nobody answers at {endpoint}, where {subject} is to be exchanged for a token.",
            hint="Start the server with `bonded serve`, or check the network and the address.",
        ) from error
    except (OSError, ValueError) as error:
        # A proof that cannot be read, or an address that holds no possible name of a host.
        raise Misconfigured(f"Cannot use {subject}: {error}.", hint=hint) from error
    # google-auth's expiry is in UTC but does not say so.
    expires_at = credentials.expiry.replace(tzinfo=UTC).timestamp()
    return AccessToken(credentials.token, expires_at)


def fetch_marked(source: TokenSource) -> tuple[AccessToken, str | None]:
    """Return a new token of *source*, and the mark to keep it under; None: not to be kept.

    Raises:
        ClientError: no token can be had; the source says why.
    """
    mark = source.find_mark()
    token = source.get_token()
    # A proof that was replaced meanwhile may be the one that was exchanged, or may not.
    return token, mark if source.find_mark() == mark else None


class CachedTokens:
    """Another source's tokens, kept in a private file for each account, server and mark.

    However many processes find the token stale, one of them fetches: the others wait for its lock
    and then read what it wrote. Where nothing can be written, as in a container with a read-only
    home, and where nothing tells beforehand whose a token would be, it serves one process.
    """

    def __init__(self, source: TokenSource, directory: Path, server: str) -> None:
        self._source = source
        self._directory = directory
        self._account = Account(source.account, server)
        self._held: tuple[str | None, AccessToken] | None = None

    @property
    def account(self) -> str:
        """The account that the tokens speak for."""
        return self._source.account

    def find_mark(self) -> str | None:
        """Return what tells who the tokens speak for now."""
        return self._source.find_mark()

    def get_token(self) -> AccessToken:
        """Return the token at hand while it is fresh, else fetch another.

        Raises:
            ClientError: no token can be had; the source says why.
        """
        mark = self.find_mark()
        if token := self._find_fresh(mark):
            return token
        if mark is None:
            self._held = (None, self._source.get_token())
            return self._held[1]
        path = self._path(mark)
        # Not on the path of a cached token: filelock costs some 40 ms to import.
        from filelock import FileLock, Timeout  # noqa: PLC0415

        lock = FileLock(path.with_suffix(".lock"), timeout=LOCK_TIMEOUT_S, mode=0o600)
        try:
            make_private(path.parent)
            lock.acquire()
        except Timeout as error:
            raise ClientError(
                f"Another process has been fetching a token for {LOCK_TIMEOUT_S:.0f} s.",
                hint=f"If none is running, remove {lock.lock_file} and try again.",
            ) from error
        except OSError:
            return self._fetch()
        try:
            return self._find_fresh(mark) or self._fetch()
        finally:
            lock.release()
            if not path.exists():
                # Nothing came of this proof, and the next job has another.
                _remove_lock(path)

    def forget(self) -> None:
        """Remove the token, because the server refused it."""
        self._held = None
        mark = self.find_mark()
        if mark is not None:
            remove_private(self._path(mark))
        self._source.forget()

    def _fetch(self) -> AccessToken:
        """Fetch a token and keep it, on disk if that can be."""
        token, mark = fetch_marked(self._source)
        if mark is not None:
            try:
                _write(self._path(mark), token)
            except Misconfigured:
                self._held = (mark, token)
        return token

    def _find_fresh(self, mark: str | None) -> AccessToken | None:
        """Return the token at hand; an unreadable one counts as none, since it can be had again."""
        held_mark, held = self._held or (None, None)
        kept = None if mark is None else _read(self._path(mark))
        now = time.time()
        for token in (held if held_mark == mark else None, kept):
            if token and token.is_fresh(now):
                return token
        return None

    def _path(self, mark: str) -> Path:
        return _token_path(self._directory, self._account, mark)


def keep_token(directory: Path, account: Account, token: AccessToken, mark: str = "") -> None:
    """Keep a token that was had by the way, so that nobody needs to fetch it."""
    with suppress(Misconfigured):
        _write(_token_path(directory, account, mark), token)


def forget_tokens(directory: Path, account: Account) -> None:
    """Remove the tokens of *account* under every mark, and locks that nobody holds."""
    path = _token_path(directory, account)
    for each in (path, *_marked(path)):
        _remove(each)


def _write(path: Path, token: AccessToken) -> None:
    """Keep *token* at *path*, and no longer what else is there of the account and has expired.

    Every job has a proof of its own, so what is kept for them would grow without end.
    """
    write_private(path, json.dumps({"access_token": token.secret, "expires_at": token.expires_at}))
    now = time.time()
    for each in _marked(path):
        kept = _read(each)
        if kept is None or kept.expires_at <= now:
            _remove(each)


def _read(path: Path) -> AccessToken | None:
    """Return the token at *path*, if there is one."""
    try:
        kept = json.loads(read_private(path) or "")
        return AccessToken(str(kept["access_token"]), float(kept["expires_at"]))
    except (ValueError, TypeError, KeyError, Misconfigured):
        return None


def _remove(path: Path) -> None:
    """Remove the token at *path*, and its lock unless somebody holds it."""
    remove_private(path)
    _remove_lock(path)


def _remove_lock(path: Path) -> None:
    """Remove the lock of the token at *path*, unless somebody holds it."""
    lock = path.with_suffix(".lock")
    if lock.exists():
        from filelock import FileLock, Timeout  # noqa: PLC0415 - as above

        # Whoever waits for it sees that it is gone, and takes a new one. Windows removes its own.
        with suppress(OSError, Timeout), FileLock(lock, timeout=0):
            lock.unlink()


def _token_path(directory: Path, account: Account, mark: str = "") -> Path:
    """Return where the token of *account* is kept that has a *mark*."""
    # Nothing that is quoted holds a plus.
    name = quoted(account.email) + (f"+{mark}" if mark else "")
    return directory / "tokens" / quoted(account.server) / f"{name}.json"


def _marked(path: Path) -> tuple[Path, ...]:
    """Return where tokens with a mark are or were, of the account whose token is kept at *path*.

    A process that was killed may have left a lock, and no token.
    """
    name = path.stem.partition("+")[0]
    found = (*path.parent.glob(f"{name}+*.json"), *path.parent.glob(f"{name}+*.lock"))
    return tuple({each.with_suffix(".json") for each in found})
