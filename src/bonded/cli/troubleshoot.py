"""`bonded policy-troubleshoot`: why somebody may do something, or may not."""

from __future__ import annotations

import re

import click

from bonded.cli.grammar import Command
from bonded.cli.session import Session, pass_session
from bonded.client.api import segment


@click.command(cls=Command)
@click.argument("resource")
@click.option("--principal", required=True, help="Who: user:EMAIL, serviceAccount:EMAIL, …")
@click.option("--permission", required=True, help="What, as a refusal names it.")
@click.option("--package", help="The package that the request is about.")
@click.option("--ip", help="The address that the request comes from.")
@click.option("--time", help="When, such as 2027-01-01T00:00:00Z.")
@pass_session
def policy_troubleshoot(
    session: Session, /, resource: str, principal: str, permission: str, **given: str | None
) -> None:
    """Say why a principal may or may not use a permission on RESOURCE.

    RESOURCE is organizations/bonded, projects/P or
    projects/P/locations/L/repositories/R, as a refusal names it.
    """
    request = {key: value for key, value in given.items() if value is not None}
    body = {"principal": principal, "permission": permission}
    name = re.sub(r"^//[^/]+/", "", resource)
    path = "/".join(segment(part) for part in name.split("/"))
    answer = session.api.post(
        f"/v1/{path}:troubleshootIamPolicy", body | ({"request": request} if request else {})
    )
    session.say(answer["summary"])
    session.show(answer)
