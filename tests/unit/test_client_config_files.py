"""Other tools' files: ours is set, theirs stands, and twice is once."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from configparser import ConfigParser

import pytest

from bonded.client.config_files import read_option, set_netrc, set_option, set_uv_index
from bonded.client.errors import Misconfigured

INDEX = {"name": "python", "url": "https://x.example/p/python/simple/", "default": True}


def _pip(text: str) -> str:
    return set_option(text, "global", "index-url", "https://x.example/")


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
        (_uv, "what is this"),
        (_uv, 'index = [{name = "other", url = "y"}]\n'),
        (_uv, '[[index]]\nname = "other"\nurl = "y"\ndefault = true\n'),
    ],
)
def test_what_cannot_be_changed_safely_is_refused(edit: Callable[[str], str], text: str) -> None:
    with pytest.raises(Misconfigured):
        edit(text)


def test_the_results_are_read_by_their_readers() -> None:
    parser = ConfigParser(interpolation=None)
    parser.read_string(_pip("[global]\nindex_url = 100%\n"))

    assert parser.get("global", "index-url") == "https://x.example/"
    assert read_option(_pip(""), "global", "index-url") == "https://x.example/"
    assert tomllib.loads(_uv(""))["index"] == [INDEX]
