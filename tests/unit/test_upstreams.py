"""Where repositories get their packages from: what may be meant, and in which order."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bonded.server.core.errors import Rejected
from bonded.server.core.names import PackageName, RepositoryName
from bonded.server.core.upstreams import (
    CustomIndex,
    Mode,
    NamePattern,
    PublicIndex,
    RemoteConfig,
    Reservation,
    SecretReference,
    ServerRepository,
    UpstreamPolicy,
    VirtualConfig,
    mode_of,
    parse_full_name,
    upstreams_of,
)


def repository(name: str) -> RepositoryName:
    return RepositoryName("my-project", "local", name)


def policy(name: str, priority: int = 1) -> UpstreamPolicy:
    return UpstreamPolicy(name, repository(name), priority)


def reserved(pattern: str, upstream: str) -> Reservation:
    return Reservation(NamePattern.parse(pattern), upstream)


def name(text: str) -> PackageName:
    return PackageName.parse(text)


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("acme", ["acme", "ACME"], ["acme-x", "acm"]),
        ("Acme_Tools", ["acme-tools", "acme.tools"], ["acmetools"]),
        ("acme-*", ["acme-x", "Acme_X", "acme.x.y"], ["acme", "acmex", "x-acme-x"]),
        ("ACME._*", ["acme-x"], ["acmex"]),
        ("acme*", ["acme", "acmex", "acme-x"], ["acm"]),
        ("*", ["anything"], []),
    ],
)
def test_a_pattern_matches_names_however_both_are_spelled(
    pattern: str, matching: list[str], others: list[str]
) -> None:
    parsed = NamePattern.parse(pattern)

    assert all(parsed.matches(name(one)) for one in matching)
    assert not any(parsed.matches(name(one)) for one in others)
    assert NamePattern.parse(str(parsed)) == parsed


@pytest.mark.parametrize("text", ["", "a*b", "**", "-acme*", "acme-", "*acme", "a b", "é*"])
def test_what_is_no_pattern_is_refused(text: str) -> None:
    with pytest.raises(Rejected, match=r"is not a pattern of package names\. Write a name, or"):
        NamePattern.parse(text)


def test_the_greater_priority_comes_first_and_equal_ones_as_they_were_given() -> None:
    config = VirtualConfig.of([policy("a", 1), policy("b", 9), policy("c", 1), policy("d", 9)])

    assert [one.id for one in config.ordered] == ["b", "d", "a", "c"]


def test_the_most_specific_reservation_counts() -> None:
    config = VirtualConfig.of(
        [policy("a"), policy("b"), policy("c")],
        reservations=[reserved("acme-*", "a"), reserved("acme-x-*", "b"), reserved("acme-x", "c")],
    )

    found = [config.find_reservation(name(one)) for one in ("acme-y", "acme-x-1", "acme-x", "acm")]

    assert [one and one.upstream for one in found] == ["a", "b", "c", None]


REFUSED = {
    "an id twice": (
        lambda: VirtualConfig.of([policy("a"), UpstreamPolicy("a", repository("b"), 1)]),
        "a is the id of an upstream 2 times; say it once",
    ),
    "a repository twice": (
        lambda: VirtualConfig.of([policy("a"), UpstreamPolicy("b", repository("a"), 2)]),
        "repositories/a is an upstream 2 times; say it once",
    ),
    "too many": (
        lambda: VirtualConfig.of([policy(f"r{number}") for number in range(31)]),
        "at most 30 upstreams, not 31. Put some of them behind a virtual repository",
    ),
    "an id that is none": (
        lambda: VirtualConfig.of([UpstreamPolicy("A b", repository("a"), 1)]),
        "'A b' is not a valid id of an upstream policy",
    ),
    "a negative priority": (
        lambda: VirtualConfig.of([policy("a", -1)]),
        "The priority of a must be from 0 to 2147483647",
    ),
    "a reservation for nobody": (
        lambda: VirtualConfig.of(
            [policy("a")], reservations=[reserved("x*", "b")]
        ).check_reservations(),
        "x\\* is reserved for the unknown upstream 'b'. Known are a.",
    ),
    "a name reserved twice": (
        lambda: VirtualConfig.of(
            [policy("a"), policy("b")], reservations=[reserved("X_*", "a"), reserved("x-*", "b")]
        ),
        "x-\\* is reserved 2 times; say it once",
    ),
}


@pytest.mark.parametrize(("make", "sentence"), REFUSED.values(), ids=REFUSED.keys())
def test_a_virtual_configuration_that_makes_no_sense_is_refused(
    make: object, sentence: str
) -> None:
    assert callable(make)
    with pytest.raises(Rejected, match=sentence):
        make()


@pytest.mark.parametrize(
    "text",
    ["projects/my-project/secrets/nexus/versions/latest", "command:nexus", "env:NEXUS2"],
)
def test_a_reference_to_a_secret_is_written_as_it_was_read(text: str) -> None:
    assert str(SecretReference.parse(text, "my-project")) == text


def test_google_s_form_and_a_file_are_the_same_secret() -> None:
    google = SecretReference.parse("projects/my-project/secrets/n/versions/latest", "my-project")

    assert SecretReference.parse("file:n", "my-project") == google


def test_no_variable_belongs_to_two_projects() -> None:
    variable = SecretReference.parse("env:NEXUS", "my-project").variable

    assert variable == "BONDED_SECRET_MY_PROJECT_NEXUS"
    # With an underscore, this would be the NEXUS of project my-project-sub.
    with pytest.raises(Rejected):
        SecretReference.parse("env:SUB_NEXUS", "my-project")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("projects/other-project/secrets/n/versions/latest", "of another project than my-project"),
        ("projects/my-project/secrets/n/versions/3", "only versions/latest is kept"),
        ("file:../../etc/passwd", "malformed"),
        ("command:rm -rf", "malformed"),
        ("env:PATH_X", "malformed"),
        ("hunter2", "malformed"),
    ],
)
def test_a_reference_that_is_none_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(Rejected, match=sentence):
        SecretReference.parse(text, "my-project")


def test_a_password_given_in_place_of_a_reference_is_not_repeated() -> None:
    with pytest.raises(Rejected) as refused:
        SecretReference.parse("hunter2", "my-project")

    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("uri", "sentence"),
    [
        ("ftp://index.test/", "must start with 'http://' or 'https://'"),
        ("pypi", "must start with 'http://' or 'https://'"),
        ("https:///simple/", "names no host"),
        ("https://user:hunter2@index.test/", "must not carry a user or a password"),
        ("https://index.test/?q", "must not have a query"),
        ("https://index.test/#f", "must not have a query or a fragment"),
        ("https://index.test:port/", "is malformed"),
        ("https://index.test/\n", "printable"),
        ("https://[::1/", "is malformed"),
        ('https://index.test/"simple/', "has a character that no URL has"),
        ("https://index.test/{simple}/", "has a character that no URL has"),
    ],
)
def test_an_address_that_is_none_is_refused_without_repeating_a_password(
    uri: str, sentence: str
) -> None:
    with pytest.raises(Rejected, match=sentence) as refused:
        CustomIndex.parse(uri)

    assert "hunter2" not in str(refused.value)


@given(st.text())
def test_any_text_is_an_address_or_refused(text: str) -> None:
    with suppress(Rejected):
        assert CustomIndex.parse(text).uri == text


def test_a_configuration_knows_its_mode_and_the_repositories_it_names() -> None:
    team = repository("team")

    assert (mode_of(None), upstreams_of(None)) == (Mode.STANDARD, ())
    for source, named in ((PublicIndex(), ()), (ServerRepository(team), (team,))):
        config = RemoteConfig(source=source)
        assert (mode_of(config), upstreams_of(config)) == (Mode.REMOTE, named)
    virtual = VirtualConfig.of([policy("a"), policy("b")])
    assert mode_of(virtual) is Mode.VIRTUAL
    assert upstreams_of(virtual) == (repository("a"), repository("b"))


def test_a_full_name_is_parsed_and_anything_else_refused() -> None:
    assert parse_full_name(str(repository("team"))) == repository("team")
    for text in ("team", "projects/p/repositories/team", f"{repository('team')}/packages/x"):
        with pytest.raises(Rejected, match="is not the name of a repository"):
            parse_full_name(text)
