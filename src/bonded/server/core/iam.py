"""Access as pure rules: principals, permissions, roles, policies, and the decision (gar.md §3).

Nothing is allowed unless some binding grants it, and no binding takes away what
another grants; so the order of policies and bindings never matters.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Self

from bonded.server.core.conditions import Condition
from bonded.server.core.errors import Rejected, did_you_mean
from bonded.server.core.roles import DEFINITIONS, GOOGLE_PERMISSIONS, LASTING, OWNER, is_custom

BINDINGS_MAX = 1500
MEMBERS_MAX = 1500
"""Members of one policy, all bindings together: Google's limit (gar.md §3.4)."""
CONDITIONAL_MAX = 100
"""Bindings of one policy that have a condition: as many may have to be evaluated at once."""

ORGANIZATION = "organizations/bonded"
"""The server itself, the root of every resource."""

GROUPS = "groups/"
"""How the names of groups begin, which are resources of the server."""

_SIGN_IN = ("user:", "serviceAccount:")
"""Kinds of members that stand for somebody who can sign in."""

ALL_USERS = "allUsers"
ALL_AUTHENTICATED_USERS = "allAuthenticatedUsers"

NEVER_SET = "ACAB"
"""The etag of a policy that nobody has set yet, as Google's is (gar.md §3.4)."""


class Permission(enum.StrEnum):
    """What a route may ask for, spelled as Google spells it."""

    # Looked up on every request, and Enum's own hash is a Python function.
    __hash__ = str.__hash__

    ORGANIZATION_GET_POLICY = "resourcemanager.organizations.getIamPolicy"
    ORGANIZATION_SET_POLICY = "resourcemanager.organizations.setIamPolicy"

    PROJECT_CREATE = "resourcemanager.projects.create"
    PROJECT_DELETE = "resourcemanager.projects.delete"
    PROJECT_GET = "resourcemanager.projects.get"
    PROJECT_GET_POLICY = "resourcemanager.projects.getIamPolicy"
    PROJECT_LIST = "resourcemanager.projects.list"
    PROJECT_SET_POLICY = "resourcemanager.projects.setIamPolicy"

    ACCOUNT_CREATE = "iam.serviceAccounts.create"
    ACCOUNT_DELETE = "iam.serviceAccounts.delete"
    ACCOUNT_DISABLE = "iam.serviceAccounts.disable"
    ACCOUNT_ENABLE = "iam.serviceAccounts.enable"
    ACCOUNT_GET = "iam.serviceAccounts.get"
    ACCOUNT_GET_ACCESS_TOKEN = "iam.serviceAccounts.getAccessToken"  # noqa: S105 - a permission
    ACCOUNT_GET_ID_TOKEN = "iam.serviceAccounts.getOpenIdToken"  # noqa: S105 - a permission
    ACCOUNT_GET_POLICY = "iam.serviceAccounts.getIamPolicy"
    ACCOUNT_LIST = "iam.serviceAccounts.list"
    ACCOUNT_SET_POLICY = "iam.serviceAccounts.setIamPolicy"
    ACCOUNT_UPDATE = "iam.serviceAccounts.update"
    KEY_CREATE = "iam.serviceAccountKeys.create"
    KEY_DELETE = "iam.serviceAccountKeys.delete"
    KEY_DISABLE = "iam.serviceAccountKeys.disable"
    KEY_ENABLE = "iam.serviceAccountKeys.enable"
    KEY_GET = "iam.serviceAccountKeys.get"
    KEY_LIST = "iam.serviceAccountKeys.list"

    POOL_CREATE = "iam.workloadIdentityPools.create"
    POOL_DELETE = "iam.workloadIdentityPools.delete"
    POOL_GET = "iam.workloadIdentityPools.get"
    POOL_LIST = "iam.workloadIdentityPools.list"
    POOL_UPDATE = "iam.workloadIdentityPools.update"
    PROVIDER_CREATE = "iam.workloadIdentityPoolProviders.create"
    PROVIDER_DELETE = "iam.workloadIdentityPoolProviders.delete"
    PROVIDER_GET = "iam.workloadIdentityPoolProviders.get"
    PROVIDER_LIST = "iam.workloadIdentityPoolProviders.list"
    PROVIDER_UPDATE = "iam.workloadIdentityPoolProviders.update"

    GROUP_CREATE = "bonded.groups.create"
    GROUP_DELETE = "bonded.groups.delete"
    GROUP_GET = "bonded.groups.get"
    GROUP_LIST = "bonded.groups.list"
    GROUP_UPDATE = "bonded.groups.update"
    POLICY_TROUBLESHOOT = "bonded.policies.troubleshoot"
    ROLE_CREATE = "iam.roles.create"
    ROLE_DELETE = "iam.roles.delete"
    ROLE_GET = "iam.roles.get"
    ROLE_LIST = "iam.roles.list"
    ROLE_UNDELETE = "iam.roles.undelete"
    ROLE_UPDATE = "iam.roles.update"

    LOG_LIST = "logging.logEntries.list"
    USER_CREATE = "bonded.users.create"
    USER_DELETE = "bonded.users.delete"
    USER_GET = "bonded.users.get"
    USER_LIST = "bonded.users.list"
    USER_UPDATE = "bonded.users.update"
    SESSION_DELETE = "bonded.sessions.delete"
    SESSION_LIST = "bonded.sessions.list"

    LOCATION_GET = "artifactregistry.locations.get"
    LOCATION_LIST = "artifactregistry.locations.list"
    FILE_GET = "artifactregistry.files.get"
    FILE_LIST = "artifactregistry.files.list"
    PACKAGE_GET = "artifactregistry.packages.get"
    PACKAGE_LIST = "artifactregistry.packages.list"
    PYTHON_PACKAGE_GET = "artifactregistry.pythonpackages.get"
    PYTHON_PACKAGE_LIST = "artifactregistry.pythonpackages.list"
    FILE_DELETE = "artifactregistry.files.delete"
    FILE_UNDELETE = "bonded.files.undelete"
    FILE_YANK = "bonded.files.yank"
    PACKAGE_DELETE = "artifactregistry.packages.delete"
    PACKAGE_UNDELETE = "bonded.packages.undelete"
    VERSION_DELETE = "artifactregistry.versions.delete"
    VERSION_UNDELETE = "bonded.versions.undelete"
    VERSION_YANK = "bonded.versions.yank"
    VERSION_GET = "artifactregistry.versions.get"
    VERSION_LIST = "artifactregistry.versions.list"
    REPOSITORY_CREATE = "artifactregistry.repositories.create"
    REPOSITORY_DELETE = "artifactregistry.repositories.delete"
    REPOSITORY_DOWNLOAD = "artifactregistry.repositories.downloadArtifacts"
    REPOSITORY_GET = "artifactregistry.repositories.get"
    REPOSITORY_GET_POLICY = "artifactregistry.repositories.getIamPolicy"
    REPOSITORY_LIST = "artifactregistry.repositories.list"
    REPOSITORY_READ_VIA_VIRTUAL = "artifactregistry.repositories.readViaVirtualRepository"
    REPOSITORY_SET_POLICY = "artifactregistry.repositories.setIamPolicy"
    REPOSITORY_UPDATE = "artifactregistry.repositories.update"
    REPOSITORY_UPLOAD = "artifactregistry.repositories.uploadArtifacts"
    TRUST_CREATE = "artifactregistry.trustedPublishers.create"
    TRUST_DELETE = "artifactregistry.trustedPublishers.delete"
    TRUST_GET = "artifactregistry.trustedPublishers.get"
    TRUST_LIST = "artifactregistry.trustedPublishers.list"


ROLES: Mapping[str, frozenset[Permission]] = MappingProxyType(
    {
        **{
            role: frozenset(one for one in Permission if one in names)
            for role, names in DEFINITIONS.items()
        },
        OWNER: frozenset(Permission),
    }
)
"""Predefined roles, as far as routes ask for their permissions."""

PERMISSIONS = frozenset(Permission) | GOOGLE_PERMISSIONS
"""Every permission that a custom role may hold."""


def publishers_of(repository: str) -> str:
    """Return the member that means every trusted publisher of a repository.

    No policy names it: it has the uploader's role on its repository by itself.
    """
    return f"trustedPublishers:{repository}"


_READING = frozenset(
    {"get", "list", "getIamPolicy", "downloadArtifacts", "readViaVirtualRepository"}
)
"""Last words of permissions that change nothing and hand out no credential."""


_OF_CLIENTS = frozenset(
    {
        Permission.REPOSITORY_DOWNLOAD,
        Permission.REPOSITORY_GET,
        Permission.REPOSITORY_READ_VIA_VIRTUAL,
        Permission.REPOSITORY_UPLOAD,
        Permission.FILE_GET,
        Permission.FILE_LIST,
        Permission.PACKAGE_GET,
        Permission.PACKAGE_LIST,
        Permission.PYTHON_PACKAGE_GET,
        Permission.PYTHON_PACKAGE_LIST,
        Permission.VERSION_GET,
        Permission.VERSION_LIST,
    }
)
"""What installers and uploaders need of a repository, and who looks at what is in it."""


def is_reading(permission: Permission) -> bool:
    """Say whether *permission* only reads. What has no known reading word does not."""
    return permission.rpartition(".")[2] in _READING


@dataclass(frozen=True, slots=True)
class TokenLimits:
    """What narrows a token below what its principal may; it never widens anything."""

    repositories: tuple[str, ...] = ()
    """Full resource names; empty for no such limit."""
    read_only: bool = False
    upload_only: bool = False
    uploads: tuple[str, ...] = ()
    """What may be uploaded: repositories, or packages as `REPOSITORY/packages/NAME`; empty for
    no such limit."""
    ends_at: float | None = None
    """When it ends (seconds since 1970), if its life was chosen: so does what is made with it."""

    def allow(self, permission: Permission, resource: str) -> bool:
        """Say whether a token with these limits may be used for *permission* on *resource*.

        One that names repositories is good for reading and publishing packages there
        and for nothing else: not for their project, and not for administering them, or
        it would become lasting access. One that is read-only is good for what reads,
        one that is upload-only for uploads. One whose life was chosen is good for nothing
        that gives access beyond that life.
        """
        if self.repositories and (
            resource not in self.repositories or permission not in _OF_CLIENTS
        ):
            return False
        if self.upload_only and permission is not Permission.REPOSITORY_UPLOAD:
            return False
        if self.ends_at is not None and permission in LASTING:
            return False
        return not self.read_only or is_reading(permission)

    def allow_upload(self, repository: str, package: str) -> bool:
        """Say whether a token with these limits may be used to upload files of *package*."""
        named = (repository, f"{repository}/packages/{package}")
        return not self.uploads or any(name in self.uploads for name in named)

    def narrowed(self, asked: Self) -> Self:
        """Return limits that allow what both these and *asked* allow, starting from these.

        Raises:
            Rejected: *asked* names what is beyond these.
        """
        repositories = _within(asked.repositories, self.repositories)
        uploads = _within(asked.uploads, self.uploads)
        ends = [one for one in (self.ends_at, asked.ends_at) if one is not None]
        return replace(
            self,
            repositories=repositories,
            read_only=self.read_only or asked.read_only,
            upload_only=self.upload_only or asked.upload_only,
            uploads=uploads,
            ends_at=min(ends, default=None),
        )

    def __str__(self) -> str:
        """What the token is good for, for a refusal."""
        if self.upload_only:
            return f"uploading {', '.join(self.uploads or self.repositories) or 'files'}"
        if not self.repositories:
            lasting = "anything" if self.ends_at is None else "what ends with it"
            return "reading" if self.read_only else lasting
        what = "reading packages" if self.read_only else "reading and uploading packages"
        return f"{what} in {', '.join(self.repositories)}"


def _within(asked: tuple[str, ...], own: tuple[str, ...]) -> tuple[str, ...]:
    """Return what *asked* names, or *own* if it names nothing.

    Raises:
        Rejected: one is neither in *own* nor a package of a repository in it.
    """
    beyond = [one for one in asked if own and not {one, one.partition("/packages/")[0]} & {*own}]
    if beyond:
        raise Rejected(
            f"Your own token is limited to {', '.join(own)}",
            hint=f"Leave out {min(beyond)}, or start from a token without that limit.",
        )
    return asked or own


@dataclass(frozen=True, slots=True)
class Ancestor:
    """A credential that a token was made with: the token is good only while this is.

    Of another credential than a token, *token_id* is empty.
    """

    member: str
    origin: str
    issued_at: float
    token_id: str = ""


@dataclass(frozen=True, slots=True)
class Principal:
    """Whoever is authenticated, or nobody.

    *member* is how a policy names them; *credential* says by what they proved
    it, for logs (`key:3f2a…`, `session:…`), and never holds a secret. *also* are
    further members of policies that mean this principal, as its credential says;
    *groups* are those that this server keeps; *limits* are those of the token it
    came with; *ancestry* is the credential itself and those that it was made with,
    on which every token hangs that is made with it.
    """

    member: str
    credential: str = ""
    also: tuple[str, ...] = ()
    limits: TokenLimits | None = None
    groups: frozenset[str] = frozenset()
    ancestry: tuple[Ancestor, ...] = ()

    @property
    def is_anonymous(self) -> bool:
        """Whether nobody has authenticated."""
        return self.member == ALL_USERS

    @property
    def counts_as(self) -> tuple[str, ...]:
        """Every member of a policy that means this principal."""
        return (*self.names, *self.groups)

    @property
    def names(self) -> tuple[str, ...]:
        """Every member that means this principal, but for the groups that this server keeps."""
        if self.is_anonymous:
            return (ALL_USERS,)
        named = (self.member, *self.also)
        if self.member.startswith("user:"):
            named = (*named, f"domain:{self.member.rpartition('@')[2]}")
        if self.member.startswith(_SIGN_IN):
            return (*named, ALL_AUTHENTICATED_USERS, ALL_USERS)
        # Federated identities are not "all authenticated users" (gar.md §3.3).
        return (*named, ALL_USERS)


ANONYMOUS = Principal(ALL_USERS)

OUTSIDE = ("principal:", "principalSet:")
"""Kinds of members that stand for identities of outside issuers."""
_WITH_CONDITION = re.compile(r"_withcond_[0-9a-f]{20}$")
"""How a role is marked for clients that know no conditions (policy_versions.py)."""


def spell_member(text: str) -> str:
    """Return *text* as it is kept, its address in lower case, if any policy could ever name it.

    Policies and groups may hold what an older server took and `members.parse_member` refuses:
    that can be kept and removed.

    Raises:
        Rejected: it is not printable.
    """
    if not text.isprintable():
        raise Rejected(f"{text[:120]!r} is not a valid member: it holds what cannot be printed")
    # Case counts in federated ones: subjects, groups and attributes are the issuer's own words.
    if text.startswith(OUTSIDE) or ":" not in text:
        return text
    kind, _, address = text.partition(":")
    return f"{kind}:{address.lower()}"


def plain_role(role: str) -> str:
    """Return the role that is meant by a name that may be marked as conditional."""
    return _WITH_CONDITION.sub("", role)


@dataclass(frozen=True, slots=True)
class Binding:
    """One role, granted to members, always or when a condition holds."""

    role: str
    members: tuple[str, ...]
    condition: Condition | None = None

    @classmethod
    def parse(cls, role: str, members: Iterable[str], condition: Condition | None = None) -> Self:
        """Check the role. Of custom roles and members, whoever writes asks: some were there before.

        Raises:
            Rejected: the role does not exist or a member is not printable.
        """
        plain = plain_role(role)
        if plain not in ROLES and not is_custom(plain):
            raise Rejected(
                f"Role {role[:120]!r} does not exist",
                hint=did_you_mean(plain, ROLES)
                or "Use a predefined role, such as roles/artifactregistry.reader.",
            )
        named = tuple(dict.fromkeys(spell_member(member) for member in members))
        return cls(role, named, condition)


@dataclass(frozen=True, slots=True)
class Policy:
    """The bindings on one resource. *etag* names the state that was read, for read-modify-write."""

    resource: str
    bindings: tuple[Binding, ...] = ()
    etag: str = ""

    def __post_init__(self) -> None:
        """Keep the limits, whoever builds it."""
        members = sum(len(binding.members) for binding in self.bindings)
        if len(self.bindings) > BINDINGS_MAX or members > MEMBERS_MAX:
            raise Rejected(
                f"A policy may hold {BINDINGS_MAX} bindings and {MEMBERS_MAX} members; "
                f"this one has {len(self.bindings)} and {members}"
            )
        conditional = sum(binding.condition is not None for binding in self.bindings)
        if conditional > CONDITIONAL_MAX:
            raise Rejected(
                f"A policy may hold {CONDITIONAL_MAX} bindings with conditions; "
                f"this one has {conditional}"
            )

    @property
    def has_conditions(self) -> bool:
        """Whether some binding counts only sometimes."""
        return any(binding.condition is not None for binding in self.bindings)
