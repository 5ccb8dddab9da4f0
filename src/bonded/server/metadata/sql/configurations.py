"""How remote and virtual repositories are set up, as JSON in a column."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, assert_never

from bonded.server.core.names import RepositoryName
from bonded.server.core.upstreams import (
    CustomIndex,
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
)

_AS_THEY_ARE = (
    *("description", "ca_certificates", "proxy", "is_private_address_allowed", "freshness_s"),
    *("stale_max_s", "cache_size_max_bytes", "is_validated"),
)


def encode(config: RepositoryConfig) -> dict[str, Any] | None:
    """Return what the column keeps; `decode` makes the same of it again."""
    match config:
        case None:
            return None
        case RemoteConfig():
            return _encode_remote(config)
        case VirtualConfig():
            return _encode_virtual(config)


def decode(kept: Mapping[str, Any] | None, name: RepositoryName) -> RepositoryConfig:
    """Return what `encode` was given for the repository *name*."""
    if kept is None:
        return None
    if "source" in kept:
        return _decode_remote(kept, name)
    return _decode_virtual(kept)


def _encode_remote(config: RemoteConfig) -> dict[str, Any]:
    kept: dict[str, Any] = {field: getattr(config, field) for field in _AS_THEY_ARE}
    kept["source"] = _encode_source(config.source)
    if config.credentials is not None:
        secret = str(config.credentials.secret)
        kept["credentials"] = {"username": config.credentials.username, "secret": secret}
    return kept


def _encode_source(source: UpstreamSource) -> dict[str, str]:
    match source:
        case PublicIndex():
            return {"public": "PYPI"}
        case CustomIndex(uri):
            return {"uri": uri}
        case ServerRepository(name):
            return {"repository": str(name)}
        case _:
            assert_never(source)


def _decode_remote(kept: Mapping[str, Any], name: RepositoryName) -> RemoteConfig:
    credentials = None
    if found := kept.get("credentials"):
        secret = SecretReference.parse(found["secret"], name.project)
        credentials = UpstreamCredentials(found["username"], secret)
    same = {field: kept[field] for field in _AS_THEY_ARE if field in kept}
    return RemoteConfig(source=_decode_source(kept["source"]), credentials=credentials, **same)


def _decode_source(kept: Mapping[str, str]) -> UpstreamSource:
    if "uri" in kept:
        return CustomIndex(kept["uri"])
    if "repository" in kept:
        return ServerRepository(parse_full_name(kept["repository"]))
    return PublicIndex()


def _encode_virtual(config: VirtualConfig) -> dict[str, Any]:
    return {
        "policies": [[one.id, str(one.repository), one.priority] for one in config.policies],
        "merged": [str(pattern) for pattern in config.merged],
        "reservations": [[str(one.pattern), one.upstream] for one in config.reservations],
    }


def _decode_virtual(kept: Mapping[str, Any]) -> VirtualConfig:
    return VirtualConfig(
        tuple(
            UpstreamPolicy(id_, parse_full_name(repository), priority)
            for id_, repository, priority in kept["policies"]
        ),
        tuple(NamePattern.parse(pattern) for pattern in kept["merged"]),
        tuple(
            Reservation(NamePattern.parse(pattern), upstream)
            for pattern, upstream in kept["reservations"]
        ),
    )
