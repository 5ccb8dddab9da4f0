"""Whether the server is alive, and whether it can work."""

from __future__ import annotations

from bonded.server.blobs.store import BlobStore
from bonded.server.metadata.store import MetadataStore
from bonded.server.web.messages import Answer, Call, text_reply


class Health:
    """Answers orchestrators and load balancers."""

    def __init__(self, metadata: MetadataStore, blobs: BlobStore) -> None:
        self._metadata = metadata
        self._blobs = blobs

    async def alive(self, _call: Call) -> Answer:
        """200: the process answers."""
        return text_reply("alive")

    async def ready(self, _call: Call) -> Answer:
        """200: database and blobs answer. Raises Unavailable otherwise."""
        await self._metadata.check()
        await self._blobs.check()
        return text_reply("ready")
