"""The audit log as values: what somebody does, the entry it leaves, and the chain of entries.

An entry has the shape of Google's LogEntry with an AuditLog in it. It is kept
as text, byte for byte, because its hash is taken over these bytes: JSON with
sorted keys, without spaces, in UTF-8.
"""

from __future__ import annotations

import enum
import hashlib
import json
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

from bonded.server.core.errors import Rejected
from bonded.server.core.files import Filename
from bonded.server.core.iam import ALL_USERS, ORGANIZATION, Principal

TEXT_LENGTH_MAX = 1000
"""Of what a client writes into an entry: its User-Agent, a path, an error's sentence."""
COLUMN_LENGTH_MAX = 255
ALSO_MAX = 32
"""Groups and the like that an entry names beside its principal."""
FRAMES_MAX = 512
"""What so many kinds of entries have in common is kept, some 4 kB each."""
START = "0" * 64
"""The hash before the first entry."""

SYSTEM = Principal("system:bonded")
"""The server itself, where nobody asked it."""
# Made once: making one costs more than encoding with it.
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)
_AUDIT_LOG = "type.googleapis.com/google.cloud.audit.AuditLog"


class Kind(enum.Enum):
    """What a route does, as far as the audit log is concerned, and when that is logged."""

    ACT = "in the transaction of the act, and when refused"
    WRITE = "in the transaction that adds, changes or removes files, and when refused"
    DOWNLOAD = "with `audit_downloads`, and when refused"
    SIGN_IN = "always"
    READ = "when refused"
    NOTHING = "never"

    # Asked on every request, and Enum's own hash is a Python function.
    __hash__ = object.__hash__


MUTATIONS = (Kind.ACT, Kind.WRITE)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it ended: a google.rpc.Code, and the sentence that the client was told."""

    code: int = 0
    message: str = ""


DONE = Outcome()


@dataclass(slots=True)
class Act:
    """Something that somebody does, from the request until the entry that it leaves."""

    at: datetime
    kind: Kind
    method: str
    """Google's name of it, such as `google.iam.admin.v1.CreateServiceAccount`."""
    resource: str
    principal: Principal
    permission: str = ""
    checked_on: str = ""
    """The resource on which the permission was checked."""
    address: str = ""
    client: str = ""
    details: dict[str, object] = field(default_factory=dict)
    is_recorded: bool = False
    """Whether a transaction has kept its entry already."""
    is_over: bool = False
    outcome: Outcome = DONE
    """How it ended, where a page says so to a person and no error reaches the client."""


_acting: ContextVar[Act | None] = ContextVar("acting", default=None)


@contextmanager
def acting(act: Act) -> Iterator[Act]:
    """Do what follows in the name of *act*.

    Every transaction that is committed within leaves an entry, or is not
    committed: so no operation has to remember it.
    """
    token = _acting.set(act)
    try:
        yield act
    finally:
        act.is_over = True
        _acting.reset(token)


def current_act() -> Act | None:
    """Return what is being done, if it is something to be logged."""
    act = _acting.get()
    # A task that was started meanwhile keeps the context, and may outlive the act.
    return None if act is None or act.is_over else act


def note(resource: str = "", /, **details: object) -> None:
    """Say more about what is being done: for its entry, if it leaves one. Never a secret."""
    act = current_act()
    if act is not None:
        act.resource = resource or act.resource
        act.details.update(details)


def failed(outcome: Outcome) -> None:
    """Say that what is being done was refused, where the client is answered with a page."""
    act = current_act()
    if act is not None:
        act.outcome = outcome


def proved(principal: Principal) -> None:
    """Say who it is that does what is being done, where only the handler finds out."""
    act = current_act()
    if act is not None and act.principal.is_anonymous:
        act.principal = principal


@dataclass(frozen=True, slots=True)
class Entry:
    """What an act leaves: its text, over which it will be hashed, and what it is found by."""

    text: str
    columns: Mapping[str, Any]


def entry_of(act: Act, outcome: Outcome = DONE) -> Entry:
    """Return the entry of *act*."""
    principal = act.principal
    traits = _Traits(
        act.kind,
        act.method,
        act.resource,
        act.permission,
        act.checked_on or act.resource,
        act.address,
        act.client,
        outcome,
        principal.member,
        principal.credential,
        principal.also,
    )
    frame = _frame(traits)
    details = _without_empty(act.details)
    filename = details.get("filename")
    if isinstance(filename, str) and "version" not in details and (found := _version_of(filename)):
        details["version"] = found
    metadata = f'"metadata":{_text_of(details)},' if details else ""
    moment = f"{act.at.isoformat(timespec='microseconds').removesuffix('+00:00')}Z"
    text = (
        f'{{"insertId":"{secrets.token_hex(8)}",{frame.before}{metadata}{frame.after},'
        f'"timestamp":"{moment}"}}'
    )
    package, version = indexed(details.get("package")), indexed(details.get("version"))
    return Entry(text, {"at": act.at, "package": package, "version": version, **frame.columns})


@dataclass(frozen=True, slots=True)
class _Frame:
    """What entries of the same kind have in common: texts around the details, and columns."""

    before: str
    after: str
    columns: Mapping[str, str]


class _Traits(NamedTuple):
    """What decides all of an entry but its details and its time."""

    kind: Kind
    method: str
    resource: str
    permission: str
    checked_on: str
    address: str
    client: str
    outcome: Outcome
    member: str
    credential: str
    also: tuple[str, ...]


# Of downloads there are many, and most of what they leave is what the last one has left: encoding
# it anew for each would cost more than all else about an entry.
@lru_cache(maxsize=FRAMES_MAX)
def _frame(traits: _Traits) -> _Frame:
    outcome = traits.outcome
    service = _service(traits.method, traits.resource)
    subject = "" if traits.member == ALL_USERS else traits.member
    asked = {
        "resource": traits.checked_on,
        "permission": traits.permission,
        "granted": outcome.code != 7,
    }
    # In the order of their keys, with the details in the middle: `metadata` comes after the first
    # three of the payload.
    first = {
        "@type": _AUDIT_LOG,
        "authenticationInfo": _without_empty(
            {
                "principalEmail": email_of(traits.member),
                "principalSubject": subject,
                "credential": traits.credential,
                "memberOf": list(traits.also[:ALSO_MAX]),
            }
        ),
        "authorizationInfo": [asked] if traits.permission and outcome.code != 16 else [],
    }
    status = _without_empty({"code": outcome.code, "message": outcome.message[:TEXT_LENGTH_MAX]})
    last = {
        "methodName": traits.method,
        "resourceName": traits.resource[:TEXT_LENGTH_MAX],
        "requestMetadata": _without_empty(
            {
                "callerIp": traits.address,
                "callerSuppliedUserAgent": traits.client[:TEXT_LENGTH_MAX],
            }
        ),
        "serviceName": service,
    }
    log = "data_access" if traits.kind in (Kind.WRITE, Kind.DOWNLOAD, Kind.READ) else "activity"
    owner = _owner(traits.resource)
    log_name = {"logName": f"{owner}/logs/cloudaudit.googleapis.com%2F{log}"}
    about = {
        "severity": "ERROR" if outcome.code else "NOTICE" if log == "activity" else "INFO",
        "resource": {"type": "audited_resource", "labels": {"service": service}},
    }
    ending = _inner(_without_empty(last) | {"status": status})
    return _Frame(
        before=f'{_inner(log_name)},"protoPayload":{{{_inner(_without_empty(first))},',
        after=f"{ending}}},{_inner(about)}",
        columns={
            "principal": indexed(subject),
            "method": indexed(traits.method),
            "resource": indexed(traits.resource[:TEXT_LENGTH_MAX]),
            "project": indexed(owner.removeprefix("projects/")),
        },
    )


def _text_of(details: dict[str, Any]) -> str:
    # Texts and numbers, as downloads leave them; not `True`, which equals 1 and is written so.
    if all(type(value) in (str, int) for value in details.values()):
        return _plain_text(tuple(details.items()))
    return canonical(details)


@lru_cache(maxsize=FRAMES_MAX)
def _plain_text(details: tuple[tuple[str, object], ...]) -> str:
    return canonical(dict(details))


def _inner(fields: Mapping[str, Any]) -> str:
    """Return the text of *fields* without the braces around it."""
    return canonical(fields)[1:-1]


def canonical(entry: Mapping[str, Any]) -> str:
    """Return the one text of *entry*."""
    return _sound(_ENCODER.encode(entry))


def _sound(text: str) -> str:
    """Return *text* without halves of characters, which JSON can name and UTF-8 cannot encode."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def email_of(member: str) -> str:
    """Return the address in a member such as `user:ada@example.com`, "" if it has none."""
    kind, _, address = member.partition(":")
    return address if kind in ("user", "serviceAccount") else ""


def _owner(resource: str) -> str:
    parts = resource.split("/")
    return "/".join(parts[:2]) if parts[0] == "projects" and len(parts) > 1 else ORGANIZATION


def _service(method: str, resource: str) -> str:
    for prefix, service in _SERVICES:
        if method.startswith(prefix):
            return f"{service}.googleapis.com"
    return "artifactregistry.googleapis.com" if "/repositories/" in resource else "bonded"


_SERVICES = (
    ("google.devtools.artifactregistry.", "artifactregistry"),
    ("Python-", "artifactregistry"),
    ("google.cloud.resourcemanager.", "cloudresourcemanager"),
    ("google.cloud.location.", "artifactregistry"),
    ("google.iam.", "iam"),
    ("google.identity.sts.", "sts"),
    ("google.logging.", "logging"),
)


@lru_cache(maxsize=4096)
def _version_of(filename: str) -> str:
    try:
        return str(Filename.parse(filename).version)
    except Rejected:
        return ""


def _without_empty(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value}


@dataclass(frozen=True, slots=True)
class Sealed:
    """An entry with its place in the chain."""

    number: int
    """Counts from 1, without gaps."""
    previous: str
    """The hash of the entry before."""
    hash: str
    text: str

    @classmethod
    def after(cls, number: int, previous: str, text: str) -> Sealed:
        """Return *text* as the entry after number *number* - 1, whose hash is *previous*."""
        return cls(number, previous, hash_of(number, previous, text), text)


def hash_of(number: int, previous: str, text: str) -> str:
    """Return the hash of an entry: SHA-256 over the hash before, its number and its bytes.

    These are, each ended by a line feed: *previous* in hexadecimal, *number* in
    decimal, *text* in UTF-8.
    """
    return hashlib.sha256(f"{previous}\n{number}\n{text}\n".encode()).hexdigest()


def link(number: int, previous: str, texts: Iterable[str]) -> Iterator[Sealed]:
    """Chain *texts* behind the entry *number*, whose hash is *previous*."""
    for text in texts:
        number += 1
        sealed = Sealed.after(number, previous, text)
        previous = sealed.hash
        yield sealed


def parse_timestamp(text: str) -> datetime:
    """Return the moment that *text* names (RFC 3339). Raises ValueError."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


COLUMNS = ("at", "principal", "method", "resource", "project", "package", "version")
"""By which entries can be found without reading all of them."""


def columns_of(text: str) -> dict[str, Any]:
    """Return what an entry is found by, in lower case: the language of filters ignores case.

    Raises:
        ValueError: it is no entry.
    """
    entry = json.loads(text)
    payload = entry["protoPayload"]
    details = payload.get("metadata", {})
    owner = entry["logName"].partition("/logs/")[0]
    subject = payload.get("authenticationInfo", {}).get("principalSubject")
    return {
        "at": parse_timestamp(entry["timestamp"]),
        "principal": indexed(subject),
        "method": indexed(payload["methodName"]),
        "resource": indexed(payload["resourceName"]),
        "project": indexed(owner.removeprefix("projects/")),
        "package": indexed(details.get("package")),
        "version": indexed(details.get("version")),
    }


UNREADABLE = "bonded.logging.v1.Logging.KeepUnreadable"


def unreadable(text: str, at: datetime) -> Entry:
    """Return an entry in place of *text*, which was left for the log and is none."""
    act = Act(at, Kind.ACT, UNREADABLE, ORGANIZATION, SYSTEM)
    act.details.update(
        sha256=hashlib.sha256(text.encode()).hexdigest(), text=text[:TEXT_LENGTH_MAX]
    )
    return entry_of(act, Outcome(15, "What was left for the audit log is no entry"))


def indexed(value: object) -> str:
    """Return *value* as the columns hold it."""
    text = _sound(value) if isinstance(value, str) else ""
    # PostgreSQL has no text with NUL in it; nor does anything that is found by such a text.
    return text.lower().replace("\0", "")[:COLUMN_LENGTH_MAX]
