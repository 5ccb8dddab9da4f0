"""`python -m bonded` is the `bonded` command."""

from bonded.cli import main

main()
