"""What is told where only an operator may let the server go."""

from __future__ import annotations

from pathlib import Path

import pytest

from bonded.server.serving import out_of_reach
from bonded.server.settings import load
from bonded.server.upstream.failures import Asked, refused

INDEX = "https://index.example/simple/"
FILES = "https://files.example/demo.whl"
WAYS_OUT = {
    Asked.PRESET: "starts it with BONDED_PUBLIC_INDEX_URL=https://index.example/simple/ "
    "BONDED_UPSTREAM_PRIVATE_HOSTS=index.example, in which hosts of its files are listed too.",
    Asked.INDEX: "flag --remote-allow-private-addresses",
    Asked.ALLOWED: "allows private addresses; what is missing is the operator's half.",
    Asked.FILES: "the server's operator adds index.example to the setting upstream_private_hosts",
}


@pytest.mark.parametrize("asked", Asked)
def test_the_way_out_is_that_of_what_was_asked_for(asked: Asked) -> None:
    told = refused(INDEX, INDEX, "10.0.0.1 is not a public address (private or reserved)", asked)

    assert WAYS_OUT[asked] in str(told)
    assert ("--remote-allow" in str(told)) == (asked is Asked.INDEX)


@pytest.mark.parametrize(
    ("environment", "url", "asked", "line"),
    [
        ({}, INDEX, Asked.PRESET, f"BONDED_PUBLIC_INDEX_URL={INDEX} {{}}=index.example"),
        (
            {
                "BONDED_PUBLIC_INDEX_URL": INDEX,
                "BONDED_UPSTREAM_PRIVATE_HOSTS": "index.example, 10.0.0.0/8",
            },
            FILES,
            Asked.FILES,
            f"BONDED_PUBLIC_INDEX_URL={INDEX} {{}}=index.example,10.0.0.0/8,files.example",
        ),
    ],
    ids=["the index", "its files"],
)
def test_the_log_has_the_whole_line_to_start_the_server_with(
    environment: dict[str, str], url: str, asked: Asked, line: str, tmp_path: Path
) -> None:
    settings = load({"data_dir": str(tmp_path)}, None, environment)

    text, *said = out_of_reach(settings, refused(INDEX, url, "10.0.0.1 is not public", asked))

    expected = line.format("BONDED_UPSTREAM_PRIVATE_HOSTS")
    assert f"\n\n  {expected} ./serve\n\n" in text % tuple(said)
