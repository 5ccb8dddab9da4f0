"""The caches of remote repositories: a verb of our own beside Artifact Registry's."""

from __future__ import annotations

from bonded.server.operations.caching import Caching
from bonded.server.web.messages import Answer, Call, json_reply, package_named


class CachesApi:
    """Has pages asked for again."""

    def __init__(self, caching: Caching) -> None:
        self._caching = caching

    async def refresh(self, call: Call) -> Answer:
        """Answer with how many pages will be asked for again: one package's, or all."""
        package = call.params.get("package")
        name = None if package is None else package_named(package)
        return json_reply({"pages": await self._caching.refresh(call.target, name)})
