"""Where the files of a package are at their index: all of them, to whoever may list them."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from bonded.server.core.names import PackageName, RepositoryName
from bonded.server.core.upstreams import UpstreamPolicy, VirtualConfig
from bonded.server.metadata.store import RepositoryRecord
from support.remotes import Remote, open_remote
from support.site import HTML, Site, open_site
from support.upstream import Index, Response, open_index, say
from support.wheels import make_sdist, make_wheel

WHEEL, SDIST = make_wheel("Demo", "1.0"), make_sdist("demo", "1.0")
OURS = make_wheel("acme", "1.0")


@pytest.fixture(name="site", scope="module")
async def _site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    async with open_site(tmp_path_factory.mktemp("origins") / "data") as site:
        await site.upload(OURS)
        yield site


@pytest.fixture(name="index")
async def _index() -> AsyncIterator[Index]:
    async with open_index() as index:
        index.publish(WHEEL, SDIST)
        yield index


@pytest.fixture(name="remote")
async def _remote(site: Site, index: Index) -> AsyncIterator[Remote]:
    async with open_remote(site, index.url) as remote:
        yield remote


async def view_of(remote: Remote, *others: RepositoryName) -> RepositoryName:
    """Make a virtual repository over a virtual one over the remote one, and others."""
    inner, outer = (replace(remote.name, repository=f"v{secrets.token_hex(4)}") for _ in range(2))
    async with remote.site.registry.metadata.transaction() as tx:
        for name, behind in ((inner, (remote.name,)), (outer, (*others, inner))):
            policies = tuple(UpstreamPolicy(one.repository, one, 1) for one in behind)
            now, config = remote.clock(), VirtualConfig(policies)
            await tx.repositories.add(RepositoryRecord(name, "", {}, now, now, config=config))
    return outer


async def origin(site: Site, name: RepositoryName, package: str = "demo") -> dict[str, Any]:
    answer = await site.call("GET", f"/v1/{name}/packages/{package}:listUpstreamFiles")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_every_file_is_told_with_its_url_and_none_is_fetched(
    remote: Remote, index: Index
) -> None:
    index.changes[WHEEL.filename] = {"url": f"/files/{WHEEL.filename}?X-Signature=s3cret"}
    files = index.url.removesuffix("simple/") + "files/"

    for name in (remote.name, await view_of(remote)):
        found = await origin(remote.site, name, "Demo")

        assert found["indexUri"] == index.url
        assert sorted(found["files"], key=lambda one: str(one["filename"])) == [
            {"filename": one.filename, "upstreamUrl": files + one.filename}
            for one in (WHEEL, SDIST)
        ]
    assert index.paths("/files/") == []


async def test_what_was_published_here_has_no_other_url(remote: Remote, site: Site) -> None:
    own = replace(remote.name, repository="python")
    over_both = await view_of(remote, own)

    for name in (own, over_both):
        assert (await origin(site, name, "acme")) == {
            "name": f"{name}/packages/acme",
            "files": [{"filename": OURS.filename}],
        }
    assert (await origin(site, over_both))["indexUri"]


async def test_who_has_it_not_and_who_does_not_answer_are_told_apart(
    remote: Remote, index: Index
) -> None:
    async def status(package: str) -> int:
        path = f"/v1/{remote.name}/packages/{package}:listUpstreamFiles"
        return (await remote.site.call("GET", path)).status_code

    assert await status("absent") == 404
    index.faults["/"] = say(Response(500))
    assert await status("other") == 502


async def test_nobody_in_particular_is_told(remote: Remote, index: Index) -> None:
    path = f"/v1/{remote.name}/packages/demo:listUpstreamFiles"

    refused = await remote.site.call("GET", path, token="")

    assert refused.status_code == 401
    assert index.asked == []


EVIL = 'https://evil.test/", hash = "sha256:ee"\x0c\u2028/'
ENCODED = "https://evil.test/%22,%20hash%20=%20%22sha256:ee%22%0C%E2%80%A8/"


async def test_a_url_that_would_be_more_elsewhere_is_told_encoded(
    remote: Remote, index: Index
) -> None:
    provenance = {"provenance": f"{EVIL}p"}
    index.changes[WHEEL.filename] = {"url": EVIL + WHEEL.filename, **provenance}

    files = (await origin(remote.site, remote.name))["files"]
    html = (await remote.get("simple/demo/", accept=HTML)).text

    assert {"filename": WHEEL.filename, "upstreamUrl": ENCODED + WHEEL.filename} in files
    assert (await remote.entry(WHEEL.filename))["provenance"] == f"{ENCODED}p"
    assert f'data-provenance="{ENCODED}p"' in html


async def test_a_copy_whose_url_an_earlier_version_kept_as_it_came_is_told_with_an_encoded_one(
    remote: Remote,
) -> None:
    assert (await remote.get(f"demo/{WHEEL.filename}")).status_code == 200
    demo = PackageName.parse("demo")
    async with remote.site.registry.metadata.transaction() as tx:
        (cached,) = await tx.caches.list_files(remote.name, demo)
        old = replace(cached, url=EVIL + WHEEL.filename)
        await tx.caches.keep_file(remote.name, demo, old, b"", is_news=False)

    (file,) = (await remote.site.call("GET", f"/v1/{remote.name}/files")).json()["files"]

    assert file["annotations"] == {"upstreamUrl": ENCODED + WHEEL.filename}
