"""The caches of remote repositories: verbs of our own beside Artifact Registry's."""

from __future__ import annotations

import asyncio
from typing import Any

from bonded.server.core.names import PackageName, RepositoryName
from bonded.server.operations.caching import Caching
from bonded.server.repositories.catalog import Catalog
from bonded.server.repositories.origins import Origin, find_origin
from bonded.server.upstream.rules import shown as without_query
from bonded.server.web.messages import Answer, Call, json_reply, package_named


class CachesApi:
    """Has pages asked for again, and says where what they list comes from."""

    def __init__(self, caching: Caching, catalog: Catalog) -> None:
        self._caching = caching
        self._catalog = catalog

    async def refresh(self, call: Call) -> Answer:
        """Answer with how many pages will be asked for again: one package's, or all."""
        package = call.params.get("package")
        name = None if package is None else package_named(package)
        return json_reply({"pages": await self._caching.refresh(call.target, name)})

    async def list_upstream_files(self, call: Call) -> Answer:
        """Answer with every file on a package's page, and where its index has it."""
        name = package_named(call.params["package"])
        origin = await find_origin(self._catalog, call.target, name)
        # Aside: some pages list tens of thousands.
        return json_reply(await asyncio.to_thread(_origin, call.target, name, origin))


def _origin(repository: RepositoryName, name: PackageName, origin: Origin) -> dict[str, Any]:
    return {
        "name": f"{repository}/packages/{name}",
        **({"indexUri": origin.index_url} if origin.index_url else {}),
        "files": [
            # What follows the path may be a signature.
            {"filename": filename, **({"upstreamUrl": without_query(url)} if url else {})}
            for filename, url in origin.urls
        ],
    }
