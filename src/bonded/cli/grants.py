"""What was granted, and may not be what was meant: said when it is done, as far as one may see."""

from __future__ import annotations

from collections.abc import Callable

from bonded.cli.session import Session
from bonded.client.api import Message, segment
from bonded.client.errors import Refused

NOT_FOUND = 404

_ABOVE = (
    "artifactregistry.locations.",
    "artifactregistry.repositories.create",
    "artifactregistry.repositories.list",
    "iam.serviceAccounts.create",
    "iam.serviceAccounts.list",
)
"""Permissions that are asked for on a project, though they are about what is in it."""
_OF_SERVER = (
    *("bonded.groups.", "bonded.sessions.", "bonded.users.", "resourcemanager.organizations."),
    *("resourcemanager.projects.create", "resourcemanager.projects.list"),
)
_OF_REPOSITORY = (
    "artifactregistry.",
    *("bonded.files.", "bonded.packages.", "bonded.policies.", "bonded.versions."),
)
_WORKS: dict[str, Callable[[str], bool]] = {
    "organization": lambda _: True,
    "project": lambda one: not one.startswith(_OF_SERVER),
    "repository": lambda one: one.startswith(_OF_REPOSITORY) and not one.startswith(_ABOVE),
    "serviceAccount": lambda one: (
        one.startswith(("iam.serviceAccounts.", "iam.serviceAccountKeys."))
        and not one.startswith(_ABOVE)
    ),
}
"""For each kind of resource, whether a permission is asked for on one or on what is in it."""


def warn_of_nobody(session: Session, member: str) -> None:
    """Say so if *member* is a user who does not exist here (yet), as far as one may see that."""
    kind, _, address = member.partition(":")
    if kind == "user" and _find(session, f"/v1/users/{segment(address)}") is None:
        session.say(
            f"WARNING: there is no user {address} yet. What they are given is theirs once they "
            "sign in through the identity provider, or are invited: bonded users create "
            f"{address}"
        )


def warn_of_nothing(session: Session, noun: str, role: str) -> None:
    """Say so if *role* lets nobody do anything on the kind of resource that is called *noun*."""
    found = _find(session, "/v1/" + "/".join(segment(part) for part in role.split("/")))
    if not found:
        return
    held = [str(one) for one in found.get("includedPermissions", ())]
    if not held or found.get("deleted"):
        session.say(f"WARNING: {role} holds no permission now: it lets nobody do anything.")
    elif not any(map(_WORKS[noun], held)):
        session.say(
            f"WARNING: nothing that {role} holds, such as {held[0]}, is asked for on a {noun}: "
            "grant it further up, or grant another role."
        )


def _find(session: Session, path: str) -> Message | None:
    """Return what is at *path*; None if nothing is, and nothing in it if that cannot be seen."""
    try:
        return session.api.get(path)
    except Refused as refusal:
        return None if refusal.code == NOT_FOUND else {}
