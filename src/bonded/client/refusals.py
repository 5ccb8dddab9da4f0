"""What a token endpoint's refusal means to whoever asked: what was wrong, and one next step."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from bonded.client.errors import ClientError, Misconfigured, NotSignedIn, Unreachable


def refusal_of(
    arguments: tuple[Any, ...], *, subject: str, endpoint: str, hint: str
) -> ClientError:
    """Return our error for google-auth's: a text, and the body that was answered."""
    # Of another address than the endpoint: that of the issuer, which a job asks for its token.
    if "subject token" in str(arguments[:1]):
        said = " ".join(str(part) for part in arguments)[:500]
        return Misconfigured(f"Cannot use {subject}: {said}", hint=hint)
    body = arguments[-1] if arguments else None
    if isinstance(body, str):
        with suppress(ValueError):
            body = json.loads(body)
    error = body.get("error") if isinstance(body, dict) else None
    if isinstance(error, dict) and isinstance(error.get("message"), str):
        # generateAccessToken is a call of the API, which has an envelope of its own (gar.md §5.6).
        return _refused(error["message"], subject, hint)
    if not isinstance(body, dict) or not isinstance(error, str):
        return Unreachable(
            f"{endpoint} does not answer as a Bonded server does.",
            hint="It may be failing, or something else may be listening there.",
        )
    # RFC 6749 §5.2: a code, and perhaps a sentence.
    reason = str(body.get("error_description") or error)
    if error in {"temporarily_unavailable", "server_error"}:
        return Unreachable(f"{endpoint} cannot answer now: {reason}", hint="Try again later.")
    return _refused(reason, subject, hint)


def _refused(reason: str, subject: str, hint: str) -> NotSignedIn:
    """Return the refusal with one next step: the server's, unless ours is the same made exact.

    Only the server knows what is wrong, and a Bonded server ends with what to do about it. Ours
    says what a server cannot know, such as the name of a file: it stands where the server says
    nothing, and in place of a step that begins with the same words.
    """
    said, has_step, step = reason.strip().removesuffix(".").rpartition(". ")
    if has_step and hint.startswith(step):
        reason = f"{said}."
    elif has_step:
        hint = ""
    return NotSignedIn(f"The server refuses {subject}: {reason}", hint=hint)
