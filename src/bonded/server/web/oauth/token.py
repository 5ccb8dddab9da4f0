"""The token endpoint: grants for access tokens, one handler for each kind of grant.

RFC 7523 §2.1 in the form that google-auth sends for a key file (gar.md §5.3);
RFC 6749 §4.1.3 and §6 and RFC 8628 §3.4 for people (gar.md §5.5, §6.2).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from bonded.server.core.errors import GrantRefused
from bonded.server.identity.authentication import Authenticator
from bonded.server.identity.codes import CodeGrants, Redeemed
from bonded.server.identity.devices import DeviceGrants
from bonded.server.identity.sessions import Sessions
from bonded.server.identity.tokens import IdTokenIssuer
from bonded.server.metadata.people import Session
from bonded.server.web.messages import Answer, Call, json_reply
from bonded.server.web.networks import Failures, Networks
from bonded.server.web.oauth.clients import client_of

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
AUTHORIZATION_CODE = "authorization_code"
REFRESH_TOKEN = "refresh_token"  # noqa: S105 - a grant's name
DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
GRANTS = (AUTHORIZATION_CODE, REFRESH_TOKEN, DEVICE_CODE, JWT_BEARER)

Form = Mapping[str, str]


class TokenEndpoint:
    """Answers `POST /token`, and `POST /v1/oauthtoken`, where google-auth looks for the same."""

    def __init__(
        self,
        *,
        authenticator: Authenticator,
        sessions: Sessions,
        codes: CodeGrants,
        devices: DeviceGrants,
        id_tokens: IdTokenIssuer,
        networks: Networks,
        failures: Failures,
    ) -> None:
        self._authenticator = authenticator
        self._sessions = sessions
        self._codes = codes
        self._devices = devices
        self._id_tokens = id_tokens
        self._networks = networks
        self._failures = failures
        self._grants = {
            JWT_BEARER: self._by_assertion,
            AUTHORIZATION_CODE: self._by_code,
            REFRESH_TOKEN: self._by_refresh_token,
            DEVICE_CODE: self._by_device_code,
        }

    async def exchange(self, call: Call) -> Answer:
        """Answer with an access token.

        Raises:
            Rejected: the form is not that of a grant we know.
            GrantRefused: the grant is good for nothing (any more).
            Unauthenticated: the assertion proves nobody.
            TooMany: too much has failed from this address.
        """
        form = await call.form()
        grant = self._grants.get(_field(form, "grant_type"))
        if grant is None:
            raise GrantRefused(
                "unsupported_grant_type", f"grant_type must be one of {', '.join(self._grants)}"
            )
        with self._failures.counted(call):
            answer = await grant(call, form)
        return json_reply(answer, headers=((b"cache-control", b"no-store"),))

    async def _by_assertion(self, _call: Call, form: Form) -> dict[str, object]:
        made = await self._authenticator.exchange(_field(form, "assertion"))
        return {made.kind: made.token, "expires_in": made.life_s, "token_type": "Bearer"}

    async def _by_code(self, call: Call, form: Form) -> dict[str, object]:
        redeemed = await self._codes.redeem(
            _field(form, "code"),
            client_of(call, form),
            _field(form, "redirect_uri"),
            _field(form, "code_verifier"),
            self._networks.address_of(call),
        )
        return await self._started(redeemed)

    async def _by_device_code(self, call: Call, form: Form) -> dict[str, object]:
        redeemed = await self._devices.redeem(
            _field(form, "device_code"), client_of(call, form), self._networks.address_of(call)
        )
        return await self._started(redeemed)

    async def _by_refresh_token(self, call: Call, form: Form) -> dict[str, object]:
        client = client_of(call, form)
        session = await self._sessions.refresh(_field(form, "refresh_token"), client)
        return await self._tokens(session, form.get("scope", ""), "")

    async def _started(self, redeemed: Redeemed) -> dict[str, object]:
        session = redeemed.started.session
        life_s = int((session.expires_at - session.created_at).total_seconds())
        return {
            **await self._tokens(session, redeemed.scope, redeemed.nonce),
            "refresh_token": redeemed.started.secret,
            "refresh_token_expires_in": life_s,
        }

    async def _tokens(self, session: Session, scope: str, nonce: str) -> dict[str, object]:
        token, life_s = self._sessions.issue(session)
        answer: dict[str, object] = {
            "access_token": token,
            "expires_in": life_s,
            "token_type": "Bearer",
            # All that was asked for: gcloud warns of scopes that it misses (gar.md §6.2).
            "scope": scope,
            "account": session.address,
        }
        if "openid" in scope.split():
            subject = await self._sessions.subject_of(session)
            answer["id_token"] = self._id_token(session, subject, nonce, life_s)
        return answer

    def _id_token(self, session: Session, subject: str, nonce: str, life_s: int) -> str:
        claims: dict[str, object] = {
            "email": session.address,
            "email_verified": True,
            "auth_time": int(session.created_at.timestamp()),
        }
        if nonce:
            claims["nonce"] = nonce
        life = timedelta(seconds=life_s)
        return self._id_tokens.issue(subject, session.client, life, claims)


def _field(form: Form, name: str) -> str:
    value = form.get(name)
    if not value:
        raise GrantRefused("invalid_request", f"{name} is missing")
    return value
