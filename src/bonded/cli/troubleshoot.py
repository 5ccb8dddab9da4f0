"""`bonded policy-troubleshoot`: why somebody may do something, or may not."""

from __future__ import annotations

import re

import click

from bonded.cli.grammar import Command
from bonded.cli.risks import ACCOUNT_DOMAIN
from bonded.cli.session import Session, pass_session
from bonded.client.api import Message, segment
from bonded.client.errors import Misconfigured


@click.command(cls=Command)
@click.argument("words", nargs=-1, required=True, metavar="[iam] RESOURCE")
@click.option("--principal", help="Who: user:EMAIL, serviceAccount:EMAIL, …")
@click.option("--principal-email", metavar="EMAIL", help="Who, as gcloud has it.")
@click.option("--permission", required=True, help="What, as a refusal names it.")
@click.option(
    "--group",
    "groups",
    multiple=True,
    metavar="EMAIL",
    help="A group that their identity provider says they are in, or principalSet://…; repeatable.",
)
@click.option("--package", help="The package that the request is about; empty for none.")
@click.option("--ip", help="The address that the request comes from.")
@click.option("--time", help="When, such as 2027-01-01T00:00:00Z; now unless said.")
@pass_session
def policy_troubleshoot(
    session: Session,
    /,
    words: tuple[str, ...],
    principal: str | None,
    principal_email: str | None,
    *,
    permission: str,
    groups: tuple[str, ...],
    **given: str | None,
) -> None:
    """Say why a principal may or may not use a permission on RESOURCE.

    RESOURCE is organizations/bonded, projects/P or
    projects/P/locations/L/repositories/R, as a refusal names it. Groups that this server keeps
    are known; of others, those that the person's sign-ins hold, unless --group says them.
    """
    *before, resource = words
    if before not in ([], ["iam"]):
        raise Misconfigured(
            f"Name one resource, not {', '.join(words)}.", hint="Such as projects/PROJECT."
        )
    request = {key: value for key, value in given.items() if value is not None}
    body: Message = {
        "principal": _principal(principal, principal_email),
        "permission": permission,
        **({"groups": list(groups)} if groups else {}),
        **({"request": request} if request else {}),
    }
    name = re.sub(r"^//[^/]+/", "", resource)
    path = "/".join(segment(part) for part in name.split("/"))
    answer = session.api.post(f"/v1/{path}:troubleshootIamPolicy", body)
    session.say(answer["summary"])
    session.show(answer)


def _principal(principal: str | None, email: str | None) -> str:
    if (principal is None) == (email is None):
        raise Misconfigured(
            "Name a principal, once.",
            hint="By --principal=KIND:EMAIL, or as gcloud has it by --principal-email=EMAIL.",
        )
    if principal is not None:
        return principal
    is_account = (email or "").endswith(ACCOUNT_DOMAIN)
    return f"{'serviceAccount' if is_account else 'user'}:{email}"
