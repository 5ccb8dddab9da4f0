"""A circuit breaker: an upstream that keeps failing is left alone, and probed now and then."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bonded.server.core.errors import NotFound, UpstreamFailed
from bonded.server.upstream.bounds import Bounds


class Breaker:
    """Counts failures in a row of one upstream.

    Closed: requests pass. After `failures_max` failures it opens: for `pause_s` every
    request fails at once, so nobody waits for what will not come. Then it is half-open:
    one request may probe while the others go on failing; its success closes the breaker,
    its failure opens it for twice as long.
    """

    def __init__(self, bounds: Bounds, now: Callable[[], float]) -> None:
        self._bounds = bounds
        self._now = now
        self._failures = 0
        self._pause_s = bounds.pause_s
        self._open_until: float | None = None
        self._is_probing = False
        self._last = ""

    @property
    def is_open(self) -> bool:
        """Whether requests fail at once now."""
        if self._open_until is None:
            return False
        return self._is_probing or self._now() < self._open_until

    @contextmanager
    def request(self, upstream: str) -> Iterator[None]:
        """Let one request through, and learn from how it ends.

        Raises:
            UpstreamFailed: the breaker is open.
        """
        if self.is_open:
            raise UpstreamFailed(
                f"The upstream {upstream} has failed {self._failures} times in a row",
                hint=f"It is asked again within {self._pause_s:.0f} s. {self._last}".rstrip(),
            )
        is_probe = self._is_probing = self._open_until is not None
        try:
            yield
        except NotFound:
            # An honest answer.
            self._succeed()
            raise
        except UpstreamFailed as error:
            if error.is_outage:
                self.fail(str(error))
            else:
                self._succeed()
            raise
        else:
            self._succeed()
        finally:
            # Cancelled, a probe has told nothing: the next request is the probe.
            if is_probe:
                self._is_probing = False

    def _succeed(self) -> None:
        self._failures = 0
        self._pause_s = self._bounds.pause_s
        self._open_until = None

    def fail(self, why: str) -> None:
        """Count a failure that no exception within `request` told of."""
        self._failures += 1
        self._last = why
        if self._open_until is not None:
            self._pause_s = min(self._pause_s * 2, self._bounds.pause_max_s)
        elif self._failures < self._bounds.failures_max:
            return
        # Spread, or every replica would probe at the same moment.
        self._open_until = self._now() + self._pause_s * random.uniform(0.8, 1)  # noqa: S311
