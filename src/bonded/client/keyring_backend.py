"""The keyring backend: pip, twine, uv, Poetry and PDM ask it for a password, and get a token.

It is imported wherever keyring is, so it imports little, and nothing it does may break its host.
"""

from __future__ import annotations

import sys

from keyring.backend import KeyringBackend
from keyring.credentials import SimpleCredential
from keyring.errors import PasswordDeleteError, PasswordSetError

from bonded.client.environment import read_environment
from bonded.client.errors import ClientError
from bonded.client.wallet import Wallet

USER = "oauth2accesstoken"


class NotStored(NotImplementedError, PasswordSetError):
    """Nothing is stored here: keyring's chain goes on to a backend that stores."""


class NotDeleted(NotImplementedError, PasswordDeleteError):
    """Nothing is stored here, so there is nothing to delete."""


class BondedKeyring(KeyringBackend):
    """Access tokens for the servers that this user has signed in to; nothing for others."""

    # That of Google's own plugin: before the system's keyring, after whoever is chosen on purpose.
    priority = 9

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._wallet: Wallet | None = None
        self._said: set[str] = set()

    def get_password(self, service: str, username: str | None) -> str | None:
        """Return an access token for *service*, or None; the server does not mind the name."""
        del username
        try:
            if self._wallet is None:
                self._wallet = Wallet(read_environment())
            token = self._wallet.find_token(service)
        except ClientError as error:
            self._say(error)
        except Exception as error:  # noqa: BLE001 - a keyring that raises would end pip
            self._say(f"{type(error).__name__}: {error}. This is a fault of Bonded.")
        else:
            return token.secret if token else None
        return None

    def get_credential(self, service: str, username: str | None) -> SimpleCredential | None:
        """Return a user name and an access token for *service*, or None."""
        token = self.get_password(service, username)
        return SimpleCredential(USER, token) if token else None

    def set_password(self, service: str, username: str, password: str) -> None:
        """Refuse: passwords are for another backend.

        Raises:
            NotStored: always.
        """
        del service, username, password
        raise NotStored("Bonded's keyring stores no passwords: it fetches access tokens.")

    def delete_password(self, service: str, username: str) -> None:
        """Refuse: nothing is stored.

        Raises:
            NotDeleted: always.
        """
        del service, username
        raise NotDeleted("Bonded's keyring stores no passwords: run `bonded auth revoke`.")

    def _say(self, trouble: object) -> None:
        """Say on one line, once, why a password that is ours to give cannot be had."""
        line = " ".join(f"bonded: {trouble}".split())
        if line not in self._said:
            self._said.add(line)
            print(line, file=sys.stderr)  # noqa: T201 - pip shows it to the user
