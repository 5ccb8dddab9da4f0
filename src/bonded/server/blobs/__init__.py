"""Bytes, addressed by their SHA-256 alone."""
