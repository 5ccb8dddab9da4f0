"""A database of an earlier version, with rows in it, is this version's after a start."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from bonded.server.core.names import PackageName, RepositoryName
from bonded.server.core.upstreams import Mode, PublicIndex, RemoteConfig
from bonded.server.metadata.sql.configurations import encode
from bonded.server.metadata.sql.migrate import HEAD

if TYPE_CHECKING:
    from support.databases import Database

pytest_plugins = ("support.databases",)

PYPI = RepositoryName("my-project", "local", "pypi")
DEMO, GONE = PackageName.parse("demo"), PackageName.parse("gone")
PAGE = b"p" * 60_000
AT = 1_763_000_000_000_000
"""A moment in microseconds, as every column of moments has it."""
MADE = {"created_at": AT}
REPOSITORY = {
    "key": 1000,
    "project": "my-project",
    "location": "local",
    "repository": "pypi",
    "mode": "REMOTE_REPOSITORY",
    "description": "",
    "labels": "{}",
    "updated_at": AT,
    "size_bytes": 100,
    "config": json.dumps(encode(RemoteConfig(source=PublicIndex()))),
}
FILE = {
    "key": 1000,
    "package": 1000,
    "filename": "demo.whl",
    "canonical": "demo.whl",
    "version": "1.0",
    "size_bytes": 100,
    "sha256": "a" * 64,
    "upload_time": AT,
}
PUBLISHER = {
    "id": "p1",
    "repository": 1000,
    "kind": "github",
    "issuer": "https://issuer.test",
    "anchor": "acme/app",
    "claims": "{}",
    "packages": "[]",
}
DEVICE = {
    "secret_hash": "c" * 64,
    "user_code_hash": "d" * 64,
    "client": "bonded",
    "scope": "openid",
    "client_address": "192.0.2.1",
    "expires_at": AT + 10**15,
    "interval_s": 5,
    "address": "",
    "also": "[]",
    "is_denied": False,
}
LATER = datetime(2100, 1, 1, tzinfo=UTC)


async def test_what_remote_repositories_had_cached_is_kept_by_every_migration_since(
    database: Database,
) -> None:
    await database.migrate("0007")
    await fill(database)

    store = await database.open()

    assert await database.run("SELECT version_num FROM alembic_version") == [(HEAD,)]
    async with store.transaction() as tx:
        pypi = await tx.repositories.find(PYPI)
        assert pypi is not None
        assert (pypi.mode, pypi.config) == (Mode.REMOTE, RemoteConfig(source=PublicIndex()))
        page = await tx.caches.find_page(PYPI, DEMO)
        assert page is not None
        assert (page.content, page.is_expired, page.is_evicted) == (PAGE, False, False)
        # A name that its index had withdrawn stays nobody else's.
        assert await tx.lifecycle.list_emptied(PYPI, None) == (GONE,)
        (kept,) = await tx.caches.list_files(PYPI, DEMO)
        assert (kept.file.filename, kept.url) == ("demo.whl", "https://files.test/demo.whl")
        assert await tx.caches.list_core_metadata(PYPI, DEMO) == {"demo.tar.gz": "b" * 64}
        # They count from the first moment: 100 bytes of a file, and those of the page alone.
        assert await tx.caches.evict(PYPI, 60_100, 10, LATER) == ()
        gone = await tx.caches.evict(PYPI, 60_099, 10, LATER)
        assert [one.filename for one in gone] == ["demo.whl"]
        assert [one.name for one in await tx.caches.evict(PYPI, 1, 10, LATER)] == [DEMO]


async def test_accounts_publishers_and_devices_go_on_after_every_migration_since(
    database: Database,
) -> None:
    await database.migrate("0007")
    await fill(database)

    store = await database.open()

    async with store.transaction() as tx:
        account = await tx.accounts.find("ci@my-project.example")
        key = await tx.accounts.find_key("k1")
        publisher = await tx.publishers.find("p1")
        assert account is not None
        assert key is not None
        assert publisher is not None
        assert (account.is_disabled, key.is_uploaded, dict(publisher.pins)) == (False, False, {})
        await tx.publishers.pin("p1", {"owner_id": "7"})
        assert await tx.sign_ins.count_waiting_devices(datetime(2025, 1, 1, tzinfo=UTC)) == 1
        assert await tx.groups.list("", 10) == ()
        # Others know people of then by their address.
        users = await tx.users.list("", 10)
        assert [(one.address, one.unique_id) for one in users] == [
            *(("ada@example.com", "ada@example.com"), ("bob@example.com", "bob@example.com"))
        ]


def named_user(address: str) -> dict[str, object]:
    proof = {"password_hash": "", "factor": "", "factor_step": 0, "recovery_hashes": "[]"}
    known = {"display_name": "", "source": "DIRECTORY", "subject": "", "is_disabled": False}
    return {"address": address} | known | proof


async def fill(database: Database) -> None:
    """Add rows as the version of migration 0007 had them."""
    named = {"display_name": "", "description": ""}
    account = {"email": "ci@my-project.example", "created_at": AT, "is_disabled": False}
    package = {"repository": 1000, "normalized": "demo"}
    rows: tuple[tuple[str, dict[str, object]], ...] = (
        ("projects", {"id": "my-project", "number": 1, "name": "Mine", "labels": "{}"} | MADE),
        ("repositories", REPOSITORY | MADE),
        (
            "packages",
            package
            | {"key": 1000, "spelled": "demo", "status": "active", "status_reason": ""}
            | MADE,
        ),
        ("files", FILE),
        (
            "cached_files",
            {"file": 1000, "repository": 1000, "url": "https://files.test/demo.whl", "used_at": AT},
        ),
        (
            "cached_core_metadata",
            package | {"filename": "demo.tar.gz", "sha256": "b" * 64, "kept_at": AT},
        ),
        ("cached_pages", page_row("demo", PAGE, is_absent=False)),
        ("cached_pages", page_row("gone", b"it was there", is_absent=True)),
        ("cached_pages", page_row("never", b"", is_absent=True)),
        ("service_accounts", account | named | {"project": "my-project", "unique_id": "1"}),
        ("service_account_keys", account | {"id": "k1", "public_key_pem": "pem"}),
        ("trusted_publishers", PUBLISHER | MADE),
        ("device_grants", DEVICE | MADE),
        ("users", named_user("ada@example.com") | MADE),
        ("users", named_user("bob@example.com") | MADE),
    )
    for table, values in rows:
        written = ", ".join(as_sql(database, one) for one in values.values())
        await database.run(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({written})")


def as_sql(database: Database, value: object) -> str:
    match value:
        case bytes() if isinstance(database.place, Path):
            return f"X'{value.hex()}'"
        case bytes():
            return f"'\\x{value.hex()}'"
        case str():
            return f"'{value}'"
        case _:
            return str(value).lower()


def page_row(name: str, content: bytes, *, is_absent: bool) -> dict[str, object]:
    names = {"repository": 1000, "normalized": name, "spelled": name}
    said = {"digest": "d", "etag": "", "last_modified": "", "checked_at": AT}
    return {**names, "is_absent": is_absent, "content": content, **said}
