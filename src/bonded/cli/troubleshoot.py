"""`bonded policy-troubleshoot`: why somebody may do something, or may not."""

from __future__ import annotations

import re
from difflib import get_close_matches

import click

from bonded.cli.grammar import Command
from bonded.cli.organizations import ORGANIZATION
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

    RESOURCE is organizations/bonded, projects/P, projects/P/serviceAccounts/EMAIL or
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
    name = _parse_resource(resource)
    path = "/".join(segment(part) for part in name.split("/"))
    answer = session.api.post(f"/v1/{path}:troubleshootIamPolicy", body)
    session.say(answer["summary"])
    session.show(answer)


def _parse_resource(text: str) -> str:
    """Return the name of a resource, without the service that a refusal writes before it.

    Raises:
        Misconfigured: nothing is called like that.
    """
    parts = re.sub(r"^//[^/]+/", "", text).strip("/").split("/")
    spelled = [_near(part) if at % 2 == 0 else part for at, part in enumerate(parts)]
    match spelled:
        case ["organizations", _]:
            spelled = ["organizations", ORGANIZATION]
        case ["projects", _] | ["projects", _, "serviceAccounts", _]:
            pass
        case ["projects", _, "locations", _, "repositories", _]:
            pass
        case [_] if parts[0] not in _WORDS:
            spelled = ["projects", parts[0]]
        case _:
            spelled = []
    if spelled and spelled == parts:
        return "/".join(parts)
    guessed = f"Did you mean [{'/'.join(spelled)}]? " if spelled else ""
    raise Misconfigured(f"No resource is called [{text}].", hint=f"{guessed}{_FORMS}")


def _near(word: str) -> str:
    return next(iter(get_close_matches(word, _WORDS, n=1, cutoff=0.75)), word)


_WORDS = ("organizations", "projects", "locations", "repositories", "serviceAccounts")
_FORMS = (
    f"Name organizations/{ORGANIZATION}, projects/PROJECT, projects/PROJECT/serviceAccounts/EMAIL "
    "or projects/PROJECT/locations/LOCATION/repositories/REPOSITORY."
)


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
