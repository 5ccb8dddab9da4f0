"""The accounts signed in on this machine, each with the key or the sign-in that proves it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote, unquote

from bonded.client.credential_files import endpoint_of, parse_json
from bonded.client.errors import Misconfigured
from bonded.client.private_files import read_private, remove_private, write_private
from bonded.client.servers import origin_of

_REQUIRED = ("client_email", "private_key", "token_uri")
_WORKLOAD_REQUIRED = ("token_url", "audience", "subject_token_type", "credential_source")
_SUFFIX = ".json"
# A program on somebody's machine can keep no secret (RFC 8252 §8.5), but google-auth wants one.
CLIENT_ID = "bonded-cli"
CLIENT_SECRET = "not-a-secret"  # noqa: S105 - it says so
SIGN_IN_TYPE = "external_account_authorized_user"
WORKLOAD_TYPE = "external_account"
# What file systems allow is 255 bytes; a draft and a lock need some of them.
_NAME_CHARACTERS_MAX = 200


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
            fields = parse_json(text)
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
    def key_id(self) -> str:
        """Which of the account's keys it is, as the server calls it; "" if the file is silent."""
        return self.info.get("private_key_id", "")

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
            fields = parse_json(text)
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


@dataclass(frozen=True, slots=True)
class Workload:
    """An outside identity, and in *text* where its proof is found and exchanged for tokens.

    Only the server knows what it is called here, so the name comes from there.
    """

    email: str
    endpoint: str
    text: str = field(repr=False)

    @classmethod
    def parse(cls, text: str, source: str) -> Workload:
        """Parse the contents of a file of the type `external_account`; *source* names it in errors.

        Raises:
            Misconfigured: it is none.
        """
        hint = (
            "Write one with `bonded iam workload-identity-pools create-cred-config PROVIDER "
            "--output-file=FILE`."
        )
        try:
            fields = parse_json(text)
        except ValueError as error:
            raise Misconfigured(f"{source} is not JSON.", hint=hint) from error
        if not isinstance(fields, dict) or fields.get("type") != WORKLOAD_TYPE:
            raise Misconfigured(f"{source} describes no outside identity.", hint=hint)
        for name in _WORKLOAD_REQUIRED:
            if not fields.get(name):
                raise Misconfigured(f"{source} lacks the field [{name}].", hint=hint)
        endpoint = endpoint_of(fields) or ""
        origin_of(endpoint)
        return cls(str(fields.get("account") or _impersonated(endpoint)), endpoint, text)

    @property
    def provider(self) -> str:
        """The provider by which it comes: `projects/…/workloadIdentityPools/…/providers/…`."""
        audience = str(json.loads(self.text)["audience"]).removeprefix("https:")
        # With or without the word: for an audience that holds it google-auth asks Google.
        name = audience.removeprefix("//iam.googleapis.com/").removeprefix("projects/")
        return f"projects/{name}"

    def named(self, name: str) -> Workload:
        """Return it as the server calls it; the name is kept with the rest."""
        text = json.dumps({**json.loads(self.text), "account": name}, indent=2) + "\n"
        return Workload(name, self.endpoint, text)

    @property
    def project(self) -> None:
        """No project: where the pool is says nothing about where the work is."""

    @property
    def server(self) -> str:
        """The server that issues its tokens."""
        return origin_of(self.endpoint)

    @property
    def account(self) -> Account:
        """Whose tokens they are."""
        return Account(self.email, self.server)


Credential = ServiceAccountKey | SignIn | Workload


def parse_credential(text: str, source: str) -> Credential:
    """Parse what one can sign in with; *source* names it in errors.

    Raises:
        Misconfigured: it is nothing of the kind.
    """
    try:
        fields = parse_json(text)
    except ValueError as error:
        raise Misconfigured(
            f"{source} is not JSON, so no credential file.",
            hint="Name a service account's key, or what `bonded iam workload-identity-pools "
            "create-cred-config` wrote.",
        ) from error
    kind = fields.get("type") if isinstance(fields, dict) else None
    if kind == SIGN_IN_TYPE:
        return SignIn.parse(text, source)
    if kind == WORKLOAD_TYPE:
        return Workload.parse(text, source)
    return ServiceAccountKey.parse(text, source)


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
        """Return the credential stored for *account*.

        Raises:
            Misconfigured: the file cannot be used; to sign in again replaces it.
        """
        path = self._path(account)
        try:
            text = read_private(path)
            return None if text is None else parse_credential(text, str(path))
        except Misconfigured as error:
            # Whoever reads this wrote no file, and knows the account by its name.
            raise Misconfigured(
                f"What is stored of [{account.email}] cannot be used: {error.message}",
                hint=f"Sign in again with {_way_back(account)}.",
            ) from error

    def list_accounts(self, email: str | None = None) -> tuple[Account, ...]:
        """Return all accounts, or those of the address *email*, sorted."""
        found = (
            Account(_email_of(path), unquote(path.parent.name))
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
    """Return *text* as one component of a path that `glob` takes literally.

    A name that is too long for one, as an outside identity's may be, ends with its digest.
    """
    name = quote(text, safe="@")
    if len(name) <= _NAME_CHARACTERS_MAX:
        return name
    return f"{name[: _NAME_CHARACTERS_MAX // 2]}~{sha256(text.encode()).hexdigest()}"


def _way_back(account: Account) -> str:
    """Return how *account* signs in again, as far as its name tells what kind it is."""
    if account.email.startswith(("principal:", "principalSet:")):
        return "`bonded auth login --cred-file=FILE`"
    if account.email.endswith(".gserviceaccount.com"):
        return "`bonded auth activate-service-account --key-file=FILE`"
    return f"`bonded auth login {shlex.quote(account.email)} --server={account.server}`"


def _email_of(path: Path) -> str:
    """Return whose credential is at *path*, as far as that can be told."""
    stem = path.name.removesuffix(_SUFFIX)
    if "~" in stem:
        with suppress(Misconfigured, ValueError, TypeError, KeyError):
            return str(json.loads(read_private(path) or "")["account"])
    return unquote(stem)


def _impersonated(url: str) -> str:
    """Return the service account in the URL that its tokens come from; nothing for another URL."""
    _, found, rest = url.partition("/serviceAccounts/")
    email, verb, _ = rest.partition(":")
    return unquote(email) if found and verb else ""
