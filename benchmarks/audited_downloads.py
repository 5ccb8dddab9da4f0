"""What keeping every download in the audit log costs, over the network: with, without, in turns.

Run it: `python benchmarks/audited_downloads.py [ROUNDS]`. Two servers of one kind, each with one
wheel of 20 kB, are asked by wrk with what pip sends. README.md says how to read it.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

from corpus import FILE_SIZE_BYTES, Wheel, make_wheel
from load import wrk
from servers import Bonded

SECONDS = 3
SETTLE_S = 1.5
"""What is written after the last answer counts too: the log is chained about once a second."""
GOAL = 0.75
USER_AGENT = (
    'pip/26.1 {"ci":true,"cpu":"x86_64","distro":{"id":"trixie","libc":{"lib":"glibc","version":'
    '"2.41"},"name":"Debian GNU/Linux","version":"13"},"implementation":{"name":"CPython",'
    '"version":"3.14.0"},"installer":{"name":"pip","version":"26.1"},"python":"3.14.0"}'
)


class Auditing(Bonded):
    """The registry with `audit_downloads` on."""

    name = "bonded, audited"

    def environment(self) -> dict[str, str]:
        """Return its environment, with the setting."""
        return super().environment() | {"BONDED_AUDIT_DOWNLOADS": "on"}


def measure(server: Bonded, wheel: Wheel) -> tuple[float, float]:
    """Return downloads a second, and the processor time of each in microseconds."""
    url, headers = server.file_url(wheel), server.credentials | {"User-Agent": USER_AGENT}
    before = server.cpu_s()
    rate = wrk(url, headers, SECONDS)
    time.sleep(SETTLE_S)
    return rate, (server.cpu_s() - before) / (rate * SECONDS) * 1e6


def main(rounds: int) -> int:
    """Print both medians and their ratio; the exit status is 1 when the goal is missed."""
    wheel = make_wheel("demo", "1.0", padding_bytes=FILE_SIZE_BYTES)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as directory:
        servers = [Bonded(Path(directory) / "without"), Auditing(Path(directory) / "with")]
        samples: dict[str, list[tuple[float, float]]] = {server.name: [] for server in servers}
        try:
            for server in servers:
                server.begin([wheel])
                measure(server, wheel)
            for _ in range(rounds):
                for server in servers:
                    samples[server.name].append(measure(server, wheel))
        finally:
            for server in servers:
                server.stop()
    medians = {}
    for name, taken in samples.items():
        rate, cost = (statistics.median(one) for one in zip(*taken, strict=True))
        medians[name] = rate, cost
        print(f"{name:16} {rate:8,.0f} downloads a second, {cost:6.0f} µs of processor each")
    (rate, cost), (audited_rate, audited_cost) = medians.values()
    print(f"rate {audited_rate / rate:.2f}, by processor time {cost / audited_cost:.2f}")
    return 0 if cost / audited_cost >= GOAL else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5))
