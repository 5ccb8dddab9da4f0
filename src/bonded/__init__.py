"""Bonded: the private Python package registry that a team runs itself."""

__version__ = "0.1.0"
