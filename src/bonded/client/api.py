"""The client of the control plane: Google's REST conventions, and nothing of any one method."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import requests
from requests.adapters import HTTPAdapter
from urllib3 import Retry

from bonded.client.errors import Misconfigured, NotSignedIn, Refused, Unreachable
from bonded.client.tokens import TokenSource

Message = dict[str, Any]

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 60.0
BODY_SIZE_BYTES_MAX = 64 << 20
CONNECT_RETRIES_MAX = 2
PAGES_MAX = 10_000
OPERATION_TIMEOUT_S = 300.0


class _Bearer(requests.auth.AuthBase):
    """Our own token, where requests would rather send what netrc says about the host."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._secret}"
        return request


@contextmanager
def reaching(server: str) -> Iterator[None]:
    """Turn what requests raises on the way to *server* into our errors.

    Raises:
        Unreachable: nobody answers in time, or not with a certificate that is trusted.
        Misconfigured: the server cannot be asked at all.
    """
    try:
        yield
    except requests.exceptions.SSLError as error:
        raise Unreachable(
            f"{server} shows a certificate that is not trusted here: {error}",
            hint="If its authority is your own, name it in REQUESTS_CA_BUNDLE.",
        ) from error
    except requests.Timeout as error:
        raise Unreachable(f"{server} does not answer in time.", hint=_POINT_ELSEWHERE) from error
    except requests.ConnectionError as error:
        raise Unreachable(
            f"Nobody answers at {server}.",
            hint=f"Start the server with `bonded serve`, or {_POINT_ELSEWHERE}",
        ) from error
    except requests.RequestException as error:
        raise Misconfigured(f"Cannot ask {server}: {error}.") from error


class Api:
    """One server's API, spoken as one account."""

    def __init__(self, server: str, tokens: TokenSource) -> None:
        self.server = server
        self._tokens = tokens
        self._session = requests.Session()
        # A connection that was never made carried nothing, so making it again is safe for every
        # method; a request that was sent is sent again by nobody.
        retry = Retry(connect=CONNECT_RETRIES_MAX, read=False, other=0, backoff_factor=0.1)
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=retry))

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def get(self, path: str, **query: str) -> Message:
        """GET *path*.

        Raises:
            ClientError: there is no token, nobody answers, or the answer is an error.
        """
        return self._send("GET", path, query, None)

    def post(self, path: str, body: Message, **query: str) -> Message:
        """POST *body* to *path*, once.

        Raises:
            ClientError: there is no token, nobody answers, or the answer is an error.
        """
        return self._send("POST", path, query, body)

    def patch(self, path: str, body: Message, *, mask: tuple[str, ...], **query: str) -> Message:
        """PATCH the fields of *body* that *mask* names.

        Raises:
            ClientError: there is no token, nobody answers, or the answer is an error.
        """
        return self._send("PATCH", path, {"updateMask": ",".join(mask), **query}, body)

    def delete(self, path: str, **query: str) -> Message:
        """DELETE *path*.

        Raises:
            ClientError: there is no token, nobody answers, or the answer is an error.
        """
        return self._send("DELETE", path, query, None)

    def list_all(self, path: str, field: str, **query: str) -> Iterator[Message]:
        """Yield the items in *field* of every page of a list.

        Raises:
            ClientError: a page cannot be had.
        """
        for _ in range(PAGES_MAX):
            page = self.get(path, **query)
            yield from page.get(field, ())
            token = page.get("nextPageToken")
            if not token:
                return
            query["pageToken"] = token
        raise Unreachable(f"{self.server}{path} has more than {PAGES_MAX} pages.")

    def wait(self, operation: Message) -> Message:
        """Return the response of *operation* once it is done.

        Raises:
            ClientError: it failed, or takes longer than five minutes.
        """
        deadline = time.monotonic() + OPERATION_TIMEOUT_S
        pause_s = 0.1
        while not operation.get("done"):
            if time.monotonic() > deadline:
                raise Unreachable(
                    f"[{operation['name']}] takes longer than {OPERATION_TIMEOUT_S:.0f} s.",
                    hint="It goes on by itself: look again later.",
                )
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, 5.0)
            operation = self.get(f"/v1/{operation['name']}")
        if failure := operation.get("error"):
            raise Refused(
                failure.get("code", 2), "FAILED", failure.get("message", "no reason given")
            )
        response: Message = operation.get("response", {})
        return response

    def _send(
        self, method: str, path: str, query: Mapping[str, str], body: Message | None
    ) -> Message:
        """Send one request; a refused token is forgotten and the request sent again with another.

        A cached token may have been revoked, or be one of a server that started afresh.
        """
        try:
            return self._send_once(method, path, query, body)
        except Refused as refusal:
            if refusal.code != requests.codes.unauthorized:
                raise
        self._tokens.forget()
        try:
            return self._send_once(method, path, query, body)
        except Refused as refusal:
            if refusal.code != requests.codes.unauthorized:
                raise
            raise NotSignedIn(
                str(refusal),
                hint=f"{self.server} does not accept [{self._tokens.account}]. Sign in again with "
                "`bonded auth login` or `bonded auth activate-service-account --key-file=FILE`, or "
                "choose another server with `bonded config set core/server URL`.",
            ) from refusal

    def _send_once(
        self, method: str, path: str, query: Mapping[str, str], body: Message | None
    ) -> Message:
        """Send one request with the token at hand and return the answer's message."""
        url = self.server + path
        token = self._tokens.get_token()
        # Redirects are not followed: they would carry the token, and a POST become a GET.
        with (
            reaching(self.server),
            self._session.request(
                method,
                url,
                params=dict(query),
                json=body,
                auth=_Bearer(token.secret),
                headers={"Accept": "application/json"},
                timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S),
                allow_redirects=False,
                stream=True,
            ) as response,
        ):
            return self._read(response, read_content(response), path)

    def _read(self, response: requests.Response, content: bytes, path: str) -> Message:
        """Return the message in *content*, or raise what it says went wrong."""
        if response.is_redirect:
            raise Misconfigured(
                f"{self.server} sends us to {response.headers['Location']}.",
                hint="If that is the server's real address, run "
                "`bonded config set core/server URL` with it.",
            )
        try:
            message = json.loads(content or b"{}")
            if response.ok and isinstance(message, dict):
                return message
            error = message["error"]
            status, reason = str(error["status"]), str(error["message"])
            refusal = Refused(response.status_code, status, reason, path=path)
        except (ValueError, TypeError, KeyError) as error:
            raise Misconfigured(
                f"{self.server} answers {response.status_code} {response.reason} and no message of "
                "a Bonded server.",
                hint=f"Something else may be listening there, or a proxy: {_POINT_ELSEWHERE}",
            ) from error
        raise refusal


_POINT_ELSEWHERE = (
    "name another with --server, BONDED_SERVER or `bonded config set core/server URL`."
)


def read_content(response: requests.Response) -> bytes:
    """Return the body, up to a limit.

    Raises:
        Unreachable: the body is larger.
    """
    content = bytearray()
    for chunk in response.iter_content(1 << 16):
        content += chunk
        if len(content) > BODY_SIZE_BYTES_MAX:
            raise Unreachable(f"{response.url} sends more than {BODY_SIZE_BYTES_MAX} bytes.")
    return bytes(content)


def segment(text: str) -> str:
    """Return *text* as one segment of a path, unable to name another resource or a verb."""
    return quote(text, safe="@")
