"""Trusted publishers of a repository: a resource of ours in the manner of Google's."""

from __future__ import annotations

from bonded.server.core.federation import Publisher
from bonded.server.operations.trusting import Trusting
from bonded.server.web.messages import Answer, Call, json_reply
from bonded.server.web.v1 import wire


class PublishersApi:
    """Creates, shows and deletes trusted publishers."""

    def __init__(self, trusting: Trusting) -> None:
        self._trusting = trusting

    async def create(self, call: Call) -> Answer:
        """Create a publisher."""
        body = await call.json()
        publisher = await self._trusting.create(
            call.target,
            wire.parse_text(body, "provider"),
            wire.parse_text(body, "issuerUri"),
            body.get("claims"),
            body.get("packages"),
        )
        return json_reply(_view(publisher))

    async def get(self, call: Call) -> Answer:
        """Answer with one publisher."""
        return json_reply(_view(await self._trusting.get(call.target, call.params["publisher"])))

    async def list(self, call: Call) -> Answer:
        """Answer with the publishers of the repository."""
        wire.refuse_filters(call)
        after, limit = wire.parse_page(call)
        found = await self._trusting.list(call.target, after, limit + 1)
        return json_reply(
            wire.page_of("trustedPublishers", found, limit, _view, lambda one: one.id)
        )

    async def delete(self, call: Call) -> Answer:
        """Delete a publisher."""
        await self._trusting.delete(call.target, call.params["publisher"])
        return json_reply({})


def _view(publisher: Publisher) -> dict[str, object]:
    view: dict[str, object] = {
        "name": str(publisher),
        "provider": publisher.kind,
        "issuerUri": publisher.issuer,
        "claims": dict(publisher.claims),
        "createTime": wire.timestamp(publisher.created_at),
    }
    if publisher.packages:
        view["packages"] = list(publisher.packages)
    if publisher.pins:
        view["pinnedClaims"] = dict(publisher.pins)
    return view
