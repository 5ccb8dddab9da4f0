"""What may have been meant by a name that the server does not know, for whoever may list names."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from itertools import islice
from urllib.parse import unquote

from bonded.cli.artifacts.locating import RepositoryPlace, guess_repository
from bonded.cli.session import Session
from bonded.client.errors import ClientError

NAMES_MAX = 1000
"""How many names are looked at: more would keep waiting whoever has only mistyped one."""
_LIKENESS_MIN = 0.7
_REPOSITORIES = "repositories"
_ACCOUNTS = "serviceAccounts"
# What is listed under its name in paths: the list's field, and the field that is the name.
_LISTS = {
    "groups": ("groups", "email"),
    "packages": ("packages", "name"),
    "projects": ("projects", "projectId"),
    "providers": ("workloadIdentityPoolProviders", "name"),
    _ACCOUNTS: ("accounts", "email"),
    "users": ("users", "address"),
    "workloadIdentityPools": ("workloadIdentityPools", "name"),
}


def guess(session: Session, path: str) -> str:
    """Return a sentence about the first name in *path* that is not there; "" if nothing is like it.

    The API's paths say collection and name by turns: `/v1/projects/P/serviceAccounts/EMAIL:verb`.
    """
    parts = [unquote(part) for part in path.removeprefix("/v1/").partition(":")[0].split("/")]
    try:
        for at in range(0, len(parts) - 1, 2):
            collection, name = parts[at : at + 2]
            if collection == _REPOSITORIES:
                hint = guess_repository(session, RepositoryPlace(parts[1], parts[3], name))
            elif collection in _LISTS:
                hint = _guess_in(session, path, at, name)
            else:
                hint = ""
            if hint:
                return hint
    except ClientError:
        # Whoever may not list is told what they were told before.
        pass
    return ""


def _guess_in(session: Session, path: str, at: int, name: str) -> str:
    """Return what is like *name* in the collection whose word is at *at* of *path*; "": nothing.

    Raises:
        ClientError: it cannot be listed.
    """
    listing = "/".join(path.removeprefix("/v1/").split("/")[: at + 1])
    collection = listing.rpartition("/")[2]
    field, key = _LISTS[collection]
    found = session.api.list_all(f"/v1/{listing}", field)
    names = [str(each[key]).rpartition("/")[2] for each in islice(found, NAMES_MAX)]
    if name in names:
        return ""
    near = nearest(name, names)
    hint = f"Did you mean [{near}]?" if near else ""
    if collection == _ACCOUNTS and "@" not in name:
        hint = f"{hint} A service account is named by its e-mail address.".lstrip()
    return hint


def nearest(name: str, names: Iterable[str]) -> str | None:
    """Return which of *names* is like *name*: of e-mail addresses, what is before the same domain.

    A domain is most of an address, and would make all of one project alike.
    """
    local, _, domain = name.partition("@")
    known = list(names)
    of_domain = {one.partition("@")[0]: one for one in known if one.endswith(domain)}
    wanted, choices = (local, of_domain) if of_domain else (name, {one: one for one in known})
    near = get_close_matches(wanted, choices, n=1, cutoff=_LIKENESS_MIN)
    return choices[near[0]] if near else None
