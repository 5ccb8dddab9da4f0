"""A repository as installers see it: its pages and files, for who warms a cache."""

from __future__ import annotations

from urllib.parse import quote

import requests

from bonded.client.api import CONNECT_TIMEOUT_S, reaching
from bonded.client.errors import Refused
from bonded.client.tokens import TokenSource

SIMPLE_JSON = "application/vnd.pypi.simple.v1+json"
FILE_TIMEOUT_S = 300.0
CHUNK_SIZE_BYTES = 1 << 18


class Index:
    """One repository of a server; *url* is that of the repository, without `/simple/`."""

    def __init__(self, server: str, url: str, tokens: TokenSource) -> None:
        self._server = server
        self._url = url
        self._tokens = tokens

    def list_files(self, name: str) -> list[str]:
        """Return the filenames on a package's page.

        Raises:
            Refused: there is no such package, or its upstream cannot be asked.
            Unreachable: the server does not answer.
        """
        with self._get(f"simple/{quote(name)}/", SIMPLE_JSON) as response:
            return [str(file["filename"]) for file in response.json()["files"]]

    def pull(self, name: str, filename: str) -> int:
        """Have the server fetch a file, by fetching it; return its size.

        Raises:
            Refused: it cannot be had.
            Unreachable: the server does not answer, or breaks off.
        """
        path = f"{quote(name)}/{quote(filename)}"
        with reaching(self._server), self._get(path, "*/*") as response:
            return sum(len(chunk) for chunk in response.iter_content(CHUNK_SIZE_BYTES))

    def _get(self, path: str, accept: str) -> requests.Response:
        headers = {
            "Accept": accept,
            "Accept-Encoding": "identity",
            "Authorization": f"Bearer {self._tokens.get_token().secret}",
        }
        with reaching(self._server):
            # Not a session: it would read netrc, and is not to be shared by threads.
            response = requests.get(
                f"{self._url}/{path}",
                headers=headers,
                auth=_keep_header,
                stream=True,
                allow_redirects=False,
                timeout=(CONNECT_TIMEOUT_S, FILE_TIMEOUT_S),
            )
        if response.status_code != requests.codes.ok:
            with response:
                text = response.text[:1000].strip()
            raise Refused(response.status_code, response.reason, text)
        return response


def _keep_header(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Leave our own token, where requests would rather send what netrc says about the host."""
    return request
