"""Simple pages: rendered once per change, kept as bytes."""
