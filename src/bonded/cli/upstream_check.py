"""Whether a remote repository can be used: what is not there is asked for, and a small file."""

from __future__ import annotations

import re
import secrets

import requests

from bonded.cli.output import printable
from bonded.client.api import Message
from bonded.client.errors import ClientError, Refused
from bonded.client.index import Index

PROBED = "pip"
"""A package that every public index has."""
_REFUSED = {"401", "403", "407"}
_TOO_MANY = "429"
_REACH = (
    "If this network has a mirror: set BONDED_PUBLIC_INDEX_URL for the server, or make a remote "
    "repository of the mirror; name private hosts of files in BONDED_UPSTREAM_PRIVATE_HOSTS."
)
_ASK_ITSELF = (
    "Look whether the upstream that {} names is up, and can be reached from the server's machine; "
    "what is cached is served meanwhile."
)
_RENEW = (
    "The upstream refuses the credentials that {} names: the secret {}{}. Put a right one there: "
    "it is looked for again at the next request. Or name another with `bonded artifacts "
    "repositories update {} --remote-password-secret-version=…`."
)
_NONE_NAMED = (
    "The upstream wants credentials, and {} names none: `bonded artifacts repositories update {} "
    "--remote-username=… --remote-password-secret-version=…`."
)
_ASK_LESS = (
    "The upstream of {} says that it is asked too often. It is left alone for a while, and what is "
    "cached is served; if that happens often, have pages asked for less often: `bonded artifacts "
    "repositories update {} --remote-page-freshness=…`."
)


def find_obstacle(index: Index, repository: Message) -> str:
    """Return what keeps a remote repository from being used; empty if nothing does.

    What no index has is asked for first: no cache answers, and nothing is left in one. Of an
    index without credentials a page and a file are, too, which are on different hosts often.

    Raises:
        Refused: with 403, if the caller may not read the repository.
    """
    try:
        _list(index, f"bonded-doctor-{secrets.token_hex(8)}")
        listed = [] if _credentials(repository) else _list(index, PROBED)
        wheels = [name for name in listed if name.endswith(".whl")]
        if wheels:
            index.pull(PROBED, f"{wheels[-1]}.metadata")
    except Refused as refusal:
        if refusal.code == requests.codes.forbidden:
            raise
        # A wheel may have no core metadata.
        return "" if refusal.code == requests.codes.not_found else f"{refusal}"
    except ClientError as error:
        return f"{error}"
    return ""


def _list(index: Index, name: str) -> list[str]:
    try:
        return index.list_files(name)
    except Refused as refusal:
        # An honest answer: the index does not have it.
        if refusal.code == requests.codes.not_found:
            return []
        raise


def advise(repository: Message, why: str) -> str:
    """Return what to do about *why*, which `find_obstacle` has returned."""
    name = repository["name"].rpartition("/")[2]
    status = re.search(r"with status (\d{3})", why)
    if status is not None and status[1] in _REFUSED:
        found = _credentials(repository)
        if not found:
            return _NONE_NAMED.format(name, name)
        username = str(found.get("username") or "")
        user = f", for the user {printable(username)}" if username else ""
        return _RENEW.format(name, found.get("passwordSecretVersion"), user, name)
    if status is not None and status[1] == _TOO_MANY:
        return _ASK_LESS.format(name, name)
    python = _config(repository).get("pythonRepository", {})
    return _REACH if "publicRepository" in python else _ASK_ITSELF.format(name)


def _config(repository: Message) -> Message:
    found: Message = repository.get("remoteRepositoryConfig", {})
    return found


def _credentials(repository: Message) -> Message:
    outer = _config(repository).get("upstreamCredentials", {})
    found: Message = outer.get("usernamePasswordCredentials", {})
    return found
