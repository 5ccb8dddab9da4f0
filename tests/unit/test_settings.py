"""Settings: defaults, a file, the environment, options; later ones win."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from bonded.server.settings import Settings, SettingsError, load, unknown_variables


def test_later_ones_win(tmp_path: Path) -> None:
    config = tmp_path / "bonded.toml"
    config.write_text('listen = "0.0.0.0:1"\ntoken_life_s = 10\nlog_level = "debug"\n')
    environment = {"BONDED_LISTEN": "0.0.0.0:2", "BONDED_TOKEN_LIFE_S": "20", "OTHER": "x"}

    settings = load({"listen": "0.0.0.0:3"}, config, environment)

    assert (settings.listen, settings.token_life_s, settings.log_level) == (
        *("0.0.0.0:3", 20, "debug"),
    )
    assert settings.default_location == Settings().default_location


def test_an_empty_variable_is_none_at_all() -> None:
    assert load({}, None, {"BONDED_LISTEN": ""}) == load({}, None, {}) == Settings()


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("BONDED_LISTNE", {"BONDED_LISTNE": "BONDED_LISTEN"}),
        ("BONDED_PUBLICURL", {"BONDED_PUBLICURL": "BONDED_PUBLIC_URL"}),
        ("BONDED_ZZZZZ", {"BONDED_ZZZZZ": ""}),
        ("BONDED_LISTEN", {}),
        ("BONDED_SECRET_TEAM", {}),
        # What Kubernetes tells every container about a service of that name.
        ("BONDED_SERVICE_HOST", {}),
        ("BONDED_SERVICE_PORT_HTTP", {}),
        ("BONDED_PORT", {}),
        ("BONDED_PORT_8080_TCP_ADDR", {}),
        ("BONDED_PORTS", {"BONDED_PORTS": ""}),
        ("BONDED_SERVER", {}),
        ("LISTNE", {}),
    ],
)
def test_a_variable_that_nobody_reads_is_named(name: str, meant: dict[str, str]) -> None:
    assert unknown_variables({"BONDED_SERVER"}, {name: "x"}) == meant


def test_a_home_directory_is_found() -> None:
    assert load({"data_dir": "~/x"}, None, {}).data_dir == Path.home() / "x"


@pytest.mark.parametrize(
    ("listen", "host", "port"),
    [("127.0.0.1:80", "127.0.0.1", 80), ("[::1]:8080", "::1", 8080), ("host:1", "host", 1)],
)
def test_an_address_has_host_and_port(listen: str, host: str, port: int) -> None:
    settings = load({"listen": listen}, None, {})

    assert (settings.host, settings.port) == (host, port)
    assert settings.url == f"http://{listen}"
    assert not settings.is_address_unknown


@pytest.mark.parametrize(
    ("listen", "url"),
    [("0.0.0.0:8080", "http://127.0.0.1:8080"), ("[::]:8080", "http://[::1]:8080")],
)
def test_who_listens_everywhere_is_called_by_an_address_that_works(listen: str, url: str) -> None:
    unsaid = load({"listen": listen}, None, {})
    said = load({"listen": listen, "public_url": "http://index.example"}, None, {})

    assert (unsaid.url, unsaid.is_address_unknown) == (url, True)
    assert (said.url, said.is_address_unknown) == ("http://index.example", False)


def test_the_public_url_has_no_slash_at_its_end() -> None:
    # The slash alone is no path worth refusing.
    assert load({"public_url": "https://index.example/"}, None, {}).url == "https://index.example"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"colour": "red"}, "Unknown setting 'colour'; known are data_dir,"),
        ({"listen": "8080"}, "listen must be HOST:PORT, not '8080'."),
        ({"listen": "host:0"}, "listen must be HOST:PORT, not 'host:0'."),
        ({"listen": "host:65536"}, "listen must be HOST:PORT, not 'host:65536'."),
        ({"listen": ":8080"}, "listen must be HOST:PORT, not ':8080'."),
        ({"listen": "::1:8080"}, "listen must be HOST:PORT, not '::1:8080': an IPv6 address is"),
        ({"listen": "[::1:8080"}, "listen must be HOST:PORT, not '[::1:8080': an IPv6 address is"),
        ({"listen": "[x:y]:1"}, "listen must be HOST:PORT, not '[x:y]:1': an IPv6 address is"),
        ({"listen": "[fe80::1%lo]:1"}, "listen must be HOST:PORT, not '[fe80::1%lo]:1': an IPv6"),
        ({"public_url": "index.example"}, "public_url must be http(s)://HOST[:PORT]"),
        ({"public_url": "ftp://x"}, "public_url must be http(s)://HOST[:PORT]"),
        ({"public_url": "https://x/path"}, "public_url must be http(s)://HOST[:PORT]"),
        ({"token_life_s": "soon"}, "token_life_s must be a whole number above 0, not 'soon'."),
        ({"token_life_s": "0"}, "token_life_s must be a whole number above 0, not '0'."),
        ({"token_life_s": "-1"}, "token_life_s must be a whole number above 0, not '-1'."),
        ({"public_index_url": "index.example"}, "public_index_url must be the http(s):// address"),
        ({"public_index_url": "https://[x/"}, "public_index_url is malformed: "),
        ({"public_index_url": "https://x/ y/"}, "public_index_url must be the http(s):// address"),
        ({"public_index_url": "https://u:p@x/"}, "public_index_url must not carry a user"),
        ({"public_index_url": "https://u@x/"}, "public_index_url must not carry a user"),
        ({"public_index_url": "https://x/?token=t"}, "public_index_url must not carry a user"),
        ({"database_url": "mysql://x"}, "database_url must start with postgresql://."),
        ({"log_level": "loud"}, "log_level must be debug, info, warning or error."),
    ],
)
def test_a_bad_setting_is_named(options: dict[str, str], says: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(options, None, {})

    assert str(caught.value).startswith(says)


@pytest.mark.parametrize("value", ["0", "-1", "1.5", ""])
@pytest.mark.parametrize(
    "name", [one.name for one in fields(Settings) if type(one.default) is int and one.default > 0]
)
def test_a_limit_that_nothing_could_keep_to_is_refused_at_the_start(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name} must be a whole number above 0, not"):
        load({name: value}, None, {})


@pytest.mark.parametrize("text", ["listen =", "listen = 1", "[server]\nlisten = 'x:1'", "x = 1"])
def test_a_bad_file_is_refused(tmp_path: Path, text: str) -> None:
    config = tmp_path / "bonded.toml"
    config.write_text(text)

    with pytest.raises(SettingsError):
        load({}, config, {})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        load({}, tmp_path / "absent.toml", {})


def test_every_setting_is_documented() -> None:
    assert all(one.metadata["doc"] for one in fields(Settings))
