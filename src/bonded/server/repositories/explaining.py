"""Why a package comes from where it comes: what each upstream of a repository says of it."""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

from bonded.server.core.errors import BondedError, NotFound, Reserved, Unavailable
from bonded.server.core.names import PackageName, RepositoryName
from bonded.server.core.upstreams import UpstreamPolicy, VirtualConfig
from bonded.server.repositories.cached_pages import Outage
from bonded.server.repositories.catalog import Catalog
from bonded.server.repositories.remote import RemoteRepository
from bonded.server.repositories.virtual import Upstream, VirtualRepository


class Standing(enum.StrEnum):
    """What an upstream is to a package."""

    OWNER = "OWNER"
    """All of the package comes from here."""
    SHARER = "SHARER"
    """Versions that nobody before has come from here."""
    HIDDEN = "HIDDEN"
    """It has the package, which comes from elsewhere."""
    ABSENT = "ABSENT"
    """It has no such package."""
    RESERVING = "RESERVING"
    """It has no such package, and nobody behind it may answer either: by its own reservations, or
    because it had the package until every file was deleted, or its index withdrew it."""
    RESERVED = "RESERVED"
    """It is not asked: the name is another's."""
    UNAVAILABLE = "UNAVAILABLE"
    """It cannot say; unless somebody before it owns the package, nobody can."""
    UNDECIDED = "UNDECIDED"
    """It has the package, but somebody before it cannot say."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One upstream and a package."""

    upstream: UpstreamPolicy
    standing: Standing
    reason: str
    """A sentence."""
    versions: tuple[str, ...] = ()
    """What it has, in order of upload; that of a remote one is its upstream's."""
    outage: Outage | None = None
    """Why what a remote repository says may be old."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Every upstream of a repository and a package, in the order in which they are asked."""

    package: PackageName
    summary: str
    findings: tuple[Finding, ...]


async def explain(catalog: Catalog, name: RepositoryName, package: PackageName) -> Explanation:
    """Ask every upstream that may answer for *package*, the owner's rivals too.

    Raises:
        NotFound: there is no such repository.
    """
    repository = await catalog.open(name)
    if not isinstance(repository, VirtualRepository):
        # It has no upstreams to choose from: it is what it is itself.
        only = VirtualConfig((UpstreamPolicy(name.repository, name, 0),))
        repository = VirtualRepository(name, only, catalog)
    return await _explain(repository, package)


async def _explain(repository: VirtualRepository, package: PackageName) -> Explanation:
    config = repository.config
    findings: list[Finding] = []
    may_answer = config.candidates(package)
    for policy in config.ordered:
        if policy not in may_answer:
            findings.append(_reserved(config, policy, package))
            continue
        if reserving := _first(findings, Standing.RESERVING):
            reason = f"Not asked: {reserving.upstream.id} comes first and reserves the name."
            findings.append(Finding(policy, Standing.RESERVED, reason))
            continue
        versions: tuple[str, ...] | None = None
        try:
            upstream = await repository.open_upstream(policy)
            versions = (await upstream.get_package(package)).versions
        except Unavailable as error:
            findings.append(Finding(policy, Standing.UNAVAILABLE, _sentence(error)))
        except Reserved as error:
            findings.append(Finding(policy, Standing.RESERVING, _sentence(error)))
        except NotFound as error:
            findings.append(Finding(policy, Standing.ABSENT, _sentence(error)))
        else:
            found = _present(config, policy, versions, findings, package)
            findings.append(_dated(found, upstream, package))
    return Explanation(package, _summary(config, findings, package), tuple(findings))


def _reserved(config: VirtualConfig, policy: UpstreamPolicy, package: PackageName) -> Finding:
    reservation = config.find_reservation(package)
    assert reservation is not None
    reason = f"Not asked: {reservation.pattern} is reserved for {reservation.upstream}."
    return Finding(policy, Standing.RESERVED, reason)


def _sentence(error: BondedError) -> str:
    return f"{error}".rstrip(".") + "."


def _dated(found: Finding, upstream: Upstream, package: PackageName) -> Finding:
    """Return *found* with what is to be known if it comes from a cache during an outage."""
    if not isinstance(upstream.repository, RemoteRepository):
        return found
    outage = upstream.repository.find_outage(package)
    if outage is None:
        return found
    since = f"{outage.since:%Y-%m-%dT%H:%M:%SZ}"
    reason = f"{found.reason} Served from the cache, upstream failing since {since}: {outage.why}"
    return replace(found, reason=reason.rstrip(".") + ".", outage=outage)


def _present(
    config: VirtualConfig,
    policy: UpstreamPolicy,
    versions: tuple[str, ...],
    before: list[Finding],
    package: PackageName,
) -> Finding:
    owner = _first(before, Standing.OWNER)
    down = _first(before, Standing.UNAVAILABLE)
    if owner is not None and not config.is_merged(package):
        reason = f"Hidden: {owner.upstream.id} comes first and has the package."
        return Finding(policy, Standing.HIDDEN, reason, versions)
    if down is not None:
        reason = f"Not served: {down.upstream.id} comes first and does not answer."
        return Finding(policy, Standing.UNDECIDED, reason, versions)
    if owner is not None:
        reason = f"Adds the versions that {owner.upstream.id} and others before it do not have."
        return Finding(policy, Standing.SHARER, reason, versions)
    return Finding(policy, Standing.OWNER, "The first upstream that has the package.", versions)


def _summary(config: VirtualConfig, findings: list[Finding], package: PackageName) -> str:
    owner = _first(findings, Standing.OWNER)
    down = _first(findings, Standing.UNAVAILABLE)
    if down is not None and (owner is None or config.is_merged(package)):
        return f"{package} cannot be served: {down.upstream.id} does not answer."
    if owner is None and (reserving := _first(findings, Standing.RESERVING)):
        return f"{package} is reserved behind {reserving.upstream.id}, where nobody has it."
    if owner is None:
        reservation = config.find_reservation(package)
        if reservation is None:
            return f"No upstream has {package}."
        return (
            f"{package} is reserved for {reservation.upstream} ({reservation.pattern}), "
            "which does not have it."
        )
    sharers = [one.upstream.id for one in findings if one.standing is Standing.SHARER]
    if sharers:
        return f"{package} comes from {owner.upstream.id}, and from {', '.join(sharers)}."
    cache = ", out of its cache: its upstream fails" if owner.outage else ""
    return f"{package} comes from {owner.upstream.id}{cache}."


def _first(findings: list[Finding], standing: Standing) -> Finding | None:
    return next((one for one in findings if one.standing is standing), None)
