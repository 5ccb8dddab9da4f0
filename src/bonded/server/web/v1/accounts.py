"""IAM v1: service accounts and their keys (gar.md §6.7)."""

from __future__ import annotations

import base64

from bonded.server.core.errors import Rejected
from bonded.server.metadata.store import AccountKey, ServiceAccount
from bonded.server.operations.accounts import Accounts
from bonded.server.web.messages import Answer, Call, json_reply
from bonded.server.web.v1 import wire

KEY_FILE = "TYPE_GOOGLE_CREDENTIALS_FILE"
_NEVER = "9999-12-31T23:59:59Z"


class AccountsApi:
    """Creates, shows and deletes service accounts and keys."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts

    async def create(self, call: Call) -> Answer:
        """Create an account."""
        body = await call.json()
        described = wire.parse_object(body, "serviceAccount")
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

    async def create_key(self, call: Call) -> Answer:
        """Make a key; the answer holds the only copy of its key file."""
        body = await call.json()
        if body.get("privateKeyType", KEY_FILE) not in (KEY_FILE, "TYPE_UNSPECIFIED", 0, 2):
            raise Rejected(f"privateKeyType must be {KEY_FILE}")
        issued = await self._accounts.create_key(*_account(call))
        view = _key_view(issued.key, call.params["project"])
        view["privateKeyType"] = KEY_FILE
        view["privateKeyData"] = base64.b64encode(issued.key_file.encode()).decode()
        return json_reply(view, headers=((b"cache-control", b"no-store"),))

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
    return {key: value for key, value in view.items() if value != ""}


def _key_view(key: AccountKey, project: str) -> dict[str, object]:
    expires = _NEVER if key.expires_at is None else wire.timestamp(key.expires_at)
    return {
        "name": f"projects/{project}/serviceAccounts/{key.email}/keys/{key.id}",
        "validAfterTime": wire.timestamp(key.created_at),
        "validBeforeTime": expires,
        "keyAlgorithm": "KEY_ALG_RSA_2048",
        "keyOrigin": "GOOGLE_PROVIDED",
        "keyType": "USER_MANAGED",
    }
