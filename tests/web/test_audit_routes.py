"""What each route leaves in the audit log, generated from the route table: none is left out."""

from __future__ import annotations

import json
import re
from typing import Any

from bonded.server.core.audit import Kind, Sealed
from bonded.server.metadata.store import Search
from bonded.server.web.routing import Endpoint, Open
from support.site import Site
from support.wheels import make_wheel

PLACES = {
    "project": "my-project",
    "repository": "python",
    "location": "local",
    "package": "absent",
    "filename": "absent-1.0-py3-none-any.whl",
    "account": "absent@my-project.iam.gserviceaccount.com",
    "key": "0" * 40,
}


async def entries(site: Site) -> list[dict[str, Any]]:
    """Return every entry in order."""
    return [json.loads(one.text) for one in await sealed(site)]


async def sealed(site: Site) -> tuple[Sealed, ...]:
    await site.registry.trail.flush()
    async with site.registry.metadata.read() as tx:
        return await tx.audit.list(Search(), 100_000)


def address(endpoint: Endpoint) -> str:
    return re.sub(r"\{([a-z_]+)\}", lambda match: PLACES.get(match[1], "absent"), endpoint.path)


def said(entry: dict[str, Any]) -> tuple[str, int]:
    payload = entry["protoPayload"]
    return payload["methodName"], payload["status"].get("code", 0)


LOGGED = (Kind.ACT, Kind.WRITE, Kind.SIGN_IN)


async def test_every_route_that_does_something_is_logged_however_it_ends(shared: Site) -> None:
    wrong = []
    for endpoint in shared.registry.routes.endpoints:
        before = len(await entries(shared))

        # Of what is absent, or malformed: nothing is done, and that is what the log must say.
        path = address(endpoint).replace("/python", "/absent").replace("my-project", "my-absent")
        answer = await shared.call(endpoint.method, path, [])

        logged = (await entries(shared))[before:]
        expected = [endpoint.name] if endpoint.kind in LOGGED else []
        codes = [code for _, code in map(said, logged)]
        if [name for name, _ in map(said, logged)] != expected or not all(codes):
            wrong.append((endpoint.method, path, answer.status_code, [*map(said, logged)]))

    assert wrong == []


async def test_every_denial_is_logged_with_who_what_and_where(shared: Site) -> None:
    key = await shared.make_account("nobody-s-friend")
    token = await shared.sign_in(key)
    wrong = []
    for endpoint in shared.registry.routes.endpoints:
        if isinstance(endpoint.permission, Open):
            continue
        before = len(await entries(shared))

        await shared.call(endpoint.method, address(endpoint), {}, token=token)

        (entry,) = (await entries(shared))[before:]
        payload = entry["protoPayload"]
        asked = payload["authorizationInfo"][0]
        found = (
            payload["methodName"],
            payload["status"]["code"],
            payload["authenticationInfo"],
            asked["permission"],
            asked["granted"],
        )
        if found != (
            endpoint.name,
            7,
            {
                "principalEmail": key["client_email"],
                "principalSubject": f"serviceAccount:{key['client_email']}",
                "credential": f"key:{key['private_key_id']}",
            },
            endpoint.permission,
            False,
        ):
            wrong.append((endpoint.method, endpoint.path, found))

    assert wrong == []


async def test_a_bad_credential_is_always_logged_and_a_missing_one_where_it_would_change_something(
    shared: Site,
) -> None:
    wrong = []
    for endpoint in shared.registry.routes.endpoints:
        if isinstance(endpoint.permission, Open):
            continue
        before = len(await entries(shared))

        await shared.call(endpoint.method, address(endpoint), {}, token="garbage")
        await shared.call(endpoint.method, address(endpoint), {}, token="")

        found = [said(entry) for entry in (await entries(shared))[before:]]
        # Asking without a credential is how a client learns that one is needed.
        times = 2 if endpoint.kind in LOGGED else 1
        if found != [(endpoint.name, 16)] * times:
            wrong.append((endpoint.method, endpoint.path, found))

    assert wrong == []


async def test_an_upload_leaves_its_file_and_a_grant_its_role(site: Site) -> None:
    wheel = make_wheel("demo")
    await site.upload(wheel)
    await site.grant("roles/artifactregistry.reader", "user:ada@example.com")

    logged = await entries(site)
    (upload,) = (one for one in logged if "Python-UploadPackage" in said(one))
    (grant,) = (one for one in logged if said(one)[0].endswith("SetIamPolicy"))
    assert upload["protoPayload"]["metadata"] == {
        "package": "demo",
        "version": "1.0",
        "filename": wheel.filename,
        "sha256": wheel.sha256,
        "sizeBytes": len(wheel.data),
    }
    assert grant["protoPayload"]["metadata"]["policyDelta"] == {
        "bindingDeltas": [
            {
                "action": "ADD",
                "role": "roles/artifactregistry.reader",
                "member": "user:ada@example.com",
            }
        ]
    }
