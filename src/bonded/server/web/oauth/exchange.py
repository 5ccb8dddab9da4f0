"""The token exchange: an outside issuer's token for one of ours.

RFC 8693, in the form that google-auth's `external_account` credentials send (gar.md §5.6).
"""

from __future__ import annotations

from bonded.server.core.errors import Rejected
from bonded.server.identity.workloads import Workloads
from bonded.server.web.messages import Answer, Call, json_reply
from bonded.server.web.networks import Failures

TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105 - a name
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - a name
SUBJECT_TOKENS = (
    "urn:ietf:params:oauth:token-type:jwt",
    "urn:ietf:params:oauth:token-type:id_token",
)


class TokenExchange:
    """Answers `POST /v1/token`."""

    def __init__(self, workloads: Workloads, failures: Failures) -> None:
        self._workloads = workloads
        self._failures = failures

    async def exchange(self, call: Call) -> Answer:
        """Answer with an access token.

        Raises:
            Rejected: the form is not that of an exchange we know.
            NotFound: the audience's provider does not exist.
            Unauthenticated: the subject token proves nobody.
            TooMany: too much has failed from this address.
        """
        form = await call.form()
        if form.get("grant_type") != TOKEN_EXCHANGE:
            raise Rejected(f"grant_type must be {TOKEN_EXCHANGE}")
        if (form.get("requested_token_type") or ACCESS_TOKEN) != ACCESS_TOKEN:
            raise Rejected(f"requested_token_type must be {ACCESS_TOKEN}")
        if form.get("subject_token_type") not in SUBJECT_TOKENS:
            raise Rejected(f"subject_token_type must be {' or '.join(SUBJECT_TOKENS)}")
        for field in ("audience", "subject_token"):
            if not form.get(field):
                raise Rejected(f"{field} is missing")
        with self._failures.counted(call):
            # A token comes out of a file, and `echo` has put a line feed at the end of that.
            proof = form["subject_token"].strip()
            token, life_s = await self._workloads.exchange(form["audience"], proof)
        answer = {
            "access_token": token,
            "issued_token_type": ACCESS_TOKEN,
            "token_type": "Bearer",
            "expires_in": life_s,
        }
        return json_reply(answer, headers=((b"cache-control", b"no-store"),))
