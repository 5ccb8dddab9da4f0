"""A keyring that keeps secrets, as a system's does, for as long as a test runs."""

from __future__ import annotations

from keyring.backend import KeyringBackend
from keyring.errors import PasswordDeleteError

SECRETS: dict[tuple[str, str], str] = {}


class MemoryKeyring(KeyringBackend):
    """Keeps secrets in this process."""

    # Never chosen unless it is named.
    priority = 0.1

    def get_password(self, service: str, username: str) -> str | None:
        """Return what is kept."""
        return SECRETS.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        """Keep a secret."""
        SECRETS[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        """Forget a secret."""
        if SECRETS.pop((service, username), None) is None:
            raise PasswordDeleteError("nothing is kept")
