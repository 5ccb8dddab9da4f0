"""The server keeps an owner who can sign in: who counts as one, and every act that may take one."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import httpx2
import pytest

from bonded.server.core.iam import PERMISSIONS
from support.browsing import invite, join
from support.site import Site, sign_assertion

ORGANIZATION = "/v1/organizations/bonded"
ACCOUNTS = "/v1/projects/my-project/serviceAccounts"
OWNER = "roles/owner"
LATER = {"title": "later", "expression": "request.time < timestamp('2999-01-01T00:00:00Z')"}
POOL = (
    "iam.googleapis.com/projects/123456789012/locations/global/workloadIdentityPools/ci-pool/"
    "subject/deploy"
)
Bindings = list[dict[str, Any]]


def member_of(key: Mapping[str, str]) -> str:
    return f"serviceAccount:{key['client_email']}"


def path_of(key: Mapping[str, str]) -> str:
    return f"{ACCOUNTS}/{key['client_email']}"


async def done(answer: httpx2.Response) -> httpx2.Response:
    assert answer.status_code == 200, answer.text
    return answer


async def set_owners(site: Site, *members: str, **more: object) -> httpx2.Response:
    """Make *members* the owners, beside whoever keeps the server in these tests."""
    keeper = {"role": "organizations/bonded/roles/keeper", "members": [member_of(site.admin_key)]}
    bindings: Bindings = [{"role": OWNER, "members": list(members), **more}, keeper]
    body = {"policy": {"version": 3, "bindings": bindings}}
    return await site.call("POST", f"{ORGANIZATION}:setIamPolicy", body)


@pytest.fixture(name="kept")
async def _kept(site: Site) -> Site:
    """A server whose administrator may do everything by a role of its own, which owns nothing."""
    role = {"includedPermissions": sorted(PERMISSIONS)}
    body = {"roleId": "keeper", "role": role}
    await done(await site.call("POST", f"{ORGANIZATION}/roles", body))
    await done(await set_owners(site, member_of(site.admin_key)))
    return site


def is_refused(answer: httpx2.Response) -> bool:
    """Say whether *answer* says, in the one way there is, that an owner would be missing."""
    if answer.status_code == 200:
        return False
    error = answer.json()["error"]
    assert (answer.status_code, error["status"]) == (400, "FAILED_PRECONDITION")
    assert "leave the server without an owner" in error["message"]
    assert "Grant that role first to another" in error["message"]
    return True


async def make_group(site: Site, name: str, *members: str) -> str:
    group = f"{name}@example.com"
    await done(await site.call("POST", "/v1/groups", {"email": group}))
    own = f"/v1/groups/{group}/members"
    await done(await site.call("DELETE", f"{own}/{member_of(site.admin_key)}"))
    for member in members:
        await done(await site.call("POST", own, {"member": member}))
    return f"group:{group}"


async def with_key_until(site: Site, name: str, life: timedelta) -> str:
    """Make an account whose only key ends; return it as a member."""
    key = await site.make_account(name)
    email = key["client_email"]
    body = {"validBeforeTime": (site.clock() + life).isoformat()}
    await done(await site.call("POST", f"{ACCOUNTS}/{email}/keys", body))
    await done(await site.call("DELETE", f"{ACCOUNTS}/{email}/keys/{key['private_key_id']}"))
    return f"serviceAccount:{email}"


async def spare_owners(site: Site) -> dict[str, tuple[str, bool]]:
    """Make principals of every kind; return each, and whether it is an owner who can sign in."""
    good, disabled, keyless, locked = [
        await site.make_account(f"spare-{name}") for name in ("good", "off", "keyless", "locked")
    ]
    await done(await site.call("POST", f"{path_of(disabled)}:disable", {}))
    await done(await site.call("DELETE", f"{path_of(keyless)}/keys/{keyless['private_key_id']}"))
    await done(
        await site.call("POST", f"{path_of(locked)}/keys/{locked['private_key_id']}:disable", {})
    )
    short = await with_key_until(site, "spare-short", timedelta(hours=1))
    long = await with_key_until(site, "spare-long", timedelta(days=3))
    site.clock.now += timedelta(hours=2)
    site.admin = await site.sign_in(site.admin_key)
    await join(site, "ada@example.com")
    await join(site, "off@example.com")
    await done(await site.call("POST", "/v1/users/off@example.com:disable", {}))
    await invite(site, "invited@example.com")
    devs = await make_group(site, "devs", "user:ghost@example.com", member_of(good))
    ghosts = await make_group(site, "ghosts", "user:ghost@example.com", member_of(disabled))
    return {
        "an account with a key": (member_of(good), True),
        "an account whose key ends later": (long, True),
        "an account whose key has ended": (short, False),
        "a disabled account": (member_of(disabled), False),
        "an account without a key": (member_of(keyless), False),
        "an account whose only key is disabled": (member_of(locked), False),
        "a user with a password": ("user:ada@example.com", True),
        "a disabled user": ("user:off@example.com", False),
        "a user who has not accepted": ("user:invited@example.com", False),
        "a user who does not exist": ("user:ghost@example.com", False),
        "a group with an owner": (devs, True),
        "a group with one in a group": (await make_group(site, "all", ghosts, devs), True),
        "a group of nobody": (ghosts, False),
        "an empty group": (await make_group(site, "empty"), False),
        "a group with itself below": (await make_group(site, "outer", ghosts), False),
        "an outside identity": (f"principal://{POOL}", False),
        "a whole domain": ("domain:example.com", False),
    }


async def test_an_owner_is_who_can_sign_in(kept: Site) -> None:
    admin = member_of(kept.admin_key)

    for title, (spare, counts) in (await spare_owners(kept)).items():
        beside = await set_owners(kept, admin, spare)
        alone = await set_owners(kept, spare)
        assert (title, beside.status_code, is_refused(alone)) == (title, 200, not counts)
        on_condition = await set_owners(kept, spare, condition=LATER)
        assert (title, is_refused(on_condition)) == (title, True)
        await done(await set_owners(kept, admin))


async def acts_on_owners(site: Site) -> dict[str, tuple[str, tuple[str, str, object]]]:
    """Return acts that take an owner: by name, who owns the server, and the request."""
    keys = {
        name: await site.make_account(f"owner-{name}")
        for name in ("off", "gone", "key-off", "key-gone", "within", "left", "moved")
    }
    await done(await site.call("POST", "/v1/projects", {"projectId": "tenant-a"}))
    tenant = await site.make_account("owner-tenant", "tenant-a")
    for address in ("off", "gone"):
        await join(site, f"{address}@example.com")
    devs = await make_group(site, "devs", member_of(keys["within"]))
    left = await make_group(site, "left", member_of(keys["left"]))
    moved = await make_group(site, "moved", member_of(keys["moved"]))
    outer = await make_group(site, "outer", moved)
    inner = await make_group(site, "inner", member_of(keys["moved"]))
    around = await make_group(site, "around", inner)

    def of(name: str) -> tuple[str, str, str]:
        key = keys[name]
        return member_of(key), path_of(key), f"{path_of(key)}/keys/{key['private_key_id']}"

    return {
        "disable the account": (of("off")[0], ("POST", f"{of('off')[1]}:disable", {})),
        "delete the account": (of("gone")[0], ("DELETE", of("gone")[1], None)),
        "disable its key": (of("key-off")[0], ("POST", f"{of('key-off')[2]}:disable", {})),
        "delete its key": (of("key-gone")[0], ("DELETE", of("key-gone")[2], None)),
        "delete its project": (member_of(tenant), ("DELETE", "/v1/projects/tenant-a", None)),
        "disable the user": (
            "user:off@example.com",
            ("POST", "/v1/users/off@example.com:disable", {}),
        ),
        "delete the user": (
            "user:gone@example.com",
            ("DELETE", "/v1/users/gone@example.com", None),
        ),
        "delete the group": (devs, ("DELETE", "/v1/groups/devs@example.com", None)),
        "leave the group": (
            left,
            ("DELETE", f"/v1/groups/left@example.com/members/{of('left')[0]}", None),
        ),
        "leave a group in the group": (
            outer,
            ("DELETE", f"/v1/groups/moved@example.com/members/{of('moved')[0]}", None),
        ),
        "take a group out of the group": (
            around,
            ("DELETE", f"/v1/groups/around@example.com/members/{inner}", None),
        ),
    }


async def test_no_act_takes_the_last_owner_and_every_act_takes_another(kept: Site) -> None:
    admin = member_of(kept.admin_key)

    for title, (owner, request) in (await acts_on_owners(kept)).items():
        await done(await set_owners(kept, owner))
        policy = (await kept.call("POST", f"{ORGANIZATION}:getIamPolicy", {})).json()
        last = await kept.call(*request)
        unchanged = (await kept.call("POST", f"{ORGANIZATION}:getIamPolicy", {})).json()
        assert (title, is_refused(last), unchanged) == (title, True, policy)
        await done(await set_owners(kept, owner, admin))
        another = await kept.call(*request)
        assert (title, another.status_code) == (title, 200)


async def test_a_server_whose_owner_s_key_has_ended_can_be_mended(kept: Site) -> None:
    short = await with_key_until(kept, "spare-short", timedelta(hours=25))
    await done(await set_owners(kept, short))
    kept.clock.now += timedelta(hours=26)
    kept.admin = await kept.sign_in(kept.admin_key)

    ghost = await set_owners(kept, "user:ghost@example.com")
    mended = await set_owners(kept, member_of(kept.admin_key))
    ghost_again = await set_owners(kept, "user:ghost@example.com")

    assert (ghost.status_code, mended.status_code) == (200, 200)
    assert is_refused(ghost_again)


async def test_a_key_that_ends_soon_takes_no_lasting_one_s_place(kept: Site) -> None:
    dying = await with_key_until(kept, "spare-dying", timedelta(hours=23))

    instead = await set_owners(kept, dying)
    beside = await set_owners(kept, dying, member_of(kept.admin_key))
    again = await set_owners(kept, dying)
    await done(await set_owners(kept, member_of(kept.admin_key)))

    assert [is_refused(one) for one in (instead, beside, again)] == [True, False, True]


async def test_while_there_is_none_but_a_key_that_ends_soon_it_is_kept(kept: Site) -> None:
    short = await with_key_until(kept, "spare-short", timedelta(hours=25))
    await done(await set_owners(kept, short))
    kept.clock.now += timedelta(hours=2)
    kept.admin = await kept.sign_in(kept.admin_key)

    ghost = await set_owners(kept, "user:ghost@example.com")
    beside = await set_owners(kept, short, "user:ghost@example.com")

    assert [is_refused(one) for one in (ghost, beside)] == [True, False]


class Walk:
    """Owners who do whatever comes to their mind to each other."""

    def __init__(self, site: Site, seed: int) -> None:
        self.site, self.random = site, random.Random(seed)
        self.keys: list[Mapping[str, str]] = []

    async def prepare(self) -> None:
        for number in range(3):
            self.keys.append(await self.site.make_account(f"walker-{number}"))
        await make_group(self.site, "inner", *map(member_of, self.keys[:2]))
        await make_group(self.site, "outer", "group:inner@example.com")

    async def step(self) -> httpx2.Response:
        """Do one act, whether it is refused or not."""
        key = self.random.choice(self.keys)
        account = path_of(key)
        one_key = f"{account}/keys/{key['private_key_id']}"
        group = self.random.choice(("inner", "outer"))
        members = f"/v1/groups/{group}@example.com/members"
        verb = self.random.choice(("enable", "disable"))
        candidates = [member_of(key), f"group:{group}@example.com", "user:ghost@example.com"]
        acts: tuple[tuple[str, str, object], ...] = (
            ("POST", f"{account}:{verb}", {}),
            ("POST", f"{one_key}:{verb}", {}),
            ("POST", members, {"member": member_of(key)}),
            ("DELETE", f"{members}/{member_of(key)}", None),
            ("DELETE", "/v1/groups/outer@example.com/members/group:inner@example.com", None),
        )
        if self.random.random() < 0.4:
            chosen = self.random.sample(candidates, self.random.randint(0, len(candidates)))
            return await set_owners(self.site, *chosen)
        return await self.site.call(*self.random.choice(acts))

    async def has_owner(self) -> bool:
        """Say whether somebody has all of roles/owner by a token that they can get now."""
        asked = {"permissions": ["bonded.users.update", "resourcemanager.projects.create"]}
        for key in self.keys:
            answer = await self.site.exchange(sign_assertion(key, self.site.clock))
            if answer.status_code == 200:
                token = answer.json()["access_token"]
                held = await self.site.call(
                    "POST", f"{ORGANIZATION}:testIamPermissions", asked, token
                )
                if held.json() == asked:
                    return True
        return False


@pytest.mark.parametrize("seed", [1, 2])
async def test_whatever_owners_do_to_each_other_one_of_them_still_signs_in(
    kept: Site, seed: int
) -> None:
    walk = Walk(kept, seed)
    await walk.prepare()
    await done(await set_owners(kept, *map(member_of, walk.keys)))
    outcomes = set()

    for _ in range(25):
        answer = await walk.step()
        outcomes.add(answer.status_code)
        assert await walk.has_owner(), json.dumps(answer.json())

    assert {200, 400} <= outcomes
