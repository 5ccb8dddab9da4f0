"""The client of other indexes: what they say is parsed at once, and believed only within bounds."""
