"""What a browser brings along and is sent away with: cookies, forms, pages.

Every form carries a token that is sealed around the value of a cookie, so that
no other site can fill one in; every page forbids scripts, frames and requests
to other origins.
"""

from __future__ import annotations

import hmac
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Protocol, TypeVar
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from bonded.server.core.audit import Outcome, failed, proved
from bonded.server.core.errors import BondedError, Forbidden, TooMany, Unauthenticated, Unavailable
from bonded.server.core.iam import Principal
from bonded.server.identity.seals import Seals
from bonded.server.identity.sessions import BROWSER_LIFE_S, Sessions
from bonded.server.identity.throttle import Place, place_of
from bonded.server.metadata.people import Session
from bonded.server.web.messages import Answer, Call, Headers, Reply
from bonded.server.web.networks import Networks
from bonded.server.web.problems import STATUS, google_code, sentence_of, told_in_log

SESSION = "bonded-session"
BROWSER = "bonded-browser"
DEVICE = "bonded-device"
DEVICE_LIFE_S = 365 * 24 * 3600
FORM_LIFE_S = 12 * 3600
_COOKIES_LENGTH_MAX = 16 * 1024
_FORBIDDEN = 403
# Of google.rpc.Code: whoever tried has not proved anything, or has typed something wrong.
_UNPROVEN = 16
_WRONG = 3

_log = logging.getLogger("bonded.server")


class Browser:
    """Reads cookies and forms, and answers with pages."""

    def __init__(
        self, seals: Seals, sessions: Sessions, networks: Networks, server_url: str
    ) -> None:
        self._seals = seals
        self._sessions = sessions
        self._networks = networks
        url = urlsplit(server_url)
        self._host = url.netloc
        self._is_https = url.scheme == "https"
        self._templates = Environment(
            loader=FileSystemLoader(Path(__file__).parent / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def cookie_of(self, call: Call, name: str) -> str:
        """Return the value of a cookie of ours, "" if there is none."""
        wanted = self._full(name)
        header = call.headers.get(b"cookie", b"")[:_COOKIES_LENGTH_MAX].decode("latin-1")
        # As browsers join them (RFC 6265 §5.4). What another site of the domain has set may be
        # anything, and a parser that takes offence at it would take ours away with it.
        for pair in header.split(";"):
            found, _, value = pair.strip().partition("=")
            if found == wanted:
                return value
        return ""

    def cookie(self, name: str, value: str, life_s: int) -> tuple[bytes, bytes]:
        """Return the header that sets a cookie; with a life of 0, the one that removes it."""
        secure = "; Secure" if self._is_https else ""
        # Lax, not Strict: the command line opens /authorize from outside, and the person who
        # has signed in shall not have to do so again.
        text = (
            f"{self._full(name)}={value}; Path=/; Max-Age={life_s}; HttpOnly; SameSite=Lax{secure}"
        )
        return b"set-cookie", text.encode()

    def _full(self, name: str) -> str:
        # With the prefix, no other host of the domain can set it (RFC 6265bis §4.1.3).
        return f"__Host-{name}" if self._is_https else name

    async def session_of(self, call: Call) -> Session | None:
        """Return the session of the browser, if somebody is signed in."""
        session = await self._sessions.find_browser(self.cookie_of(call, SESSION))
        if session is not None:
            proved(Principal(f"user:{session.address}", f"session:{session.id}", session.also))
        return session

    def signed_in(self, secret: str, address: str) -> Headers:
        """Return the cookies of a browser in which *address* has just signed in."""
        known: dict[str, object] = {"account": address, "device": secrets.token_urlsafe(12)}
        device = self._seals.seal(DEVICE, known, DEVICE_LIFE_S)
        return (
            self.cookie(SESSION, secret, BROWSER_LIFE_S),
            self.cookie(DEVICE, device, DEVICE_LIFE_S),
        )

    def place_of(self, call: Call, account: str) -> Place:
        """Return where an attempt on *account* comes from, for the throttle."""
        known = self._seals.open(DEVICE, self.cookie_of(call, DEVICE)) or {}
        device = str(known["device"]) if known.get("account") == account else ""
        return place_of(self._networks.address_of(call), device)

    async def form(self, call: Call) -> Mapping[str, str]:
        """Return a form that one of our own pages has sent.

        Raises:
            Forbidden: it comes from elsewhere.
        """
        form = await call.form()
        # What browsers say of the request (Fetch Metadata) and what only our page knows.
        site = call.headers.get(b"sec-fetch-site", b"same-origin")
        browser = self.cookie_of(call, BROWSER)
        sealed = self._seals.open("form", form.get("form", "")) or {}
        is_ours = hmac.compare_digest(str(sealed.get("browser", "")).encode(), browser.encode())
        if site not in (b"same-origin", b"none") or not browser or not is_ours:
            raise Forbidden(
                "The form has expired, or was not sent from a page of this server",
                hint="Go back, load the page again, and allow cookies.",
            )
        return form

    def page(
        self,
        call: Call,
        template: str,
        status: int = 200,
        *,
        headers: Headers = (),
        form_target: str = "",
        **values: object,
    ) -> Reply:
        """Return a page. *form_target* is where else than here its form may lead.

        With a `problem` in it, what was asked for was not done, and so the audit log has it.
        """
        if values.get("problem"):
            failed(Outcome(_UNPROVEN if status == _FORBIDDEN else _WRONG, str(values["problem"])))
        browser = self.cookie_of(call, BROWSER)
        if not browser:
            browser = secrets.token_urlsafe(16)
            headers = (*headers, self.cookie(BROWSER, browser, DEVICE_LIFE_S))
        form = self._seals.seal("form", {"browser": browser}, FORM_LIFE_S)
        text = self._templates.get_template(template).render(form=form, host=self._host, **values)
        return Reply(status, text.encode(), (*_headers(text.encode(), form_target), *headers))

    def problem(self, call: Call, error: BondedError) -> Reply:
        """Return the page that says what went wrong."""
        if isinstance(error, Unavailable):
            _log.warning("%s %s: %s", call.method, call.scope["path"], told_in_log(error))
        headers: Headers = ()
        if isinstance(error, TooMany):
            headers = ((b"retry-after", str(error.retry_after_s).encode()),)
        failed(Outcome(google_code(error), sentence_of(error)))
        status = STATUS[type(error)]
        # A browser that is told 401 without a challenge it can meet says so in its own words.
        code = 403 if isinstance(error, Unauthenticated) else int(status)
        return self.page(
            *(call, "message.html", code),
            headers=headers,
            title=f"{error.message}.",
            text=error.hint,
        )


def go_to(path: str, headers: Headers = ()) -> Reply:
    """Send the browser on, with a GET (RFC 9110 §15.4.4)."""
    location = (b"location", path.encode("ascii"))
    return Reply(303, b"", (location, (b"content-length", b"0"), _NO_STORE, *headers))


_NO_STORE = (b"cache-control", b"no-store")


def _headers(body: bytes, form_target: str) -> Sequence[tuple[bytes, bytes]]:
    policy = (
        "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; "
        f"frame-ancestors 'none'; form-action 'self'{form_target and ' '}{form_target}"
    )
    return (
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        _NO_STORE,
        (b"content-security-policy", policy.encode("ascii", "ignore")),
        (b"x-frame-options", b"DENY"),
        (b"x-content-type-options", b"nosniff"),
        # An invitation's address holds its secret.
        (b"referrer-policy", b"no-referrer"),
        (b"cross-origin-opener-policy", b"same-origin"),
    )


class _HasBrowser(Protocol):
    @property
    def browser(self) -> Browser:
        """Answers with pages."""
        ...


_S = TypeVar("_S", bound=_HasBrowser)


def as_page(
    handler: Callable[[_S, Call], Awaitable[Answer]],
) -> Callable[[_S, Call], Awaitable[Answer]]:
    """Make a handler's errors pages: people, not programs, read them."""

    @wraps(handler)
    async def answer(self: _S, call: Call, /) -> Answer:
        try:
            return await handler(self, call)
        except BondedError as error:
            return self.browser.problem(call, error)

    return answer
