"""What every repository answers, whatever its mode: the questions of `Repository`.

A mode is a parameter: it says how files get into a repository and how they get lost.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import assert_never

import pytest

from bonded.server.core.digests import Sha256, sha256_of
from bonded.server.core.errors import NotFound, Unavailable
from bonded.server.core.files import Content, InMemory, OnDisk, Streamed
from bonded.server.core.names import PackageName, RepositoryName
from bonded.server.core.upstreams import (
    FRESHNESS_DEFAULT_S,
    CustomIndex,
    NamePattern,
    RemoteConfig,
    RepositoryConfig,
    Reservation,
    ServerRepository,
    UpstreamPolicy,
    VirtualConfig,
)
from bonded.server.metadata.store import RepositoryRecord
from bonded.server.repositories.protocol import Repository
from support.site import Site, open_site
from support.upstream import Index, Response, open_index, say
from support.wheels import Distribution, make_sdist, make_wheel

DEMO = PackageName.parse("demo")
WHEEL = make_wheel("Demo", "1.0", requires_python=">=3.9")
SDIST = make_sdist("Demo", "1.0")
BIG = make_wheel("Demo", "2.0", payload_bytes=3_000_000)
FAR_FUTURE = datetime.max.replace(tzinfo=UTC)


@dataclass
class World:
    """A repository of some mode, and what happens around it."""

    repository: Repository
    publish: Callable[[Distribution], Awaitable[None]]
    lose: Callable[[str], Awaitable[None]]
    """Make the bytes of a digest unreachable, as a broken disk or a dead upstream does."""


PYTHON = RepositoryName("my-project", "local", "python")
EMPTY = replace(PYTHON, repository="empty")
CONFIGS: dict[str, RepositoryConfig] = {
    "standard": None,
    "remote of a standard": RemoteConfig(source=ServerRepository(PYTHON)),
    "virtual": VirtualConfig((UpstreamPolicy("b", PYTHON, 1), UpstreamPolicy("a", EMPTY, 2))),
    "virtual that merges": VirtualConfig(
        (UpstreamPolicy("b", PYTHON, 1), UpstreamPolicy("a", EMPTY, 2)), (NamePattern.parse("*"),)
    ),
    "virtual that reserves": VirtualConfig(
        (UpstreamPolicy("b", PYTHON, 1), UpstreamPolicy("a", EMPTY, 2)),
        reservations=(Reservation(NamePattern.parse("*"), "b"),),
    ),
}
"""Every mode that looks at what is published to the standard repository PYTHON."""
OVER_INDEX = ("remote", "virtual over a remote")
"""Every mode that looks at what another index has."""


@pytest.fixture(name="world", params=[*CONFIGS, *OVER_INDEX])
async def _world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    """An empty repository of each mode."""
    async with open_site(tmp_path / "data") as site, open_index() as index:
        if request.param in OVER_INDEX:
            yield await _over_index(site, index, request.param)
        else:
            yield await _over_standard(site, CONFIGS[request.param])


async def _over_index(site: Site, index: Index, mode: str) -> World:
    cache, view = replace(PYTHON, repository="cache"), replace(PYTHON, repository="view")
    remote = RemoteConfig(source=CustomIndex(index.url), is_private_address_allowed=True)
    virtual = VirtualConfig((UpstreamPolicy("a", EMPTY, 2), UpstreamPolicy("b", cache, 1)))
    now = site.clock()
    async with site.registry.metadata.transaction() as tx:
        for name, config in ((EMPTY, None), (cache, remote), (view, virtual)):
            await tx.repositories.add(RepositoryRecord(name, "", {}, now, now, config=config))
    repository = await site.registry.catalog.open(cache if mode == "remote" else view)
    index.changes[WHEEL.filename] = {"requires-python": ">=3.9"}

    async def publish(distribution: Distribution) -> None:
        index.publish(distribution)
        site.clock.now += timedelta(seconds=FRESHNESS_DEFAULT_S + 1)
        # A remote repository lists what somebody has had from it.
        name = PackageName.parse(distribution.filename.partition("-")[0])
        await read((await repository.open_file(name, distribution.filename)).content)

    async def lose(digest: str) -> None:
        index.faults["/files/"] = say(Response(500))
        # Out of memory too: small ones are kept there once they were read.
        assert await site.registry.blobs.remove_older(Sha256(digest), FAR_FUTURE)

    return World(repository, publish, lose)


async def _over_standard(site: Site, config: RepositoryConfig) -> World:
    name = PYTHON
    if config is not None:
        name = replace(PYTHON, repository="view")
        now = site.clock()
        async with site.registry.metadata.transaction() as tx:
            await tx.repositories.add(RepositoryRecord(EMPTY, "", {}, now, now))
            await tx.repositories.add(RepositoryRecord(name, "", {}, now, now, config=config))
    repository = await site.registry.catalog.open(name)

    async def publish(distribution: Distribution) -> None:
        answer = await site.upload(distribution)
        assert answer.status_code == 200, answer.text

    async def lose(digest: str) -> None:
        (site.data_dir / "blobs" / digest[:2] / digest).unlink()

    return World(repository, publish, lose)


async def read(content: Content) -> bytes:
    match content:
        case InMemory(data):
            return data
        case OnDisk(path):
            return path.read_bytes()
        case Streamed(size_bytes, ranged):
            return b"".join([chunk async for chunk in ranged(0, size_bytes)])
        case _:
            assert_never(content)


async def test_an_unknown_package_and_an_unknown_file_are_not_found(world: World) -> None:
    await world.publish(WHEEL)
    unknown = PackageName.parse("unknown")

    for answer in (
        world.repository.get_package(unknown),
        world.repository.open_file(unknown, WHEEL.filename),
        world.repository.open_core_metadata(unknown, WHEEL.filename),
        world.repository.open_file(DEMO, SDIST.filename),
        world.repository.open_core_metadata(DEMO, SDIST.filename),
    ):
        with pytest.raises(NotFound):
            await answer


async def test_an_empty_repository_lists_nothing(world: World) -> None:
    assert await world.repository.list_packages() == ()


async def test_every_listed_package_answers_and_is_called_as_it_is_listed(world: World) -> None:
    for spelling in ("Zeta.Lib", "Demo", "alpha_lib"):
        await world.publish(make_wheel(spelling))

    listed = await world.repository.list_packages()

    assert [name.normalized for name in listed] == ["alpha-lib", "demo", "zeta-lib"]
    for name in listed:
        package = await world.repository.get_package(name)
        assert package.name == name
        assert package.files


async def test_every_listed_file_opens_and_its_bytes_match_size_and_digest(world: World) -> None:
    distributions = {one.filename: one for one in (WHEEL, SDIST, BIG)}
    for distribution in distributions.values():
        await world.publish(distribution)

    package = await world.repository.get_package(DEMO)

    assert {file.filename for file in package.files} == set(distributions)
    for file in package.files:
        stored = await world.repository.open_file(DEMO, file.filename)
        data = await read(stored.content)
        assert data == distributions[file.filename].data
        assert stored.content.size_bytes == file.size_bytes == len(data)
        assert stored.sha256 == file.sha256 == sha256_of(data)


async def test_core_metadata_is_there_exactly_for_files_that_announce_it(world: World) -> None:
    for distribution in (WHEEL, SDIST):
        await world.publish(distribution)

    package = await world.repository.get_package(DEMO)

    wheel, sdist = package.files
    stored = await world.repository.open_core_metadata(DEMO, wheel.filename)
    data = await read(stored.content)
    assert data == WHEEL.core_metadata
    assert stored.sha256 == wheel.core_metadata_sha256 == sha256_of(data)
    assert sdist.core_metadata_sha256 is None
    with pytest.raises(NotFound):
        await world.repository.open_core_metadata(DEMO, sdist.filename)


async def test_the_page_says_what_the_files_say(world: World) -> None:
    for distribution in (BIG, WHEEL, SDIST):
        await world.publish(distribution)

    package = await world.repository.get_package(DEMO)

    assert package.versions == ("2.0", "1.0")
    assert {file.version for file in package.files} == set(package.versions)
    (wheel,) = (file for file in package.files if file.filename == WHEEL.filename)
    assert wheel.requires_python == ">=3.9"


async def test_any_spelling_of_a_name_is_the_same_package(world: World) -> None:
    await world.publish(make_wheel("Ada.Lib"))

    packages = [
        await world.repository.get_package(PackageName.parse(spelling))
        for spelling in ("ada-lib", "ADA__lib", "Ada.Lib")
    ]

    assert packages[0] == packages[1] == packages[2]


async def test_the_version_moves_with_every_change_and_stands_still_otherwise(
    world: World,
) -> None:
    seen: list[tuple[Hashable, Hashable]] = []

    async def look() -> None:
        repository = world.repository
        seen.append((await repository.version(None), await repository.version(DEMO)))

    await look()
    await world.publish(WHEEL)
    await look()
    await world.publish(WHEEL)
    await look()
    await world.publish(SDIST)
    await look()

    lists, packages = zip(*seen, strict=True)
    assert lists[0] != lists[1] == lists[2] == lists[3]
    assert packages[0] != packages[1] == packages[2] != packages[3]


@pytest.mark.parametrize("distribution", [WHEEL, BIG], ids=["small", "big"])
async def test_bytes_that_are_out_of_reach_are_an_outage_not_an_absence(
    world: World, distribution: Distribution
) -> None:
    await world.publish(distribution)
    await world.lose(distribution.sha256)

    with pytest.raises(Unavailable):
        await world.repository.open_file(DEMO, distribution.filename)
    package = await world.repository.get_package(DEMO)
    assert [file.sha256 for file in package.files] == [Sha256(distribution.sha256)]


@pytest.mark.parametrize("mode", OVER_INDEX)
async def test_what_an_upstream_that_is_down_might_have_is_an_outage_not_an_absence(
    tmp_path: Path, mode: str
) -> None:
    async with open_site(tmp_path / "data") as site, open_index() as index:
        repository = (await _over_index(site, index, mode)).repository
        index.publish(WHEEL)
        index.faults["/"] = say(Response(500))

        for answer in (
            repository.version(DEMO),
            repository.get_package(DEMO),
            repository.open_file(DEMO, WHEEL.filename),
            repository.open_core_metadata(DEMO, WHEEL.filename),
        ):
            with pytest.raises(Unavailable, match=f"The upstream {index.url}"):
                await answer
