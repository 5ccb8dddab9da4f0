"""What every metadata store answers: the tables. Transactions are in test_metadata_transactions."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from bonded.server.core.digests import sha256_of
from bonded.server.core.errors import Aborted, Conflict, NotFound
from bonded.server.core.files import File, Package, Status
from bonded.server.core.iam import Binding, Policy
from bonded.server.core.names import PackageName, RepositoryName
from bonded.server.metadata.sql.store import SqlMetadataStore
from bonded.server.metadata.store import (
    ACCESS,
    AccountKey,
    Project,
    RepositoryRecord,
    ServiceAccount,
    listing_scope,
    package_scope,
)

pytest_plugins = ("support.databases",)

NOW = datetime(2026, 11, 22, 12, 34, 56, 789_013, tzinfo=UTC)
TEAM = RepositoryName("my-project", "local", "team")
DEMO = PackageName.parse("Demo")
PROJECT = Project("my-project", 123_456_789_012, "Mine", NOW, {"tier": "gold"})
RECORD = RepositoryRecord(TEAM, "Ours", {"team": "a"}, NOW, NOW + timedelta(microseconds=1))
ACCOUNT = ServiceAccount("ci@my-project.test", "my-project", "1" * 21, "CI", "Builds", NOW)
KEY = AccountKey("k1", ACCOUNT.email, "PEM", NOW, NOW + timedelta(days=1))
READER = Binding("roles/artifactregistry.reader", ("allUsers",))
WRITER = Binding("roles/artifactregistry.writer", ("user:ada@example.com",))


METADATA = b"Metadata-Version: 2.4"


def file_of(version: str = "1.0", data: bytes = b"wheel") -> File:
    return File(
        filename=f"demo-{version}-py3-none-any.whl",
        version=version,
        size_bytes=len(data),
        sha256=sha256_of(data),
        upload_time=NOW,
        requires_python=">=3.9",
        core_metadata_sha256=sha256_of(METADATA),
        yanked="",
    )


@pytest.fixture(name="team")
async def _team(metadata: SqlMetadataStore) -> SqlMetadataStore:
    """A store that holds a project with an empty repository."""
    async with metadata.transaction() as tx:
        await tx.projects.add(PROJECT)
        await tx.repositories.add(RECORD)
    return metadata


async def test_a_project_comes_back_whole_to_the_microsecond(metadata: SqlMetadataStore) -> None:
    async with metadata.transaction() as tx:
        await tx.projects.add(PROJECT)

    async with metadata.read() as tx:
        found = await tx.projects.find("my-project")
        missing = await tx.projects.find("other-project")

    assert found == PROJECT
    assert missing is None


async def test_a_taken_project_id_is_a_conflict(team: SqlMetadataStore) -> None:
    with pytest.raises(Conflict, match="my-project already exists"):
        async with team.transaction() as tx:
            await tx.projects.add(replace(PROJECT, number=7))


async def test_projects_are_listed_by_page_in_order_of_id(metadata: SqlMetadataStore) -> None:
    ids = ["a-project", "aa-project", "b-project", "c-project"]
    async with metadata.transaction() as tx:
        for number, project in enumerate(reversed(ids)):
            await tx.projects.add(Project(project, number, project, NOW))

    async with metadata.read() as tx:
        first = await tx.projects.list("", 3)
        second = await tx.projects.list(first[-1].id, 3)
        third = await tx.projects.list(second[-1].id, 3)

    assert [project.id for project in first + second] == ids
    assert third == ()


async def test_a_project_is_empty_until_it_holds_a_repository(metadata: SqlMetadataStore) -> None:
    async with metadata.transaction() as tx:
        await tx.projects.add(PROJECT)
        before = await tx.projects.is_empty("my-project")
        await tx.repositories.add(RECORD)
        after = await tx.projects.is_empty("my-project")

    assert (before, after) == (True, False)


async def test_a_removed_project_takes_its_accounts_and_their_keys(
    metadata: SqlMetadataStore,
) -> None:
    async with metadata.transaction() as tx:
        await tx.projects.add(PROJECT)
        await tx.accounts.add(ACCOUNT)
        await tx.accounts.add_key(KEY)

    async with metadata.transaction() as tx:
        await tx.projects.remove("my-project")

    async with metadata.read() as tx:
        assert await tx.projects.find("my-project") is None
        assert await tx.accounts.find(ACCOUNT.email) is None
        assert await tx.accounts.find_key("k1") is None


async def test_a_project_that_holds_a_repository_cannot_be_removed(team: SqlMetadataStore) -> None:
    with pytest.raises(Conflict, match="not empty"):
        async with team.transaction() as tx:
            await tx.projects.remove("my-project")


async def test_a_repository_comes_back_whole(team: SqlMetadataStore) -> None:
    async with team.read() as tx:
        found = await tx.repositories.find(TEAM)
        missing = await tx.repositories.find(replace(TEAM, location="elsewhere"))

    assert found == RECORD
    assert missing is None


async def test_a_repository_needs_its_project_and_a_free_name(team: SqlMetadataStore) -> None:
    orphan = replace(RECORD, name=RepositoryName("no-project", "local", "team"))

    with pytest.raises(NotFound, match="Project no-project does not exist"):
        async with team.transaction() as tx:
            await tx.repositories.add(orphan)
    with pytest.raises(Conflict, match="repositories/team already exists"):
        async with team.transaction() as tx:
            await tx.repositories.add(RECORD)


async def test_repositories_are_listed_by_page_in_order_of_location_and_id(
    metadata: SqlMetadataStore,
) -> None:
    places = ["eu/a", "eu/b", "eu-west/a", "us/a"]
    async with metadata.transaction() as tx:
        await tx.projects.add(PROJECT)
        for place in reversed(places):
            name = RepositoryName("my-project", *place.split("/"))
            await tx.repositories.add(replace(RECORD, name=name))

    async with metadata.read() as tx:
        listed: list[str] = []
        after = ""
        while page := await tx.repositories.list("my-project", None, after, 2):
            listed += [f"{record.name.location}/{record.name.repository}" for record in page]
            after = listed[-1]
        in_eu = await tx.repositories.list("my-project", "eu", "", 9)
        locations = await tx.repositories.list_locations("my-project")

    assert sorted(listed) == sorted(places)
    assert [record.name.repository for record in in_eu] == ["a", "b"]
    assert locations == ("eu", "eu-west", "us")


async def test_a_repository_changes_its_description_labels_and_time(
    team: SqlMetadataStore,
) -> None:
    later = NOW + timedelta(hours=1)

    changed = replace(RECORD, description="Theirs", labels={}, updated_at=later)

    async with team.transaction() as tx:
        await tx.repositories.update(changed)

    async with team.read() as tx:
        found = await tx.repositories.find(TEAM)
    assert found == changed
    with pytest.raises(NotFound):
        async with team.transaction() as tx:
            await tx.repositories.update(replace(changed, name=replace(TEAM, repository="none")))


async def test_a_removed_repository_takes_its_packages_and_moves_their_serials(
    team: SqlMetadataStore,
) -> None:
    scopes = (listing_scope(TEAM), package_scope(TEAM, DEMO))
    async with team.transaction() as tx:
        await tx.files.add(TEAM, DEMO, file_of(), METADATA)
    before = await team.serials.read(*scopes)

    async with team.transaction() as tx:
        await tx.repositories.remove(TEAM)

    after = await team.serials.read(*scopes)
    # What is nowhere reads as 0; a list goes on, for it may be remembered as of any serial.
    assert (after[0] > before[0], after[1]) == (True, 0)
    async with team.transaction() as tx:
        await tx.repositories.add(RECORD)
        assert await tx.files.find_package(TEAM, DEMO) is None
        assert await tx.files.list_packages(TEAM) == ()
    with pytest.raises(NotFound):
        async with team.transaction() as tx:
            await tx.repositories.remove(replace(TEAM, repository="none"))


async def test_a_file_comes_back_whole_and_counts_towards_its_repository(
    team: SqlMetadataStore,
) -> None:
    wheel = file_of()

    async with team.transaction() as tx:
        await tx.files.add(TEAM, DEMO, wheel, METADATA)

    async with team.read() as tx:
        found, _ = await tx.files.find_file(TEAM, DEMO, wheel.filename)
        package = await tx.files.find_package(TEAM, PackageName.parse("DEMO"))
        record = await tx.repositories.find(TEAM)
    assert found == wheel
    assert package == Package(DEMO, (wheel,), ("1.0",))
    assert package.name.spelled == "Demo"
    assert record == replace(RECORD, size_bytes=wheel.size_bytes, updated_at=NOW)


async def test_files_come_in_order_of_upload_and_versions_too(
    team: SqlMetadataStore,
) -> None:
    uploaded = ["1.10", "1.9", "2.0rc1", "2.0"]
    async with team.transaction() as tx:
        for version in uploaded:
            await tx.files.add(TEAM, DEMO, file_of(version), METADATA)

    async with team.read() as tx:
        package = await tx.files.find_package(TEAM, DEMO)

    assert package is not None
    assert [file.version for file in package.files] == uploaded
    assert package.versions == tuple(uploaded)

    async with team.read() as tx:
        only = await tx.files.find_package(TEAM, DEMO, "1.9")
        none = await tx.files.find_package(TEAM, DEMO, "1.99")
    assert (only, none) == (
        replace(package, files=package.files[1:2], versions=("1.9",)),
        replace(package, files=(), versions=()),
    )


async def test_the_longest_version_that_a_filename_can_hold_is_kept(
    team: SqlMetadataStore,
) -> None:
    wheel = file_of("1." + "0" * 120 + ".dev1+" + "a" * 90)

    async with team.transaction() as tx:
        await tx.files.add(TEAM, DEMO, wheel, METADATA)

    async with team.read() as tx:
        assert await tx.files.find_file(TEAM, DEMO, wheel.filename) == (wheel, Status.ACTIVE)


async def test_packages_are_listed_in_order_of_their_normalized_names(
    team: SqlMetadataStore,
) -> None:
    spelled = ["a-b", "aa", "B.c", "z9"]
    async with team.transaction() as tx:
        for name in reversed(spelled):
            await tx.files.add(TEAM, PackageName.parse(name), file_of(), METADATA)

    async with team.read() as tx:
        listed = await tx.files.list_packages(TEAM)

    assert [name.spelled for name in listed] == spelled


async def test_what_is_not_there_is_none_but_a_missing_repository_is_not_found(
    team: SqlMetadataStore,
) -> None:
    nowhere = replace(TEAM, repository="none")

    async with team.read() as tx:
        assert await tx.files.find_package(TEAM, DEMO) is None
        assert await tx.files.find_file(TEAM, DEMO, "demo-1.0.tar.gz") == (None, None)
        with pytest.raises(NotFound):
            await tx.files.list_packages(nowhere)
    with pytest.raises(NotFound):
        async with team.transaction() as tx:
            await tx.files.add(nowhere, DEMO, file_of(), METADATA)


async def test_a_taken_filename_is_a_conflict_that_changes_nothing(team: SqlMetadataStore) -> None:
    wheel = file_of()
    async with team.transaction() as tx:
        await tx.files.add(TEAM, DEMO, wheel, METADATA)
    before = await team.serials.read(package_scope(TEAM, DEMO))

    with pytest.raises(Conflict, match="File already exists"):
        async with team.transaction() as tx:
            await tx.files.add(TEAM, DEMO, replace(wheel, sha256=sha256_of(b"other")), METADATA)

    async with team.read() as tx:
        assert await tx.files.find_file(TEAM, DEMO, wheel.filename) == (wheel, Status.ACTIVE)
    assert await team.serials.read(package_scope(TEAM, DEMO)) == before


async def test_the_same_filename_in_another_repository_is_another_file(
    team: SqlMetadataStore,
) -> None:
    other = replace(TEAM, repository="other")
    async with team.transaction() as tx:
        await tx.repositories.add(replace(RECORD, name=other))
        await tx.files.add(TEAM, DEMO, file_of(data=b"one"), METADATA)

        await tx.files.add(other, DEMO, file_of(data=b"two"), METADATA)

    async with team.read() as tx:
        found, _ = await tx.files.find_file(other, DEMO, file_of().filename)
    assert found == file_of(data=b"two")


async def test_a_policy_comes_back_with_the_etag_of_its_state(metadata: SqlMetadataStore) -> None:
    async with metadata.transaction() as tx:
        first = await tx.policies.set(Policy("projects/a", (READER, WRITER)))
        second = await tx.policies.set(Policy("projects/b", (WRITER,)))

    async with metadata.read() as tx:
        found = await tx.policies.find("projects/a")
        both = await tx.policies.find_all(["projects/a", "projects/b", "projects/c"])
        missing = await tx.policies.find("projects/c")
        etags = await tx.policies.find_etags(["organizations/bonded", "projects/a"])
        with pytest.raises(ValueError, match="longer"):
            await tx.policies.find_etags(["a", "b", "c", "d"])
    assert found == first
    assert etags == {"projects/a": first.etag}
    assert found.bindings == (READER, WRITER)
    assert set(both) == {first, second}
    assert missing is None


async def test_a_policy_is_replaced_only_by_who_has_read_the_latest(
    metadata: SqlMetadataStore,
) -> None:
    async with metadata.transaction() as tx:
        first = await tx.policies.set(Policy("projects/a", (READER,)))
        second = await tx.policies.set(Policy("projects/a", (WRITER,), first.etag))

    with pytest.raises(Aborted, match="concurrent policy changes"):
        async with metadata.transaction() as tx:
            await tx.policies.set(Policy("projects/a", (), first.etag))

    async with metadata.read() as tx:
        assert await tx.policies.find("projects/a") == second


async def test_a_removed_policy_is_gone_and_its_etag_never_returns(
    metadata: SqlMetadataStore,
) -> None:
    async with metadata.transaction() as tx:
        first = await tx.policies.set(Policy("projects/a", (READER,)))

    async with metadata.transaction() as tx:
        await tx.policies.remove("projects/a")
        gone = await tx.policies.find("projects/a")
        again = await tx.policies.set(Policy("projects/a", (READER,)))

    assert gone is None
    assert again.etag != first.etag


async def test_accounts_and_keys_come_back_whole(team: SqlMetadataStore) -> None:
    disabled = replace(KEY, id="k2", is_disabled=True, expires_at=None)
    async with team.transaction() as tx:
        await tx.accounts.add(ACCOUNT)
        await tx.accounts.add_key(disabled)
        await tx.accounts.add_key(KEY)

    async with team.read() as tx:
        assert await tx.accounts.find(ACCOUNT.email) == ACCOUNT
        assert await tx.accounts.list("my-project", "", 9) == (ACCOUNT,)
        assert await tx.accounts.list("my-project", ACCOUNT.email, 9) == ()
        assert await tx.accounts.find_key("k2") == disabled
        assert await tx.accounts.list_keys(ACCOUNT.email) == (KEY, disabled)
        assert await tx.accounts.find_key("k3") is None


async def test_an_account_needs_its_project_and_a_free_address(team: SqlMetadataStore) -> None:
    orphan = replace(ACCOUNT, email="ci@no-project.test", project="no-project", unique_id="2")
    async with team.transaction() as tx:
        await tx.accounts.add(ACCOUNT)

    with pytest.raises(NotFound, match="Project no-project does not exist"):
        async with team.transaction() as tx:
            await tx.accounts.add(orphan)
    with pytest.raises(Conflict, match="already exists"):
        async with team.transaction() as tx:
            await tx.accounts.add(replace(ACCOUNT, unique_id="2"))


async def test_a_key_needs_its_account(team: SqlMetadataStore) -> None:
    with pytest.raises(NotFound, match=r"ci@my-project\.test does not exist"):
        async with team.transaction() as tx:
            await tx.accounts.add_key(KEY)


async def test_removed_accounts_take_their_keys_and_absent_ones_are_not_found(
    team: SqlMetadataStore,
) -> None:
    async with team.transaction() as tx:
        await tx.accounts.add(ACCOUNT)
        await tx.accounts.add_key(KEY)
        await tx.accounts.add_key(replace(KEY, id="k2"))

    async with team.transaction() as tx:
        await tx.accounts.remove_key(ACCOUNT.email, "k2")
        left = await tx.accounts.list_keys(ACCOUNT.email)
        await tx.accounts.remove(ACCOUNT.email)

    assert left == (KEY,)
    async with team.read() as tx:
        assert await tx.accounts.find(ACCOUNT.email) is None
        assert await tx.accounts.find_key("k1") is None
    with pytest.raises(NotFound):
        async with team.transaction() as tx:
            await tx.accounts.remove(ACCOUNT.email)
    with pytest.raises(NotFound):
        async with team.transaction() as tx:
            await tx.accounts.remove_key(ACCOUNT.email, "k1")


async def test_everything_that_decides_access_advances_its_serial(team: SqlMetadataStore) -> None:
    seen = list(await team.serials.read(ACCESS))

    for change in ("account", "key", "no key", "policy", "no policy", "no account"):
        async with team.transaction() as tx:
            match change:
                case "account":
                    await tx.accounts.add(ACCOUNT)
                case "key":
                    await tx.accounts.add_key(KEY)
                case "no key":
                    await tx.accounts.remove_key(ACCOUNT.email, "k1")
                case "policy":
                    await tx.policies.set(Policy("projects/my-project", (READER,)))
                case "no policy":
                    await tx.policies.remove("projects/my-project")
                case "no account":
                    await tx.accounts.remove(ACCOUNT.email)
        seen += await team.serials.read(ACCESS)

    assert all(new > old for old, new in pairwise(seen)), seen


async def test_core_metadata_is_kept_once_and_forgotten_with_its_last_file(
    team: SqlMetadataStore,
) -> None:
    digest = sha256_of(METADATA)
    async with team.transaction() as tx:
        await tx.files.add(TEAM, DEMO, file_of("1.0"), METADATA)
        await tx.files.add(TEAM, DEMO, file_of("2.0"), METADATA)

    async with team.transaction() as tx:
        found = await tx.files.find_core_metadata(digest)
        forgotten = await tx.lifecycle.forget_core_metadata(digest[:2], NOW)
        await tx.repositories.remove(TEAM)
        forgotten_later = await tx.lifecycle.forget_core_metadata(digest[:2], NOW)
        gone = await tx.files.find_core_metadata(digest)

    assert (found, forgotten, forgotten_later, gone) == (METADATA, 0, 1, None)
