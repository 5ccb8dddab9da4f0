"""The authorization endpoint: a person says in the browser that a program may act as them.

RFC 6749 §4.1 with PKCE (RFC 7636), for programs on the person's own machine
(RFC 8252). Such a program proves nothing of itself, so the person is always asked.
"""

from __future__ import annotations

from dataclasses import asdict
from urllib.parse import quote, urlencode

from bonded.server.core.errors import Rejected
from bonded.server.identity.codes import CodeGrants, CodeRequest, is_challenge
from bonded.server.identity.seals import Seals
from bonded.server.web.messages import Answer, Call, Reply
from bonded.server.web.oauth.clients import CLIENTS, is_loop_back, origin_of
from bonded.server.web.ui.browser import Browser, as_page, go_to
from bonded.server.web.ui.sign_in import NEXT_LENGTH_MAX, safe_next, sign_in_for

REQUEST = "authorization request"
REQUEST_LIFE_S = 3600
VALUE_LENGTH_MAX = 1024


class Authorize:
    """Answers `/authorize`."""

    def __init__(self, browser: Browser, codes: CodeGrants, seals: Seals, server_url: str) -> None:
        self.browser = browser
        self._codes = codes
        self._seals = seals
        self._server_url = server_url

    @as_page
    async def show(self, call: Call) -> Answer:
        """Ask the person, signing them in first if need be."""
        asked = {name: values[0] for name, values in call.query().items()}
        client, uri = asked.get("client_id", ""), asked.get("redirect_uri", "")
        # Until these two are known to be good, an error must not be sent anywhere.
        if client not in CLIENTS:
            raise Rejected(f"There is no OAuth client {client[:80]!r}")
        if not is_loop_back(uri):
            raise Rejected(
                f"The redirect_uri {uri[:120]!r} does not lead to a program on this machine",
                hint="It must be http://127.0.0.1:PORT/, http://[::1]:PORT/ or "
                "http://localhost:PORT/.",
            )
        here = f"/authorize?{call.scope['query_string'].decode('ascii', 'replace')}"
        problem = _problem_in(asked, here)
        if problem:
            code, sentence = problem
            return self._send_back(uri, asked.get("state", ""), code, sentence)
        session = await self.browser.session_of(call)
        if session is None:
            return go_to(sign_in_for(here))
        request = CodeRequest(
            client=client,
            redirect_uri=uri,
            challenge=asked["code_challenge"],
            scope=asked.get("scope", ""),
            nonce=asked.get("nonce", ""),
        )
        value = asdict(request) | {"state": asked.get("state", ""), "session": session.id}
        return self.browser.page(
            *(call, "consent.html"),
            form_target=origin_of(uri),
            request=self._seals.seal(REQUEST, value, REQUEST_LIFE_S),
            client=CLIENTS[client],
            address=session.address,
            redirect_uri=uri,
        )

    @as_page
    async def answer(self, call: Call) -> Answer:
        """Send the browser back to the program, with a code or with a refusal."""
        form = await self.browser.form(call)
        session = await self.browser.session_of(call)
        value = self._seals.open(REQUEST, form.get("request", ""))
        if value is None or session is None or value.pop("session") != session.id:
            raise Rejected("The request has expired", hint="Start again from the program.")
        state = str(value.pop("state"))
        request = CodeRequest(**value)
        if form.get("answer") != "yes":
            return self._send_back(
                request.redirect_uri, state, "access_denied", "The request was refused"
            )
        code = await self._codes.issue(session, request)
        return self._redirect(request.redirect_uri, {"code": code}, state)

    def _send_back(self, uri: str, state: str, error: str, sentence: str) -> Reply:
        return self._redirect(uri, {"error": error, "error_description": sentence}, state)

    def _redirect(self, uri: str, answer: dict[str, str], state: str) -> Reply:
        if state:
            answer["state"] = state
        # Who answers (RFC 9207), so that a client of several servers is not mixed up.
        answer["iss"] = self._server_url
        joint = "&" if "?" in uri else "?"
        return go_to(f"{uri}{joint}{urlencode(answer, quote_via=quote)}")


def _problem_in(asked: dict[str, str], here: str) -> tuple[str, str] | None:
    """Return what is wrong with a request, as a code of RFC 6749 §4.1.2.1 and a sentence."""
    if asked.get("response_type") != "code":
        return "unsupported_response_type", "response_type must be code"
    # RFC 7636 §4.3: plain is what a client means that names no method.
    if asked.get("code_challenge_method") != "S256":
        return "invalid_request", "code_challenge_method must be S256"
    if not is_challenge(asked.get("code_challenge", "")):
        return "invalid_request", "code_challenge must be a SHA-256 digest in base64url"
    for name in ("scope", "nonce", "state"):
        if len(asked.get(name, "")) > VALUE_LENGTH_MAX:
            return "invalid_request", f"{name} is longer than {VALUE_LENGTH_MAX} characters"
    # Said now, to the program, or the person would hear of it who has signed in meanwhile.
    if safe_next(here) != here:
        sentence = f"The request is longer than {NEXT_LENGTH_MAX} characters, or not URL-encoded"
        return "invalid_request", sentence
    return None
