"""Artifact Registry v1: packages, versions, files and Python packages (gar.md §4.1)."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from heapq import nsmallest
from typing import Any
from urllib.parse import quote

from bonded.server.core.errors import NotFound, Rejected
from bonded.server.core.files import DeletedFile, DeletedPackage, PackageSummary
from bonded.server.core.iam import Permission
from bonded.server.core.names import PackageName, RepositoryName
from bonded.server.operations.browsing import Browsing, ListedFile, VersionSummary
from bonded.server.operations.curating import Curating
from bonded.server.repositories.catalog import Catalog
from bonded.server.repositories.explaining import Explanation, explain
from bonded.server.upstream.rules import shown as without_query
from bonded.server.web.access import Access
from bonded.server.web.messages import Answer, Call, json_reply, package_named
from bonded.server.web.v1 import wire

_OWNER = re.compile(r'\s*owner\s*=\s*"(.+)/packages/([^/"]+)(?:/versions/([^/"]+))?"\s*')


class PackagesApi:
    """Shows what is in a repository."""

    def __init__(
        self,
        browsing: Browsing,
        curating: Curating,
        catalog: Catalog,
        host_of: Callable[[RepositoryName], str],
        access: Access,
    ) -> None:
        self._browsing = browsing
        self._curating = curating
        self._catalog = catalog
        self._host_of = host_of
        self._access = access

    async def list_packages(self, call: Call) -> Answer:
        """Answer with the packages of a repository, a page at a time."""
        wire.refuse_filters(call)
        after, limit = wire.parse_page(call)
        found = await self._browsing.list_packages(call.target, after, limit + 1)
        shown = {str(one.name): _package(call.target, one) for one in found}
        if _shows_deleted(call):
            for lost in await self._curating.list_deleted_packages(call.target, after, limit + 1):
                view = _package(call.target, lost.summary)
                shown[str(lost.summary.name)] = view | _deletion((lost,))
        return json_reply(_page_of("packages", shown, limit))

    async def get_package(self, call: Call) -> Answer:
        """Answer with one package."""
        found = await self._browsing.get_package(call.target, _name(call))
        return json_reply(_package(call.target, found))

    async def explain_package(self, call: Call) -> Answer:
        """Answer with what each upstream has of a package, and where it comes from."""
        found = await explain(self._catalog, call.target, _name(call))
        return json_reply(_explanation(call.target, found))

    async def list_versions(self, call: Call) -> Answer:
        """Answer with the versions of a package, a page at a time."""
        wire.refuse_filters(call)
        after, limit = wire.parse_page(call)
        name = _name(call)
        lost = await self._deleted_of(call, name)
        found: Sequence[VersionSummary] = ()
        try:
            found = await self._browsing.list_versions(call.target, name, after, limit + 1)
        except NotFound:
            if not lost:
                raise
        shown = {one.version: _version(call.target, one) for one in found}
        gone: dict[str, list[DeletedFile]] = {}
        for one in lost:
            if one.file.version > after and one.file.version not in shown:
                gone.setdefault(one.file.version, []).append(one)
        for version in nsmallest(limit + 1, gone):
            summary = VersionSummary(name, version, tuple(one.file for one in gone[version]))
            shown[version] = _version(call.target, summary) | _deletion(gone[version])
        return json_reply(_page_of("versions", shown, limit))

    async def get_version(self, call: Call) -> Answer:
        """Answer with one version."""
        wanted = call.params["version"]
        found = await self._browsing.get_version(call.target, _name(call), wanted)
        return json_reply(_version(call.target, found))

    async def list_files(self, call: Call) -> Answer:
        """Answer with the files of a repository, or of one package or version of it."""
        after, limit = wire.parse_page(call)
        if wire.one_parameter(call, "orderBy"):
            raise Rejected("orderBy is not supported", hint="Sort the list on your side.")
        owner = wire.one_parameter(call, "filter")
        # Of one package, this says all that its page says, to whoever may see that one.
        package = _parse_owner(call.target, owner)[0].normalized if owner else ""
        await self._access.check(call, Permission.FILE_LIST, call.target, package)
        place = _place(after)
        found: Sequence[ListedFile] = ()
        lost: Sequence[DeletedFile] = ()
        if owner:
            name, version = _parse_owner(call.target, owner)
            every = await self._deleted_of(call, name)
            lost = [one for one in every if version in ("", one.file.version)]
            try:
                found = await self._browsing.list_files_of(
                    call.target, name, version, place, limit + 1
                )
            except NotFound:
                if not every:
                    raise
        else:
            found = await self._browsing.list_files(call.target, place, limit + 1)
            if _shows_deleted(call):
                lost = await self._curating.list_deleted_files(call.target, place, limit + 1)
        shown = {
            _key(one): file_view(call.target, one) for one in await self._browsing.with_urls(found)
        }
        left = (one for one in lost if (str(one.package), one.file.filename) > place)
        for one in nsmallest(limit + 1, left, key=lambda one: (one.package, one.file.filename)):
            listed = ListedFile(one.package, one.file)
            shown[_key(listed)] = file_view(call.target, listed) | _deletion((one,))
        return json_reply(_page_of("files", shown, limit))

    async def get_file(self, call: Call) -> Answer:
        """Answer with one file, named `PACKAGE/FILENAME`."""
        package, slash, filename = call.params["file"].partition("/")
        if not slash:
            raise NotFound(f"No file {package[:80]!r} in {call.target}")
        name = package_named(package)
        found = await self._browsing.get_file(call.target, name, filename)
        return json_reply(file_view(call.target, found))

    async def list_python_packages(self, call: Call) -> Answer:
        """Answer with every version of every package, a page at a time."""
        wire.refuse_filters(call)
        after, limit = wire.parse_page(call)
        found = await self._browsing.list_all_versions(call.target, _place(after), limit + 1)
        view = lambda one: self._python_package(call.target, one)  # noqa: E731
        key = lambda one: f"{one.package}/{one.version}"  # noqa: E731
        return json_reply(wire.page_of("pythonPackages", found, limit, view, key))

    async def get_python_package(self, call: Call) -> Answer:
        """Answer with one version of a package, named `PACKAGE:VERSION`."""
        package, _, wanted = call.params["release"].partition(":")
        name = package_named(package)
        found = await self._browsing.get_version(call.target, name, wanted)
        return json_reply(self._python_package(call.target, found))

    async def _deleted_of(self, call: Call, name: PackageName) -> tuple[DeletedFile, ...]:
        if not _shows_deleted(call):
            return ()
        return await self._curating.list_deleted_of(call.target, name)

    def _python_package(self, repository: RepositoryName, found: VersionSummary) -> dict[str, Any]:
        # One address for a version of several files: the sdist's, as Google's own example has.
        sdists = [one for one in found.files if one.filename.endswith(".tar.gz")]
        filename = (sdists or found.files)[0].filename
        host = f"{self._host_of(repository)}/{repository.project}/{repository.repository}"
        return {
            "name": f"{repository}/pythonPackages/{found.package}:{found.version}",
            "uri": f"{host}/{found.package}/{quote(filename)}",
            "packageName": found.package.normalized,
            "version": found.version,
            **_times(found.created_at, found.updated_at),
        }


def _name(call: Call) -> PackageName:
    return package_named(call.params["package"])


def _shows_deleted(call: Call) -> bool:
    """Say whether a list is to show what was deleted too (AIP-164)."""
    return wire.one_parameter(call, "showDeleted").lower() == "true"


def _deletion(lost: Sequence[DeletedFile | DeletedPackage]) -> dict[str, str]:
    return {
        "deleteTime": wire.timestamp(max(one.deleted_at for one in lost)),
        "purgeTime": wire.timestamp(min(one.restorable_until for one in lost)),
    }


def _page_of(field: str, shown: Mapping[str, dict[str, Any]], limit: int) -> dict[str, object]:
    """Return one page of what is shown, by key."""
    in_order = sorted(shown.items(), key=lambda one: _place(one[0]))[: limit + 1]
    return wire.page_of(field, in_order, limit, lambda one: one[1], lambda one: one[0])


def _parse_owner(repository: RepositoryName, text: str) -> tuple[PackageName, str]:
    """Return the package and version ("" for all) of which files are asked for."""
    match = _OWNER.fullmatch(text)
    if match is None or match[1] != str(repository):
        # gcloud then filters itself (gar.md §6.4).
        raise Rejected('filter must be owner="…/packages/P" or …/versions/V of this repository')
    return PackageName.parse(match[2]), match[3] or ""


def _key(one: ListedFile) -> str:
    return f"{one.package}/{one.file.filename}"


def _place(after: str) -> tuple[str, str]:
    package, _, rest = after.partition("/")
    return package, rest


def _times(created_at: datetime, updated_at: datetime) -> dict[str, str]:
    return {
        "createTime": wire.timestamp(created_at),
        "updateTime": wire.timestamp(updated_at),
    }


def _package(repository: RepositoryName, found: PackageSummary) -> dict[str, Any]:
    return {
        "name": f"{repository}/packages/{found.name}",
        "displayName": found.name.spelled,
        **_times(found.created_at, found.updated_at),
    }


def _version(repository: RepositoryName, found: VersionSummary) -> dict[str, Any]:
    return {
        "name": f"{repository}/packages/{found.package}/versions/{found.version}",
        **_times(found.created_at, found.updated_at),
        **_annotations(found.yanked),
    }


def file_view(repository: RepositoryName, found: ListedFile) -> dict[str, Any]:
    """Return a file as Artifact Registry's REST shows it."""
    file = found.file
    digest = base64.b64encode(bytes.fromhex(file.sha256)).decode()
    owner = f"{repository}/packages/{found.package}/versions/{file.version}"
    return {
        "name": f"{repository}/files/{found.package}%2F{quote(file.filename)}",
        "sizeBytes": str(file.size_bytes),
        "hashes": [{"type": "SHA256", "value": digest}],
        **_times(file.upload_time, file.upload_time),
        "owner": owner,
        # What follows the path may be a signature.
        **_annotations(file.yanked, without_query(found.upstream_url)),
    }


def _annotations(yanked: str | None, upstream_url: str = "") -> dict[str, dict[str, str]]:
    # Artifact Registry knows neither; annotations are what gcloud shows of any resource.
    known = {} if yanked is None else {"yanked": yanked}
    known |= {"upstreamUrl": upstream_url} if upstream_url else {}
    return {"annotations": known} if known else {}


def _explanation(repository: RepositoryName, found: Explanation) -> dict[str, Any]:
    return {
        "name": f"{repository}/packages/{found.package}",
        "summary": found.summary,
        "upstreams": [
            {
                "id": one.upstream.id,
                "repository": str(one.upstream.repository),
                "priority": one.upstream.priority,
                "standing": one.standing.value,
                "reason": one.reason,
                "versions": list(one.versions),
            }
            for one in found.findings
        ],
    }
