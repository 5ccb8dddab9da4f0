"""What `bonded doctor` finds, and the commands that mend it, ready to be pasted."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass

from bonded.cli.output import printable
from bonded.cli.policies import read_condition
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


def command(*words: str) -> str:
    """Return the line of `bonded` with these *words*, as a shell reads it.

    Every advice that holds anybody's name is made here: who may name a member or a condition
    says what is in it, and an administrator pastes it. What is not printable is not kept: a
    terminal would not show it, and a line's end would end a comment too.
    """
    return shlex.join(("bonded", *map(printable, words)))


def take_command(resource: str, binding: Message, member: str) -> str:
    """Return the command that takes the role of *binding*, a policy's, from *member*."""
    words = [*_place(resource), f"--member={member}", f"--role={binding['role']}"]
    condition = {key: text for key, text in (binding.get("condition") or {}).items() if text}
    if not condition:
        return command(*words)
    # The expression last: it may hold commas, and whatever follows one.
    keys = ("title", "description", "expression")
    text = ",".join(f"{key}={condition[key]}" for key in keys if key in condition)
    if text.isprintable() and read_condition(text, None) == condition:
        return command(*words, f"--condition={text}")
    # On one line it would mean another condition, or what a terminal does not show.
    document = shlex.quote(json.dumps(condition))
    return f"printf %s {document} | {command(*words, '--condition-from-file=/dev/stdin')}"


def _place(resource: str) -> tuple[str, ...]:
    verb = "remove-iam-policy-binding"
    parts = resource.split("/")
    match parts:
        case ["projects", project]:
            return "projects", verb, project
        case ["projects", project, "serviceAccounts", email]:
            return "iam", "service-accounts", verb, email, f"--project={project}"
        case ["projects", project, "locations", location, "repositories", repository]:
            where = (f"--location={location}", f"--project={project}")
            return "artifacts", "repositories", verb, repository, *where
        case _:
            return "organizations", verb, parts[-1]
