"""How much, how long and how often an upstream is listened to."""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True)
class Bounds:
    """One number for everything that an upstream could make large, long or endless."""

    connect_timeout_s: float = 5
    page_timeout_s: float = 20
    """For a whole page, redirects and retries included."""
    silence_timeout_s: float = 20
    """Between two pieces of a file."""
    rate_min_bytes_s: int = 1 * KIB
    """Of a file, on average, once it has taken `rate_grace_s`."""
    rate_grace_s: float = 60
    connections_max: int = 32
    """For pages; as many again for files, and for parts of them. uv alone opens up to 50."""
    page_size_max_bytes: int = 48 * MIB
    """The largest that we know of the public index, ddtrace's 47,000 files, has 21 to 37."""
    large_pages_max: int = 4
    """Pages above `LARGE_PAGE_MIN_BYTES` that are in memory at once, of all upstreams."""
    core_metadata_size_max_bytes: int = 8 * MIB
    file_size_max_bytes: int = 10 * KIB * MIB
    redirects_max: int = 5
    tries_max: int = 2
    """Of a page, or of the head of a file."""
    resumes_max: int = 3
    """Of one file whose connection broke."""
    retry_pause_s: float = 0.2
    failures_max: int = 5
    """In a row, before the upstream is left alone for a while."""
    pause_s: float = 10
    """The first such while; it doubles with each failed probe, up to `pause_max_s`."""
    pause_max_s: float = 120
