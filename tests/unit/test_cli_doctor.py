"""What `bonded doctor` sees in conditions, in clocks and in how the server is reached."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from datetime import timedelta
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from bonded.cli.doctor import COLUMNS, Examination
from bonded.cli.doctor_access import Grants, Known, end_of
from bonded.cli.findings import ORGANIZATION, Finding, take_command
from bonded.cli.grammar import Flags
from bonded.cli.output import Format, printable, render_list
from bonded.cli.policies import read_condition
from bonded.cli.session import Session
from bonded.client.environment import read_environment
from support.cli_registry import Registry, running_registry

PAST, FUTURE = "2001-01-01T00:00:00Z", "2999-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("expression", "end"),
    [
        (f'request.time < timestamp("{PAST}")', "2001"),
        (f"request.time<=timestamp('{PAST}')", "2001"),
        (f'resource.package == "a" && request.time < timestamp( "{PAST}" )', "2001"),
        (f'request.time < timestamp("{FUTURE}") && request.time < timestamp("{PAST}")', "2001"),
        (f'request.time < timestamp("{FUTURE}")', "2999"),
        ('request.time < timestamp("2001-01-01T00:00:00")', "2001"),
        # An end of nothing, or none that is plain to see.
        (f'request.time < timestamp("{PAST}") || resource.package == "a"', None),
        (f'!(resource.package == "a" && request.time < timestamp("{PAST}") && true)', None),
        (f'!(request.time < timestamp("{PAST}"))', None),
        (f'true ? true : true && request.time < timestamp("{PAST}")', None),
        (f'request.time > timestamp("{PAST}")', None),
        ('request.time < timestamp("tomorrow")', None),
        ("", None),
    ],
)
def test_an_end_is_seen_only_where_it_ends_the_condition(expression: str, end: str | None) -> None:
    found = end_of(expression)

    assert (found and f"{found:%Y}") == end


@pytest.fixture(name="registry")
def _registry() -> Iterator[Registry]:
    with running_registry() as registry:
        yield registry


def findings_about(url: str, monkeypatch: pytest.MonkeyPatch) -> list[Finding]:
    """Return what is found about a server itself."""
    monkeypatch.setenv("BONDED_SERVER", url)
    examination = Examination(Session(Flags(), read_environment()), timedelta(days=90))
    return list(examination._server())


@pytest.mark.parametrize(
    ("ahead_s", "says"),
    [(0, None), (20, None), (3600, "ahead of ours"), (-3600, "behind ours")],
)
def test_a_clock_that_is_far_off_is_found(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, ahead_s: int, says: str | None
) -> None:
    date = formatdate(time.time() + ahead_s, usegmt=True)
    registry.date = date

    found = findings_about(registry.url, monkeypatch)

    assert [one.finding for one in found] == (["CLOCK_SKEW"] if says else [])
    assert all(says in one.what for one in found if says)


def test_a_server_that_does_not_say_its_time_is_not_accused(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.date = "soon"

    assert findings_about(registry.url, monkeypatch) == []


def test_tokens_that_cross_a_network_in_the_open_are_found(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An address that is no loopback address, and that leads to this machine all the same.
    open_url = registry.url.replace("127.0.0.1", "0.0.0.0")

    named = findings_about(registry.url.replace("127.0.0.1", "localhost"), monkeypatch)
    found = findings_about(open_url, monkeypatch)

    assert named == []
    assert [(one.finding, one.resource) for one in found] == [("PLAIN_HTTP", open_url)]


# Whatever a server says, or was let to keep before it asked what an address looks like.
HOSTILE = (
    *("$(touch pwned)", "`touch pwned`", "a;touch pwned;", "a|touch pwned", "a&&touch pwned"),
    *("a'$(touch pwned)'", 'a"$(touch pwned)"', "a\ntouch pwned\n", "a\\'; touch pwned #"),
    *("${IFS}", "a # b", "*", "~", "!!", "a\x1b]0;b\x07c", "a\x9bd"),
)
RECORDING = """#!/bin/sh
for word in "$@"; do
  [ "$word" != --condition-from-file=/dev/stdin ] || { printf 'stdin\\0'; cat; printf '\\0'; }
  printf '%s\\0' "$word"
done >> "$RECORD"
"""


@pytest.fixture(name="pasted")
def _pasted(tmp_path: Path) -> Any:
    """Return what runs a line in a shell, and answers with the words that `bonded` got."""
    tool = tmp_path / "bin" / "bonded"
    tool.parent.mkdir()
    tool.write_text(RECORDING)
    tool.chmod(0o755)
    empty = tmp_path / "empty"
    empty.mkdir()
    record = tmp_path / "record"

    def paste(line: str) -> list[str]:
        record.write_bytes(b"")
        environment = {"PATH": f"{tool.parent}:{os.defpath}", "RECORD": str(record)}
        # The shell is what is tested.
        done = subprocess.run(
            ["/bin/sh", "-c", line], cwd=empty, env=environment, capture_output=True, check=False
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b""), line
        assert list(empty.iterdir()) == [], line
        return record.read_text(encoding="utf-8").split("\0")[:-1]

    return paste


def all_advice(name: str) -> list[Finding]:
    """Return what is found where whoever could name anything named it *name*."""
    owning = {"role": "roles/owner", "members": [f"group:{name}@x", f"user:{name}@x", "allUsers"]}
    condition = {"title": name, "expression": f'request.time < timestamp("{PAST}")'}
    expired = {"role": f"roles/{name}", "members": [f"user:{name}@y"], "condition": condition}
    members = [{"member": f"user:{name}@z", "role": "OWNER"}]
    grants = Grants(
        Known(
            users={},
            roles={f"roles/{name}": frozenset({"iam.roles.update"})},
            deleted_roles={f"projects/p/roles/{name}"},
        ),
        lambda group: members,
        lambda member: "UNPROVEN",
        lambda resource, member, expression: "it is wrong",
    )
    deleted = expired | {"role": f"projects/p/roles/{name}"}
    found = list(grants.in_server({"bindings": [owning, expired, deleted]}))
    found += grants.in_group(f"{name}@x", members)
    places = (f"projects/{name}", f"projects/{name}/serviceAccounts/{name}@w")
    for place in (*places, f"projects/{name}/locations/{name}/repositories/{name}"):
        found += grants.in_policy(place, {"bindings": [owning, expired]})
    key = {
        "name": f"projects/p/serviceAccounts/{name}@w/keys/{name.replace('/', '')}",
        "validAfterTime": PAST,
        "validBeforeTime": FUTURE,
    }
    examination = Examination(Session(Flags(), read_environment()), timedelta(days=90))
    found += examination._key(f"{name}@w", key)
    found += examination._key(f"{name}@w", key | {"validBeforeTime": PAST})
    return found


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_that_doctor_prints_is_run_by_the_shell_it_is_pasted_into(
    pasted: Any, name: str
) -> None:
    found = all_advice(name)

    kinds = {one.finding for one in found}
    assert {"OWNER_CANNOT_SIGN_IN", "GROUP_OWNS", "EXPIRED_CONDITION"} < kinds
    assert {"PUBLIC", "NO_SUCH_USER", "LIKE_OWNER", "KEY_OLD", "KEY_EXPIRED"} < kinds
    words = {word for advice in {one.advice for one in found} for word in pasted(advice)}
    shown = printable(name)
    assert {f"{shown}@x", f"--member=user:{shown}@z", f"--role=roles/{shown}"} < words
    assert {f"--project={shown}", f"--location={shown}", f"--iam-account={shown}@w"} < words


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("form", ["table", "json", "jsonl", "yaml"])
def test_nothing_that_doctor_finds_controls_the_terminal(name: str, form: str) -> None:
    items = [one.as_message() for one in all_advice(name)]
    text = render_list(items, Format.parse(form), COLUMNS)

    assert [one for one in text if not one.isprintable() and one != "\n"] == []
    # A line for each: none can be made up by what is in another.
    assert form != "table" or len(text.split("\n")) == len(items) + 1


EXPRESSION = 'request.time < timestamp("2001-01-01T00:00:00Z") && [1, 2].exists(x, x == 1)'


@pytest.mark.parametrize(
    "condition",
    [
        {"title": "until-2001"},
        {"title": "it's over", "description": "a, b"},
        {"title": "a,description=b"},
        {"title": "a,description=b", "description": "c"},
        {"title": "a,expression=true"},
        {"title": "a,title=b"},
        {"title": "a", "description": "b,expression=true,title=c"},
        {"title": "two\nlines"},
        {"title": "\x1b[31mred"},
        {"title": "Jörg's 100%s \\n"},
    ],
)
def test_a_condition_is_pasted_as_the_one_that_it_is(
    pasted: Any, tmp_path: Path, condition: dict[str, str]
) -> None:
    condition = {**condition, "expression": EXPRESSION}
    binding = {"role": "roles/viewer", "condition": condition}

    line = take_command(ORGANIZATION, binding, "user:ada@example.com")
    words = pasted(line)

    assert line.isprintable()
    given = [word for word in words if word.startswith("--condition=")]
    if given:
        meant = read_condition(given[0].removeprefix("--condition="), None)
    else:
        file = tmp_path / "condition.json"
        file.write_text(words[words.index("stdin") + 1], encoding="utf-8")
        meant = read_condition(None, file)
    assert meant == condition
