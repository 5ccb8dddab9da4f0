"""What must hold of the whole tree, so that nobody has to remember it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from bonded.server import metadata
from bonded.server.core import errors
from bonded.server.core.errors import BondedError
from bonded.server.core.iam import ROLES, Permission
from bonded.server.metadata.sql import migrate, schema
from bonded.server.web import problems
from bonded.server.web.routing import Open, RouteTable
from support.site import open_site

ROOT = Path(__file__).parents[2]
LINES_MAX = 450
SIZE_MAX_BYTES = 400_000
"""Of a file that is kept; the longest are locks."""
TEST_LINES_MAX = 700
"""Tables and snapshots are long and still quick to read."""
PINNED = re.compile(r"^([a-z0-9._-]+)==\S+(?: ;.*?)? \\\n    --hash=sha256:", re.MULTILINE)
UPLOAD = Permission.REPOSITORY_UPLOAD
MIGRATIONS = Path(metadata.__file__).parent / "sql/migrations"

# Permissions that only the owner has; a new one is put into a role or written down here.
OWNERS_ONLY = {
    *("resourcemanager.organizations.setIamPolicy", "resourcemanager.projects.setIamPolicy"),
    *("resourcemanager.projects.create", "resourcemanager.projects.delete"),
    *("bonded.users.create", "bonded.users.delete", "bonded.users.get", "bonded.users.list"),
    *("bonded.users.update", "bonded.sessions.delete", "bonded.sessions.list"),
}
SIGN_IN_PATHS = (
    *("/token", "/v1/token", "/v1/oauthtoken", "/authorize", "/device_authorization", "/device"),
    *("/sign-in", "/sign-out", "/_/second-factor", "/_/provider", "/_/provider/callback"),
    *("/_/invitation", "/_/oidc/mint-token", "/_/oidc/burn-token"),
)


@pytest.fixture(name="routes", scope="module")
async def _routes(tmp_path_factory: pytest.TempPathFactory) -> RouteTable:
    async with open_site(tmp_path_factory.mktemp("shape") / "data") as site:
        return site.registry.routes


def our_files() -> Iterator[Path]:
    """Yield every text file that we keep."""
    yield from (path for path in ROOT.iterdir() if path.is_file() and path.name[0] != ".")
    for top in ("src", "tests", "tools", "docs", "benchmarks", "requirements"):
        for path in (ROOT / top).rglob("*"):
            hidden = any(part[0] == "." for part in path.relative_to(ROOT).parts)
            if path.is_file() and not hidden and path.suffix in (".py", ".md", ".txt", ".toml"):
                yield path


def subclasses(kind: type[BondedError]) -> Iterator[type[BondedError]]:
    for one in kind.__subclasses__():
        yield one
        yield from subclasses(one)


def test_every_error_has_a_status_and_a_google_code() -> None:
    found = set(subclasses(errors.BondedError))

    assert found == set(problems.STATUS) == set(problems._GOOGLE)


async def test_every_route_names_a_permission_or_why_it_asks_for_none(routes: RouteTable) -> None:
    open_paths = {
        (row.permission, row.path)
        for row in routes.endpoints
        if isinstance(row.permission, Open) and row.permission is not Open.ABOUT_SELF
    }
    about_self = {row.path for row in routes.endpoints if row.permission is Open.ABOUT_SELF}

    assert all(isinstance(row.permission, Permission | Open) for row in routes.endpoints)
    assert open_paths == {
        (Open.HEALTH, "/healthz"),
        (Open.HEALTH, "/readyz"),
        (Open.DISCOVERY, "/.well-known/jwks.json"),
        (Open.DISCOVERY, "/.well-known/oauth-authorization-server"),
        (Open.DISCOVERY, "/.well-known/openid-configuration"),
        (Open.DISCOVERY, "/_/oidc/audience"),
        (Open.DISCOVERY, "/v1/roles"),
        (Open.DISCOVERY, "/v1/roles/{role}"),
        *((Open.SIGN_IN, path) for path in SIGN_IN_PATHS),
        (Open.COOKIE, "/account"),
        (Open.COOKIE, "/_/account/password"),
        (Open.COOKIE, "/_/account/sessions"),
        (Open.COOKIE, "/_/account/second-factor"),
        (Open.COOKIE, "/_/account/second-factor/remove"),
        (Open.HOLDER, "/revoke"),
        (Open.HOLDER, "/v1/introspect"),
        (Open.SOMEBODY, "/v1/tokens:limit"),
        (Open.SELF, "/v1/users/me"),
        (Open.SELF, "/v1/users/me/sessions"),
        (Open.SELF, "/v1/users/me/sessions/{session}"),
        (Open.STATIC, "/_/static/{name}"),
    }
    assert all(path.endswith(":testIamPermissions") for path in about_self)


async def test_only_uploads_and_one_list_name_their_package_elsewhere_than_in_the_path(
    routes: RouteTable,
) -> None:
    later = {row.name for row in routes.endpoints if row.is_package_in_body}
    uploading = {row.name for row in routes.endpoints if row.permission is UPLOAD}

    listing = "google.devtools.artifactregistry.v1.ArtifactRegistry.ListFiles"
    assert uploading == {"Python-UploadPackage"}
    assert later == uploading | {listing}


async def test_only_the_list_of_log_entries_names_its_resources_in_the_body(
    routes: RouteTable,
) -> None:
    assert [row.path for row in routes.endpoints if row.resources_in_body] == ["/v2/entries:list"]


async def test_every_permission_of_a_route_is_in_a_role_or_said_to_be_the_owner_s(
    routes: RouteTable,
) -> None:
    asked = {row.permission for row in routes.endpoints if isinstance(row.permission, Permission)}
    granted = frozenset[Permission]().union(
        *(permissions for role, permissions in ROLES.items() if role != "roles/owner")
    )

    assert asked - granted == OWNERS_ONLY


async def test_every_permission_is_asked_for_by_some_route_or_role(routes: RouteTable) -> None:
    asked = {row.permission for row in routes.endpoints}
    granted = {one for role, them in ROLES.items() if role != "roles/owner" for one in them}

    assert set(Permission) <= asked | granted


async def test_no_two_routes_answer_the_same_question(routes: RouteTable) -> None:
    questions = [(row.method, re.sub(r"\{\w+\}", "{}", row.path)) for row in routes.endpoints]

    assert len(set(questions)) == len(questions)


def test_the_newest_migration_is_the_one_that_the_program_expects() -> None:
    assert ScriptDirectory(str(MIGRATIONS)).get_heads() == [migrate.HEAD]


def test_the_migrations_lead_to_the_schema(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'migrated.sqlite3'}")
    with engine.begin() as connection:
        migrate.upgrade(connection)

    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        difference = compare_metadata(context, schema.metadata)
    engine.dispose()

    assert difference == []


def test_no_file_names_a_public_registry() -> None:
    # In pieces, or this file would name them.
    dots = [("pypi", "org"), ("pythonhosted", "org"), ("debian", "org"), ("npmjs", "org")]
    dots += [("npmjs", "com"), ("anaconda", "org"), ("rubygems", "org"), ("crates", "io")]
    hosts = re.compile("|".join(rf"\b{name}\.{end}\b" for name, end in dots))

    naming = [
        f"{path.relative_to(ROOT)}: {found[0]}"
        for path in our_files()
        for found in hosts.finditer(path.read_text(errors="replace"))
    ]

    assert naming == []


def test_locks_pin_by_hash_and_name_no_index() -> None:
    locks = sorted((ROOT / "requirements").glob("*.txt"))

    for lock in locks:
        text = lock.read_text()
        assert "://" not in text
        assert "index-url" not in text
        pinned = re.findall(
            r"^([a-z0-9._-]+)==\S+(?: ;.*?)? \\\n    --hash=sha256:", text, re.MULTILINE
        )
        assert len(pinned) == len(re.findall(r"^[A-Za-z0-9]", text, re.MULTILINE)), lock.name
    assert locks


def test_test_modules_have_names_of_their_own() -> None:
    # Tests are no package, so pytest imports them all by their last name.
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]

    assert sorted(set(names)) == sorted(names)


def test_files_stay_small_enough_to_read() -> None:
    long = {
        str(path.relative_to(ROOT)): count
        for path in our_files()
        if path.suffix == ".py"
        and (count := len(path.read_text().splitlines()))
        > (TEST_LINES_MAX if path.is_relative_to(ROOT / "tests") else LINES_MAX)
    }

    assert long == {}


def test_what_is_kept_is_text_and_small() -> None:
    # A benchmark that is cut off leaves databases, keys and wheels behind it.
    if not (ROOT / ".git").exists():
        pytest.skip("this is no checkout")
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z"], check=True, capture_output=True, text=True
    )
    kept = [ROOT / name for name in listed.stdout.split("\0") if name]

    odd = [
        str(path.relative_to(ROOT))
        for path in kept
        if path.is_file() and (path.stat().st_size > SIZE_MAX_BYTES or b"\0" in path.read_bytes())
    ]

    assert odd == []
