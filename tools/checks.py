"""Run every check, fastest failure first; arguments go to pytest."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON = sys.executable
STEPS: tuple[tuple[str, list[str]], ...] = (
    ("format", [PYTHON, "-m", "ruff", "format", "--check", "--quiet", "."]),
    ("lint", [PYTHON, "-m", "ruff", "check", "--quiet", "."]),
    ("layers", [str(Path(PYTHON).parent / "lint-imports"), "--no-cache"]),
    ("types", [PYTHON, "-m", "mypy"]),
)


def main(arguments: list[str]) -> int:
    """Run the steps in order and stop at the first that fails.

    With arguments for pytest, somebody is looking at one test: only pytest runs.
    """
    # Two at a time; the tests of one module stay together, because they share its fixtures.
    # In the order of their directories, real clients first: the few slow ones of a module must
    # not be what everything waits for at the end.
    balanced = ["-n", "2", "--dist", "loadfile", "--no-loadscope-reorder"]
    parallel = [] if arguments else balanced
    tests = ("tests", [PYTHON, "-m", "pytest", *parallel, *arguments])
    for name, command in (tests,) if arguments else (*STEPS, tests):
        started = time.monotonic()
        print(f"── {name}", flush=True)
        status = subprocess.run(command, cwd=ROOT, check=False).returncode
        if status:
            print(f"── {name} failed", flush=True)
            return status
        print(f"── {name} ok, {time.monotonic() - started:.1f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
