"""Passwords: the one place where argon2 runs, in threads, few at once.

Argon2id; by default RFC 9106's second recommended choice (64 MiB, 3 passes). It is
slow on purpose, so that a stolen hash costs a guesser as much as it costs us.
"""

from __future__ import annotations

import asyncio
import re
from functools import cached_property

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from bonded.server.core.errors import Rejected
from bonded.server.identity.turns import Party, Turns

LENGTH_MIN = 12
LENGTH_MAX = 256
AT_ONCE_MAX = 2
"""Each takes 64 MiB and a core for a twentieth of a second: the rest of the server goes on."""
WAITING_MAX = 64
STRANGERS_MAX = 48
"""Of those: strangers leave room for devices that an account was used on before."""
# What is put around a word that is too short, or too well known.
_DECORATION = dict.fromkeys(map(ord, "0123456789!?.,@#$*-_ "))
# Atomic, longer ones first: no password makes it try again (ReDoS).
_TRIED_FIRST = re.compile(
    r"(?>password|passwort|pass|word|pwd|qwerty|qwertz|azerty|uiop|asdf|ghjkl|yxcv|zxcv|bnm"
    r"|abcdef|abcd|abc|letmein|welcome|changeme|secret|administrator|admin|root|user|test"
    r"|login|iloveyou|monkey|dragon|default|bonded)++"
)


class Passwords:
    """Hashes and verifies passwords."""

    def __init__(self, memory_kib: int) -> None:
        # Less than 8 KiB for each lane is not allowed.
        self._hasher = PasswordHasher(time_cost=3, memory_cost=max(memory_kib, 32), parallelism=4)
        self._turns = Turns(AT_ONCE_MAX, WAITING_MAX, STRANGERS_MAX)

    async def hash(self, password: str, address: str) -> str:
        """Return argon2's text for *password*, for whoever *address* has proved to be.

        Raises:
            TooMany: too many wait for their turn.
        """
        async with self._turns.taken(Party(address, is_known=True)):
            return await asyncio.to_thread(self._hasher.hash, password)

    async def verify(self, password_hash: str, password: str, party: Party) -> bool:
        """Say whether *password* is the one; for no hash ("") take as long, and say no.

        *party* is whose place in the queue that takes: the account's where it comes from where
        that was used before, else that of the strangers of its site.

        Raises:
            TooMany: too many wait for their turn.
        """
        async with self._turns.taken(party):
            return await asyncio.to_thread(self._verify, password_hash, password)

    def is_outdated(self, password_hash: str) -> bool:
        """Say whether a hash was made with other costs than today's."""
        return self._hasher.check_needs_rehash(password_hash)

    @cached_property
    def _nobodys(self) -> str:
        return self._hasher.hash("nobody's password")

    def _verify(self, password_hash: str, password: str) -> bool:
        try:
            self._hasher.verify(password_hash or self._nobodys, password[:LENGTH_MAX])
        except (VerificationError, InvalidHashError):
            return False
        return bool(password_hash)


def check_password(password: str, address: str) -> None:
    """Refuse a new password that would be guessed.

    Length is what counts; rules about kinds of characters make passwords worse
    (NIST SP 800-63B §5.1.1.2).

    Raises:
        Rejected: it is too short or too long, or nothing but the person's address or what
            everybody tries first.
    """
    if not LENGTH_MIN <= len(password) <= LENGTH_MAX:
        raise Rejected(f"A password has {LENGTH_MIN} to {LENGTH_MAX} characters")
    name = address.partition("@")[0]
    guess = password.lower().translate(_DECORATION)
    if (
        guess.replace(address.translate(_DECORATION), "").replace(name.translate(_DECORATION), "")
        == ""
    ):
        raise Rejected("The password must not be made of the address")
    if _TRIED_FIRST.fullmatch(guess):
        raise Rejected("The password is made of a word that everybody tries first")
    if len(set(password)) < 4:
        raise Rejected("The password repeats too few characters")
