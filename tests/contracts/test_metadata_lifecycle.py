"""What every metadata store answers about files after they were published."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from bonded.server.core.digests import sha256_of
from bonded.server.core.errors import NotFound
from bonded.server.core.files import File, Selection
from bonded.server.core.names import PackageName, RepositoryName
from bonded.server.metadata.sql.store import SqlMetadataStore
from bonded.server.metadata.store import (
    Project,
    RepositoryRecord,
    listing_scope,
    package_scope,
)

pytest_plugins = ("support.databases",)

NOW = datetime(2026, 11, 22, 12, 34, 56, 789_013, tzinfo=UTC)
TEAM = RepositoryName("my-project", "local", "team")
DEMO = PackageName.parse("Demo")
METADATA = b"Metadata-Version: 2.4"


def file_of(filename: str) -> File:
    return File(
        filename=filename,
        version=filename.split("-")[1].removesuffix(".tar.gz"),
        size_bytes=len(filename),
        sha256=sha256_of(filename.encode()),
        upload_time=NOW,
        requires_python=">=3.9",
        core_metadata_sha256=sha256_of(METADATA),
    )


WHEEL = file_of("demo-1.0-py3-none-any.whl")
SDIST = file_of("demo-1.0.tar.gz")
NEXT = file_of("demo-2.0-py3-none-any.whl")


@pytest.fixture(name="team")
async def _team(metadata: SqlMetadataStore) -> SqlMetadataStore:
    """A store with a repository that holds three files of one package."""
    async with metadata.transaction() as tx:
        await tx.projects.add(Project("my-project", 123_456_789_012, "Mine", NOW))
        await tx.repositories.add(RepositoryRecord(TEAM, "", {}, NOW, NOW))
        for file in (WHEEL, SDIST, NEXT):
            await tx.files.add(TEAM, DEMO, file, METADATA)
    return metadata


async def files_in(store: SqlMetadataStore) -> tuple[object, ...]:
    async with store.read() as tx:
        package = await tx.files.find_package(TEAM, DEMO)
    return () if package is None else package.files


SELECTIONS = [
    pytest.param(Selection(DEMO), {WHEEL, SDIST, NEXT}, id="all"),
    pytest.param(Selection(DEMO, "1.0"), {WHEEL, SDIST}, id="a version"),
    pytest.param(Selection(DEMO, filename=NEXT.filename), {NEXT}, id="a file"),
]


@pytest.mark.parametrize(("selection", "chosen"), SELECTIONS)
async def test_exactly_what_is_selected_is_yanked_and_unyanked(
    team: SqlMetadataStore, selection: Selection, chosen: set[File]
) -> None:
    scopes = (package_scope(TEAM, DEMO), listing_scope(TEAM))
    before = await team.serials.read(*scopes)

    async with team.transaction() as tx:
        yanked = await tx.lifecycle.yank(TEAM, selection, "broken")
    marked = await files_in(team)
    async with team.transaction() as tx:
        unyanked = await tx.lifecycle.yank(TEAM, selection, None)

    after = await team.serials.read(*scopes)
    assert set(yanked) == {replace(file, yanked="broken") for file in chosen}
    assert set(marked) == set(yanked) | ({WHEEL, SDIST, NEXT} - chosen)
    assert set(unyanked) == chosen
    assert await files_in(team) == (WHEEL, SDIST, NEXT)
    assert (after[0] - before[0], after[1] - before[1]) == (2, 0)


@pytest.mark.parametrize(
    "selection",
    [
        Selection(PackageName.parse("other")),
        Selection(DEMO, "3.0"),
        Selection(DEMO, filename="demo-3.0.tar.gz"),
    ],
)
async def test_what_is_not_there_cannot_be_yanked(
    team: SqlMetadataStore, selection: Selection
) -> None:
    with pytest.raises(NotFound, match=f"No {selection}"):
        async with team.transaction() as tx:
            await tx.lifecycle.yank(TEAM, selection, "")
