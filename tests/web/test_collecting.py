"""Orphans go, once they are old enough; what is listed stays."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from support.site import Site, open_site
from support.wheels import make_wheel


def _blobs(site: Site) -> set[str]:
    return {path.name for path in (site.data_dir / "blobs").glob("*/*")}


def _age(site: Site, *names: str) -> None:
    for path in (site.data_dir / "blobs").glob("*/*"):
        if path.name in names:
            os.utime(path, (0, 0))


async def test_blobs_of_a_deleted_repository_go_and_those_of_others_stay(site: Site) -> None:
    other = "/v1/projects/my-project/locations/local/repositories"
    await site.call("POST", f"{other}?repositoryId=other", {"format": "PYTHON"})
    kept, gone = make_wheel("kept"), make_wheel("gone")
    await site.upload(kept)
    before = _blobs(site)
    await site.upload(gone, path="/my-project/other/")
    await site.upload(kept, path="/my-project/other/")
    await site.call("DELETE", f"{other}/other")
    _age(site, *_blobs(site))

    removed = await site.registry.collector.collect()

    assert removed == 2  # the wheel and its core metadata
    assert _blobs(site) == before
    assert (await site.get(f"{site.repository}/kept/{kept.filename}")).content == kept.data


async def test_a_young_orphan_is_spared(tmp_path: Path) -> None:
    async with open_site(tmp_path / "data", orphan_grace_s=60) as site:
        site.clock.now = site.clock.now.fromtimestamp(time.time(), site.clock.now.tzinfo)
        digest = await site.registry.blobs.put(b"an upload that has not added its row yet")

        young = await site.registry.collector.collect()
        _age(site, digest)
        old = await site.registry.collector.collect()

        assert (young, old) == (0, 1)


async def test_an_upload_of_the_same_bytes_during_the_collection_wins(site: Site) -> None:
    wheel = make_wheel("again")
    digest = await site.registry.blobs.put(wheel.data)
    _age(site, digest)

    await asyncio.gather(site.upload(wheel), site.registry.collector.collect())

    assert (await site.get(f"{site.repository}/again/{wheel.filename}")).content == wheel.data
