"""Every command of the guides to remote and virtual repositories, run as it stands there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from support.command_line import command_line
from support.loopback import Loopback
from support.server import running_server
from support.tools import ROOT
from support.upstream import running_index
from support.wheels import make_wheel

pytestmark = pytest.mark.clients

GUIDES = ROOT / "docs/how-to"
DEMO = make_wheel("demo", "1.0")
WARM = ("-r", "requirements.txt")
OWN = (make_wheel("acme-core", "1.0"), make_wheel("acme-core", "1.1"))


def lines_of(page: str, placeholders: dict[str, str]) -> list[list[str]]:
    """Return the words of each command; of what may be left out, with it."""
    text = (GUIDES / page).read_text().replace("\\\n", " ")
    found = re.findall(r"^ *(?:\$ )?bonded (artifacts .*)$", text, re.MULTILINE)
    assert found
    for line in range(len(found)):
        for word, meant in placeholders.items():
            found[line] = found[line].replace(word, meant)
    return [shlex.split(re.sub(r"\[(-[^\]]*)\]", r"\1", line), comments=True) for line in found]


def block_of(page: str, start: str) -> str:
    """Return what a page shows below the line *start*, up to the next prompt or the end."""
    text = (GUIDES / page).read_text().partition(f"$ {start}\n")[2]
    return re.split(r"^(?:\$|```)", text, maxsplit=1, flags=re.MULTILINE)[0]


def test_what_the_guides_have_people_type_works_and_prints_what_they_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    secrets = tmp_path / "data/secrets/my-project"
    secrets.mkdir(parents=True)
    (secrets / "nexus").write_text("s3cret")
    monkeypatch.chdir(tmp_path)
    Path("policies.yaml").write_text(block_of("upstreams.md", "cat policies.yaml"))
    Path("requirements.txt").write_text("demo==1.0\n")
    with running_index() as index:
        index.publish(DEMO)
        lock = f"demo @ {index.url.removesuffix('simple/')}files/{DEMO.filename}\n"
        Path("locked.txt").write_text(lock)
        public = {"BONDED_PUBLIC_INDEX_URL": index.url}
        with running_server(tmp_path / "data", environment=public) as server:
            bonded = command_line(server, tmp_path / "config", monkeypatch, capsys)
            door = Loopback(server)
            assert [door.upload(one).status for one in OWN] == [200, 200]
            near = f"{index.url} --remote-allow-private-addresses"
            placeholders = {
                "https://index.example/simple/": near,
                "https://nexus.example/simple/": near,
                "map pypi -r uv.lock": "map pypi -r locked.txt",
                "uv.lock": "requirements.txt",
                "PACKAGE/FILENAME": f"demo/{DEMO.filename}",
                "PACKAGE": "demo",
                "VERSION": "1.0",
                "NAME": "demo",
            }
            remote = lines_of("remote-repositories.md", placeholders)
            said = {}
            for words in [*remote, *lines_of("upstreams.md", placeholders)]:
                filled = bonded("artifacts", "repositories", "prefetch", "pypi", *WARM)
                assert filled.status == 0, filled.err
                answer = bonded(*words, typed="y\n")
                assert answer.status == 0, (words, answer.err)
                said[" ".join(words[1:3])] = answer.err + answer.out
                if "map" in words:
                    assert (Path("locked.txt").read_text() == lock) == ("--to=upstream" in words)

    # The file was fetched anew after each of the two deletions.
    assert index.paths("/files/").count(f"/files/{DEMO.filename}") == 3
    assert f'"upstreamUrl": "{index.url.removesuffix("simple/")}files/' in said["files list"]
    explained = "bonded artifacts packages explain acme-core --repository=team"
    assert said["packages explain"] == block_of("upstreams.md", explained)
