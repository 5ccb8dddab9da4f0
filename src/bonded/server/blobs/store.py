"""What the layers above need of a blob store.

Bytes arrive in a stage; nothing else can see them. `keep` makes them durable
under their digest; leaving the stage without it forgets them, whatever happened.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from pathlib import Path
from typing import Protocol

from bonded.server.core.digests import Sha256
from bonded.server.core.errors import Unavailable
from bonded.server.core.files import Content


def accept(_arrived: Path) -> None:
    """Find nothing wrong with what has arrived."""


class Staged(Protocol):
    """Bytes on their way in, hashed as they arrive."""

    @property
    def size_bytes(self) -> int:
        """How much has arrived."""
        ...

    @property
    def sha256(self) -> Sha256:
        """The digest of what has arrived."""
        ...

    async def write(self, chunk: bytes) -> None:
        """Take in some bytes.

        Raises:
            TooLarge: more than the stage was opened for.
            OutOfSpace: the disk is full.
        """
        ...

    async def read(self, start: int, stop: int) -> bytes:
        """Return bytes from *start* on, to before *stop* at most, which must have arrived.

        Raises:
            Unavailable: the stage has been kept, or left: look for the blob.
        """
        ...

    async def finish(self) -> None:
        """Say that all bytes are here, so that `sha256` is that of the whole."""
        ...

    async def keep(self, check: Callable[[Path], None] = accept) -> Sha256:
        """Make the bytes durable; when this returns they survive a power cut.

        Before that *check* is called with a file that holds them, in a thread.
        What it raises is passed on, and nothing is kept.

        Keeping what is kept already refreshes its age, so that the collection
        of orphans spares it.
        """
        ...


class BlobStore(Protocol):
    """Keeps blobs. Every implementation passes tests/contracts/test_blob_store.py."""

    def stage(self, limit_bytes: int) -> AbstractAsyncContextManager[Staged]:
        """Open a place for at most *limit_bytes* to arrive in."""
        ...

    async def put(self, data: bytes) -> Sha256:
        """Keep some bytes that are here already; durable when it returns."""
        ...

    async def open(self, digest: Sha256, size_bytes: int) -> Content:
        """Return where the bytes are; *size_bytes* is what the metadata says of them.

        Raises:
            Unavailable: they are not where they must be.
        """
        ...

    def list_older(self, before: datetime) -> AsyncIterator[Sequence[Sha256]]:
        """Name every blob that was last kept before *before*, some at a time."""
        ...

    async def remove_older(self, digest: Sha256, before: datetime) -> bool:
        """Forget a blob, unless it was kept again since *before*; say whether it went."""
        ...

    async def check(self) -> None:
        """Raise Unavailable unless blobs can be written."""
        ...

    def close(self) -> None:
        """Begin nothing more; do not wait for what a thread is still doing."""
        ...


def check_size(digest: Sha256, found_bytes: int, size_bytes: int) -> None:
    """Raise Unavailable if a blob is not as long as its row says: no part passes for the whole."""
    if found_bytes != size_bytes:
        raise Unavailable(f"The blob {digest} is damaged: {found_bytes} of {size_bytes} bytes")
