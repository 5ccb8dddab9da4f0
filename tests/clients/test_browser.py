"""The pages for people in a real browser: every step works, and every field says what it is."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from urllib.parse import urlencode

import pytest
import requests

from clients.shelves import sign_in
from support.browsing import CLIENT
from support.device import DEVICE_GRANT
from support.server import running_server
from support.tools import node_tool

WALK_MAX_S = 180
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
"""That of the verifier in RFC 7636 §B."""


def test_a_person_signs_in_agrees_and_signs_a_device_in_with_chromium(tmp_path: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("needs Chromium")
    directory = node_tool("browser")
    with running_server(tmp_path / "data") as server:
        owner = {"authorization": f"Bearer {sign_in(server)}"}
        made = requests.post(
            f"{server.url}/v1/users", json={"address": "ada@example.com"}, headers=owner, timeout=30
        )
        form = {"client_id": CLIENT, "scope": "openid"}
        device = requests.post(f"{server.url}/device_authorization", form, timeout=30).json()
        query = {
            "response_type": "code",
            "client_id": CLIENT,
            "scope": "openid",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
        }
        done = subprocess.run(
            [
                *("node", "walk.mjs", chromium, str(tmp_path / "profile"), server.url),
                *(made.json()["invitation"]["uri"], f"{server.url}/authorize?{urlencode(query)}"),
                device["verification_uri_complete"],
            ],
            cwd=directory,
            capture_output=True,
            text=True,
            timeout=WALK_MAX_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        grant = {"grant_type": DEVICE_GRANT, "device_code": device["device_code"]}
        tokens = requests.post(f"{server.url}/token", grant | {"client_id": CLIENT}, timeout=30)

    assert json.loads(done.stdout) == []
    assert tokens.json()["account"] == "ada@example.com"
