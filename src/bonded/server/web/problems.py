"""Our errors as HTTP: status, and a body for each kind of client.

Google's envelope under /v1; RFC 6749's at the token endpoint; problem+json
(RFC 9457) for clients that ask for JSON, of which uv shows the detail; plain
text otherwise, which pip, Poetry and `twine --verbose` show.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

import orjson

from bonded.server.core.errors import (
    Aborted,
    BondedError,
    Conflict,
    Ended,
    Forbidden,
    Gone,
    GrantRefused,
    Lockout,
    Needed,
    NotFound,
    OutOfSpace,
    PrivateAddress,
    Rejected,
    Reserved,
    SelfLockout,
    TimedOut,
    TooLarge,
    TooMany,
    Unauthenticated,
    Unavailable,
    Unimplemented,
    UpstreamFailed,
    UpstreamTimedOut,
)
from bonded.server.web.messages import Headers, Reply, json_reply, text_reply

STATUS: Mapping[type[BondedError], HTTPStatus] = {
    Rejected: HTTPStatus.BAD_REQUEST,
    TooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    TimedOut: HTTPStatus.REQUEST_TIMEOUT,
    Gone: HTTPStatus.GONE,
    Unimplemented: HTTPStatus.NOT_IMPLEMENTED,
    GrantRefused: HTTPStatus.BAD_REQUEST,
    TooMany: HTTPStatus.TOO_MANY_REQUESTS,
    Unauthenticated: HTTPStatus.UNAUTHORIZED,
    Ended: HTTPStatus.UNAUTHORIZED,
    Forbidden: HTTPStatus.FORBIDDEN,
    NotFound: HTTPStatus.NOT_FOUND,
    Reserved: HTTPStatus.NOT_FOUND,
    Conflict: HTTPStatus.CONFLICT,
    Aborted: HTTPStatus.CONFLICT,
    # What Google makes of FAILED_PRECONDITION (google.rpc.Code).
    Needed: HTTPStatus.BAD_REQUEST,
    Lockout: HTTPStatus.BAD_REQUEST,
    SelfLockout: HTTPStatus.PRECONDITION_FAILED,
    Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    OutOfSpace: HTTPStatus.INSUFFICIENT_STORAGE,
    UpstreamFailed: HTTPStatus.BAD_GATEWAY,
    PrivateAddress: HTTPStatus.BAD_GATEWAY,
    UpstreamTimedOut: HTTPStatus.GATEWAY_TIMEOUT,
}

# google.rpc.Code by name, which gcloud and Google's libraries read beside the status.
_CODES = {
    "INVALID_ARGUMENT": 3,
    "DEADLINE_EXCEEDED": 4,
    "NOT_FOUND": 5,
    "ALREADY_EXISTS": 6,
    "PERMISSION_DENIED": 7,
    "RESOURCE_EXHAUSTED": 8,
    "FAILED_PRECONDITION": 9,
    "ABORTED": 10,
    "UNIMPLEMENTED": 12,
    "INTERNAL": 13,
    "UNAVAILABLE": 14,
    "UNAUTHENTICATED": 16,
}
_GOOGLE: Mapping[type[BondedError], str] = {
    Rejected: "INVALID_ARGUMENT",
    TooLarge: "INVALID_ARGUMENT",
    TimedOut: "DEADLINE_EXCEEDED",
    Gone: "UNIMPLEMENTED",
    Unimplemented: "UNIMPLEMENTED",
    GrantRefused: "UNAUTHENTICATED",
    TooMany: "RESOURCE_EXHAUSTED",
    Unauthenticated: "UNAUTHENTICATED",
    Ended: "UNAUTHENTICATED",
    Forbidden: "PERMISSION_DENIED",
    NotFound: "NOT_FOUND",
    Reserved: "NOT_FOUND",
    Conflict: "ALREADY_EXISTS",
    Aborted: "ABORTED",
    Needed: "FAILED_PRECONDITION",
    Lockout: "FAILED_PRECONDITION",
    SelfLockout: "FAILED_PRECONDITION",
    Unavailable: "UNAVAILABLE",
    OutOfSpace: "RESOURCE_EXHAUSTED",
    UpstreamFailed: "UNAVAILABLE",
    PrivateAddress: "UNAVAILABLE",
    UpstreamTimedOut: "DEADLINE_EXCEEDED",
}

CRASHED = "The server failed to answer this request; its log says why."
_REST = ("/v1/", "/v2/")
# Of the token endpoints (RFC 6749 §5.2, RFC 8693 §2.2.2).
_OAUTH: Mapping[type[BondedError], str] = {
    Unauthenticated: "invalid_grant",
    Ended: "invalid_grant",
    NotFound: "invalid_target",
}
# Of trusted publishing (standards.md §2.8, T-4); the words are Warehouse's.
_MINTING: Mapping[type[BondedError], str] = {
    Unauthenticated: "invalid-token",
    Ended: "invalid-token",
    Forbidden: "invalid-publisher",
    Conflict: "invalid-reuse-token",
}
PUBLISHING = "/_/oidc/"
OAUTH_PATHS = (
    *("/token", "/v1/token", "/v1/oauthtoken", "/device_authorization"),
    *("/v1/introspect", "/revoke"),
)
"""Whose errors are as RFC 6749 §5.2 has them."""

_CHALLENGE = (b"www-authenticate", b'Basic realm="Bonded", charset="UTF-8"')


def problem_reply(error: BondedError, path: str, accept: bytes) -> Reply:
    """Return what the client of *path* is told about *error*."""
    status = STATUS[type(error)]
    # A refusal must not outlive its reason in anybody's cache (standards.md K-4).
    headers: Headers = ((b"cache-control", b"no-store"),)
    if status is HTTPStatus.UNAUTHORIZED:
        headers = (*headers, _CHALLENGE)
    if isinstance(error, TooMany):
        headers = (*headers, (b"retry-after", str(error.retry_after_s).encode()))
    if path in OAUTH_PATHS:
        return oauth_reply(error, status, headers)
    sentence = sentence_of(error)
    if path.startswith(PUBLISHING):
        return _minting_reply(error, sentence, headers)
    if path.startswith(_REST):
        return google_reply(status, _GOOGLE[type(error)], sentence, headers)
    if b"application/json" in accept or b"application/problem+json" in accept:
        problem = {"title": status.phrase, "status": int(status), "detail": sentence}
        reply = json_reply(problem, status)
        typed = ((b"content-type", b"application/problem+json"), *reply.headers[1:], *headers)
        return Reply(reply.status, reply.body, typed)
    return text_reply(sentence, status, headers)


def sentence_of(error: BondedError) -> str:
    """Return what the client is told about *error*."""
    text = f"{error}".rstrip(".")
    return text if text.endswith("?") else f"{text}."


def told_in_log(error: BondedError) -> str:
    """Return what the log is told about *error*: who raised it first, too, if that was not us."""
    cause = error.__cause__
    while isinstance(cause, BondedError):
        # It says the same, less of it.
        cause = cause.__cause__
    return f"{error}" if cause is None else f"{error} ({type(cause).__name__}: {cause})"


def google_code(error: BondedError) -> int:
    """Return the google.rpc.Code of *error*."""
    return _CODES[_GOOGLE[type(error)]]


def google_reply(status: HTTPStatus, code: str, message: str, headers: Headers = ()) -> Reply:
    """Return Google's error envelope (gar.md §4.2)."""
    envelope = {"error": {"code": int(status), "message": message, "status": code, "details": []}}
    return json_reply(envelope, status, headers)


def oauth_reply(error: BondedError, status: HTTPStatus, headers: Headers) -> Reply:
    """Return a token endpoint's error (RFC 6749 §5.2): 400 for a bad grant, not 401."""
    match error:
        case GrantRefused(code="invalid_client" as code):
            status, headers = HTTPStatus.UNAUTHORIZED, (*headers, _CHALLENGE)
        case GrantRefused(code=code):
            pass
        case Unavailable() | TooMany():
            code = "temporarily_unavailable"
        case _:
            code = _OAUTH.get(type(error), "invalid_request")
            status, headers = HTTPStatus.BAD_REQUEST, ((b"cache-control", b"no-store"),)
    return json_reply({"error": code, "error_description": str(error)}, status, headers)


def _minting_reply(error: BondedError, sentence: str, headers: Headers) -> Reply:
    """Return why no token was minted: 422 as uv and twine expect it, unless later may help."""
    status = HTTPStatus.UNPROCESSABLE_ENTITY
    code = _MINTING.get(type(error), "invalid-payload")
    match error:
        case Unavailable():
            status, code = HTTPStatus.SERVICE_UNAVAILABLE, "unavailable"
        case TooMany():
            status, code = HTTPStatus.TOO_MANY_REQUESTS, "too-many-requests"
        case _:
            # No challenge: whoever mints has no credential yet.
            headers = ((b"cache-control", b"no-store"),)
    body = {
        "message": "Token request failed",
        "errors": [{"code": code, "description": sentence}],
    }
    return json_reply(body, status, headers)


def method_reply(path: str, allowed: tuple[str, ...]) -> Reply:
    """Return 405 with what the path may be asked with."""
    headers = ((b"allow", ", ".join(allowed).encode()), (b"cache-control", b"no-store"))
    message = f"This address answers {', '.join(allowed)}."
    if path.startswith(_REST):
        return google_reply(HTTPStatus.METHOD_NOT_ALLOWED, "UNIMPLEMENTED", message, headers)
    return text_reply(message, HTTPStatus.METHOD_NOT_ALLOWED, headers)


def crash_reply(path: str) -> Reply:
    """Return 500 for what nobody foresaw; the log has the rest."""
    if path in OAUTH_PATHS:
        body = orjson.dumps({"error": "server_error"})
        return Reply(500, body, ((b"content-type", b"application/json"),))
    if path.startswith(_REST):
        return google_reply(HTTPStatus.INTERNAL_SERVER_ERROR, "INTERNAL", CRASHED)
    return text_reply(CRASHED, HTTPStatus.INTERNAL_SERVER_ERROR)
