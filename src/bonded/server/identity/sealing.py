"""Secrets that the database keeps and cannot read: sealed under a key that only servers have.

Replicas share what the database holds, so what they must share and nobody else
may read is kept there, encrypted (Fernet: AES-128-CBC and HMAC-SHA256). A stolen
database, or a backup of one, opens nothing without the key file; a stolen key
file opens nothing without the database.
"""

from __future__ import annotations

from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from bonded.server.core.errors import Unavailable
from bonded.server.identity.secret_files import write_secret


class Sealer:
    """Seals with the first of its keys, and opens what any of them has sealed."""

    def __init__(self, keys: MultiFernet, path: Path) -> None:
        self._keys = keys
        self._path = path

    def seal(self, secret: str) -> str:
        """Return *secret* as the database may keep it."""
        return self._keys.encrypt(secret.encode()).decode("ascii")

    def open(self, sealed: str) -> str:
        """Return the secret that was sealed.

        Raises:
            Unavailable: it was sealed under another key.
        """
        try:
            return self._keys.decrypt(sealed).decode()
        except InvalidToken as error:
            raise Unavailable(
                f"The database holds secrets that the key in {self._path} does not open",
                hint="Every replica needs the key file of the first one (sealing_key_file). "
                "docs/how-to/operate.md says what to do if it is lost.",
            ) from error


def load_sealer(path: Path) -> Sealer:
    """Read the sealing keys at *path*, one a line, making the first one if there is no file.

    To change the key, put a new one on a line before the old one.

    Raises:
        Unavailable: the file does not hold keys.
    """
    if not path.exists():
        # Of replicas that start together on one path the first wins; the others read its key.
        write_secret(path, f"{Fernet.generate_key().decode('ascii')}\n", replace=False)
    try:
        lines = path.read_text("ascii").split()
        return Sealer(MultiFernet([Fernet(line) for line in lines]), path)
    except ValueError as error:
        raise Unavailable(
            f"{path} does not hold sealing keys", hint="Each is 32 bytes in URL-safe base64."
        ) from error
