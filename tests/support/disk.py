"""A small disk of its own, which can be filled to the last byte and enlarged."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MIB = 1024 * 1024


class NoDisk(Exception):
    """This machine does not let us mount one; the message says why."""


@dataclass(frozen=True, slots=True)
class SmallDisk:
    """A file system in memory."""

    path: Path

    @property
    def free_bytes(self) -> int:
        """How much still fits."""
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_frsize

    def fill(self, leave_bytes: int = 0) -> None:
        """Fill it up with one file, but for *leave_bytes*."""
        with (self.path / "filler").open("ab", buffering=0) as filler, contextlib.suppress(OSError):
            while self.free_bytes > leave_bytes:
                filler.write(bytes(min(MIB, self.free_bytes - leave_bytes)))

    def empty(self) -> None:
        """Remove what `fill` wrote."""
        (self.path / "filler").unlink()


@contextmanager
def small_disk(path: Path, size_bytes: int) -> Iterator[SmallDisk]:
    """Mount a disk at *path*.

    Raises:
        NoDisk: mounting is not allowed here.
    """
    path.mkdir()
    options = f"size={size_bytes}"
    mount = ["mount", "-t", "tmpfs", "-o", options, "bonded-test", str(path)]
    try:
        mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise NoDisk("there is no mount command") from error
    if mounted.returncode:
        raise NoDisk(f"a small disk cannot be mounted: {mounted.stderr.strip()}")
    try:
        yield SmallDisk(path)
    finally:
        # Lazily: a test that failed may have left a process with a file open.
        subprocess.run(["umount", "-l", str(path)], check=True)
