"""Any history of uploads, yanks, deletions, collections and restarts, compared with a dict."""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from bonded.server.core.clock import system_clock
from bonded.server.operations.collecting import Collector
from support.site import JSON, Site, open_site
from support.wheels import Distribution, make_sdist, make_wheel

REPOSITORIES = "/v1/projects/my-project/locations/local/repositories"

# Few, so that one is often met again after something has happened to it.
DISTRIBUTIONS = [
    make(name, "1.0", summary=summary)
    for make in (make_wheel, make_sdist)
    for name in ("ada", "bob")
    for summary in ("one", "other")  # other bytes under the same filename
]


@dataclass
class Shelf:
    """What a repository holds, by filename."""

    there: dict[str, Distribution] = field(default_factory=dict)
    deleted: dict[str, Distribution] = field(default_factory=dict)
    yanked: set[str] = field(default_factory=set)
    """Of both: a file that was yanked comes back as it was."""

    def of(self, package: str) -> dict[str, Distribution]:
        """Return the files of a package that are there."""
        return {name: one for name, one in self.there.items() if name.startswith(package)}


REPOSITORY = st.sampled_from(["python", "second"])
DISTRIBUTION = st.sampled_from(DISTRIBUTIONS)


class Histories(RuleBasedStateMachine):
    """A registry that is administered, published to, cleaned and restarted."""

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._data = tempfile.TemporaryDirectory()
        self._open = AsyncExitStack()
        self._model = {"python": Shelf()}

    @initialize()
    def start(self) -> None:
        self._site = self._runner.run(self._start())

    async def _start(self) -> Site:
        # Until long after the collections, which go by the real clock.
        opened = open_site(Path(self._data.name) / "data", undelete_days=100 * 365)
        site = await self._open.enter_async_context(opened)
        # Or it would keep `python`, its upstream, from being deleted.
        await site.call("DELETE", f"{REPOSITORIES}/all")
        return site

    def teardown(self) -> None:
        self._runner.run(self._open.aclose())
        self._runner.close()
        self._data.cleanup()

    @rule()
    def restart(self) -> None:
        self._runner.run(self._open.aclose())
        self.start()

    @rule(repository=REPOSITORY)
    def create_or_delete(self, repository: str) -> None:
        self._runner.run(self._create_or_delete(repository))

    async def _create_or_delete(self, repository: str) -> None:
        if self._model.pop(repository, None) is None:
            self._model[repository] = Shelf()
            path = f"{REPOSITORIES}?repositoryId={repository}"
            answer = await self._site.call("POST", path, {"format": "PYTHON"})
        else:
            answer = await self._site.call("DELETE", f"{REPOSITORIES}/{repository}")
        assert answer.status_code == 200, answer.text

    @rule(repository=REPOSITORY, distribution=DISTRIBUTION)
    def publish(self, repository: str, distribution: Distribution) -> None:
        path = f"/my-project/{repository}/"
        answer = self._runner.run(self._site.upload(distribution, path=path))

        shelf = self._model.get(repository)
        if shelf is None:
            assert answer.status_code == 404, answer.text
            return
        name = distribution.filename
        known = shelf.there.get(name) or shelf.deleted.get(name) or distribution
        if known.data == distribution.data:
            shelf.there[name] = distribution
            shelf.deleted.pop(name, None)
        expected = 200 if known.data == distribution.data else 409
        assert answer.status_code == expected, answer.text

    @rule(repository=REPOSITORY, distribution=DISTRIBUTION, verb=st.sampled_from(["", "un"]))
    def yank(self, repository: str, distribution: Distribution, verb: str) -> None:
        shelf = self._model.get(repository, Shelf())
        is_there = distribution.filename in shelf.there

        self._curate("POST", repository, distribution, f":{verb}yank", is_there=is_there)

        if is_there:
            (shelf.yanked.discard if verb else shelf.yanked.add)(distribution.filename)

    @rule(repository=REPOSITORY, distribution=DISTRIBUTION)
    def delete(self, repository: str, distribution: Distribution) -> None:
        shelf = self._model.get(repository, Shelf())
        known = shelf.there.pop(distribution.filename, None)

        self._curate("DELETE", repository, distribution, "", is_there=known is not None)

        if known is not None:
            shelf.deleted[distribution.filename] = known

    @rule(repository=REPOSITORY, distribution=DISTRIBUTION)
    def undelete(self, repository: str, distribution: Distribution) -> None:
        shelf = self._model.get(repository, Shelf())
        known = shelf.deleted.pop(distribution.filename, None)

        self._curate("POST", repository, distribution, ":undelete", is_there=known is not None)

        if known is not None:
            shelf.there[distribution.filename] = known

    def _curate(
        self, method: str, repository: str, distribution: Distribution, verb: str, *, is_there: bool
    ) -> None:
        name = distribution.filename
        path = f"{REPOSITORIES}/{repository}/files/{name[:3]}%2F{name}{verb}"
        answer = self._runner.run(self._site.call(method, path))
        assert answer.status_code == (200 if is_there else 404), answer.text

    @rule()
    def collect_orphans(self) -> None:
        # The grace ended in a minute's time: whatever nobody names goes.
        registry, grace = self._site.registry, timedelta(minutes=-1)
        collector = Collector(registry.metadata, registry.blobs, system_clock, grace)
        self._runner.run(collector.collect())

    @invariant()
    def every_repository_lists_and_serves_what_the_dict_says(self) -> None:
        self._runner.run(self._compare())

    async def _compare(self) -> None:
        for repository in ("python", "second"):
            shelf = self._model.get(repository)
            path = f"/my-project/{repository}"
            listing = await self._site.get(f"{path}/simple/", accept=JSON)
            assert listing.status_code == (404 if shelf is None else 200)
            if shelf is not None:
                packages = [one["name"] for one in listing.json()["projects"]]
                assert packages == [one for one in ("ada", "bob") if shelf.of(one)]
            for package in ("ada", "bob"):
                expected = {} if shelf is None else shelf.of(package)
                page = await self._site.get(f"{path}/simple/{package}/", accept=JSON)
                assert page.status_code == (200 if expected else 404)
                listed = page.json()["files"] if expected else []
                assert {
                    file["filename"]: (file["hashes"]["sha256"], file["yanked"]) for file in listed
                } == {
                    name: (one.sha256, shelf is not None and name in shelf.yanked)
                    for name, one in expected.items()
                }
                for name, one in expected.items():
                    answer = await self._site.get(f"{path}/{package}/{name}")
                    assert answer.content == one.data


TestHistories = Histories.TestCase
TestHistories.settings = settings(
    max_examples=8,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
