"""Application Default Credentials: whatever google-auth would find, and who issued it.

google-auth's own `default()` is not called: it asks gcloud for a project and pings metadata servers
for nine seconds. The files are found where it finds them, and read by its own loaders.
"""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from bonded.client.credential_files import digest, endpoint_of, find_mark, parse_json
from bonded.client.environment import Environment
from bonded.client.errors import Misconfigured
from bonded.client.private_files import read_private
from bonded.client.servers import origin_of
from bonded.client.tokens import AccessToken, fetch_by_file, fetch_token

VARIABLE = "GOOGLE_APPLICATION_CREDENTIALS"
_FILENAME = "application_default_credentials.json"
_LOGIN = "`bonded auth application-default login`"
_HOST_VARIABLE = "GCE_METADATA_HOST"
_METADATA_HOST = "metadata.google.internal"
_MACHINE = "the identity of this machine"
# As patient as google-auth is with one request. It is answered by this machine.
METADATA_TIMEOUT_S = 3.0
METADATA_SIZE_BYTES_MAX = 1 << 16
_WHO_PATH = "/computeMetadata/v1/instance/service-accounts/default/?recursive=true"


@dataclass(frozen=True, slots=True)
class DefaultCredential:
    """A credential file of any type that google-auth knows."""

    path: Path
    kind: str
    endpoint: str
    """Where the access tokens come from."""
    text: str = field(repr=False)

    @classmethod
    def parse(cls, path: Path, text: str) -> DefaultCredential:
        """Parse the contents of a credential file.

        Raises:
            Misconfigured: it is none that google-auth knows, or names no server.
        """
        try:
            fields = parse_json(text)
        except ValueError as error:
            raise Misconfigured(
                f"{path} is not JSON, so no credential file.", hint=_hint(path)
            ) from error
        endpoint = endpoint_of(fields) if isinstance(fields, dict) else None
        if endpoint is None:
            raise Misconfigured(
                f"{path} is no credential file that google-auth knows.", hint=_hint(path)
            )
        try:
            origin_of(endpoint)
        except Misconfigured as error:
            raise Misconfigured(
                f"{path} has its tokens from nowhere: {error.message}", hint=_hint(path)
            ) from error
        return cls(path, fields["type"], endpoint, text)

    @property
    def account(self) -> str:
        """A name for the tokens of exactly these contents."""
        return f"default-{sha256(self.text.encode()).hexdigest()[:32]}"

    @property
    def server(self) -> str:
        """The server that issues the tokens, and that they belong to."""
        return origin_of(self.endpoint)

    def find_mark(self) -> str | None:
        """Return what tells who proves themselves by the file now (`credential_files`)."""
        return find_mark(json.loads(self.text))

    def get_token(self) -> AccessToken:
        """Fetch a new token.

        Raises:
            ClientError: the file is not usable, the server refuses it, or nobody answers.
        """
        return fetch_by_file(
            self.text,
            source=str(self.path),
            subject=f"the credential in {self.path}",
            endpoint=self.endpoint,
            hint=self._next_step,
        )

    @property
    def _next_step(self) -> str:
        """What to do if no token is to be had for it; `refusals` says when that is shown."""
        match self.kind:
            case "external_account":
                # The file itself is seldom the reason: it only says where the job's token is.
                return (
                    f"Look whether the job's token is where {self.path} says, and is one that the "
                    "provider takes."
                )
            case "external_account_authorized_user":
                is_usual = self.path.name == _FILENAME
                then = "" if is_usual else f", and name the file that it writes in {VARIABLE}"
                return f"Sign in again with {_LOGIN}{then}."
            case "service_account":
                return (
                    "Create another with `bonded iam service-accounts keys create` in place of "
                    f"{self.path}."
                )
            case _:
                return _hint(self.path)

    def forget(self) -> None:
        """Do nothing: nothing is kept."""


@dataclass(frozen=True, slots=True)
class AttachedIdentity:
    """The identity of the machine itself, as its metadata server knows it."""

    host: str

    @property
    def account(self) -> str:
        """A name for the tokens of this metadata server."""
        return f"attached-{self.host}"

    def find_mark(self) -> str | None:
        """Return what tells whose identity it is, and what is left of it: the server may change.

        None if it does not say, or nobody answers: then the fetch tells what is wrong.
        """
        from http import HTTPStatus  # noqa: PLC0415 - seldom needed
        from http.client import HTTPConnection, HTTPException  # noqa: PLC0415

        try:
            with closing(HTTPConnection(self.host, timeout=METADATA_TIMEOUT_S)) as connection:
                connection.request("GET", _WHO_PATH, headers={"Metadata-Flavor": "Google"})
                answer = connection.getresponse()
                said = answer.read(METADATA_SIZE_BYTES_MAX)
                is_told = answer.status == HTTPStatus.OK
        except (OSError, HTTPException, ValueError, OverflowError):
            # The last two are for a host that can have no such name or port.
            return None
        return digest(said.decode(errors="replace")) if is_told else None

    def get_token(self) -> AccessToken:
        """Fetch a token from the metadata server.

        Raises:
            ClientError: it refuses, or there is none.
        """
        from google.auth.compute_engine import Credentials  # noqa: PLC0415 - slow to import

        correct = "" if self.host == _METADATA_HOST else f", or correct {_HOST_VARIABLE}"
        hint = f"Unset [auth/attached_identity_hosts] if this machine has none{correct}."
        try:
            # google-auth would try for many seconds.
            origin_of(f"http://{self.host}")
        except Misconfigured as error:
            raise Misconfigured(f"Cannot use {_MACHINE}: {error.message}", hint=hint) from error
        return fetch_token(
            Credentials(),  # type: ignore[no-untyped-call]
            subject=_MACHINE,
            endpoint=f"http://{self.host}",
            asks_elsewhere=True,
            hint=hint,
        )

    def forget(self) -> None:
        """Do nothing: nothing is kept."""


def find_default(environment: Environment) -> DefaultCredential | None:
    """Return the credential file that the environment names, else the one that gcloud writes.

    Raises:
        Misconfigured: the file is not there although it is named, or is no credential file.
    """
    named = environment.find(VARIABLE)
    path = Path(named) if named else default_path(environment)
    text = read_private(path)
    if text is not None:
        return DefaultCredential.parse(path, text)
    if named:
        raise Misconfigured(f"There is no file {path}, which {VARIABLE} names.", hint=_hint(path))
    return None


def is_default_named(environment: Environment) -> bool:
    """Say whether the environment names a credential file: then that one is meant, or none."""
    return environment.find(VARIABLE) is not None


def find_attached(environment: Environment) -> AttachedIdentity:
    """Return the identity of this machine; whether it has one, only a fetch tells."""
    return AttachedIdentity(environment.find(_HOST_VARIABLE) or _METADATA_HOST)


def _hint(path: Path) -> str:
    """Return what to do about a file that is of no use."""
    if path.name == _FILENAME:
        return f"Write it again with {_LOGIN}, or remove it."
    return f"Replace {path}, or unset {VARIABLE} to use the account of `bonded auth list`."


def default_path(environment: Environment) -> Path:
    """Return where gcloud, and so google-auth, keeps the user's default credentials."""
    if directory := environment.find("CLOUDSDK_CONFIG"):
        return Path(directory) / _FILENAME
    if data := environment.find("APPDATA"):
        return Path(data) / "gcloud" / _FILENAME
    return Path(environment.find("HOME") or "~").expanduser() / ".config" / "gcloud" / _FILENAME
