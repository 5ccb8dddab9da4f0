"""What one client asks for never keeps all others waiting: the event loop stays free."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path

import httpx2

from bonded.server.core.digests import Sha256
from bonded.server.core.files import File
from bonded.server.core.names import PackageName, RepositoryName
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
