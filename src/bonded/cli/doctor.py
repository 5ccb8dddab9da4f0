"""`bonded doctor`: what an administrator should look at, found with the caller's own rights."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import click
import requests

from bonded.cli.doctor_access import Grants, Known
from bonded.cli.findings import ORGANIZATION, Finding, command
from bonded.cli.grammar import Command
from bonded.cli.logs import verify_chain
from bonded.cli.output import Column
from bonded.cli.output import field as column
from bonded.cli.policies import PolicyResource
from bonded.cli.session import Session, pass_session
from bonded.cli.upstream_check import advise, find_obstacle
from bonded.client.api import CONNECT_TIMEOUT_S, Message, segment
from bonded.client.errors import Refused, Unreachable
from bonded.client.index import Index

SKEW_MAX_S = 30
HEALTHY, FOUND, UNSEEN = 0, 1, 2
"""The exit status: all is well; something was found; nothing was, but not all could be seen."""
_FULL = {"view": "FULL"}
_REMOTE = "REMOTE_REPOSITORY"

COLUMNS = (
    Column("FINDING", column("finding")),
    Column("WHERE", column("resource")),
    Column("WHAT", column("what")),
    Column("WHAT_TO_DO", column("advice")),
)


@click.command(cls=Command)
@click.option(
    "--max-key-age",
    metavar="DAYS",
    type=click.IntRange(min=1),
    default=90,
    show_default=True,
    help="Keys older than that are findings; so are keys not used for as long.",
)
@click.option(
    "--skip-upstreams",
    is_flag=True,
    help="Ask nothing of the indexes behind remote repositories.",
)
@pass_session
def doctor(session: Session, max_key_age: int, *, skip_upstreams: bool) -> int:
    """Look for what endangers the registry: old keys, public grants, a broken audit log.

    Remote repositories are asked for what no index has and, unless they have credentials, for a
    page and a small file, so that what is out of their reach is found. Exits with 1 if it finds
    something, and with 2 if it finds nothing but the account may not see everything: what it
    skips, it says.
    """
    examination = Examination(
        session, timedelta(days=max_key_age), asks_upstreams=not skip_upstreams
    )
    findings = list(examination.findings())
    for place in examination.skipped:
        session.say(f"Skipped {place}: the account may not see it.")
    if findings or session.flags.format:
        session.show_all([finding.as_message() for finding in findings], COLUMNS)
    if findings:
        return FOUND
    if examination.skipped:
        session.say(
            "Nothing to look after in what the account may see, but "
            f"{len(examination.skipped)} places were skipped. Run it as an owner to see everything."
        )
        return UNSEEN
    session.say("Nothing to look after.")
    return HEALTHY


@dataclass
class Examination:
    """One round through the registry."""

    session: Session
    key_age_max: timedelta
    asks_upstreams: bool = False
    skipped: list[str] = field(default_factory=list)
    known: Known = field(default_factory=Known)
    _explained: dict[tuple[str, str], Message] = field(default_factory=dict)
    """Answers of the server by resource and member: each is about all of the member's grants."""

    def findings(self) -> Iterator[Finding]:
        """Yield everything that is found."""
        yield from self._server()
        projects = self._projects()
        for project in projects:
            yield from self._keys(project)
        self._learn(projects)
        yield from self._policies(projects)
        yield from self._log()

    def _list(self, path: str, items: str, **query: str) -> list[Message]:
        return self._find(path, items, **query) or []

    def _find(self, path: str, items: str, **query: str) -> list[Message] | None:
        """Return what is listed at *path*; None if the account may not see it."""
        return self._seen(lambda: list(self.session.api.list_all(path, items, **query)), path)

    def _seen(self, ask: Callable[[], list[Message]], path: str) -> list[Message] | None:
        try:
            return ask()
        except Refused as refusal:
            self._skip(refusal, path.partition("/v1/")[2] or path)
            return None

    def _skip(self, refusal: Refused, place: str) -> None:
        if refusal.code != requests.codes.forbidden:
            raise refusal
        if place not in self.skipped:
            self.skipped.append(place)

    def _projects(self) -> list[str]:
        found = self._find("/v1/projects", "projects")
        return [self.session.project] if found is None else [one["projectId"] for one in found]

    def _learn(self, projects: list[str]) -> None:
        """Find out which users and roles there are."""
        users = self._find("/v1/users", "users")
        if users is not None:
            self.known.users = {one["address"]: bool(one.get("disabled")) for one in users}
        parents = ("", f"/{ORGANIZATION}", *(f"/projects/{segment(one)}" for one in projects))
        for parent in parents:
            path = f"/v1{parent}/roles"
            roles = self._find(path, "roles", **_FULL, showDeleted="true")
            if roles is not None:
                self.known.role_parents.add(parent.removeprefix("/"))
            for role in roles or ():
                held = frozenset(role.get("includedPermissions", ()))
                if role.get("deleted"):
                    self.known.deleted_roles.add(role["name"])
                else:
                    self.known.roles[role["name"]] = held

    def _server(self) -> Iterator[Finding]:
        server = self.session.server
        url = urlsplit(server)
        if url.scheme == "http" and not _is_loopback(url.hostname or ""):
            yield Finding(
                "PLAIN_HTTP",
                server,
                "tokens and packages cross the network unencrypted",
                "Put a TLS proxy in front, and start the server with --public-url=https://…",
            )
        skew_s = _clock_skew_s(server)
        if skew_s is not None and abs(skew_s) > SKEW_MAX_S:
            yield Finding(
                "CLOCK_SKEW",
                server,
                f"its clock is {abs(skew_s):.0f} s {'ahead of' if skew_s > 0 else 'behind'} ours",
                "Synchronize both clocks: tokens and signatures are refused outside their times.",
            )

    def _keys(self, project: str) -> Iterator[Finding]:
        path = f"/v1/projects/{segment(project)}/serviceAccounts"
        accounts = self._find(path, "accounts")
        if accounts is None:
            return
        self.known.projects.add(project)
        for account in accounts:
            email = account["email"]
            self.known.accounts[email] = bool(account.get("disabled"))
            for key in self._list(f"{path}/{segment(email)}/keys", "keys"):
                yield from self._key(email, key)

    def _key(self, email: str, key: Message) -> Iterator[Finding]:
        now = datetime.fromtimestamp(time.time(), UTC)
        name = key["name"]
        age = now - datetime.fromisoformat(key["validAfterTime"])
        used = key.get("lastAuthenticatedTime")
        keys, of = ("iam", "service-accounts", "keys"), f"--iam-account={email}"
        remove = command(*keys, "delete", name.rpartition("/")[2], of)
        if datetime.fromisoformat(key["validBeforeTime"]) <= now:
            yield Finding("KEY_EXPIRED", name, "it is good for nothing any more", remove)
        elif age > self.key_age_max:
            renew = f"{command(*keys, 'create', 'new-key.json', of)}  # hand it out, then: {remove}"
            yield Finding("KEY_OLD", name, f"it is {age.days} days old", renew)
        if used is None and age > timedelta(days=1):
            yield Finding("KEY_NEVER_USED", name, f"made {age.days} days ago, never used", remove)
        elif used and (idle := now - datetime.fromisoformat(used)) > self.key_age_max:
            yield Finding("KEY_IDLE", name, f"not used for {idle.days} days", remove)

    def _policies(self, projects: list[str]) -> Iterator[Finding]:
        grants = Grants(self.known, self._members_of, self._state_of, self._problem_of)
        yield from grants.in_server(self._policy(ORGANIZATION))
        for group in self._list("/v1/groups", "groups"):
            yield from grants.in_group(group["email"], self._members_of(group["email"]) or ())
        resources = [f"projects/{project}" for project in projects]
        for project in projects:
            path = f"/v1/projects/{segment(project)}/locations/-/repositories"
            for repository in self._list(path, "repositories"):
                resources.append(repository["name"])
                if self.asks_upstreams and repository.get("mode") == _REMOTE:
                    yield from self._upstream(repository)
        resources += [
            f"projects/{email.partition('@')[2].partition('.')[0]}/serviceAccounts/{email}"
            for email in self.known.accounts
        ]
        for resource in resources:
            yield from grants.in_policy(resource, self._policy(resource))

    def _policy(self, resource: str) -> Message:
        path = _path_of(resource)
        by_post = "/repositories/" not in resource
        place = PolicyResource("resource", resource, path, is_read_by_post=by_post)
        policies = self._seen(lambda: [place.read(self.session)], path)
        return policies[0] if policies else {}

    def _members_of(self, group: str) -> list[Message] | None:
        path = f"/v1/groups/{segment(group)}/members"
        try:
            return self._seen(lambda: list(self.session.api.list_all(path, "members")), path)
        except Refused as refusal:
            # An identity provider's group: only that knows who is in it.
            if refusal.code != requests.codes.not_found:
                raise
            return None

    def _state_of(self, member: str) -> str:
        return str(self._explain(ORGANIZATION, member).get("principalState", ""))

    def _problem_of(self, resource: str, member: str, expression: str) -> str:
        bindings = self._explain(resource, member).get("explainedBindings", ())
        conditions = [one for binding in bindings for one in binding.get("conditions", ())]
        found = [str(one.get("problem", "")) for one in conditions if _says(one, expression)]
        return max(found, default="")

    def _explain(self, resource: str, member: str) -> Message:
        """Return why *member* may own the server, or not, with all that is granted to them."""
        if (resource, member) not in self._explained:
            path = f"{_path_of(resource)}:troubleshootIamPolicy"
            permission = "resourcemanager.organizations.setIamPolicy"
            asked = {"principal": member, "permission": permission}
            answers = self._seen(lambda: [self.session.api.post(path, asked)], path)
            self._explained[resource, member] = answers[0] if answers else {}
        return self._explained[resource, member]

    def _upstream(self, repository: Message) -> Iterator[Finding]:
        resource = repository["name"]
        project, name = resource.split("/")[1], resource.rpartition("/")[2]
        url = f"{self.session.server}/{segment(project)}/{segment(name)}"
        index = Index(self.session.server, url, self.session.tokens)
        try:
            why = find_obstacle(index, repository)
        except Refused as refusal:
            self._skip(refusal, resource)
        else:
            if why:
                yield Finding("UPSTREAM", resource, why, advise(repository, why))

    def _log(self) -> Iterator[Finding]:
        try:
            _, _, problems = verify_chain(self.session)
        except Refused as refusal:
            if refusal.code != requests.codes.forbidden:
                raise
            self.skipped.append("the audit log")
            return
        for problem in problems:
            yield Finding(
                "AUDIT_LOG",
                f"entry {problem['number']}",
                problem["problem"],
                "Somebody has changed the database: compare with a backup and a collector's copy.",
            )


def _path_of(resource: str) -> str:
    return "/v1/" + "/".join(segment(part) for part in resource.split("/"))


def _says(condition: Message, expression: str) -> bool:
    return condition.get("expression") == expression


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _clock_skew_s(server: str) -> float | None:
    """Return by how many seconds the server's clock is ahead, None if it does not say."""
    try:
        answer = requests.get(f"{server}/healthz", timeout=CONNECT_TIMEOUT_S, allow_redirects=False)
    except requests.RequestException as error:
        raise Unreachable(f"Nobody answers at {server}.") from error
    try:
        return parsedate_to_datetime(answer.headers["date"]).timestamp() - time.time()
    except (KeyError, ValueError):
        return None
