"""The built-in directory: what people prove themselves by, and how they come by it.

Judging a password takes a while, and may have to wait. What follows from it is written in a
transaction of its own, which looks again, under the lock on the person's row, whether that
password is still the one: or who has an old one would win against whoever replaces it.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from bonded.server.core.audit import note
from bonded.server.core.clock import Clock
from bonded.server.core.digests import sha256_of
from bonded.server.core.errors import Conflict, Forbidden, NotFound, Rejected, Unavailable
from bonded.server.identity import second_factor
from bonded.server.identity.passwords import Passwords, check_password
from bonded.server.identity.sealing import Sealer
from bonded.server.identity.seals import Seals
from bonded.server.identity.turns import Party
from bonded.server.metadata.people import DIRECTORY, Invitation, Proof, User
from bonded.server.metadata.store import MetadataStore, Transaction

CODE_LENGTH_MAX = 64
LAST_SIGN_IN_EVERY = timedelta(minutes=1)
ENROLMENT = "enrolment"
ENROLMENT_LIFE_S = 3600


@dataclass(frozen=True, slots=True)
class Checked:
    """Somebody whose password was right."""

    user: User
    has_factor: bool
    """Whether they have a second factor, and so have not proved enough yet."""
    proof: str
    """A mark of the password that was right: another one has another."""


@dataclass(frozen=True, slots=True, repr=False)
class Enrolment:
    """A second factor that is not in force yet. Has no repr: it shows the secret."""

    sealed: str
    """The secret, for the sign-in in whose browser it is kept until it is in force."""
    base32: str
    uri: str


class Directory:
    """Judges passwords and second factors, and changes them for their owners."""

    def __init__(
        self, metadata: MetadataStore, passwords: Passwords, sealer: Sealer, clock: Clock, host: str
    ) -> None:
        self._metadata = metadata
        self._passwords = passwords
        self._sealer = sealer
        self._seals = Seals(sealer, clock)
        self._clock = clock
        self._host = host

    async def check(
        self, address: str, password: str, *, is_known: bool, site: str = "unknown"
    ) -> Checked | None:
        """Return who proves themselves by *password*, or None. Takes as long for nobody.

        *is_known* says that it comes from where the account was used before, *site* where it is.

        Raises:
            TooMany: too many prove themselves at this moment.
        """
        async with self._metadata.read() as tx:
            user = await tx.users.find(address)
            proof = await tx.users.find_proof(address) or Proof()
        party = Party(address if is_known else site, is_known)
        is_right = await self._passwords.verify(proof.password_hash, password, party)
        if not is_right or user is None:
            return None
        if self._passwords.is_outdated(proof.password_hash):
            proof = await self._renew(address, proof, password, party)
        return Checked(user, bool(proof.factor), _mark_of(proof))

    async def check_factor(self, address: str, code: str, mark: str) -> bool:
        """Say whether *code* is the second factor's, or a recovery code; neither is good twice.

        *mark* is what `check` has said of the password: it must still be that one.
        """
        code = "".join(code.split())[:CODE_LENGTH_MAX]
        async with self._metadata.transaction() as tx:
            proof = await tx.users.hold_proof(address)
            if proof is None or not proof.factor or _mark_of(proof) != mark:
                return False
            secret = self._secret_of(address, proof.factor)
            step = self._step_of(secret, code, proof.factor_step)
            if step is not None:
                # Sealed again: the first servers sealed it without saying whose it is.
                factor = self._factor_of(address, secret)
                await tx.users.set_proof(address, replace(proof, factor=factor, factor_step=step))
                return True
            left = _without(proof.recovery_hashes, second_factor.recovery_hash(code))
            if left is not None:
                await tx.users.set_proof(address, replace(proof, recovery_hashes=left))
            return left is not None

    async def admit(
        self, tx: Transaction, address: str, mark: str, *, has_shown_factor: bool
    ) -> None:
        """Let somebody sign in, in *tx*, if what they have proved still holds; write it down.

        *mark* is what `check` has said of the password.

        Raises:
            Forbidden: the password or the second factor is another now, or they are gone or
                disabled.
        """
        proof = await tx.users.hold_proof(address)
        user = await tx.users.find(address)
        if user is None or proof is None or user.is_disabled:
            raise Forbidden(f"{address} may not sign in any more", hint="Ask an administrator.")
        if _mark_of(proof) != mark or (proof.factor and not has_shown_factor):
            raise Forbidden(
                "What you sign in with was changed in this moment", hint="Sign in with the new."
            )
        now = self._clock()
        if user.last_sign_in_at is None or now - user.last_sign_in_at >= LAST_SIGN_IN_EVERY:
            await tx.users.update(replace(user, last_sign_in_at=now))

    async def open_invitation(self, secret: str) -> Invitation:
        """Return the invitation that *secret* belongs to.

        Raises:
            NotFound: there is none; it was used, replaced by another, or has expired.
        """
        async with self._metadata.read() as tx:
            invitation = await tx.users.find_invitation(_hash_of(secret))
            user = None if invitation is None else await tx.users.find(invitation.address)
        if invitation is None or user is None or not self._is_good(invitation, user):
            raise _no_invitation()
        return invitation

    async def accept(self, secret: str, password: str) -> User:
        """Set the password of whom an invitation is for; every sign-in of theirs ends.

        A second factor stays: an invitation, which went through the mail, does not
        take it away.

        Raises:
            NotFound: there is no such invitation.
            Rejected: the password would be guessed.
        """
        invitation = await self.open_invitation(secret)
        note(f"users/{invitation.address}")
        check_password(password, invitation.address)
        password_hash = await self._passwords.hash(password, invitation.address)
        async with self._metadata.transaction() as tx:
            proof = await _hold(tx, invitation.address)
            taken = await tx.users.take_invitation(invitation.secret_hash)
            user = await tx.users.find(invitation.address)
            if taken is None or user is None or not self._is_good(taken, user):
                raise _no_invitation()
            await tx.sessions.remove_all(user.address)
            await tx.users.set_proof(user.address, replace(proof, password_hash=password_hash))
        return user

    async def change_password(self, address: str, current: str, new: str, session: str) -> None:
        """Replace a password by one that `check_new_password` takes; other sign-ins end.

        Raises:
            Rejected: the current one is wrong.
        """
        mark = await self._require(address, current, "The current password is wrong")
        password_hash = await self._passwords.hash(new, address)
        async with self._metadata.transaction() as tx:
            proof = _still(await _hold(tx, address), mark)
            await tx.sessions.remove_all(address, besides=session)
            await tx.users.set_proof(address, replace(proof, password_hash=password_hash))

    async def proof_of(self, address: str) -> Proof:
        """Return what somebody proves themselves by; nothing for nobody."""
        async with self._metadata.read() as tx:
            return await tx.users.find_proof(address) or Proof()

    def enrol(self, address: str, session: str, sealed: str = "") -> Enrolment:
        """Return a second factor that is in force once a code of it has been shown.

        Raises:
            Rejected: *sealed* is not what an earlier call has returned for the same sign-in.
        """
        if sealed:
            secret = self._secret_in(sealed, address, session)
        else:
            secret = secrets.token_bytes(second_factor.SECRET_BYTES)
        base32 = second_factor.base32_of(secret)
        shown: dict[str, object] = {"address": address, "session": session, "secret": base32}
        sealed = self._seals.seal(ENROLMENT, shown, ENROLMENT_LIFE_S)
        uri = second_factor.app_uri(secret, self._host, address)
        return Enrolment(sealed, base32, uri)

    async def confirm(
        self, address: str, session: str, sealed: str, code: str, password: str
    ) -> tuple[str, ...]:
        """Put a second factor in force; return its recovery codes, of which only hashes are kept.

        Raises:
            Rejected: the password is wrong, or the code is not the factor's, or that was not
                shown to this sign-in.
            Conflict: the person has one already.
        """
        secret = self._secret_in(sealed, address, session)
        # Whoever finds a browser signed in must not be able to lock its owner out for good.
        mark = await self._require(address, password)
        step = self._step_of(secret, "".join(code.split())[:CODE_LENGTH_MAX], 0)
        if step is None:
            raise Rejected(
                "The code is not the one that the app shows",
                hint="Wait for the next one, and check that the clock of the phone is right.",
            )
        codes = second_factor.make_recovery_codes()
        async with self._metadata.transaction() as tx:
            proof = _still(await tx.users.hold_proof(address), mark)
            if proof.factor:
                raise Conflict("A second factor is in force already")
            hashes = tuple(second_factor.recovery_hash(one) for one in codes)
            factor = self._factor_of(address, secret)
            changed = replace(proof, factor=factor, factor_step=step, recovery_hashes=hashes)
            await tx.users.set_proof(address, changed)
        return codes

    async def remove_factor(self, address: str, password: str) -> None:
        """Take the second factor out of force. Raises Rejected if the password is wrong."""
        mark = await self._require(address, password)
        async with self._metadata.transaction() as tx:
            proof = _still(await tx.users.hold_proof(address), mark)
            await tx.users.set_proof(address, Proof(password_hash=proof.password_hash))

    async def _require(
        self, address: str, password: str, otherwise: str = "The password is wrong"
    ) -> str:
        """Return the mark of a password that is right. Raises Rejected."""
        checked = await self.check(address, password, is_known=True)
        if checked is None:
            raise Rejected(otherwise)
        return checked.proof

    async def _renew(self, address: str, old: Proof, password: str, party: Party) -> Proof:
        """Keep a password with today's costs; return the proof by which it was right."""
        password_hash = await self._passwords.hash(password, address)
        async with self._metadata.transaction() as tx:
            proof = await tx.users.hold_proof(address)
            if proof is not None and proof.password_hash == old.password_hash:
                renewed = replace(proof, password_hash=password_hash)
                await tx.users.set_proof(address, renewed)
                return renewed
        # Another sign-in has renewed it meanwhile, or somebody has another password now.
        is_still_right = proof is not None and await self._passwords.verify(
            proof.password_hash, password, party
        )
        return proof if proof is not None and is_still_right else old

    def _secret_in(self, sealed: str, address: str, session: str) -> bytes:
        """Return the secret that was shown to a sign-in, and to no other. Raises Rejected."""
        shown = self._seals.open(ENROLMENT, sealed)
        if shown is None or (shown["address"], shown["session"]) != (address, session):
            raise Rejected("The second factor was not made here", hint="Start again.")
        return second_factor.secret_of(shown["secret"])

    def _factor_of(self, address: str, secret: bytes) -> str:
        """Return a secret as the database keeps it: of this person, and good for nobody else."""
        return self._sealer.seal(f"{address} {second_factor.base32_of(secret)}")

    def _secret_of(self, address: str, factor: str) -> bytes:
        """Return the secret in force that the database keeps for somebody. Raises Rejected."""
        try:
            owner, _, base32 = self._sealer.open(factor).rpartition(" ")
            if owner in ("", address):
                return second_factor.secret_of(base32)
        except (Unavailable, ValueError) as error:
            raise Rejected("The second factor was not made here", hint="Start again.") from error
        raise Rejected("The second factor is somebody else's", hint="Have it removed.")

    def _step_of(self, secret: bytes, code: str, after: int) -> int | None:
        return second_factor.step_of(secret, code, self._clock().timestamp(), after)

    def _is_good(self, invitation: Invitation, user: User) -> bool:
        # Whoever has come by the provider meanwhile needs none, and would be taken over by it.
        is_theirs = user.source == DIRECTORY and not user.is_disabled
        return is_theirs and invitation.expires_at > self._clock()


def make_invitation(address: str, now: datetime, life: timedelta) -> tuple[Invitation, str]:
    """Return an invitation that is not stored yet, and the only copy of its secret."""
    secret = secrets.token_urlsafe(32)
    return Invitation(_hash_of(secret), address, now + life), secret


def check_new_password(current: str, new: str, address: str) -> None:
    """Refuse a new password that is none, before the current one is judged.

    Raises:
        Rejected: it would be guessed, or is the current one.
    """
    check_password(new, address)
    if hmac.compare_digest(current.encode(), new.encode()):
        raise Rejected("The new password is the current one")


async def _hold(tx: Transaction, address: str) -> Proof:
    """Keep somebody's proof and sign-ins as they are until the commit; nothing for nobody."""
    # The lock on access comes first, here as in every change of it.
    await tx.policies.hold()
    return await tx.users.hold_proof(address) or Proof()


def _still(proof: Proof | None, mark: str) -> Proof:
    """Return a proof that is held, if its password is the one that was judged. Raises Rejected."""
    if proof is None or _mark_of(proof) != mark:
        raise Rejected("The password was changed in this moment", hint="Start again with the new.")
    return proof


def _mark_of(proof: Proof) -> str:
    return str(sha256_of(proof.password_hash.encode()))


def _hash_of(secret: str) -> str:
    return str(sha256_of(secret[:256].encode()))


def _without(hashes: tuple[str, ...], used: str) -> tuple[str, ...] | None:
    left = tuple(one for one in hashes if not hmac.compare_digest(one, used))
    return left if len(left) < len(hashes) else None


def _no_invitation() -> NotFound:
    return NotFound(
        "This invitation was used, replaced by another, or has expired",
        hint="Ask an administrator for a new one.",
    )
