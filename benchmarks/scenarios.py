"""What is measured, on which targets, and what Bonded has to reach."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from corpus import (
    AGED_FILES,
    PAGE_FILES,
    YOUNG_PACKAGES,
    Corpus,
    Share,
    Wheel,
    upload_form,
    versions,
    young_name,
)
from figures import (
    Goal,
    Result,
    Sample,
    between,
    of_best_peer,
    of_granian,
    of_nginx,
    round_by_round,
)
from load import Answer, LoadError, install, request, upload, wrk
from peers import Devpi
from servers import Bonded, Server

SMALL_START_FILES = 200
UPLOADS_EACH = {1: 400, 8: 1_200}  # by number of clients; the fastest target needs that many
GROWTH_UPLOADS = 240
GROWTH_ROUNDS = 15  # of Bonded, at least: a difference of a twentieth hides in the noise of three

Address = Callable[[Server], tuple[str, dict[str, str]]]
Forms = Sequence[Sequence[bytes]]  # what to upload, by round
Case = tuple[str, Callable[[int], Sample]]


@dataclass(frozen=True)
class Bench:
    """The running targets, what they hold, and how long to measure them."""

    corpus: Corpus
    targets: tuple[Server, ...]
    directory: Path
    rounds: int
    seconds: int

    def holding(self, share: Share) -> tuple[Server, ...]:
        """Return the targets that took at least that *share* of the corpus."""
        return tuple(target for target in self.targets if target.share >= share)


@dataclass(frozen=True, slots=True)
class Scenario:
    """One table: how it is measured and what Bonded has to reach in it."""

    title: str
    measure: Callable[[Bench], Result]
    goals: tuple[Goal, ...]


def _alternate(result: Result, rounds: int, cases: Iterable[Case]) -> Result:
    """Measure every case once a round, A B B A, so that a slow minute hits all of them.

    Nor does one always come after the same other, whose writes the disk is still busy with.
    A case that fails is told and left out from then on.
    """
    waiting = list(cases)
    for number in range(rounds):
        for case in waiting[:: -1 if number % 2 else 1]:
            label, measure = case
            try:
                result.samples.setdefault(label, []).append(measure(number))
            except LoadError as error:
                result.notes[label] = str(error).partition("\n")[0]
                del result.samples[label]
                waiting.remove(case)
    return result


def _with_cpu(target: Server, measure: Callable[[], float]) -> Sample:
    """Take a rate, and from the server's clock what each of its requests cost."""
    before, began = target.cpu_s(), time.perf_counter()
    rate = measure()
    requests = rate * (time.perf_counter() - began)
    return Sample(rate, (target.cpu_s() - before) / requests * 1e6)


def _read(bench: Bench, share: Share, address: Address) -> Result:
    """Measure one GET on every target that holds what it asks for."""
    result, cases = Result("requests/s"), []
    for target in bench.holding(share):
        try:
            url, headers = address(target)
            result.notes[target.name] = _describe(request(url, headers))
        except LoadError as error:
            result.notes[target.name] = str(error)
            continue
        cases.append((target.name, _reader(target, url, headers, bench.seconds)))
    return _alternate(result, bench.rounds, cases)


def _reader(
    target: Server, url: str, headers: dict[str, str], seconds: int
) -> Callable[[int], Sample]:
    return lambda _: _with_cpu(target, lambda: wrk(url, headers, seconds))


def _describe(answer: Answer) -> str:
    """Say what a target answers, so that a fast wrong answer cannot hide.

    Raises:
        LoadError: It is an error.
    """
    if answer.status >= 400:
        raise LoadError(f"has none ({answer.status})")
    kind = answer.headers.get("content-type", "").partition(";")[0].rpartition("+")[2]
    encoding = answer.headers.get("content-encoding", "")
    return " ".join(filter(None, (str(answer.status), kind, encoding, f"{len(answer.body)} B")))


def small_page(bench: Bench) -> Result:
    """Fetch the page of ten files as pip does."""
    return _read(
        bench, Share.ESSENTIALS, lambda target: (target.page_url("small-page"), target.page_headers)
    )


def revalidation(bench: Bench) -> Result:
    """Ask for the same page with the ETag it came with; whoever has none sends it all again."""

    def address(target: Server) -> tuple[str, dict[str, str]]:
        tag = target.page("small-page").headers.get("etag", '"none"')
        return target.page_url("small-page"), target.page_headers | {"If-None-Match": tag}

    return _read(bench, Share.ESSENTIALS, address)


def big_page(bench: Bench) -> Result:
    """Fetch the page of 5,000 files."""
    return _read(
        bench, Share.NAMED, lambda target: (target.page_url("big-page"), target.page_headers)
    )


def small_file(bench: Bench) -> Result:
    """Fetch the wheel of 20 kB."""
    return _read(
        bench,
        Share.ESSENTIALS,
        lambda target: (target.file_url(bench.corpus.medium), target.credentials),
    )


def core_metadata(bench: Bench) -> Result:
    """Fetch the core metadata file of a wheel (PEP 658)."""
    return _read(
        bench,
        Share.ESSENTIALS,
        lambda target: (target.file_url(bench.corpus.medium) + ".metadata", target.credentials),
    )


def _uploader(
    target: Server, headers: dict[str, str], rounds: Forms, clients: int, seconds: int
) -> Callable[[int], Sample]:
    return lambda number: _with_cpu(
        target,
        lambda: upload(
            target.upload_url, headers, rounds[number], clients=clients, seconds=seconds
        ),
    )


def _forms(wheels: Iterable[Wheel]) -> tuple[bytes, ...]:
    return tuple(upload_form(wheel) for wheel in wheels)


def uploads(bench: Bench, clients: int) -> Result:
    """Publish new files, each client waiting for its acknowledgement before it sends the next."""
    packages = UPLOADS_EACH[clients] // PAGE_FILES
    rounds = [
        _forms(
            chain.from_iterable(
                versions(f"upload-{clients}-{number}-{package:03}", PAGE_FILES)
                for package in range(packages)
            )
        )
        for number in range(bench.rounds)
    ]
    cases: list[Case] = []
    for target in bench.targets:
        if target.upload_path is None:
            continue
        measure = _uploader(target, target.credentials, rounds, clients, bench.seconds)
        cases.append((target.name, measure))
        if isinstance(target, Devpi):
            # From the other end, so that the two ways to log in never send the same file.
            other = [forms[::-1] for forms in rounds]
            measure = _uploader(target, target.with_password, other, clients, bench.seconds)
            cases.append(("devpi, password", measure))
    return _alternate(Result("uploads/s"), bench.rounds, cases)


def growth(bench: Bench) -> Result:
    """Publish to packages of 10 versions and to one of 1,000, as eight clients."""
    result = Result("uploads/s")
    for target in bench.holding(Share.NAMED):
        if target.upload_path is None:
            continue
        rounds = max(bench.rounds, GROWTH_ROUNDS) if target.name == "bonded" else bench.rounds
        cases = [
            (
                f"{target.name}, at {label}",
                _uploader(target, target.credentials, forms, 8, bench.seconds),
            )
            for label, forms in _growing(rounds).items()
        ]
        _alternate(result, rounds, cases)
    return result


def _growing(rounds: int) -> dict[str, Forms]:
    """Return as many new uploads for each round, by how many versions their packages have."""
    each = GROWTH_UPLOADS // YOUNG_PACKAGES
    return {
        "10": [
            _forms(
                chain.from_iterable(
                    versions(young_name(package), each, start=PAGE_FILES + number * each)
                    for package in range(YOUNG_PACKAGES)
                )
            )
            for number in range(rounds)
        ],
        "1,000": [
            _forms(versions("aged", GROWTH_UPLOADS, start=AGED_FILES + number * GROWTH_UPLOADS))
            for number in range(rounds)
        ],
    }


def closure(bench: Bench) -> Result:
    """Install fifty packages that depend on each other, with nothing cached."""

    def installer(target: Server) -> Callable[[int], Sample]:
        return lambda _: Sample(install(target.install_url, "closure-00", target.directory))

    cases = [(target.name, installer(target)) for target in bench.targets]
    return _alternate(Result("seconds", "less"), max(bench.rounds, 3), cases)


def memory(bench: Bench) -> Result:
    """Read the resident memory of every target's processes after all that went before."""
    result = Result("MB", "less")
    for target in bench.targets:
        result.samples[target.name] = [Sample(target.memory_bytes() / 1e6)]
    return result


def start_up(bench: Bench) -> Result:
    """Restart every target and wait for the page of ten files; Bonded also with few files."""
    result = Result("seconds", "less")
    starting = [(target.name, target) for target in bench.targets]
    for target in bench.targets:
        result.notes[target.name] = f"{len(tuple(bench.corpus.share(target.share))):,} files"
    few = Bonded(bench.directory / "bonded-few")
    if any(isinstance(target, Bonded) for target in bench.targets):
        wheels = tuple(bench.corpus.share(Share.EVERYTHING))
        few.begin(wheels[:SMALL_START_FILES])
        starting.append((f"bonded, {SMALL_START_FILES} files", few))

    def restart(target: Server) -> Callable[[int], Sample]:
        def measure(_: int) -> Sample:
            target.stop()
            return Sample(target.start(f"{target.index_path}small-page/"))

        return measure

    try:
        cases = [(label, restart(target)) for label, target in starting]
        return _alternate(result, max(bench.rounds, 3), cases)
    finally:
        few.stop()


_SLOW_AS_WITH_FEW = 1.2  # the noise of a start on a shared machine

_ALONE = Goal("of Granian alone", of_granian, None)
_PAGE_GOALS = (
    Goal("of nginx", of_nginx, 0.2),
    Goal("times the best peer", of_best_peer, 10),
    _ALONE,
)

SCENARIOS: dict[str, Scenario] = {
    "page": Scenario(
        "Page of 10 files, JSON, gzip",
        small_page,
        _PAGE_GOALS,
    ),
    "revalidate": Scenario(
        "The same page with its ETag (304)",
        revalidation,
        _PAGE_GOALS,
    ),
    "big-page": Scenario(
        "Page of 5,000 files, JSON, gzip", big_page, (Goal("of nginx", of_nginx, 0.5), _ALONE)
    ),
    "file": Scenario(
        "Wheel of 20 kB",
        small_file,
        (Goal("of nginx", of_nginx, 0.15), Goal("times the best peer", of_best_peer, 1), _ALONE),
    ),
    "metadata": Scenario(
        "Core metadata file (.metadata)", core_metadata, (Goal("of nginx", of_nginx, 0.2), _ALONE)
    ),
    "uploads-1": Scenario(
        "Durable uploads, 1 client",
        lambda bench: uploads(bench, 1),
        (Goal("times devpi with a password", between("bonded", "devpi, password"), None),),
    ),
    "uploads-8": Scenario(
        "Durable uploads, 8 clients",
        lambda bench: uploads(bench, 8),
        (
            Goal("times devpi with a password", between("bonded", "devpi, password"), 60),
            Goal("times devpi with a login token", between("bonded", "devpi"), None),
            Goal("times the best peer", of_best_peer, None),
        ),
    ),
    "growth": Scenario(
        "Uploads by 8 clients to packages of 10 versions and to one of 1,000",
        growth,
        (
            Goal(
                "rate at 1,000 versions of that at 10",
                round_by_round("bonded, at 1,000", "bonded, at 10"),
                0.9,
            ),
        ),
    ),
    "install": Scenario(
        "uv pip install of 50 packages, nothing cached",
        closure,
        (Goal("times nginx", of_nginx, 1.3, at_most=True),),
    ),
    "memory": Scenario(
        "Resident memory after all of it",
        memory,
        (Goal("megabytes", lambda result: result.median("bonded"), 200, at_most=True),),
    ),
    "start": Scenario(
        "From process start to the first page of 10 files",
        start_up,
        (
            Goal("seconds", lambda result: result.median("bonded"), 2, at_most=True),
            Goal(
                "times as long as with 200 files",
                between("bonded", f"bonded, {SMALL_START_FILES} files"),
                _SLOW_AS_WITH_FEW,
                at_most=True,
            ),
        ),
    ),
}
