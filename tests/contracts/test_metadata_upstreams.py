"""What every metadata store answers about remote and virtual repositories."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from bonded.server.core.errors import Conflict, NotFound
from bonded.server.core.names import RepositoryName
from bonded.server.core.upstreams import (
    CustomIndex,
    Mode,
    NamePattern,
    PublicIndex,
    RemoteConfig,
    RepositoryConfig,
    Reservation,
    SecretKind,
    SecretReference,
    ServerRepository,
    UpstreamCredentials,
    UpstreamPolicy,
    VirtualConfig,
)
from bonded.server.metadata.sql.store import SqlMetadataStore
from bonded.server.metadata.store import REPOSITORIES, Project, RepositoryRecord

if TYPE_CHECKING:
    # Not at run time: pytest must be the first to load its plugin.
    from support.databases import Database

pytest_plugins = ("support.databases",)

NOW = datetime(2026, 11, 22, tzinfo=UTC)
TEAM = RepositoryName("my-project", "local", "team")
ALL = replace(TEAM, repository="all")
MISSING = replace(TEAM, repository="missing")
PROJECT = Project("my-project", 123_456_789_012, "Mine", NOW)
OVER_TEAM = VirtualConfig(
    (UpstreamPolicy("own", TEAM, 100),),
    (NamePattern("shared", is_prefix=False),),
    (Reservation(NamePattern("acme-", is_prefix=True), "own"),),
)
CONFIGS: dict[str, RepositoryConfig] = {
    "standard": None,
    "remote of the public index": RemoteConfig(source=PublicIndex()),
    "remote of a custom index": RemoteConfig(
        source=CustomIndex("https://index.test/simple/"),
        description="Nexus",
        credentials=UpstreamCredentials(
            "ada", SecretReference(SecretKind.VARIABLE, "my-project", "NEXUS")
        ),
        ca_certificates="PEM",
        proxy="http://proxy.test:3128",
        is_private_address_allowed=True,
        freshness_s=5,
        stale_max_s=60,
        cache_size_max_bytes=2**40,
        is_validated=False,
    ),
    "remote of a repository": RemoteConfig(
        source=ServerRepository(TEAM),
        credentials=UpstreamCredentials("", SecretReference(SecretKind.FILE, "my-project", "t")),
    ),
    "virtual": OVER_TEAM,
    "empty virtual": VirtualConfig(),
}


def record(name: RepositoryName, config: RepositoryConfig = None) -> RepositoryRecord:
    return RepositoryRecord(name, "", {}, NOW, NOW, config=config)


@pytest.fixture(name="team")
async def _team(metadata: SqlMetadataStore) -> SqlMetadataStore:
    """A store that holds a project with a standard repository."""
    async with metadata.transaction() as tx:
        await tx.projects.add(PROJECT)
        await tx.repositories.add(record(TEAM))
    return metadata


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
async def test_a_configuration_comes_back_whole_and_changes_as_a_whole(
    team: SqlMetadataStore, config: RepositoryConfig
) -> None:
    async with team.transaction() as tx:
        await tx.repositories.add(record(ALL, config))
        await tx.repositories.add(record(replace(TEAM, repository="later")))
        await tx.repositories.update(record(replace(TEAM, repository="later"), config))

    async with team.read() as tx:
        assert await tx.repositories.find(ALL) == record(ALL, config)
        later = await tx.repositories.find(replace(TEAM, repository="later"))
    assert later is not None
    assert later.config == config


async def test_a_repository_that_another_names_is_not_removed_until_it_is_named_no_more(
    team: SqlMetadataStore,
) -> None:
    async with team.transaction() as tx:
        await tx.repositories.add(record(ALL, OVER_TEAM))

    with pytest.raises(Conflict, match=f"{TEAM} is an upstream of {ALL}. Take it out"):
        async with team.transaction() as tx:
            await tx.repositories.remove(TEAM)

    async with team.transaction() as tx:
        assert await tx.repositories.list_dependents(TEAM) == (ALL,)
        await tx.repositories.update(record(ALL, VirtualConfig()))
        assert await tx.repositories.list_dependents(TEAM) == ()
        await tx.repositories.remove(TEAM)
        assert await tx.repositories.find(TEAM) is None


async def test_a_removed_virtual_repository_lets_go_of_its_upstreams(
    team: SqlMetadataStore,
) -> None:
    async with team.transaction() as tx:
        await tx.repositories.add(record(ALL, OVER_TEAM))
        await tx.repositories.remove(ALL)
        await tx.repositories.remove(TEAM)

    async with team.read() as tx:
        assert await tx.repositories.find(TEAM) is None


async def test_an_upstream_that_is_not_there_is_not_found(team: SqlMetadataStore) -> None:
    config = VirtualConfig((UpstreamPolicy("none", MISSING, 1),))

    with pytest.raises(NotFound, match="repositories/missing does not exist"):
        async with team.transaction() as tx:
            await tx.repositories.add(record(ALL, config))

    async with team.read() as tx:
        assert await tx.repositories.find(ALL) is None


async def test_which_repositories_there_are_has_a_serial(team: SqlMetadataStore) -> None:
    async def now() -> int:
        (serial,) = await team.serials.read(REPOSITORIES)
        return serial

    seen = [await now()]
    async with team.transaction() as tx:
        await tx.repositories.add(record(ALL, OVER_TEAM))
    seen.append(await now())
    async with team.transaction() as tx:
        await tx.repositories.hold_all()
        await tx.repositories.update(record(ALL, VirtualConfig()))
    seen.append(await now())
    async with team.transaction() as tx:
        await tx.repositories.remove(ALL)
    seen.append(await now())

    assert seen == sorted(set(seen))


async def test_a_database_from_before_there_were_modes_holds_standard_repositories(
    database: Database,
) -> None:
    await database.migrate("0001")
    await database.run(
        "INSERT INTO projects (id, number, name, labels, created_at) "
        "VALUES ('my-project', 1, 'Mine', '{}', 0)"
    )
    await database.run(
        "INSERT INTO repositories (key, project, location, repository, mode, description, labels, "
        "created_at, updated_at, size_bytes) "
        "VALUES (1000, 'my-project', 'local', 'team', 'STANDARD_REPOSITORY', '', '{}', 0, 0, 0)"
    )

    upgraded = await database.open()

    async with upgraded.transaction() as tx:
        found = await tx.repositories.find(TEAM)
        await tx.repositories.add(record(ALL, OVER_TEAM))
    assert found is not None
    assert found.mode is Mode.STANDARD
