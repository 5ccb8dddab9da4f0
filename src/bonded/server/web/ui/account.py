"""A person's own page: password, second factor, and the sign-ins that are alive."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager

import segno

from bonded.server.core.errors import BondedError, Conflict, NotFound, Rejected
from bonded.server.identity.directory import Directory, check_new_password
from bonded.server.identity.throttle import Guess, Throttle, place_of
from bonded.server.metadata.people import Session
from bonded.server.operations.users import Users
from bonded.server.web.messages import Answer, Call, Reply
from bonded.server.web.oauth.clients import CLIENTS
from bonded.server.web.ui.browser import Browser, as_page, go_to
from bonded.server.web.ui.sign_in import HOME, sign_in_for

_QR_SCALE = 4


class Account:
    """Answers `/account` and its forms."""

    def __init__(
        self, browser: Browser, directory: Directory, users: Users, throttle: Throttle
    ) -> None:
        self.browser = browser
        self._directory = directory
        self._users = users
        self._throttle = throttle

    @as_page
    async def show(self, call: Call) -> Answer:
        """Show the page."""
        session = await self.browser.session_of(call)
        if session is None:
            return go_to(sign_in_for(HOME))
        return await self._page(call, session)

    @as_page
    async def change_password(self, call: Call) -> Answer:
        """Replace the password."""
        session, form = await self._form(call)
        new = form.get("new", "")
        if new != form.get("again", ""):
            return await self._page(call, session, "The two new passwords are not the same.")
        try:
            # First: to choose badly is no guess of the current one.
            check_new_password(form.get("current", ""), new, session.address)
            with self._guess(session) as guess:
                await self._directory.change_password(
                    session.address, form.get("current", ""), new, session.id
                )
                guess.is_right = True
        except Rejected as error:
            return await self._page(call, session, str(error))
        return await self._page(
            call, session, notice="The password is changed, and every other sign-in has ended."
        )

    @as_page
    async def end_session(self, call: Call) -> Answer:
        """End one of the person's sign-ins."""
        session, form = await self._form(call)
        try:
            await self._users.end_session(session.address, form.get("session", "") or "?")
        except NotFound:
            return await self._page(call, session, "That sign-in had ended already.")
        if await self.browser.session_of(call) is None:
            return go_to(sign_in_for(HOME))
        return await self._page(call, session, notice="The sign-in has ended.")

    @as_page
    async def show_enrolment(self, call: Call) -> Answer:
        """Show a new second factor to the person's authenticator app."""
        session = await self.browser.session_of(call)
        if session is None:
            return go_to(sign_in_for(HOME))
        await self._require_password_of(session)
        return self._enrolment(call, session)

    @as_page
    async def enrol(self, call: Call) -> Answer:
        """Put a second factor in force; show its recovery codes, once."""
        session, form = await self._form(call)
        await self._require_password_of(session)
        sealed = form.get("sealed", "")
        try:
            with self._guess(session) as guess:
                codes = await self._directory.confirm(
                    *(session.address, session.id, sealed),
                    *(form.get("code", ""), form.get("password", "")),
                )
                guess.is_right = True
        except Rejected as error:
            return self._enrolment(call, session, sealed, str(error))
        return self.browser.page(call, "recovery.html", codes=codes)

    @as_page
    async def remove_factor(self, call: Call) -> Answer:
        """Take the second factor out of force."""
        session, form = await self._form(call)
        try:
            with self._guess(session) as guess:
                await self._directory.remove_factor(session.address, form.get("password", ""))
                guess.is_right = True
        except Rejected as error:
            return await self._page(call, session, str(error))
        return await self._page(call, session, notice="The second factor is removed.")

    def _guess(self, session: Session) -> AbstractContextManager[Guess]:
        # Whoever finds a browser signed in must not guess there without end.
        return self._throttle.guess(session.address, place_of("", session.id))

    async def _form(self, call: Call) -> tuple[Session, Mapping[str, str]]:
        form = await self.browser.form(call)
        session = await self.browser.session_of(call)
        if session is None:
            raise Rejected("You are not signed in any more", hint="Sign in again.")
        return session, form

    async def _require_password_of(self, session: Session) -> None:
        proof = await self._directory.proof_of(session.address)
        if not proof.password_hash:
            raise Rejected("Your identity provider signs you in: a second factor is set up there")
        if proof.factor:
            raise Conflict("A second factor is in force already")

    def _enrolment(
        self, call: Call, session: Session, sealed: str = "", problem: str = ""
    ) -> Reply:
        enrolment = self._directory.enrol(session.address, session.id, sealed)
        code = segno.make(enrolment.uri, error="m")
        return self.browser.page(
            *(call, "enrolment.html", 400 if problem else 200),
            address=session.address,
            sealed=enrolment.sealed,
            secret=" ".join(
                enrolment.base32[start : start + 4] for start in range(0, len(enrolment.base32), 4)
            ),
            qr=code.svg_inline(scale=_QR_SCALE, border=2, dark="#000", light="#fff"),
            problem=problem,
        )

    async def _page(
        self, call: Call, session: Session, problem: str = "", notice: str = ""
    ) -> Reply:
        proof = await self._directory.proof_of(session.address)
        try:
            user = await self._users.get(session.address)
            sessions = await self._users.list_sessions(session.address)
        except BondedError:
            return go_to(sign_in_for(HOME))
        return self.browser.page(
            *(call, "account.html", 400 if problem else 200),
            user=user,
            groups=[member.removeprefix("group:") for member in session.also],
            has_password=bool(proof.password_hash),
            has_factor=bool(proof.factor),
            recovery_codes=len(proof.recovery_hashes),
            current=session.id,
            sessions=[(one, CLIENTS.get(one.client, "This server's pages")) for one in sessions],
            problem=problem,
            notice=notice,
        )
