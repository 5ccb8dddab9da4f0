"""Fixtures for every test: one event loop, one whole registry in process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import settings

from support.site import Site, open_site

# How long an example takes says how busy the machine is, and nothing about what is tested.
settings.register_profile("bonded", deadline=None)
settings.load_profile("bonded")


@pytest.fixture(name="anyio_backend", scope="session")
def _anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(name="site")
async def _site(tmp_path: Path) -> AsyncIterator[Site]:
    """A registry on a temporary SQLite database and directory, with one administrator."""
    async with open_site(tmp_path / "data") as site:
        yield site
