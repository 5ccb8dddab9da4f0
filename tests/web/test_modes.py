"""Remote and virtual repositories over REST: Google's messages, and our own beside them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from dirty_equals import IsStr
from pypi_simple import PYPI_SIMPLE_ENDPOINT

from bonded.server.core.iam import Permission
from support.site import JSON, Site, open_site
from support.wheels import make_wheel

PARENT = "/v1/projects/my-project/locations/local/repositories"
FULL = PARENT.removeprefix("/v1/")
PYTHON = f"{FULL}/python"
READ = str(Permission.REPOSITORY_READ_VIA_VIRTUAL)


@pytest.fixture(name="site")
async def _site(tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(tmp_path / "data") as site:
        yield site


async def create(site: Site, name: str, status: int = 200, **fields: Any) -> dict[str, Any]:
    """Create a repository; return what it is, or the error."""
    body = {"format": "PYTHON"} | fields
    answer = await site.call("POST", f"{PARENT}?repositoryId={name}", body)
    assert answer.status_code == status, answer.text
    said: dict[str, Any] = answer.json()["response" if status == 200 else "error"]
    said.pop("@type", None)
    return said


def policy(name: str, priority: int, id_: str = "") -> dict[str, Any]:
    return {"id": id_ or name, "repository": f"{FULL}/{name}", "priority": priority}


async def virtual(
    site: Site,
    name: str,
    *policies: dict[str, Any],
    status: int = 200,
    own: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    config = {"upstreamPolicies": list(policies)} | ({"bonded": own} if own else {})
    return await create(
        site, name, status, mode="VIRTUAL_REPOSITORY", virtualRepositoryConfig=config
    )


async def change(
    site: Site, name: str, mask: str, config: Any, status: int = 200, *, field: str = "virtual"
) -> dict[str, Any]:
    path = f"{PARENT}/{name}?updateMask={mask}"
    answer = await site.call("PATCH", path, {f"{field}RepositoryConfig": config})
    assert answer.status_code == status, answer.text
    said: dict[str, Any] = answer.json()
    return said if status == 200 else dict(said["error"])


REMOTES: dict[str, dict[str, Any]] = {
    "the public index": {"pythonRepository": {"publicRepository": "PYPI"}},
    "a custom index": {
        "description": "Nexus",
        "pythonRepository": {"customRepository": {"uri": "https://nexus.test/simple/"}},
        "upstreamCredentials": {
            "usernamePasswordCredentials": {
                "username": "ada",
                "passwordSecretVersion": "projects/my-project/secrets/nexus/versions/latest",
            }
        },
        "disableUpstreamValidation": True,
        "bonded": {
            "caCertificates": "-----BEGIN CERTIFICATE-----\n",
            "proxy": "http://proxy.test:3128",
            "allowPrivateAddresses": True,
            "pageFreshness": "5s",
            "staleLimit": "3600s",
            "cacheSizeLimitBytes": "1000000",
        },
    },
    "another repository": {"commonRepository": {"uri": PYTHON}},
}


@pytest.mark.parametrize("config", REMOTES.values(), ids=REMOTES.keys())
async def test_a_remote_repository_says_what_it_was_made_with(
    site: Site, config: dict[str, Any]
) -> None:
    config = config | {"disableUpstreamValidation": True}

    made = await create(site, "far", mode="REMOTE_REPOSITORY", remoteRepositoryConfig=config)
    got = (await site.call("GET", f"{PARENT}/far")).json()

    if "publicRepository" in config.get("pythonRepository", {}):
        # What the name means on this server; sent back, it changes nothing.
        config["bonded"] = {"indexUrl": PYPI_SIMPLE_ENDPOINT}
    assert (made["mode"], made["remoteRepositoryConfig"]) == ("REMOTE_REPOSITORY", config)
    assert got == made
    assert await change(site, "far", "remoteRepositoryConfig", config, field="remote") == got | {
        "updateTime": IsStr()
    }


async def test_a_virtual_repository_says_what_it_was_made_with(site: Site) -> None:
    await create(site, "other")
    policies = [policy("python", 100), policy("other", 50)]
    own = {
        "mergedPackages": ["shared"],
        "reservedPackages": [{"pattern": "acme-*", "upstream": "python"}],
    }

    made = await virtual(site, "view", *policies, own=own)
    listed = (await site.call("GET", PARENT)).json()["repositories"]

    assert made["mode"] == "VIRTUAL_REPOSITORY"
    assert made["virtualRepositoryConfig"] == {"upstreamPolicies": policies, "bonded": own}
    assert made in listed


async def test_numbers_snake_case_and_gcloud_s_empty_extras_are_understood(site: Site) -> None:
    made = await create(
        site,
        "far",
        format=8,
        mode=3,
        remoteRepositoryConfig={
            "python_repository": {"public_repository": 1},
            "disable_upstream_validation": True,
            "enableIngestionAttestation": False,
        },
    )

    assert made["remoteRepositoryConfig"] == {
        "pythonRepository": {"publicRepository": "PYPI"},
        "disableUpstreamValidation": True,
        "bonded": {"indexUrl": PYPI_SIMPLE_ENDPOINT},
    }


REMOTE_REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({}, "must name exactly one upstream, not 0"),
    "two": (
        {
            "pythonRepository": {"publicRepository": "PYPI"},
            "commonRepository": {"uri": "https://a.test/"},
        },
        "must name exactly one upstream, not 2",
    ),
    "another format": (
        {"npmRepository": {"publicRepository": "NPMJS"}},
        "remoteRepositoryConfig has the unknown field 'npmRepository'. Known: description,",
    ),
    "an unknown field of ours": (
        {"pythonRepository": {"publicRepository": "PYPI"}, "bonded": {"freshness": 1}},
        "remoteRepositoryConfig.bonded has the unknown field 'freshness'. Known: caCert",
    ),
    "no address": (
        {"commonRepository": {"uri": "nexus.test"}},
        "must start with 'http://' or 'https://'",
    ),
    "a password in the address": (
        {"commonRepository": {"uri": "https://ada:hunter2@nexus.test/"}},
        "must not carry a user or a password. Give them as upstream credentials.",
    ),
    "a password in place of a reference": (
        {
            "pythonRepository": {"publicRepository": "PYPI"},
            "upstreamCredentials": {
                "usernamePasswordCredentials": {
                    "username": "ada",
                    "passwordSecretVersion": "hunter2",
                }
            },
        },
        "The reference to the password is malformed",
    ),
    "a private key": (
        {
            "pythonRepository": {"publicRepository": "PYPI"},
            "bonded": {"caCertificates": "-----BEGIN PRIVATE KEY-----"},
        },
        "caCertificates must be certificates in PEM",
    ),
    "a duration without its unit": (
        {
            "pythonRepository": {"publicRepository": "PYPI"},
            "bonded": {"pageFreshness": "60"},
        },
        "pageFreshness must be whole seconds",
    ),
    "a repository that is not there": (
        {"commonRepository": {"uri": f"{FULL}/none"}},
        "repositories/none does not exist. Create it first, or name another.",
    ),
    "itself": ({"commonRepository": {"uri": f"{FULL}/far"}}, "would be its own upstream: far"),
}


@pytest.mark.parametrize(("config", "sentence"), REMOTE_REFUSED.values(), ids=REMOTE_REFUSED.keys())
async def test_a_remote_repository_that_cannot_be_is_refused_in_a_sentence(
    site: Site, config: dict[str, Any], sentence: str
) -> None:
    error = await create(site, "far", 400, mode="REMOTE_REPOSITORY", remoteRepositoryConfig=config)

    assert sentence in error["message"]
    assert "hunter2" not in error["message"]
    assert (await site.call("GET", f"{PARENT}/far")).status_code == 404


async def test_a_configuration_of_another_mode_is_refused(site: Site) -> None:
    error = await create(site, "x", 400, virtualRepositoryConfig={"upstreamPolicies": [1]})

    assert error["message"] == (
        "virtualRepositoryConfig is for mode VIRTUAL_REPOSITORY; "
        "the mode of this repository is STANDARD_REPOSITORY."
    )


async def test_a_virtual_repository_that_cannot_be_is_refused_in_a_sentence(site: Site) -> None:
    twice = await virtual(site, "x", policy("python", 1), policy("python", 2, "b"), status=400)
    itself = await virtual(site, "x", policy("x", 1), status=400)
    unknown = await virtual(site, "x", policy("none", 1), status=400)
    many = await virtual(site, "x", *(policy(f"r{n}", 1) for n in range(31)), status=400)
    fraction = await virtual(site, "x", policy("python", 1) | {"priority": 1.5}, status=400)
    field = await virtual(site, "x", policy("python", 1) | {"weight": 1}, status=400)

    assert twice["message"].startswith(f"{PYTHON} is an upstream 2 times; say it once")
    assert itself["message"] == f"{FULL}/x would be its own upstream: x → x."
    assert unknown["message"].startswith(f"The upstream {FULL}/none does not exist.")
    assert "at most 30 upstreams, not 31" in many["message"]
    assert fraction["message"] == "The priority of an upstream policy must be a whole number."
    assert field["message"].startswith("upstreamPolicies has the unknown field 'weight'.")


async def test_a_cycle_is_refused_with_the_way_it_goes(site: Site) -> None:
    await virtual(site, "a", policy("python", 1))
    await virtual(site, "b", policy("a", 1))

    error = await change(
        site, "a", "virtualRepositoryConfig", {"upstreamPolicies": [policy("b", 1)]}, 400
    )

    assert error["message"] == f"{FULL}/a would be its own upstream: a → b → a."


async def test_a_remote_repository_looks_at_a_standard_one_only(site: Site) -> None:
    await virtual(site, "view", policy("python", 1))

    error = await create(
        site,
        "far",
        400,
        mode="REMOTE_REPOSITORY",
        remoteRepositoryConfig={"commonRepository": {"uri": f"{FULL}/view"}},
    )

    assert error["message"].startswith(f"{FULL}/view is a virtual repository, and cannot be")


async def test_an_update_changes_what_its_mask_names_and_nothing_else(site: Site) -> None:
    await create(site, "other")
    own = {"reservedPackages": [{"pattern": "acme-*", "upstream": "python"}]}
    await virtual(site, "view", policy("python", 1), own=own)
    both = {"upstreamPolicies": [policy("python", 1), policy("other", 2)]}

    # As Google's client sends it, which does not know of reservations.
    whole = await change(site, "view", "virtualRepositoryConfig", both)
    part = await change(
        site, "view", "virtual_repository_config.bonded", {"bonded": {"mergedPackages": ["x"]}}
    )
    described = await site.call(
        "PATCH", f"{PARENT}/view?updateMask=description", whole | {"description": "All"}
    )
    cleared = await change(
        site, "view", "virtualRepositoryConfig.bonded", {"bonded": {"reservedPackages": []}}
    )

    assert whole["virtualRepositoryConfig"] == both | {"bonded": own}
    assert part["virtualRepositoryConfig"] == both | {"bonded": {"mergedPackages": ["x"], **own}}
    assert described.json()["virtualRepositoryConfig"] == part["virtualRepositoryConfig"]
    assert cleared["virtualRepositoryConfig"] == both | {"bonded": {"mergedPackages": ["x"]}}


async def test_an_upstream_that_names_are_reserved_for_is_not_taken_out(site: Site) -> None:
    own = {"reservedPackages": [{"pattern": "acme-*", "upstream": "python"}]}
    await virtual(site, "view", policy("python", 1), own=own)

    error = await change(site, "view", "virtualRepositoryConfig", {}, 400)

    cycle = await change(
        site, "view", "virtualRepositoryConfig", {"upstreamPolicies": [policy("view", 1)]}, 400
    )
    unknown = await change(
        site, "view", "virtualRepositoryConfig", {"upstreamPolicies": [policy("none", 1)]}, 400
    )

    assert error["message"] == (
        "acme-* is reserved for the unknown upstream 'python'. Known are none. Reserve it for one "
        "of them with --reserved-packages, which replaces all that is reserved and, empty, clears "
        "it (in REST, virtualRepositoryConfig.bonded.reservedPackages)."
    )
    assert cycle["message"] == f"{FULL}/view would be its own upstream: view → view."
    assert unknown["message"].startswith(f"The upstream {FULL}/none does not exist.")


async def test_a_remote_repository_changes_its_settings_but_not_its_upstream(site: Site) -> None:
    config = REMOTES["a custom index"]
    await create(site, "far", mode="REMOTE_REPOSITORY", remoteRepositoryConfig=config)
    google = {key: value for key, value in config.items() if key != "bonded"}

    changed = await change(
        site, "far", "remoteRepositoryConfig", google | {"description": "New"}, field="remote"
    )
    error = await change(
        site,
        "far",
        "remoteRepositoryConfig",
        google | {"pythonRepository": {"publicRepository": "PYPI"}},
        400,
        field="remote",
    )

    assert changed["remoteRepositoryConfig"] == config | {"description": "New"}
    assert error["message"].startswith("The upstream of a remote repository cannot be changed.")


async def test_the_mode_never_changes(site: Site) -> None:
    answer = await site.call(
        "PATCH", f"{PARENT}/python?updateMask=mode", {"mode": "VIRTUAL_REPOSITORY"}
    )

    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == "The field mode cannot be changed."


async def test_an_upstream_is_not_deleted_under_a_virtual_repository(site: Site) -> None:
    await create(site, "other")
    await virtual(site, "view", policy("other", 1))

    refused = await site.call("DELETE", f"{PARENT}/other")
    await site.call("DELETE", f"{PARENT}/view")
    deleted = await site.call("DELETE", f"{PARENT}/other")

    assert (refused.status_code, deleted.status_code) == (400, 200)
    assert refused.json()["error"] == {
        "code": 400,
        "status": "FAILED_PRECONDITION",
        "message": f"Repository {FULL}/other is an upstream of {FULL}/view. "
        "Take it out of there first.",
        "details": [],
    }


async def test_nobody_opens_to_others_what_they_cannot_read_themselves(site: Site) -> None:
    await site.call("POST", "/v1/projects", {"projectId": "mallory-project"})
    key = await site.make_account("mallory")
    await site.grant(
        "roles/artifactregistry.admin",
        f"serviceAccount:{key['client_email']}",
        "/v1/projects/mallory-project",
    )
    mallory = await site.sign_in(key)
    theirs = "/v1/projects/mallory-project/locations/local/repositories"
    over = {"upstreamPolicies": [policy("python", 1)]}
    through = {"format": "PYTHON", "mode": 2, "virtualRepositoryConfig": over}
    window = {
        "format": "PYTHON",
        "mode": 3,
        "remoteRepositoryConfig": {"commonRepository": {"uri": PYTHON}},
    }

    answers = [
        await site.call("POST", f"{theirs}?repositoryId=x", body, mallory)
        for body in (through, window)
    ]
    empty = {"format": "PYTHON", "mode": 2}
    made = await site.call("POST", f"{theirs}?repositoryId=x", empty, mallory)
    body = {"virtualRepositoryConfig": over}
    mask = "updateMask=virtualRepositoryConfig"
    answers.append(await site.call("PATCH", f"{theirs}/x?{mask}", body, mallory))

    assert made.status_code == 200
    for answer in answers:
        assert answer.status_code == 403
        assert answer.json()["error"]["message"].startswith(f"Permission '{READ}' denied on")


async def test_a_reader_of_the_virtual_repository_needs_nothing_on_its_upstreams(
    site: Site,
) -> None:
    wheel = make_wheel("acme-core", "1.0")
    await site.upload(wheel)
    await virtual(site, "view", policy("python", 1))
    key = await site.make_account("reader")
    await site.grant(
        "roles/artifactregistry.reader", f"serviceAccount:{key['client_email']}", f"{PARENT}/view"
    )
    reader = await site.sign_in(key)

    page = await site.get("/my-project/view/simple/acme-core/", reader, accept=JSON)
    file = await site.get(f"/my-project/view/acme-core/{wheel.filename}", reader)
    metadata = await site.get(f"/my-project/view/acme-core/{wheel.filename}.metadata", reader)
    past = await site.get("/my-project/python/simple/acme-core/", reader)

    assert [one["url"] for one in page.json()["files"]] == [f"../../acme-core/{wheel.filename}"]
    assert (file.content, metadata.content) == (wheel.data, wheel.core_metadata)
    assert past.status_code == 403


async def test_a_page_through_a_virtual_repository_is_not_modified_until_its_owner_s_is(
    site: Site,
) -> None:
    await create(site, "other")
    await virtual(site, "view", policy("python", 2), policy("other", 1))
    await site.upload(make_wheel("acme-core", "1.0"))
    address = "/my-project/view/simple/acme-core/"
    first = await site.get(address)

    await site.upload(make_wheel("acme-core", "9.0"), path="/my-project/other/")
    same = await site.get(address, if_none_match=first.headers["etag"])
    await site.upload(make_wheel("acme-core", "1.1"))
    other = await site.get(address, if_none_match=first.headers["etag"])

    assert (same.status_code, other.status_code) == (304, 200)
    assert "9.0" not in other.text
    assert "1.1" in other.text


async def test_a_change_of_upstreams_shows_at_once(site: Site) -> None:
    await create(site, "other")
    await site.upload(make_wheel("acme-core", "1.0"))
    await site.upload(make_wheel("acme-core", "9.0"), path="/my-project/other/")
    await virtual(site, "view", policy("python", 2), policy("other", 1))
    address = "/my-project/view/simple/acme-core/"
    before = await site.get(address)

    other_way = {"upstreamPolicies": [policy("python", 1), policy("other", 2)]}
    await change(site, "view", "virtualRepositoryConfig", other_way)
    after = await site.get(address)
    hidden = await site.get("/my-project/view/acme-core/acme_core-1.0-py3-none-any.whl")

    assert ("1.0-py3" in before.text, "9.0-py3" in before.text) == (True, False)
    assert ("1.0-py3" in after.text, "9.0-py3" in after.text) == (False, True)
    assert hidden.status_code == 404


@pytest.mark.parametrize("path", ["/my-project/view/", "/my-project/view/legacy/"])
async def test_a_virtual_repository_takes_no_uploads_and_says_where_they_go(
    site: Site, path: str
) -> None:
    await virtual(site, "view", policy("python", 1))

    answer = await site.upload(make_wheel("acme-core", "1.0"), path=path)

    assert answer.status_code == 400
    assert answer.text == (
        f"{FULL}/view is a virtual repository, which takes no uploads. "
        f"Publish to one that it shows: /my-project/python/ ({PYTHON}).\n"
    )


async def test_a_deleted_repository_is_gone_and_another_of_its_name_begins_afresh(
    site: Site,
) -> None:
    wheel = make_wheel("acme-core", "1.0")
    await create(site, "other")
    await site.upload(wheel, path="/my-project/other/")
    assert (await site.get("/my-project/other/simple/acme-core/")).status_code == 200

    await site.call("DELETE", f"{PARENT}/other")
    gone = await site.get("/my-project/other/simple/acme-core/")
    await virtual(site, "other", policy("python", 1))
    absent = await site.get("/my-project/other/simple/acme-core/")
    await site.upload(wheel)
    there = await site.get("/my-project/other/simple/acme-core/")

    assert (gone.status_code, absent.status_code, there.status_code) == (404, 404, 200)


async def test_repositories_stand_upon_each_other_in_few_levels(site: Site) -> None:
    for lower, upper in pairwise(("python", "one", "two", "three")):
        await virtual(site, upper, policy(lower, 1))

    deep = await virtual(site, "four", policy("three", 1), status=400)
    await virtual(site, "inner", policy("python", 1))
    await virtual(site, "five", policy("two", 1))
    lowered = await change(
        site, "one", "virtual_repository_config", {"upstreamPolicies": [policy("inner", 1)]}, 400
    )

    assert deep["message"].startswith(f"{FULL}/four would stand upon 4 levels of upstreams")
    assert lowered["message"].startswith(f"{FULL}/five would stand upon 4 levels of upstreams")


async def test_a_repository_reaches_a_bounded_number_of_others(site: Site) -> None:
    shelves = [policy(f"s{number}", 1) for number in range(12)]
    walls = [policy(f"w{number}", 1) for number in range(8)]
    for shelf in shelves:
        await create(site, shelf["id"])
    for wall in walls:
        await virtual(site, wall["id"], *shelves)

    await virtual(site, "wide", *walls[:7])
    wider = await virtual(site, "wider", *walls, status=400)

    assert "would reach 104 repositories through its upstreams, and 100" in wider["message"]
