"""Trusted publishing at the root of the host, as uv and others ask for it (standards.md §2.8)."""

from __future__ import annotations

from bonded.server.core.errors import Rejected
from bonded.server.identity.publishers import TrustedPublishing
from bonded.server.web.messages import Answer, Call, json_reply
from bonded.server.web.networks import Failures

_NO_STORE = ((b"cache-control", b"no-store"),)


class PublishingTokens:
    """Says the audience, mints tokens and burns them."""

    def __init__(self, publishing: TrustedPublishing, failures: Failures) -> None:
        self._publishing = publishing
        self._failures = failures

    async def show_audience(self, _call: Call) -> Answer:
        """Answer with what an identity token must be meant for."""
        return json_reply({"audience": self._publishing.audience})

    async def mint(self, call: Call) -> Answer:
        """Answer with a token to publish with.

        Raises:
            TooMany: too much has failed from this address.
        """
        token = await _token(call)
        with self._failures.counted(call):
            minted = await self._publishing.mint(token)
        answer = {"success": True, "token": minted.token, "expires": minted.expires_at}
        return json_reply(answer, headers=_NO_STORE)

    async def burn(self, call: Call) -> Answer:
        """Revoke a minted token. Whatever was sent, the answer says nothing of it."""
        await self._publishing.burn(await _token(call))
        return json_reply({"message": "Accepted"}, 202, headers=_NO_STORE)


async def _token(call: Call) -> str:
    token = (await call.json()).get("token")
    if not isinstance(token, str) or not token:
        raise Rejected('The request must be {"token": "…"}')
    return token
