"""What signs tokens, and which tokens were revoked before their time, as rows."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete, insert, select
from sqlalchemy.exc import IntegrityError

from bonded.server.core.errors import Conflict
from bonded.server.metadata.sql import schema
from bonded.server.metadata.sql.connections import Connection
from bonded.server.metadata.sql.serials import advance
from bonded.server.metadata.store import ACCESS, SIGNING_KEYS, SealedKey

_signing_keys = schema.signing_keys
_revoked = schema.revoked_tokens


class SqlTokens:
    """Signing keys and revoked tokens."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def hold_signing_keys(self) -> None:
        """Keep everybody else from changing the signing keys until the transaction ends."""
        await advance(self._connection, SIGNING_KEYS)

    async def add_signing_key(self, key: SealedKey) -> None:
        """Add a signing key. Raises Conflict if its id is taken."""
        try:
            await self._connection.execute(
                insert(_signing_keys).values(
                    id=key.id,
                    sealed=key.sealed,
                    created_at=key.created_at,
                    starts_at=key.starts_at,
                )
            )
        except IntegrityError as error:
            raise Conflict(f"The signing key {key.id} already exists") from error

    async def list_signing_keys(self) -> tuple[SealedKey, ...]:
        """Return every signing key, the one that starts earliest first."""
        query = select(_signing_keys).order_by(_signing_keys.c.starts_at, _signing_keys.c.id)
        return tuple(
            SealedKey(row.id, row.sealed, row.created_at, row.starts_at)
            for row in await self._connection.execute(query)
        )

    async def remove_signing_key(self, key_id: str) -> None:
        """Forget a signing key, if it is still there."""
        await self._connection.execute(delete(_signing_keys).where(_signing_keys.c.id == key_id))

    async def revoke(self, token_id: str, expires_at: datetime, now: datetime) -> None:
        """Revoke one token until it would have expired; forget those that have by *now*."""
        await advance(self._connection, ACCESS)
        await self._connection.execute(delete(_revoked).where(_revoked.c.expires_at <= now))
        if not await self.is_revoked(token_id):
            await self._connection.execute(
                insert(_revoked).values(id=token_id, expires_at=expires_at)
            )

    async def is_revoked(self, token_id: str) -> bool:
        """Say whether the token was revoked."""
        query = select(_revoked.c.id).where(_revoked.c.id == token_id)
        return (await self._connection.execute(query)).first() is not None
