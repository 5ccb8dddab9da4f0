"""One next step after a refusal: the server's, or ours where it says the same more exactly."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bonded.client.errors import ClientError, Misconfigured, NotSignedIn, Unreachable
from bonded.client.refusals import refusal_of

ENDPOINT = "https://packages.example.com/token"


def refusal(body: Any, hint: str, text: str = "refused") -> ClientError:
    """Return our error for an answer."""
    return refusal_of(
        (text, json.dumps(body)), subject="the key of [ci]", endpoint=ENDPOINT, hint=hint
    )


@pytest.mark.parametrize(
    ("reason", "hint", "says"),
    [
        ("Invalid Signature.", "Create another.", "Invalid Signature.\nCreate another."),
        ("It has ended. Sign in again.", "Sign in again: X.", "It has ended.\nSign in again: X."),
        ("It is off. Have it enabled.", "Create another.", "It is off. Have it enabled."),
        ("It is for 'x'. Ask for `y.z`.", "Look at the file.", "It is for 'x'. Ask for `y.z`."),
        (
            "Wrong. It is gone. Make one.",
            "Make one with X.",
            "Wrong. It is gone.\nMake one with X.",
        ),
    ],
)
def test_the_next_step_is_said_once(reason: str, hint: str, says: str) -> None:
    error = refusal({"error": "invalid_grant", "error_description": reason}, hint)

    assert isinstance(error, NotSignedIn)
    assert str(error) == f"The server refuses the key of [ci]: {says}"


def test_a_refusal_of_the_api_is_one_of_the_server_too() -> None:
    """The second step of a job that acts as an account is a call of the API (gar.md §5.6)."""
    message = "The caller may not act as [ci]. Have the role granted."
    body = {"error": {"code": 403, "message": message, "status": "PERMISSION_DENIED"}}

    error = refusal(body, "Look at the file.")

    assert isinstance(error, NotSignedIn)
    assert str(error) == f"The server refuses the key of [ci]: {message}"


def test_an_issuer_that_gives_the_job_no_token_is_not_taken_for_the_server() -> None:
    text = "Unable to retrieve Identity Pool subject token"

    error = refusal({"message": "Forbidden"}, "Look at the file.", text)

    assert isinstance(error, Misconfigured)
    assert text in str(error)
    assert str(error).endswith("\nLook at the file.")
    assert ENDPOINT not in str(error)


@pytest.mark.parametrize("body", [{}, [], {"error": 1}, {"error": {"code": 5}}, "<html>"])
def test_what_is_no_answer_of_ours_is_said_to_be_none(body: Any) -> None:
    error = refusal(body, "Create another.")

    assert isinstance(error, Unreachable)
    assert f"{ENDPOINT} does not answer as a Bonded server does." in str(error)
