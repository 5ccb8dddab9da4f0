"""IAM v1: service accounts and their keys (gar.md §6.7)."""

from __future__ import annotations

import base64

from bonded.server.core.errors import Rejected
from bonded.server.identity.keys import count_bits, read_public_key
from bonded.server.metadata.store import AccountKey, ServiceAccount
from bonded.server.operations.accounts import UNIVERSE_DOMAIN, Accounts
from bonded.server.web.messages import Answer, Call, json_reply
from bonded.server.web.v1 import masks, wire

KEY_FILE = "TYPE_GOOGLE_CREDENTIALS_FILE"
RAW_PUBLIC_KEY = "TYPE_RAW_PUBLIC_KEY"
KEY_LENGTH_MAX = 16 * 1024
"""Of an uploaded key, in base64; a certificate chain of three takes about half."""
_TEXTS = ("displayName", "description")
_FIXED = (
    *("name", "projectId", "uniqueId", "email", "etag", "oauth2ClientId", "disabled"),
    "lastAuthenticatedTime",
)
_NEVER = "9999-12-31T23:59:59Z"


class AccountsApi:
    """Creates, shows, changes and deletes service accounts and keys."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts

    async def create(self, call: Call) -> Answer:
        """Create an account."""
        body = masks.camelled(await call.json())
        described = masks.camelled(wire.parse_object(body, "serviceAccount"))
        account = await self._accounts.create(
            call.params["project"],
            wire.parse_text(body, "accountId"),
            wire.parse_text(described, "displayName"),
            wire.parse_text(described, "description"),
        )
        return json_reply(_view(account))

    async def get(self, call: Call) -> Answer:
        """Answer with one account."""
        return json_reply(_view(await self._accounts.get(*_account(call))))

    async def list(self, call: Call) -> Answer:
        """Answer with the accounts of the project."""
        after, limit = wire.parse_page(call)
        found = await self._accounts.list(call.params["project"], after, limit + 1)
        return json_reply(wire.page_of("accounts", found, limit, _view, lambda one: one.email))

    async def delete(self, call: Call) -> Answer:
        """Delete an account with its keys."""
        await self._accounts.delete(*_account(call))
        return json_reply({})

    async def update(self, call: Call) -> Answer:
        """Change the texts that `updateMask` names; those that are there, if it names none."""
        body = masks.camelled(await call.json())
        # Google's clients send it in the body here, and elsewhere in the query.
        mask = wire.parse_text(body, "updateMask")
        described = wire.parse_object(body, "serviceAccount")
        said = masks.parse_changes(call, described, _TEXTS, fixed=_FIXED, mask=mask).values
        account = await self._accounts.update(
            *_account(call),
            name=wire.parse_text(said, "displayName") if "displayName" in said else None,
            description=wire.parse_text(said, "description") if "description" in said else None,
        )
        return json_reply(_view(account))

    async def disable(self, call: Call) -> Answer:
        """Disable an account: its keys and tokens stop at once."""
        await self._accounts.disable(*_account(call), is_disabled=True)
        return json_reply({})

    async def enable(self, call: Call) -> Answer:
        """Enable an account again, with the keys and tokens that are still good."""
        await self._accounts.disable(*_account(call), is_disabled=False)
        return json_reply({})

    async def create_key(self, call: Call) -> Answer:
        """Make a key; the answer holds the only copy of its key file.

        `validBeforeTime` and `universeDomain` are ours: when the key ends, and
        whether Google's libraries sign with it without asking anybody.
        """
        body = await call.json()
        if body.get("privateKeyType", KEY_FILE) not in (KEY_FILE, "TYPE_UNSPECIFIED", 0, 2):
            raise Rejected(f"privateKeyType must be {KEY_FILE}")
        issued = await self._accounts.create_key(
            *_account(call),
            expires_at=wire.parse_timestamp(body, "validBeforeTime"),
            universe_domain=wire.parse_text(body, "universeDomain") or UNIVERSE_DOMAIN,
        )
        view = _key_view(issued.key, call.params["project"])
        view["privateKeyType"] = KEY_FILE
        view["privateKeyData"] = base64.b64encode(issued.key_file.encode()).decode()
        return json_reply(view, headers=((b"cache-control", b"no-store"),))

    async def upload_key(self, call: Call) -> Answer:
        """Keep the public half of a pair that its owner has made: a certificate, or bare."""
        body = await call.json()
        data = wire.parse_text(body, "publicKeyData", KEY_LENGTH_MAX)
        try:
            text = base64.b64decode(data, validate=True).decode("ascii")
        except ValueError as error:
            raise Rejected("publicKeyData must be a PEM file in base64") from error
        public = read_public_key(text)
        expires_at = wire.parse_timestamp(body, "validBeforeTime") or public.expires_at
        key = await self._accounts.upload_key(*_account(call), public.pem, expires_at)
        return json_reply(_key_view(key, call.params["project"]))

    async def get_key(self, call: Call) -> Answer:
        """Answer with a key, and with its public half if `publicKeyType` asks for it."""
        key = await self._accounts.get_key(*_account(call), call.params["key"])
        view = _key_view(key, call.params["project"])
        asked = wire.one_parameter(call, "publicKeyType")
        if asked == RAW_PUBLIC_KEY:
            view["publicKeyData"] = base64.b64encode(key.public_key_pem.encode()).decode()
        elif asked not in ("", "TYPE_NONE"):
            raise Rejected(f"publicKeyType must be {RAW_PUBLIC_KEY}")
        return json_reply(view)

    async def disable_key(self, call: Call) -> Answer:
        """Disable a key: what was signed with it stops at once."""
        await self._accounts.disable_key(*_account(call), call.params["key"], is_disabled=True)
        return json_reply({})

    async def enable_key(self, call: Call) -> Answer:
        """Enable a key again."""
        await self._accounts.disable_key(*_account(call), call.params["key"], is_disabled=False)
        return json_reply({})

    async def list_keys(self, call: Call) -> Answer:
        """Answer with the keys of an account."""
        keys = await self._accounts.list_keys(*_account(call))
        return json_reply({"keys": [_key_view(key, call.params["project"]) for key in keys]})

    async def delete_key(self, call: Call) -> Answer:
        """Delete a key; what was signed with it stops at once."""
        await self._accounts.delete_key(*_account(call), call.params["key"])
        return json_reply({})


def _account(call: Call) -> tuple[str, str]:
    return call.params["project"], call.params["account"]


def _view(account: ServiceAccount) -> dict[str, object]:
    view: dict[str, object] = {
        "name": f"projects/{account.project}/serviceAccounts/{account.email}",
        "projectId": account.project,
        "uniqueId": account.unique_id,
        "email": account.email,
        "displayName": account.display_name,
        "description": account.description,
        "oauth2ClientId": account.unique_id,
    }
    if account.is_disabled:
        view["disabled"] = True
    if account.used_at is not None:
        view["lastAuthenticatedTime"] = wire.timestamp(account.used_at)
    return {key: value for key, value in view.items() if value != ""}


def _key_view(key: AccountKey, project: str) -> dict[str, object]:
    expires = _NEVER if key.expires_at is None else wire.timestamp(key.expires_at)
    view: dict[str, object] = {
        "name": f"projects/{project}/serviceAccounts/{key.email}/keys/{key.id}",
        "validAfterTime": wire.timestamp(key.created_at),
        "validBeforeTime": expires,
        "keyAlgorithm": f"KEY_ALG_RSA_{count_bits(key.public_key_pem)}",
        "keyOrigin": "USER_PROVIDED" if key.is_uploaded else "GOOGLE_PROVIDED",
        "keyType": "USER_MANAGED",
    }
    if key.is_disabled:
        view["disabled"] = True
    if key.used_at is not None:
        view["lastAuthenticatedTime"] = wire.timestamp(key.used_at)
    return view
