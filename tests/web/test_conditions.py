"""Bindings that count only when a condition holds: written, shown, and decided by."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest

from support.site import Site
from support.wheels import make_wheel

READER = "roles/artifactregistry.reader"
UPLOADER = "roles/bonded.uploader"
PROJECT = "/v1/projects/my-project"


def condition(expression: str, title: str = "sometimes") -> dict[str, str]:
    """Return a condition."""
    return {"title": title, "expression": expression}


async def read(site: Site, resource: str = "") -> dict[str, Any]:
    """Return a policy as version 3."""
    options = {"options": {"requestedPolicyVersion": 3}}
    answer = await site.call("POST", f"{resource or site.rest}:getIamPolicy", options)
    policy: dict[str, Any] = answer.json()
    return policy


async def bind(site: Site, member: str, role: str, expression: str, resource: str = "") -> None:
    """Add one conditional binding."""
    policy = await read(site, resource)
    binding = {"role": role, "members": [member], "condition": condition(expression)}
    policy.setdefault("bindings", []).append(binding)
    body = {"policy": policy | {"version": 3}}
    answer = await site.call("POST", f"{resource or site.rest}:setIamPolicy", body)
    assert answer.status_code == 200, answer.text


async def somebody(site: Site) -> tuple[str, str]:
    """Make an account; return its member and a token."""
    key = await site.make_account("somebody")
    return f"serviceAccount:{key['client_email']}", await site.sign_in(key)


PAGE = "/my-project/python/simple/demo/"
HOLDS = {
    "the name": 'resource.name.endsWith("/repositories/python")',
    "another name": 'resource.name == "elsewhere"',
    "the type": 'resource.type == "artifactregistry.googleapis.com/Repository"',
    "another type": 'resource.type == "cloudresourcemanager.googleapis.com/Project"',
    "the service": 'resource.service == "artifactregistry.googleapis.com"',
    "the package": 'resource.package == "demo"',
    "a prefix": 'resource.package.startsWith("de")',
    "another package": 'resource.package in ["other", "names"]',
    "a network": 'inIpRange(request.ip, "127.0.0.0/8")',
    "another network": 'inIpRange(request.ip, "10.0.0.0/8")',
    "a wrong network": "inIpRange(request.ip, resource.type)",
    "before": 'request.time < timestamp("2999-01-01T00:00:00Z")',
    "after": 'request.time > timestamp("2999-01-01T00:00:00Z")',
}
TRUE = {"the name", "the type", "the service", "the package", "a prefix", "a network", "before"}


@pytest.mark.parametrize("about", sorted(HOLDS))
async def test_a_condition_decides_by_what_it_asks_about(site: Site, about: str) -> None:
    await site.upload(make_wheel())
    member, token = await somebody(site)
    await bind(site, member, READER, HOLDS[about])

    answer = await site.get(PAGE, token)

    assert answer.status_code == (200 if about in TRUE else 403)


async def test_a_grant_ends_when_its_time_has_come_and_nothing_was_written(site: Site) -> None:
    await site.upload(make_wheel())
    member, token = await somebody(site)
    until = (site.clock() + timedelta(minutes=10)).strftime("%Y-%m-%dT%H:%M:%SZ")
    await bind(site, member, READER, f'request.time < timestamp("{until}")')

    before = await site.get(PAGE, token)
    site.clock.forward(minutes=11)
    after = await site.get(PAGE, token)

    assert (before.status_code, after.status_code) == (200, 403)


async def test_a_publisher_may_publish_the_packages_that_are_named_and_read_none(
    site: Site,
) -> None:
    member, token = await somebody(site)
    await bind(site, member, UPLOADER, 'resource.package.startsWith("acme-")', PROJECT)

    ours = await site.upload(make_wheel(name="Acme_Tool"), token)
    theirs = await site.upload(make_wheel(name="demo"), token)
    page = await site.get("/my-project/python/simple/acme-tool/", token)
    all_pages = await site.get("/my-project/python/simple/", token)

    assert (ours.status_code, theirs.status_code) == (200, 403)
    assert (page.status_code, all_pages.status_code) == (403, 403)
    assert "'artifactregistry.repositories.uploadArtifacts' denied" in theirs.text
    assert (await site.get("/my-project/python/simple/demo/")).status_code == 404


async def test_what_does_not_depend_on_the_package_is_refused_before_the_file_is_read(
    site: Site,
) -> None:
    member, token = await somebody(site)
    await bind(site, member, UPLOADER, 'resource.package == "demo" && request.ip == "10.0.0.1"')

    answer = await site.call("POST", "/my-project/python/", {"no": "form"}, token)

    assert answer.status_code == 403


async def test_a_forwarded_address_counts_only_from_a_proxy_that_is_trusted(site: Site) -> None:
    await site.upload(make_wheel())
    member, token = await somebody(site)
    await bind(site, member, READER, HOLDS["another network"])

    answer = await site.get(PAGE, token, x_forwarded_for="10.1.2.3")

    assert answer.status_code == 403


@pytest.mark.parametrize(
    ("expression", "where"),
    [
        ("resource.nmae == 'x'", "line 1, column 9: undeclared reference to 'resource.nmae'"),
        ("request.time < 3", "line 1, column 14: found no matching overload"),
        ("true &&\n  (1 <", "line 2, column 7: Syntax error"),
        ("resource.name", "gives a STRING. It must be true or false"),
        ("x" * 4097, "its expression 4096"),
        ("[1].all(i, [1].all(j, i == j))", "may not use all, exists, exists_one, map or filter"),
        (
            "resource.name.matches('(a{1,30}){1,30}')",
            "with its counted repetitions; 128 are allowed",
        ),
        ("", "A condition needs a title and an expression"),
        (
            'request.time < timestamp("2026-31-12T00:00:00Z")',
            'line 1, column 26: timestamp("2026-31-12T00:00:00Z"): String to Timestamp conversion ',
        ),
        (
            "true &&\n request.time < timestamp('2027-01-01T00:00:00Z') + duration('x')",
            "line 2, column 62: duration('x'): String to Duration conversion failed. A duration is",
        ),
        (
            "request.time.getHours('Europe/Berln') > 8",
            "line 1, column 23: getHours('Europe/Berln'): Invalid timezone. A time zone is written",
        ),
        (
            'resource.package == "A_B"',
            'column 21: no package is called "A_B", for resource.package is normalized (PEP 503).',
        ),
        ('resource.package in ["a", "B_"]', "(PEP 503). For names that begin"),
        ('resource.package in ["a", "B"]', 'is normalized (PEP 503). Write "b".'),
        ('resource.package in [resource.name.extract("{a}"), "B"]', "column 52: no package is"),
        ('"acme-*" == resource.package', "column 1: no package is called"),
        ('"acme-*" == resource.package', "begin alike, write resource.package.startsWith"),
        ("!resource.package.startsWith('Acme.')", "column 30: no package's name holds 'Acme.',"),
    ],
)
async def test_a_wrong_condition_is_refused_with_the_place_of_the_mistake(
    site: Site, expression: str, where: str
) -> None:
    binding = {"role": READER, "members": ["allUsers"], "condition": condition(expression)}
    body = {"policy": {"version": 3, "bindings": [binding]}}

    answer = await site.call("POST", f"{site.rest}:setIamPolicy", body)

    assert (answer.status_code, answer.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")
    assert where in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "expression",
    [
        "request.time.getHours('Europe/Berlin') > 8 && duration('1h30m') > duration('3600s')",
        "resource.package in ['a-b', 'c']",
        "resource.package.startsWith('acme-') || resource.package == ''",
        "resource.package == 'a' && resource.name != 'A_B'",
        "request.time < timestamp(resource.name)",
        "resource.package in ['a', resource.name.extract('x{Y}')]",
        "int('5') > 4",
    ],
)
async def test_what_may_be_true_is_taken_as_it_is_written(site: Site, expression: str) -> None:
    await bind(site, "user:ada@example.com", READER, expression)

    (binding,) = (await read(site))["bindings"]

    assert binding["condition"]["expression"] == expression


async def test_what_an_earlier_server_has_taken_keeps_nothing_else_from_being_changed(
    site: Site,
) -> None:
    good, bad = "resource.package != 'a-b'", "resource.package != 'A_B'"
    member, token = await somebody(site)
    await bind(site, member, READER, good)
    with closing(sqlite3.connect(site.data_dir / "bonded.sqlite3")) as database, database:
        database.execute("UPDATE policies SET bindings = replace(bindings, 'a-b', 'A_B')")

    await site.grant(READER, "user:ada@example.com")
    new = condition(f"{bad} && true")
    binding = {"role": READER, "members": [member], "condition": new}
    policy = await read(site)
    policy["bindings"].append(binding)
    refused = await site.call("POST", f"{site.rest}:setIamPolicy", {"policy": policy})
    page = await site.get("/my-project/python/simple/", token)

    assert policy["bindings"][0]["condition"]["expression"] == bad
    assert (refused.status_code, "no package is called" in refused.text) == (400, True)
    # It counts as it always did.
    assert page.status_code == 200


async def test_clients_that_know_no_conditions_see_a_mark_and_keep_them(site: Site) -> None:
    await bind(site, "user:ada@example.com", READER, HOLDS["before"])
    full = await read(site)

    old = (await site.call("GET", f"{site.rest}:getIamPolicy")).json()
    added = {"role": READER, "members": ["user:bob@example.com"]}
    old["bindings"].append(added)
    written = await site.call("POST", f"{site.rest}:setIamPolicy", {"policy": old})

    (marked, _) = old["bindings"]
    assert (old["version"], full["version"]) == (1, 3)
    assert marked["role"].startswith(f"{READER}_withcond_")
    assert "condition" not in marked
    assert written.json()["bindings"] == [marked, added]
    assert (await read(site))["bindings"] == [*full["bindings"], added]


async def test_a_query_may_ask_for_the_version_with_conditions(site: Site) -> None:
    await bind(site, "user:ada@example.com", READER, HOLDS["before"])

    asked = await site.get(f"{site.rest}:getIamPolicy?options.requestedPolicyVersion=3")
    wrong = await site.get(f"{site.rest}:getIamPolicy?options.requestedPolicyVersion=2")

    assert asked.json() == await read(site)
    assert wrong.json()["error"]["message"] == "options.requestedPolicyVersion must be 0, 1 or 3."


@pytest.mark.parametrize("kept", ["nothing", "an unknown mark", "a condition"])
async def test_no_condition_is_lost_or_smuggled_in_by_an_old_version(site: Site, kept: str) -> None:
    await bind(site, "user:ada@example.com", READER, HOLDS["before"])
    before = await read(site)
    bindings: dict[str, list[dict[str, Any]]] = {
        "nothing": [],
        "an unknown mark": [{"role": f"{READER}_withcond_{'0' * 20}", "members": ["allUsers"]}],
        "a condition": before["bindings"],
    }
    body = {"policy": {"version": 1, "bindings": bindings[kept]}}

    answer = await site.call("POST", f"{site.rest}:setIamPolicy", body)

    assert answer.status_code == 400
    assert await read(site) == before


async def test_who_owns_the_server_on_a_condition_is_not_its_owner(site: Site) -> None:
    organization = "/v1/organizations/bonded"
    policy = await read(site, organization)
    for binding in policy["bindings"]:
        binding["condition"] = condition(HOLDS["before"])
    body = {"policy": policy | {"version": 3}}

    answer = await site.call("POST", f"{organization}:setIamPolicy", body)

    assert answer.status_code == 400
    assert "without an owner" in answer.json()["error"]["message"]


async def test_a_policy_holds_a_hundred_conditions(site: Site) -> None:
    bindings = [
        {"role": READER, "members": ["allUsers"], "condition": condition("true", f"t{number}")}
        for number in range(101)
    ]
    body = {"policy": {"version": 3, "bindings": bindings}}

    answer = await site.call("POST", f"{site.rest}:setIamPolicy", body)

    assert answer.json()["error"]["message"] == (
        "A policy may hold 100 bindings with conditions; this one has 101."
    )


async def test_anybody_may_ask_what_they_may_and_learns_nothing_else(site: Site) -> None:
    member, token = await somebody(site)
    await bind(site, member, READER, 'resource.type.endsWith("/Repository")', PROJECT)
    download = "artifactregistry.repositories.downloadArtifacts"
    asked = {"permissions": ["artifactregistry.repositories.delete", download, download]}

    def test(resource: str, who: str | None) -> Any:
        return site.call("POST", f"{resource}:testIamPermissions", asked, who)

    account = f"{PROJECT}/serviceAccounts/{member.partition(':')[2]}"
    assert (await test(site.rest, token)).json() == {"permissions": [download]}
    assert (await test(PROJECT, token)).json() == {}
    assert (await test(site.rest, "")).json() == {}
    assert (await test(site.rest, "garbage")).status_code == 401
    assert (await test(account, token)).json() == {}
    assert set((await test(account, None)).json()["permissions"]) == set(asked["permissions"])


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["artifactregistry.*"], "Permission 'artifactregistry.*' does not exist"),
        ("all", "permissions must be a list of strings"),
        (["x"] * 101, "permissions holds 101; ask about 100 at a time"),
    ],
)
async def test_a_question_about_permissions_must_name_them(
    site: Site, asked: object, message: str
) -> None:
    answer = await site.call("POST", f"{site.rest}:testIamPermissions", {"permissions": asked})

    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith(message)


async def test_what_is_read_on_a_condition_is_not_passed_on_through_another_repository(
    site: Site,
) -> None:
    member, token = await somebody(site)
    await bind(site, member, READER, '!resource.package.startsWith("secret-")')
    await site.call("POST", "/v1/projects", {"projectId": "their-own"})
    await bind(site, member, "roles/artifactregistry.admin", "true", "/v1/projects/their-own")
    policies = [{"id": "own", "repository": site.rest.removeprefix("/v1/"), "priority": 1}]
    body = {
        "format": "PYTHON",
        "mode": "VIRTUAL_REPOSITORY",
        "virtualRepositoryConfig": {"upstreamPolicies": policies},
    }

    made = await site.call(
        "POST",
        "/v1/projects/their-own/locations/local/repositories?repositoryId=mirror",
        body,
        token,
    )

    assert made.status_code == 403, made.text
    assert "on a condition only" in made.json()["error"]["message"]


@pytest.mark.parametrize(
    ("expression", "everything", "demo", "other"),
    [
        ('resource.package == "demo"', 403, 200, 403),
        ('resource.package != "demo"', 200, 403, 200),
        ('resource.package == ""', 200, 403, 403),
    ],
)
async def test_a_list_of_the_files_of_one_package_is_about_that_package(
    site: Site, expression: str, everything: int, demo: int, other: int
) -> None:
    for name in ("demo", "other"):
        await site.upload(make_wheel(name))
    member, token = await somebody(site)
    await bind(site, member, READER, expression)
    owner = f"{site.rest.removeprefix('/v1/')}/packages"
    asked = ("", f'?filter=owner="{owner}/Demo"', f'?filter=owner="{owner}/other/versions/1.0"')

    answers = [await site.get(f"{site.rest}/files{query}", token) for query in asked]

    assert [one.status_code for one in answers] == [everything, demo, other]
