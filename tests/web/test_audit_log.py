"""Who did? Reading, shipping and verifying the audit log over REST."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bonded.server.operations.recording import STRANGER_MAX
from bonded.server.web.addresses import Addresses
from bonded.server.web.audited import Audited
from bonded.server.web.messages import Answer, Call
from support.site import Site, basic, open_site, sign_assertion
from support.wheels import make_wheel

ORGANIZATION = "/v1/organizations/bonded"
READER = "roles/artifactregistry.reader"
IAM = "google.iam.admin.v1.CreateService"
CANARY = "canary-0123456789abcdef"


async def read(site: Site, text: str = "", token: str | None = None, **body: Any) -> list[Any]:
    """Return all entries that a filter asks for."""
    found: list[Any] = []
    body["filter"] = text
    while True:
        answer = await site.call("POST", "/v2/entries:list", body, token=token)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        found += page.get("entries", [])
        if "nextPageToken" not in page:
            return found
        body["pageToken"] = page["nextPageToken"]


def names(entries: list[Any]) -> list[str]:
    return [entry["protoPayload"]["methodName"].rpartition(".")[2] for entry in entries]


def names_of_projects(entries: list[Any]) -> set[str]:
    return {entry["logName"].split("/")[1] for entry in entries}


async def test_who_downloaded_a_version_and_from_which_build_is_one_query(tmp_path: Path) -> None:
    async with open_site(tmp_path / "data", audit_downloads=True) as site:
        old, new = make_wheel("litellm", "1.82.6"), make_wheel("litellm", "1.82.7")
        for wheel in (old, new):
            await site.upload(wheel)
        builds = [await site.make_account(f"build-{number}") for number in (1, 2)]
        for number, (key, wheel) in enumerate(zip(builds, (new, old), strict=True)):
            await site.grant(READER, f"serviceAccount:{key['client_email']}")
            token = await site.sign_in(key)
            path = f"{site.repository}/litellm/{wheel.filename}"
            agent = {"user_agent": f"pip/26 build {number}"}
            assert (await site.get(path, token, **agent)).status_code == 200
            await site.get(f"{path}.metadata", token)
            await site.http.head(path, headers={"authorization": basic("", token)})

        found = await read(site, "method=Python-InstallPackage package=litellm version=1.82.7")

        (entry,) = found
        payload = entry["protoPayload"]
        assert payload["authenticationInfo"] == {
            "principalEmail": builds[0]["client_email"],
            "principalSubject": f"serviceAccount:{builds[0]['client_email']}",
            "credential": f"key:{builds[0]['private_key_id']}",
        }
        assert payload["requestMetadata"]["callerSuppliedUserAgent"] == "pip/26 build 0"
        assert payload["metadata"] == {
            "package": "litellm",
            "version": "1.82.7",
            "filename": new.filename,
            "sha256": new.sha256,
            "sizeBytes": len(new.data),
        }
        assert (
            entry["logName"] == "projects/my-project/logs/cloudaudit.googleapis.com%2Fdata_access"
        )


async def test_downloads_are_not_kept_unless_asked_for(site: Site) -> None:
    wheel = make_wheel("demo")
    await site.upload(wheel)
    await site.get(f"{site.repository}/demo/{wheel.filename}")

    assert await read(site, "method=Python-InstallPackage") == []


async def test_entries_come_in_both_orders_and_in_pages(site: Site) -> None:
    for number in range(3):
        site.clock.forward(minutes=1)
        await site.call("POST", "/v1/projects", {"projectId": f"project-{number}"})
    made = "method:CreateProject"

    oldest = await read(site, made, pageSize=1)
    newest = await read(site, made, pageSize=1, orderBy="timestamp desc")

    resources = [entry["protoPayload"]["resourceName"] for entry in oldest]
    assert resources == [f"projects/project-{number}" for number in range(3)]
    assert newest == oldest[::-1]
    since = oldest[1]["timestamp"]
    assert await read(site, f'{made} timestamp>="{since}"') == oldest[1:]


async def test_the_log_of_a_project_shows_that_project_alone(site: Site) -> None:
    key = await site.make_account("auditor")
    token = await site.sign_in(key)
    await site.call("POST", "/v1/projects", {"projectId": "other-project"})
    path = "/v2/projects/other-project/entries:list"

    before = await site.call("POST", path, {}, token=token)
    member = f"serviceAccount:{key['client_email']}"
    await site.grant("roles/logging.viewer", member, "/v1/projects/other-project")
    granted = await site.call(
        "POST", path, {"resourceNames": ["organizations/bonded"]}, token=token
    )
    server = await site.call("POST", "/v2/entries:list", {}, token=token)
    named = await read(site, resourceNames=["projects/other-project"])

    assert (before.status_code, server.status_code) == (403, 403)
    found = granted.json()["entries"]
    assert sorted(names(found)) == ["CreateProject", "ListLogEntries", "SetIamPolicy"]
    assert names_of_projects(found) == {"other-project"}
    assert names(named) == names(found)


@pytest.mark.parametrize(
    ("names", "status"),
    [
        (["projects/other-project"], 200),
        (["projects/other-project", "projects/other-project"], 200),
        (["projects/other-project", "projects/my-project"], 403),
        (["projects/my-project", "projects/other-project"], 403),
        (["projects/other-project", "organizations/bonded"], 403),
        (["projects/other-project", "projects/absent"], 403),
        (["projects/other-project", "folders/1"], 403),
        ("projects/other-project", 403),
        (["organizations/bonded"], 403),
        ([], 403),
        (None, 403),
    ],
)
async def test_the_permission_is_asked_on_every_project_that_is_named(
    site: Site, names: object, status: int
) -> None:
    key = await site.make_account("auditor")
    token = await site.sign_in(key)
    await site.call("POST", "/v1/projects", {"projectId": "other-project"})
    member = f"serviceAccount:{key['client_email']}"
    await site.grant("roles/logging.viewer", member, "/v1/projects/other-project")

    answer = await site.call("POST", "/v2/entries:list", {"resourceNames": names}, token=token)

    assert answer.status_code == status, answer.text
    if status == 200:
        found = answer.json()["entries"]
        assert names_of_projects(found) == {"other-project"}
    else:
        (denial,) = await read(site, "method:ListLogEntries")
        refused = denial["protoPayload"]["authorizationInfo"][0]
        assert not refused["granted"]
        assert refused["resource"] in ("projects/my-project", "projects/absent", ORGANIZATION[4:])


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"filter": "code="}, "The filter is malformed at position 6"),
        ({"filter": "cod=7"}, "No entry has the field 'cod'. Did you mean code?"),
        ({"filter": 1}, "filter must be a string"),
        ({"orderBy": "severity"}, "orderBy must be"),
        ({"pageToken": "x"}, "pageToken is not one"),
        ({"pageToken": "gAAAA" * 100}, "pageToken is not one"),
        ({"pageToken": "é"}, "pageToken is not one"),
        ({"pageSize": -1}, "pageSize must be"),
        ({"pageSize": "1"}, "pageSize must be"),
        ({"resourceNames": "projects/p"}, "resourceNames must be a list"),
        ({"resourceNames": ["folders/1"]}, "'folders/1' is not the name of a resource with logs"),
    ],
)
async def test_a_wrong_question_is_told_why(shared: Site, body: object, says: str) -> None:
    answer = await shared.call("POST", "/v2/entries:list", body)

    assert answer.status_code == 400
    assert says in answer.json()["error"]["message"]


async def test_verifying_says_how_far_the_chain_is_whole(site: Site) -> None:
    await site.upload(make_wheel())

    answer = (await site.call("POST", "/v2/entries:verify", {})).json()

    assert answer["isComplete"]
    assert answer["problems"] == []
    newest = (await read(site, orderBy="timestamp desc"))[0]["labels"]
    assert answer["last"] == {"number": newest["bonded/number"], "hash": newest["bonded/hash"]}
    again = await site.call("POST", "/v2/entries:verify", {"expected": answer["last"]})
    assert again.json()["problems"] == []
    wrong = await site.call("POST", "/v2/entries:verify", {"expected": {"number": "x"}})
    assert wrong.status_code == 400


async def test_a_collector_gets_each_entry_as_a_line_of_json(tmp_path: Path) -> None:
    stream = tmp_path / "audit.jsonl"
    async with open_site(tmp_path / "data", audit_stream=str(stream)) as site:
        await site.upload(make_wheel())
        kept = await read(site)
        stream.rename(tmp_path / "rotated.jsonl")
        await site.call("POST", "/v1/projects", {"projectId": "project-1"})
        later = await read(site, "method:CreateProject")

    lines = (tmp_path / "rotated.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == kept
    assert [json.loads(line) for line in stream.read_text().splitlines()] == later
    assert stream.stat().st_mode & 0o777 == 0o600


async def test_no_secret_is_ever_in_the_log(tmp_path: Path) -> None:
    async with open_site(tmp_path / "data", audit_downloads=True) as site:
        key = await site.make_account("somebody")
        assertion = sign_assertion(key, site.clock)
        token = (await site.exchange(assertion)).json()["access_token"]
        file = base64.b64encode(json.dumps(key).encode()).decode()
        secrets = [assertion, token, file, CANARY, site.admin, key["private_key"][40:80]]
        headers = [
            f"Bearer {token}",
            f"Bearer {assertion}",
            f"Bearer {CANARY}",
            basic("_json_key_base64", file),
            basic(CANARY, CANARY),
        ]
        for endpoint in site.registry.routes.endpoints:
            path = endpoint.path
            for name in ("project", "repository", "location"):
                path = path.replace(f"{{{name}}}", {"project": "my-project"}.get(name, "python"))
            for header in headers:
                await site.http.request(
                    endpoint.method,
                    path.replace("{", "").replace("}", ""),
                    headers={"authorization": header, "cookie": CANARY, "x-goog-api-key": CANARY},
                    json={"password": CANARY, "policy": {}, "privateKeyData": CANARY},
                    params={"access_token": CANARY, "key": CANARY},
                )
        await site.exchange(assertion, client_secret=CANARY, refresh_token=CANARY)
        await site.exchange(CANARY)

        text = "\n".join(json.dumps(entry) for entry in await read(site))

        assert len(text) > 10_000
        assert [secret[:20] for secret in secrets if secret in text] == []
        assert token.split(".")[2] not in text


async def test_a_sign_in_says_who_and_by_what_and_a_failed_one_why(site: Site) -> None:
    key = await site.make_account("somebody")
    await site.sign_in(key)
    await site.exchange("garbage")

    good, bad = (await read(site, "method:ExchangeAssertion"))[-2:]
    assert good["protoPayload"]["authenticationInfo"]["principalEmail"] == key["client_email"]
    assert (
        good["protoPayload"]["authenticationInfo"]["credential"] == f"key:{key['private_key_id']}"
    )
    assert good["protoPayload"]["status"] == {}
    assert bad["protoPayload"]["status"]["code"] == 16
    assert "authenticationInfo" not in bad["protoPayload"]


async def test_an_address_is_believed_of_trusted_proxies_only(tmp_path: Path) -> None:
    said = {"x_forwarded_for": "6.6.6.6, 203.0.113.7, 10.1.1.1"}
    found = []
    for number, trusted in enumerate(("", "127.0.0.1", "127.0.0.0/8, 10.0.0.0/8")):
        async with open_site(tmp_path / str(number), trusted_proxies=trusted) as site:
            await site.get("/my-project/python/simple/", token="garbage", **said)
            (entry,) = await read(site, "code=16")
            found.append(entry["protoPayload"]["requestMetadata"]["callerIp"])

    assert found == ["127.0.0.1", "10.1.1.1", "203.0.113.7"]


async def test_a_failed_upload_says_which_file_and_why(site: Site) -> None:
    await site.upload(make_wheel("demo", summary="one"))
    await site.upload(make_wheel("demo", summary="other"))
    await site.upload(make_wheel("demo", summary="one"))

    first, other, again = (entry["protoPayload"] for entry in await read(site, "package=demo"))
    assert (first["status"], again["status"]) == ({}, {})
    assert other["status"]["code"] == 6
    assert "File already exists" in other["status"]["message"]
    assert first["metadata"] == again["metadata"]
    assert other["metadata"]["sha256"] != first["metadata"]["sha256"]


async def test_the_access_log_is_off_unless_asked_for_and_holds_no_query(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "bonded.access")
    for name, is_on in (("off", False), ("on", True)):
        async with open_site(tmp_path / name, access_log=is_on) as site:
            await site.get(f"/healthz?code={CANARY}", user_agent="pip/26\n")

    lines = [record.getMessage() for record in caplog.records if record.name == "bonded.access"]
    token, health = lines
    assert '"POST /token" 200' in token
    assert health.startswith('127.0.0.1 "GET /healthz" 200 6 ')
    assert CANARY not in caplog.text
    assert "\n" not in health


async def test_a_stranger_can_neither_fill_the_log_nor_crowd_others_out(site: Site) -> None:
    before = len(await read(site))
    for _ in range(20):
        assert (await site.http.post("/revoke", data={"token": "x"})).status_code == 200
        burnt = await site.http.post("/_/oidc/burn-token", json={"token": "x"})
        assert burnt.status_code == 202
    # They may cause no more entries, whatever the route, than all strangers may.
    for _ in range(STRANGER_MAX + 20):
        await site.http.post("/token", data={"grant_type": "x"})
    await site.call("POST", "/v1/projects", [])

    found = (await read(site))[before:]

    knocks = [one for one in found if "principalSubject" not in said_of(one)]
    assert names(found).count("RevokeToken") == names(found).count("BurnToken") == 0
    assert len(knocks) == STRANGER_MAX
    assert names(found)[-2:] == ["CreateProject", "DropEntries"]
    assert found[-1]["protoPayload"]["metadata"] == {"count": 20, "ofStrangers": 20}


def said_of(entry: Any) -> Any:
    return entry["protoPayload"].get("authenticationInfo", {})


async def test_what_crashes_for_a_stranger_counts_as_theirs(site: Site) -> None:
    async def crash(_call: Call) -> Answer:
        raise ZeroDivisionError

    async def no_body() -> dict[str, Any]:
        return {"type": "http.request"}

    mint = next(one for one in site.registry.routes.endpoints if one.path == "/_/oidc/mint-token")
    broken = replace(mint, handler=crash)
    audited = Audited(site.registry.trail, Addresses())
    scope = {"client": ("192.0.2.7", 1), "query_string": b"", "headers": []}
    call = Call(scope, no_body, "POST", {}, {})
    for _ in range(STRANGER_MAX + 20):
        with pytest.raises(ZeroDivisionError):
            await audited.handle(broken, call)
        audited.crashed(broken, call)

    found = await read(site, "code=13")

    assert len(found) == STRANGER_MAX


async def test_where_a_page_ends_tells_nothing_of_what_is_not_shown(site: Site) -> None:
    for _ in range(3):
        await site.call("POST", "/v1/projects", [])

    page = (await site.call("POST", "/v2/entries:list", {"pageSize": 1})).json()

    token, number = page["nextPageToken"], page["entries"][0]["labels"]["bonded/number"]
    body = {"pageSize": 1, "pageToken": token}
    following = (await site.call("POST", "/v2/entries:list", body)).json()
    assert following["entries"][0]["labels"]["bonded/number"] == str(int(number) + 1)
    raw = base64.urlsafe_b64decode(token)
    assert b"number" not in raw
    site.clock.forward(days=8)
    site.admin = await site.sign_in(site.admin_key)
    late = await site.call("POST", "/v2/entries:list", body)
    assert (late.status_code, late.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")


async def disable(site: Site, path: str, body: object = None) -> None:
    assert (await site.call("POST", path, body)).status_code == 200


async def test_what_a_disabled_account_tries_has_its_name_and_a_stranger_s_has_none(
    site: Site,
) -> None:
    key = await site.make_account("robot-1")
    email = key["client_email"]
    token = await site.sign_in(key)
    name = basic("_json_key_base64", base64.b64encode(json.dumps(key).encode()).decode())
    forged_key = {**key, "private_key": (await site.make_account("other-1"))["private_key"]}
    forged = basic("_json_key_base64", base64.b64encode(json.dumps(forged_key).encode()).decode())
    account = f"/v1/projects/my-project/serviceAccounts/{email}"
    await disable(site, f"{account}:disable")
    page, since = f"{site.repository}/simple/", site.clock().isoformat()

    answers = [
        await site.get(page, token),
        await site.http.get(page, headers={"authorization": name}),
        await site.http.get(page, headers={"authorization": forged}),
        await site.get(page, f"{token[:-8]}AAAAAAAA"),
        await site.exchange(sign_assertion(key, site.clock)),
        await site.exchange(sign_assertion(forged_key, site.clock)),
    ]
    entries = await read(site, f'timestamp>="{since}" code=16', orderBy="timestamp asc")

    assert [answer.status_code for answer in answers] == [401] * 4 + [400] * 2
    who = {
        "principalEmail": email,
        "principalSubject": f"serviceAccount:{email}",
        "credential": f"key:{key['private_key_id']}",
    }
    payloads = [entry["protoPayload"] for entry in entries]
    told = [one.get("authenticationInfo", {}) for one in payloads]
    assert told == [who, who, {}, {}, who, {}]
    disabled = f"The service account {email} is disabled"
    assert [disabled in answer.text for answer in answers] == [bool(one) for one in told]
    assert [disabled in one["status"]["message"] for one in payloads] == [bool(one) for one in told]


async def test_who_is_shut_out_leaves_no_more_than_a_stranger(site: Site) -> None:
    key = await site.make_account("robot-1")
    token = await site.sign_in(key)
    path = f"/v1/projects/my-project/serviceAccounts/{key['client_email']}"
    await disable(site, f"{path}:disable")

    for _ in range(STRANGER_MAX + 20):
        await site.get(f"{site.repository}/simple/", token)

    entries = await read(site, f'code=16 principal="{key["client_email"]}"')
    assert len(entries) == STRANGER_MAX


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            f"method={IAM}Acount",
            f"No method is called {IAM}Acount. Did you mean {IAM}Account?",
        ),
        ("method:DeletPackage", "No method has in its name DeletPackage. Did you mean google.devt"),
        ("package=demo method:InstallPackage", "Downloads are not recorded here: audit_downlo"),
        ("method:ShowStatic", "Bonded.ShowStatic is never recorded."),
        ("resource=projects/my-projct", "There is no project my-projct, or no more. Did you me"),
        (
            "resource:projects/my-project/locations/local/repositories/pyhton",
            "There is no repository pyhton in local, or no more. Did you mean projects/my-project/",
        ),
        ("method=(Nope OR Nay)", "No method is called Nope."),
        # Of what is there and has not happened there is nothing to say.
        ("method:DeletePackage", ""),
        ("method:(DeletePackage OR Nope)", ""),
        ("-method:Nope version=1.0", ""),
        ("resource=projects/my-project/locations/local/repositories/python", ""),
    ],
)
async def test_what_no_entry_can_be_about_is_named_with_what_may_be_meant(
    shared: Site, text: str, says: str
) -> None:
    answer = await shared.call("POST", "/v2/entries:list", {"filter": text})

    found = answer.json()
    assert (answer.status_code, found.get("entries")) == (200, None)
    assert " ".join(found.get("unknown", ())).startswith(says)
    assert bool(found.get("unknown")) == bool(says)


async def test_a_reader_of_one_project_hears_of_no_other(site: Site) -> None:
    key = await site.make_account("reader-1")
    await site.call("POST", "/v1/projects", {"projectId": "other-proj"})
    member = f"serviceAccount:{key['client_email']}"
    await site.grant("roles/logging.viewer", member, "/v1/projects/my-project")
    token = await site.sign_in(key)
    path = "/v2/projects/my-project/entries:list"

    asked = [
        (await site.call("POST", path, {"filter": f"resource={one}"}, token)).json()
        for one in (
            "projects/other-proj",
            "projects/othr-proj",
            "projects/my-project/locations/local/repositories/pyhton",
        )
    ]
    absent = await site.call("POST", "/v2/projects/my-projct/entries:list", {"filter": ""})

    assert asked == [
        {"unknown": ["Entries about projects/other-proj are not among those asked for."]},
        {"unknown": ["Entries about projects/othr-proj are not among those asked for."]},
        # They may not see the one that is there.
        {"unknown": ["There is no repository pyhton in local, or no more."]},
    ]
    assert absent.json()["unknown"] == [
        "There is no project my-projct, or no more. Did you mean my-project?"
    ]
