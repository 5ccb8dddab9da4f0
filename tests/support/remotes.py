"""A remote repository in a test's registry, which other tests may share."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2

from bonded.server.core.names import PackageName, RepositoryName
from bonded.server.core.upstreams import CustomIndex, RemoteConfig
from bonded.server.metadata.store import RepositoryRecord
from bonded.server.repositories.remote import RemoteRepository
from support.clock import SetClock
from support.site import JSON, Site


@dataclass
class Remote:
    """A remote repository, and an administrator who asks it for things."""

    site: Site
    name: RepositoryName

    @property
    def clock(self) -> SetClock:
        """The registry's clock."""
        return self.site.clock

    async def get(self, path: str, **headers: str) -> httpx2.Response:
        """GET below the repository; `_` in names of headers is `-`."""
        base = f"/{self.name.project}/{self.name.repository}"
        return await self.site.get(f"{base}/{path}", None, **headers)

    async def page(self, package: str = "demo") -> dict[str, Any]:
        """Return a page, parsed."""
        answer = await self.get(f"simple/{package}/", accept=JSON)
        assert answer.status_code == 200, answer.text
        page: dict[str, Any] = answer.json()
        return page

    async def entry(self, filename: str, package: str = "demo") -> dict[str, Any]:
        """Return what the page says of one file."""
        files: dict[str, Any] = {
            one["filename"]: one for one in (await self.page(package))["files"]
        }
        entry: dict[str, Any] = files[filename]
        return entry

    async def kept(self, package: str = "demo") -> list[str]:
        """Return the names of the files that are here."""
        async with self.site.registry.metadata.read() as tx:
            files = await tx.caches.list_files(self.name, PackageName.parse(package))
        return sorted(one.file.filename for one in files)

    def staged(self) -> list[str]:
        """Return the names of what is on its way in."""
        return [path.name for path in (self.site.data_dir / "staging").iterdir()]

    async def repository(self) -> RemoteRepository:
        """Return the repository itself."""
        found = await self.site.registry.catalog.open(self.name)
        assert isinstance(found, RemoteRepository)
        return found


@asynccontextmanager
async def open_remote(site: Site, index_url: str, **config: Any) -> AsyncIterator[Remote]:
    """Create a remote repository of its own; put the clock back afterwards."""
    now = site.clock()
    name = RepositoryName("my-project", "local", f"r{secrets.token_hex(4)}")
    config = {"is_private_address_allowed": True} | config
    made = RemoteConfig(source=CustomIndex(index_url), **config)
    async with site.registry.metadata.transaction() as tx:
        await tx.repositories.add(RepositoryRecord(name, "", {}, now, now, config=made))
    try:
        yield Remote(site, name)
    finally:
        site.clock.now = now
