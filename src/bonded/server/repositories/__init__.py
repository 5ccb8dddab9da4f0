"""The heart: what a repository answers, whatever its mode."""
