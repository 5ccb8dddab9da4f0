"""Invitations: a link, good once, with which a person sets their password."""

from __future__ import annotations

from bonded.server.core.errors import Rejected
from bonded.server.identity.directory import Directory
from bonded.server.identity.throttle import Guess, Throttle, place_of
from bonded.server.metadata.people import User
from bonded.server.web.messages import Answer, Call, Reply
from bonded.server.web.ui.browser import Browser, as_page

PATH = "/_/invitation"


class Invitations:
    """Answers `/_/invitation`."""

    def __init__(self, browser: Browser, directory: Directory, throttle: Throttle) -> None:
        self.browser = browser
        self._directory = directory
        self._throttle = throttle

    @as_page
    async def show(self, call: Call) -> Answer:
        """Show the form; looking at an invitation does not use it up."""
        secret = call.query().get("code", [""])[0]
        return await self._form(call, secret)

    @as_page
    async def submit(self, call: Call) -> Answer:
        """Set the password."""
        form = await self.browser.form(call)
        secret, password = form.get("code", ""), form.get("password", "")
        if password != form.get("again", ""):
            return await self._form(call, secret, "The two passwords are not the same.")
        # Looked up first, and never counted: its secret cannot be guessed, and whoever counted
        # what is none would shut out everybody of that network who has one.
        invitation = await self._directory.open_invitation(secret)
        # Hashing a password costs as much as judging one: who has an invitation does not have it
        # done without end, wherever they call from.
        place = place_of("", invitation.secret_hash)
        try:
            with self._throttle.guess(invitation.address, place) as guess:
                user = await self._accepted(secret, password, guess)
        except Rejected as error:
            return await self._form(call, secret, f"{error.message}.")
        return self.browser.page(
            *(call, "message.html"),
            title="Your password is set.",
            text=f"You can sign in now as {user.address}.",
            link="/sign-in",
            link_text="Sign in",
        )

    async def _accepted(self, secret: str, password: str, guess: Guess) -> User:
        try:
            user = await self._directory.accept(secret, password)
        except Rejected:
            # The password is none; the invitation is one.
            guess.is_right = True
            raise
        guess.is_right = True
        return user

    async def _form(self, call: Call, secret: str, problem: str = "") -> Reply:
        invitation = await self._directory.open_invitation(secret)
        return self.browser.page(
            *(call, "invitation.html", 400 if problem else 200),
            code=secret,
            address=invitation.address,
            problem=problem,
        )
