"""Measure Bonded beside nginx and the other registries, and print ratios.

Run it with the developers' environment: `.venv/bin/python benchmarks/run.py`. README.md explains
every row.
"""

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import corpus
from corpus import Corpus, Share
from figures import as_json, judge, table
from load import LOAD_CORE, SERVER_CORE, LoadError, fsync_cost_us
from peers import Devpi, Granian, Nginx, Peryx, Pypiserver, find_program
from scenarios import SCENARIOS, Bench
from servers import Bonded, Server

TARGETS: dict[str, type[Server]] = {
    target.name: target for target in (Bonded, Nginx, Granian, Pypiserver, Devpi, Peryx)
}


def main() -> int:
    """Run the chosen scenarios; the exit status is 1 when a goal is missed, 2 when none ran."""
    options = _options()
    # A polite end of the benchmark has to end the servers too, so it must run the finally blocks.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        find_program("wrk")
        with tempfile.TemporaryDirectory(prefix="benchmark-", dir=options.directory) as directory:
            return _run(options, Path(directory))
    except LoadError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 2


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--only", metavar="A,B", type=_chosen(SCENARIOS), default=list(SCENARIOS))
    parser.add_argument("--targets", metavar="A,B", type=_chosen(TARGETS), default=list(TARGETS))
    parser.add_argument("--quick", action="store_true", help="one short round, 8,000 files")
    parser.add_argument("--rounds", type=int, help="how often each figure is taken (default 3)")
    parser.add_argument("--seconds", type=int, help="how long each takes (default 3)")
    parser.add_argument("--files", type=int, help="files in all (default 20,000)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every sample there")
    parser.add_argument("--directory", type=Path, help="where the data goes; not a RAM disk")
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 3)
    options.seconds = options.seconds or (2 if options.quick else 3)
    options.files = options.files or (8_000 if options.quick else 20_000)
    return options


def _chosen(known: Iterable[str]) -> Any:
    """Return a parser of comma-separated words of *known*, which keeps their order."""

    def parse(text: str) -> list[str]:
        words = text.split(",")
        unknown = sorted(set(words) - set(known))
        if unknown:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(known)}")
        return [word for word in known if word in words]

    return parse


def _run(options: argparse.Namespace, directory: Path) -> int:
    began = time.perf_counter()
    os.sched_setaffinity(0, {LOAD_CORE})
    print(
        f"Python {platform.python_version()}, servers on core {SERVER_CORE}, load on core "
        f"{LOAD_CORE}, 4 kB written durably in {fsync_cost_us(directory):,.0f} µs, "
        f"load average before the start {os.getloadavg()[0]:.1f}"
    )
    targets = [TARGETS[name](directory / name) for name in options.targets]
    for target in targets:
        target.install()
    wheels = corpus.build(options.files)
    try:
        for target in targets:
            _begin(target, wheels, targets, quick=options.quick)
        bench = Bench(wheels, tuple(targets), directory, options.rounds, options.seconds)
        report, missed = _measure(bench, options.only)
    finally:
        for target in targets:
            target.stop()
    print(f"\n{time.perf_counter() - began:,.0f} s in all; goals missed: {len(missed)}")
    for sentence in missed:
        print(f"  {sentence}")
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    return 1 if missed else 0


def _begin(target: Server, wheels: Corpus, targets: list[Server], *, quick: bool) -> None:
    """Start one target and load its share, less of it in a hurry."""
    if quick and target.share is Share.NAMED:
        target.share = Share.ESSENTIALS
    if isinstance(target, Nginx):
        target.source = next((other for other in targets if isinstance(other, Bonded)), None)
    share = tuple(wheels.share(target.share))
    print(f"loading {len(share):,} files into {target.name}", end=" ", flush=True)
    began = time.perf_counter()
    target.begin(share)
    print(f"({time.perf_counter() - began:,.0f} s)", flush=True)


def _measure(bench: Bench, keys: list[str]) -> tuple[dict[str, Any], list[str]]:
    report: dict[str, Any] = {"started": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "scenarios": {}}
    missed = []
    for key in keys:
        scenario = SCENARIOS[key]
        result = scenario.measure(bench)
        print(f"\n{scenario.title}  [{key}]\n{table(result)}", flush=True)
        for goal, value in judge(result, scenario.goals):
            sentence = goal.sentence(value)
            print(f"  bonded, {sentence}", flush=True)
            if not goal.is_met(value):
                missed.append(f"{scenario.title}: {sentence}")
        report["scenarios"][key] = as_json(result, scenario.goals)
    return report, missed


if __name__ == "__main__":
    sys.exit(main())
