"""Where a repository gets its packages from: the three modes and how each is set up (gar.md §2)."""

from __future__ import annotations

import enum
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from bonded.server.core.errors import Rejected
from bonded.server.core.names import PackageName, RepositoryName
from bonded.server.core.urls import percent_encoded

UPSTREAMS_MAX = 30
"""Upstreams of one virtual repository: Google's limit (gar.md §2.3)."""
PATTERNS_MAX = 1000
"""Merged patterns, and reservations, of one virtual repository."""
PRIORITY_MAX = 2**31 - 1
URI_LENGTH_MAX = 2048
CERTIFICATES_LENGTH_MAX = 65_536
FRESHNESS_DEFAULT_S = 60
STALE_DEFAULT_S = 30 * 86_400

_FULL_NAME = re.compile(r"projects/([^/]+)/locations/([^/]+)/repositories/([^/]+)")
_POLICY_ID = re.compile(r"[a-z0-9]([a-z0-9_.-]{0,61}[a-z0-9])?")
_SECRET = re.compile(r"projects/([^/]+)/secrets/([A-Za-z0-9_-]{1,255})/versions/([^/]+)")
_SECRET_NAME = re.compile(r"[A-Za-z0-9_-]{1,255}")
_VARIABLE_NAME = re.compile(r"[A-Z0-9]{1,255}")


class Mode(enum.StrEnum):
    """Where a repository gets its packages from; it never changes."""

    STANDARD = "STANDARD_REPOSITORY"
    REMOTE = "REMOTE_REPOSITORY"
    VIRTUAL = "VIRTUAL_REPOSITORY"

    @property
    def noun(self) -> str:
        """The mode as a sentence has it."""
        return self.value.partition("_")[0].lower()


def parse_full_name(text: str) -> RepositoryName:
    """Return the repository that `projects/P/locations/L/repositories/R` names.

    Raises:
        Rejected: *text* is not of this form.
    """
    match = _FULL_NAME.fullmatch(text)
    if match is None:
        raise Rejected(
            f"{text[:120]!r} is not the name of a repository",
            hint="Write projects/PROJECT/locations/LOCATION/repositories/REPOSITORY.",
        )
    return RepositoryName.parse(*match.groups())


class SecretKind(enum.StrEnum):
    """Where the operator keeps a secret."""

    FILE = "file"
    """The file PROJECT/NAME in the directory of secrets."""
    COMMAND = "command"
    """What the program PROJECT/NAME in the directory of secrets prints."""
    VARIABLE = "env"
    """The environment variable BONDED_SECRET_PROJECT_NAME."""


@dataclass(frozen=True, slots=True)
class SecretReference:
    """Where a secret is found; never the secret itself.

    Whoever sets up a repository says only a name. The operator alone decides what there
    is, and every name belongs to one project: or a project could send another's secrets,
    or the server's own environment, to an address of its choice.
    """

    kind: SecretKind
    project: str
    name: str

    @classmethod
    def parse(cls, text: str, project: str) -> Self:
        """Parse a reference of a repository in *project*.

        `projects/P/secrets/NAME/versions/latest`, as Google has it, and `file:NAME` are the
        same; `command:NAME` and `env:NAME` are ours.

        Raises:
            Rejected: it is none of these, or names a secret of another project.
        """
        if match := _SECRET.fullmatch(text):
            if match[1] != project:
                raise Rejected(
                    f"{text} is a secret of another project than {project}",
                    hint="A repository uses the secrets of its own project.",
                )
            if match[3] != "latest":
                raise Rejected(f"{text} names a version; only versions/latest is kept")
            return cls(SecretKind.FILE, project, match[2])
        kind, colon, name = text.partition(":")
        if colon and kind in set(SecretKind):
            grammar = _VARIABLE_NAME if kind == SecretKind.VARIABLE else _SECRET_NAME
            if grammar.fullmatch(name):
                return cls(SecretKind(kind), project, name)
        # Not repeated: it may be the secret itself, given by mistake.
        raise Rejected(
            "The reference to the password is malformed",
            hint=f"Write projects/{project}/secrets/NAME/versions/latest, file:NAME, command:NAME "
            "or env:NAME (capital letters and digits), and never the password itself.",
        )

    def __str__(self) -> str:
        """The reference, as it may be parsed again."""
        if self.kind is SecretKind.FILE:
            return f"projects/{self.project}/secrets/{self.name}/versions/latest"
        return f"{self.kind}:{self.name}"

    @property
    def variable(self) -> str:
        """The environment variable that a reference of that kind means.

        NAME holds no underscore, so no variable belongs to two projects.
        """
        return f"BONDED_SECRET_{self.project.upper().replace('-', '_')}_{self.name}"


@dataclass(frozen=True, slots=True)
class UpstreamCredentials:
    """What a remote repository shows its upstream: a user with a password, or a token."""

    username: str
    """Empty: the secret is a token, sent as Bearer."""
    secret: SecretReference


@dataclass(frozen=True, slots=True)
class PublicIndex:
    """The public PyPI; the server's settings say where that is."""


@dataclass(frozen=True, slots=True)
class CustomIndex:
    """Any index that speaks the simple repository API."""

    uri: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse the address of an index.

        Raises:
            Rejected: it is not http(s), or carries a user, a query or a fragment.
        """
        return cls(parse_uri(text, "Custom remote repository URI"))


@dataclass(frozen=True, slots=True)
class ServerRepository:
    """A standard repository of this server."""

    name: RepositoryName


UpstreamSource = PublicIndex | CustomIndex | ServerRepository
"""What a remote repository is a cache of. A closed union: match it exhaustively."""


def parse_uri(text: str, what: str) -> str:
    """Return *text* if it is an http(s) address without a user, a query or a fragment.

    Raises:
        Rejected: it is not; the sentence calls it *what*, and does not repeat a password.
    """
    if not text.startswith(("http://", "https://")):
        # Google's words (gar.md §2.2).
        raise Rejected(f"{what} must start with 'http://' or 'https://'")
    if len(text) > URI_LENGTH_MAX or not text.isascii() or not text.isprintable() or " " in text:
        raise Rejected(f"{what} must be at most {URI_LENGTH_MAX} printable ASCII characters")
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise Rejected(f"{what} is malformed: {error}") from error
    if not host:
        raise Rejected(f"{what} names no host")
    if parts.username is not None or parts.password is not None:
        raise Rejected(
            f"{what} must not carry a user or a password",
            hint="Give them as upstream credentials.",
        )
    if parts.query or parts.fragment:
        raise Rejected(f"{what} must not have a query or a fragment")
    if percent_encoded(text) != text:
        raise Rejected(
            f"{what} has a character that no URL has",
            hint=f"Encode it: {percent_encoded(text)}",
        )
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteConfig:
    """A remote repository's upstream, and how it is asked."""

    source: UpstreamSource
    description: str = ""
    credentials: UpstreamCredentials | None = None
    ca_certificates: str = ""
    """Certificates to trust in place of the system's, in PEM; empty: the system's."""
    proxy: str = ""
    """The proxy's address; empty: none."""
    is_private_address_allowed: bool = False
    """Whether the upstream may be where the operator lets upstreams be at private addresses."""
    freshness_s: int = FRESHNESS_DEFAULT_S
    """How long a page is good without asking the upstream again."""
    stale_max_s: int = STALE_DEFAULT_S
    """How long a page is served after that while the upstream is down."""
    cache_size_max_bytes: int | None = None
    """The files used last are kept up to this; None: all of them."""
    is_validated: bool = True
    """Whether creating and updating asks the upstream first."""


@dataclass(frozen=True, slots=True)
class UpstreamPolicy:
    """One upstream of a virtual repository; of two priorities, the greater is asked first."""

    id: str
    repository: RepositoryName
    priority: int


@dataclass(frozen=True, slots=True, order=True)
class NamePattern:
    """A package's name, or the start of names followed by `*`; spelled in any way (PEP 503)."""

    start: str
    """Normalized."""
    is_prefix: bool

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a pattern.

        Raises:
            Rejected: it is neither a name nor the start of one with `*` behind it.
        """
        is_prefix = text.endswith("*")
        start = text.removesuffix("*")
        try:
            if not is_prefix:
                return cls(PackageName.parse(start).normalized, is_prefix=False)
            # As if the name went on: `acme-` is the start of a name, but is not one.
            normalized = PackageName.parse(f"{start}x").normalized if start else "x"
        except Rejected:
            raise Rejected(
                f"{text[:80]!r} is not a pattern of package names",
                hint="Write a name, or the start of one and a * at the end: acme-*.",
            ) from None
        return cls(normalized[:-1], is_prefix=True)

    def matches(self, name: PackageName) -> bool:
        """Say whether *name* is one of those meant."""
        if self.is_prefix:
            return name.normalized.startswith(self.start)
        return name.normalized == self.start

    def __str__(self) -> str:
        """The pattern, as it may be parsed again."""
        return f"{self.start}*" if self.is_prefix else self.start


@dataclass(frozen=True, slots=True)
class Reservation:
    """Names that only one upstream may ever answer for, even while it has none of them."""

    pattern: NamePattern
    upstream: str
    """The id of its policy."""


@dataclass(frozen=True, slots=True)
class VirtualConfig:
    """A virtual repository's upstreams, and which names they share or are reserved.

    Build it with `of`, which refuses what cannot be meant.
    """

    policies: tuple[UpstreamPolicy, ...] = ()
    """In the order in which they were given."""
    merged: tuple[NamePattern, ...] = ()
    """Packages whose versions come from every upstream that has some."""
    reservations: tuple[Reservation, ...] = ()

    @classmethod
    def of(
        cls,
        policies: Iterable[UpstreamPolicy],
        merged: Iterable[NamePattern] = (),
        reservations: Iterable[Reservation] = (),
    ) -> Self:
        """Return the configuration, if it makes sense by itself.

        Raises:
            Rejected: there are too many upstreams, one twice, or a name is reserved twice.
        """
        config = cls(tuple(policies), tuple(merged), tuple(reservations))
        _check_policies(config.policies)
        _refuse_twice((str(one.pattern) for one in config.reservations), "is reserved")
        _refuse_twice(map(str, config.merged), "is merged")
        if max(len(config.merged), len(config.reservations)) > PATTERNS_MAX:
            raise Rejected(f"A virtual repository has at most {PATTERNS_MAX} patterns of a kind")
        return config

    def check_reservations(self) -> None:
        """Look whether what is reserved is so for upstreams that are there.

        Apart from `of`, for whoever names an upstream that cannot be is told of that first.

        Raises:
            Rejected: one is not.
        """
        ids = {policy.id for policy in self.policies}
        for reservation in self.reservations:
            if reservation.upstream not in ids:
                raise Rejected(
                    f"{reservation.pattern} is reserved for the unknown upstream "
                    f"{reservation.upstream[:80]!r}",
                    hint=f"Known are {', '.join(sorted(ids)) or 'none'}. Reserve it for one of "
                    "them with --reserved-packages, which replaces all that is reserved and, "
                    "empty, clears it (in REST, virtualRepositoryConfig.bonded.reservedPackages).",
                )

    @property
    def ordered(self) -> tuple[UpstreamPolicy, ...]:
        """The upstreams as they are asked: by priority, equal ones as they were given."""
        return tuple(sorted(self.policies, key=lambda policy: -policy.priority))

    def find_reservation(self, name: PackageName) -> Reservation | None:
        """Return the reservation that *name* falls under: of several, the most specific one."""
        matching = (one for one in self.reservations if one.pattern.matches(name))
        return max(
            matching,
            key=lambda one: (not one.pattern.is_prefix, len(one.pattern.start)),
            default=None,
        )

    def candidates(self, name: PackageName) -> tuple[UpstreamPolicy, ...]:
        """Return who may answer for *name*, in the order in which they are asked."""
        reservation = self.find_reservation(name)
        if reservation is None:
            return self.ordered
        return tuple(one for one in self.policies if one.id == reservation.upstream)

    def is_merged(self, name: PackageName) -> bool:
        """Say whether the upstreams share *name*; what is reserved is never shared."""
        is_meant = any(pattern.matches(name) for pattern in self.merged)
        return is_meant and self.find_reservation(name) is None


def _check_policies(policies: tuple[UpstreamPolicy, ...]) -> None:
    if len(policies) > UPSTREAMS_MAX:
        raise Rejected(
            f"A virtual repository has at most {UPSTREAMS_MAX} upstreams, not {len(policies)}",
            hint="Put some of them behind a virtual repository of their own.",
        )
    for policy in policies:
        if not _POLICY_ID.fullmatch(policy.id):
            raise Rejected(
                f"{policy.id[:80]!r} is not a valid id of an upstream policy",
                hint="Use up to 63 lower-case letters, digits, '-', '_' and '.'.",
            )
        if not 0 <= policy.priority <= PRIORITY_MAX:
            raise Rejected(f"The priority of {policy.id} must be from 0 to {PRIORITY_MAX}")
    _refuse_twice((policy.id for policy in policies), "is the id of an upstream")
    _refuse_twice((str(policy.repository) for policy in policies), "is an upstream")


def _refuse_twice(items: Iterable[str], what: str) -> None:
    for item, times in Counter(items).items():
        if times > 1:
            raise Rejected(f"{item} {what} {times} times; say it once")


RepositoryConfig = RemoteConfig | VirtualConfig | None
"""How a repository is set up; None for a standard one, which needs nothing."""


def mode_of(config: RepositoryConfig) -> Mode:
    """Return the mode that *config* is of."""
    match config:
        case None:
            return Mode.STANDARD
        case RemoteConfig():
            return Mode.REMOTE
        case VirtualConfig():
            return Mode.VIRTUAL


def upstreams_of(config: RepositoryConfig) -> tuple[RepositoryName, ...]:
    """Return the repositories of this server that *config* names."""
    match config:
        case RemoteConfig(source=ServerRepository(name)):
            return (name,)
        case VirtualConfig(policies=policies):
            return tuple(policy.repository for policy in policies)
        case _:
            return ()
