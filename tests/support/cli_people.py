"""The part of a fake registry where people sign in: OAuth's endpoints, and the checks they owe."""

from __future__ import annotations

import base64
import hashlib
from typing import Any, NoReturn
from urllib.parse import urlencode

Form = dict[str, str]
PERSON = "ada@example.com"


class OAuthAnswer(Exception):
    """An answer that is not the usual one: a redirection, or an error of RFC 6749 §5.2."""

    def __init__(self, status: int, body: Form, location: str = "") -> None:
        super().__init__(status)
        self.status, self.body = status, body
        self.headers = {"location": location} if location else {}


def fault(code: str, sentence: str = "", status: int = 400) -> OAuthAnswer:
    """Return an error answer."""
    return OAuthAnswer(status, {"error": code, "error_description": sentence})


class People:
    """Who may sign in, what they were given, and what has ended."""

    def __init__(self) -> None:
        self.person = PERSON
        self.refusal: str | None = None
        self.pending = 0
        self.codes: dict[str, Form] = {}
        self.refresh_tokens: set[str] = set()
        self.ended: list[str] = []
        self.hints: list[str] = []
        self.fault: OAuthAnswer | None = None
        # Who the server says it is: to whom asks, and to whom its answers go by way of a browser.
        self.issuer: str | None = None
        self.says_who = True
        self._count = 0

    def describe(self, url: str) -> dict[str, Any]:
        """Return the server's metadata (RFC 8414)."""
        said = {"authorization_response_iss_parameter_supported": True} if self.says_who else {}
        return {"issuer": self.issuer or url, **said}

    def authorize(self, query: Form, url: str) -> NoReturn:
        """Send the browser of a person who answers at once back to where it came from."""
        assert query["response_type"] == "code"
        assert query["code_challenge_method"] == "S256"
        assert query["redirect_uri"].startswith("http://127.0.0.1:")
        self.hints.append(query.get("login_hint", ""))
        said = {"state": query["state"]} | ({"iss": self.issuer or url} if self.says_who else {})
        if self.refusal:
            said |= {"error": "access_denied", "error_description": self.refusal}
        else:
            self._count += 1
            said["code"] = f"code-{self._count}"
            self.codes[said["code"]] = query
        raise OAuthAnswer(302, {}, f"{query['redirect_uri']}?{urlencode(said)}")

    def start(self, url: str) -> dict[str, Any]:
        """Answer a request for a device code."""
        return {
            "device_code": "device-1",
            "user_code": "BDFG-HJKL",
            "verification_uri": f"{url}/device",
            "verification_uri_complete": f"{url}/device?user_code=BDFG-HJKL",
            "expires_in": 600,
            "interval": 0,
        }

    def check(self, form: Form) -> dict[str, Any]:
        """Check a grant, and return what a token's answer has beyond the token."""
        if self.fault:
            raise self.fault
        match form["grant_type"]:
            case "authorization_code":
                self._check_code(form)
            case "refresh_token":
                if form["refresh_token"] not in self.refresh_tokens:
                    raise fault("invalid_grant", "The sign-in has ended. Sign in again.")
                return {"id_token": f"identity-of-{self.person}"}
            case "urn:ietf:params:oauth:grant-type:device_code":
                self._check_device()
            case _:
                return {}
        self._count += 1
        token = f"brt_{self._count}"
        self.refresh_tokens.add(token)
        return {"refresh_token": token, "account": self.person}

    def revoke(self, form: Form) -> dict[str, Any]:
        """End a sign-in."""
        self.refresh_tokens.discard(form["token"])
        self.ended.append(form["token"])
        return {}

    def _check_code(self, form: Form) -> None:
        asked = self.codes.pop(form["code"])
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        assert challenge == asked["code_challenge"]
        assert form["redirect_uri"] == asked["redirect_uri"]
        assert form["client_id"] == asked["client_id"] == "bonded-cli"

    def _check_device(self) -> None:
        if self.pending:
            self.pending -= 1
            raise fault("authorization_pending")
        if self.refusal:
            raise fault("access_denied", self.refusal)
