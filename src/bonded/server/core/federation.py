"""Workload identity federation and trusted publishing, as values (gar.md §3.3, §5.6).

A pool is a set of outside identities; its providers say whose tokens prove them,
and how a token's claims become a principal. A trusted publisher is narrower: one
outside identity that may upload to one repository.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Self

from bonded.server.core.errors import Rejected
from bonded.server.core.names import RepositoryName

IAM_HOST = "iam.googleapis.com"
"""Stands in the names of providers and principals, as Google writes them; nobody asks it."""

_ID = re.compile(r"[a-z0-9-]{4,32}")
_AUDIENCE = re.compile(
    r"(?:https:)?//iam\.googleapis\.com/(?:projects/)?([a-z0-9-]{1,63})"
    r"/locations/global/workloadIdentityPools/([a-z0-9-]{4,32})/providers/([a-z0-9-]{4,32})"
)


@dataclass(frozen=True, slots=True)
class PoolName:
    """`projects/P/locations/global/workloadIdentityPools/POOL`; the project by id or number."""

    project: str
    pool: str

    @classmethod
    def parse(cls, project: str, pool: str) -> Self:
        """Check the pool's id. Raises Rejected."""
        return cls(project, _parse_id(pool, "workload identity pool"))

    def __str__(self) -> str:
        """The full resource name."""
        return f"projects/{self.project}/locations/global/workloadIdentityPools/{self.pool}"


@dataclass(frozen=True, slots=True)
class ProviderName:
    """A provider's name: its pool's, and its own id."""

    pool: PoolName
    provider: str

    @classmethod
    def parse(cls, pool: PoolName, provider: str) -> Self:
        """Check the provider's id. Raises Rejected."""
        return cls(pool, _parse_id(provider, "workload identity pool provider"))

    @classmethod
    def parse_audience(cls, text: str) -> Self:
        """Parse what a client names as the audience of a token exchange.

        Google's `//iam.googleapis.com/projects/…`, and the same without `projects/`: for an
        audience that holds that word google-auth asks Google for the project (gar.md §5.6).

        Raises:
            Rejected: it names no provider.
        """
        found = _AUDIENCE.fullmatch(text)
        if found is None:
            raise Rejected(
                f"audience {text[:200]!r} names no provider",
                hint=f"Use //{IAM_HOST}/projects/PROJECT/locations/global/workloadIdentityPools/"
                "POOL/providers/PROVIDER.",
            )
        return cls(PoolName(found[1], found[2]), found[3])

    @property
    def audiences(self) -> tuple[str, str]:
        """What a token must be meant for, if the provider says nothing else: Google's default."""
        return (f"https://{IAM_HOST}/{self}", f"//{IAM_HOST}/{self}")

    def __str__(self) -> str:
        """The full resource name."""
        return f"{self.pool}/providers/{self.provider}"


@dataclass(frozen=True, slots=True)
class Pool:
    """A set of outside identities. Its name holds its project's number, as Google's does."""

    name: PoolName
    project: str
    """The id of the project that owns it."""
    created_at: datetime
    display_name: str = ""
    description: str = ""
    is_disabled: bool = False

    @property
    def principals(self) -> tuple[str, str]:
        """What every member begins with that means somebody of this pool."""
        return (f"principal://{IAM_HOST}/{self.name}/", f"principalSet://{IAM_HOST}/{self.name}/")


@dataclass(frozen=True, slots=True)
class Provider:
    """An issuer of OpenID Connect whose tokens prove identities of a pool."""

    name: ProviderName
    issuer: str
    attribute_mapping: Mapping[str, str]
    """CEL, by what it gives: `google.subject`, `google.groups`, `attribute.NAME`."""
    created_at: datetime
    attribute_condition: str = ""
    allowed_audiences: tuple[str, ...] = ()
    jwks: str = ""
    """The issuer's keys (RFC 7517), if they are not to be fetched from it."""
    display_name: str = ""
    description: str = ""
    is_disabled: bool = False


@dataclass(frozen=True, slots=True)
class Publisher:
    """An outside identity that may upload to a repository with a token of its own issuer."""

    id: str
    repository: RepositoryName
    kind: str
    """The recipe by which its claims are read: `github`, `gitlab`, `oidc`…"""
    issuer: str
    anchor: str
    """The claim or claims that it is found by, such as the name of a repository of source."""
    claims: Mapping[str, str]
    """What its tokens must say."""
    created_at: datetime
    packages: tuple[str, ...] = field(default=())
    """Normalized names; empty for every package. They need not exist yet."""
    pins: Mapping[str, str] = field(default_factory=dict)
    """What its first token said that outlives a name: the numbers of owner and repository."""

    def __str__(self) -> str:
        """The full resource name."""
        return f"{self.repository}/trustedPublishers/{self.id}"


def _parse_id(text: str, kind: str) -> str:
    if not _ID.fullmatch(text) or text.startswith("gcp-"):
        raise Rejected(
            f"{text[:80]!r} is not a valid {kind} ID",
            hint="Use 4 to 32 lower-case letters, digits and hyphens, not starting with 'gcp-'.",
        )
    return text
