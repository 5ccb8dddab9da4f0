"""How a person signs in: in a browser of this machine, or in one somewhere else with a code.

The first is OAuth's authorization code with PKCE and a redirection to loopback (RFC 8252, RFC
7636), the second its device authorization (RFC 8628). Both end with a refresh token, whose keeping
is somebody else's affair.
"""

from __future__ import annotations

import hmac
import json
import secrets
import time
import webbrowser
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from html import escape
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import requests

from bonded.client.accounts import CLIENT_ID, SignIn
from bonded.client.api import CONNECT_TIMEOUT_S, READ_TIMEOUT_S, reaching, read_content
from bonded.client.environment import Environment
from bonded.client.errors import ClientError, Misconfigured, NotSignedIn, Unreachable
from bonded.client.services import Service
from bonded.client.tokens import SCOPE, AccessToken

BROWSER_TIMEOUT_S = 600.0
CONNECTION_TIMEOUT_S = 10.0
POLL_INTERVAL_S = 5.0
LOOK_INTERVAL_S = 0.2
SCOPES = f"openid email {SCOPE}"
_DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"

Say = Callable[[str], None]


class OAuthRefusal(ClientError):
    """An error of RFC 6749 §5.2: a code for programs, and a sentence for people."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence or f"The server refuses: {code}.", hint="Sign in again.")
        self.code = code


@dataclass(frozen=True, slots=True)
class Grant:
    """What a person's consent brought: a sign-in, and its first access token."""

    sign_in: SignIn
    token: AccessToken = field(repr=False)


def has_browser(environment: Environment) -> bool:
    """Say whether a browser can be opened here that a person would see."""
    try:
        name = webbrowser.get().__class__.__name__
    except webbrowser.Error:
        return False
    # Without a desktop Python finds lynx or w3m, which would take the terminal.
    is_always_there = name in {"MacOSXOSAScript", "WindowsDefault"}
    return is_always_there or bool(environment.find("BROWSER", "DISPLAY", "WAYLAND_DISPLAY"))


def sign_in_by_browser(
    server: str, hint: str | None, say: Say, is_for: Callable[[str, str], bool]
) -> Grant:
    """Open a browser at *server*, and wait until the person has signed in there.

    *is_for* says whether the first origin is another name of the second.

    Raises:
        ClientError: the person refused or did not come back, or the server cannot be asked, or is
            not who it should be.
    """
    # Before a browser shows its own idea of what is wrong, and nobody ever comes back from it.
    metadata = _send("GET", server, "/.well-known/oauth-authorization-server", None)
    verifier = secrets.token_urlsafe(64)
    challenge = urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    issuer = _issuer_in(server, metadata, is_for)
    says_who = metadata.get("authorization_response_iss_parameter_supported") is True
    with _Waiting(issuer, always_says_who=says_who) as waiting:
        query = {
            "response_type": "code",
            "client_id": CLIENT_ID,
            "redirect_uri": waiting.address,
            "scope": SCOPES,
            "state": waiting.state,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        } | ({"login_hint": hint} if hint else {})
        url = f"{server}/authorize?{urlencode(query)}"
        say(f"Your browser has been opened to visit:\n\n    {url}\n")
        webbrowser.open(url)
        code = waiting.wait()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "code_verifier": verifier,
            "redirect_uri": waiting.address,
            "client_id": CLIENT_ID,
        }
        return _granted(server, post_form(server, "/token", form))


def sign_in_by_device(server: str, say: Say) -> Grant:
    """Show a code to type in at *server*, and wait until the person has done so.

    Raises:
        ClientError: the person refused or was too slow, or the server cannot be asked.
    """
    asked = {"client_id": CLIENT_ID, "scope": SCOPES}
    started = post_form(server, "/device_authorization", asked)
    try:
        address = started.get("verification_uri_complete") or started["verification_uri"]
        text = (
            "Open this address in a browser, on any machine:\n\n"
            f"    {address}\n\n"
            f"and make sure that it shows the code {started['user_code']}.\n"
        )
        form = {
            "grant_type": _DEVICE_GRANT,
            "device_code": started["device_code"],
            "client_id": CLIENT_ID,
        }
        interval_s = float(started.get("interval", POLL_INTERVAL_S))
        deadline = time.monotonic() + float(started["expires_in"])
    except (KeyError, TypeError, ValueError) as error:
        raise _nonsense(server) from error
    say(text)
    while time.monotonic() < deadline:
        time.sleep(interval_s)
        try:
            return _granted(server, post_form(server, "/token", form))
        except OAuthRefusal as refusal:
            if refusal.code == "expired_token":
                break
            if refusal.code not in {"authorization_pending", "slow_down"}:
                raise
            # RFC 8628 §3.5: five seconds more, from now on.
            interval_s += POLL_INTERVAL_S if refusal.code == "slow_down" else 0.0
        except Unreachable:
            # A person takes minutes, in which a server may restart.
            interval_s += POLL_INTERVAL_S
    raise NotSignedIn("The code has expired.", hint="Sign in again for another one.")


def end_sign_in(server: str, refresh_token: str) -> None:
    """Tell *server* that a sign-in has ended (RFC 7009); its access tokens end with it.

    Raises:
        ClientError: the server cannot be asked, or does not understand.
    """
    post_form(server, "/revoke", {"token": refresh_token, "client_id": CLIENT_ID})


def fetch_identity_token(sign_in: SignIn) -> str:
    """Return a token that says who the person is, for this program as its audience.

    Raises:
        ClientError: the sign-in has ended, or the server cannot be asked or gives none.
    """
    form = {
        "grant_type": "refresh_token",
        "refresh_token": sign_in.refresh_token or "",
        "client_id": CLIENT_ID,
        "scope": SCOPES,
    }
    token = post_form(sign_in.server, "/token", form).get("id_token")
    if not isinstance(token, str):
        raise Misconfigured(f"{sign_in.server} gives no identity tokens.")
    return token


def find_subject(server: str, token: AccessToken) -> str:
    """Return whom *server* knows the holder of *token* as (RFC 7662).

    Raises:
        ClientError: the server cannot be asked, or does not say.
    """
    answer = post_form(server, "/v1/introspect", {"token": token.secret})
    subject = answer.get("username")
    if not isinstance(subject, str) or not subject.strip() or not subject.isprintable():
        raise _nonsense(server)
    return subject


def post_form(server: str, path: str, form: Mapping[str, str]) -> dict[str, Any]:
    """Post *form* to an endpoint of OAuth and return its answer.

    Raises:
        OAuthRefusal: the answer is an error of the protocol.
        ClientError: there is no answer, or none of the protocol.
    """
    return _send("POST", server, path, form)


def _send(method: str, server: str, path: str, form: Mapping[str, str] | None) -> dict[str, Any]:
    """Send a request of OAuth and return its answer."""
    with (
        reaching(server),
        requests.request(
            method,
            server + path,
            data=form,
            # Without this, requests would send what netrc says about the host.
            auth=lambda request: request,
            headers={"Accept": "application/json"},
            timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S),
            allow_redirects=False,
            stream=True,
        ) as response,
    ):
        content = read_content(response)
        try:
            answer = json.loads(content)
            if response.ok and isinstance(answer, dict):
                return answer
            refusal = OAuthRefusal(str(answer["error"]), str(answer.get("error_description", "")))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise _nonsense(server, response.status_code) from error
    if refusal.code in {"temporarily_unavailable", "server_error"}:
        raise Unreachable(f"{server} cannot answer now: {refusal.message}", hint="Try again later.")
    raise refusal


def _issuer_in(server: str, metadata: Mapping[str, Any], is_for: Callable[[str, str], bool]) -> str:
    """Return who *server* says it is, which has to be who was asked (RFC 8414 §3.3)."""
    issuer = metadata.get("issuer")
    if not isinstance(issuer, str) or not issuer.isprintable():
        raise _nonsense(server)
    # A server that nobody told its public name calls itself by an address on its own machine.
    service = Service.parse(issuer)
    is_unnamed = service is not None and service.is_on_loopback
    if not (is_unnamed or is_for(server, issuer)):
        raise Misconfigured(
            f"{server} says that it is {issuer}, which is not whom you asked.",
            hint="Sign in under that name, with --server. If that is a wrong one, the server's "
            "setting public_url is.",
        )
    return issuer


def _granted(server: str, answer: Mapping[str, Any]) -> Grant:
    try:
        sign_in = SignIn(str(answer["account"]), server, str(answer["refresh_token"]))
        expires_at = time.time() + float(answer["expires_in"])
        return Grant(sign_in, AccessToken(str(answer["access_token"]), expires_at))
    except (KeyError, TypeError, ValueError) as error:
        raise _nonsense(server) from error


def _nonsense(server: str, status: int = 200) -> Misconfigured:
    return Misconfigured(
        f"{server} answers {status} and not as a Bonded server where people sign in.",
        hint="Check the address: --server, BONDED_SERVER or `bonded config set core/server URL`.",
    )


class _Waiting(ThreadingHTTPServer):
    """Waits on loopback for the browser to come back with a code.

    In threads, because browsers open connections that they may never use.
    """

    daemon_threads = True

    def __init__(self, issuer: str, *, always_says_who: bool) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.issuer = issuer
        self.unsaid_issuer = "" if always_says_who else issuer
        self.state = secrets.token_urlsafe(32)
        self.code: str | None = None
        self.refusal: str | None = None

    @property
    def address(self) -> str:
        """Where the browser is to come back to."""
        return f"http://127.0.0.1:{self.server_port}/"

    def wait(self) -> str:
        """Return the code.

        Raises:
            NotSignedIn: the person refused, or did not come back.
        """
        deadline = time.monotonic() + BROWSER_TIMEOUT_S
        self.timeout = LOOK_INTERVAL_S
        while self.code is None and self.refusal is None:
            if time.monotonic() > deadline:
                raise NotSignedIn(
                    f"The browser has not come back for {BROWSER_TIMEOUT_S / 60:.0f} minutes.",
                    hint="Sign in again; if the browser is on another machine, with --no-browser.",
                )
            self.handle_request()
        if self.code is None:
            raise NotSignedIn(f"The sign-in was refused: {self.refusal}")
        return self.code

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that hung up: the browser may come yet."""
        del request, client_address


class _Handler(BaseHTTPRequestHandler):
    """One request of the browser's, or of anybody else on this machine."""

    server: _Waiting
    server_version = "Bonded"
    sys_version = ""
    timeout = CONNECTION_TIMEOUT_S

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        said = {name: values[0] for name, values in parse_qs(url.query).items()}
        # What does not know the state was not sent by the server that we asked (RFC 6749 §10.12).
        is_ours = hmac.compare_digest(said.get("state", "").encode(), self.server.state.encode())
        # RFC 9207 §2.4: nor what another server sent, to be given a code that is not for it; nor,
        # where our server always says who it is, what does not say it.
        is_ours = is_ours and said.get("iss", self.server.unsaid_issuer) == self.server.issuer
        if url.path != "/" or not is_ours:
            self._answer(HTTPStatus.NOT_FOUND, "This is not where the sign-in goes on.")
        elif "code" in said:
            # Answered first: once the code is there, this process may end at any time.
            self._answer(HTTPStatus.OK, "Done. Close this window and go back to the terminal.")
            self.server.code = said["code"]
        else:
            refusal = said.get("error_description") or said.get("error") or "no reason given"
            self._answer(HTTPStatus.OK, f"Not signed in: {refusal}")
            self.server.refusal = refusal

    def _answer(self, status: HTTPStatus, text: str) -> None:
        page = f"<!doctype html><title>Bonded</title><p>{escape(text)}</p>".encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(page)))
        self.send_header("Content-Security-Policy", "default-src 'none'")
        self.send_header("Referrer-Policy", "no-referrer")
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
        """Say nothing: the path holds the code."""
