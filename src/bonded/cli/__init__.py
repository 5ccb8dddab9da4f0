"""The `bonded` command, in gcloud's grammar."""

from __future__ import annotations

import os.path
import sys


def main() -> None:
    """Run the command line of this process."""
    from bonded.cli.program import run  # noqa: PLC0415 - importing a subpackage costs no click

    # A link called gcloud is how Google's own plugin and scripts find us.
    is_gcloud = os.path.basename(sys.argv[0]) == "gcloud"  # noqa: PTH119 - pathlib is not free
    sys.exit(run(sys.argv[1:], "gcloud" if is_gcloud else "bonded"))
