"""`bonded serve` by a clock that is wrong: a wrapper, whose first argument says by how much."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from datetime import timedelta

from bonded.server.core.clock import system_clock
from bonded.server.serving import serve


def main() -> None:
    """Serve with the options of the command that is wrapped."""
    skew = timedelta(seconds=float(sys.argv[1]))
    parser = ArgumentParser()
    for option in ("--data-dir", "--listen"):
        parser.add_argument(option)
    options, _ = parser.parse_known_args(sys.argv[2:])
    serve(vars(options), clock=lambda: system_clock() + skew)


if __name__ == "__main__":
    main()
