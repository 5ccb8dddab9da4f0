"""Where tokens come from, for each kind of credential that somebody signed in with."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace

from bonded.client.accounts import Credential, ServiceAccountKey, SignIn, Workload
from bonded.client.credential_files import find_mark
from bonded.client.errors import Misconfigured, NotSignedIn
from bonded.client.tokens import SCOPE, AccessToken, TokenSource, fetch_by_file, fetch_token


class KeyTokens:
    """Tokens for a service-account key, by the JWT-bearer grant (RFC 7523) of google-auth."""

    def __init__(self, key: ServiceAccountKey) -> None:
        self._key = key

    @property
    def account(self) -> str:
        """The service account's address."""
        return self._key.email

    def find_mark(self) -> str:
        """Return nothing: there is one who has this name."""
        return ""

    def get_token(self) -> AccessToken:
        """Fetch a new token from the key's `token_uri`.

        Raises:
            Misconfigured: the key file holds no usable private key.
            NotSignedIn: the server refuses the key.
            Unreachable: nobody answers at the `token_uri`.
        """
        # google-auth costs some 200 ms to import, so only a real fetch pays for it.
        from google.oauth2.service_account import Credentials  # noqa: PLC0415

        try:
            credentials = Credentials.from_service_account_info(  # type: ignore[no-untyped-call]
                self._key.info, scopes=[SCOPE]
            )
        except ValueError as error:
            raise Misconfigured(
                f"The key of [{self.account}] holds no usable private key: {error}",
                hint="Create another with `bonded iam service-accounts keys create`.",
            ) from error
        return fetch_token(
            credentials,
            subject=f"the key of [{self.account}]",
            endpoint=self._key.token_uri,
            hint="Create another with `bonded iam service-accounts keys create`, and sign in with "
            "it: `bonded auth activate-service-account --key-file=FILE`.",
        )

    def forget(self) -> None:
        """Do nothing: nothing is kept."""


class SignInTokens:
    """Tokens for a person's sign-in, by its refresh token (RFC 6749 §6).

    The server does not replace a refresh token when it is used, so any number of processes may.
    """

    def __init__(self, sign_in: SignIn) -> None:
        self._sign_in = sign_in

    @property
    def account(self) -> str:
        """The person's address."""
        return self._sign_in.email

    def find_mark(self) -> str:
        """Return nothing: there is one who has this name."""
        return ""

    def get_token(self) -> AccessToken:
        """Fetch a new token from the server that the person signed in to.

        Raises:
            NotSignedIn: the sign-in has ended, or its refresh token cannot be had.
            Unreachable: nobody answers.
        """
        from google.auth.external_account_authorized_user import Credentials  # noqa: PLC0415

        sign_in = complete(self._sign_in)
        return fetch_token(
            Credentials.from_info(sign_in.info),  # type: ignore[no-untyped-call]
            subject=f"the sign-in of [{self.account}]",
            endpoint=sign_in.info["token_url"],
            hint=f"Sign in again with `bonded auth login {shlex.quote(self.account)}`.",
        )

    def forget(self) -> None:
        """Do nothing: nothing is kept."""


class WorkloadTokens:
    """Tokens for an outside identity, which google-auth exchanges for ours (RFC 8693)."""

    def __init__(self, workload: Workload) -> None:
        self._workload = workload

    @property
    def account(self) -> str:
        """The name of the identity here."""
        return self._workload.email

    def find_mark(self) -> str | None:
        """Return what tells whose proof there is now (see `credential_files.find_mark`)."""
        return find_mark(json.loads(self._workload.text))

    def get_token(self) -> AccessToken:
        """Exchange the proof that the file names for a new token.

        Raises:
            ClientError: there is no proof, the server refuses it, or nobody answers.
        """
        # Until somebody has signed in with it, the server's name for it is not known.
        known = f" of [{self.account}]" if self.account else ""
        return fetch_by_file(
            self._workload.text,
            source=f"The configuration{known}",
            subject=f"the outside identity{known}",
            endpoint=self._workload.endpoint,
            hint="Look whether its proof is where the file said, then sign in again with "
            "`bonded auth login --cred-file=FILE`.",
        )

    def forget(self) -> None:
        """Do nothing: nothing is kept."""


def complete(sign_in: SignIn) -> SignIn:
    """Return *sign_in* with its refresh token, from the system's keyring if it is there.

    Raises:
        NotSignedIn: the keyring does not give it.
    """
    if sign_in.refresh_token:
        return sign_in
    from bonded.client.system_keyring import find_secret  # noqa: PLC0415 - seldom needed

    secret = find_secret(sign_in.account)
    if secret is None:
        raise NotSignedIn(
            f"The sign-in of [{sign_in.email}] is in the system's keyring, which does not give it.",
            hint="Unlock the keyring, or sign in again from here with "
            f"`bonded auth login {shlex.quote(sign_in.email)} --force`.",
        )
    return replace(sign_in, refresh_token=secret)


def tokens_of(credential: Credential) -> TokenSource:
    """Return what fetches tokens for *credential*."""
    match credential:
        case ServiceAccountKey():
            return KeyTokens(credential)
        case SignIn():
            return SignInTokens(credential)
        case Workload():
            return WorkloadTokens(credential)
