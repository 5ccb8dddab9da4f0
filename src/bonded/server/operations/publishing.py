"""Publishing: one file arrives, is believed only as far as it proves itself, and is listed."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from packaging.version import InvalidVersion, Version

from bonded.server.archives import Inspection, Limits, inspect
from bonded.server.blobs.store import BlobStore, Staged
from bonded.server.core.audit import note
from bonded.server.core.clock import Clock
from bonded.server.core.digests import Sha256, parse_sha256, sha256_of
from bonded.server.core.errors import Conflict, Rejected
from bonded.server.core.files import File, FileKind, Filename, Status
from bonded.server.core.names import PackageName, RepositoryName
from bonded.server.metadata.store import MetadataStore

# The digests of the upload API that are not sha256, by the name of their field.
OTHER_DIGESTS: Mapping[str, Callable[[], Any]] = {
    "md5_digest": lambda: hashlib.md5(usedforsecurity=False),
    "blake2_256_digest": lambda: hashlib.blake2b(digest_size=32),
}

READ_SIZE_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Offer:
    """A file as its uploader describes it, before we believe it."""

    filename: str
    name: str
    version: str
    filetype: str
    sha256: str = ""
    """In hexadecimal; empty if the uploader did not say."""
    other_digests: Mapping[str, str] = field(default_factory=dict)
    """Field of OTHER_DIGESTS → hexadecimal."""


@dataclass(frozen=True, slots=True)
class Published:
    """What came of an offer."""

    file: File
    is_new: bool
    """False: the same bytes had been published under this name before."""


class Publisher:
    """Receives files and lists them."""

    def __init__(
        self,
        metadata: MetadataStore,
        blobs: BlobStore,
        clock: Clock,
        *,
        file_size_max_bytes: int,
        archive_limits: Limits,
    ) -> None:
        self.file_size_max_bytes = file_size_max_bytes
        self._metadata = metadata
        self._blobs = blobs
        self._clock = clock
        self._archive_limits = archive_limits

    def stage(self) -> AbstractAsyncContextManager[Staged]:
        """Open a place for a file to arrive in; leaving it forgets what was not published."""
        return self._blobs.stage(self.file_size_max_bytes)

    async def publish(self, repository: RepositoryName, offer: Offer, staged: Staged) -> Published:
        """List the staged file, unless something is wrong with it.

        The same bytes under the same name succeed again and change nothing.

        Raises:
            Rejected: the file is not what it is said to be, or not a sound archive.
            Conflict: other bytes are published under this filename.
            NotFound: the repository does not exist.
            OutOfSpace: the disk or the database is full.
        """
        filename = Filename.parse(offer.filename)
        _check_form(offer, filename)
        await staged.finish()
        if offer.sha256 and not hmac.compare_digest(parse_sha256(offer.sha256), staged.sha256):
            raise Rejected(
                f"The sha256_digest is not that of the file, which is {staged.sha256}",
                hint="The file was changed on the way: upload it again.",
            )
        note(
            package=filename.name.normalized,
            version=str(filename.version),
            filename=filename.text,
            sha256=staged.sha256,
            sizeBytes=staged.size_bytes,
        )
        known = await self._find(repository, filename, staged)
        if known is not None:
            await self._repair(repository, offer, known, staged)
            return Published(known, is_new=False)
        # The blob goes first: a crash here leaves an orphan for the garbage
        # collector, never a listed file that cannot be downloaded.
        inspection, core_digest = await self._keep(staged, offer, filename)
        file = self._describe(filename, inspection, core_digest, staged)
        try:
            async with self._metadata.transaction() as tx:
                file = await tx.files.add(
                    repository, inspection.name, file, inspection.core_metadata
                )
        except Conflict:
            # Somebody published the name meanwhile. With the same bytes, both have succeeded.
            known = await self._find(repository, filename, staged)
            if known is None:
                raise
            return Published(known, is_new=False)
        return Published(file, is_new=True)

    async def _keep(
        self, staged: Staged, offer: Offer, filename: Filename
    ) -> tuple[Inspection, Sha256]:
        """Make the file durable if it is sound; return what is in it, and METADATA's digest."""
        inspected: list[tuple[Inspection, Sha256]] = []

        def look(path: Path) -> None:
            inspection = self._inspect(path, offer, filename)
            inspected.append((inspection, sha256_of(inspection.core_metadata)))

        await staged.keep(look)
        return inspected[0]

    async def _repair(
        self, repository: RepositoryName, offer: Offer, known: File, staged: Staged
    ) -> None:
        """Put back the core metadata of a file that is published, if it was lost."""
        digest = known.core_metadata_sha256
        if digest is None:
            return
        async with self._metadata.read() as tx:
            if await tx.files.find_core_metadata(digest) is not None:
                return
        inspection, found = await self._keep(staged, offer, Filename.parse(known.filename))
        if found == digest:
            async with self._metadata.transaction() as tx:
                await tx.files.restore_core_metadata(
                    repository, inspection.name, digest, inspection.core_metadata
                )

    async def _find(
        self, repository: RepositoryName, filename: Filename, staged: Staged
    ) -> File | None:
        async with self._metadata.read() as tx:
            known, status = await tx.files.find_file(repository, filename.name, filename.text)
        if known is not None and known.sha256 != staged.sha256:
            # Uploaders look for the first three words (standards.md U-10).
            raise Conflict(
                f"File already exists: {filename.text} is published with other contents",
                hint="Published files never change. Raise the version and upload again.",
            )
        if known is None and status in (Status.ARCHIVED, Status.QUARANTINED):
            raise Rejected(f"Package {filename.name} is {status.value} and takes no files")
        return known

    def _inspect(self, path: Path, offer: Offer, filename: Filename) -> Inspection:
        for field_name, digest in _other_digests(path, offer.other_digests).items():
            expected = offer.other_digests[field_name]
            if not hmac.compare_digest(digest.encode(), expected.strip().lower().encode()):
                raise Rejected(f"The {field_name} is not that of the file, which is {digest}")
        return inspect(path, filename, self._archive_limits)

    def _describe(
        self, filename: Filename, inspection: Inspection, core_digest: Sha256, staged: Staged
    ) -> File:
        # Core metadata is served for wheels alone: a build may change an sdist's
        # (standards.md D-34). Exactly the wheel's bytes: installers compare (D-31).
        is_wheel = filename.kind is FileKind.WHEEL
        return File(
            filename=filename.text,
            version=str(filename.version),
            size_bytes=staged.size_bytes,
            sha256=staged.sha256,
            upload_time=self._clock(),
            requires_python=inspection.requires_python,
            core_metadata_sha256=core_digest if is_wheel else None,
        )


def _other_digests(path: Path, names: Iterable[str]) -> dict[str, str]:
    """Return the file's digests, of the fields of OTHER_DIGESTS with these *names*."""
    digests = {name: OTHER_DIGESTS[name]() for name in names}
    with path.open("rb", buffering=0) as file:
        while digests and (chunk := file.read(READ_SIZE_BYTES)):
            for digest in digests.values():
                digest.update(chunk)
    return {name: digest.hexdigest() for name, digest in digests.items()}


def _check_form(offer: Offer, filename: Filename) -> None:
    """Compare what the form says with what the filename says; the archive is asked later."""
    if PackageName.parse(offer.name) != filename.name:
        raise Rejected(f"{filename.text} is not a file of package {offer.name}")
    try:
        version = Version(offer.version)
    except InvalidVersion as error:
        raise Rejected(
            f"{offer.version[:80]!r} is not a valid version", hint="See PEP 440."
        ) from error
    if version != filename.version:
        raise Rejected(f"{filename.text} is not a file of version {offer.version}")
    if offer.filetype != filename.kind:
        raise Rejected(
            f"filetype {offer.filetype[:40]!r} does not fit {filename.text}, "
            f"which is {filename.kind.value}"
        )
