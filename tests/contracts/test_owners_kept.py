"""Keeping the last owner costs the same few questions, however many there are who own nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg  # type: ignore[import-untyped]
import pytest

from bonded.server.core.errors import Lockout
from bonded.server.core.iam import ORGANIZATION, Binding, Policy
from bonded.server.metadata.groups import Group, Membership
from bonded.server.metadata.people import Proof, User
from bonded.server.metadata.sql.store import SqlMetadataStore, open_postgresql, open_sqlite
from bonded.server.metadata.store import AccountKey, Project, ServiceAccount, Transaction
from bonded.server.operations.owning import Owners

if TYPE_CHECKING:
    from support.postgresql import PostgreSql

pytest_plugins = ("support.databases",)

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
MANY = 150
GOOD = "zoe@example.com"
OUTER, INNER = "group:outer@example.com", "group:inner@example.com"


@pytest.fixture(name="shared", scope="module")
def _shared(postgresql: PostgreSql) -> Iterator[str]:
    """One database of PostgreSQL: to make its tables takes longer than all that is asked of it."""
    url = asyncio.run(postgresql.make_database())
    yield url
    asyncio.run(postgresql.drop_database(url))


@pytest.fixture(name="place", params=["sqlite", "postgresql"])
def _place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """Where there is a database of each kind, with nothing in it."""
    if request.param == "sqlite":
        return tmp_path / "bonded.sqlite3"
    url: str = request.getfixturevalue("shared")
    return url


@pytest.fixture(name="metadata")
async def _metadata(place: Path | str) -> AsyncIterator[SqlMetadataStore]:
    """A store on it, which leaves nothing behind."""
    if isinstance(place, Path):
        store: SqlMetadataStore = await open_sqlite(place)
    else:
        store = await open_postgresql(place)
    yield store
    await store.close()
    if isinstance(place, str):
        connection = await asyncpg.connect(place)
        await connection.execute("TRUNCATE policies, groups, users, projects CASCADE")
        await connection.close()


class Asked:
    """Says that one user can sign in, and remembers of whom it was asked."""

    def __init__(self) -> None:
        self.members: list[str] = []

    async def __call__(self, tx: Transaction, member: str, _at: datetime) -> bool:
        self.members.append(member)
        user = await tx.users.find(member.removeprefix("user:"))
        return user is not None and not user.is_disabled and user.address == GOOD


async def add_account(tx: Transaction, name: str, **key: object) -> str:
    """Add an account, with a key of which *key* is true if that is anything."""
    email = f"{name}@my-project.iam.gserviceaccount.com"
    is_disabled = bool(key.pop("is_account_disabled", False))
    account = ServiceAccount(email, "my-project", name, "", "", NOW, is_disabled=is_disabled)
    await tx.accounts.add(account)
    if key:
        expires_at = key.get("expires_at")
        assert expires_at is None or isinstance(expires_at, datetime)
        await tx.accounts.add_key(
            AccountKey(name, email, "pem", NOW, expires_at, is_disabled=bool(key["is_disabled"]))
        )
    return f"serviceAccount:{email}"


async def add_user(tx: Transaction, name: str, password: str, subject: str = "") -> str:
    address = f"{name}@example.com"
    await tx.users.add(User(address, "", "directory", NOW, subject))
    await tx.users.set_proof(address, Proof(password_hash=password))
    return f"user:{address}"


async def put(tx: Transaction, group: str, *members: str) -> None:
    address = group.removeprefix("group:")
    await tx.groups.add(Group(address, "", "", NOW))
    for member in members:
        await tx.groups.put_member(address, Membership(member))


async def test_who_can_prove_themselves_is_found_in_groups(metadata: SqlMetadataStore) -> None:
    later, before = NOW + timedelta(days=1), NOW - timedelta(days=1)
    async with metadata.transaction() as tx:
        await tx.projects.add(Project("my-project", 123456789012, "", NOW))
        able = [
            await add_account(tx, "good-1", is_disabled=False),
            await add_account(tx, "later-1", is_disabled=False, expires_at=later),
            await add_user(tx, "password", "hash"),
            await add_user(tx, "provided", "", "https://idp.example 17"),
        ]
        others = [
            await add_account(tx, "keyless"),
            await add_account(tx, "locked-1", is_disabled=True),
            await add_account(tx, "past-1", is_disabled=False, expires_at=before),
            await add_account(tx, "off-1", is_disabled=False, is_account_disabled=True),
            await add_user(tx, "invited", ""),
            await add_user(tx, "off", "hash"),
            *("user:ghost@example.com", "serviceAccount:ghost@x.iam.gserviceaccount.com"),
        ]
        await tx.users.set_disabled("off@example.com", is_disabled=True)
        await put(tx, INNER, *able[1:], *others)
        await put(tx, OUTER, *able[:2], *others, INNER)
        await put(tx, "group:other@example.com", await add_user(tx, "elsewhere", "hash"))

    async with metadata.read() as tx:
        found = await tx.groups.list_provable([OUTER, INNER], NOW, "", 100)
        first = await tx.groups.list_provable([OUTER], NOW, "", 2)
        rest = await tx.groups.list_provable([OUTER], NOW, first[-1], 100)
        none = await tx.groups.list_provable(["group:absent@example.com"], NOW, "", 100)

    assert found == tuple(sorted(able)) == first + rest
    assert none == ()


@pytest.fixture(name="asked")
async def _asked(metadata: SqlMetadataStore) -> Asked:
    """A server that a crowd owns of whom nobody can sign in, but for one in an inner group."""
    async with metadata.transaction() as tx:
        await tx.projects.add(Project("my-project", 123456789012, "", NOW))
        await put(tx, INNER, await add_user(tx, "zoe", "hash"))
        await put(tx, OUTER, INNER, *(f"user:a{number}@example.com" for number in range(MANY)))
        await tx.policies.find(ORGANIZATION)
        binding = Binding("roles/owner", (OUTER,))
        await tx.policies.set(Policy(ORGANIZATION, (binding,)))
    return Asked()


@pytest.mark.parametrize(
    ("about", "asks"),
    [
        ("user:stranger@example.com", 0),
        ("serviceAccount:robot@other.iam.gserviceaccount.com", 0),
        ("group:other@example.com", 0),
        (f"user:{GOOD}", 2),
        ("user:a7@example.com", 2),
        (INNER, 2),
        (OUTER, 2),
        ("", 2),
    ],
)
async def test_owners_are_looked_for_only_where_one_may_be_taken_and_then_once_before_and_after(
    metadata: SqlMetadataStore, asked: Asked, about: str, asks: int
) -> None:
    owners = Owners(asked, lambda: NOW)

    async with metadata.transaction() as tx, owners.kept(tx, about):
        pass

    assert asked.members == [f"user:{GOOD}"] * asks


@pytest.mark.parametrize("about", [f"user:{GOOD}", INNER, OUTER, ""])
async def test_the_last_owner_is_kept_whoever_the_act_is_about(
    metadata: SqlMetadataStore, asked: Asked, about: str
) -> None:
    owners = Owners(asked, lambda: NOW)

    with pytest.raises(Lockout, match="without an owner"):
        async with metadata.transaction() as tx, owners.kept(tx, about):
            await tx.groups.remove_member("inner@example.com", f"user:{GOOD}")
