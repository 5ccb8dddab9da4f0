"""Signing in and out: password, second factor, or a provider."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from urllib.parse import parse_qs, quote, urlsplit

from bonded.server.core.audit import note, proved
from bonded.server.core.errors import Forbidden, Rejected, Unavailable
from bonded.server.core.iam import Principal
from bonded.server.core.names import parse_address
from bonded.server.identity.directory import Directory
from bonded.server.identity.provider import Flow, Provider
from bonded.server.identity.seals import Seals
from bonded.server.identity.sessions import BROWSER, Admit, Person, Sessions
from bonded.server.identity.throttle import Throttle
from bonded.server.web.messages import Answer, Call, Reply
from bonded.server.web.networks import Networks
from bonded.server.web.ui.browser import BROWSER as BROWSER_COOKIE
from bonded.server.web.ui.browser import SESSION, Browser, as_page, go_to

HOME = "/account"
CALLBACK = "/_/provider/callback"
_NEXT = ("/authorize?", "/device", "/account")
"""Where a sign-in may lead: to pages of our own, and nowhere else."""
NEXT_LENGTH_MAX = 2048
PENDING = "bonded-pending"
FLOW = "bonded-flow"
STEP_LIFE_S = 600
"""Between two steps of one sign-in."""


class SignIn:
    """Answers `/sign-in` and what follows from it."""

    def __init__(
        self,
        *,
        browser: Browser,
        directory: Directory,
        provider: Provider | None,
        sessions: Sessions,
        seals: Seals,
        networks: Networks,
        passwords: Throttle,
        codes: Throttle,
    ) -> None:
        self.browser = browser
        self._directory = directory
        self._provider = provider
        self._sessions = sessions
        self._seals = seals
        self._networks = networks
        self._passwords = passwords
        self._codes = codes

    @as_page
    async def show(self, call: Call) -> Answer:
        """Show the form."""
        query = call.query()
        after = safe_next(query.get("next", [""])[0])
        if await self.browser.session_of(call) is not None:
            return go_to(after)
        hint = parse_qs(urlsplit(after).query).get("login_hint", [""])[0]
        return self._form(call, after, hint)

    @as_page
    async def submit(self, call: Call) -> Answer:
        """Judge address and password."""
        form = await self.browser.form(call)
        after = safe_next(form.get("next", ""))
        typed = form.get("address", "")
        try:
            address = parse_address(typed)
        except Rejected as error:
            return self._form(call, after, typed, f"{error.message}.")
        note(f"users/{address}")
        place = self.browser.place_of(call, address)
        password = form.get("password", "")
        with self._passwords.guess(address, place) as guess:
            checked = await self._directory.check(
                address, password, is_known=bool(place.device), site=place.site
            )
            guess.is_right = checked is not None
        if checked is None:
            return self._form(call, after, address, "The address or the password is wrong.")
        if checked.user.is_disabled:
            raise Forbidden(f"{address} is disabled", hint="Ask an administrator.")
        if not checked.has_factor:
            mark = checked.proof
            admit = partial(
                self._directory.admit, address=address, mark=mark, has_shown_factor=False
            )
            return await self._let_in(call, Person(address), admit, after)
        kept: dict[str, object] = {
            "address": address,
            "next": after,
            # Good in this browser, and as long as that password is the one.
            "browser": self.browser.cookie_of(call, BROWSER_COOKIE),
            "proof": checked.proof,
        }
        return self._factor_form(call, self._seals.seal(PENDING, kept, STEP_LIFE_S))

    @as_page
    async def submit_factor(self, call: Call) -> Answer:
        """Judge the code of a second factor."""
        form = await self.browser.form(call)
        pending = self._seals.open(PENDING, form.get("pending", ""))
        if pending is None or pending["browser"] != self.browser.cookie_of(call, BROWSER_COOKIE):
            raise Rejected(
                "The sign-in took too long, or was not started in this browser", hint="Start again."
            )
        address = str(pending["address"])
        note(f"users/{address}")
        place = self.browser.place_of(call, address)
        with self._codes.guess(address, place) as guess:
            guess.is_right = await self._directory.check_factor(
                address, form.get("code", ""), pending["proof"]
            )
        if not guess.is_right:
            return self._factor_form(call, form["pending"], "The code is wrong, or was used.")
        mark = str(pending["proof"])
        admit = partial(self._directory.admit, address=address, mark=mark, has_shown_factor=True)
        return await self._let_in(call, Person(address), admit, safe_next(str(pending["next"])))

    @as_page
    async def leave(self, call: Call) -> Answer:
        """Sign out of this browser."""
        form = await self.browser.form(call)
        await self.browser.session_of(call)
        await self._sessions.end(self.browser.cookie_of(call, SESSION))
        after = safe_next(form.get("next", ""))
        return go_to(sign_in_for(after), (self.browser.cookie(SESSION, "", 0),))

    @as_page
    async def ask_provider(self, call: Call) -> Answer:
        """Send the browser to the provider."""
        if self._provider is None:
            raise Rejected("This server has no identity provider")
        after = safe_next(call.query().get("next", [""])[0])
        with _telling_the_way_on():
            url, flow = await self._provider.start()
        value: dict[str, object] = {
            "state": flow.state,
            "nonce": flow.nonce,
            "verifier": flow.verifier,
            "next": after,
        }
        sealed = self._seals.seal(FLOW, value, STEP_LIFE_S)
        return go_to(url, (self.browser.cookie(FLOW, sealed, STEP_LIFE_S),))

    @as_page
    async def hear_provider(self, call: Call) -> Answer:
        """Judge what the browser brings back from the provider."""
        kept = self._seals.open(FLOW, self.browser.cookie_of(call, FLOW))
        if self._provider is None or kept is None:
            raise Rejected(
                "This sign-in was not started in this browser, or took too long",
                hint="Start again.",
            )
        flow = Flow(kept["state"], kept["nonce"], kept["verifier"])
        answer = {name: values[0] for name, values in call.query().items()}
        with _telling_the_way_on():
            person, admit = await self._provider.finish(flow, answer)
        return await self._let_in(call, person, admit, safe_next(str(kept["next"])))

    async def _let_in(self, call: Call, person: Person, admit: Admit, after: str) -> Reply:
        address = self._networks.address_of(call)
        started = await self._sessions.start(person, BROWSER, address, admit)
        # Always a new session: one that was there before, somebody else may know.
        await self._sessions.end(self.browser.cookie_of(call, SESSION))
        member = f"user:{person.address}"
        proved(Principal(member, f"session:{started.session.id}", person.also))
        note(f"users/{person.address}")
        cookies = self.browser.signed_in(started.secret, person.address)
        return go_to(after, (*cookies, self.browser.cookie(FLOW, "", 0)))

    def _form(self, call: Call, after: str, address: str, problem: str = "") -> Reply:
        return self.browser.page(
            *(call, "sign_in.html", 403 if problem else 200),
            next=after,
            next_quoted=quote(after, safe=""),
            address=address,
            problem=problem,
            provider="" if self._provider is None else self._provider.name,
        )

    def _factor_form(self, call: Call, pending: str, problem: str = "") -> Reply:
        status = 403 if problem else 200
        return self.browser.page(
            *(call, "second_factor.html", status), pending=pending, problem=problem
        )


@contextmanager
def _telling_the_way_on() -> Iterator[None]:
    """Say what is left to do of a provider that is away, to whoever wanted to sign in there."""
    try:
        yield
    except Unavailable as error:
        raise Unavailable(
            error.message,
            # What is known to be wrong with the settings does not pass in a moment.
            hint=error.hint
            or "Go back and try again in a moment. Who has a password of this registry can sign "
            "in with that there.",
        ) from error


def safe_next(path: str) -> str:
    """Return *path* if a sign-in may lead there, else the account's page."""
    is_ours = path.startswith(_NEXT) and path.isascii() and path.isprintable()
    return path if is_ours and len(path) <= NEXT_LENGTH_MAX and "\\" not in path else HOME


def sign_in_for(path: str) -> str:
    """Return the address of a sign-in that leads to *path*."""
    return f"/sign-in?next={quote(path, safe='')}"
