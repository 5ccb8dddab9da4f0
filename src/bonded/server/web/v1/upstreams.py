"""`remoteRepositoryConfig` and `virtualRepositoryConfig` as Google spells them (gar.md §4.2).

What Artifact Registry has no field for is in an object of its own, `bonded`. A client that
does not know it leaves it out when it sends a resource back: what is absent there stays as it
is, or Google's own client would silently give up a reservation.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, assert_never

from bonded.server.core.errors import Rejected
from bonded.server.core.names import RepositoryName
from bonded.server.core.upstreams import (
    CERTIFICATES_LENGTH_MAX,
    FRESHNESS_DEFAULT_S,
    STALE_DEFAULT_S,
    CustomIndex,
    Mode,
    NamePattern,
    PublicIndex,
    RemoteConfig,
    RepositoryConfig,
    Reservation,
    SecretReference,
    ServerRepository,
    UpstreamCredentials,
    UpstreamPolicy,
    UpstreamSource,
    VirtualConfig,
    parse_full_name,
    parse_uri,
)
from bonded.server.metadata.store import RepositoryRecord
from bonded.server.web.v1 import masks, wire

REMOTE = "remoteRepositoryConfig"
VIRTUAL = "virtualRepositoryConfig"
OWN = "bonded"
INDEX_URL = "indexUrl"
"""Output only: the address behind the preset, which the operator may have set."""
SECONDS_MAX = 3650 * 86_400
_PUBLIC = {"PUBLIC_REPOSITORY_UNSPECIFIED": 0, "PYPI": 1}
_DURATION = re.compile(r"(\d{1,12})(\.0{1,9})?s")
_REMOTE_FIELDS = (
    *("description", "disableUpstreamValidation", "pythonRepository", "commonRepository"),
    *("upstreamCredentials", OWN),
)
# gcloud sends these for every format; nothing of them is asked when they are false or empty.
_OF_GCLOUD = ("enableIngestionAttestation", "deleteNotFoundCacheFiles", "noCache")
_VIRTUAL_FIELDS = ("upstreamPolicies", OWN)
PARTS = {REMOTE: (*_REMOTE_FIELDS, *_OF_GCLOUD), VIRTUAL: _VIRTUAL_FIELDS}
"""What the configurations consist of: an update may name each by itself."""
_OWN_REMOTE = (
    *("caCertificates", "proxy", "allowPrivateAddresses", "pageFreshness", "staleLimit"),
    # Which index the preset means here; clients that send all of it back send this too.
    *("cacheSizeLimitBytes", INDEX_URL),
)


def parse_config(body: Mapping[str, Any], name: RepositoryName, mode: Mode) -> RepositoryConfig:
    """Return what a repository that is to be made is made from.

    Raises:
        Rejected: a field is unknown or malformed, or not one for *mode*.
    """
    refuse_others(body, mode)
    match mode:
        case Mode.STANDARD:
            return None
        case Mode.REMOTE:
            return parse_remote(wire.parse_object(body, REMOTE), name, None)
        case Mode.VIRTUAL:
            return parse_virtual(wire.parse_object(body, VIRTUAL), None)


def refuse_others(body: Mapping[str, Any], mode: Mode) -> None:
    """Raise Rejected for a configuration that is not one for *mode*."""
    for field, of in ((REMOTE, Mode.REMOTE), (VIRTUAL, Mode.VIRTUAL)):
        if body.get(field) and mode is not of:
            raise Rejected(f"{field} is for mode {of}; the mode of this repository is {mode}")


def revise(changes: masks.Changes, record: RepositoryRecord) -> RepositoryConfig:
    """Return how *record* is set up when what an update *changes* is in force.

    Raises:
        Rejected: a field is unknown or malformed, or not one for the repository's mode.
    """
    refuse_others(changes.values, record.mode)
    match record.config:
        case None:
            return None
        case RemoteConfig() as before:
            return parse_remote(_overlaid(changes, REMOTE, before), record.name, before)
        case VirtualConfig() as before:
            return parse_virtual(_overlaid(changes, VIRTUAL, before), before)
        case _:
            assert_never(record.config)


def _overlaid(changes: masks.Changes, field: str, before: RepositoryConfig) -> dict[str, Any]:
    now = view(before)[field]
    if field not in changes.values:
        return dict(now)
    sent = wire.parse_object(changes.values, field)
    paths = changes.below.get(field)
    return sent if paths is None else masks.overlaid(now, sent, paths)


def parse_remote(
    body: Mapping[str, Any], name: RepositoryName, before: RemoteConfig | None
) -> RemoteConfig:
    """Return what *body* says of the remote repository *name*; *before*, what it says now.

    Raises:
        Rejected: a field is unknown or malformed; the sentence says which.
    """
    fields = _fields(body, REMOTE, _REMOTE_FIELDS, _OF_GCLOUD)
    own = _fields(wire.parse_object(fields, OWN), f"{REMOTE}.{OWN}", _OWN_REMOTE)
    source = _parse_source(fields)
    if before is not None and source != before.source:
        raise Rejected(
            "The upstream of a remote repository cannot be changed",
            hint="Create another repository, and put it in this one's place where it is named.",
        )
    config = RemoteConfig(
        source=source,
        description=wire.parse_text(fields, "description"),
        credentials=_parse_credentials(fields, name.project),
        is_validated=not _flag(fields, "disableUpstreamValidation", default=False),
    )
    kept = before or config
    return replace(
        config,
        ca_certificates=_certificates(own, kept.ca_certificates),
        proxy=_proxy(own, kept.proxy),
        is_private_address_allowed=_flag(
            own, "allowPrivateAddresses", default=kept.is_private_address_allowed
        ),
        freshness_s=_seconds(own, "pageFreshness", kept.freshness_s),
        stale_max_s=_seconds(own, "staleLimit", kept.stale_max_s),
        cache_size_max_bytes=_size(own, "cacheSizeLimitBytes", kept.cache_size_max_bytes),
    )


def parse_virtual(body: Mapping[str, Any], before: VirtualConfig | None) -> VirtualConfig:
    """Return what *body* says of a virtual repository; *before*, what it says now.

    Raises:
        Rejected: a field is unknown or malformed; the sentence says which.
    """
    kept = before or VirtualConfig()
    fields = _fields(body, VIRTUAL, _VIRTUAL_FIELDS)
    own_fields = ("mergedPackages", "reservedPackages")
    own = _fields(wire.parse_object(fields, OWN), f"{VIRTUAL}.{OWN}", own_fields)
    merged, reservations = kept.merged, kept.reservations
    if "mergedPackages" in own:
        merged = tuple(
            NamePattern.parse(_text(one, "A merged package"))
            for one in _list(own, "mergedPackages")
        )
    if "reservedPackages" in own:
        reservations = tuple(_parse_reservation(one) for one in _list(own, "reservedPackages"))
    policies = [_parse_policy(one) for one in _list(fields, "upstreamPolicies")]
    return VirtualConfig.of(policies, merged, reservations)


def view(config: RepositoryConfig) -> dict[str, Any]:
    """Return the field that shows *config*, if there is anything to show."""
    match config:
        case None:
            return {}
        case RemoteConfig():
            return {REMOTE: _view_remote(config)}
        case VirtualConfig():
            return {VIRTUAL: _view_virtual(config)}
        case _:
            assert_never(config)


def _view_remote(config: RemoteConfig) -> dict[str, Any]:
    shown: dict[str, Any] = {"description": config.description, **_view_source(config.source)}
    if config.credentials is not None:
        shown["upstreamCredentials"] = {
            "usernamePasswordCredentials": {
                "username": config.credentials.username,
                "passwordSecretVersion": str(config.credentials.secret),
            }
        }
    if not config.is_validated:
        shown["disableUpstreamValidation"] = True
    own = {
        "caCertificates": config.ca_certificates,
        "proxy": config.proxy,
        "allowPrivateAddresses": config.is_private_address_allowed,
        "pageFreshness": f"{config.freshness_s}s",
        "staleLimit": f"{config.stale_max_s}s",
        "cacheSizeLimitBytes": str(config.cache_size_max_bytes or ""),
    }
    usual = {
        "pageFreshness": f"{FRESHNESS_DEFAULT_S}s",
        "staleLimit": f"{STALE_DEFAULT_S}s",
    }
    shown[OWN] = {key: value for key, value in own.items() if value and usual.get(key) != value}
    return {key: value for key, value in shown.items() if value not in ("", {})}


def _view_source(source: UpstreamSource) -> dict[str, Any]:
    match source:
        case PublicIndex():
            return {"pythonRepository": {"publicRepository": "PYPI"}}
        case CustomIndex(uri):
            return {"pythonRepository": {"customRepository": {"uri": uri}}}
        case ServerRepository(name):
            return {"commonRepository": {"uri": str(name)}}
        case _:
            assert_never(source)


def _view_virtual(config: VirtualConfig) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "upstreamPolicies": [
            {"id": one.id, "repository": str(one.repository), "priority": one.priority}
            for one in config.policies
        ]
    }
    own = {
        "mergedPackages": [str(pattern) for pattern in config.merged],
        "reservedPackages": [
            {"pattern": str(one.pattern), "upstream": one.upstream} for one in config.reservations
        ],
    }
    if config.merged or config.reservations:
        shown[OWN] = {key: value for key, value in own.items() if value}
    return {key: value for key, value in shown.items() if value}


def _parse_source(fields: Mapping[str, Any]) -> UpstreamSource:
    python = _fields(
        wire.parse_object(fields, "pythonRepository"),
        f"{REMOTE}.pythonRepository",
        ("publicRepository", "customRepository"),
    )
    custom = wire.parse_text(wire.parse_object(python, "customRepository"), "uri")
    common = wire.parse_text(wire.parse_object(fields, "commonRepository"), "uri")
    public = wire.parse_enum(python.get("publicRepository", 0), _PUBLIC, "publicRepository")
    said = [one for one in (custom, common, "PYPI" if _PUBLIC[public] else "") if one]
    if len(said) != 1:
        raise Rejected(
            f"{REMOTE} must name exactly one upstream, not {len(said)}",
            hint="Use pythonRepository.publicRepository PYPI, pythonRepository.customRepository.uri"
            " or commonRepository.uri.",
        )
    if _PUBLIC[public]:
        return PublicIndex()
    if said[0].startswith("projects/"):
        return ServerRepository(parse_full_name(said[0]))
    return CustomIndex.parse(said[0])


def _parse_credentials(fields: Mapping[str, Any], project: str) -> UpstreamCredentials | None:
    outer = wire.parse_object(fields, "upstreamCredentials")
    where = f"{REMOTE}.upstreamCredentials"
    known = "usernamePasswordCredentials"
    inner = wire.parse_object(_fields(outer, where, (known,)), known)
    given = _fields(inner, f"{where}.{known}", ("username", "passwordSecretVersion"))
    username = wire.parse_text(given, "username")
    reference = wire.parse_text(given, "passwordSecretVersion")
    if not username and not reference:
        return None
    if not reference:
        raise Rejected(f"{where}.{known} has a username, but no passwordSecretVersion")
    if ":" in username or not username.isprintable():
        raise Rejected("The username of upstream credentials must not hold ':' (RFC 7617)")
    return UpstreamCredentials(username, SecretReference.parse(reference, project))


def _parse_policy(value: object) -> UpstreamPolicy:
    if not isinstance(value, dict):
        raise Rejected("An entry of upstreamPolicies must be an object")
    fields = _fields(value, "upstreamPolicies", ("id", "repository", "priority"))
    repository = parse_full_name(wire.parse_text(fields, "repository"))
    priority = fields.get("priority", 0)
    if isinstance(priority, str) and re.fullmatch(r"-?\d{1,10}", priority):
        priority = int(priority)
    if not isinstance(priority, int) or isinstance(priority, bool):
        raise Rejected("The priority of an upstream policy must be a whole number")
    return UpstreamPolicy(
        wire.parse_text(fields, "id") or repository.repository, repository, priority
    )


def _parse_reservation(value: object) -> Reservation:
    if not isinstance(value, dict):
        raise Rejected("An entry of reservedPackages must be an object")
    fields = _fields(value, "reservedPackages", ("pattern", "upstream"))
    pattern = NamePattern.parse(wire.parse_text(fields, "pattern"))
    return Reservation(pattern, wire.parse_text(fields, "upstream"))


def _fields(
    body: Mapping[str, Any], where: str, known: Collection[str], ignored: Collection[str] = ()
) -> dict[str, Any]:
    """Return *body* by its names in camelCase. Raises Rejected for a name that is not *known*."""
    fields = {wire.camel(name): value for name, value in body.items()}
    for name, value in fields.items():
        if name not in known and (name not in ignored or value):
            raise Rejected(
                f"{where} has the unknown field {name[:80]!r}", hint=f"Known: {', '.join(known)}."
            )
    return fields


def _list(fields: Mapping[str, Any], name: str) -> list[object]:
    value = fields.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise Rejected(f"{name} must be a list")
    return value


def _text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise Rejected(f"{what} must be a string")
    return value


def _flag(fields: Mapping[str, Any], name: str, *, default: bool) -> bool:
    # Null is how protobuf's JSON says what is not set.
    return wire.parse_flag(fields, name) if name in fields else default


def _certificates(own: Mapping[str, Any], default: str) -> str:
    value = _text(own.get("caCertificates", default) or "", "caCertificates")
    if value and (
        len(value) > CERTIFICATES_LENGTH_MAX
        or "-----BEGIN CERTIFICATE-----" not in value
        or "PRIVATE KEY" in value
    ):
        raise Rejected(
            f"caCertificates must be certificates in PEM, at most {CERTIFICATES_LENGTH_MAX} "
            "characters, and no private key"
        )
    return value


def _proxy(own: Mapping[str, Any], default: str) -> str:
    value = _text(own.get("proxy", default) or "", "proxy")
    return parse_uri(value, "The proxy") if value else ""


def _seconds(own: Mapping[str, Any], name: str, default: int) -> int:
    if name not in own:
        return default
    match = _DURATION.fullmatch(_text(own[name], name))
    if match is None or int(match[1]) > SECONDS_MAX:
        raise Rejected(f"{name} must be whole seconds up to {SECONDS_MAX}s, such as '60s'")
    return int(match[1])


def _size(own: Mapping[str, Any], name: str, default: int | None) -> int | None:
    if name not in own:
        return default
    value = str(own[name])
    if value in ("", "None"):
        return None
    if not re.fullmatch(r"\d{1,18}", value) or not int(value):
        raise Rejected(f"{name} must be a number of bytes above 0, or empty for no limit")
    return int(value)
