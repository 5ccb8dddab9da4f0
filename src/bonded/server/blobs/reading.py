"""Reads a part of a file on the event loop, if the kernel has it in memory."""

from __future__ import annotations

import os
import sys


def read_cached(descriptor: int, start: int, stop: int) -> bytes | None:
    """Return bytes from *start* on, to before *stop* at most; none at the end of the file.

    None if they are on the disk alone, or the file system cannot tell: leave it to a thread.
    What clients download was written, or read by others, a moment ago, and reading it takes
    less than a change of threads.
    """
    if sys.platform != "linux":
        return None
    buffer = bytearray(stop - start)
    try:
        size = os.preadv(descriptor, [buffer], start, os.RWF_NOWAIT)
    except OSError:
        return None
    return bytes(memoryview(buffer)[:size])
