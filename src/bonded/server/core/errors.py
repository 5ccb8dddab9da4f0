"""Everything that can go wrong, as one tree.

    BondedError
    ├── Rejected            the request or the file is wrong; sending it again will not help
    │   ├── TooLarge        over a named limit
    │   ├── TimedOut        the request came too slowly
    │   ├── GrantRefused    an OAuth client is told why by a code of its own
    │   ├── Gone            a verb of the past (`submit`, `doc_upload`)
    │   └── Unimplemented   a verb of Google's that this server does not have, for a reason
    ├── Unauthenticated     no credential, or none that proves anybody
    ├── TooMany             too often; the same request may succeed after a while
    ├── Forbidden           a known principal that may not
    ├── NotFound            known to be absent, to somebody allowed to know
    │   └── Reserved        and nobody else may answer in its place
    ├── Conflict            what is there already says otherwise
    │   ├── Aborted         somebody else changed it first: read again and retry
    │   ├── Needed          something else stands on it, and would have to go first
    │   └── Lockout         nobody would be left who may do something
    │       └── SelfLockout     whoever asks would not be: they may, if they say so
    └── Unavailable         not now; the same request may succeed later
        ├── OutOfSpace      the disk or the database is full
        └── UpstreamFailed  another index failed, or said what cannot be true
            └── UpstreamTimedOut    it did not answer in time

Only `web/problems.py` knows which HTTP status each becomes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches

GUESSED_LENGTH_MAX = 120
"""Of a name for which another one is guessed: comparing grows with its length."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a hint that asks whether the most similar of *known* was meant; "" if none is."""
    # What all of them begin with makes none of them similar: `roles/nope` is not `roles/owner`.
    start, slash, word = name[:GUESSED_LENGTH_MAX].rpartition("/")
    start += slash
    words = sorted(one.removeprefix(start) for one in known if one.startswith(start))
    found = get_close_matches(word, words, n=1, cutoff=0.75)
    return f"Did you mean {start}{found[0]}?" if found else ""


class BondedError(Exception):
    """What happened in one sentence, and in *hint* what to do next."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        """One line: the sentence, then the hint."""
        return f"{self.message}. {self.hint}" if self.hint else self.message


class Rejected(BondedError):
    """The request or the file is wrong; sending it again will not help."""


class TooLarge(Rejected):
    """Over a named limit."""


class TimedOut(Rejected):
    """The request came too slowly."""


class GrantRefused(Rejected):
    """An OAuth client is told why by a code of its own (RFC 6749 §5.2, RFC 8628 §3.5)."""

    def __init__(self, code: str, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.code = code


class Gone(Rejected):
    """A verb that this API had once."""


class Unimplemented(Rejected):
    """A verb of Google's that this server does not have, and why."""


class Unauthenticated(BondedError):
    """No credential, or none that proves anybody."""


class Ended(Unauthenticated):
    """A genuine credential which is good no more: *member* and *credential* say whose it was.

    That was proved, so the audit log names them, and they may be told what has ended.
    """

    def __init__(self, cause: Unauthenticated, member: str, credential: str) -> None:
        super().__init__(cause.message, hint=cause.hint)
        self.member = member
        self.credential = credential


@contextmanager
def proved_to_be(member: str, credential: str) -> Iterator[None]:
    """Find that a credential, of which it is proved whose it is, is good no more.

    Raises:
        Ended: in place of Unauthenticated.
    """
    try:
        yield
    except Unauthenticated as error:
        raise Ended(error, member, credential) from error


class TooMany(BondedError):
    """Too often; the same request may succeed after *retry_after_s* seconds."""

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        self.retry_after_s = max(1, math.ceil(retry_after_s))
        super().__init__(message, hint=f"Try again in {self.retry_after_s} s.")


class Forbidden(BondedError):
    """A known principal that may not."""


class NotFound(BondedError):
    """Known to be absent, told to somebody who may know."""


class Reserved(NotFound):
    """Known to be absent where alone it may come from: nobody else is to be asked."""


class Conflict(BondedError):
    """What is there already says otherwise."""


class Aborted(Conflict):
    """Somebody else changed it first: read again and retry (etag mismatch)."""


class Needed(Conflict):
    """Something else stands on it, and would have to go first."""


class Lockout(Conflict):
    """Nobody would be left who may do something."""


class SelfLockout(Lockout):
    """Whoever asks would lose the right to undo it, and has asked to be kept from that."""


class Unavailable(BondedError):
    """Not now; the same request may succeed later."""


class OutOfSpace(Unavailable):
    """The disk or the database is full."""


class UpstreamFailed(Unavailable):
    """Another index failed, or said what cannot be true: never taken for absence.

    *is_outage* tells an index that is down from one that answers, but wrongly.
    """

    def __init__(self, message: str, *, hint: str = "", is_outage: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.is_outage = is_outage


class PrivateAddress(UpstreamFailed):
    """Another index, or a host of its files, is where only an operator may let the server go."""

    def __init__(
        self, message: str, *, hint: str = "", index_url: str = "", host: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.index_url = index_url
        self.host = host


class UpstreamTimedOut(UpstreamFailed):
    """Another index did not answer in time."""
