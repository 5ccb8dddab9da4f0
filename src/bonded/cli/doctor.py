"""`bonded doctor`: what an administrator should look at, found with the caller's own rights."""

from __future__ import annotations

import ipaddress
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import click
import requests

from bonded.cli.grammar import Command
from bonded.cli.logs import verify_chain
from bonded.cli.output import Column
from bonded.cli.output import field as column
from bonded.cli.policies import PolicyResource
from bonded.cli.session import Session, pass_session
from bonded.cli.upstream_check import find_obstacle
from bonded.client.api import CONNECT_TIMEOUT_S, Message, segment
from bonded.client.errors import Refused, Unreachable
from bonded.client.index import Index

ORGANIZATION = "organizations/bonded"
OWNER = "roles/owner"
OWNERS_MAX = 3
SKEW_MAX_S = 30
_EVERYBODY = ("allUsers", "allAuthenticatedUsers")
_ACCOUNT = "serviceAccount:"
_REMOTE = "REMOTE_REPOSITORY"
_REACH = (
    "If this network has a mirror: set BONDED_PUBLIC_INDEX_URL for the server, or make a remote "
    "repository of the mirror; name private hosts of files in BONDED_UPSTREAM_PRIVATE_HOSTS."
)

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

    Remote repositories are asked for a page and a small file, so that what is out of their reach
    is found. Exits with 1 if it finds something. What the account may not see is skipped, and
    said.
    """
    examination = Examination(
        session, timedelta(days=max_key_age), asks_upstreams=not skip_upstreams
    )
    findings = list(examination.findings())
    for place in examination.skipped:
        session.say(f"Skipped {place}: the account may not see it.")
    if findings or session.flags.format:
        session.show_all([finding.as_message() for finding in findings], COLUMNS)
    if not findings:
        session.say("Nothing found.")
    return 1 if findings else 0


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


@dataclass
class Examination:
    """One round through the registry."""

    session: Session
    key_age_max: timedelta
    asks_upstreams: bool = False
    skipped: list[str] = field(default_factory=list)
    accounts: dict[str, bool] = field(default_factory=dict)
    """Address of each account that was seen → whether it is disabled."""
    projects_seen: set[str] = field(default_factory=set)
    """Projects whose accounts were all seen."""

    def findings(self) -> Iterator[Finding]:
        """Yield everything that is found."""
        yield from self._server()
        projects = self._projects()
        for project in projects:
            yield from self._keys(project)
        yield from self._policy(ORGANIZATION)
        for project in projects:
            yield from self._policy(f"projects/{project}")
            for repository in self._list(
                f"/v1/projects/{segment(project)}/locations/-/repositories", "repositories"
            ):
                yield from self._policy(repository["name"])
                if self.asks_upstreams and repository.get("mode") == _REMOTE:
                    yield from self._upstream(repository["name"])
        yield from self._log()

    def _list(self, path: str, items: str) -> list[Message]:
        return self._seen(lambda: list(self.session.api.list_all(path, items)), path) or []

    def _seen(self, ask: Callable[[], list[Message]], path: str) -> list[Message] | None:
        try:
            return ask()
        except Refused as refusal:
            if refusal.code != requests.codes.forbidden:
                raise
            self.skipped.append(path.partition("/v1/")[2] or path)
            return None

    def _projects(self) -> list[str]:
        found = self._seen(
            lambda: list(self.session.api.list_all("/v1/projects", "projects")), "/v1/projects"
        )
        return [self.session.project] if found is None else [one["projectId"] for one in found]

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
        accounts = self._seen(lambda: list(self.session.api.list_all(path, "accounts")), path)
        if accounts is None:
            return
        self.projects_seen.add(project)
        for account in accounts:
            email = account["email"]
            self.accounts[email] = bool(account.get("disabled"))
            for key in self._list(f"{path}/{segment(email)}/keys", "keys"):
                yield from self._key(email, key)

    def _key(self, email: str, key: Message) -> Iterator[Finding]:
        now = datetime.fromtimestamp(time.time(), UTC)
        name = key["name"]
        age = now - datetime.fromisoformat(key["validAfterTime"])
        used = key.get("lastAuthenticatedTime")
        delete = "bonded iam service-accounts keys delete"
        remove = f"{delete} {name.rpartition('/')[2]} --iam-account={email}"
        if datetime.fromisoformat(key["validBeforeTime"]) <= now:
            yield Finding("KEY_EXPIRED", name, "it is good for nothing any more", remove)
        elif age > self.key_age_max:
            yield Finding(
                "KEY_OLD", name, f"it is {age.days} days old", f"Make a new one, then: {remove}"
            )
        if used is None and age > timedelta(days=1):
            yield Finding("KEY_NEVER_USED", name, f"made {age.days} days ago, never used", remove)
        elif used and (idle := now - datetime.fromisoformat(used)) > self.key_age_max:
            yield Finding("KEY_IDLE", name, f"not used for {idle.days} days", remove)

    def _policy(self, resource: str) -> Iterator[Finding]:
        path = f"/v1/{resource}"
        by_post = "/repositories/" not in resource
        place = PolicyResource("resource", resource, path, is_read_by_post=by_post)
        policies = self._seen(lambda: [place.read(self.session)], path)
        for binding in policies[0].get("bindings", ()) if policies else ():
            yield from self._binding(resource, binding)

    def _binding(self, resource: str, binding: Message) -> Iterator[Finding]:
        role, members = binding["role"], binding.get("members", [])
        for member in members:
            take = f"remove-iam-policy-binding --member={member} --role={role}"
            grant = f"{member} has {role}"
            if member in _EVERYBODY:
                advice = f"If that is not meant: {take}"
                yield Finding("PUBLIC", resource, grant, advice)
            elif member.startswith(_ACCOUNT):
                email = member.removeprefix(_ACCOUNT)
                if self.accounts.get(email):
                    yield Finding("DISABLED_ACCOUNT", resource, f"{grant}, and is disabled", take)
                elif email not in self.accounts and _project_of(email) in self.projects_seen:
                    yield Finding("NO_SUCH_ACCOUNT", resource, f"{grant}, and does not exist", take)
        if role == OWNER and (resource != ORGANIZATION or len(members) > OWNERS_MAX):
            what = f"{', '.join(members)} may do everything" if members else "nobody"
            yield Finding(
                "OWNER", resource, what, "Grant a smaller role, such as artifactregistry.admin."
            )
        yield from _expired(resource, binding)

    def _upstream(self, resource: str) -> Iterator[Finding]:
        project, repository = resource.split("/")[1], resource.rpartition("/")[2]
        url = f"{self.session.server}/{segment(project)}/{segment(repository)}"
        index = Index(self.session.server, url, self.session.tokens)
        if why := find_obstacle(index):
            yield Finding("UPSTREAM", resource, why, _REACH)

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


def _expired(resource: str, binding: Message) -> Iterator[Finding]:
    condition = binding.get("condition") or {}
    expression = str(condition.get("expression", ""))
    until = _end_of(expression)
    if until is not None and until.timestamp() < time.time():
        members = ", ".join(binding.get("members", []))
        yield Finding(
            "EXPIRED_CONDITION",
            resource,
            f"{binding['role']} for {members} expired on {until:%Y-%m-%d}",
            "Remove the binding: it grants nothing.",
        )


# The form that people and consoles write for an expiry (gar.md §3.4).
_UNTIL = re.compile(r"""request\.time\s*<=?\s*timestamp\(\s*(["'])([^"']+)\1\s*\)""")


def _end_of(expression: str) -> datetime | None:
    """Return when *expression* stops holding for good, if it is plain to see."""
    parts = [part.strip() for part in expression.split("&&")]
    # Beside an alternative, or within parentheses, an end may be the end of nothing.
    if re.search(r"\|\||\?", expression) or any(p.count("(") != p.count(")") for p in parts):
        return None
    ends = []
    for part in parts:
        found = _UNTIL.fullmatch(part)
        try:
            end = datetime.fromisoformat(found[2]) if found else None
        except ValueError:
            end = None
        if end is not None:
            ends.append(end if end.tzinfo else end.replace(tzinfo=UTC))
    return min(ends, default=None)


def _project_of(email: str) -> str:
    return email.partition("@")[2].partition(".")[0]


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
