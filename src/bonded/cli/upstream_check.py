"""Whether a remote repository can be used: it is asked for a page and a small file."""

from __future__ import annotations

import requests

from bonded.client.errors import ClientError, Refused
from bonded.client.index import Index

PROBED = "pip"
"""A package that every public index has."""


def find_obstacle(index: Index) -> str:
    """Return what keeps a repository from being used; empty if nothing does.

    Pages and files of an index are on different hosts often, and each may be out of reach. That
    the index does not have the package is an honest answer.
    """
    try:
        wheels = [name for name in index.list_files(PROBED) if name.endswith(".whl")]
        if wheels:
            index.pull(PROBED, f"{wheels[-1]}.metadata")
    except Refused as refusal:
        if refusal.code < requests.codes.server_error:
            return ""
        return f"{refusal}"
    except ClientError as error:
        return f"{error}"
    return ""
