"""Roles: named sets of permissions, ours and Google's, and those that administrators define.

Google's are written out in full, as gar.md §3.1 lists them. A permission that no
route here asks for is in a role by name only, until a route does.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from bonded.server.core.errors import Rejected, did_you_mean

OWNER = "roles/owner"
EDITOR = "roles/editor"
VIEWER = "roles/viewer"
UPLOADER = "roles/bonded.uploader"
"""Who publishes and does nothing else: trusted publishers, and whoever a condition limits."""
GROUP_OWNER = "roles/bonded.groupOwner"
"""What a group's owners have on it, without any binding."""

ID_LENGTH_MAX = 64
TITLE_LENGTH_MAX = 100
DESCRIPTION_LENGTH_MAX = 300
PERMISSIONS_MAX = 3000
"""Of one custom role: Google's limits."""
STAGES = ("ALPHA", "BETA", "GA", "DEPRECATED", "DISABLED", "EAP")


def _named(service: str, text: str) -> frozenset[str]:
    """Return the permissions of *text*, as in `files.{get,list} locations.get`."""
    names = set()
    for resource, verbs in re.findall(r"(\w+)\.(\{[^}]*\}|\w+)", text):
        names |= {f"{service}.{resource}.{verb}" for verb in verbs.strip("{}").split(",")}
    return frozenset(names)


_GET_PROJECT = frozenset({"resourcemanager.projects.get"})
_SEE_PROJECTS = _GET_PROJECT | {"resourcemanager.projects.list"}

_READER = _GET_PROJECT | _named(
    "artifactregistry",
    "attachments.{get,list} dockerimages.{get,list} files.{download,get,list} locations.{get,list} "
    "mavenartifacts.{get,list} npmpackages.{get,list} packages.{get,list} projectconfigs.get "
    "projectsettings.get pythonpackages.{get,list} repositories.{downloadArtifacts,exportArtifacts,"
    "get,list,listEffectiveTags,listTagBindings,readViaVirtualRepository} rules.{get,list} "
    "tags.{get,list} versions.{get,list}",
)
_WRITER = _READER | _named(
    "artifactregistry",
    "aptartifacts.create attachments.{create,delete} files.{update,upload} kfpartifacts.create "
    "packages.update repositories.uploadArtifacts tags.{create,update} yumartifacts.create",
)
# Ours: what takes nothing away that cannot be given back.
_CURATING = _named("bonded", "files.{undelete,yank} packages.undelete versions.{undelete,yank}")
_REPO_ADMIN = (
    _WRITER
    | _CURATING
    | _named(
        "artifactregistry",
        "files.delete packages.delete repositories.deleteArtifacts rules.{create,delete,update} "
        "tags.delete versions.{delete,update}",
    )
)
_CREATE_ON_PUSH = frozenset({"artifactregistry.repositories.createOnPush"})
_ADMIN = (
    _REPO_ADMIN
    | _named(
        "artifactregistry",
        "projectconfigs.update projectsettings.update repositories.{create,createTagBinding,delete,"
        "deleteTagBinding,getIamPolicy,setIamPolicy,update} "
        # Ours: who may open a repository to others may open it to their CI.
        "trustedPublishers.{create,delete,get,list}",
    )
    | _named(
        "cloudkms",
        "keyHandles.{create,get,list} operations.get projects.showEffectiveAutokeyConfig",
    )
)
_AR_VIEWER = _READER | _SEE_PROJECTS | {"artifactregistry.repositories.getIamPolicy"}
_AR_EDITOR = (
    _REPO_ADMIN
    | _SEE_PROJECTS
    | _CREATE_ON_PUSH
    | _named(
        "artifactregistry",
        "projectconfigs.update projectsettings.update "
        "repositories.{create,delete,getIamPolicy,update}",
    )
)

_POOL_VIEWER = _GET_PROJECT | _named(
    "iam", "workloadIdentityPools.{get,list} workloadIdentityPoolProviders.{get,list}"
)
_POOL_ADMIN = _POOL_VIEWER | _named(
    "iam",
    "workloadIdentityPools.{create,delete,undelete,update} "
    "workloadIdentityPoolProviders.{create,delete,undelete,update}",
)
_ROLE_VIEWER = _GET_PROJECT | _named("iam", "roles.{get,list}")
_ROLE_ADMIN = _ROLE_VIEWER | _named("iam", "roles.{create,delete,undelete,update}")
_ACCOUNT_USER = _SEE_PROJECTS | _named("iam", "serviceAccounts.{get,list}")
_ACCOUNT_VIEWER = _ACCOUNT_USER | _named(
    "iam", "serviceAccounts.getIamPolicy serviceAccountKeys.{get,list}"
)
_ACCOUNT_ADMIN = _ACCOUNT_USER | _named(
    "iam",
    "serviceAccounts.{create,delete,disable,enable,getIamPolicy,setIamPolicy,undelete,update}",
)
_KEY_ADMIN = _ACCOUNT_USER | _named(
    "iam", "serviceAccountKeys.{create,delete,disable,enable,get,list}"
)
_TOKENS = _named("iam", "serviceAccounts.{getAccessToken,getOpenIdToken}")
_GROUP_OWNER = _named("bonded", "groups.{get,update}")
_GROUP_VIEWER = _named("bonded", "groups.{get,list}")
_GROUP_ADMIN = _GROUP_VIEWER | _named("bonded", "groups.{create,delete,update}")
_VIEWER = _AR_VIEWER | _POOL_VIEWER | _ROLE_VIEWER | _ACCOUNT_VIEWER
_REVIEWER = (
    _VIEWER
    | _GROUP_VIEWER
    | _named("resourcemanager", "projects.getIamPolicy organizations.getIamPolicy")
    | {"bonded.policies.troubleshoot"}
) - _named("artifactregistry", "repositories.{downloadArtifacts,readViaVirtualRepository}")

DEFINITIONS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        VIEWER: _VIEWER,
        # What Google's editor may do to identities is left out: whoever makes the key of an
        # account is that account, and it may be an owner.
        EDITOR: _VIEWER | _AR_EDITOR,
        "roles/artifactregistry.reader": _READER,
        "roles/artifactregistry.writer": _WRITER,
        "roles/artifactregistry.repoAdmin": _REPO_ADMIN,
        "roles/artifactregistry.admin": _ADMIN,
        "roles/artifactregistry.createOnPushWriter": _WRITER | _CREATE_ON_PUSH,
        "roles/artifactregistry.createOnPushRepoAdmin": _REPO_ADMIN | _CREATE_ON_PUSH,
        "roles/artifactregistry.viewer": _AR_VIEWER,
        "roles/artifactregistry.editor": _AR_EDITOR,
        "roles/iam.workloadIdentityPoolViewer": _POOL_VIEWER,
        "roles/iam.workloadIdentityPoolAdmin": _POOL_ADMIN,
        "roles/iam.roleViewer": _ROLE_VIEWER,
        "roles/iam.roleAdmin": _ROLE_ADMIN,
        "roles/iam.serviceAccountAdmin": _ACCOUNT_ADMIN,
        "roles/iam.serviceAccountKeyAdmin": _KEY_ADMIN,
        "roles/iam.serviceAccountOpenIdTokenCreator": _named(
            "iam", "serviceAccounts.getOpenIdToken"
        ),
        "roles/iam.serviceAccountTokenCreator": _ACCOUNT_USER | _TOKENS,
        "roles/iam.serviceAccountUser": _ACCOUNT_USER,
        "roles/iam.serviceAccountViewer": _ACCOUNT_VIEWER,
        "roles/iam.workloadIdentityUser": _TOKENS | _named("iam", "serviceAccounts.{get,list}"),
        "roles/iam.securityReviewer": _REVIEWER,
        "roles/logging.viewer": _named("logging", "logEntries.list"),
        # Bonded's own, where Google's are too coarse or have no such thing.
        UPLOADER: _named("artifactregistry", "repositories.uploadArtifacts"),
        "roles/bonded.curator": _READER | _CURATING,
        "roles/bonded.groupViewer": _GROUP_VIEWER,
        "roles/bonded.groupAdmin": _GROUP_ADMIN,
        GROUP_OWNER: _GROUP_OWNER,
    }
)
"""Predefined roles but roles/owner, which has every permission."""

LASTING = (
    _named("resourcemanager", "organizations.setIamPolicy projects.setIamPolicy")
    | _named("artifactregistry", "repositories.{create,setIamPolicy,update}")
    | _named("artifactregistry", "trustedPublishers.create")
    | _named("iam", "serviceAccounts.{enable,setIamPolicy} serviceAccountKeys.{create,enable}")
    | _named("iam", "workloadIdentityPools.{create,update}")
    | _named("iam", "workloadIdentityPoolProviders.{create,update}")
    | _named("iam", "roles.{create,undelete,update}")
    | _named("bonded", "groups.{create,update} users.{create,update}")
)
"""Permissions for what gives access that does not end by itself: keys, grants, memberships,
invitations, whom an outside issuer lets in, and which repositories others read through one."""

GOOGLE_PERMISSIONS = frozenset[str]().union(*DEFINITIONS.values())
"""Permissions that exist by name, whether a route asks for them or not."""


@dataclass(frozen=True, slots=True)
class Role:
    """A role that an administrator has defined, on the server or on a project."""

    name: str
    """`organizations/bonded/roles/ID` or `projects/P/roles/ID`."""
    title: str = ""
    description: str = ""
    stage: str = "GA"
    permissions: tuple[str, ...] = ()
    is_deleted: bool = False
    etag: str = ""

    @property
    def counts(self) -> bool:
        """Whether bindings of this role grant anything."""
        return not self.is_deleted and self.stage != "DISABLED"


_CUSTOM = re.compile(
    rf"(?:projects/[^/]+|organizations/bonded)/roles/[A-Za-z0-9_.]{{3,{ID_LENGTH_MAX}}}"
)


def is_custom(role: str) -> bool:
    """Say whether *role* has the form of a custom role's name."""
    return _CUSTOM.fullmatch(role) is not None


def counts_on(role: str, resource: str) -> bool:
    """Say whether custom *role* may be granted on *resource*: on its own parent and below."""
    parent = role.rpartition("/roles/")[0]
    return not parent.startswith("projects/") or f"{resource}/".startswith(f"{parent}/")


def role_name(parent: str, role_id: str) -> str:
    """Return the full name of a custom role. Raises Rejected for a malformed id."""
    name = f"{parent}/roles/{role_id}"
    if not is_custom(name):
        raise Rejected(
            f"{role_id[:120]!r} is not a valid id of a role",
            hint=f"Use 3 to {ID_LENGTH_MAX} letters, digits, underscores and full stops.",
        )
    return name


def check_role(role: Role, known: Collection[str]) -> None:
    """Refuse a custom role that breaks the rules; *known* are the permissions there are.

    Raises:
        Rejected: a permission does not exist, or something is too long.
    """
    if role.stage not in STAGES:
        raise Rejected(f"stage must be one of {', '.join(STAGES)}")
    if len(role.title) > TITLE_LENGTH_MAX or len(role.description) > DESCRIPTION_LENGTH_MAX:
        raise Rejected(
            f"A role's title may have {TITLE_LENGTH_MAX} characters, "
            f"its description {DESCRIPTION_LENGTH_MAX}"
        )
    if len(role.permissions) > PERMISSIONS_MAX:
        raise Rejected(f"A role may hold {PERMISSIONS_MAX} permissions")
    unknown = sorted(set(role.permissions) - set(known))
    if unknown:
        raise Rejected(
            f"Permission {unknown[0][:120]!r} does not exist",
            hint=did_you_mean(unknown[0], known)
            or "docs/reference/roles.md lists the permissions there are.",
        )
