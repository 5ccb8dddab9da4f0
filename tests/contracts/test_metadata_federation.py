"""What every metadata store must do with pools, providers, publishers and spent assertions."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from bonded.server.core.errors import Conflict, NotFound
from bonded.server.core.federation import Pool, PoolName, Provider, ProviderName, Publisher
from bonded.server.core.names import RepositoryName
from bonded.server.metadata.sql.store import SqlMetadataStore
from bonded.server.metadata.store import ACCESS, Project, RepositoryRecord

pytest_plugins = ("support.databases",)

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)
ISSUER = "https://issuer.example"
POOL = PoolName("my-project", "ci-pool")
NUMBERED = PoolName("17", "ci-pool")
PROVIDER = ProviderName(POOL, "github")
A_POOL = Pool(NUMBERED, "my-project", NOW, "CI", "Runs builds")
A_PROVIDER = Provider(
    ProviderName(NUMBERED, "github"),
    ISSUER,
    {"google.subject": "assertion.sub"},
    NOW,
    "assertion.ref == 'main'",
    ("us", "them"),
    '{"keys":[]}',
    "GitHub",
)
REPOSITORY = RepositoryName("my-project", "local", "python")
PUBLISHER = Publisher("p1", REPOSITORY, "oidc", ISSUER, "me", {"sub": "me"}, NOW, ("demo", "other"))


@pytest.fixture(name="filled")
async def _filled(metadata: SqlMetadataStore) -> SqlMetadataStore:
    """A store that holds one of everything."""
    async with metadata.transaction() as tx:
        await tx.projects.add(Project("my-project", 17, "Mine", NOW))
        await tx.repositories.add(RepositoryRecord(REPOSITORY, "", {}, NOW, NOW))
        await tx.pools.add(A_POOL)
        await tx.pools.add_provider(PROVIDER, A_PROVIDER)
        await tx.publishers.add(PUBLISHER)
    return metadata


async def test_what_was_added_comes_back_whole(filled: SqlMetadataStore) -> None:
    async with filled.read() as tx:
        assert await tx.projects.find_numbered(17) == await tx.projects.find("my-project")
        assert await tx.projects.find_numbered(18) is None
        assert await tx.pools.find(POOL) == A_POOL
        assert await tx.pools.find_provider(PROVIDER) == A_PROVIDER
        assert await tx.publishers.find("p1") == PUBLISHER
        assert await tx.pools.find(replace(POOL, pool="other")) is None
        assert await tx.pools.find_provider(replace(PROVIDER, provider="other")) is None
        assert await tx.publishers.find("p2") is None


async def test_what_was_changed_comes_back_changed(filled: SqlMetadataStore) -> None:
    pool = replace(A_POOL, display_name="New", is_disabled=True)
    provider = replace(A_PROVIDER, jwks="", allowed_audiences=(), is_disabled=True)
    async with filled.transaction() as tx:
        await tx.pools.update(POOL, pool)
        await tx.pools.update_provider(PROVIDER, provider)

    async with filled.read() as tx:
        assert await tx.pools.find(POOL) == pool
        assert await tx.pools.find_provider(PROVIDER) == provider


async def test_a_taken_name_is_a_conflict(filled: SqlMetadataStore) -> None:
    with pytest.raises(Conflict, match="ci-pool already exists"):
        async with filled.transaction() as tx:
            await tx.pools.add(A_POOL)
    with pytest.raises(Conflict, match="github already exists"):
        async with filled.transaction() as tx:
            await tx.pools.add_provider(PROVIDER, A_PROVIDER)


async def test_nothing_is_added_to_what_does_not_exist(filled: SqlMetadataStore) -> None:
    elsewhere = RepositoryName("my-project", "local", "other")
    with pytest.raises(NotFound):
        async with filled.transaction() as tx:
            await tx.pools.add(replace(A_POOL, project="other-project"))
    with pytest.raises(NotFound):
        async with filled.transaction() as tx:
            await tx.pools.add_provider(
                ProviderName(PoolName("my-project", "absent"), "github"), A_PROVIDER
            )
    with pytest.raises(NotFound):
        async with filled.transaction() as tx:
            await tx.publishers.add(replace(PUBLISHER, id="p2", repository=elsewhere))


async def test_lists_go_page_by_page_in_order_of_id(filled: SqlMetadataStore) -> None:
    async with filled.transaction() as tx:
        for name in ("a-pool", "z-pool"):
            await tx.pools.add(replace(A_POOL, name=PoolName("17", name)))
            provider = ProviderName(POOL, name)
            await tx.pools.add_provider(provider, A_PROVIDER)
        await tx.publishers.add(replace(PUBLISHER, id="p0"))

    async with filled.read() as tx:
        pools = await tx.pools.list("my-project", "a-pool", 2)
        providers = await tx.pools.list_providers(POOL, "", 2)
        publishers = await tx.publishers.list(REPOSITORY, "p0", 5)

    assert [one.name.pool for one in pools] == ["ci-pool", "z-pool"]
    assert [one.name.provider for one in providers] == ["a-pool", "github"]
    assert publishers == (PUBLISHER,)


async def test_a_publisher_is_pinned_once(filled: SqlMetadataStore) -> None:
    async with filled.transaction() as tx:
        await tx.publishers.pin("p1", {"owner": "17"})
        await tx.publishers.pin("p1", {"owner": "17"})
    with pytest.raises(Conflict):
        async with filled.transaction() as tx:
            await tx.publishers.pin("p1", {"owner": "18"})

    async with filled.read() as tx:
        assert await tx.publishers.find("p1") == replace(PUBLISHER, pins={"owner": "17"})


async def test_publishers_are_found_by_issuer_and_anchor(filled: SqlMetadataStore) -> None:
    async with filled.transaction() as tx:
        await tx.publishers.add(replace(PUBLISHER, id="p2", anchor="you"))
        await tx.publishers.add(replace(PUBLISHER, id="p3", issuer="https://other.example"))

    async with filled.read() as tx:
        mine = await tx.publishers.find_matching(ISSUER, ["me", "nobody"], 5)
        first = await tx.publishers.find_matching(ISSUER, ["me", "you"], 1)
        trusted = [await tx.publishers.has_issuer(one) for one in (ISSUER, f"{ISSUER}/x")]

    assert trusted == [True, False]
    assert [one.id for one in mine] == ["p1"]
    assert [one.id for one in first] == ["p1"]


async def test_what_is_removed_takes_along_what_belongs_to_it(filled: SqlMetadataStore) -> None:
    async with filled.transaction() as tx:
        await tx.pools.remove(POOL)
        await tx.repositories.remove(REPOSITORY)

    async with filled.read() as tx:
        assert await tx.pools.find_provider(PROVIDER) is None
        assert await tx.publishers.find("p1") is None


async def test_a_project_takes_its_pools_along(filled: SqlMetadataStore) -> None:
    async with filled.transaction() as tx:
        await tx.repositories.remove(REPOSITORY)
        await tx.projects.remove("my-project")

    async with filled.read() as tx:
        assert await tx.pools.find_provider(PROVIDER) is None


async def test_removing_what_is_absent_is_not_found(filled: SqlMetadataStore) -> None:
    with pytest.raises(NotFound):
        async with filled.transaction() as tx:
            await tx.pools.remove(replace(POOL, pool="other"))
    with pytest.raises(NotFound):
        async with filled.transaction() as tx:
            await tx.pools.remove_provider(replace(PROVIDER, provider="other"))
    with pytest.raises(NotFound):
        async with filled.transaction() as tx:
            await tx.publishers.remove(replace(REPOSITORY, repository="other"), "p1")


async def test_every_change_advances_the_serial_of_access(filled: SqlMetadataStore) -> None:
    (serial,) = await filled.serials.read(ACCESS)
    async with filled.transaction() as tx:
        await tx.pools.update_provider(PROVIDER, A_PROVIDER)
    (after_provider,) = await filled.serials.read(ACCESS)
    async with filled.transaction() as tx:
        await tx.pools.update(POOL, A_POOL)
    (after_pool,) = await filled.serials.read(ACCESS)
    async with filled.transaction() as tx:
        await tx.pools.remove_provider(PROVIDER)
    (after_removal,) = await filled.serials.read(ACCESS)
    async with filled.transaction() as tx:
        await tx.publishers.remove(REPOSITORY, "p1")
    (after_publisher,) = await filled.serials.read(ACCESS)

    assert serial < after_provider < after_pool < after_removal < after_publisher


async def test_an_assertion_is_spent_once_until_it_has_expired(filled: SqlMetadataStore) -> None:
    soon, later = NOW + timedelta(minutes=5), NOW + timedelta(minutes=6)
    async with filled.transaction() as tx:
        await tx.publishers.spend("d1", soon, NOW)
        await tx.publishers.spend("d2", soon, NOW)

    with pytest.raises(Conflict, match="exchanged before"):
        async with filled.transaction() as tx:
            await tx.publishers.spend("d1", soon, NOW)

    async with filled.transaction() as tx:
        await tx.publishers.spend("d1", later + timedelta(minutes=5), later)
