"""The token endpoint: an assertion signed with a service-account key for an access token.

RFC 7523 §2.1, in the form that google-auth sends (gar.md §5.3).
"""

from __future__ import annotations

from urllib.parse import parse_qs

from bonded.server.core.errors import Rejected
from bonded.server.identity.authentication import Authenticator
from bonded.server.web.messages import Answer, Call, json_reply

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
FORM_SIZE_MAX_BYTES = 64 * 1024


class TokenEndpoint:
    """Answers `POST /token`."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator

    async def exchange(self, call: Call) -> Answer:
        """Answer with an access token.

        Raises:
            Rejected: the form is not that of a grant we know.
            Unauthenticated: the assertion proves nobody.
        """
        form = parse_form(await call.body(FORM_SIZE_MAX_BYTES))
        if form.get("grant_type") != JWT_BEARER:
            raise Rejected(f"grant_type must be {JWT_BEARER}")
        if not form.get("assertion"):
            raise Rejected("assertion is missing")
        token, life_s = await self._authenticator.exchange(form["assertion"])
        answer = {"access_token": token, "expires_in": life_s, "token_type": "Bearer"}
        return json_reply(answer, headers=((b"cache-control", b"no-store"),))


def parse_form(body: bytes) -> dict[str, str]:
    """Return the fields of a form. Raises Rejected if it is none."""
    try:
        fields = parse_qs(body.decode("ascii"), strict_parsing=True, max_num_fields=20)
    except ValueError as error:
        raise Rejected("The request is not a form (application/x-www-form-urlencoded)") from error
    return {name: values[0] for name, values in fields.items()}
