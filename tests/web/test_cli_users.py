"""People from the command line against a real server: their whole life, and every refusal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from support.browsing import PASSWORD
from support.command_line import Bonded, command_line
from support.device import accept, refresh, sign_device_in
from support.server import Server, running_server

ADA = "ada@example.com"


@pytest.fixture(name="server", scope="module")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("users") / "data") as server:
        yield server


@pytest.fixture(name="bonded")
def _bonded(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Bonded:
    return command_line(server, tmp_path / "config", monkeypatch, capsys)


def test_a_user_s_whole_life(server: Server, bonded: Bonded) -> None:
    made = bonded("users", "create", ADA, "--display-name=Ada Lovelace")
    listed = json.loads(bonded("users", "list", "--format=json").out)
    again = bonded("users", "invite", ADA)
    accept(again.out.strip())
    tokens = sign_device_in(server.url, ADA)
    shown = json.loads(bonded("users", "describe", ADA, "--format=json").out)
    disabled = bonded("users", "disable", ADA)
    while_disabled = refresh(server.url, tokens)
    enabled = bonded("users", "enable", ADA)
    afterwards = sign_device_in(server.url, ADA)
    deleted = bonded("users", "delete", ADA, "--quiet")
    gone = bonded("users", "describe", ADA)

    assert made.out.startswith(f"{server.url}/_/invitation?code=")
    assert made.err == f"Created user [{ADA}]. The link is good once; hand it to them:\n"
    # The second link replaces the first: only one of them was good.
    assert again.out != made.out
    assert [one["address"] for one in listed] == [ADA]
    assert (shown["displayName"], shown["source"]) == ("Ada Lovelace", "DIRECTORY")
    assert (disabled.err, enabled.err) == (f"Disabled user [{ADA}].\n", f"Enabled user [{ADA}].\n")
    assert (while_disabled.status_code, while_disabled.json()["error"]) == (400, "invalid_grant")
    assert refresh(server.url, afterwards).status_code == 400
    assert deleted.err == f"Deleted user [{ADA}].\n"
    assert (gone.status, "does not exist" in gone.err) == (1, True)


def test_sign_ins_are_listed_survive_parallel_use_and_end_when_revoked(
    server: Server, bonded: Bonded
) -> None:
    address = "grace@example.com"
    accept(bonded("users", "create", address).out.strip())
    first, second = sign_device_in(server.url, address), sign_device_in(server.url, address)
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: refresh(server.url, first), range(4)))
    tokens = [answer.json()["access_token"] for answer in answers]
    me = f"{server.url}/v1/users/me"
    own = [
        requests.get(me, headers={"authorization": f"Bearer {token}"}, timeout=30).status_code
        for token in tokens
    ]

    listed = json.loads(bonded("users", "sessions", "list", address, "--format=json").out)
    devices = [one for one in listed if one["client"] == "Bonded command line"]
    oldest = min(devices, key=lambda one: str(one["createTime"]))["name"].rpartition("/")[2]
    revoked = bonded("users", "sessions", "revoke", address, oldest)
    after_one = [refresh(server.url, one).status_code for one in (first, second)]
    all_revoked = bonded("users", "sessions", "revoke", address, "all")
    after_all = refresh(server.url, second).status_code

    assert {answer.status_code for answer in answers} == {200}
    assert (len(set(tokens)), own) == (4, [200] * 4)
    # One for each device, however often it was used, and one for each browser.
    assert (len(devices), len(listed)) == (2, 4)
    assert revoked.err == f"Revoked session [{oldest}] of [{address}].\n"
    assert after_one == [400, 200]
    assert (all_revoked.status, after_all) == (0, 400)
    ended = requests.get(me, headers={"authorization": f"Bearer {tokens[0]}"}, timeout=30)
    assert ended.status_code == 401
    assert json.loads(bonded("users", "sessions", "list", address, "--format=json").out) == []


REFUSED: dict[str, tuple[tuple[str, ...], str]] = {
    "an address that is none": (("create", "ada"), "'ada' is not"),
    "an address that is taken": (("create", "taken@example.com"), "already exists"),
    "somebody who is not there": (("describe", "nobody@example.com"), "does not exist"),
    "nobody to invite": (("invite", "nobody@example.com"), "does not exist"),
    "nobody to disable": (("disable", "nobody@example.com"), "does not exist"),
    "nobody to enable": (("enable", "nobody@example.com"), "does not exist"),
    "nobody to delete": (("delete", "nobody@example.com", "--quiet"), "does not exist"),
    "nobody's second factor": (
        ("remove-second-factor", "nobody@example.com", "--quiet"),
        "does not exist",
    ),
    "nobody's sign-ins": (("sessions", "list", "nobody@example.com"), "does not exist"),
    "a sign-in that is not there": (
        ("sessions", "revoke", "taken@example.com", "absent"),
        "absent",
    ),
    "a machine's own sign-ins": (("sessions", "list", "me"), "is not a person"),
    "a name that reaches elsewhere": (("describe", "../projects"), "does not exist"),
    "no address": (("create",), "Missing argument 'ADDRESS'"),
}


@pytest.mark.parametrize("title", REFUSED)
def test_what_cannot_be_done_is_told(bonded: Bonded, title: str) -> None:
    line, says = REFUSED[title]
    bonded("users", "create", "taken@example.com")

    said = bonded("users", *line)

    assert said.status in (1, 2)
    assert said.out == ""
    assert says in said.err
    assert PASSWORD not in said.err


def test_deleting_asks_first(bonded: Bonded) -> None:
    bonded("users", "create", "taken@example.com")

    said = bonded("users", "delete", "taken@example.com", typed="n\n")

    assert said.status == 1
    assert bonded("users", "describe", "taken@example.com").status == 0


@pytest.mark.parametrize("verb", ["disable", "delete"])
def test_the_account_that_one_acts_as_is_not_shut_out_unasked(
    server: Server, bonded: Bonded, verb: str
) -> None:
    own = json.loads((server.data_dir / "admin-key.json").read_text())["client_email"]
    command = ("iam", "service-accounts", verb, own)

    asked = bonded(*command, "--quiet")
    answered = bonded(*command, typed="n\n")
    forced = bonded(*command, "--force", "--quiet")

    for said in (asked, answered):
        assert said.status == 1
        assert f"{own} is the account that you act as: you could not undo this" in said.err
        assert "add --force" in said.err
    # What --force says yes to is one's own lockout, never the loss of the last owner.
    assert forced.status == 1
    assert "owner" in forced.err
    assert bonded("projects", "list").status == 0
