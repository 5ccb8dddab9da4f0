"""Every step of an upload fails once; whatever is listed afterwards still downloads."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from itertools import count

import pytest

from bonded.server.archives import Limits
from bonded.server.blobs.store import BlobStore
from bonded.server.core.caches import ByteCache
from bonded.server.core.clock import system_clock
from bonded.server.core.digests import sha256_of
from bonded.server.core.errors import Unavailable
from bonded.server.core.names import RepositoryName
from bonded.server.metadata.store import MetadataStore
from bonded.server.operations.publishing import Offer, Published, Publisher
from bonded.server.repositories.standard import StandardRepository
from support.faults import Fuse, FusedBlobs, FusedMetadata
from support.site import Site
from support.wheels import Distribution, make_sdist, make_wheel

TEAM = RepositoryName("my-project", "local", "python")


@pytest.mark.parametrize("make", [make_wheel, make_sdist])
async def test_whichever_step_of_an_upload_fails_every_listed_file_downloads(
    site: Site, make: Callable[[str, str], Distribution]
) -> None:
    metadata, blobs = site.registry.metadata, site.registry.blobs
    blown_at = []

    for calls in count():
        fuse, distribution = Fuse(calls), make("demo", f"{calls}.0")
        with suppress(Unavailable):
            await publish(FusedMetadata(metadata, fuse), FusedBlobs(blobs, fuse), distribution)

        await every_listed_file_opens(site)
        assert list((site.data_dir / "staging").iterdir()) == []
        again = await publish(metadata, blobs, distribution)
        assert again.file.sha256 == distribution.sha256
        await every_listed_file_opens(site, distribution.filename)
        if not fuse.blown_at:
            break
        blown_at.append(fuse.blown_at)

    # The fuse was everywhere: a step that is not in this list was not tried.
    assert {"stage begins", "write ends", "keep begins", "keep ends"} < set(blown_at)
    assert {"add begins", "add ends", "commit begins", "commit ends"} < set(blown_at)


@pytest.mark.parametrize("make", [make_wheel, make_sdist])
async def test_rows_are_written_only_after_all_blobs(
    site: Site, make: Callable[[str, str], Distribution]
) -> None:
    order: list[str] = []

    class Listening(Fuse):
        def carry(self, call: str) -> None:
            order.append(call)

    fuse = Listening(0)
    metadata = FusedMetadata(site.registry.metadata, fuse)
    blobs = FusedBlobs(site.registry.blobs, fuse)

    await publish(metadata, blobs, make("demo", "1.0"))

    durable = max(order.index(call) for call in order if call in ("keep ends", "put ends"))
    assert durable < order.index("transaction begins")
    assert order[-1] == "commit ends"


async def publish(
    metadata: MetadataStore, blobs: BlobStore, distribution: Distribution
) -> Published:
    publisher = Publisher(
        metadata, blobs, system_clock, file_size_max_bytes=10**9, archive_limits=Limits()
    )
    name, version, *_ = distribution.filename.removesuffix(".tar.gz").split("-")
    offer = Offer(distribution.filename, name, version, distribution.filetype)
    async with publisher.stage() as staged:
        await staged.write(distribution.data)
        return await publisher.publish(TEAM, offer, staged)


async def every_listed_file_opens(site: Site, expected: str = "") -> None:
    metadata, blobs = site.registry.metadata, site.registry.blobs
    repository = StandardRepository(TEAM, metadata, blobs, ByteCache(0))
    opened = []
    for name in await repository.list_packages():
        package = await repository.get_package(name)
        assert package.files, "a package without files is listed"
        for file in package.files:
            answer = await site.get(f"{site.repository}/{name}/{file.filename}")
            assert (answer.status_code, sha256_of(answer.content)) == (200, file.sha256)
            if file.core_metadata_sha256 is not None:
                url = f"{site.repository}/{name}/{file.filename}.metadata"
                core_metadata = await site.get(url)
                assert sha256_of(core_metadata.content) == file.core_metadata_sha256
            opened.append(file.filename)
    assert not expected or expected in opened
