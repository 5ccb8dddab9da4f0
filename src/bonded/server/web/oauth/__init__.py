"""Where credentials are exchanged for tokens."""
