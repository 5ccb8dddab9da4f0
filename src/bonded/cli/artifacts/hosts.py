"""At which host clients reach a repository: a location other than the default has its own."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from bonded.cli.artifacts.locating import RepositoryPlace


def server_of(server: str, place: RepositoryPlace, repository: Mapping[str, Any]) -> str:
    """Return the origin at which clients reach *repository*.

    It is the server's own, unless the repository is in a location that has a host of its own,
    `LOCATION-python.DOMAIN`: then the server says so in `registryUri`, which carries no scheme.
    """
    host = str(repository.get("registryUri", "")).partition("/")[0]
    if host.startswith(f"{place.location}-python."):
        return f"{urlsplit(server).scheme}://{host}"
    return server


def find_hurdle(server: str, place: RepositoryPlace, repository: Mapping[str, Any]) -> str:
    """Return why clients here would not reach *repository*, and what to do; nothing if they do."""
    origin = server_of(server, place, repository)
    if origin == server:
        return ""
    location, host = place.location, urlsplit(origin).netloc
    base = host.removeprefix(f"{location}-python.")
    what = f"WARNING: Clients reach what is in location [{location}] at {origin}"
    if _is_address(urlsplit(f"//{base}").hostname or ""):
        return (
            f"{what}, which cannot be: there are no names below an address. Give the server a name "
            "(its setting public_url), or use its default location."
        )
    try:
        socket.getaddrinfo(urlsplit(origin).hostname, None)
    except OSError:
        return (
            f"{what}, which is no name that is known here. Have your DNS lead {host} to the server "
            "and, if a proxy stands before it, have that pass the Host header on; over https the "
            "certificate must be for this name too. Or use the server's default location, which "
            "needs no name of its own."
        )
    return ""


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
