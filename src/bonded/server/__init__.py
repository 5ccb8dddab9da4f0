"""The registry: layers from HTTP (web) inwards to frozen values (core)."""
