"""What others need to know of this server: its endpoints, and the keys that it signs with.

RFC 8414 and OpenID Connect Discovery 1.0 say the same things at two addresses.
"""

from __future__ import annotations

from bonded.server.identity.signing import ALGORITHM, SigningKeys
from bonded.server.web.messages import Answer, Call, json_reply
from bonded.server.web.oauth.token import GRANTS

KEPT_S = 3600
"""How long others may keep the answers: a new key is published longer before it signs."""

_ENDPOINTS = {
    "authorization_endpoint": "/authorize",
    "device_authorization_endpoint": "/device_authorization",
    "token_endpoint": "/token",
    "introspection_endpoint": "/v1/introspect",
    "revocation_endpoint": "/revoke",
    "jwks_uri": "/.well-known/jwks.json",
}
_ABILITIES = {
    # Token exchange (RFC 8693) is not among them: it has an address of its own, /v1/token.
    "grant_types_supported": list(GRANTS),
    "response_types_supported": ["code"],
    "response_modes_supported": ["query"],
    "code_challenge_methods_supported": ["S256"],
    "authorization_response_iss_parameter_supported": True,
    "scopes_supported": ["openid", "email"],
    "claims_supported": ["sub", "email", "email_verified", "auth_time"],
    "subject_types_supported": ["public"],
    "id_token_signing_alg_values_supported": [ALGORITHM],
    # Programs on people's machines have no secret that is one; some send it all the same.
    "token_endpoint_auth_methods_supported": ["none", "client_secret_basic", "client_secret_post"],
    "introspection_endpoint_auth_methods_supported": ["none"],
    "revocation_endpoint_auth_methods_supported": ["none"],
}


class Discovery:
    """Answers under `/.well-known/`."""

    def __init__(self, url: str, keys: SigningKeys, default_location: str) -> None:
        self._url = url
        self._keys = keys
        # Ours beside the standard's (RFC 8414 §2). Clients whose roles are on one repository may
        # not list a project's locations, and need this one to name that repository.
        self._more = {"bonded_default_location": default_location}

    async def describe(self, _call: Call) -> Answer:
        """Answer with the endpoints there are."""
        endpoints = {name: self._url + path for name, path in _ENDPOINTS.items()}
        return _kept({"issuer": self._url, **endpoints, **_ABILITIES, **self._more})

    async def list_keys(self, _call: Call) -> Answer:
        """Answer with the public halves of the signing keys (RFC 7517 §5)."""
        return _kept({"keys": self._keys.public()})


def _kept(value: object) -> Answer:
    headers = ((b"cache-control", f"public, max-age={KEPT_S}".encode()),)
    return json_reply(value, headers=headers)
