"""Who answers for a package in a virtual repository, and who is not even asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bonded.server.core.errors import NotFound, Reserved, Unavailable
from bonded.server.core.files import InMemory, Package
from bonded.server.core.names import PackageName, RepositoryName
from bonded.server.core.upstreams import NamePattern, Reservation, UpstreamPolicy, VirtualConfig
from bonded.server.repositories.protocol import Repository
from bonded.server.repositories.virtual import REMEMBERED_MAX, VirtualRepository
from support.shelves import Shelf, shelves

ACME = PackageName.parse("acme-core")
NAMES = ("acme-core", "acme-web", "requests")


def place(label: str) -> RepositoryName:
    return RepositoryName("my-project", "local", label)


@dataclass
class Room:
    """Where repositories are opened by their label; it remembers how often."""

    members: dict[str, Repository]
    serial: int = 0
    opened: list[str] = field(default_factory=list)

    async def version(self) -> int:
        """Return how often anything has been replaced."""
        return self.serial

    async def open(self, name: RepositoryName) -> Repository:
        """Return a member."""
        self.opened.append(name.repository)
        if name.repository not in self.members:
            raise NotFound(f"Repository {name} does not exist")
        return self.members[name.repository]

    def replace(self, label: str, member: Repository | None) -> None:
        """Put another member in the place of one, or nothing."""
        del self.members[label]
        if member is not None:
            self.members[label] = member
        self.serial += 1


def virtual(
    members: Mapping[str, Repository],
    *,
    merged: Iterable[str] = (),
    reserved: Mapping[str, str] | None = None,
    label: str = "all",
    room: Room | None = None,
) -> VirtualRepository:
    """Return a virtual repository over *members*, the first of which is asked first."""
    count = len(members)
    config = VirtualConfig.of(
        [UpstreamPolicy(one, place(one), count - index) for index, one in enumerate(members)],
        [NamePattern.parse(pattern) for pattern in merged],
        [Reservation(NamePattern.parse(one), to) for one, to in (reserved or {}).items()],
    )
    return VirtualRepository(place(label), config, room or Room(dict(members)))


async def show(repository: Repository, name: str) -> tuple[Package, Mapping[str, bytes]] | None:
    """Return everything that a repository tells about a package: files with their contents."""
    parsed = PackageName.parse(name)
    try:
        package = await repository.get_package(parsed)
    except NotFound:
        return None
    contents = {}
    for file in package.files:
        stored = await repository.open_file(parsed, file.filename)
        assert isinstance(stored.content, InMemory)
        contents[file.filename] = stored.content.data
    return package, contents


async def test_the_first_upstream_that_has_a_package_owns_all_of_it() -> None:
    own, public = Shelf("own"), Shelf("public")
    own.put("acme-core", "1.0")
    public.put("acme-core", "99.0")
    public.put("requests", "2.0")
    repository = virtual({"own": own, "public": public})

    assert (await repository.get_package(ACME)).versions == ("1.0",)
    assert await show(repository, "acme-core") == await show(own, "acme-core")
    assert await show(repository, "requests") == await show(public, "requests")
    with pytest.raises(NotFound):
        await repository.open_file(ACME, "acme_core-99.0-py3-none-any.whl")
    with pytest.raises(NotFound):
        await repository.open_core_metadata(ACME, "acme_core-99.0-py3-none-any.whl")


async def test_nobody_behind_the_owner_hears_the_name() -> None:
    own, public = Shelf("own"), Shelf("public")
    own.put("acme-core", "1.0")
    repository = virtual({"own": own, "public": public})

    await repository.version(ACME)
    await show(repository, "acme-core")

    assert public.asked == set()


@pytest.mark.parametrize("is_merged", [False, True])
async def test_an_upstream_that_is_down_is_not_one_that_lacks_the_package(
    *, is_merged: bool
) -> None:
    own, public = Shelf("own"), Shelf("public")
    public.put("acme-core", "99.0")
    repository = virtual({"own": own, "public": public}, merged=["*"] if is_merged else [])
    own.is_down = True

    for answer in (
        repository.version(ACME),
        repository.get_package(ACME),
        repository.open_file(ACME, "acme_core-99.0-py3-none-any.whl"),
        repository.list_packages(),
    ):
        with pytest.raises(Unavailable, match="Upstream own is unavailable: own does not answer"):
            await answer


async def test_an_outage_behind_the_owner_harms_nobody() -> None:
    own, public = Shelf("own"), Shelf("public", is_down=True)
    own.put("acme-core", "1.0")
    repository = virtual({"own": own, "public": public})

    assert (await repository.get_package(ACME)).versions == ("1.0",)


async def test_an_upstream_that_is_not_there_is_an_outage_too() -> None:
    config = VirtualConfig((UpstreamPolicy("own", place("own"), 1),))
    repository = VirtualRepository(place("all"), config, Room({}))

    with pytest.raises(Unavailable, match="Upstream own is gone"):
        await repository.get_package(ACME)


async def test_an_upstream_that_goes_or_is_replaced_is_noticed_at_once() -> None:
    own, other = Shelf("own"), Shelf("other")
    own.put("acme-core", "1.0")
    other.put("acme-core", "2.0")
    room = Room({"own": own})
    repository = virtual(room.members, room=room)
    assert (await repository.get_package(ACME)).versions == ("1.0",)

    room.replace("own", other)
    assert (await repository.get_package(ACME)).versions == ("2.0",)

    room.replace("own", None)
    with pytest.raises(Unavailable, match="Upstream own is gone"):
        await repository.get_package(ACME)


@pytest.mark.parametrize("merged", [(), ("acme-*",)])
async def test_a_warm_answer_opens_nothing_and_holds_the_name_against_no_pattern(
    merged: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    own, public = Shelf("own"), Shelf("public")
    public.put("acme-core", "1.0")
    room = Room({"own": own, "public": public})
    repository = virtual(room.members, room=room, merged=merged, reserved={"corp-*": "own"})
    before = await repository.version(ACME), await show(repository, "acme-core")
    assert room.opened == ["own", "public"]

    def refuse(pattern: NamePattern, name: PackageName) -> bool:
        raise AssertionError(f"{name} was held against {pattern} again")

    monkeypatch.setattr(NamePattern, "matches", refuse)
    assert (await repository.version(ACME), await show(repository, "acme-core")) == before
    assert room.opened == ["own", "public"]


async def test_names_that_nobody_has_fill_the_memory_only_up_to_its_limit() -> None:
    repository = virtual({"own": Shelf("own")})

    for number in range(REMEMBERED_MAX + 10):
        with pytest.raises(NotFound):
            await repository.get_package(PackageName.parse(f"unknown-{number}"))

    assert len(repository._known) == REMEMBERED_MAX


async def test_a_reserved_name_is_asked_of_nobody_else_even_before_its_first_release() -> None:
    own, public = Shelf("own"), Shelf("public")
    public.put("acme-core", "99.0")
    repository = virtual({"public": public, "own": own}, reserved={"acme-*": "own"}, merged=["*"])

    with pytest.raises(Reserved, match=r"acme-\* is reserved for its upstream own"):
        await repository.get_package(ACME)
    with pytest.raises(NotFound):
        await repository.open_file(ACME, "acme_core-99.0-py3-none-any.whl")
    assert public.asked == set()
    assert await repository.list_packages() == ()

    own.put("acme-core", "1.0")
    assert (await repository.get_package(ACME)).versions == ("1.0",)
    assert await repository.list_packages() == (ACME,)
    assert public.asked == set()


@pytest.mark.parametrize("levels", [1, 2, 3])
async def test_a_reservation_holds_through_virtual_repositories_over_this_one(levels: int) -> None:
    own, public = Shelf("own"), Shelf("public")
    public.put("acme-core", "99.0")
    public.put("requests", "2.0")
    repository = virtual({"own": own}, reserved={"acme-*": "own"})
    for level in range(levels):
        repository = virtual({"inner": repository, f"public-{level}": public})

    with pytest.raises(Reserved, match="is reserved for its upstream own"):
        await repository.get_package(ACME)
    assert [str(name) for name in await repository.list_packages()] == ["requests"]
    assert public.asked == set()

    own.put("acme-core", "1.0")
    assert (await repository.get_package(ACME)).versions == ("1.0",)
    assert [str(name) for name in await repository.list_packages()] == ["acme-core", "requests"]


async def test_a_merged_package_has_each_version_from_the_first_upstream_that_has_it() -> None:
    own, public = Shelf("own"), Shelf("public")
    own.put("acme-core", "1.0", "1.1")
    public.put("acme-core", "1.1.0", "2.0")
    public.put("requests", "1.0")
    repository = virtual({"own": own, "public": public}, merged=["acme-*"])

    shown = await show(repository, "acme-core")

    assert shown is not None
    package, contents = shown
    assert package.versions == ("1.0", "1.1", "2.0")
    assert contents == {
        "acme_core-1.0-py3-none-any.whl": b"acme_core-1.0-py3-none-any.whl of own",
        "acme_core-1.1-py3-none-any.whl": b"acme_core-1.1-py3-none-any.whl of own",
        "acme_core-2.0-py3-none-any.whl": b"acme_core-2.0-py3-none-any.whl of public",
    }
    with pytest.raises(NotFound):
        await repository.open_file(ACME, "acme_core-1.1.0-py3-none-any.whl")


async def test_a_package_moves_when_its_first_private_release_appears() -> None:
    own, public = Shelf("own"), Shelf("public")
    public.put("acme-core", "99.0")
    repository = virtual({"own": own, "public": public})
    before = await repository.version(ACME), await show(repository, "acme-core")

    own.put("acme-core", "1.0")

    after = await repository.version(ACME), await show(repository, "acme-core")
    assert before[0] != after[0]
    assert (before[1], after[1]) == (await show(public, "acme-core"), await show(own, "acme-core"))


async def test_what_an_upstream_behind_the_owner_publishes_leaves_the_page_as_it_is() -> None:
    own, public = Shelf("own"), Shelf("public")
    own.put("acme-core", "1.0")
    repository = virtual({"own": own, "public": public})
    before = await repository.version(ACME)

    public.put("acme-core", "2.0")

    assert await repository.version(ACME) == before


STOCK = st.dictionaries(
    st.sampled_from(NAMES), st.lists(st.sampled_from(["1.0", "2.0"]), min_size=1, unique=True)
)
STOCKS = st.fixed_dictionaries(dict.fromkeys("abc", STOCK))


def stocked(stocks: Mapping[str, Mapping[str, list[str]]]) -> dict[str, Shelf]:
    filled = shelves(stocks)
    for label, stock in stocks.items():
        for name, versions in stock.items():
            filled[label].put(name, *versions)
    return filled


@given(STOCKS, st.sampled_from(NAMES), st.sampled_from([(), ("*",)]))
async def test_virtual_repositories_are_associative(
    stocks: Mapping[str, Mapping[str, list[str]]], name: str, merged: tuple[str, ...]
) -> None:
    shelf = stocked(stocks)
    a, b, c = shelf["a"], shelf["b"], shelf["c"]
    left = virtual({"l": virtual({"a": a, "b": b}, merged=merged), "c": c}, merged=merged)
    right = virtual({"a": a, "r": virtual({"b": b, "c": c}, merged=merged)}, merged=merged)
    flat = virtual({"a": a, "b": b, "c": c}, merged=merged)

    assert await show(left, name) == await show(right, name) == await show(flat, name)
    assert await left.list_packages() == await right.list_packages() == await flat.list_packages()


@given(STOCKS, st.sampled_from(NAMES))
async def test_an_upstream_of_lower_priority_never_changes_a_package_that_is_owned(
    stocks: Mapping[str, Mapping[str, list[str]]], name: str
) -> None:
    shelf = stocked(stocks)
    before = virtual({"a": shelf["a"], "b": shelf["b"]})
    after = virtual({"a": shelf["a"], "b": shelf["b"], "c": shelf["c"]})

    shown = await show(before, name)

    if shown is not None:
        assert await show(after, name) == shown


@given(STOCKS, st.sampled_from("abc"), st.sampled_from([(), ("*",), ("acme-*",)]))
async def test_a_virtual_repository_never_shows_what_a_reservation_forbids(
    stocks: Mapping[str, Mapping[str, list[str]]], holder: str, merged: tuple[str, ...]
) -> None:
    shelf = stocked(stocks)
    repository = virtual(shelf, reserved={"acme-*": holder}, merged=merged)

    for name in NAMES[:2]:
        assert await show(repository, name) == await show(shelf[holder], name)
    listed = {str(name) for name in await repository.list_packages()}
    assert {name for name in listed if name.startswith("acme-")} == {
        name for name in stocks[holder] if name.startswith("acme-")
    }
    others = [shelf[label].asked for label in shelf if label != holder]
    assert not [name for asked in others for name in asked if name.startswith("acme-")]
