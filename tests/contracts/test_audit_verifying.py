"""Whoever changes the log behind the server's back is found out, in every database."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from bonded.server.core.audit import START, SYSTEM, Act, Kind, Outcome, hash_of
from bonded.server.core.iam import ORGANIZATION, Principal
from bonded.server.metadata.sql.store import SqlMetadataStore
from bonded.server.metadata.store import ChainEnd
from bonded.server.operations.auditing import (
    BEGINNING,
    CHUNK,
    CUT,
    AuditLog,
    Page,
    Query,
    Retention,
)
from bonded.server.operations.recording import (
    STRANGER_MAX,
    STRANGER_PER_MINUTE,
    STRANGERS_MAX,
    Trail,
)
from support.clock import SetClock

if TYPE_CHECKING:
    # Not at run time: pytest must be the first to load its plugin.
    from support.databases import Database

pytest_plugins = ("support.databases",)

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ENTRIES = 6
KEEP = timedelta(days=5)


def act_of(number: int, at: datetime = NOW) -> Act:
    principal = Principal(f"user:u{number}@example.com", "session:1")
    return Act(at + timedelta(seconds=number), Kind.ACT, f"test.M{number}", "projects/p", principal)


async def fill(
    store: SqlMetadataStore, clock: SetClock, keep: timedelta = KEEP
) -> tuple[AuditLog, Trail]:
    trail = Trail(store, clock)
    for number in range(1, ENTRIES + 1):
        trail.record(act_of(number, clock()), Outcome())
        await trail.flush()
    return AuditLog(store, trail, keep), trail


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

    removed = await Retention(store, trail, KEEP).cut()
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
    log, trail = await fill(metadata, clock, keep=timedelta(0))
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


async def test_a_cut_of_what_is_younger_than_the_log_is_kept_is_found(
    metadata: SqlMetadataStore,
) -> None:
    clock = SetClock()
    log, trail = await fill(metadata, clock)
    clock.forward(days=1)

    # Well linked, as whoever knows the rule would do it; but nothing so young is ever cut.
    await Retention(metadata, trail, timedelta(hours=1)).cut()

    (problem,) = (await log.verify(BEGINNING)).problems
    assert problem.number == ENTRIES + 1
    assert "younger than 5 days: unless audit_keep_days was less, that was" in problem.what


@pytest.mark.parametrize("said", [{}, {"through": "x"}, {"until": 7}, {"until": "late"}], ids=str)
async def test_a_cut_that_does_not_say_what_it_removed_is_found(
    metadata: SqlMetadataStore, said: dict[str, object]
) -> None:
    log, trail = await fill(metadata, SetClock())
    act = Act(NOW, Kind.ACT, CUT, ORGANIZATION, SYSTEM, details=said)
    trail.record(act, Outcome())

    (problem,) = (await log.verify(BEGINNING)).problems

    assert problem.number == ENTRIES + 1
    assert problem.what == "removed entries, and does not say of what time"


async def test_retention_goes_on_from_its_own_anchor(metadata: SqlMetadataStore) -> None:
    clock = SetClock()
    log, trail = await fill(metadata, clock)
    retention = Retention(metadata, trail, KEEP)
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
    page = await AuditLog(metadata, trail, KEEP).list(Query("method:DropEntries"))
    assert [entry["protoPayload"]["metadata"]["count"] for entry in page.entries] == [5]
    assert "5 audit entries were dropped" in caplog.text


async def test_two_hours_of_knocking_leave_some_entries_a_minute_and_one_that_counts_the_rest(
    metadata: SqlMetadataStore,
) -> None:
    clock = SetClock()
    trail = Trail(metadata, clock)
    counts = []
    for _ in range(2):
        for _ in range(60):
            for _ in range(STRANGER_MAX):
                trail.record(act_of(0, clock()), Outcome(16, "no"), stranger="192.0.2.1")
            clock.forward(seconds=30)
            await trail.flush()
            clock.forward(seconds=30)
        page = await AuditLog(metadata, trail, KEEP).list(Query("method:DropEntries"))
        said = [entry["protoPayload"]["metadata"] for entry in page.entries]
        assert all(one["count"] == one["ofStrangers"] for one in said)
        counts.append([one["count"] for one in said])

    async with metadata.read() as tx:
        written = (await tx.audit.end()).number
    rest = STRANGER_MAX - STRANGER_PER_MINUTE
    assert written == STRANGER_MAX + 119 * (STRANGER_PER_MINUTE + 1)
    assert counts == [[rest] * 59, [rest] * 100]


async def test_a_flood_from_one_network_does_not_hide_what_comes_from_another(
    metadata: SqlMetadataStore,
) -> None:
    clock = SetClock()
    trail = Trail(metadata, clock)
    for minute in range(3):
        for number in range(4 * STRANGERS_MAX):
            network = f"198.51.{number % 250}.0"
            trail.record(act_of(0, clock()), Outcome(16, "no"), stranger=network)
        clock.forward(minutes=1)
        trail.record(act_of(7, clock()), Outcome(16, "no"), stranger=f"192.0.2.{minute}")
        await trail.flush()

    page = await AuditLog(metadata, trail, KEEP).list(Query("method=test.M7"))

    assert len(page.entries) == 3


async def test_one_entry_that_cannot_be_written_holds_up_no_other(
    metadata: SqlMetadataStore, caplog: pytest.LogCaptureFixture
) -> None:
    trail = Trail(metadata, SetClock())
    half = act_of(1)
    half.details["package"] = "half \ud800 of a character"
    half.client = "and \udfff another"
    odd = act_of(2)
    odd.details["what"] = {1, 2}
    for act in (half, odd, act_of(3)):
        trail.record(act, Outcome(3, "no"))

    await trail.flush()

    log = AuditLog(metadata, trail, KEEP)
    payloads = [entry["protoPayload"] for entry in (await log.list(Query())).entries]
    assert [one["methodName"] for one in payloads] == ["test.M1", "test.M2", "test.M3"]
    assert payloads[0]["metadata"] == {"package": "half ? of a character"}
    assert payloads[1]["metadata"] == {"isIncomplete": True}
    assert (await log.verify(BEGINNING)).problems == ()
    assert "An audit entry of test.M2 cannot be written as it is" in caplog.text


@pytest.mark.parametrize("text", ["no JSON", "[]", "{}", '{"protoPayload": []}'])
async def test_what_was_left_and_is_no_entry_holds_up_no_other(
    database: Database, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    store = await database.open()
    trail = Trail(store, SetClock())
    await database.run(f"INSERT INTO audit_inbox (entry) VALUES ('{text}')")
    trail.record(act_of(1), Outcome())

    await trail.flush()

    log = AuditLog(store, trail, KEEP)
    (found,) = (await log.list(Query("method:KeepUnreadable"))).entries
    assert found["protoPayload"]["metadata"]["text"] == text
    assert (await log.verify(BEGINNING)).problems == ()
    assert "is no entry" in caplog.text


async def test_a_page_that_has_taken_long_enough_is_short_and_goes_on(
    metadata: SqlMetadataStore,
) -> None:
    _, trail = await fill(metadata, SetClock())
    log = AuditLog(metadata, trail, KEEP, page_time_max_s=0)
    found, lengths, place = [], [], None

    for _ in range(ENTRIES):
        page = await log.list(Query("NOT method=test.M2", after=place))
        place = page.after
        lengths.append(len(page.entries))
        found += [entry["protoPayload"]["methodName"] for entry in page.entries]
    last = await log.list(Query("NOT method=test.M2", after=place))

    assert lengths == [1, 0, 1, 1, 1, 1]
    assert found == [f"test.M{number}" for number in (1, 3, 4, 5, 6)]
    assert last == Page((), None)


async def test_nothing_more_is_looked_at_for_a_client_that_has_gone(
    metadata: SqlMetadataStore,
) -> None:
    trail = Trail(metadata, SetClock())
    for number in range(CHUNK + 1):
        trail.record(act_of(number), Outcome())
    log = AuditLog(metadata, trail, KEEP)

    there = await log.list(Query("method=absent OR code=7"))
    gone = await log.list(Query("method=absent OR code=7"), is_gone=lambda: True)

    assert there.after is None
    assert gone.after is not None
    assert gone.after[1] == CHUNK


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


async def test_what_replicas_cut_in_turn_verifies_though_their_clocks_differ(
    metadata: SqlMetadataStore,
) -> None:
    clock, behind = SetClock(), SetClock()
    log, trail = await fill(metadata, clock)
    clock.forward(days=3)
    trail.record(act_of(7, clock()), Outcome())
    await trail.flush()
    clock.forward(days=6)
    behind.now = clock() - timedelta(seconds=2)

    first = await Retention(metadata, trail, timedelta(days=8)).cut()
    second = await Retention(metadata, Trail(metadata, behind), KEEP).cut()
    verified = await log.verify(BEGINNING)

    assert (first, second) == (ENTRIES, 1)
    assert (verified.checked, verified.problems) == (2, ())
