"""An upstream's pages as a remote repository knows them: fresh, stale, absent, or not at all."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

from bonded.server.core.caches import PackageCache
from bonded.server.core.clock import Clock
from bonded.server.core.digests import Sha256
from bonded.server.core.errors import NotFound, Reserved, Unavailable, UpstreamFailed
from bonded.server.core.files import Package
from bonded.server.core.names import PackageName, RepositoryName
from bonded.server.metadata.caches import CachedPage
from bonded.server.metadata.store import MetadataStore, package_scope
from bonded.server.upstream import pages
from bonded.server.upstream.client import FetchedPage, UpstreamClient
from bonded.server.upstream.headers import Validators

ABSENT_MAX_S = 60
"""How long an upstream's 404 is remembered, at most: somebody may be about to publish."""
VOUCHED_FOR_S = 60
"""How long an upstream that has shown its list of packages is believed what it does not have."""
STALE_AGAIN_S = 10
"""How long a page that is served although it is stale is not asked for again."""
ANSWER_WAIT_S = 3
"""How long after it was asked for a fresh page is waited for, if there is a stale one."""
REMEMBERED_PAGES_MAX = 65_536
IN_THREAD_MIN_FILES = 200
"""From here, packing and unpacking a page take longer than the loop should wait."""

_T = TypeVar("_T")

_log = logging.getLogger("bonded.server.upstream")


@dataclass(frozen=True, slots=True)
class Outage:
    """Why a page is served although it is no longer fresh."""

    since: datetime
    """When the upstream was first seen to fail."""
    why: str
    """How it failed last: a sentence."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What a request needs to know of a page: no database is asked."""

    serial: int
    known_at: datetime
    """A clock that has been put back since says nothing about what is fresh."""
    fresh_until: datetime
    served_until: datetime | None
    """Until when it does if the upstream does not answer; None if there is no page."""
    is_absent: bool
    outage: Outage | None = None

    def is_fresh(self, serial: int, now: datetime) -> bool:
        """Say whether nobody needs to be asked, if *serial* is the package's."""
        return self.serial == serial and self.known_at <= now < self.fresh_until


@dataclass(frozen=True, slots=True)
class _Renewal:
    """A page that is being asked for."""

    task: asyncio.Task[int]
    waited_until: float
    """By the loop's clock: until then, whoever has a stale page waits. Once for all of them."""


class CachedPages:
    """The pages of one upstream."""

    def __init__(
        self,
        repository: RepositoryName,
        metadata: MetadataStore,
        client: UpstreamClient,
        clock: Clock,
        *,
        packages: PackageCache,
        freshness_s: int,
        stale_max_s: int,
        vouch: Callable[[], Awaitable[None]] | None = None,
        is_private: bool = False,
    ) -> None:
        self._repository = repository
        self._metadata = metadata
        self._client = client
        self._clock = clock
        self._packages = packages
        self._freshness = timedelta(seconds=freshness_s)
        self._absence = min(self._freshness, timedelta(seconds=ABSENT_MAX_S))
        self._stale_max = timedelta(seconds=stale_max_s)
        self._vouch = vouch
        self._is_private = is_private
        self._vouched_at: datetime | None = None
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._renewing: dict[str, _Renewal] = {}
        self._confirmed: dict[str, CachedPage] = {}
        self.has_grown = False
        """Whether pages were kept since whoever evicts them has set this to False."""

    async def version(self, name: PackageName) -> int:
        """Return the package's serial, once its page is as fresh as it must be.

        Raises:
            UpstreamFailed: nothing is known of the package, and the upstream does not tell.
            Unavailable: the repository is gone.
        """
        serial = await self._serial(name)
        known = self._known.get(name.normalized)
        if known is not None and known.is_fresh(serial, self._clock()):
            return serial
        return await self._renewed(name, serial, for_files=False)

    async def version_of_files(self, name: PackageName) -> int:
        """Return the package's serial, for files that are here already.

        Its page is asked for again when it is time, for the upstream may have quarantined the
        package, or replaced a file. That is waited for a moment, and an outage keeps files from
        nobody before it keeps the page from them.

        Raises:
            UpstreamFailed: the upstream has not answered for longer than pages may be stale.
            Unavailable: the repository is gone.
        """
        serial = await self._serial(name)
        known = self._known.get(name.normalized)
        if known is not None and known.is_fresh(serial, self._clock()):
            return serial
        return await self._renewed(name, serial, for_files=True)

    async def _renewed(self, name: PackageName, serial: int, *, for_files: bool) -> int:
        """Return the serial of the page once it is fresh, or *serial* if what is here must do."""
        renewal = self._renew_once(name)
        patience_s = renewal.waited_until - asyncio.get_running_loop().time()
        # One slow upstream holds up nobody for long, however many layers ask for the same page.
        done, _ = await asyncio.wait((renewal.task,), timeout=max(patience_s, 0))
        if not done and await self._is_served(name, serial, for_files=for_files):
            return serial
        try:
            return await asyncio.shield(renewal.task)
        except UpstreamFailed:
            if for_files and await self._is_served(name, serial, for_files=True):
                return serial
            raise

    async def _is_served(self, name: PackageName, serial: int, *, for_files: bool) -> bool:
        """Say whether what is here as of *serial* does while the upstream does not answer."""
        known = self._known.get(name.normalized)
        if known is None or known.serial != serial:
            page = await self._find(name)
            if page is None:
                return False
            self._remember(serial, page, page.checked_at, self.find_outage(name))
            known = self._known[name.normalized]
        # Without a page there never was a file: of a package that is absent now, there may be.
        if known.served_until is None:
            return for_files and known.is_absent
        return self._clock() < known.served_until

    def _renew_once(self, name: PackageName) -> _Renewal:
        # Everybody who asks for the same page at the same moment waits for one answer.
        renewal = self._renewing.get(name.normalized)
        if renewal is None:
            task = asyncio.create_task(self._renew(name))
            renewal = _Renewal(task, asyncio.get_running_loop().time() + ANSWER_WAIT_S)
            self._renewing[name.normalized] = renewal
            task.add_done_callback(lambda done: self._end(done, name))
        return renewal

    def _end(self, task: asyncio.Task[int], name: PackageName) -> None:
        self._renewing.pop(name.normalized, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            # Whoever waits is told; this is for the case that nobody does any more.
            _log.debug("Renewing %s failed: %s", name, error)

    async def _renew(self, name: PackageName) -> int:
        # Before the page: expired in between, it looks older than it is, never newer.
        serial = await self._serial(name)
        page = await self._find(name)
        if page is not None and not page.is_expired and self._is_fresh(page):
            # Another replica has asked, or this one before it was started again.
            return self._remember(serial, page, self._fresh_until(page))
        try:
            return await self._ask(name, page, serial)
        except UpstreamFailed as error:
            now = self._clock()
            until = None if page is None else self._served_until(page)
            if page is None or until is None or now >= until:
                raise
            _log.warning("The page of %s is served as it was: %s", name, error)
            again = now + timedelta(seconds=STALE_AGAIN_S)
            before = self.find_outage(name)
            outage = Outage(now if before is None else before.since, str(error))
            return self._remember(serial, page, again, outage)

    async def _serial(self, name: PackageName) -> int:
        (serial,) = await self._metadata.serials.read(package_scope(self._repository, name))
        return serial

    def _fresh_until(self, page: CachedPage) -> datetime:
        return page.checked_at + (self._absence if page.is_absent else self._freshness)

    def _is_fresh(self, page: CachedPage) -> bool:
        # Checked by a clock that was, or is, ahead: nobody knows for how long it would be fresh.
        return page.checked_at <= self._clock() < self._fresh_until(page)

    def _served_until(self, page: CachedPage) -> datetime | None:
        # An old 404 says nothing about now: an outage is not absence.
        if page.is_absent or page.is_evicted:
            return None
        return page.checked_at + self._freshness + self._stale_max

    async def _find(self, name: PackageName) -> CachedPage | None:
        async with self._metadata.read() as tx:
            page = await tx.caches.find_page(self._repository, name)
        confirmed = self._confirmed.get(name.normalized)
        # Not written down yet; unless somebody has expired it since.
        if page is None or confirmed is None or page.is_expired:
            return page
        is_same = (confirmed.digest, confirmed.is_absent) == (page.digest, page.is_absent)
        return confirmed if is_same else page

    async def _ask(self, name: PackageName, page: CachedPage | None, serial: int) -> int:
        """Keep the page as the upstream has it now; return the serial as of which it is known."""
        asked = self._clock()
        is_known = page is not None and not page.is_absent and page.content
        validators = Validators(page.etag, page.last_modified) if page and is_known else None
        try:
            # Open until it is packed: of large pages, few are in memory at a time.
            async with self._client.open_page(name, validators) as fetched:
                return await self._take(name, fetched, page, asked, serial)
        except NotFound:
            return await self._note_absence(name, page, asked, serial)

    async def _take(
        self,
        name: PackageName,
        fetched: FetchedPage,
        page: CachedPage | None,
        asked: datetime,
        serial: int,
    ) -> int:
        if page is None or fetched.package is not None:
            return await self._keep(await self._packed(name, fetched, page, asked), page, serial)
        found = fetched.validators
        same = replace(
            page,
            checked_at=asked,
            etag=found.etag,
            last_modified=found.last_modified,
            is_expired=False,
        )
        return await self._keep(same, page, serial)

    async def _note_absence(
        self, name: PackageName, page: CachedPage | None, asked: datetime, serial: int
    ) -> int:
        was_there = page is not None and not page.is_absent
        if was_there or self._is_private:
            # Many an index says 404 to whoever it does not know (any more).
            await self._ask_for_list(asked)
        if page is not None and (was_there or page.is_withdrawn):
            # A name that was somebody's is nobody else's, because they have let it go. Nothing
            # evicts that, so it is kept as small as may be.
            nothing = pages.dump(Package(name, (), ()))
            gone = CachedPage(name, nothing, page.digest, "", "", asked, is_absent=True)
            return await self._keep(gone, page, serial)
        # In memory alone: whoever asks for what does not exist fills no database.
        absent = CachedPage(name, b"", "", "", "", asked, is_absent=True)
        return self._remember(serial, absent, self._fresh_until(absent))

    async def _ask_for_list(self, now: datetime) -> None:
        """Look whether the upstream still is an index that knows us. Raises UpstreamFailed."""
        if self._vouch is None:
            return
        if self._vouched_at is not None:
            age = now - self._vouched_at
            # A time to come was told by a clock that was wrong: it says nothing of now.
            if timedelta(0) <= age < timedelta(seconds=VOUCHED_FOR_S):
                return
        await self._vouch()
        self._vouched_at = now

    async def _packed(
        self, name: PackageName, fetched: FetchedPage, page: CachedPage | None, asked: datetime
    ) -> CachedPage:
        assert fetched.package is not None
        before = None if page is None or not page.content else await self._parse(page)
        packing = partial(_pack, fetched.package, before)
        package, content, digest = await _aside(len(fetched.package.files), packing)
        self._packages.add(self._key(name), hash(content), package)
        found = fetched.validators
        return CachedPage(name, content, digest, found.etag, found.last_modified, asked)

    async def _keep(self, page: CachedPage, before: CachedPage | None, serial: int) -> int:
        is_same = (
            before is not None
            and not before.is_expired
            and before.checked_at <= page.checked_at
            and (before.digest, before.is_absent) == (page.digest, page.is_absent)
            and before.content == page.content
        )
        if is_same:
            # Clients see no change, so it is written down when there is time.
            self._confirmed[page.name.normalized] = page
            return self._remember(serial, page, self._fresh_until(page))
        self._confirmed.pop(page.name.normalized, None)
        self.has_grown = True
        try:
            async with self._metadata.transaction() as tx:
                kept = await tx.caches.keep_page(self._repository, page, serial)
        except NotFound as error:
            # That a repository has gone is not that its upstream lacks the package.
            raise Unavailable(error.message) from error
        # What is not current any more is good for those who wait, and for nobody after them.
        until = self._fresh_until(page) if kept.is_current else page.checked_at
        return self._remember(kept.serial, page, until)

    def _remember(
        self, serial: int, page: CachedPage, fresh_until: datetime, outage: Outage | None = None
    ) -> int:
        key = page.name.normalized
        now, served_until = self._clock(), self._served_until(page)
        self._known[key] = _Known(serial, now, fresh_until, served_until, page.is_absent, outage)
        self._known.move_to_end(key)
        if len(self._known) > REMEMBERED_PAGES_MAX:
            self._known.popitem(last=False)
        return serial

    async def get(self, name: PackageName) -> Package:
        """Return a package as the upstream lists it.

        Raises:
            NotFound: the upstream has no such package.
            Reserved: it has it no more, and so nobody else may have it.
            UpstreamFailed: it does not say, and nothing is known that is new enough.
        """
        await self.version(name)
        page = await self._find(name)
        if page is not None and page.is_evicted:
            # Between these two lines.
            await self.version(name)
            page = await self._find(name)
        if page is not None and page.is_evicted:
            # That a page made room is not absence: the upstream has the package, and owns it.
            raise UpstreamFailed(
                f"{self._client} has package {name}, but its page keeps making room"
            )
        if page is not None and not page.is_absent:
            return await self._parse(page)
        if page is not None and page.is_withdrawn:
            raise Reserved(
                f"{self._client} has package {name} no more; nobody else may answer for the name",
                hint=f"If another upstream may: bonded artifacts repositories refresh "
                f"{self._repository.repository} --package={name}",
            )
        raise NotFound(f"No package {name} at {self._client}")

    def find_outage(self, name: PackageName) -> Outage | None:
        """Return why the page that was answered with last was an old one; None if it was not."""
        known = self._known.get(name.normalized)
        return None if known is None else known.outage

    async def find_known(self, name: PackageName) -> Package | None:
        """Return a package as it is known here, without asking; None if it is absent or unknown."""
        page = await self._find(name)
        if page is None or page.is_absent or page.is_evicted:
            return None
        return await self._parse(page)

    async def _parse(self, page: CachedPage) -> Package:
        key = self._key(page.name)
        # Of the whole, for URLs are not part of what its digest is of.
        fingerprint = hash(page.content)
        package = self._packages.find(key, fingerprint)
        if package is None:
            package = await asyncio.to_thread(pages.load, page.content)
            self._packages.add(key, fingerprint, package)
        return package

    def _key(self, name: PackageName) -> tuple[object, ...]:
        return ("page", self._repository, name.normalized)

    async def flush(self) -> None:
        """Write down which pages were confirmed.

        Raises:
            NotFound: the repository is gone.
            Unavailable: the database does not answer; the next time will do.
        """
        confirmed, self._confirmed = self._confirmed, {}
        if confirmed:
            async with self._metadata.transaction() as tx:
                await tx.caches.confirm_pages(self._repository, tuple(confirmed.values()))

    async def close(self) -> None:
        """Give up what is being asked."""
        running = [one.task for one in self._renewing.values()]
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)


def _pack(fetched: Package, before: Package | None) -> tuple[Package, bytes, Sha256]:
    package = pages.with_known_times(fetched, before)
    return package, pages.dump(package), pages.digest_of(package)


async def _aside(files: int, work: Callable[[], _T]) -> _T:
    return work() if files < IN_THREAD_MIN_FILES else await asyncio.to_thread(work)
