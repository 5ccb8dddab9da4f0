"""`bonded organizations`: the policy of the whole server, which is its only organization."""

from __future__ import annotations

import click

from bonded.cli.grammar import Group
from bonded.cli.policies import Parameters, PolicyResource, add_policy_commands
from bonded.cli.session import Session
from bonded.client.api import segment
from bonded.client.errors import Misconfigured

ORGANIZATION = "bonded"


@click.group(cls=Group)
def organizations() -> None:
    """Manage the policy of the whole server."""


def _locate(_: Session, given: Parameters) -> PolicyResource:
    name = given["organization"]
    if name != ORGANIZATION:
        raise Misconfigured(
            f"There is no organization [{name}] here: a server is its only one, which is called "
            f"[{ORGANIZATION}].",
            hint=f"Name [{ORGANIZATION}] or nothing for the policy of the whole server, or use "
            "`bonded projects` for that of a project.",
        )
    path = f"/v1/organizations/{segment(name)}"
    return PolicyResource("organization", name, path, is_read_by_post=True)


def _parameters() -> list[click.Parameter]:
    return [click.Argument(["organization"], default=ORGANIZATION)]


add_policy_commands(organizations, _parameters, _locate)
