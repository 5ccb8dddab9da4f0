"""What one client asks for never keeps all others waiting: the event loop stays free."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Coroutine
from functools import partial
from itertools import count
from pathlib import Path

import httpx2
import pytest

from bonded.server.core.digests import Sha256
from bonded.server.core.files import File
from bonded.server.core.names import PackageName, RepositoryName
from bonded.server.identity.explaining import PARTS_MAX
from bonded.server.identity.fragments import CALLS_MAX
from support.site import open_site

TEAM = RepositoryName("my-project", "local", "python")
VERSIONS = 3000
"""Going over them once for each stalls for more than a second."""
STALL_MAX_S = 0.25
TRIES = 3
"""The least counts: a machine that is busy stalls a process too, but not each time."""


async def least_stall(
    ask: Callable[[], Coroutine[None, None, httpx2.Response]],
) -> tuple[httpx2.Response, float]:
    """Return the answer, and for how long nobody else was served meanwhile, in seconds."""
    stalls = []
    while True:
        asking = asyncio.ensure_future(ask())
        longest = 0.0
        while not asking.done():
            start = time.perf_counter()
            await asyncio.sleep(0.001)
            longest = max(longest, time.perf_counter() - start)
        stalls.append(longest)
        if len(stalls) == TRIES:
            return asking.result(), min(stalls)


async def test_a_package_of_thousands_of_versions_is_looked_at_beside_other_requests(
    tmp_path: Path,
) -> None:
    name = PackageName.parse("many")
    async with open_site(tmp_path / "data") as site:
        async with site.registry.metadata.transaction() as tx:
            for version in range(VERSIONS):
                for end in ("-py3-none-any.whl", ".tar.gz"):
                    filename = f"many-{version}.0{end}"
                    digest = Sha256(hashlib.sha256(filename.encode()).hexdigest())
                    file = File(filename, f"{version}.0", 1, digest, site.clock())
                    await tx.files.add(TEAM, name, file, b"")
        owner = f"{site.rest.removeprefix('/v1/')}/packages/many"
        stalls = {}
        for path, count in {
            "packages/many/versions/1.0": 0,
            "packages/many/versions?pageSize=3": 3,
            "pythonPackages/many:1.0": 0,
            "pythonPackages?pageSize=3": 3,
            f'files?pageSize=3&filter=owner="{owner}"': 3,
            f'files?pageSize=3&filter=owner="{owner}/versions/1.0"': 2,
            "files?pageSize=3": 3,
            "files/many%2Fmany-1.0.tar.gz": 0,
        }.items():
            answer, stalls[path] = await least_stall(partial(site.get, f"{site.rest}/{path}"))
            assert answer.status_code == 200, answer.text
            (listed,) = [one for one in answer.json().values() if isinstance(one, list)] or [[]]
            assert len(listed) == count or not count

    assert {path: stall for path, stall in stalls.items() if stall > STALL_MAX_S} == {}


def literals(salt: int, number: int) -> str:
    """Return a condition of as many different calls as one may hold."""
    return "||".join(f'int("{salt}{number:02}{call:02}")==1' for call in range(CALLS_MAX))


def comparisons(salt: int, number: int) -> str:
    """Return a condition of hundreds of parts that name nothing, as long as one may be."""
    return "&&".join(f"{salt}{number:02}<{200_000 + part}" for part in range(270))


def shown_parts(salt: int, number: int) -> str:
    """Return a condition of as many parts as an answer shows."""
    return "&&".join(f"{salt}{number:02}<{200_000 + part}" for part in range(PARTS_MAX))


POLICIES: dict[str, tuple[Callable[[int, int], str], int, int]] = {
    "many literals that each have to be tried": (literals, 42, 200),
    "many parts that each have to be compiled": (comparisons, 11, 200),
    "many parts that are all shown": (shown_parts, 99, 200),
    "more than is allowed": (comparisons, 90, 400),
}


@pytest.mark.parametrize("title", POLICIES)
async def test_the_worst_conditions_are_checked_and_explained_beside_other_requests(
    tmp_path: Path, title: str
) -> None:
    write, number, status = POLICIES[title]
    me, salts = "serviceAccount:demanding@my-project.iam.gserviceaccount.com", count(10)

    async with open_site(tmp_path / "data") as site:
        await site.make_account("demanding")

        async def set_policy() -> httpx2.Response:
            salt = next(salts)
            bindings = [
                {
                    "role": "roles/viewer",
                    "members": [me],
                    "condition": {"title": "worst", "expression": write(salt, one)},
                }
                for one in range(number)
            ]
            policy = {"version": 3, "bindings": bindings}
            return await site.call("POST", f"{site.rest}:setIamPolicy", {"policy": policy})

        answer, stall_s = await least_stall(set_policy)
        assert answer.status_code == status, answer.text
        assert stall_s < STALL_MAX_S
        asked = {"principal": me, "permission": "artifactregistry.repositories.get"}
        path = f"{site.rest}:troubleshootIamPolicy"
        answer, stall_s = await least_stall(partial(site.call, "POST", path, asked))
        assert answer.status_code == 200, answer.text
        explained = answer.json()["explainedBindings"]
        assert len(explained) == (number if status == 200 else 0)
        assert stall_s < STALL_MAX_S
