"""Why: right for everybody who is named, however, and honest about what is not known."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from support.browsing import invite, join, open_visitor
from support.clock import SetClock
from support.federating import make_provider
from support.issuer import CLIENT, SECRET, FakeIssuer, running_issuer
from support.site import Site, open_site

ADA, BOB = "user:ada@example.com", "user:bob@example.com"
TEAM = "group:team@example.com"
DOWNLOAD = "artifactregistry.repositories.downloadArtifacts"
READER = "roles/artifactregistry.reader"


@pytest.fixture(name="issuer")
def _issuer() -> Iterator[FakeIssuer]:
    with running_issuer(SetClock()) as issuer:
        yield issuer


@pytest.fixture(name="site")
async def _site(tmp_path: Path, issuer: FakeIssuer) -> AsyncIterator[Site]:
    """A registry whose people have passwords, or sign in at a provider that names their groups."""
    async with open_site(
        tmp_path / "data",
        oidc_issuer=issuer.url,
        oidc_client_id=CLIENT,
        oidc_client_secret=SECRET,
        oidc_groups_domain="example.com",
        private_issuers=True,
    ) as site:
        issuer.clock = site.clock
        yield site


async def come_by_the_provider(site: Site, issuer: FakeIssuer, *groups: str) -> None:
    """Sign Ada in at the provider, which names her groups."""
    issuer.claims = {"groups": list(groups)}
    async with open_visitor(site) as visitor:
        sent = await visitor.open("/_/provider?next=/account")
        answer = issuer.authorize(sent.headers["location"])
        page = await visitor.open(f"/_/provider/callback?{urlencode(answer)}")
    assert ADA in page.text


async def explain(site: Site, member: str, resource: str = "", **more: object) -> Any:
    body = {"principal": member, "permission": DOWNLOAD} | more
    path = f"{resource or site.rest}:troubleshootIamPolicy"
    answer = await site.call("POST", path, body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def short(answer: Any) -> tuple[str, str, str]:
    return answer["access"], answer["principalState"], answer["groupsFrom"]


async def test_groups_of_a_provider_count_as_the_person_s_sign_ins_hold_them(
    site: Site, issuer: FakeIssuer
) -> None:
    await site.grant(READER, TEAM)
    await site.grant(READER, "group:unrelated@example.com")
    before = await explain(site, ADA)
    await come_by_the_provider(site, issuer, "team")
    inside = await explain(site, ADA)
    said_otherwise = await explain(site, ADA, groups=["others@example.com"])
    site.clock.forward(days=2)
    site.admin = await site.sign_in(site.admin_key)
    signed_out = await explain(site, ADA)
    said = await explain(site, ADA, groups=["Team@example.com"])

    assert short(before) == ("NOT_GRANTED", "ABSENT", "NONE")
    assert "nobody of that name exists here" in before["summary"]
    assert short(inside) == ("GRANTED", "ABLE", "SIGN_INS")
    assert inside["groups"] == [TEAM]
    assert short(said_otherwise) == ("NOT_GRANTED", "ABLE", "REQUEST")
    assert short(signed_out) == ("UNKNOWN_INFO", "ABLE", "NOT_KNOWN")
    assert signed_out["undecidedMembers"] == [TEAM, "group:unrelated@example.com"]
    assert f"whether they are in {TEAM} or 1 more, which is said when" in signed_out["summary"]
    assert short(said) == ("GRANTED", "ABLE", "REQUEST")


async def test_a_group_of_a_provider_in_one_of_ours_is_shown_as_the_way(
    site: Site, issuer: FakeIssuer
) -> None:
    await site.call("POST", "/v1/groups", {"email": "devs@example.org"})
    own = await site.call("POST", "/v1/groups/devs@example.org/members", {"member": TEAM})
    await site.grant(READER, "group:devs@example.org")
    await come_by_the_provider(site, issuer, "team")

    answer = await explain(site, ADA)

    assert own.status_code == 200
    assert answer["access"] == "GRANTED"
    assert answer["explainedBindings"][0]["through"] == [TEAM, "group:devs@example.org"]


async def test_sets_of_an_outside_identity_count_as_they_are_said(
    site: Site, issuer: FakeIssuer
) -> None:
    pool = (await make_provider(site, issuer)).partition("/providers/")[0]
    named = f"//iam.googleapis.com/{pool}"
    job = f"principal:{named}/subject/job-7"
    main = f"principalSet:{named}/attribute.branch/main"
    await site.grant(READER, main)

    unknown = await explain(site, job)
    inside = await explain(site, job, groups=[main])
    outside = await explain(site, job, groups=[])
    await site.grant(READER, f"principalSet:{named}/*")
    everybody = await explain(site, job)
    elsewhere = await explain(site, job.replace("ci-pool", "ci-pool-2"))

    assert short(unknown) == ("UNKNOWN_INFO", "UNKNOWN", "NOT_KNOWN")
    assert unknown["undecidedMembers"] == [main]
    assert short(inside) == ("GRANTED", "UNKNOWN", "REQUEST")
    assert short(outside) == ("NOT_GRANTED", "UNKNOWN", "REQUEST")
    assert everybody["access"] == "GRANTED"
    assert elsewhere["access"] == "NOT_GRANTED"


async def test_who_cannot_sign_in_is_not_let_in_whatever_they_are_granted(site: Site) -> None:
    await join(site, "ada@example.com")
    await invite(site, "bob@example.com")
    key = await site.make_account("robot-1")
    robot = f"serviceAccount:{key['client_email']}"
    path = f"/v1/projects/my-project/serviceAccounts/{key['client_email']}"
    for member in (ADA, BOB, "user:ghost@example.com", robot):
        await site.grant(READER, member)
    good = [short(await explain(site, member))[:2] for member in (ADA, robot)]
    await site.call("POST", "/v1/users/ada@example.com:disable", {})
    await site.call("POST", f"{path}/keys/{key['private_key_id']}:disable", {})
    keyless = await explain(site, robot)
    await site.call("POST", f"{path}:disable", {})
    answers = [await explain(site, one) for one in (ADA, BOB, "user:ghost@example.com", robot)]
    await site.call("DELETE", path)
    gone = await explain(site, robot)

    assert good == [("GRANTED", "ABLE")] * 2
    assert short(keyless)[:2] == ("GRANTED", "UNPROVEN")
    assert "only who may act as it has this" in keyless["summary"]
    assert [short(one)[:2] for one in answers] == [
        ("NOT_GRANTED", "DISABLED"),
        ("NOT_GRANTED", "UNPROVEN"),
        ("NOT_GRANTED", "ABSENT"),
        ("NOT_GRANTED", "DISABLED"),
    ]
    assert f"{ADA} may not: they are disabled" in answers[0]["summary"]
    assert f"By the policies, {ADA} may: {READER}" in answers[0]["summary"]
    assert "no password yet" in answers[1]["summary"]
    assert short(gone)[:2] == ("NOT_GRANTED", "ABSENT")


PACKAGE = "resource.package == 'demo'"
NETWORK = "inIpRange(request.ip, '10.0.0.0/8')"


@pytest.mark.parametrize(
    ("expression", "request_", "access", "lacks"),
    [
        (PACKAGE, {}, "UNKNOWN_CONDITIONAL", "Say the package of the request."),
        (PACKAGE, {"package": "Demo"}, "GRANTED", ""),
        (PACKAGE, {"package": "other"}, "NOT_GRANTED", ""),
        (PACKAGE, {"package": ""}, "NOT_GRANTED", ""),
        (NETWORK, {}, "UNKNOWN_CONDITIONAL", "Say the address it comes from of the request."),
        (NETWORK, {"ip": "10.1.2.3"}, "GRANTED", ""),
        (NETWORK, {"ip": "192.0.2.1"}, "NOT_GRANTED", ""),
        (f"{NETWORK} && {PACKAGE}", {"package": "demo"}, "UNKNOWN_CONDITIONAL", "Say the addr"),
        (f"{NETWORK} && {PACKAGE}", {"package": "other"}, "NOT_GRANTED", ""),
        (f"{NETWORK} || {PACKAGE}", {"package": "demo"}, "GRANTED", ""),
        ("request.time < timestamp('2027-01-01T00:00:00Z')", {}, "GRANTED", ""),
        (
            "request.time < timestamp('2027-01-01T00:00:00Z')",
            {"time": "2027-02-01T00:00:00Z"},
            "NOT_GRANTED",
            "",
        ),
        ("resource.type == 'cloudresourcemanager.googleapis.com/Project'", {}, "NOT_GRANTED", ""),
    ],
)
async def test_a_condition_is_decided_by_what_was_said_and_never_guessed(
    site: Site, expression: str, request_: dict[str, str], access: str, lacks: str
) -> None:
    await join(site, "ada@example.com")
    await site.grant(READER, ADA, None, {"title": "t", "expression": expression})

    answer = await explain(site, ADA, request=request_)

    assert answer["access"] == access
    assert lacks in answer["summary"]
    (condition,) = answer["explainedBindings"][0]["conditions"]
    assert (condition["result"] == "UNKNOWN") == (access == "UNKNOWN_CONDITIONAL")


async def test_a_request_to_a_project_is_about_no_package(site: Site) -> None:
    await join(site, "ada@example.com")
    condition = {"title": "t", "expression": "resource.package == ''"}
    await site.grant(READER, ADA, "/v1/projects/my-project", condition)

    answer = await explain(site, ADA, "/v1/projects/my-project")

    assert answer["access"] == "GRANTED"


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"groups": "team"}, "groups must be a list of strings"),
        ({"groups": ["team"]}, "'group:team' is not a valid member"),
        ({"groups": [BOB]}, "is not something that a principal is in"),
        ({"groups": ["a@example.com"] * 101}, "groups holds 101; 100 are the most"),
        ({"request": {"ip": "here"}}, "request.ip 'here' is no address"),
    ],
)
async def test_a_question_that_makes_no_sense_is_refused(
    site: Site, more: dict[str, object], says: str
) -> None:
    body = {"principal": ADA, "permission": DOWNLOAD} | more

    answer = await site.call("POST", f"{site.rest}:troubleshootIamPolicy", body)

    assert (answer.status_code, says in answer.text) == (400, True)


LONG = "resource.name != '" + "x" * 200 + "'"


@pytest.mark.parametrize(
    ("expression", "results", "reason"),
    [
        (
            f"{PACKAGE} && ({NETWORK} && true) && resource.type != 'x'",
            ["TRUE", "FALSE", "TRUE", "TRUE"],
            f"The expression `{NETWORK}` is false",
        ),
        (
            f"{PACKAGE} && {LONG} && false",
            ["TRUE", "TRUE", "FALSE"],
            "The expression `false` is false",
        ),
        (
            f"false && {LONG.replace('!=', '==')}",
            ["FALSE", "FALSE"],
            f"`false` is false; The expression `resource.name == '{'x' * 101}…` is false",
        ),
        (f"{NETWORK} || false", None, f"The expression `{NETWORK} || false` is false"),
        (
            "request.time > timestamp(resource.name) && true",
            ["FALSE", "TRUE"],
            "cannot be evaluated: String to Timestamp conversion failed",
        ),
    ],
)
async def test_of_what_must_all_be_true_it_is_said_which_part_is_not(
    site: Site, expression: str, results: list[str] | None, reason: str
) -> None:
    await join(site, "ada@example.com")
    await site.grant(READER, ADA, None, {"title": "t", "expression": expression})

    answer = await explain(site, ADA, request={"package": "demo", "ip": "192.0.2.1"})

    (condition,) = answer["explainedBindings"][0]["conditions"]
    assert (condition["result"], "problem" in condition) == ("FALSE", False)
    assert [part["result"] for part in condition.get("parts", ())] == (results or [])
    assert reason in condition["reason"]
    assert answer["summary"].endswith(f"a condition that fails: {condition['reason']}.")


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/v1/projects/no-such", "Project no-such does not exist"),
        ("/v1/projects/No_Such", "Project No_Such does not exist"),
        ("/v1/projects/my-project/locations/local/repositories/pyhton", "pyhton does not exist"),
        ("/v1/projects/my-project/locations/local/repositories/A_B", "A_B does not exist"),
        (
            "/v1/projects/my-project/serviceAccounts/no-such@my-project.iam.gserviceaccount.com",
            "Service account no-such@my-project.iam.gserviceaccount.com does not exist",
        ),
        ("/v1/projects/my-project/serviceAccounts/nobody", "Service account nobody does not exist"),
    ],
)
async def test_what_does_not_exist_is_not_answered_as_if_it_did(
    site: Site, path: str, says: str
) -> None:
    body = {"principal": ADA, "permission": DOWNLOAD}

    answer = await site.call("POST", f"{path}:troubleshootIamPolicy", body)

    assert (answer.status_code, says in answer.text) == (404, True), answer.text


async def test_a_service_account_is_a_resource_of_which_one_may_ask_too(site: Site) -> None:
    await join(site, "ada@example.com")
    key = await site.make_account("robot-1")
    path = f"/v1/projects/my-project/serviceAccounts/{key['client_email']}"
    await site.grant("roles/iam.serviceAccountTokenCreator", ADA, path)
    body = {"principal": ADA, "permission": "iam.serviceAccounts.getAccessToken"}

    answer = await site.call("POST", f"{path}:troubleshootIamPolicy", body)

    (binding,) = answer.json()["explainedBindings"]
    assert (answer.json()["access"], binding["resource"]) == ("GRANTED", path.removeprefix("/v1/"))


async def test_a_mistyped_permission_is_guessed(site: Site) -> None:
    body = {"principal": ADA, "permission": DOWNLOAD.replace("downloadA", "donwloadA")}

    answer = await site.call("POST", f"{site.rest}:troubleshootIamPolicy", body)

    assert (answer.status_code, f"Did you mean {DOWNLOAD}?" in answer.text) == (400, True)
