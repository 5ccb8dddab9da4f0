"""The `bonded` command, in gcloud's grammar."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line of this process."""
    from bonded.cli.program import run  # noqa: PLC0415 - importing a subpackage costs no click

    sys.exit(run(sys.argv[1:]))
