"""ID tokens by which the holder of a key says who they are, to whoever asks for one."""

from __future__ import annotations

from bonded.client.accounts import ServiceAccountKey
from bonded.client.errors import Misconfigured
from bonded.client.tokens import fetch_token


def identity_token_of(key: ServiceAccountKey, audience: str) -> str:
    """Return a token that says to *audience* whose key it is (gar.md §5.3).

    Raises:
        ClientError: the key is not usable, the server refuses it, or nobody answers.
    """
    # google-auth costs some 200 ms to import, so only who asks pays for it.
    from google.oauth2.service_account import IDTokenCredentials  # noqa: PLC0415

    # With a universe of its own, google-auth would ask `iamcredentials.` of it instead.
    info = {name: value for name, value in key.info.items() if name != "universe_domain"}
    try:
        credentials = IDTokenCredentials.from_service_account_info(  # type: ignore[no-untyped-call]
            info, target_audience=audience
        )
    except ValueError as error:
        raise Misconfigured(
            f"The key of [{key.email}] holds no usable private key: {error}",
            hint="Create another with `bonded iam service-accounts keys create`.",
        ) from error
    return fetch_token(
        credentials,
        subject=f"the key of [{key.email}]",
        endpoint=key.token_uri,
        hint="Create another with `bonded iam service-accounts keys create`.",
    ).secret
