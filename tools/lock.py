"""Renew the locks in requirements/ from pyproject.toml. Run with uv on PATH."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

COMPILE = [
    *("uv", "pip", "compile", "pyproject.toml", "--universal", "--python-version", "3.11"),
    *("--generate-hashes", "--no-emit-index-url", "--no-emit-find-links", "--no-annotate"),
    *("--no-header", "--extra", "server", "--group"),
]


def main() -> int:
    """Compile both locks; the server's is the smaller one."""
    for group, lock in (("build", "server.txt"), ("dev", "dev.txt")):
        command = [*COMPILE, group, "--output-file", f"requirements/{lock}", *sys.argv[1:]]
        subprocess.run(command, cwd=ROOT, check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
