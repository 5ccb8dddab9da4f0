"""What was given an end says when that is, and opens nothing afterwards."""

from __future__ import annotations

import re
import time
from datetime import datetime
from pathlib import Path

import pytest
import requests

from bonded.client.accounts import read_key_file
from bonded.client.tokens import AccessToken, keep_token
from clients.shelves import PROJECT, Shelf
from support.command_line import Bonded, command_line

pytestmark = pytest.mark.clients

LIFE_S = 3
MINUTE_S = 60
HOUR_S = 60 * MINUTE_S
KEYS = ("iam", "service-accounts", "keys", "create")


@pytest.fixture(name="bonded")
def _bonded(
    shelf: Shelf,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Bonded:
    return command_line(shelf.server, tmp_path / "config", monkeypatch, capsys)


@pytest.fixture(name="robot")
def _robot(bonded: Bonded, shelf: Shelf) -> str:
    """An account of its own for each test, whose address is returned."""
    made = bonded("iam", "service-accounts", "create", f"robot-{shelf.name}")
    assert made.status == 0, made.err
    return f"robot-{shelf.name}@{PROJECT}.iam.gserviceaccount.com"


def end_said(text: str) -> float:
    """Return the moment that a command has said."""
    found = re.search(r"ends at (\S+)\.\n", text)
    assert found is not None, text
    return datetime.fromisoformat(found[1]).timestamp()


def get(shelf: Shelf, *, token: str = "", key: str = "") -> tuple[int, str]:
    """Ask for the repository's packages, with a token or with a key itself."""
    if token:
        headers = {"Authorization": f"Bearer {token}"}
        answer = requests.get(shelf.public_index_url, headers=headers, timeout=30)
    else:
        basic = ("_json_key", key)
        answer = requests.get(shelf.public_index_url, auth=basic, timeout=30)
    return answer.status_code, answer.text


def wait_until(moment: float) -> None:
    time.sleep(max(0.0, moment + 1 - time.time()))


def test_a_token_says_when_it_ends_and_opens_nothing_then(bonded: Bonded, shelf: Shelf) -> None:
    before = int(time.time())

    made = bonded("auth", "print-access-token", f"--lifetime={LIFE_S}")

    token, end = made.out.strip(), end_said(made.err)
    assert before + LIFE_S <= end <= time.time() + LIFE_S
    assert "WARNING" not in made.err
    assert get(shelf, token=token)[0] == 200
    wait_until(end)
    assert get(shelf, token=token) == (401, "The access token has expired. Fetch a new one.\n")
    # What the machine is signed in with goes on.
    assert get(shelf, token=bonded("auth", "print-access-token").out.strip())[0] == 200


def test_a_key_says_when_it_ends_and_what_to_do_then(
    bonded: Bonded, robot: str, shelf: Shelf, tmp_path: Path
) -> None:
    key = tmp_path / "key.json"
    member = f"--member=serviceAccount:{robot}"
    grant = ("add-iam-policy-binding", shelf.name, member, "--role=roles/artifactregistry.reader")
    assert bonded("artifacts", "repositories", *grant).status == 0

    made = bonded(*KEYS, str(key), f"--iam-account={robot}", f"--expires={LIFE_S}s")

    end = end_said(made.err)
    assert bonded("auth", "activate-service-account", f"--key-file={key}").status == 0
    token = bonded("auth", "print-access-token").out.strip()
    assert get(shelf, token=token)[0] == get(shelf, key=key.read_text())[0] == 200
    wait_until(end)
    # A token does not outlive the key that it was made with, whatever it says itself.
    refusals = [get(shelf, token=token), get(shelf, key=key.read_text())]
    listed = bonded("artifacts", "packages", "list", f"--repository={shelf.name}")
    for status, text in (*refusals, (401 if listed.status == 1 else 0, listed.err)):
        assert status == 401
        assert "The service-account key has expired" in text
    assert "`bonded auth activate-service-account --key-file=FILE`" in listed.err.replace("\n", " ")


def test_a_token_at_hand_that_would_end_too_soon_is_replaced(
    bonded: Bonded, shelf: Shelf, tmp_path: Path
) -> None:
    short = bonded("auth", "print-access-token", "--lifetime=10m")
    account = read_key_file(shelf.server.data_dir / "admin-key.json").account
    keep_token(tmp_path / "config", account, AccessToken(short.out.strip(), end_said(short.err)))

    longer = bonded("auth", "print-access-token", "--lifetime=50m")

    assert end_said(longer.err) > time.time() + 49 * MINUTE_S
    assert "WARNING" not in longer.err


def test_a_token_that_ends_sooner_than_asked_says_so(bonded: Bonded, robot: str) -> None:
    own = bonded("auth", "print-access-token", "--lifetime=2h")
    acting = ("print-access-token", "--lifetime=2h", f"--impersonate-service-account={robot}")
    of_another = bonded("auth", *acting)

    assert end_said(own.err) <= time.time() + HOUR_S
    assert "WARNING: That is sooner than asked" in own.err
    assert "with --impersonate-service-account=EMAIL." in own.err
    assert end_said(of_another.err) > time.time() + 2 * HOUR_S - MINUTE_S
    assert "sooner" not in of_another.err


@pytest.mark.parametrize(
    ("lifetime", "said"),
    [
        ("", "[] is not a duration.\nWrite it as 90s"),
        ("0", "is good for nothing.\nSay with --lifetime how long, such as 15m."),
        ("0m", "is good for nothing.\nSay with --lifetime how long, such as 15m."),
        ("15x", "[15x] is not a duration.\nWrite it as 90s"),
        ("-5m", "[-5m] is not a duration.\nWrite it as 90s"),
        ("13h", "lifetime must not be more than 43200s, as the server is set up."),
        ("999999999d", "[999999999d] is more than a hundred years.\nWrite less, such as 365d."),
    ],
)
def test_no_token_is_printed_for_a_life_that_cannot_be(
    lifetime: str, said: str, bonded: Bonded
) -> None:
    refused = bonded("auth", "print-access-token", f"--lifetime={lifetime}")

    assert (refused.status, refused.out) == (1, "")
    assert said in refused.err


@pytest.mark.parametrize(
    ("when", "said"),
    [
        ("0", "The key would have expired already."),
        ("2020-01-01T00:00:00Z", "The key would have expired already."),
        ("2040-01-01", "must be a moment such as 2030-01-31T00:00:00Z, not '2040-01-01'."),
        ("soon", "[soon] is not a duration.\nWrite it as 90s"),
        ("", "[] is not a duration.\nWrite it as 90s"),
        ("5000000d", "[5000000d] is more than a hundred years.\nWrite less, such as 365d."),
    ],
)
def test_no_key_is_made_for_an_end_that_cannot_be(
    when: str, said: str, bonded: Bonded, tmp_path: Path
) -> None:
    admin = f"--iam-account=bonded-admin@{PROJECT}.iam.gserviceaccount.com"

    refused = bonded(*KEYS, str(tmp_path / "key.json"), admin, f"--expires={when}")

    assert refused.status == 1
    assert said in refused.err
    assert not (tmp_path / "key.json").exists()
