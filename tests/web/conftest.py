"""A registry that the cases of one table share, because they leave nothing behind."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from support.site import Site, open_site

FILE_SIZE_MAX_BYTES = 100_000
UNPACKED_SIZE_MAX_BYTES = 1_000_000


@pytest.fixture(name="shared", scope="module")
async def _shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """A registry with small limits that may ask issuers on loopback."""
    async with open_site(
        tmp_path_factory.mktemp("shared") / "data",
        file_size_max_bytes=FILE_SIZE_MAX_BYTES,
        unpacked_size_max_bytes=UNPACKED_SIZE_MAX_BYTES,
        private_issuers=True,
    ) as site:
        yield site
