"""Members: the names by which policies and groups mean somebody (gar.md §3.3)."""

from __future__ import annotations

import re

from bonded.server.core.errors import Rejected
from bonded.server.core.iam import ALL_AUTHENTICATED_USERS, ALL_USERS, OUTSIDE, spell_member
from bonded.server.core.names import ADDRESS, DOMAIN

_MEMBER = re.compile(
    rf"(?:user|serviceAccount|group):{ADDRESS}|domain:(?=.*\.){DOMAIN}"
    r"|project(?:Owner|Editor|Viewer):[a-z0-9.:-]+"
)
_POOL = (
    r"//iam\.googleapis\.com/projects/\d{1,18}"
    r"/locations/global/workloadIdentityPools/[a-z0-9-]{4,32}"
)
_FEDERATED = re.compile(
    rf"principal:{_POOL}/subject/.+"
    rf"|principalSet:{_POOL}/(?:group/.+|attribute\.[a-z0-9_]{{1,100}}/.+|\*)"
)
MEMBER_LENGTH_MAX = 1024
"""Of an outside identity, in characters."""


def parse_member(text: str) -> str:
    """Return *text* if a policy may name it (gar.md §3.3), with its address in lower case.

    Raises:
        Rejected: the kind is unknown or the address is malformed.
    """
    if text in (ALL_USERS, ALL_AUTHENTICATED_USERS):
        return text
    if text.startswith(OUTSIDE):
        return _parse_federated(text)
    if not text.isprintable() or not _MEMBER.fullmatch(text):
        raise Rejected(
            f"{text[:120]!r} is not a valid member",
            hint="Use user:ADDRESS, serviceAccount:ADDRESS, group:ADDRESS, domain:DOMAIN, "
            "principal://…, principalSet://…, allUsers or allAuthenticatedUsers; on a repository "
            "also projectOwner:PROJECT, projectEditor:PROJECT or projectViewer:PROJECT.",
        )
    return spell_member(text)


def _parse_federated(text: str) -> str:
    is_long = len(text) > MEMBER_LENGTH_MAX
    if is_long or not text.isprintable() or not _FEDERATED.fullmatch(text):
        raise Rejected(
            f"{text[:240]!r} is not a valid member",
            hint="Use principal://iam.googleapis.com/projects/NUMBER/locations/global/"
            "workloadIdentityPools/POOL/subject/SUBJECT, or principalSet:// with group/GROUP, "
            "attribute.NAME/VALUE or * in place of subject/SUBJECT; NUMBER is the project's "
            "number, which `bonded projects describe` shows.",
        )
    return text
