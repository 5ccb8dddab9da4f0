"""Acting as a service account without its key, by leave of whoever may."""

from __future__ import annotations

from datetime import datetime

from bonded.client.api import Api, segment
from bonded.client.errors import Misconfigured
from bonded.client.tokens import SCOPE, AccessToken, TokenSource


class ImpersonatedTokens:
    """Tokens of a service account that another account's tokens ask for (gar.md §5.6)."""

    def __init__(self, server: str, tokens: TokenSource, email: str) -> None:
        self._server = server
        self._tokens = tokens
        self._email = email

    @property
    def account(self) -> str:
        """Who acts as whom: another caller's tokens end for other reasons."""
        return f"{self._email} by {self._tokens.account}"

    def get_token(self) -> AccessToken:
        """Ask the server for a token.

        Raises:
            ClientError: the account may not, or there is no such account, or nobody answers.
        """
        api = Api(self._server, self._tokens)
        # The server knows whose project an address is of: `-` stands for it, as at Google's.
        path = f"/v1/projects/-/serviceAccounts/{segment(self._email)}:generateAccessToken"
        try:
            answer = api.post(path, {"scope": [SCOPE]})
        finally:
            api.close()
        try:
            expires_at = datetime.fromisoformat(answer["expireTime"]).timestamp()
            return AccessToken(str(answer["accessToken"]), expires_at)
        except (KeyError, ValueError, TypeError) as error:
            raise Misconfigured(f"{self._server} answers without a token.") from error

    def forget(self) -> None:
        """Do nothing: nothing is kept."""
