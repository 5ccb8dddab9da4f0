"""Resource Manager v1: projects."""

from __future__ import annotations

from bonded.server.metadata.store import Project
from bonded.server.operations.administering import Administration
from bonded.server.web.messages import Answer, Call, json_reply
from bonded.server.web.v1 import wire

_METADATA = "google.cloudresourcemanager.v1.ProjectCreationStatus"
_TYPE = "google.cloudresourcemanager.v1.Project"


class ProjectsApi:
    """Creates, shows and deletes projects."""

    def __init__(self, administration: Administration) -> None:
        self._administration = administration

    async def create(self, call: Call) -> Answer:
        """Create a project; answer with a finished operation."""
        body = await call.json()
        project = await self._administration.create_project(
            wire.parse_text(body, "projectId"), wire.parse_text(body, "name"), body.get("labels")
        )
        view = _view(project)
        return json_reply(wire.done("operations", _METADATA, _TYPE, view))

    async def get(self, call: Call) -> Answer:
        """Answer with one project."""
        return json_reply(_view(await self._administration.get_project(call.params["project"])))

    async def list(self, call: Call) -> Answer:
        """Answer with the projects, in order of id."""
        wire.refuse_filters(call)
        after, limit = wire.parse_page(call)
        found = await self._administration.list_projects(after, limit + 1)
        return json_reply(wire.page_of("projects", found, limit, _view, lambda one: one.id))

    async def delete(self, call: Call) -> Answer:
        """Delete an empty project."""
        await self._administration.delete_project(call.params["project"])
        return json_reply({})


def _view(project: Project) -> dict[str, object]:
    view: dict[str, object] = {
        "projectNumber": str(project.number),
        "projectId": project.id,
        "lifecycleState": "ACTIVE",
        "name": project.name,
        "createTime": wire.timestamp(project.created_at),
    }
    return view | ({"labels": project.labels} if project.labels else {})
