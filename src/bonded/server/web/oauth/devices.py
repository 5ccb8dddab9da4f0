"""Devices without a browser: they show a code, which a person types elsewhere (RFC 8628)."""

from __future__ import annotations

from bonded.server.core.errors import NotFound, TooMany
from bonded.server.identity.devices import DeviceGrants, spelled
from bonded.server.identity.throttle import Budget, Throttle
from bonded.server.metadata.people import Session
from bonded.server.web.messages import Answer, Call, Reply, json_reply
from bonded.server.web.networks import Networks
from bonded.server.web.oauth.clients import CLIENTS, client_of
from bonded.server.web.ui.browser import Browser, as_page, go_to
from bonded.server.web.ui.sign_in import sign_in_for

PATH = "/device"
SCOPE_LENGTH_MAX = 1024
CODE_LENGTH_MAX = 32


class Devices:
    """Answers `/device_authorization`, for devices, and `/device`, for people."""

    def __init__(
        self,
        *,
        browser: Browser,
        grants: DeviceGrants,
        networks: Networks,
        starts: Budget,
        guesses: Throttle,
        server_url: str,
    ) -> None:
        self.browser = browser
        self._grants = grants
        self._networks = networks
        self._starts = starts
        self._guesses = guesses
        self._server_url = server_url

    async def start(self, call: Call) -> Answer:
        """Give a device the codes that it waits with.

        Raises:
            GrantRefused: the client is unknown.
            TooMany: too many devices of this network have started lately.
        """
        form = await call.form()
        client = client_of(call, form)
        wait_s = self._starts.spend(self._networks.network_of(call))
        if wait_s:
            raise TooMany("Too many devices have started from this address", retry_after_s=wait_s)
        waiting = await self._grants.start(
            client, form.get("scope", "")[:SCOPE_LENGTH_MAX], self._networks.address_of(call)
        )
        uri = f"{self._server_url}{PATH}"
        answer = {
            "device_code": waiting.device_code,
            "user_code": waiting.user_code,
            "verification_uri": uri,
            # Google's libraries read this name (RFC 8628 was a draft then).
            "verification_url": uri,
            "verification_uri_complete": f"{uri}?user_code={waiting.user_code}",
            "expires_in": waiting.expires_in_s,
            "interval": waiting.interval_s,
        }
        return json_reply(answer, headers=((b"cache-control", b"no-store"),))

    @as_page
    async def show(self, call: Call) -> Answer:
        """Ask for the code."""
        user_code = spelled(call.query().get("user_code", [""])[0][:CODE_LENGTH_MAX])
        session = await self.browser.session_of(call)
        if session is None:
            return go_to(sign_in_for(f"{PATH}?user_code={user_code}" if user_code else PATH))
        return self._form(call, session, user_code)

    @as_page
    async def answer(self, call: Call) -> Answer:
        """Show what device it is, then sign it in or refuse it."""
        form = await self.browser.form(call)
        user_code = spelled(form.get("user_code", "")[:CODE_LENGTH_MAX])
        session = await self.browser.session_of(call)
        if session is None:
            return go_to(sign_in_for(PATH))
        place = self.browser.place_of(call, "")
        try:
            with self._guesses.guess(session.address, place) as guess:
                grant = await self._grants.find(user_code)
                guess.is_right = True
            if "answer" not in form:
                return self.browser.page(
                    *(call, "device_confirm.html"),
                    user_code=user_code,
                    client=CLIENTS.get(grant.client, grant.client),
                    asked_from=grant.client_address or "an unknown address",
                    address=session.address,
                )
            is_approved = form["answer"] == "yes"
            await self._grants.answer(user_code, session, is_approved=is_approved)
        except NotFound as error:
            return self._form(call, session, user_code, str(error))
        return self.browser.page(
            *(call, "message.html"),
            title="The device is signed in." if is_approved else "The device was refused.",
            text="You can close this page and go back to it." if is_approved else "",
        )

    def _form(self, call: Call, session: Session, user_code: str, problem: str = "") -> Reply:
        return self.browser.page(
            *(call, "device.html", 404 if problem else 200),
            user_code=user_code,
            address=session.address,
            problem=problem,
        )
