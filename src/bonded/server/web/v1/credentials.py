"""IAM Credentials v1: tokens of a service account for who may act as it (gar.md §5.6, §6.2)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from bonded.server.core.clock import Clock
from bonded.server.core.errors import Rejected, Unimplemented
from bonded.server.identity.status import Tokens
from bonded.server.identity.tokens import ID_TOKEN_LIFE_S, IdTokenIssuer, TokenIssuer
from bonded.server.metadata.store import ServiceAccount
from bonded.server.operations.accounts import Accounts
from bonded.server.web.messages import Answer, Call, json_reply
from bonded.server.web.v1 import wire

LIFE = timedelta(hours=1)
NO_STORE = ((b"cache-control", b"no-store"),)


class CredentialsApi:
    """Issues tokens of service accounts to those whom the route's permission lets have them."""

    def __init__(
        self,
        accounts: Accounts,
        tokens: TokenIssuer,
        id_tokens: IdTokenIssuer,
        lending: Tokens,
        *,
        life_max: timedelta,
        clock: Clock,
    ) -> None:
        self._accounts = accounts
        self._tokens = tokens
        self._id_tokens = id_tokens
        self._lending = lending
        self._life_max = life_max
        self._clock = clock

    async def generate_access_token(self, call: Call) -> Answer:
        """Answer with an access token of the account, which ends with the account, or the caller.

        Scopes are accepted and change nothing: what a token may do is up to policies.
        """
        body = await call.json()
        _refuse_delegates(body)
        wire.parse_strings(body, "scope")
        life = wire.parse_duration(body, "lifetime", self._life_max) or LIFE
        account = await self._live_account(call)
        token, life_s = self._tokens.issue(
            f"serviceAccount:{account.email}",
            f"account:{account.unique_id}",
            # Whoever came with a limited token does not get an unlimited one.
            limits=call.principal.limits,
            life=self._lending.lend(call.principal, life),
            # Nor does anybody act through an account longer than they may act at all.
            ancestors=call.principal.ancestry,
        )
        expires_at = self._clock() + timedelta(seconds=life_s)
        # To the second, and not as other times are: google-auth reads nothing else.
        view = {"accessToken": token, "expireTime": expires_at.strftime("%Y-%m-%dT%H:%M:%SZ")}
        return json_reply(view, headers=NO_STORE)

    async def generate_id_token(self, call: Call) -> Answer:
        """Answer with an ID token about the account, for the audience that the body names."""
        body = await call.json()
        _refuse_delegates(body)
        audience = wire.parse_text(body, "audience")
        if not audience:
            raise Rejected("audience is missing", hint="Name who will read the ID token.")
        account = await self._live_account(call)
        has_email = bool(body.get("includeEmail"))
        life = self._lending.lend(call.principal, timedelta(seconds=ID_TOKEN_LIFE_S))
        token = self._id_tokens.about(account, audience, has_email=has_email, life=life)
        return json_reply({"token": token}, headers=NO_STORE)

    async def refuse_to_sign(self, _call: Call) -> Answer:
        """Say why nothing is signed in an account's name.

        Raises:
            Unimplemented: always; the private halves of accounts' keys are not here.
        """
        raise Unimplemented(
            "This server keeps the public halves of service accounts' keys only, and cannot sign",
            hint="Sign with the account's key file, or ask :generateIdToken for a token that "
            "says who the account is.",
        )

    async def _live_account(self, call: Call) -> ServiceAccount:
        account = await self._accounts.get(call.params["project"], call.params["account"])
        if account.is_disabled:
            raise Rejected(
                f"The service account {account.email} is disabled",
                hint="Enable it, or act as another.",
            )
        return account


def _refuse_delegates(body: Mapping[str, Any]) -> None:
    if wire.parse_strings(body, "delegates"):
        raise Rejected(
            "delegates are not available",
            hint="Grant roles/iam.serviceAccountTokenCreator on the account to who asks, directly.",
        )
