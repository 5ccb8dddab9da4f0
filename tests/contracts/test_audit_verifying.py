"""Whoever changes the log behind the server's back is found out, in every database."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from bonded.server.core.audit import START, Act, Kind, Outcome, hash_of
from bonded.server.core.iam import Principal
from bonded.server.metadata.sql.store import SqlMetadataStore
from bonded.server.metadata.store import ChainEnd
from bonded.server.operations.auditing import BEGINNING, AuditLog, Query, Retention
from bonded.server.operations.recording import STRANGER_MAX, STRANGERS_MAX, Trail
from support.clock import SetClock

if TYPE_CHECKING:
    # Not at run time: pytest must be the first to load its plugin.
    from support.databases import Database

pytest_plugins = ("support.databases",)

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ENTRIES = 6


def act_of(number: int, at: datetime = NOW) -> Act:
    principal = Principal(f"user:u{number}@example.com", "session:1")
    return Act(at + timedelta(seconds=number), Kind.ACT, f"test.M{number}", "projects/p", principal)


async def fill(store: SqlMetadataStore, clock: SetClock) -> tuple[AuditLog, Trail]:
    trail = Trail(store, clock)
    for number in range(1, ENTRIES + 1):
        trail.record(act_of(number, clock()), Outcome())
        await trail.flush()
    return AuditLog(store, trail), trail


ALTERED = "has other contents than those that were hashed"
# What somebody does to the database → what is said of which entry.
TAMPERING: dict[str, tuple[list[str], set[tuple[int, str]]]] = {
    "change the entry": (
        ["UPDATE audit_log SET entry = replace(entry, 'u3@', 'u4@') WHERE number = 3"],
        {(3, ALTERED)},
    ),
    "change what it is found by": (
        ["UPDATE audit_log SET principal = 'user:x@example.com' WHERE number = 3"],
        {(3, "would be found under other values than it has")},
    ),
    "change when it is found": (
        ["UPDATE audit_log SET at = at - 1 WHERE number = 3"],
        {(3, "would be found under other values than it has")},
    ),
    "change the hash": (
        [f"UPDATE audit_log SET hash = '{'f' * 64}' WHERE number = 3"],
        {(3, ALTERED), (4, "does not follow the entry before it")},
    ),
    "remove from the middle": (
        ["DELETE FROM audit_log WHERE number IN (3, 4)"],
        {(5, "follows a gap, 3 to 4: these entries are missing")},
    ),
    "remove and count anew": (
        [
            "DELETE FROM audit_log WHERE number = 3",
            "UPDATE audit_log SET number = 3 WHERE number = 6",
        ],
        {
            (3, ALTERED),
            (3, "does not follow the entry before it"),
            (4, "does not follow the entry before it"),
            (6, "is the end of the chain, and what follows 5 is gone"),
        },
    ),
    "remove the beginning": (
        ["DELETE FROM audit_log WHERE number <= 2"],
        {(3, "follows a gap, 1 to 2: these entries are missing")},
    ),
    "remove the end": (
        ["DELETE FROM audit_log WHERE number >= 5"],
        {(6, "is the end of the chain, and what follows 4 is gone")},
    ),
    "remove everything": (
        ["DELETE FROM audit_log"],
        {(6, "is the end of the chain, and what follows 0 is gone")},
    ),
    "put one in at the end": (
        [
            (
                "INSERT INTO audit_log SELECT 7, previous, hash, entry, at, principal, method, "
                "resource, project, package, version FROM audit_log WHERE number = 2"
            )
        ],
        {
            (7, ALTERED),
            (7, "does not follow the entry before it"),
            (7, "comes after the end of the chain, which is 6"),
        },
    ),
    "set the end": (
        [f"UPDATE audit_chain SET hash = '{'f' * 64}'"],
        {(6, "is the end of the chain, which has another hash")},
    ),
}


@pytest.mark.parametrize("what", TAMPERING)
async def test_every_way_to_change_the_log_is_found(database: Database, what: str) -> None:
    log, _ = await fill(await database.open(), SetClock())
    clean = await log.verify(BEGINNING)
    statements, expected = TAMPERING[what]

    for statement in statements:
        await database.run(statement)
    found = await log.verify(BEGINNING)

    assert (clean.checked, clean.problems, clean.is_complete) == (ENTRIES, (), True)
    assert {(problem.number, problem.what) for problem in found.problems} == expected


async def test_a_log_cut_short_with_its_end_is_found_by_what_was_kept_elsewhere(
    database: Database,
) -> None:
    log, _ = await fill(await database.open(), SetClock())
    kept = (await log.verify(BEGINNING)).last

    rows = await database.run("SELECT hash FROM audit_log WHERE number = 4")
    await database.run("DELETE FROM audit_log WHERE number > 4")
    await database.run(f"UPDATE audit_chain SET number = 4, hash = '{rows[0][0]}'")

    assert (await log.verify(BEGINNING)).problems == ()
    (problem,) = (await log.verify(BEGINNING, kept)).problems
    assert (problem.number, problem.what) == (6, "was kept elsewhere, and is not there")


async def test_a_log_that_is_written_anew_is_found_by_what_was_kept_elsewhere(
    database: Database,
) -> None:
    log, _ = await fill(await database.open(), SetClock())
    kept = (await log.verify(BEGINNING)).last
    rows = await database.run("SELECT number, entry FROM audit_log ORDER BY number")
    previous = START
    for number, entry in rows:
        # Nothing is changed but one principal, and the columns with it.
        text = str(entry).replace("u2@", "u9@")
        digest = hash_of(int(str(number)), previous, text)
        await database.run(
            f"UPDATE audit_log SET entry = '{text}', previous = '{previous}', hash = '{digest}', "
            f"principal = replace(principal, 'u2@', 'u9@') WHERE number = {number}"
        )
        previous = digest
    await database.run(f"UPDATE audit_chain SET hash = '{previous}'")

    assert (await log.verify(BEGINNING)).problems == ()
    (problem,) = (await log.verify(BEGINNING, kept)).problems
    assert problem.what == "is another entry than the one that was kept elsewhere"


async def test_what_retention_cuts_still_verifies_and_what_somebody_cuts_does_not(
    database: Database,
) -> None:
    store, clock = await database.open(), SetClock()
    log, trail = await fill(store, clock)
    clock.forward(days=10)
    trail.record(act_of(7, clock()), Outcome())
    await trail.flush()

    removed = await Retention(store, trail, timedelta(days=5)).cut()
    cut = await log.verify(BEGINNING)
    left = [entry["protoPayload"]["methodName"] for entry in (await log.list(Query())).entries]
    await database.run("DELETE FROM audit_log WHERE number = 7")
    tampered = await log.verify(BEGINNING)

    assert removed == ENTRIES
    assert (cut.checked, cut.problems) == (2, ())
    assert left == ["bonded.logging.v1.Logging.CutEntries", "test.M7"]
    assert tampered.problems != ()


async def test_a_beginning_cut_off_is_found_by_what_was_kept_elsewhere(
    metadata: SqlMetadataStore,
) -> None:
    clock = SetClock()
    log, trail = await fill(metadata, clock)
    kept = (await log.verify(BEGINNING)).last
    clock.forward(seconds=30)

    # As good a forgery as there can be: every entry removed, and a cut put in that says so.
    await Retention(metadata, trail, timedelta(0)).cut()

    newest = await log.verify(BEGINNING)
    assert newest.problems == ()
    assert (await log.verify(BEGINNING, newest.last)).problems == ()
    (problem,) = (await log.verify(BEGINNING, kept)).problems
    assert problem.number == kept.number
    assert problem.what.startswith("was kept elsewhere, and has been cut off")


async def test_retention_goes_on_from_its_own_anchor(metadata: SqlMetadataStore) -> None:
    clock = SetClock()
    log, trail = await fill(metadata, clock)
    retention = Retention(metadata, trail, timedelta(days=5))
    removed = []

    for _ in range(3):
        clock.forward(days=6)
        removed.append(await retention.cut())
        trail.record(act_of(1, clock()), Outcome())
        assert (await log.verify(BEGINNING)).problems == ()

    assert removed == [ENTRIES, 2, 2]


async def test_verifying_goes_on_from_where_it_was(
    metadata: SqlMetadataStore,
) -> None:
    log, _ = await fill(metadata, SetClock())
    async with metadata.read() as tx:
        third = (await tx.audit.read_chain(2, 1))[0].sealed

    rest = await log.verify(ChainEnd(3, third.hash))
    wrong = await log.verify(ChainEnd(3, START))

    assert (rest.checked, rest.problems) == (3, ())
    assert [one.what for one in wrong.problems] == ["does not follow the entry before it"]


@pytest.mark.parametrize(
    ("count", "strangers", "kept"),
    [
        (15, [None], 11),
        (STRANGER_MAX + 5, ["192.0.2.1"], STRANGER_MAX + 1),
        (STRANGERS_MAX + 5, [f"192.0.2.{number}" for number in range(5)], STRANGERS_MAX + 1),
    ],
    ids=["everybody", "one stranger", "five strangers"],
)
async def test_what_does_not_fit_is_counted_and_the_log_says_so(
    metadata: SqlMetadataStore,
    caplog: pytest.LogCaptureFixture,
    count: int,
    strangers: list[str | None],
    kept: int,
) -> None:
    trail = Trail(metadata, SetClock(), queue_max=10 if strangers == [None] else 2000)
    one = act_of(1)

    for number in range(count):
        trail.record(one, Outcome(16, "no"), stranger=strangers[number % len(strangers)])
    await trail.flush()

    async with metadata.read() as tx:
        assert (await tx.audit.end()).number == kept
    page = await AuditLog(metadata, trail).list(Query("method:DropEntries"))
    assert [entry["protoPayload"]["metadata"]["count"] for entry in page.entries] == [5]
    assert "5 audit entries were dropped" in caplog.text


async def test_an_hour_of_knocking_leaves_so_many_entries_and_one_a_minute_that_counts_the_rest(
    metadata: SqlMetadataStore,
) -> None:
    clock = SetClock()
    clock.forward(seconds=3600 - clock().timestamp() % 3600)
    trail = Trail(metadata, clock)
    counts = []
    for _ in range(2):
        for _ in range(60):
            for _ in range(STRANGER_MAX):
                trail.record(act_of(0, clock()), Outcome(16, "no"), stranger="192.0.2.1")
            clock.forward(seconds=30)
            await trail.flush()
            clock.forward(seconds=30)
        page = await AuditLog(metadata, trail).list(Query("method:DropEntries"))
        counts.append([entry["protoPayload"]["metadata"]["count"] for entry in page.entries])

    async with metadata.read() as tx:
        assert (await tx.audit.end()).number == 2 * STRANGER_MAX + 2 * 59
    assert counts == [[STRANGER_MAX] * 59, [STRANGER_MAX] * 100]


async def test_entries_wait_for_a_database_that_is_away(database: Database) -> None:
    store = await database.open()
    trail = Trail(store, SetClock())
    trail.record(act_of(1), Outcome())
    await database.run("ALTER TABLE audit_log RENAME TO gone")

    with pytest.raises(Exception, match="database"):
        await trail.flush()
    await database.run("ALTER TABLE gone RENAME TO audit_log")
    await trail.flush()

    async with store.read() as tx:
        assert (await tx.audit.end()).number == 1


def test_the_hash_is_taken_as_documented() -> None:
    said = hashlib.sha256(b'ab\n2\n{"\xc3\xa9":1}\n').hexdigest()

    assert hash_of(2, "ab", '{"é":1}') == said
