"""Uploads of those who may not, or may no longer when the last byte has come."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from support.site import Parts, Site, basic, encode, form_of
from support.wheels import make_wheel

UPLOADER = "roles/bonded.uploader"
READER = "roles/artifactregistry.reader"
GROUPS = "/v1/groups"
WHEEL = make_wheel("secret-sauce")


@dataclass(frozen=True)
class Robot:
    """Somebody who may upload because they are in a group, and in nothing else."""

    site: Site
    email: str
    key_id: str
    token: str

    async def upload(self, meanwhile: Callable[[Robot], Awaitable[None]]) -> tuple[int, str]:
        """Upload a wheel; after half of it, something happens."""
        body, content_type = encode(form_of(WHEEL))

        async def slowly() -> AsyncIterator[bytes]:
            yield body[: len(body) // 2]
            await meanwhile(self)
            yield body[len(body) // 2 :]

        headers = {
            "content-type": content_type,
            "content-length": str(len(body)),
            "authorization": basic("oauth2accesstoken", self.token),
        }
        path = f"{self.site.repository}/"
        answer = await self.site.http.post(path, content=slowly(), headers=headers)
        return answer.status_code, answer.text

    async def act(self, method: str, path: str, body: object = None) -> None:
        """Let the administrator do something."""
        answer = await self.site.call(method, path, body)
        assert answer.status_code == 200, answer.text


@pytest.fixture
async def robot(site: Site) -> Robot:
    """Return an account in a group that may upload."""
    key = await site.make_account("robot-one")
    email = key["client_email"]
    found = Robot(site, email, key["private_key_id"], await site.sign_in(key))
    await found.act("POST", GROUPS, {"email": "pushers@example.com"})
    member = {"member": f"serviceAccount:{email}"}
    await found.act("POST", f"{GROUPS}/pushers@example.com/members", member)
    await site.grant(UPLOADER, "group:pushers@example.com")
    return found


async def nothing(robot: Robot) -> None:
    """Let time pass in which the token runs out."""
    robot.site.clock.forward(hours=2)


async def something_else(robot: Robot) -> None:
    await robot.site.make_account("another-one")


async def both(robot: Robot) -> None:
    """Let the token run out, and something change that has nothing to do with it."""
    await nothing(robot)
    robot.site.admin = await robot.site.sign_in(robot.site.admin_key)
    await something_else(robot)


async def disable_account(robot: Robot) -> None:
    await robot.act("POST", f"/v1/projects/my-project/serviceAccounts/{robot.email}:disable")


async def delete_key(robot: Robot) -> None:
    keys = f"/v1/projects/my-project/serviceAccounts/{robot.email}/keys"
    await robot.act("DELETE", f"{keys}/{robot.key_id}")


async def revoke_token(robot: Robot) -> None:
    answer = await robot.site.http.post("/revoke", data={"token": robot.token})
    assert answer.status_code == 200, answer.text


async def leave_group(robot: Robot) -> None:
    member = f"serviceAccount:{robot.email}"
    await robot.act("DELETE", f"{GROUPS}/pushers@example.com/members/{member}")


async def delete_group(robot: Robot) -> None:
    await robot.act("DELETE", f"{GROUPS}/pushers@example.com")


async def empty_policy(robot: Robot) -> None:
    await robot.act("POST", f"{robot.site.rest}:setIamPolicy", {"policy": {"bindings": []}})


@pytest.mark.parametrize(
    ("meanwhile", "status"),
    [
        (nothing, 200),
        (something_else, 200),
        (both, 200),
        (disable_account, 401),
        (delete_key, 401),
        (revoke_token, 401),
        (leave_group, 403),
        (delete_group, 403),
        (empty_policy, 403),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
async def test_an_upload_does_not_outlive_the_right_to_it(
    robot: Robot, meanwhile: Callable[[Robot], Awaitable[None]], status: int
) -> None:
    answered, text = await robot.upload(meanwhile)

    robot.site.admin = await robot.site.sign_in(robot.site.admin_key)
    page = await robot.site.get(f"{robot.site.repository}/simple/secret-sauce/")
    assert (answered, page.status_code) == (status, 200 if status == 200 else 404), text
    if status != 200:
        (entry,) = await refusals(robot.site)
        assert entry["authenticationInfo"]["principalEmail"] == robot.email
        assert entry["metadata"]["package"] == "secret-sauce"


async def refusals(site: Site) -> list[Any]:
    """Return who tried to publish the package, and did not."""
    body = {"filter": 'method:UploadPackage package="secret-sauce" code!=0'}
    answer = await site.call("POST", "/v2/entries:list", body)
    return [entry["protoPayload"] for entry in answer.json().get("entries", [])]


NAMELESS = [part for part in form_of(WHEEL) if part[0] != "name"]
BADLY_NAMED = [("name", "no name at all"), *NAMELESS]
SPELLED = [("name", "Secret_Sauce"), *NAMELESS]
LATE: Parts = [("description", "x" * 100_000), *form_of(WHEEL)]


@pytest.mark.parametrize(
    ("parts", "metadata"),
    [
        (SPELLED, {"package": "secret-sauce", "filename": WHEEL.filename, "version": "1.0"}),
        (NAMELESS, {"package": "secret-sauce", "filename": WHEEL.filename, "version": "1.0"}),
        (BADLY_NAMED, {"filename": WHEEL.filename, "version": "1.0"}),
        (LATE, None),
        ([("content", "no file")], None),
    ],
    ids=["spelled", "nameless", "badly named", "late", "no file"],
)
async def test_a_refused_upload_is_recorded_with_what_it_says_that_it_is(
    site: Site, parts: Parts, metadata: dict[str, str] | None
) -> None:
    key = await site.make_account("reader-one")
    await site.grant(READER, f"serviceAccount:{key['client_email']}")

    answer = await site.upload(parts, await site.sign_in(key))

    assert answer.status_code == 403
    body = {"filter": "method:UploadPackage"}
    found = (await site.call("POST", "/v2/entries:list", body)).json()["entries"]
    assert [entry["protoPayload"].get("metadata") for entry in found] == [metadata]


async def test_a_refused_body_that_is_no_form_is_recorded_all_the_same(site: Site) -> None:
    key = await site.make_account("reader-one")
    token = await site.sign_in(key)
    headers = {"authorization": basic("", token), "content-type": "text/plain"}

    answer = await site.http.post(f"{site.repository}/", content=b"x" * 100, headers=headers)

    assert answer.status_code == 403
    body = {"filter": "method:UploadPackage"}
    (found,) = (await site.call("POST", "/v2/entries:list", body)).json()["entries"]
    assert "metadata" not in found["protoPayload"]
