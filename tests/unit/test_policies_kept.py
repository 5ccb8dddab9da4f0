"""Policies in memory: arranged once for all that they govern, and anew only when they change."""

from __future__ import annotations

import tracemalloc
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from bonded.server.core.conditions import Condition
from bonded.server.core.grants import Grant, PolicyGrants
from bonded.server.core.iam import (
    ANONYMOUS,
    MEMBERS_MAX,
    ORGANIZATION,
    Binding,
    Permission,
    Policy,
    Principal,
)
from bonded.server.core.names import RepositoryName
from bonded.server.core.roles import OWNER, Role
from bonded.server.identity.policies import PolicyBook
from bonded.server.metadata.sql.store import SqlMetadataStore, open_sqlite
from bonded.server.metadata.store import ACCESS

HERE = RepositoryName("my-project", "local", "python")
PROJECT = f"projects/{HERE.project}"
READER = "roles/artifactregistry.reader"
PICKER = f"{ORGANIZATION}/roles/picker"
DOWNLOAD = Permission.REPOSITORY_DOWNLOAD
ADA = Principal("user:ada@example.com")
MUCH = Binding(READER, tuple(f"user:u{number}@example.com" for number in range(MEMBERS_MAX - 1)))
NAMES = 500
UNKNOWN_MAX_BYTES = 2048
"""What one name may cost that was asked for: the name, and which policies govern it."""


@pytest.fixture
async def metadata(tmp_path: Path) -> AsyncIterator[SqlMetadataStore]:
    """Return a store with a large policy on the server and on the project, and one below."""
    store = await open_sqlite(tmp_path / "test.db")
    async with store.transaction() as tx:
        await tx.policies.set(Policy(ORGANIZATION, (MUCH,)))
        await tx.policies.set(Policy(PROJECT, (MUCH, Binding(PICKER, (ADA.member,)))))
        await tx.policies.set(Policy(str(HERE), (MUCH,)))
    yield store
    await store.close()


async def arranged(
    book: PolicyBook, metadata: SqlMetadataStore, resource: str | RepositoryName = HERE
) -> dict[str, PolicyGrants]:
    """Return the policies that govern a resource, as the book has them arranged."""
    (serial,) = await metadata.serials.read(ACCESS)
    grants = await book.grants_on(resource, serial)
    return {one.resource: one for one in grants.policies if one.size > 1}


async def test_names_that_do_not_exist_share_what_their_project_has_and_fill_nothing(
    metadata: SqlMetadataStore,
) -> None:
    book = PolicyBook(metadata)
    known = await arranged(book, metadata)
    (serial,) = await metadata.serials.read(ACCESS)
    seen = set()
    tracemalloc.start()

    for number in range(NAMES):
        unknown = replace(HERE, repository=f"unknown-{number}")
        grants = await book.grants_on(unknown, serial)
        assert not grants.decide(ANONYMOUS, DOWNLOAD).is_allowed
        seen |= {one.resource for one in grants.policies if one.size > 1}
        assert all(known[one.resource] is one for one in grants.policies if one.size > 1)

    taken_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seen == {ORGANIZATION, PROJECT}
    assert taken_bytes < NAMES * UNKNOWN_MAX_BYTES


async def test_only_what_has_changed_is_arranged_again(metadata: SqlMetadataStore) -> None:
    book = PolicyBook(metadata)
    before = await arranged(book, metadata)

    async with metadata.transaction() as tx:
        await tx.policies.set(Policy(str(HERE), (MUCH, Binding(READER, (ADA.member,)))))
    written = await arranged(book, metadata)
    async with metadata.transaction() as tx:
        await tx.policies.hold()
    moved = await arranged(book, metadata)
    async with metadata.transaction() as tx:
        await tx.policies.remove(str(HERE))
    removed = await arranged(book, metadata)

    assert {one for one in before if before[one] is not written[one]} == {str(HERE)}
    assert all(moved[one] is written[one] for one in written)
    assert removed.keys() == {ORGANIZATION, PROJECT}
    assert all(removed[one] is before[one] for one in removed)


async def test_a_role_that_changes_changes_the_policies_that_name_it(
    metadata: SqlMetadataStore,
) -> None:
    book = PolicyBook(metadata)
    answers = []

    for permissions in ((), (DOWNLOAD.value,), (DOWNLOAD.value,), ("a.b.c",)):
        async with metadata.transaction() as tx:
            role = Role(PICKER, "Picker", permissions=permissions)
            known = await tx.roles.find(PICKER)
            if known is None:
                await tx.roles.add(role)
            else:
                await tx.roles.update(replace(role, etag=known.etag))
        (serial,) = await metadata.serials.read(ACCESS)
        grants = await book.grants_on(HERE, serial)
        answers.append((grants.decide(ADA, DOWNLOAD).is_allowed, await arranged(book, metadata)))

    assert [is_allowed for is_allowed, _ in answers] == [False, True, True, False]
    projects = [policies[PROJECT] for _, policies in answers]
    servers = [policies[ORGANIZATION] for _, policies in answers]
    assert projects[1] is projects[2]
    assert len({id(one) for one in projects}) == 3
    assert len({id(one) for one in servers}) == 1


async def test_what_was_not_asked_for_the_longest_makes_room(metadata: SqlMetadataStore) -> None:
    other = replace(HERE, repository="other")
    async with metadata.transaction() as tx:
        await tx.policies.set(Policy(str(other), (MUCH,)))
    book = PolicyBook(metadata, grants_max=3 * MEMBERS_MAX)
    first = await arranged(book, metadata)

    beside = await arranged(book, metadata, other)
    async with metadata.transaction() as tx:
        await tx.policies.hold()
    again = await arranged(book, metadata)

    assert beside[ORGANIZATION] is first[ORGANIZATION] is again[ORGANIZATION]
    assert again[str(HERE)] is not first[str(HERE)]


async def test_an_owner_of_the_project_is_found_where_only_its_owners_are_named(
    metadata: SqlMetadataStore,
) -> None:
    always, sometimes = Condition("here", "true"), Condition("there", "false")
    standing = Binding(READER, (f"projectOwner:{HERE.project}",), always)
    async with metadata.transaction() as tx:
        await tx.policies.set(Policy(PROJECT, (Binding(OWNER, (ADA.member,), sometimes),)))
        await tx.policies.set(Policy(str(HERE), (standing,)))
    (serial,) = await metadata.serials.read(ACCESS)

    grants = await PolicyBook(metadata).grants_on(HERE, serial)

    (own, given) = grants.given_to(ADA)
    assert own.role == OWNER
    assert given == Grant(
        ADA.member,
        READER,
        str(HERE),
        given.permissions,
        (always, sometimes),
        through=f"projectOwner:{HERE.project}",
    )
    assert grants.given_to(Principal("user:bob@example.com")) == ()
