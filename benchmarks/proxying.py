"""Measure Bonded as a cache of another index: beside the index itself, nginx and other caches.

Run it with the developers' environment: `.venv/bin/python benchmarks/proxying.py`. README.md
explains every row.
"""

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import corpus
from corpus import TREE_PACKAGES, Wheel
from figures import Goal, Result, Sample, as_json, between, judge, of_nginx, table
from load import LOAD_CORE, SERVER_CORE, LoadError, in_turns, install, lock, wrk
from peers import Nginx
from proxies import PROXIES, Distant, Proxy, newest
from servers import Server

ROOT = "tree-000"
DELAY_MS = 50.0
"""A round trip across a continent; README.md says why not less."""
RATE_SECONDS = 2
PHASES = ("cold", "warm", "upstream gone")

# Told, without a limit: README.md says why no cache can be five times faster for uv.
_TIMES_FASTER = Goal("times faster than going upstream", between("upstream", "bonded"), None)
_NGINX_FASTER = Goal(
    "beside nginx, so many times faster than going upstream", between("upstream", "nginx"), None
)
_AS_NGINX = Goal("times as long as nginx", of_nginx, 2, at_most=True)
_OVER_FLOOR = Goal(
    "times less beyond nginx's time than going upstream",
    lambda result: (
        (result.median("upstream") - result.median("nginx"))
        / max(result.median("bonded") - result.median("nginx"), 1e-3)
    ),
    None,
)
_TIMES_RATE = Goal("times the rate of going upstream", between("bonded", "upstream"), 5)
# What run.py asks of pages and files of a repository's own.
_PAGE_OF_NGINX = Goal("of nginx", of_nginx, 0.2)
_FILE_OF_NGINX = Goal("of nginx", of_nginx, 0.15)

GOALS: Mapping[str, tuple[Goal, ...]] = {
    "uv pip compile, warm": (_TIMES_FASTER, _NGINX_FASTER, _AS_NGINX, _OVER_FLOOR),
    "uv pip install, warm": (_TIMES_FASTER, _NGINX_FASTER, _AS_NGINX, _OVER_FLOOR),
    "uv pip compile, upstream gone": (_AS_NGINX,),
    "uv pip install, upstream gone": (_AS_NGINX,),
    "pages, warm": (_TIMES_RATE, _PAGE_OF_NGINX),
    "files, warm": (_TIMES_RATE, _FILE_OF_NGINX),
}


@dataclass
class Bench:
    """What all caches stand before, what must come of it, and every figure so far."""

    directory: Path
    upstream: Distant
    nginx: Nginx
    wanted: list[Wheel]
    results: dict[str, Result] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    @property
    def pins(self) -> frozenset[str]:
        """Return what every command must arrive at."""
        return frozenset(f"{wheel.name}=={wheel.version}" for wheel in self.wanted)

    def measure(self, target: Server, phase: str) -> None:
        """Lock and install the tree, each with an empty cache of uv's own, and note the times."""
        before = self.upstream.asked() if phase != "upstream gone" else 0
        for tool, run in (("compile", lock), ("install", install)):
            seconds = run(target.install_url, ROOT, target.directory, pins=self.pins)
            self._note(f"uv pip {tool}, {phase}", "seconds", target, Sample(seconds))
        if phase != "upstream gone":
            reached = self.upstream.asked() - before
            result = self.results[f"uv pip install, {phase}"]
            result.notes[target.name] = f"{reached} requests upstream for both commands"

    def measure_rates(self, target: Server) -> None:
        """Ask for every page in turn, then for every wheel, over 16 connections."""
        pages = [target.page_url(wheel.name) for wheel in self.wanted]
        files = [target.file_url(wheel) for wheel in self.wanted]
        for kind, urls, headers in (
            ("pages", pages, target.page_headers),
            ("files", files, target.credentials),
        ):
            script = in_turns(urls, target.directory / f"{kind}.lua")
            before, began = target.cpu_s(), time.perf_counter()
            rate = wrk(target.origin + "/", headers, RATE_SECONDS, paths=script)
            requests = rate * (time.perf_counter() - began)
            cpu_us = (target.cpu_s() - before) / requests * 1e6
            self._note(f"{kind}, warm", "requests/s", target, Sample(rate, cpu_us))

    def _note(self, key: str, unit: str, target: Server, sample: Sample) -> None:
        result = self.results.setdefault(key, Result(unit, "less" if unit == "seconds" else "more"))
        result.samples.setdefault(target.name, []).append(sample)


def main() -> int:
    """Run all rounds; the exit status is 1 when a goal is missed or a result differs."""
    options = _options()
    # A polite end of the benchmark has to end the servers too, so it must run the finally blocks.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    os.sched_setaffinity(0, {LOAD_CORE})
    print(
        f"Python {platform.python_version()}, servers on core {SERVER_CORE}, clients on core "
        f"{LOAD_CORE}, load average before the start {os.getloadavg()[0]:.1f}\n"
        f"{TREE_PACKAGES} packages; the upstream takes {options.delay_ms:g} ms more for each "
        f"answer; {options.rounds} rounds; wrk with 16 connections for {RATE_SECONDS} s",
        flush=True,
    )
    try:
        with tempfile.TemporaryDirectory(prefix="proxying-", dir=options.directory) as directory:
            bench = _run(options, Path(directory))
    except LoadError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 2
    if options.json:
        report = {key: as_json(result, GOALS.get(key, ())) for key, result in bench.results.items()}
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0 if _report(bench) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--targets", nargs="+", choices=tuple(PROXIES), default=list(PROXIES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--delay-ms", type=float, default=DELAY_MS, help="the upstream's round trip"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every sample there")
    parser.add_argument("--directory", type=Path, help="where the data goes; not a RAM disk")
    return parser.parse_args()


def _run(options: argparse.Namespace, directory: Path) -> Bench:
    packages = corpus.tree()
    wheels = tuple(chain.from_iterable(packages.values()))
    upstream = Distant(directory / "upstream", options.delay_ms)
    nginx = Nginx(directory / "nginx")
    bench = Bench(directory, upstream, nginx, newest(packages))
    with _running(upstream, wheels), _running(nginx, wheels):
        for number in range(options.rounds):
            _measure_direct(bench)
            for name in options.targets:
                if name not in bench.failures:
                    _measure_proxy(bench, name, number)
            print(f"round {number + 1} is done, load average {os.getloadavg()[0]:.1f}", flush=True)
    return bench


@contextmanager
def _running(target: Server, wheels: tuple[Wheel, ...] = ()) -> Iterator[None]:
    target.install()
    try:
        target.begin(wheels)
        yield
    finally:
        target.stop()


def _measure_direct(bench: Bench) -> None:
    """Go upstream, and to nginx, which knows no phases: every one is its limit."""
    bench.measure(bench.upstream, "cold")
    bench.measure(bench.upstream, "warm")
    bench.measure_rates(bench.upstream)
    for phase in PHASES:
        bench.measure(bench.nginx, phase)
    bench.measure_rates(bench.nginx)


def _measure_proxy(bench: Bench, name: str, number: int) -> None:
    """Take a cache from its first start to the end of its upstream.

    One that fails is told and left out from then on.
    """
    kind: Callable[[Path, str], Proxy] = PROXIES[name]
    index_url = bench.upstream.origin + bench.upstream.index_path
    target = kind(bench.directory / f"{name}-{number}", index_url)
    try:
        with _running(target):
            bench.measure(target, "cold")
            bench.measure(target, "warm")
            bench.measure_rates(target)
            bench.upstream.stop()
            try:
                bench.measure(target, "upstream gone")
            finally:
                bench.upstream.start()
    except LoadError as error:
        bench.failures[name] = str(error)
        print(f"{name} fails: {error}", flush=True)


def _report(bench: Bench) -> bool:
    """Print every table; say whether all goals of Bonded's are met."""
    missed = ["it does not work"] if "bonded" in bench.failures else []
    for key, result in sorted(bench.results.items()):
        print(f"\n{key}\n{table(result)}")
        for goal, value in judge(result, GOALS.get(key, ())):
            sentence = goal.sentence(value)
            print(f"  bonded, {sentence}")
            if not goal.is_met(value):
                missed.append(f"{key}: {sentence}")
    print(f"\ngoals missed: {len(missed)}, load average at the end {os.getloadavg()[0]:.1f}")
    for sentence in missed:
        print(f"  {sentence}")
    return not missed


if __name__ == "__main__":
    sys.exit(main())
