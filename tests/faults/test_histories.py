"""Any history of uploads, deletions, collections and restarts, compared with a dict."""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import AsyncExitStack
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

DISTRIBUTIONS = [
    make(name, version, summary=summary)
    for make in (make_wheel, make_sdist)
    for name in ("ada", "bob")
    for version in ("1.0", "2.0")
    for summary in ("one", "other")  # other bytes under the same filename
]


class Histories(RuleBasedStateMachine):
    """A registry that is administered, published to, cleaned and restarted."""

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._data = tempfile.TemporaryDirectory()
        self._open = AsyncExitStack()
        self._model: dict[str, dict[str, Distribution]] = {"python": {}}

    @initialize()
    def start(self) -> None:
        self._site = self._runner.run(self._start())

    async def _start(self) -> Site:
        site = await self._open.enter_async_context(open_site(Path(self._data.name) / "data"))
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

    @rule(repository=st.sampled_from(["python", "second"]))
    def create_or_delete(self, repository: str) -> None:
        self._runner.run(self._create_or_delete(repository))

    async def _create_or_delete(self, repository: str) -> None:
        if self._model.pop(repository, None) is None:
            self._model[repository] = {}
            path = f"{REPOSITORIES}?repositoryId={repository}"
            answer = await self._site.call("POST", path, {"format": "PYTHON"})
        else:
            answer = await self._site.call("DELETE", f"{REPOSITORIES}/{repository}")
        assert answer.status_code == 200, answer.text

    @rule(
        repository=st.sampled_from(["python", "second"]),
        distribution=st.sampled_from(DISTRIBUTIONS),
    )
    def publish(self, repository: str, distribution: Distribution) -> None:
        path = f"/my-project/{repository}/"
        answer = self._runner.run(self._site.upload(distribution, path=path))

        files = self._model.get(repository)
        if files is None:
            assert answer.status_code == 404, answer.text
            return
        known = files.setdefault(distribution.filename, distribution)
        expected = 200 if known.data == distribution.data else 409
        assert answer.status_code == expected, answer.text

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
            files = self._model.get(repository)
            path = f"/my-project/{repository}"
            listing = await self._site.get(f"{path}/simple/", accept=JSON)
            assert listing.status_code == (404 if files is None else 200)
            for package in ("ada", "bob"):
                expected = {
                    name: one for name, one in (files or {}).items() if name.startswith(package)
                }
                page = await self._site.get(f"{path}/simple/{package}/", accept=JSON)
                assert page.status_code == (200 if expected else 404)
                listed = page.json()["files"] if expected else []
                assert {file["filename"]: file["hashes"]["sha256"] for file in listed} == {
                    name: one.sha256 for name, one in expected.items()
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
