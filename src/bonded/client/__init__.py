"""The client's half: where credentials live, how tokens are had, how the API is spoken."""
