"""Artifact Registry v1: locations, repositories, operations (gar.md §4.1)."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import Any

from bonded.server.core.errors import Aborted, NotFound, Rejected
from bonded.server.core.iam import Permission
from bonded.server.core.names import RepositoryName
from bonded.server.core.upstreams import (
    Mode,
    PublicIndex,
    RemoteConfig,
    RepositoryConfig,
    upstreams_of,
)
from bonded.server.metadata.store import RepositoryRecord
from bonded.server.operations.administering import Administration, Revise
from bonded.server.web.access import Access
from bonded.server.web.messages import Answer, Call, json_reply
from bonded.server.web.v1 import masks, upstreams, wire

FORMATS = {
    "FORMAT_UNSPECIFIED": 0,
    "DOCKER": 1,
    "MAVEN": 2,
    "NPM": 3,
    "APT": 5,
    "YUM": 6,
    "PYTHON": 8,
    "KFP": 9,
    "GO": 10,
    "GENERIC": 11,
    "RUBY": 12,
}
MODES = {
    "MODE_UNSPECIFIED": 0,
    "STANDARD_REPOSITORY": 1,
    "VIRTUAL_REPOSITORY": 2,
    "REMOTE_REPOSITORY": 3,
    "NONE": 0,
}
_METADATA = "google.devtools.artifactregistry.v1.OperationMetadata"
_TYPE = "google.devtools.artifactregistry.v1.Repository"
_CHANGEABLE = ("description", "labels", *upstreams.PARTS)
# Who asks for one of these must not believe to have it. Other fields are ignored, as Google's are.
_NOT_DONE = {
    "kmsKeyName": "Bonded encrypts nothing with keys of yours, but can keep files on what does",
    "cleanupPolicies": "Bonded deletes nothing by itself",
}
_READ_THROUGH = Permission.REPOSITORY_READ_VIA_VIRTUAL
_FIXED = (
    *("name", "format", "mode", "createTime", "updateTime", "sizeBytes", "kmsKeyName"),
    *("cleanupPolicies", "cleanupPolicyDryRun", "satisfiesPzs", "satisfiesPzi", "registryUri"),
    *("vulnerabilityScanningConfig", "disallowUnspecifiedMode", "mavenConfig", "dockerConfig"),
)


class RepositoriesApi:
    """Creates, shows, changes and deletes repositories."""

    def __init__(
        self,
        administration: Administration,
        access: Access,
        default_location: str,
        server_host: str,
        index_url_of: Callable[[RemoteConfig], str],
    ) -> None:
        self._administration = administration
        self._access = access
        self._default_location = default_location
        self._server_host = server_host
        self._index_url_of = index_url_of

    async def list_locations(self, call: Call) -> Answer:
        """Answer with the default location, and those where the project has repositories."""
        project = call.params["project"]
        used = await self._administration.list_locations(project)
        locations = dict.fromkeys((self._default_location, *used))
        return json_reply({"locations": [_location(project, one) for one in locations]})

    async def get_location(self, call: Call) -> Answer:
        """Answer with one location."""
        project, location = call.params["project"], call.params["location"]
        used = await self._administration.list_locations(project)
        if location not in (self._default_location, *used):
            raise NotFound(f"Project {project} has nothing in location {location}")
        return json_reply(_location(project, location))

    async def create(self, call: Call) -> Answer:
        """Create a repository; answer with a finished operation."""
        wire.refuse_dry_run(call)
        repository = wire.one_parameter(call, "repositoryId")
        name = RepositoryName.parse(call.params["project"], call.params["location"], repository)
        body = masks.camelled(await call.json())
        for field, why in _NOT_DONE.items():
            if body.get(field):
                raise Rejected(f"{field} is not supported: {why}", hint=f"Leave {field} out.")
        if wire.parse_enum(body.get("format"), FORMATS, "format") != "PYTHON":
            raise Rejected("format must be PYTHON: Bonded keeps Python packages only")
        mode_said = body.get("mode")
        said = wire.parse_enum(0 if mode_said is None else mode_said, MODES, "mode")
        mode = Mode(said) if MODES[said] else Mode.STANDARD
        config = upstreams.parse_config(body, name, mode)
        await self._require_reading(call, upstreams_of(config))
        record = await self._administration.create_repository(
            name, wire.parse_text(body, "description"), body.get("labels"), config
        )
        return json_reply(wire.done(_operations(name), _METADATA, _TYPE, self._view(record)))

    async def get(self, call: Call) -> Answer:
        """Answer with one repository."""
        return json_reply(self._view(await self._administration.get_repository(call.target)))

    async def list(self, call: Call) -> Answer:
        """Answer with the repositories of one location, or of all (`-`)."""
        wire.refuse_filters(call)
        after, limit = wire.parse_page(call)
        location = None if call.params["location"] == "-" else call.params["location"]
        found = await self._administration.list_repositories(
            call.params["project"], location, after, limit + 1
        )
        key = lambda record: f"{record.name.location}/{record.name.repository}"  # noqa: E731
        return json_reply(wire.page_of("repositories", found, limit, self._view, key))

    async def update(self, call: Call) -> Answer:
        """Change description, labels and upstreams.

        Clients send the whole resource and a mask: only what the mask names counts.
        """
        wire.refuse_dry_run(call)
        changes = masks.parse_changes(
            call, await call.json(), _CHANGEABLE, fixed=_FIXED, parts=upstreams.PARTS
        )
        described = {
            name: value for name, value in changes.values.items() if name not in upstreams.PARTS
        }
        revise = None
        if len(described) < len(changes.values):
            revise = partial(upstreams.revise, changes)
            before = await self._administration.get_repository(call.target)
            added = frozenset(upstreams_of(revise(before))) - set(upstreams_of(before.config))
            await self._require_reading(call, added)
            # Looked at again when nobody else changes it.
            revise = partial(_revise_checked, revise, added)
        record = await self._administration.update_repository(call.target, described, revise)
        return json_reply(self._view(record))

    async def _require_reading(self, call: Call, upstreams: Collection[RepositoryName]) -> None:
        # Whoever reads the repository reads its upstreams through it (gar.md §2.3): nobody may
        # open in this way what they cannot read themselves.
        for upstream in upstreams:
            await self._access.check_always(call, _READ_THROUGH, upstream)

    async def delete(self, call: Call) -> Answer:
        """Delete a repository with everything in it; answer with a finished operation."""
        wire.refuse_dry_run(call)
        await self._administration.delete_repository(call.target)
        return json_reply(wire.done(_operations(call.target), _METADATA, wire.EMPTY, {}))

    def host_of(self, name: RepositoryName) -> str:
        """Return the host at which clients reach a repository."""
        if name.location == self._default_location:
            return self._server_host
        # The path names no location: the host does (gar.md §1.1).
        return f"{name.location}-python.{self._server_host}"

    def _view(self, record: RepositoryRecord) -> dict[str, Any]:
        name = record.name
        view: dict[str, Any] = {
            "name": str(name),
            "format": "PYTHON",
            "mode": record.mode,
            "description": record.description,
            "labels": record.labels,
            "createTime": wire.timestamp(record.created_at),
            "updateTime": wire.timestamp(record.updated_at),
            "sizeBytes": str(record.size_bytes),
            "registryUri": f"{self.host_of(name)}/{name.project}/{name.repository}",
            **upstreams.view(record.config),
        }
        if isinstance(record.config, RemoteConfig) and record.config.source == PublicIndex():
            own = view[upstreams.REMOTE].setdefault(upstreams.OWN, {})
            own[upstreams.INDEX_URL] = self._index_url_of(record.config)
        # proto3 JSON leaves out what is empty.
        return {key: value for key, value in view.items() if value not in ("", {})}


def _revise_checked(
    revise: Revise, checked: frozenset[RepositoryName], record: RepositoryRecord
) -> RepositoryConfig:
    """Return how a repository is to be set up; only *checked* upstreams may come to it.

    Raises:
        Aborted: it would have another, because somebody has changed it since they were checked.
    """
    config = revise(record)
    if not checked.issuperset(set(upstreams_of(config)) - set(upstreams_of(record.config))):
        raise Aborted(f"{record.name} was changed at the same time", hint="Send it again.")
    return config


def _location(project: str, location: str) -> dict[str, str]:
    return {"name": f"projects/{project}/locations/{location}", "locationId": location}


def _operations(name: RepositoryName) -> str:
    return f"projects/{name.project}/locations/{name.location}/operations"
