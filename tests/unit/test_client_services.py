"""Which hosts a credential belongs to: the defence against an index URL that a stranger wrote."""

from __future__ import annotations

import pytest

from bonded.client.errors import Misconfigured
from bonded.client.services import Names, Service, belongs, parse_hosts, parse_origins

SERVER = "https://packages.example.com"
LOCAL = "http://127.0.0.1:8080"
GOOGLE = "https://oauth2.googleapis.com"


@pytest.mark.parametrize(
    "name",
    [
        "https://packages.example.com/team/python/simple/",
        "https://packages.example.com/team/python/simple",
        "https://packages.example.com/team/python/",
        "https://packages.example.com",
        "https://packages.example.com:443/",
        "https://oauth2accesstoken@packages.example.com/team/python/simple/",
        "https://user:secret@packages.example.com/",
        "HTTPS://Packages.Example.COM/",
        "https://packages.example.com?x=1",
        "https://packages.example.com/@evil.example/",
    ],
)
def test_clients_name_a_server_in_many_ways(name: str) -> None:
    service = Service.parse(name)

    assert service is not None
    assert belongs(SERVER, service, None)
    assert not belongs(LOCAL, service, None)


@pytest.mark.parametrize(
    "name",
    [
        "http://127.0.0.1:8080/team/python/simple/",
        "http://oauth2accesstoken@127.0.0.1:8080/team/python/simple",
        "http://127.0.0.1:8080",
        "127.0.0.1:8080",
    ],
)
def test_a_port_is_part_of_the_name(name: str) -> None:
    service = Service.parse(name)

    assert service is not None
    assert belongs(LOCAL, service, None)


def test_a_bare_host_and_port_is_a_service_without_tls() -> None:
    service = Service.parse("packages.example.com:8443")

    assert service == Service("http", "packages.example.com", 8443)
    assert not belongs("https://packages.example.com:8443", service, None)


@pytest.mark.parametrize(
    "name",
    [
        "http://packages.example.com/team/python/simple/",
        "http://packages.example.com:443/",
        "https://packages.example.com:8443/",
        # Nothing here says that what is given will be sent over TLS.
        "packages.example.com",
        "packages.example.com:443",
        "packages.example.com:80",
        "oauth2accesstoken@packages.example.com",
        "oauth2accesstoken@packages.example.com:443",
        "https://packages.example.com.evil.example/",
        "https://evilpackages.example.com/",
        "https://x.packages.example.com/",
        "https://example.com/",
        "https://packages.example.com@evil.example/",
        "https://packages.example.com:x@evil.example/simple/",
        "https://evil.example/packages.example.com/",
        "https://evil.example?@packages.example.com",
        "https://evil.example#@packages.example.com",
        "https://evil.example\\@packages.example.com/",
        "https://packages.example.com\\.evil.example/",
        "https://evil.example/\\packages.example.com/",
        "https://a@b@packages.example.com/",
        "https://packages.example.com%2eevil.example/",
        "https://packages.example.com%00.evil.example/",
        "https://packages.example.com\t.evil.example/",
        "https://pack\nages.example.com/",
        " https://packages.example.com/",
        "https://packages.example.com /",
        "https:packages.example.com/",
        "https:/packages.example.com/",
        "https:///packages.example.com/",
        "//packages.example.com/",
        "ftp://packages.example.com/",
        "git+https://packages.example.com/",
        "https://pac\N{KELVIN SIGN}ages.example.com/",
        "https://\N{FULLWIDTH LATIN SMALL LETTER P}ackages.example.com/",
        "https://packages\N{IDEOGRAPHIC FULL STOP}example.com/",
        "https://packages.example.com:99999999/",
        "https://[::1]:443@packages.example.com/",
        "https://",
        "",
        "system",
        "my secret",
    ],
)
def test_a_name_that_is_another_host_to_somebody_is_not_the_server(name: str) -> None:
    service = Service.parse(name)

    assert service is None or not belongs(SERVER, service, Names(SERVER))


@pytest.mark.parametrize(
    ("name", "is_shown"),
    [
        ("https://us-python.pkg.dev/p/r/simple/", True),
        ("us-python.pkg.dev:443", False),
        ("http://us-python.pkg.dev/p/r/simple/", False),
        ("https://us-python.pkg.dev:8443/p/r/simple/", False),
        ("https://evilpkg.dev/", False),
        ("https://us-python.pkg.dev.evil.example/", False),
        (f"{SERVER}/p/r/simple/", False),
    ],
)
def test_what_google_issues_is_for_its_own_registry(name: str, *, is_shown: bool) -> None:
    service = Service.parse(name)

    assert service is not None
    assert belongs(GOOGLE, service, Names(SERVER, ("*.pkg.dev",))) == is_shown


def test_what_bonded_issues_is_not_for_artifact_registry() -> None:
    service = Service.parse("https://us-python.pkg.dev/p/r/simple/")

    assert service is not None
    assert not belongs(SERVER, service, Names(SERVER))
    assert belongs(SERVER, service, Names(SERVER, ("*.pkg.dev",)))
    assert belongs("https://us-python.pkg.dev", service, None)


def test_hosts_are_other_names_of_one_server() -> None:
    names = Names(SERVER, parse_hosts("*-python.example.com, registry.corp.example:8443"))
    said = {
        name: belongs(SERVER, service, names)
        for name in (
            "https://eu-python.example.com/p/r/",
            "eu-python.example.com:443",
            "https://registry.corp.example:8443/",
            "https://registry.corp.example/",
            "http://eu-python.example.com/",
            "https://eu-python.evil.example/",
            "https://x.eu-python.example.com/",
        )
        if (service := Service.parse(name))
    }

    assert list(said.values()) == [True, False, True, False, False, False, False]
    service = Service.parse(SERVER)
    assert service is not None
    assert belongs("https://registry.corp.example:8443", service, names)
    assert not belongs("https://stranger.example", service, names)


@pytest.mark.parametrize(
    "text", ["*", "*.com", "a.*.example.com", "https://x.example", "a/b", ":1"]
)
def test_a_pattern_cannot_be_everything(text: str) -> None:
    with pytest.raises(Misconfigured, match="is not a host"):
        parse_hosts(text)


@pytest.mark.parametrize(
    ("pattern", "shown"),
    [
        ("packages.example.com", ["https://packages.example.com"]),
        ("packages.example.com:8443", ["https://packages.example.com:8443"]),
        ("https://packages.example.com:8443", ["https://packages.example.com:8443"]),
        ("HTTPS://Packages.Example.Com:443", ["https://packages.example.com"]),
        ("*.example.com:8443", ["https://packages.example.com:8443"]),
        ("http://packages.example.com", ["http://packages.example.com"]),
        (
            "http://packages.example.com:8443",
            ["http://packages.example.com:8443", "packages.example.com:8443"],
        ),
        (
            "127.0.0.1:8080",
            ["http://127.0.0.1:8080", "127.0.0.1:8080", "https://127.0.0.1:8080"],
        ),
        ("https://127.0.0.1:8080", ["https://127.0.0.1:8080"]),
        ("[::1]:8080", ["http://[::1]:8080"]),
        ("http://[::1]:8080", ["http://[::1]:8080"]),
        ("http://[::1]", []),
        ("10.0.0.7:8080", []),
    ],
)
def test_an_identity_goes_in_clear_only_to_whom_its_owner_named_so(
    pattern: str, shown: list[str]
) -> None:
    asked = [
        *("https://packages.example.com", "http://packages.example.com"),
        *("https://packages.example.com:8443", "http://packages.example.com:8443"),
        *("packages.example.com:8443", "packages.example.com:443"),
        *("http://127.0.0.1:8080", "127.0.0.1:8080", "https://127.0.0.1:8080"),
        *("http://[::1]:8080", "http://10.0.0.7:8080", "10.0.0.7:8080"),
    ]
    (parsed,) = parse_origins(pattern)

    services = {name: Service.parse(name) for name in asked}

    matched = [name for name, each in services.items() if each and each.matches_origin(parsed)]
    assert matched == shown


@pytest.mark.parametrize(
    "text", ["*", "http://", "ftp://x.example", "http://x.example/simple/", "a@b", "https://:1"]
)
def test_an_origin_is_a_host_with_or_without_a_scheme(text: str) -> None:
    with pytest.raises(Misconfigured, match="is neither a host nor the origin of a server"):
        parse_origins(text)
