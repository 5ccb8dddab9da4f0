"""What `bonded doctor` finds, and the commands that mend it, ready to be pasted."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from bonded.client.api import Message

ORGANIZATION = "organizations/bonded"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to look at, and what to do about it."""

    finding: str
    resource: str
    what: str
    advice: str

    def as_message(self) -> Message:
        """Return it as a resource to show."""
        return {
            "finding": self.finding,
            "resource": self.resource,
            "what": self.what,
            "advice": self.advice,
        }


def take_command(resource: str, binding: Message, member: str) -> str:
    """Return the command that takes the role of *binding*, a policy's, from *member*."""
    given = [f"--member={member}", f"--role={binding['role']}"]
    condition = binding.get("condition")
    if condition:
        # The expression last: it may hold commas, and whatever follows one.
        keys = ("title", "description", "expression")
        text = ",".join(f"{key}={condition[key]}" for key in keys if condition.get(key))
        given.append(f"--condition={text}")
    return f"bonded {_place(resource)} {shlex.join(given)}"


def _place(resource: str) -> str:
    verb = "remove-iam-policy-binding"
    parts = resource.split("/")
    match parts:
        case ["projects", project]:
            return f"projects {verb} {project}"
        case ["projects", project, "serviceAccounts", email]:
            return f"iam service-accounts {verb} {email} --project={project}"
        case ["projects", project, "locations", location, "repositories", repository]:
            where = f"--location={location} --project={project}"
            return f"artifacts repositories {verb} {repository} {where}"
        case _:
            return f"organizations {verb} {parts[-1]}"
