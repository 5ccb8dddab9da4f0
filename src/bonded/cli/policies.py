"""The four IAM policy commands, the same for every resource that has a policy."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from bonded.cli.documents import read_document
from bonded.cli.grants import warn_of_nobody, warn_of_nothing
from bonded.cli.risks import FORCE_TEXT, keeping_access
from bonded.cli.session import Session, pass_session
from bonded.client.api import Message
from bonded.client.errors import Misconfigured, Refused

ATTEMPTS_MAX = 5
WITH_CONDITIONS = 3
"""The version of policies that shows and keeps conditions."""
ANY: Message = {"any": "condition"}
"""Stands for every condition, and for none."""
_KEYS = {"expression", "title", "description"}
Parameters = Mapping[str, str]
_POLICY = "get-iam-policy prints one, with --format=json as JSON, to edit and set again."
_CONDITION = """Write YAML or JSON, such as:

expression: request.time < timestamp("2027-01-01T00:00:00Z")
title: until-2027"""


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
            body = {"options": {"requestedPolicyVersion": WITH_CONDITIONS}}
            return session.api.post(f"{self.path}:getIamPolicy", body)
        query = {"options.requestedPolicyVersion": str(WITH_CONDITIONS)}
        return session.api.get(f"{self.path}:getIamPolicy", **query)

    def write(self, session: Session, policy: Message, *, force: bool = False) -> None:
        """Replace the policy, and show what the server made of it.

        Asks first, unless by *force*, if whoever runs the command could not undo it.

        Raises:
            Refused: the server says no.
            Misconfigured: it would lock them out, and they have not said yes.
        """
        body: Message = {"policy": {**policy, "version": WITH_CONDITIONS}}

        def send(query: Mapping[str, str]) -> Message:
            # In the body, as everything of this method is.
            return self._set(session, {**body, "keepAccess": True} if query else body)

        risk = (
            f"You are about to lose the right to change the IAM policy of {self.noun} "
            f"[{self.name}]: nothing that is left would give it to you, so you could not undo this."
        )
        written = keeping_access(session, send, risk, force=force)
        session.say(f"Updated IAM policy for {self.noun} [{self.name}].")
        session.show(written)

    def _set(self, session: Session, body: Message) -> Message:
        return session.api.post(f"{self.path}:setIamPolicy", body)

    def change(
        self, session: Session, edit: Callable[[Message], Message], *, force: bool = False
    ) -> None:
        """Edit the policy; when somebody else was faster, read it again and edit that.

        Raises:
            Refused: the server says no, or others were faster every time.
        """
        for _ in range(ATTEMPTS_MAX - 1):
            try:
                self.write(session, edit(self.read(session)), force=force)
            except Refused as refusal:
                if refusal.status != "ABORTED":
                    raise
            else:
                return
        self.write(session, edit(self.read(session)), force=force)


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
    def set_iam_policy(
        session: Session, /, policy_file: Path, *, force: bool, **given: str
    ) -> None:
        """Replace the IAM policy by the one in a JSON or YAML file."""
        policy = _read_policy(policy_file)
        if "etag" not in policy and not force:
            session.confirm(
                'The specified policy does not contain an "etag" field identifying a specific '
                'version to replace. Changing a policy without an "etag" can overwrite concurrent '
                "policy changes."
            )
        locate(session, given).write(session, policy, force=force)

    @pass_session
    def add_iam_policy_binding(
        session: Session,
        /,
        member: str,
        role: str,
        condition: str | None,
        condition_from_file: Path | None,
        **given: str,
    ) -> None:
        """Grant a role to a member, always or on a condition."""
        when = read_condition(condition, condition_from_file)
        resource = locate(session, given)
        resource.change(session, lambda policy: grant(policy, role, member, when))
        warn_of_nobody(session, member)
        warn_of_nothing(session, resource.noun, role)

    @pass_session
    def remove_iam_policy_binding(
        session: Session,
        /,
        member: str,
        role: str,
        condition: str | None,
        condition_from_file: Path | None,
        *,
        is_all: bool,
        force: bool,
        **given: str,
    ) -> None:
        """Take a role from a member: what was granted without a condition, or on this one."""
        when = ANY if is_all else read_condition(condition, condition_from_file)
        locate(session, given).change(
            session, lambda policy: take(policy, role, member, when), force=force
        )

    policy_file = click.Argument(["policy_file"], type=click.Path(path_type=Path))
    command("get-iam-policy", get_iam_policy)
    command("set-iam-policy", set_iam_policy, policy_file, _force())
    command("add-iam-policy-binding", add_iam_policy_binding, *_binding_options())
    command(
        "remove-iam-policy-binding",
        remove_iam_policy_binding,
        *_binding_options(),
        click.Option(["--all", "is_all"], is_flag=True, help="Whatever the conditions are."),
        _force(),
    )


def grant(policy: Message, role: str, member: str, condition: Message | None = None) -> Message:
    """Return *policy* with *member* in the binding of *role* that has this *condition*."""
    bindings = [dict(binding) for binding in policy.get("bindings", ())]
    for binding in bindings:
        if binding.get("role") == role and _same(binding, condition):
            binding["members"] = list(dict.fromkeys([*binding.get("members", ()), member]))
            break
    else:
        bindings.append(
            {"role": role, "members": [member], **({"condition": condition} if condition else {})}
        )
    return {**policy, "bindings": bindings}


def take(policy: Message, role: str, member: str, condition: Message | None = None) -> Message:
    """Return *policy* without *member* in the binding of *role* that has this *condition*.

    Raises:
        Misconfigured: there is no such binding.
    """
    bindings: list[dict[str, Any]] = []
    is_found = False
    for binding in policy.get("bindings", ()):
        members = list(binding.get("members", ()))
        if binding.get("role") == role and _same(binding, condition) and member in members:
            is_found = True
            members.remove(member)
        if members:
            bindings.append({**binding, "members": members})
    if not is_found:
        raise Misconfigured(
            "Policy binding with the specified principal, role, and condition not found!",
            hint=_elsewhere(policy, role, member),
        )
    return {**policy, "bindings": bindings}


def _elsewhere(policy: Message, role: str, member: str) -> str:
    """Return where else *member* has *role* in *policy*, and how to take it from them there."""
    titles = [
        str(_plain(binding.get("condition")).get("title", ""))
        for binding in policy.get("bindings", ())
        if binding.get("role") == role and member in binding.get("members", ())
    ]
    conditional = [title for title in titles if title]
    if conditional:
        return (
            f"They have the role on a condition ({', '.join(conditional)}): name it with "
            "--condition or --condition-from-file, or take the role whatever the conditions are "
            "with --all."
        )
    if titles:
        return "They have the role without a condition: leave --condition out, or use --all."
    return "get-iam-policy shows the bindings there are."


def _same(binding: Message, condition: Message | None) -> bool:
    return condition is ANY or _plain(binding.get("condition")) == _plain(condition)


def _plain(condition: Message | None) -> Message:
    return {key: value for key, value in (condition or {}).items() if value}


def read_condition(text: str | None, path: Path | None) -> Message | None:
    """Return the condition that the line gives as `key=value,…` or in a file, if any.

    The expression may hold commas: a comma counts where a key follows.

    Raises:
        Misconfigured: it is no condition.
    """
    if text is None and path is None:
        return None
    if text is not None and path is not None:
        raise Misconfigured("Give --condition or --condition-from-file, not both.")
    if path is not None:
        condition = read_document(path, "condition file", _CONDITION)
    elif text == "None":
        return None
    else:
        parts = re.split(r",(?=(?:expression|title|description)=)", text or "")
        condition = dict(part.partition("=")[::2] for part in parts)
    if (
        not isinstance(condition, dict)
        or not {"expression", "title"} <= condition.keys() <= _KEYS
        or not all(isinstance(value, str) for value in condition.values())
    ):
        raise Misconfigured(
            "A condition has an expression, a title and maybe a description.",
            hint="Such as --condition='expression=request.time < "
            'timestamp("2027-01-01T00:00:00Z"),title=until-2027\', or None.',
        )
    return condition


def _read_policy(path: Path) -> Message:
    """Read a policy from a JSON or YAML file.

    Raises:
        Misconfigured: it is not there, or holds no policy.
    """
    policy = read_document(path, "policy file", _POLICY)
    if not isinstance(policy, dict) or not isinstance(policy.get("bindings", []), list):
        raise Misconfigured(f"{path} holds no policy.", hint=_POLICY)
    return policy


def _force() -> click.Parameter:
    return click.Option(["--force"], is_flag=True, help=FORCE_TEXT)


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
        click.Option(
            ["--condition"],
            metavar="KEY=VALUE,…",
            help="When: expression=CEL,title=TITLE,description=TEXT; or None.",
        ),
        click.Option(
            ["--condition-from-file"],
            type=click.Path(path_type=Path),
            help="When, from a JSON or YAML file.",
        ),
    ]
