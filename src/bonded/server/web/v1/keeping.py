"""Whoever asks can be kept from taking the right to undo a change from themselves."""

from __future__ import annotations

from functools import partial

from bonded.server.core.errors import Rejected
from bonded.server.core.iam import Permission
from bonded.server.operations.owning import Guard
from bonded.server.web.access import Access
from bonded.server.web.messages import Call
from bonded.server.web.v1 import wire

KEEP_ACCESS = "keepAccess"


async def guard_of(access: Access, call: Call, permission: Permission) -> Guard | None:
    """Return what refuses a change after which the caller has *permission* no more.

    None unless the query says `keepAccess=true`, which is ours, or if they do not have it now:
    nothing can be taken from them then. Raises Rejected.
    """
    said = wire.one_parameter(call, KEEP_ACCESS)
    if said not in ("", "true", "false"):
        raise Rejected(f"{KEEP_ACCESS} must be true or false")
    if said != "true" or not await access.find_held(call, (permission,)):
        return None
    return partial(access.require_kept, call, permission)
