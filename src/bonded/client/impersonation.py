"""Acting as a service account without its key, by leave of whoever may."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from bonded.client.api import Api, Message, segment
from bonded.client.errors import Misconfigured
from bonded.client.tokens import SCOPE, AccessToken, TokenSource


class ImpersonatedTokens:
    """Tokens of a service account that another account's tokens ask for (gar.md §5.6)."""

    def __init__(
        self, server: str, tokens: TokenSource, email: str, life_s: int | None = None
    ) -> None:
        self._server = server
        self._tokens = tokens
        self._email = email
        self._life_s = life_s

    @property
    def account(self) -> str:
        """Who acts as whom: another caller's tokens end for other reasons."""
        return f"{self._email} by {self._tokens.account}"

    def find_mark(self) -> str | None:
        """Return what tells who acts: another may be allowed less."""
        return self._tokens.find_mark()

    def get_token(self) -> AccessToken:
        """Ask the server for a token.

        Raises:
            ClientError: the account may not, or there is no such account, or nobody answers.
        """
        body: Message = {"scope": [SCOPE]}
        if self._life_s is not None:
            body["lifetime"] = f"{self._life_s}s"
        return _token(self._server, self._ask("generateAccessToken", body))

    def get_identity_token(self, audience: str, *, has_email: bool) -> str:
        """Ask for a token that says to *audience* which account this is. Raises ClientError."""
        body = {"audience": audience, "includeEmail": has_email}
        return str(self._ask("generateIdToken", body).get("token", ""))

    def _ask(self, verb: str, body: Message) -> Message:
        # The server knows whose project an address is of: `-` stands for it, as at Google's.
        path = f"/v1/projects/-/serviceAccounts/{segment(self._email)}:{verb}"
        api = Api(self._server, self._tokens)
        try:
            return api.post(path, body)
        finally:
            api.close()

    def forget(self) -> None:
        """Do nothing: nothing is kept."""


class NarrowedTokens:
    """Tokens that may do less than those of another source."""

    def __init__(
        self, tokens: TokenSource, server: str, repositories: Sequence[str], *, read_only: bool
    ) -> None:
        self._tokens = tokens
        self._server = server
        self._repositories = repositories
        self._read_only = read_only

    @property
    def account(self) -> str:
        """Whose tokens, and what is left of them: others of the same account are kept apart."""
        return f"{self._tokens.account} {self.limits}"

    @property
    def limits(self) -> str:
        """What the tokens open, as a phrase."""
        verb = "reading" if self._read_only else "using"
        return f"{verb} {' '.join(self._repositories) or 'anything'}"

    def find_mark(self) -> str | None:
        """Return what tells whose tokens are narrowed."""
        return self._tokens.find_mark()

    def get_token(self) -> AccessToken:
        """Ask the server for a token.

        Raises:
            ClientError: the server refuses, or nobody answers.
        """
        return narrow(
            self._tokens, self._server, self._repositories, read_only=self._read_only, life_s=None
        )

    def forget(self) -> None:
        """Hand on that a token was refused."""
        self._tokens.forget()


def narrow(
    own: TokenSource,
    server: str,
    repositories: Sequence[str],
    *,
    read_only: bool,
    life_s: int | None,
) -> AccessToken:
    """Return a token that may do less than *own*'s: in fewer repositories, only read, or shorter.

    Raises:
        ClientError: the server refuses.
    """
    body: Message = {"repositories": list(repositories), "readOnly": read_only}
    if life_s is not None:
        body["lifetime"] = f"{life_s}s"
    api = Api(server, own)
    try:
        return _token(server, api.post("/v1/tokens:limit", body))
    finally:
        api.close()


def _token(server: str, answer: Message) -> AccessToken:
    try:
        expires_at = datetime.fromisoformat(answer["expireTime"]).timestamp()
        return AccessToken(str(answer["accessToken"]), expires_at)
    except (KeyError, ValueError, TypeError) as error:
        raise Misconfigured(f"{server} answers without a token.") from error
