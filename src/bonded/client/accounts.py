"""The accounts signed in on this machine, each with the key or the sign-in that proves it."""

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
# A program on somebody's machine can keep no secret (RFC 8252 §8.5), but google-auth wants one.
CLIENT_ID = "bonded-cli"
CLIENT_SECRET = "not-a-secret"  # noqa: S105 - it says so
SIGN_IN_TYPE = "external_account_authorized_user"


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


@dataclass(frozen=True, slots=True)
class SignIn:
    """A person's sign-in; without its refresh token if the system's keyring keeps that."""

    email: str
    server: str
    refresh_token: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, text: str, source: str) -> SignIn:
        """Parse what `text` returned; *source* names it in errors.

        Raises:
            Misconfigured: it is something else.
        """
        wrong = Misconfigured(
            f"{source} is no sign-in of a person.", hint="Sign in again with `bonded auth login`."
        )
        try:
            fields = json.loads(text)
            token = fields.get("refresh_token")
            if fields["type"] == SIGN_IN_TYPE and isinstance(token, str | None):
                return cls(str(fields["account"]), origin_of(fields["token_url"]), token)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise wrong from error
        raise wrong

    @property
    def project(self) -> None:
        """No project: a person is one of the server, whose projects are not theirs."""

    @property
    def account(self) -> Account:
        """Whose sign-in it is."""
        return Account(self.email, self.server)

    @property
    def info(self) -> Mapping[str, str]:
        """The fields of a file that google-auth uses: its tokens come from our server alone.

        Its other type for people, `authorized_user`, would send the refresh token to Google
        whatever the file says (gar.md §5.4). The audience names no pool of Google's, so that no
        library looks there for rules about it.
        """
        fields = {
            "type": SIGN_IN_TYPE,
            "account": self.email,
            "audience": f"//{self.server.partition('//')[2]}/users",
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "token_url": f"{self.server}/v1/oauthtoken",
            "token_info_url": f"{self.server}/v1/introspect",
            "revoke_url": f"{self.server}/revoke",
        }
        return fields | ({"refresh_token": self.refresh_token} if self.refresh_token else {})

    @property
    def text(self) -> str:
        """The same as JSON."""
        return json.dumps(self.info, indent=2) + "\n"


Credential = ServiceAccountKey | SignIn


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

    def find(self, account: Account) -> Credential | None:
        """Return the credential stored for *account*."""
        path = self._path(account)
        text = read_private(path)
        if text is None:
            return None
        if SIGN_IN_TYPE in text:
            return SignIn.parse(text, str(path))
        return ServiceAccountKey.parse(text, str(path))

    def list_accounts(self, email: str | None = None) -> tuple[Account, ...]:
        """Return all accounts, or those of the address *email*, sorted."""
        found = (
            Account(unquote(path.name.removesuffix(_SUFFIX)), unquote(path.parent.name))
            for path in self._directory.glob(f"*/*{_SUFFIX}")
        )
        return tuple(sorted(each for each in found if email in {None, each.email}))

    def add(self, credential: Credential) -> None:
        """Store *credential*, in place of an older one of the same account."""
        write_private(self._path(credential.account), credential.text)

    def remove(self, account: Account) -> bool:
        """Forget the account and say whether it was known."""
        return remove_private(self._path(account))

    def _path(self, account: Account) -> Path:
        # Quoted, because both come from a file that anybody may have written.
        return self._directory / quoted(account.server) / f"{quoted(account.email)}{_SUFFIX}"


def quoted(text: str) -> str:
    """Return *text* as one component of a path that `glob` takes literally."""
    return quote(text, safe="@")
