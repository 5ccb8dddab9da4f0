"""`bonded logging`: who did what, and whether the log of it is as it was written."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from typing import Any

import click

from bonded.cli.grammar import Group
from bonded.cli.output import Column, field
from bonded.cli.session import Session, pass_session
from bonded.client.api import PAGES_MAX, Message, segment
from bonded.client.errors import Misconfigured, Unreachable


def _last(entry: Mapping[str, Any], name: str, separator: str) -> str:
    return str(entry["protoPayload"].get(name, "")).rpartition(separator)[2]


def _package(entry: Mapping[str, Any]) -> str:
    details = entry["protoPayload"].get("metadata", {})
    return "==".join(str(details[name]) for name in ("package", "version") if name in details)


COLUMNS = (
    Column("TIMESTAMP", field("timestamp")),
    Column("PRINCIPAL", field("protoPayload.authenticationInfo.principalEmail")),
    Column("METHOD", lambda entry: _last(entry, "methodName", ".")),
    Column("RESOURCE", field("protoPayload.resourceName")),
    Column("PACKAGE", _package),
    Column("CODE", lambda entry: str(entry["protoPayload"]["status"].get("code", 0))),
)
PAGE_SIZE = 1000
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


@click.group("logging", cls=Group)
def logs() -> None:
    """Read and verify the audit log."""


@logs.command()
@click.argument("log_filter", default="")
@click.option("--limit", type=click.IntRange(min=1), help="How many entries to show at most.")
@click.option(
    "--order",
    type=click.Choice(["asc", "desc"], case_sensitive=False),
    default="desc",
    show_default=True,
    help="The oldest first, or the newest.",
)
@click.option(
    "--freshness", metavar="DURATION", help="Nothing older, such as 30m, 12h, 7d; by default, all."
)
@pass_session
def read(
    session: Session, log_filter: str, limit: int | None, order: str, freshness: str | None
) -> None:
    """Show the entries that a filter asks for, such as 'package=requests version=2.0'.

    With --project, the entries of that project, for which a role on it is enough.
    """
    if freshness:
        since = f'timestamp>="{_moment(freshness)}"'
        log_filter = f"({log_filter}) AND {since}" if log_filter.strip() else since
    body: Message = {
        "filter": log_filter,
        "orderBy": f"timestamp {order}",
        "pageSize": min(limit or PAGE_SIZE, PAGE_SIZE),
    }
    form = session.flags.format or "yaml"
    if form in ("yaml", "jsonl"):
        # As they come: there may be more than fit in memory.
        for entry in _entries(session, body, limit):
            if form == "yaml":
                click.echo("---")
            session.show(entry, form)
    else:
        session.show_all(_entries(session, body, limit), COLUMNS)


@logs.command()
@click.option(
    "--expect",
    metavar="NUMBER:HASH",
    help="What an earlier run has printed, and somebody has kept elsewhere.",
)
@pass_session
def verify(session: Session, expect: str | None) -> int:
    """Check that no entry of the audit log was changed, removed or put in.

    Prints the newest entry's number and hash. Keep them where the server's
    administrators cannot change them, and give them to the next run: only so
    is it noticed when the end of the log is cut off or all of it written anew.
    """
    checked, last, problems = verify_chain(session, expect)
    if session.flags.format:
        session.show({"checked": checked, "last": last, "problems": problems}, "json")
        return 1 if problems else 0
    for problem in problems:
        click.echo(f"Entry {problem['number']} {problem['problem']}.", err=True)
    if problems:
        session.say(f"The audit log was tampered with: {len(problems)} problems.")
        return 1
    session.say(f"Verified {checked} entries: none was changed, removed or put in.")
    click.echo(f"{last['number']}:{last['hash']}")
    return 0


def verify_chain(session: Session, expect: str | None = None) -> tuple[int, Message, list[Message]]:
    """Verify the whole chain, part by part.

    Returns how many entries there are, the newest one's number and hash, and what is wrong.
    """
    body: Message = {}
    if expect:
        number, _, digest = expect.partition(":")
        if not re.fullmatch(r"\d{1,18}", number) or not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise Misconfigured(
                f"[{expect}] is not NUMBER:HASH.", hint="Give what `bonded logging verify` prints."
            )
        body["expected"] = {"number": number, "hash": digest}
    checked, problems = 0, []
    for _ in range(PAGES_MAX):
        part = session.api.post("/v2/entries:verify", body)
        checked += int(part["checked"])
        problems += part["problems"]
        if part["isComplete"]:
            return checked, part["last"], problems
        body["after"] = part["last"]
    raise Unreachable(f"The log of {session.server} has no end.")


def _entries(session: Session, body: Message, limit: int | None) -> Iterator[Message]:
    project = session.flags.project
    path = f"/v2/projects/{segment(project)}/entries:list" if project else "/v2/entries:list"
    shown = 0
    for _ in range(PAGES_MAX):
        page = session.api.post(path, body)
        for entry in page.get("entries", ()):
            yield entry
            shown += 1
            if shown == limit:
                return
        if "nextPageToken" not in page:
            for text in page.get("unknown", ()) if not shown else ():
                session.say(text)
            return
        body["pageToken"] = page["nextPageToken"]
    raise Unreachable(f"{session.server}{path} has more than {PAGES_MAX} pages.")


def _moment(freshness: str) -> str:
    match = re.fullmatch(r"(\d{1,6})([smhdw])", freshness.strip().lower())
    if match is None:
        raise Misconfigured(
            f"[{freshness}] is not a duration.", hint="Use one like 30m, 12h or 7d."
        )
    since = time.time() - int(match[1]) * _SECONDS[match[2]]
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(max(since, 0)))
