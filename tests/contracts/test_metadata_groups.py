"""Groups and custom roles, in every metadata store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from bonded.server.core.conditions import Condition
from bonded.server.core.errors import Aborted, BondedError, Conflict, NotFound
from bonded.server.core.iam import Binding, Policy
from bonded.server.core.roles import Role
from bonded.server.metadata.groups import Group, Membership
from bonded.server.metadata.sql.store import SqlMetadataStore
from bonded.server.metadata.store import ACCESS, Project, Transaction

pytest_plugins = ("support.databases",)

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
Act = Callable[[Transaction], Awaitable[object]]
ADA = "user:ada@example.com"
ROLE = Role("organizations/bonded/roles/picker", "Picker", permissions=("a.b.c",))


def group(name: str) -> Group:
    """Return a group."""
    return Group(f"{name}@example.com", name, "", NOW)


async def test_a_group_comes_back_with_its_members(metadata: SqlMetadataStore) -> None:
    async with metadata.transaction() as tx:
        await tx.groups.add(group("devs"))
        await tx.groups.put_member("devs@example.com", Membership(ADA))
        await tx.groups.put_member("devs@example.com", Membership(ADA, is_owner=True))

    async with metadata.read() as tx:
        assert await tx.groups.find("devs@example.com") == group("devs")
        assert await tx.groups.list("", 10) == (group("devs"),)
        assert await tx.groups.list_members("devs@example.com", "", 10) == (
            Membership(ADA, is_owner=True),
        )
        assert await tx.groups.list_owners("devs@example.com") == (ADA,)
        assert await tx.groups.count_members("devs@example.com") == 1


async def test_groups_are_found_around_a_member_and_within_a_group(
    metadata: SqlMetadataStore,
) -> None:
    async with metadata.transaction() as tx:
        for name in ("a", "b", "c"):
            await tx.groups.add(group(name))
        await tx.groups.put_member("a@example.com", Membership(ADA))
        await tx.groups.put_member("b@example.com", Membership("group:a@example.com"))
        await tx.groups.put_member("c@example.com", Membership("group:b@example.com"))
        await tx.groups.put_member("c@example.com", Membership(ADA))

    async with metadata.read() as tx:
        around, above = await tx.groups.find_around([ADA])
        within, below = await tx.groups.find_within("group:c@example.com")
        nothing = await tx.groups.find_around(["user:bob@example.com"])

    assert (around, above) == (
        {
            "group:a@example.com": ADA,
            "group:c@example.com": ADA,
            "group:b@example.com": "group:a@example.com",
        },
        3,
    )
    assert (sorted(within), below) == (["group:a@example.com", "group:b@example.com"], 2)
    assert nothing == ({}, 0)


async def test_what_is_gone_leaves_every_group_and_a_group_its_members(
    metadata: SqlMetadataStore,
) -> None:
    async with metadata.transaction() as tx:
        await tx.groups.add(group("devs"))
        await tx.groups.put_member("devs@example.com", Membership(ADA))
        await tx.policies.forget_members(lambda member: member == ADA)
        assert await tx.groups.count_members("devs@example.com") == 0
        await tx.groups.put_member("devs@example.com", Membership(ADA))
        await tx.groups.remove("devs@example.com")
        await tx.groups.add(group("devs"))
        assert await tx.groups.count_members("devs@example.com") == 0


async def test_a_role_is_changed_only_by_who_has_read_the_latest(
    metadata: SqlMetadataStore,
) -> None:
    async with metadata.transaction() as tx:
        first = await tx.roles.add(ROLE)
        second = await tx.roles.update(replace(first, title="Other"))

    with pytest.raises(Aborted):
        async with metadata.transaction() as tx:
            await tx.roles.update(first)

    async with metadata.read() as tx:
        assert await tx.roles.find(ROLE.name) == second
        assert await tx.roles.list("organizations/bonded", "", 10) == (second,)


async def test_a_project_takes_its_roles_with_it(metadata: SqlMetadataStore) -> None:
    role = replace(ROLE, name="projects/my-project/roles/picker")
    async with metadata.transaction() as tx:
        await tx.projects.add(Project("my-project", 17, "Mine", NOW))
        await tx.roles.add(role)
        await tx.projects.remove("my-project")
        assert await tx.roles.find(role.name) is None


async def test_what_is_there_or_missing_is_said(metadata: SqlMetadataStore) -> None:
    async with metadata.transaction() as tx:
        await tx.groups.add(group("devs"))
        await tx.roles.add(ROLE)

    refused: list[tuple[type[BondedError], Act]] = [
        (Conflict, lambda tx: tx.groups.add(group("devs"))),
        (Conflict, lambda tx: tx.roles.add(ROLE)),
        (NotFound, lambda tx: tx.groups.remove("absent@example.com")),
        (NotFound, lambda tx: tx.groups.remove_member("devs@example.com", ADA)),
    ]
    for error, act in refused:
        with pytest.raises(error):
            async with metadata.transaction() as tx:
                await act(tx)


async def test_every_change_of_a_group_or_role_advances_the_access_serial(
    metadata: SqlMetadataStore,
) -> None:
    serials = []
    acts: list[Act] = [
        lambda tx: tx.groups.add(group("devs")),
        lambda tx: tx.groups.put_member("devs@example.com", Membership(ADA)),
        lambda tx: tx.groups.remove_member("devs@example.com", ADA),
        lambda tx: tx.groups.remove("devs@example.com"),
        lambda tx: tx.roles.add(ROLE),
        lambda tx: tx.roles.update(ROLE),
    ]
    for act in acts:
        async with metadata.transaction() as tx:
            await act(tx)
        serials.append((await metadata.serials.read(ACCESS))[0])

    assert serials == sorted(set(serials))


@pytest.mark.parametrize(
    ("member", "is_named"),
    [
        ("group:devs@example.com", True),
        ("group:müller@example.com", True),
        ("group:dev_@example.com", False),
        ("group:evs@example.com", False),
        ("group:said@example.com", False),
    ],
)
async def test_a_policy_names_whom_it_binds_and_nobody_like_them(
    metadata: SqlMetadataStore, member: str, *, is_named: bool
) -> None:
    condition = Condition("t", 'resource.name == "group:said@example.com"')
    members = (ADA, "group:devs@example.com", "group:müller@example.com")
    binding = Binding("roles/viewer", members, condition)
    async with metadata.transaction() as tx:
        await tx.policies.set(Policy("organizations/bonded", (binding,)))

        found = await tx.policies.is_named(member)

    assert found == is_named
