"""Names as types: a string is parsed once, where it enters; inside, a wrong one cannot exist."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Self

from packaging.utils import InvalidName, NormalizedName, canonicalize_name

from bonded.server.core.errors import Rejected

PACKAGE_NAME_LENGTH_MAX = 200
REPOSITORY_ID_LENGTH_MAX = 63
PROJECT_NUMBER_DIGITS_MAX = 18
"""What fits into the database's integers; ours have twelve."""

# Google's own grammars (gar.md §1.1; Resource Manager for projects, IAM for accounts).
_PROJECT_ID = re.compile(r"[a-z][a-z0-9-]{4,28}[a-z0-9]")
_LOCATION_ID = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?")
_REPOSITORY_ID = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?")
_ACCOUNT_ID = re.compile(r"[a-z][a-z0-9-]{4,28}[a-z0-9]")

# What providers give out of RFC 5321's dot-atoms and RFC 6531's other scripts. No `/`, which parts
# the names of resources, no `*`, which would look like everybody, nothing that opens a command
# within double quotes, and not the beginning of an option. Commands quote the other signs.
_ATOM = r"[a-zA-Z0-9_+%=~#'&!\u0080-\U0010ffff-]+"
_LABEL = r"[a-zA-Z0-9_\u0080-\U0010ffff-]+"
DOMAIN = rf"(?!-){_LABEL}(?:\.{_LABEL})*"
ADDRESS = rf"(?!-){_ATOM}(?:\.{_ATOM})*@{DOMAIN}"
"""What addresses look like, if they are printable; patterns to be put into others."""
_ADDRESS = re.compile(ADDRESS)
ADDRESS_LENGTH_MAX = 254
"""Of an e-mail address (RFC 5321 §4.5.3.1.3)."""

ACCOUNT_DOMAIN = "iam.gserviceaccount.com"


@dataclass(frozen=True, slots=True, order=True)
class PackageName:
    """A package's name: compared normalized, shown as its author spelled it (PEP 503)."""

    normalized: NormalizedName
    spelled: str = field(compare=False)

    @classmethod
    @lru_cache(maxsize=4096)  # the same names come with every install
    def parse(cls, text: str) -> Self:
        """Parse a name as an author or a URL spells it.

        Raises:
            Rejected: the name is not one by the core metadata specification.
        """
        # canonicalize_name's pattern ends in `$`, which lets a trailing newline through.
        if len(text) > PACKAGE_NAME_LENGTH_MAX or not text.isascii() or not text.isprintable():
            raise Rejected(f"{text[:80]!r} is not a valid package name")
        try:
            return cls(canonicalize_name(text, validate=True), text)
        except InvalidName as error:
            raise Rejected(
                f"{text!r} is not a valid package name",
                hint="Use letters, digits, '.', '-' and '_', with a letter or digit at each end.",
            ) from error

    def __str__(self) -> str:
        """The normalized name, as URLs have it."""
        return self.normalized


def parse_project_id(text: str) -> str:
    """Return *text* if it may name a project.

    Raises:
        Rejected: it is not 6 to 30 lower-case letters, digits and hyphens.
    """
    if not _PROJECT_ID.fullmatch(text):
        raise Rejected(
            f"{text[:80]!r} is not a valid project ID",
            hint="Use 6 to 30 lower-case letters, digits and hyphens, starting with a letter.",
        )
    return text


def is_project_id(text: str) -> bool:
    """Say whether *text* may name a project."""
    return _PROJECT_ID.fullmatch(text) is not None


def is_project_number(text: str) -> bool:
    """Say whether *text* may be the number of a project."""
    return text.isascii() and text.isdigit() and len(text) <= PROJECT_NUMBER_DIGITS_MAX


def parse_location_id(text: str) -> str:
    """Return *text* if it may name a location.

    Raises:
        Rejected: it is not lower-case letters, digits and hyphens.
    """
    if len(text) > REPOSITORY_ID_LENGTH_MAX or not _LOCATION_ID.fullmatch(text):
        raise Rejected(f"{text[:80]!r} is not a valid location")
    return text


def parse_account_id(text: str) -> str:
    """Return *text* if it may name a service account within its project.

    Raises:
        Rejected: it is not 6 to 30 lower-case letters, digits and hyphens.
    """
    if not _ACCOUNT_ID.fullmatch(text):
        raise Rejected(
            f"{text[:80]!r} is not a valid service account ID",
            hint="Use 6 to 30 lower-case letters, digits and hyphens, starting with a letter.",
        )
    return text


def parse_address(text: str) -> str:
    """Return a person's address in lower case, as policies have it.

    Raises:
        Rejected: it is not NAME@DOMAIN, or is a service account's.
    """
    address = text.strip().lower()
    if (
        len(address) > ADDRESS_LENGTH_MAX
        or not address.isprintable()
        or not _ADDRESS.fullmatch(address)
    ):
        raise Rejected(f"{text[:80]!r} is not an e-mail address")
    if address.endswith(f".{ACCOUNT_DOMAIN}"):
        raise Rejected(f"{address} is the address of a service account, not of a person")
    return address


def account_email(account_id: str, project: str) -> str:
    """Return the e-mail address of a service account, in Google's form."""
    return f"{account_id}@{project}.{ACCOUNT_DOMAIN}"


_ACCOUNT_EMAIL = re.compile(
    rf"{_ACCOUNT_ID.pattern}@({_PROJECT_ID.pattern})\.{re.escape(ACCOUNT_DOMAIN)}"
)


def account_resource(project: str, email: str) -> str | None:
    """Return the full resource name of a service account; None if it can be none of *project*'s.

    A *project* of `-` is whichever one the address names, as Google has it.
    """
    named = _ACCOUNT_EMAIL.fullmatch(email)
    if named is None or project not in ("-", named[1]):
        return None
    return f"projects/{named[1]}/serviceAccounts/{email}"


@dataclass(frozen=True, slots=True, order=True)
class RepositoryName:
    """`projects/P/locations/L/repositories/R`."""

    project: str
    location: str
    repository: str

    @classmethod
    @lru_cache(maxsize=4096)  # the same few come with every request
    def parse(cls, project: str, location: str, repository: str) -> Self:
        """Parse the three identifiers of a repository.

        Raises:
            Rejected: one of them is not valid (gar.md §1.1).
        """
        if len(repository) > REPOSITORY_ID_LENGTH_MAX or not _REPOSITORY_ID.fullmatch(repository):
            raise Rejected(
                f"{repository[:80]!r} is not a valid repository ID",
                hint="Use up to 63 lower-case letters, digits and hyphens, starting with a letter.",
            )
        return cls(parse_project_id(project), parse_location_id(location), repository)

    def __str__(self) -> str:
        """The full resource name; `parse_repository_path` reads it."""
        return f"projects/{self.project}/locations/{self.location}/repositories/{self.repository}"


def parse_repository_path(text: str) -> RepositoryName:
    """Parse the full resource name of a repository.

    Raises:
        Rejected: it is none.
    """
    match text.split("/"):
        case ["projects", project, "locations", location, "repositories", repository]:
            return RepositoryName.parse(project, location, repository)
        case _:
            raise Rejected(
                f"{text[:120]!r} is not a repository",
                hint="Use projects/PROJECT/locations/LOCATION/repositories/REPOSITORY.",
            )
