"""Packages, versions and files over REST, of repositories of every mode; and why from where."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from dirty_equals import IsPartialDict

from support.site import JSON, Site, open_site
from support.upstream import Response, open_index, say
from support.wheels import make_sdist, make_wheel

PARENT = "/v1/projects/my-project/locations/local/repositories"
FULL = PARENT.removeprefix("/v1/")
CORE = make_wheel("Acme.Core", "1.0")
CORE_SDIST = make_sdist("Acme.Core", "1.0")
CORE_2 = make_wheel("Acme.Core", "2.0")
FAKE = make_wheel("Acme.Core", "99.0")
WEB = make_wheel("acme-web", "1.0")
LIB = make_wheel("lib", "1.0")
LIB_2 = make_wheel("lib", "2.0")


@pytest.fixture(name="site", scope="module")
async def _site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """Repositories `python` and `other`, and `all` over both in this order."""
    async with open_site(tmp_path_factory.mktemp("browsing") / "data") as site:
        await create(site, "other", {})
        for distribution in (CORE, CORE_SDIST, CORE_2, LIB):
            assert (await site.upload(distribution)).status_code == 200
        for distribution in (FAKE, WEB, LIB, LIB_2):
            sent = await site.upload(distribution, path="/my-project/other/")
            assert sent.status_code == 200
        own = {
            "mergedPackages": ["lib"],
            "reservedPackages": [{"pattern": "acme-web", "upstream": "python"}],
        }
        await create(site, "view", virtual("python", "other", bonded=own))
        window = {"commonRepository": {"uri": f"{FULL}/python"}}
        await create(site, "window", {"mode": 3, "remoteRepositoryConfig": window})
        await create(site, "outer", virtual("view", "other"))
        yield site


def virtual(*names: str, **more: Any) -> dict[str, Any]:
    policies = [
        {"id": name, "repository": f"{FULL}/{name}", "priority": 100 - index}
        for index, name in enumerate(names)
    ]
    return {"mode": 2, "virtualRepositoryConfig": {"upstreamPolicies": policies, **more}}


async def create(site: Site, name: str, fields: dict[str, Any]) -> None:
    made = await site.call("POST", f"{PARENT}?repositoryId={name}", {"format": 8} | fields)
    assert made.status_code == 200, made.text


async def ask(site: Site, path: str, status: int = 200) -> dict[str, Any]:
    answer = await site.call("GET", f"{PARENT}/{path}")
    assert answer.status_code == status, answer.text
    said: dict[str, Any] = answer.json()
    return said


async def names(site: Site, path: str, field: str) -> list[str]:
    """Return the names in a list, read two at a time."""
    found: list[str] = []
    token = ""
    join = "&" if "?" in path else "?"
    while True:
        page = await ask(site, f"{path}{join}pageSize=2&pageToken={token}")
        assert len(page[field]) <= 2
        found += [one["name"].split("/", 6)[-1] for one in page[field]]
        token = page.get("nextPageToken", "")
        if not token:
            return found


LISTS: dict[str, dict[str, list[str]]] = {
    "python": {
        "packages": ["acme-core", "lib"],
        "files": [  # in the order of their names
            f"acme-core%2F{CORE.filename}",
            f"acme-core%2F{CORE_SDIST.filename}",
            f"acme-core%2F{CORE_2.filename}",
            f"lib%2F{LIB.filename}",
        ],
        "pythonPackages": ["acme-core:1.0", "acme-core:2.0", "lib:1.0"],
        "packages/acme-core/versions": ["1.0", "2.0"],
    },
    "view": {
        "packages": ["acme-core", "lib"],
        "files": [  # in the order of their names
            f"acme-core%2F{CORE.filename}",
            f"acme-core%2F{CORE_SDIST.filename}",
            f"acme-core%2F{CORE_2.filename}",
            f"lib%2F{LIB.filename}",
            f"lib%2F{LIB_2.filename}",
        ],
        "pythonPackages": ["acme-core:1.0", "acme-core:2.0", "lib:1.0", "lib:2.0"],
        "packages/lib/versions": ["1.0", "2.0"],
    },
}
LISTS["window"] = LISTS["python"]
LISTS["outer"] = LISTS["view"]


@pytest.mark.parametrize("repository", LISTS)
async def test_lists_show_what_the_data_plane_shows(site: Site, repository: str) -> None:
    for path, expected in LISTS[repository].items():
        field = path.rpartition("/")[2]
        found = await names(site, f"{repository}/{path}", field)
        prefix = f"{path}/"
        assert [one.removeprefix(prefix) for one in found] == expected


async def test_a_remote_repository_lists_what_it_has_cached(tmp_path: Path) -> None:
    async with open_index() as index, open_site(tmp_path / "data") as site:
        index.publish(CORE, CORE_2, LIB)
        config = {
            "pythonRepository": {"customRepository": {"uri": index.url}},
            "disableUpstreamValidation": True,
            "bonded": {"allowPrivateAddresses": True},
        }
        await create(site, "far", {"mode": 3, "remoteRepositoryConfig": config})
        await create(site, "view", virtual("python", "far"))
        nothing = await ask(site, "far/packages")
        page = await site.get("/my-project/view/simple/acme-core/")

        fetched = await site.get(f"/my-project/view/acme-core/{CORE.filename}")

        assert (page.status_code, fetched.content) == (200, CORE.data)
        assert nothing == {"packages": []}
        for repository in ("far", "view"):
            assert await names(site, f"{repository}/packages", "packages") == ["packages/acme-core"]
            assert await names(site, f"{repository}/files", "files") == [
                f"files/acme-core%2F{CORE.filename}"
            ]
            said = await ask(site, f"{repository}/pythonPackages/acme-core:1.0")
            assert said["version"] == "1.0"
        summary, _ = await standings(site, "view/packages/lib")
        assert summary == "lib comes from far."


async def test_an_explanation_says_what_comes_out_of_a_cache_during_an_outage(
    tmp_path: Path,
) -> None:
    async with open_index() as index, open_site(tmp_path / "data") as site:
        index.publish(CORE)
        config = {
            "commonRepository": {"uri": index.url},
            "bonded": {"allowPrivateAddresses": True, "pageFreshness": "60s"},
        }
        await create(site, "far", {"mode": 3, "remoteRepositoryConfig": config})
        await create(site, "view", virtual("python", "far"))
        await site.get("/my-project/view/simple/acme-core/")
        fresh = await standings(site, "view/packages/acme-core")
        index.faults["/"] = say(Response(500))
        site.clock.forward(minutes=2)
        since = f"{site.clock():%Y-%m-%dT%H:%M:%SZ}"
        await standings(site, "view/packages/acme-core")
        site.clock.forward(minutes=5)

        old = await standings(site, "view/packages/acme-core")
        faults = dict(index.faults)
        index.faults.clear()
        site.clock.forward(minutes=5)
        again = await standings(site, "view/packages/acme-core")
        index.faults |= faults
        unknown, _ = await standings(site, "view/packages/never-seen")

    assert fresh[0] == again[0] == "acme-core comes from far."
    assert old[0] == "acme-core comes from far, out of its cache: its upstream fails."
    assert old[1]["far"][1].startswith(
        "The first upstream that has the package. Served from the cache, upstream failing since "
        f"{since}: The upstream {index.url} "
    )
    assert unknown == "never-seen cannot be served: far does not answer."


async def test_an_explanation_says_how_to_allow_a_private_address(tmp_path: Path) -> None:
    async with open_index() as index, open_site(tmp_path / "data") as site:
        config = {"commonRepository": {"uri": index.url}, "disableUpstreamValidation": True}
        await create(site, "far", {"mode": 3, "remoteRepositoryConfig": config})

        _, found = await standings(site, "far/packages/lib")

    assert found["far"][0] == "UNAVAILABLE"
    assert "127.0.0.1 is not a public address (loopback)" in found["far"][1]
    assert "the flag --remote-allow-private-addresses" in found["far"][1]


async def test_resources_are_google_s(site: Site) -> None:
    repository = f"{FULL}/python"
    times = {
        "createTime": site.clock().strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "updateTime": site.clock().strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
    }
    digest = base64.b64encode(bytes.fromhex(CORE.sha256)).decode()

    assert await ask(site, "python/packages/acme-core") == {
        "name": f"{repository}/packages/acme-core",
        "displayName": "Acme.Core",
        **times,
    }
    assert await ask(site, "python/packages/acme-core/versions/1.0") == {
        "name": f"{repository}/packages/acme-core/versions/1.0",
        **times,
    }
    assert await ask(site, f"python/files/acme-core%2F{CORE.filename}") == {
        "name": f"{repository}/files/acme-core%2F{CORE.filename}",
        "sizeBytes": str(len(CORE.data)),
        "hashes": [{"type": "SHA256", "value": digest}],
        **times,
        "owner": f"{repository}/packages/acme-core/versions/1.0",
    }
    assert await ask(site, "python/pythonPackages/acme-core:1.0") == {
        "name": f"{repository}/pythonPackages/acme-core:1.0",
        "uri": f"registry.test/my-project/python/acme-core/{CORE_SDIST.filename}",
        "packageName": "acme-core",
        "version": "1.0",
        **times,
    }


async def test_files_are_found_by_their_owner_as_gcloud_asks(site: Site) -> None:
    package = f"{FULL}/view/packages/acme-core"
    by_package = await names(site, f'view/files?filter=owner="{package}"', "files")
    by_version = await names(site, f'view/files?filter=owner="{package}/versions/2.0"', "files")
    other = await ask(site, 'view/files?filter=name="x"', 400)

    assert len(by_package) == 3
    assert by_version == [f"files/acme-core%2F{CORE_2.filename}"]
    assert other["error"]["status"] == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    "path",
    [
        "none/packages",
        "python/packages/none",
        "python/packages/-",
        "python/packages/none/versions",
        "python/packages/acme-core/versions/9.9",
        "python/files/none",
        "python/files/acme-core%2Fnone.whl",
        "python/pythonPackages/acme-core:9.9",
        # In the virtual repository, what another owns or is reserved is not there.
        f"view/files/acme-core%2F{FAKE.filename}",
        "view/packages/acme-core/versions/99.0",
        "view/packages/acme-web",
        "outer/packages/acme-web",
    ],
)
async def test_what_is_not_there_is_not_found(site: Site, path: str) -> None:
    await ask(site, path, 404)


async def standings(site: Site, path: str) -> tuple[str, dict[str, tuple[str, str]]]:
    said = await ask(site, f"{path}:explain")
    return said["summary"], {
        one["id"]: (one["standing"], one["reason"]) for one in said["upstreams"]
    }


async def test_an_explanation_says_who_owns_a_package_and_what_is_hidden(site: Site) -> None:
    assert await standings(site, "view/packages/acme-core") == (
        "acme-core comes from python.",
        {
            "python": ("OWNER", "The first upstream that has the package."),
            "other": ("HIDDEN", "Hidden: python comes first and has the package."),
        },
    )
    assert await standings(site, "view/packages/acme-web") == (
        "acme-web is reserved for python (acme-web), which does not have it.",
        {
            "python": ("ABSENT", f"No package acme-web in {FULL}/python."),
            "other": ("RESERVED", "Not asked: acme-web is reserved for python."),
        },
    )
    assert await standings(site, "view/packages/lib") == (
        "lib comes from python, and from other.",
        {
            "python": ("OWNER", "The first upstream that has the package."),
            "other": ("SHARER", "Adds the versions that python and others before it do not have."),
        },
    )
    summary, _ = await standings(site, "view/packages/unknown")
    assert summary == "No upstream has unknown."


async def test_an_explanation_asks_nobody_behind_an_upstream_that_reserves_the_name(
    site: Site,
) -> None:
    reserved = "acme-web is reserved for its upstream python, which has none of this name"

    assert await standings(site, "outer/packages/acme-web") == (
        "acme-web is reserved behind view, where nobody has it.",
        {
            "view": (
                "RESERVING",
                f"No package acme-web in {FULL}/view: {reserved}.",
            ),
            "other": ("RESERVED", "Not asked: view comes first and reserves the name."),
        },
    )


async def test_a_list_names_no_package_that_an_upstream_keeps_from_those_behind_it(
    site: Site,
) -> None:
    pages = [
        await site.get(f"/my-project/{name}/simple/", accept=JSON) for name in ("view", "outer")
    ]

    assert [[one["name"] for one in page.json()["projects"]] for page in pages] == [
        ["acme-core", "lib"]
    ] * 2


async def test_an_explanation_shows_the_versions_of_each(site: Site) -> None:
    said = await ask(site, "view/packages/acme-core:explain")

    assert said["upstreams"][1] == IsPartialDict(
        repository=f"{FULL}/other", priority=99, versions=["99.0"]
    )


async def test_a_standard_repository_explains_itself(site: Site) -> None:
    summary, found = await standings(site, "python/packages/lib")

    assert summary == "lib comes from python."
    assert found == {"python": ("OWNER", "The first upstream that has the package.")}
