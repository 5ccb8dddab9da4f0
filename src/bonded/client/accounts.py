"""The accounts signed in on this machine, each with the key file that proves it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote

from bonded.client.errors import Misconfigured
from bonded.client.private_files import read_private, remove_private, write_private
from bonded.client.servers import origin_of

_REQUIRED = ("client_email", "private_key", "token_uri")
_SUFFIX = ".json"


@dataclass(frozen=True, slots=True)
class ServiceAccountKey:
    """A service-account key in Google's format; its contents never show in a representation."""

    email: str
    project: str | None
    token_uri: str
    text: str = field(repr=False)

    @classmethod
    def parse(cls, text: str, source: str) -> ServiceAccountKey:
        """Parse the contents of a key file; *source* names it in errors.

        Raises:
            Misconfigured: it is not a service-account key.
        """
        hint = (
            "Create a key with `bonded iam service-accounts keys create FILE --iam-account=EMAIL`."
        )
        try:
            fields = json.loads(text)
        except ValueError as error:
            raise Misconfigured(f"{source} is not JSON, so not a key file.", hint=hint) from error
        if not isinstance(fields, dict) or fields.get("type") != "service_account":
            raise Misconfigured(f"{source} is not a service-account key.", hint=hint)
        for name in _REQUIRED:
            if not isinstance(fields.get(name), str) or not fields[name]:
                raise Misconfigured(f"{source} lacks the field [{name}].", hint=hint)
        project = fields.get("project_id")
        return cls(
            email=fields["client_email"],
            project=project if isinstance(project, str) and project else None,
            token_uri=fields["token_uri"],
            text=text,
        )

    @property
    def server(self) -> str:
        """The server that issued the key: the origin of its `token_uri`."""
        return origin_of(self.token_uri)

    @property
    def account(self) -> Account:
        """Whose key it is."""
        return Account(self.email, self.server)

    @property
    def info(self) -> Mapping[str, str]:
        """The fields of the key file, as google-auth reads them."""
        fields: dict[str, str] = json.loads(self.text)
        return fields


def read_key_file(path: Path) -> ServiceAccountKey:
    """Read the key file at *path*.

    Raises:
        Misconfigured: there is none, or it is not a service-account key.
    """
    text = read_private(path)
    if text is None:
        raise Misconfigured(f"There is no key file at {path}.")
    return ServiceAccountKey.parse(text, str(path))


@dataclass(frozen=True, slots=True, order=True)
class Account:
    """An account of one server; two servers may each have one of the same address."""

    email: str
    server: str


class AccountStore:
    """One private file for each account of each server: `accounts/SERVER/EMAIL.json`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory / "accounts"

    def find(self, account: Account) -> ServiceAccountKey | None:
        """Return the key stored for *account*."""
        path = self._path(account)
        text = read_private(path)
        return None if text is None else ServiceAccountKey.parse(text, str(path))

    def list_accounts(self, email: str | None = None) -> tuple[Account, ...]:
        """Return all accounts, or those of the address *email*, sorted."""
        found = (
            Account(unquote(path.name.removesuffix(_SUFFIX)), unquote(path.parent.name))
            for path in self._directory.glob(f"*/*{_SUFFIX}")
        )
        return tuple(sorted(each for each in found if email in {None, each.email}))

    def add(self, key: ServiceAccountKey) -> None:
        """Store *key*, in place of an older one of the same account."""
        write_private(self._path(key.account), key.text)

    def remove(self, account: Account) -> bool:
        """Forget the account and say whether it was known."""
        return remove_private(self._path(account))

    def _path(self, account: Account) -> Path:
        # Quoted, because both come from a file that anybody may have written.
        return self._directory / quoted(account.server) / f"{quoted(account.email)}{_SUFFIX}"


def quoted(text: str) -> str:
    """Return *text* as one component of a path that `glob` takes literally."""
    return quote(text, safe="@")
