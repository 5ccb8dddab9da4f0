"""Real clients against a real server: publishing and installing as people do."""
