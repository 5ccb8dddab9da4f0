"""Other tools' files: ours is set, theirs stands, and twice is once."""

from __future__ import annotations

import netrc
import subprocess
import sys
import tomllib
from collections.abc import Callable
from configparser import ConfigParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bonded.client.config_files import (
    add_word,
    find_pip_rivals,
    find_uv_rivals,
    read_option,
    set_option,
    set_uv_index,
)
from bonded.client.errors import Misconfigured
from bonded.client.netrc_files import set_netrc
from support.cli_registry import Registry

INDEX = {"name": "python", "url": "https://x.example/p/python/simple/", "default": True}


def _pip(text: str) -> str:
    return set_option(text, "global", "index-url", "https://x.example/")


def _trusted(text: str) -> str:
    return add_word(text, "global", "trusted-host", "x.example:8080")


def _uv(text: str) -> str:
    return set_uv_index(text, INDEX)


def _netrc(text: str) -> str:
    return set_netrc(text, "x.example", "me", "new")


@pytest.mark.parametrize(
    ("edit", "before", "after"),
    [
        (_pip, "", "[global]\nindex-url = https://x.example/\n"),
        (
            _pip,
            "# mine\n[install]\nuser = yes",
            "# mine\n[install]\nuser = yes\n\n[global]\nindex-url = https://x.example/\n",
        ),
        (
            _pip,
            "[global]\n# why\ntimeout = 5\n\n[install]\nindex-url = y\n",
            (
                "[global]\n# why\ntimeout = 5\nindex-url = https://x.example/\n\n"
                "[install]\nindex-url = y\n"
            ),
        ),
        (
            _pip,
            "[global]\nIndex_URL: one\n    two\nextra-index-url = z\n",
            "[global]\nindex-url = https://x.example/\nextra-index-url = z\n",
        ),
        (
            _pip,
            "[global]\n  # why\n  index-url = old\n    and more\n  timeout = 5\n",
            "[global]\n  # why\n  index-url = https://x.example/\n  timeout = 5\n",
        ),
        (
            _pip,
            " [global]\n  timeout = 5\n [install]\n  x = 1\n",
            " [global]\n  timeout = 5\n  index-url = https://x.example/\n [install]\n  x = 1\n",
        ),
        (
            _pip,
            "[global]\nindex_url = a\n# kept\ntimeout = 5\n--index-url = b\n",
            "[global]\nindex-url = https://x.example/\n# kept\ntimeout = 5\n",
        ),
        (
            _pip,
            "[global]\nfind-links =\n    index-url = no option\n\n    last\n",
            (
                "[global]\nfind-links =\n    index-url = no option\n\n    last\n"
                "index-url = https://x.example/\n"
            ),
        ),
        (
            _pip,
            "[global]\r\nindex-url = old\r\ntimeout = 5\r\n",
            "[global]\r\nindex-url = https://x.example/\ntimeout = 5\r\n",
        ),
        (_trusted, "", "[global]\ntrusted-host = x.example:8080\n"),
        (
            _trusted,
            "[global]\ntrusted_host = a.example\n    b.example:8080\ntimeout = 5\n",
            (
                "[global]\ntrusted-host =\n    a.example\n    b.example:8080\n"
                "    x.example:8080\ntimeout = 5\n"
            ),
        ),
        (
            _trusted,
            "[global]\ntrusted-host = x.example:8080 a.example\n",
            "[global]\ntrusted-host = x.example:8080 a.example\n",
        ),
        (
            _uv,
            '[pip]\nkeyring-provider = "disabled"\nno-index = false\n',
            (
                'keyring-provider = "subprocess"\n[pip]\nkeyring-provider = "disabled"\n'
                'no-index = false\n\n[[index]]\nname = "python"\n'
                'url = "https://x.example/p/python/simple/"\ndefault = true\n'
            ),
        ),
        (
            _uv,
            (
                '[[index]]\nname = "python"\nurl = "old"\n# of the other\n'
                '[[index]]\nname = "other"\nurl = "y"\n'
            ),
            (
                'keyring-provider = "subprocess"\n[[index]]\nname = "python"\n'
                'url = "https://x.example/p/python/simple/"\ndefault = true\n# of the other\n'
                '[[index]]\nname = "other"\nurl = "y"\n'
            ),
        ),
        (
            _uv,
            'native-tls = true\n\n[[index]]\nname = "python"\nurl = "old"\n\n[pip]\nx = 1\n',
            (
                'keyring-provider = "subprocess"\nnative-tls = true\n\n[[index]]\n'
                'name = "python"\nurl = "https://x.example/p/python/simple/"\ndefault = true\n\n'
                "[pip]\nx = 1\n"
            ),
        ),
        (
            _uv,
            'keyring-provider = "disabled"\n[[index]]\nname = "other"\nurl = "y"\n',
            (
                'keyring-provider = "subprocess"\n[[index]]\nname = "other"\nurl = "y"\n\n'
                '[[index]]\nname = "python"\nurl = "https://x.example/p/python/simple/"\n'
                "default = true\n"
            ),
        ),
        (_netrc, "", "machine x.example login me password new\n"),
        (
            _netrc,
            (
                "machine a login b password c\nmachine x.example\n  login old\n  password old\n"
                "# theirs\nmachine z login b password c\ndefault login d password e\n"
            ),
            (
                "machine a login b password c\nmachine x.example login me password new\n"
                "# theirs\nmachine z login b password c\ndefault login d password e\n"
            ),
        ),
        (
            _netrc,
            "default login d password e\n",
            "machine x.example login me password new\ndefault login d password e\n",
        ),
        (
            _netrc,
            "machine x.example login a password b machine y login c password d",
            "machine x.example login me password new\nmachine y login c password d",
        ),
        (
            _netrc,
            "# machine x.example login a password b\nmachine other login c password d\n",
            (
                "machine x.example login me password new\n"
                "# machine x.example login a password b\nmachine other login c password d\n"
            ),
        ),
        (
            _netrc,
            "machine x.example\n\nlogin a\n# c\npassword b\n\nmachine other login c password #d\n",
            "machine x.example login me password new\n\nmachine other login c password #d\n",
        ),
        (
            _netrc,
            (
                "machine other login machine password x.example\n"
                "machine x.example login a password b # c\n"
                'machine "x.example" login twice\nmachine z login b password "c d"\n'
            ),
            (
                "machine other login machine password x.example\n"
                "machine x.example login me password new\n# c\n"
                'machine z login b password "c d"\n'
            ),
        ),
        (
            _netrc,
            "machine z login b password c\nmacdef init\nmachine x.example login a\n\n",
            (
                "machine x.example login me password new\n"
                "machine z login b password c\nmacdef init\nmachine x.example login a\n\n"
            ),
        ),
    ],
)
def test_what_is_ours_is_set_and_the_rest_stands(
    edit: Callable[[str], str], before: str, after: str
) -> None:
    assert edit(before) == after
    assert edit(after) == after


@pytest.mark.parametrize(
    ("edit", "text"),
    [
        (_pip, "what is this"),
        (_pip, "[global]\nx = 1\nx = 2\n"),
        (_pip, "[DEFAULT]\nindex_url = old\n[global]\nx = 1\n"),
        (_netrc, "what is this"),
        (_netrc, "machine other login a password b\n\n# a comment that Python cannot read\n"),
        (_uv, "[index]\nname = 1\n"),
        (_uv, '[[index]]\n"name" = "python"\nurl = """\n[[index]]\n"""\n'),
        (_uv, '"keyring-provider" = "disabled"\n'),
        (_uv, "what is this"),
        (_uv, 'index = [{name = "other", url = "y"}]\n'),
        (_uv, '[[index]]\nname = "other"\nurl = "y"\ndefault = true\n'),
    ],
)
def test_what_cannot_be_changed_safely_is_refused(edit: Callable[[str], str], text: str) -> None:
    with pytest.raises(Misconfigured):
        edit(text)


@pytest.mark.parametrize(
    ("edit", "text"),
    [
        (_pip, "[global]\nbroken\nhunter2\n"),
        (_pip, "hunter2"),
        (_netrc, "machine other login a password my hunter2\n"),
        (_uv, '[[index]]\nurl = "https://hunter2@y.example/"\ndefault = true\n'),
    ],
)
def test_a_refusal_repeats_nothing_of_the_file(edit: Callable[[str], str], text: str) -> None:
    with pytest.raises(Misconfigured) as refusal:
        edit(text)

    assert "hunter2" not in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[global]\nindex-url = x\nextra-index-url =\n", []),
        ("[global]\nEXTRA_INDEX_URL = x\n", ["[global] extra-index-url stays"]),
        (
            "[install]\nindex-url = x\nextra-index-url = y\n",
            ["[install] extra-index-url stays", "[install] index-url stays"],
        ),
        (
            "[DEFAULT]\nextra-index-url = x\n[global]\nx = 1\n",
            ["[global] extra-index-url stays"],
        ),
    ],
)
def test_pip_is_said_to_have_packages_from_elsewhere(text: str, said: list[str]) -> None:
    assert [each.partition(" stays")[0] + " stays" for each in find_pip_rivals(text)] == said


def test_uv_is_said_to_have_packages_from_elsewhere() -> None:
    text = _uv(
        'extra-index-url = ["a"]\nindex-url = "b"\n[[index]]\nname = "other"\nurl = "c"\n'
        '[[index]]\nname = "asked-for"\nurl = "d"\nexplicit = true\n'
        '[pip]\nextra-index-url = ["e"]\nkeyring-provider = "disabled"\n'
    )

    said = [each.partition(" stays")[0] for each in find_uv_rivals(text, "python")]

    assert said == [
        *("The index other", "extra-index-url", "[pip] extra-index-url"),
        "[pip] keyring-provider",
    ]
    assert find_uv_rivals(_uv(""), "python") == ()


def test_pip_reads_what_was_written_for_it(tmp_path: Path) -> None:
    before = (
        "[global]\n  index_url = https://old.example/\n  timeout = 5\n[install]\n  user = yes\n"
    )
    (tmp_path / "pip.conf").write_text(_pip(before))
    variables = {"PIP_CONFIG_FILE": str(tmp_path / "pip.conf"), "HOME": str(tmp_path)}

    done = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", "config", "list"],
        env=variables,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    # What is configured for every user of the machine is listed, too.
    ours = [row for row in done.stdout.splitlines() if row.split(".")[0] in {"global", "install"}]
    assert [row for row in ours if "index" in row] == ["global.index-url='https://x.example/'"]
    assert {"global.timeout='5'", "install.user='yes'"} < set(ours)


def test_uv_asks_where_it_was_told_to_and_keeps_what_it_had(
    registry: Registry, tmp_path: Path
) -> None:
    before = (
        '[[index]]\nname = "other"\nurl = "URL/other/"\n\n[pip]\nkeyring-provider = "disabled"\n'
    )
    index = {"name": "python", "url": f"{registry.url}/ours/", "default": True}
    (tmp_path / "uv.toml").write_text(set_uv_index(before.replace("URL", registry.url), index))
    registry.raw = (404, b"", {})
    line = ["pip", "install", "--no-cache", "--target", str(tmp_path / "target"), "absent"]

    subprocess.run(
        [Path(sys.executable).with_name("uv"), "--config-file", tmp_path / "uv.toml", *line],
        env={"HOME": str(tmp_path), "PATH": str(Path(sys.executable).parent)},
        capture_output=True,
        check=False,
        timeout=60,
    )

    assert registry.requests == ["GET /other/absent/", "GET /ours/absent/"]


def test_python_reads_what_was_written_into_netrc(tmp_path: Path) -> None:
    before = (
        "# machine x.example login a password b\nmachine x.example\n\n\tlogin a\n\tpassword b\n"
        "macdef init\ncd /\n\ndefault login d password e\n"
    )
    (tmp_path / "netrc").write_text(_netrc(before))

    read = netrc.netrc(str(tmp_path / "netrc"))

    assert read.hosts == {"x.example": ("me", "", "new"), "default": ("d", "", "e")}
    assert read.macros == {"init": ["cd /\n"]}


WORDS = st.sampled_from(
    ["machine", "x.example", "login", "password", "default", "macdef", "#", "a", '"b c"', "\n"]
)


@settings(max_examples=50)
@given(st.lists(st.tuples(WORDS, st.sampled_from([" ", "\n", "\n\n", "\t"])), max_size=20))
def test_no_netrc_is_changed_beyond_its_entry(words: list[tuple[str, str]]) -> None:
    text = "".join(word + blank for word, blank in words)
    try:
        changed = _netrc(text)
    except Misconfigured:
        return
    assert "machine x.example login me password new\n" in changed
    assert _netrc(changed) == changed


def test_the_results_are_read_by_their_readers() -> None:
    parser = ConfigParser(interpolation=None)
    parser.read_string(_pip("[global]\nindex_url = 100%\n"))

    assert parser.get("global", "index-url") == "https://x.example/"
    assert read_option(_pip(""), "global", "index-url") == "https://x.example/"
    assert tomllib.loads(_uv(""))["index"] == [INDEX]
