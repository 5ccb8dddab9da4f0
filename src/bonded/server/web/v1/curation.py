"""Packages, versions and files after they were published: verbs beside Artifact Registry's."""

from __future__ import annotations

from bonded.server.core.errors import NotFound
from bonded.server.core.files import YANK_REASON_LENGTH_MAX, File, Selection
from bonded.server.operations.browsing import ListedFile
from bonded.server.operations.curating import Curating
from bonded.server.web.messages import Answer, Call, json_reply, package_named
from bonded.server.web.v1 import wire
from bonded.server.web.v1.packages import file_view

_METADATA = "google.devtools.artifactregistry.v1.OperationMetadata"


class CurationApi:
    """Yanks and deletes what a path names: one file, or all of a version or package."""

    def __init__(self, curating: Curating) -> None:
        self._curating = curating

    async def yank(self, call: Call) -> Answer:
        """Answer with the files that installers pass by from now on."""
        body = await call.json()
        reason = wire.parse_text(body, "reason", YANK_REASON_LENGTH_MAX)
        files = await self._curating.yank(call.target, selection_of(call), reason)
        return _files_reply(call, files)

    async def unyank(self, call: Call) -> Answer:
        """Answer with the files that installers may choose again."""
        files = await self._curating.unyank(call.target, selection_of(call))
        return _files_reply(call, files)

    async def delete(self, call: Call) -> Answer:
        """Delete files; answer with a finished operation."""
        await self._curating.delete(call.target, selection_of(call))
        place = f"projects/{call.target.project}/locations/{call.target.location}/operations"
        return json_reply(wire.done(place, _METADATA, wire.EMPTY, {}))

    async def undelete(self, call: Call) -> Answer:
        """Answer with the files that are back."""
        files = await self._curating.undelete(call.target, selection_of(call))
        return _files_reply(call, files)


def selection_of(call: Call) -> Selection:
    """Return what the path names: a package, a version, or a file as `PACKAGE/FILENAME`.

    Raises:
        NotFound: nothing can have such a name.
    """
    if "file" not in call.params:
        return Selection(package_named(call.params["package"]), call.params.get("version", ""))
    package, slash, filename = call.params["file"].partition("/")
    if not slash or not filename:
        raise NotFound(f"No file {package[:80]!r} in {call.target}")
    return Selection(package_named(package), filename=filename)


def _files_reply(call: Call, files: tuple[File, ...]) -> Answer:
    name = selection_of(call).name
    views = [file_view(call.target, ListedFile(name, file)) for file in files]
    return json_reply({"files": views})
