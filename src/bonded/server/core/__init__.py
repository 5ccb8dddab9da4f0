"""Frozen values and pure rules: names, digests, files, access, errors. No I/O."""
