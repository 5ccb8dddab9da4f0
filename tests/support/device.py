"""A person with a password, and a device that they sign in: against a real server."""

from __future__ import annotations

from typing import Any

import requests

from support.browsing import CLIENT, PASSWORD
from support.person import browse

DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"


def accept(link: str) -> None:
    """Set a password by the link of an invitation."""
    assert "Your password is set." in browse(link, {"password": PASSWORD, "again": PASSWORD})


def sign_device_in(url: str, address: str) -> dict[str, Any]:
    """Sign a device in as *address*, by a browser of their own; return the device's tokens."""
    asked = {"client_id": CLIENT, "scope": "openid"}
    device = requests.post(f"{url}/device_authorization", asked, timeout=30).json()
    typed = {"address": address, "password": PASSWORD, "answer": "yes"}
    assert "The device is signed in." in browse(device["verification_uri_complete"], typed)
    form = {
        "grant_type": DEVICE_GRANT,
        "device_code": device["device_code"],
        "client_id": CLIENT,
    }
    answer = requests.post(f"{url}/token", form, timeout=30)
    assert answer.status_code == 200, answer.text
    tokens: dict[str, Any] = answer.json()
    return tokens


def refresh(url: str, tokens: dict[str, Any]) -> requests.Response:
    """Ask for another access token."""
    form = {
        "grant_type": "refresh_token",
        "refresh_token": tokens["refresh_token"],
        "client_id": CLIENT,
    }
    return requests.post(f"{url}/token", form, timeout=30)
