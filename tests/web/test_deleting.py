"""What is deleted is gone at once, can be restored for a time, and leaves its name behind."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from bonded.server.metadata.store import Search
from support.remotes import open_remote
from support.site import JSON, Site
from support.upstream import open_index
from support.wheels import make_sdist, make_wheel

PARENT = "/v1/projects/my-project/locations/local/repositories"
FULL = PARENT.removeprefix("/v1/")
WHEEL = make_wheel("Demo", "1.0")
SDIST = make_sdist("Demo", "1.0")
NEXT = make_wheel("Demo", "2.0")
FAKE = make_wheel("Demo", "99.0")
ALL = {one.filename for one in (WHEEL, SDIST, NEXT)}
PACKAGE = "packages/demo"
VERSION = f"{PACKAGE}/versions/1.0"
FILE = f"files/demo%2F{WHEEL.filename}"
EXPIRY = "2026-12-22T12:00:00.000000Z"

WHATS = pytest.mark.parametrize(
    ("what", "chosen"),
    [
        (PACKAGE, ALL),
        (VERSION, {WHEEL.filename, SDIST.filename}),
        (FILE, {WHEEL.filename}),
    ],
    ids=["a package", "a version", "a file"],
)


@pytest.fixture(name="site")
async def _site(site: Site) -> Site:
    for one in (WHEEL, SDIST, NEXT):
        assert (await site.upload(one)).status_code == 200
    return site


async def act(
    site: Site, method: str, what: str, *, status: int = 200, at: str = "", body: object = None
) -> Any:
    """Call what is below the repository, or below *at*."""
    answer = await site.call(method, f"{at or site.rest}/{what}", body)
    assert answer.status_code == status, answer.text
    return answer.json()


async def listed(site: Site, repository: str = "python") -> set[str]:
    """Return the files on the page; none if there is no page."""
    page = await site.get(f"/my-project/{repository}/simple/demo/", accept=JSON)
    return {file["filename"] for file in page.json()["files"]} if page.status_code == 200 else set()


async def names(site: Site, what: str, field: str) -> dict[str, Any]:
    """Return a list with what was deleted, read two at a time, by the last part of the name."""
    found: dict[str, Any] = {}
    token = ""
    join = "&" if "?" in what else "?"
    while True:
        query = f"{join}showDeleted=true&pageSize=2&pageToken={token}"
        page = await act(site, "GET", f"{what}{query}")
        for one in page[field]:
            key = one["name"].rpartition("/")[2]
            assert key not in found
            found[key] = one.get("purgeTime")
        token = page.get("nextPageToken", "")
        if not token:
            return found


@WHATS
async def test_what_is_deleted_is_gone_at_once_and_what_is_restored_is_back(
    site: Site, what: str, chosen: set[str]
) -> None:
    before = await listed(site)
    operation = await act(site, "DELETE", what)
    after = await listed(site)
    downloads = {
        one.filename: (await site.get(f"{site.repository}/demo/{one.filename}")).status_code
        for one in (WHEEL, SDIST, NEXT)
    }
    await act(site, "GET", what, status=404)
    said = await act(site, "POST", f"{what}:undelete")

    assert before == ALL
    assert operation["done"] is True
    assert operation["response"] == {"@type": "type.googleapis.com/google.protobuf.Empty"}
    assert after == ALL - chosen
    assert downloads == {name: 404 if name in chosen else 200 for name in ALL}
    assert {one["name"].partition("%2F")[2] for one in said["files"]} == chosen
    assert await listed(site) == ALL
    for one in (WHEEL, SDIST, NEXT):
        assert (await site.get(f"{site.repository}/demo/{one.filename}")).content == one.data
        metadata = await site.get(f"{site.repository}/demo/{one.filename}.metadata")
        assert metadata.status_code == (404 if one is SDIST else 200)


async def test_a_package_without_files_is_not_there_but_for_who_asks_what_can_be_restored(
    site: Site,
) -> None:
    await site.upload(make_wheel("other"))
    await act(site, "DELETE", PACKAGE)

    page = await site.get(f"{site.repository}/simple/", accept=JSON)
    package = await site.get(f"{site.repository}/simple/demo/")
    plain = await act(site, "GET", "packages")

    assert [one["name"] for one in page.json()["projects"]] == ["other"]
    assert package.status_code == 404
    assert "every file of it was deleted, and the name stays" in package.text
    assert [one["name"].rpartition("/")[2] for one in plain["packages"]] == ["other"]
    await act(site, "GET", f"{PACKAGE}/versions", status=404)
    assert await names(site, "packages", "packages") == {"demo": EXPIRY, "other": None}
    assert await names(site, f"{PACKAGE}/versions", "versions") == {"1.0": EXPIRY, "2.0": EXPIRY}


async def test_lists_show_what_was_deleted_beside_what_is_there(site: Site) -> None:
    await act(site, "DELETE", VERSION)
    owner = f'files?filter=owner="{FULL}/python/{PACKAGE}'
    gone = dict.fromkeys([f"demo%2F{WHEEL.filename}", f"demo%2F{SDIST.filename}"], EXPIRY)
    there = {f"demo%2F{NEXT.filename}": None}

    assert await names(site, f"{PACKAGE}/versions", "versions") == {"1.0": EXPIRY, "2.0": None}
    assert await names(site, "files", "files") == gone | there
    assert await names(site, f'{owner}"', "files") == gone | there
    assert await names(site, f'{owner}/versions/1.0"', "files") == gone
    assert await names(site, f'{owner}/versions/2.0"', "files") == there
    site.clock.forward(days=30)
    site.admin = await site.sign_in(site.admin_key)
    assert await names(site, "files", "files") == there


async def test_only_the_same_bytes_come_back_under_a_deleted_filename(site: Site) -> None:
    await act(site, "POST", f"{VERSION}:yank", body={"reason": "broken"})
    before = (await site.page("demo"))["files"]
    await act(site, "DELETE", PACKAGE)

    other = await site.upload(make_wheel("Demo", "1.0", summary="other bytes"))
    empty = await listed(site)
    site.clock.forward(seconds=60)
    for one in (WHEEL, SDIST, NEXT):
        assert (await site.upload(one)).status_code == 200

    assert other.status_code == 409
    assert f"{WHEEL.filename} was deleted, and only the same bytes may come back" in other.text
    assert empty == set()
    assert (await site.page("demo"))["files"] == before


async def test_a_blob_stays_as_long_as_its_file_can_be_restored_and_then_goes(site: Site) -> None:
    await act(site, "DELETE", FILE)

    async def collect() -> set[str]:
        for path in (site.data_dir / "blobs").glob("*/*"):
            os.utime(path, (0, 0))
        await site.registry.collector.collect()
        return {path.name for path in (site.data_dir / "blobs").glob("*/*")}

    site.clock.forward(days=30)
    # An hour, or whatever the clocks of two replicas differ by, after the last moment.
    early = await collect()
    site.clock.forward(days=1)
    late = await collect()
    site.admin = await site.sign_in(site.admin_key)
    refused = await act(site, "POST", f"{FILE}:undelete", status=400)
    again = await site.upload(WHEEL)

    assert WHEEL.sha256 in early
    assert WHEEL.sha256 not in late
    assert {SDIST.sha256, NEXT.sha256} <= late
    assert "could be restored until 2026-12-22 12:00 UTC" in refused["error"]["message"]
    assert again.status_code == 200
    assert (await site.get(f"{site.repository}/demo/{WHEEL.filename}")).content == WHEEL.data
    metadata = await site.get(f"{site.repository}/demo/{WHEEL.filename}.metadata")
    assert metadata.status_code == 200


@pytest.mark.parametrize(
    ("method", "what"),
    [
        ("DELETE", "packages/absent"),
        ("DELETE", f"{PACKAGE}/versions/9.9"),
        ("DELETE", "files/demo%2Fdemo-9.9.tar.gz"),
        ("DELETE", "files/demo"),
        ("POST", "packages/absent:undelete"),
        ("POST", f"{PACKAGE}:undelete"),
        ("POST", f"{VERSION}:undelete"),
        ("POST", f"{FILE}:undelete"),
    ],
)
async def test_what_is_not_there_cannot_be_deleted_nor_what_is_be_restored(
    site: Site, method: str, what: str
) -> None:
    said = await act(site, method, what, status=404)

    assert said["error"]["status"] == "NOT_FOUND"
    assert await listed(site) == ALL


async def test_who_deleted_and_restored_what_is_in_the_audit_log(site: Site) -> None:
    await act(site, "DELETE", VERSION)
    await act(site, "POST", f"{FILE}:undelete")

    await site.registry.trail.flush()
    async with site.registry.metadata.read() as tx:
        entries = await tx.audit.list(Search(equal={"package": "demo"}), 20)
    payloads = [json.loads(one.text)["protoPayload"] for one in entries]
    found = {one["methodName"].rpartition(".")[2]: one["metadata"] for one in payloads}
    assert found["DeleteVersion"] == {
        "package": "demo",
        "version": "1.0",
        "files": [WHEEL.filename, SDIST.filename],
    }
    assert found["UndeleteFile"] == {
        "package": "demo",
        "version": "1.0",
        "filename": WHEEL.filename,
        "files": [WHEEL.filename],
    }


async def create(site: Site, name: str, *upstreams: str, **more: Any) -> None:
    """Create a virtual repository, or (of no upstreams) a standard one."""
    body: dict[str, Any] = {"format": 8}
    if upstreams:
        policies = [
            {"id": one, "repository": f"{FULL}/{one}", "priority": 100 - index}
            for index, one in enumerate(upstreams)
        ]
        body |= {"mode": 2, "virtualRepositoryConfig": {"upstreamPolicies": policies, **more}}
    made = await site.call("POST", f"{PARENT}?repositoryId={name}", body)
    assert made.status_code == 200, made.text


async def test_a_name_stays_its_owner_s_when_its_last_file_is_deleted(site: Site) -> None:
    await create(site, "public")
    await create(site, "view", "python", "public")
    await create(site, "outer", "view", "public")
    await site.upload(FAKE, path="/my-project/public/")

    await act(site, "DELETE", PACKAGE)

    for name in ("view", "outer"):
        page = await site.get(f"/my-project/{name}/simple/demo/")
        file = await site.get(f"/my-project/{name}/demo/{FAKE.filename}")
        assert (page.status_code, file.status_code) == (404, 404)
        await act(site, "GET", PACKAGE, at=f"{PARENT}/{name}", status=404)
        assert await act(site, "GET", "packages", at=f"{PARENT}/{name}") == {"packages": []}
    await act(site, "POST", f"{VERSION}:undelete")
    assert await listed(site, "outer") == {WHEEL.filename, SDIST.filename}


async def test_an_explanation_says_that_a_name_is_kept_for_what_was_deleted(site: Site) -> None:
    await create(site, "public")
    await create(site, "view", "python", "public")
    await site.upload(FAKE, path="/my-project/public/")
    await act(site, "DELETE", PACKAGE)

    said = await act(site, "GET", f"{PACKAGE}:explain", at=f"{PARENT}/view")

    deleted = "every file of it was deleted, and the name stays with this repository."
    standings = {one["id"]: (one["standing"], one["reason"]) for one in said["upstreams"]}
    assert standings == {
        "python": ("RESERVING", f"No package demo in {FULL}/python: {deleted}"),
        "public": ("RESERVED", "Not asked: python comes first and reserves the name."),
    }


async def test_an_administrator_gives_a_name_away_by_reserving_it_for_another(site: Site) -> None:
    await create(site, "public")
    own = {"reservedPackages": [{"pattern": "demo", "upstream": "public"}]}
    await create(site, "view", "python", "public", bonded=own)
    await site.upload(FAKE, path="/my-project/public/")

    await act(site, "DELETE", PACKAGE)

    assert await listed(site, "view") == {FAKE.filename}


@pytest.mark.parametrize(("method", "verb"), [("DELETE", ""), ("POST", ":undelete")])
async def test_a_virtual_repository_names_the_upstream_to_delete_from(
    site: Site, method: str, verb: str
) -> None:
    await create(site, "view", "python")
    await create(site, "outer", "view")

    said = await act(site, method, f"{VERSION}{verb}", at=f"{PARENT}/outer", status=400)

    assert said["error"]["message"] == (
        f"{FULL}/outer has no files of its own: it shows those of other repositories. "
        f"demo comes from {FULL}/python: do it there."
    )
    assert await listed(site) == ALL


@WHATS
async def test_a_remote_repository_drops_its_copies_and_fetches_them_again(
    site: Site, what: str, chosen: set[str]
) -> None:
    async with open_index() as index:
        for one in (WHEEL, SDIST, NEXT):
            index.publish(one)
        async with open_remote(site, f"http://127.0.0.1:{index.port}/simple/") as remote:
            at = f"/v1/{remote.name}"
            for one in (WHEEL, SDIST, NEXT):
                assert (await remote.get(f"demo/{one.filename}")).content == one.data
            pages = len(index.paths("/simple/"))

            await act(site, "DELETE", what, at=at)
            kept = await remote.kept()
            asked = (await remote.page())["files"]
            again = [(await remote.get(f"demo/{one.filename}")).content for one in (WHEEL, NEXT)]
            refused = await act(site, "POST", f"{what}:undelete", at=at, status=400)

            assert set(kept) == ALL - chosen
            assert {one["filename"] for one in asked} == ALL
            assert len(index.paths("/simple/")) > pages
            assert again == [WHEEL.data, NEXT.data]
            assert "fetched again as soon as somebody asks" in refused["error"]["message"]


async def test_a_package_that_was_deleted_is_listed_again_with_another_version(site: Site) -> None:
    await act(site, "DELETE", PACKAGE)
    assert (await site.upload(make_wheel("Demo", "3.0"))).status_code == 200

    index = await site.get("/my-project/all/simple/", accept=JSON)
    packages = (await site.call("GET", f"{site.rest}/packages")).json()["packages"]
    assert index.json()["projects"] == [{"name": "demo"}]
    assert [one["name"].rpartition("/")[2] for one in packages] == ["demo"]
    page = await site.get("/my-project/python/simple/demo/", accept=JSON)
    assert page.json()["versions"] == ["3.0"]
