"""The four IAM policy commands, the same for every resource that has a policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from bonded.cli.documents import read_document
from bonded.cli.session import Session, pass_session
from bonded.client.api import Message
from bonded.client.errors import Misconfigured, Refused

ATTEMPTS_MAX = 5
Parameters = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class PolicyResource:
    """A resource that has a policy: where it is, and how messages call it."""

    noun: str
    name: str
    path: str
    # Resource Manager reads policies by POST, Artifact Registry by GET (gar.md §3.4, §6.7).
    is_read_by_post: bool

    def read(self, session: Session) -> Message:
        """Return the policy."""
        if self.is_read_by_post:
            body = {"options": {"requestedPolicyVersion": 3}}
            return session.api.post(f"{self.path}:getIamPolicy", body)
        return session.api.get(f"{self.path}:getIamPolicy")

    def write(self, session: Session, policy: Message) -> None:
        """Replace the policy, and show what the server made of it."""
        written = session.api.post(f"{self.path}:setIamPolicy", {"policy": policy})
        session.say(f"Updated IAM policy for {self.noun} [{self.name}].")
        session.show(written)

    def change(self, session: Session, edit: Callable[[Message], Message]) -> None:
        """Edit the policy; when somebody else was faster, read it again and edit that.

        Raises:
            Refused: the server says no, or others were faster every time.
        """
        for _ in range(ATTEMPTS_MAX - 1):
            try:
                self.write(session, edit(self.read(session)))
            except Refused as refusal:
                if refusal.status != "ABORTED":
                    raise
            else:
                return
        self.write(session, edit(self.read(session)))


Locate = Callable[[Session, Parameters], PolicyResource]


def add_policy_commands(
    group: click.Group, parameters: Callable[[], list[click.Parameter]], locate: Locate
) -> None:
    """Add get-, set-, add- and remove-…: *parameters* say which resource, *locate* finds it."""

    def command(name: str, function: Callable[..., None], *more: click.Parameter) -> None:
        made = group.command(name)(function)
        made.params[:0] = [*parameters(), *more]

    @pass_session
    def get_iam_policy(session: Session, /, **given: str) -> None:
        """Print the IAM policy."""
        session.show(locate(session, given).read(session))

    @pass_session
    def set_iam_policy(session: Session, /, policy_file: Path, **given: str) -> None:
        """Replace the IAM policy by the one in a JSON or YAML file."""
        policy = _read_policy(policy_file)
        if "etag" not in policy:
            session.confirm(
                'The specified policy does not contain an "etag" field identifying a specific '
                'version to replace. Changing a policy without an "etag" can overwrite concurrent '
                "policy changes."
            )
        locate(session, given).write(session, policy)

    @pass_session
    def add_iam_policy_binding(session: Session, /, member: str, role: str, **given: str) -> None:
        """Grant a role to a member."""
        locate(session, given).change(session, lambda policy: grant(policy, role, member))

    @pass_session
    def remove_iam_policy_binding(
        session: Session, /, member: str, role: str, **given: str
    ) -> None:
        """Take a role from a member."""
        locate(session, given).change(session, lambda policy: take(policy, role, member))

    policy_file = click.Argument(["policy_file"], type=click.Path(path_type=Path))
    command("get-iam-policy", get_iam_policy)
    command("set-iam-policy", set_iam_policy, policy_file)
    command("add-iam-policy-binding", add_iam_policy_binding, *_binding_options())
    command("remove-iam-policy-binding", remove_iam_policy_binding, *_binding_options())


def grant(policy: Message, role: str, member: str) -> Message:
    """Return *policy* with *member* in the binding of *role* that has no condition."""
    bindings = [dict(binding) for binding in policy.get("bindings", ())]
    for binding in bindings:
        if binding.get("role") == role and not binding.get("condition"):
            binding["members"] = list(dict.fromkeys([*binding.get("members", ()), member]))
            break
    else:
        bindings.append({"role": role, "members": [member]})
    return {**policy, "bindings": bindings}


def take(policy: Message, role: str, member: str) -> Message:
    """Return *policy* without *member* in the binding of *role* that has no condition.

    Raises:
        Misconfigured: there is no such binding.
    """
    bindings: list[dict[str, Any]] = []
    is_found = False
    for binding in policy.get("bindings", ()):
        members = list(binding.get("members", ()))
        if binding.get("role") == role and not binding.get("condition") and member in members:
            is_found = True
            members.remove(member)
        if members:
            bindings.append({**binding, "members": members})
    if not is_found:
        raise Misconfigured(
            "Policy binding with the specified principal, role, and condition not found!",
            hint="get-iam-policy shows the bindings there are.",
        )
    return {**policy, "bindings": bindings}


def _read_policy(path: Path) -> Message:
    """Read a policy from a JSON or YAML file.

    Raises:
        Misconfigured: it is not there, or holds no policy.
    """
    policy = read_document(path, "policy file")
    if not isinstance(policy, dict) or not isinstance(policy.get("bindings", []), list):
        raise Misconfigured(
            f"{path} holds no policy.", hint="get-iam-policy prints one, to edit and set again."
        )
    return policy


def _binding_options() -> list[click.Parameter]:
    """Return the flags that name a binding."""
    return [
        click.Option(
            ["--member"],
            required=True,
            help="Who: user:EMAIL, serviceAccount:EMAIL, group:EMAIL, domain:DOMAIN or allUsers.",
        ),
        click.Option(
            ["--role"], required=True, help="What, such as roles/artifactregistry.reader."
        ),
    ]
