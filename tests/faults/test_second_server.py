"""Two servers that would be in each other's way: the second one says so and goes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from support.server import free_port, running_server


def _start(data_dir: Path, port: int, host: str = "127.0.0.1") -> subprocess.CompletedProcess[str]:
    options = ["--data-dir", str(data_dir), "--listen", f"{host}:{port}"]
    command = [sys.executable, "-m", "bonded", "serve", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_second_server_on_a_data_directory_is_refused_and_leaves_the_first_alone(
    tmp_path: Path,
) -> None:
    with running_server(tmp_path / "data") as server:
        key = server.admin_key
        arriving = server.data_dir / "staging" / "stage-of-the-first"
        arriving.write_bytes(b"half an upload")

        second = _start(tmp_path / "data", free_port())

        assert second.returncode == 1
        assert "Another server uses" in second.stderr
        assert "Traceback" not in second.stderr
        assert arriving.exists()
        assert server.admin_key == key
        assert server.is_ready()


def test_a_port_that_is_taken_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with running_server(tmp_path / "data") as server:
        second = _start(tmp_path / "other", server.port)

        assert second.returncode == 1
        assert f"cannot listen on 127.0.0.1:{server.port}: Address already in use" in second.stderr
        assert second.stdout == ""
        assert not (tmp_path / "other").exists()


def test_a_server_listens_where_a_name_says_and_calls_itself_by_it(tmp_path: Path) -> None:
    with running_server(tmp_path / "data", host="localhost") as server:
        assert server.admin_key["token_uri"] == f"http://localhost:{server.port}/token"
        assert f"Bonded is running at http://localhost:{server.port}," in server.log.read_text()
        second = _start(tmp_path / "other", server.port, "localhost")

    assert f"cannot listen on localhost:{server.port}: Address already in use" in second.stderr


def test_a_server_that_listens_everywhere_asks_how_others_reach_it(tmp_path: Path) -> None:
    with running_server(tmp_path / "data", host="0.0.0.0") as server:
        said = server.log.read_text()
        here = f"http://127.0.0.1:{server.port}"

        assert server.admin_key["token_uri"] == f"{here}/token"
    assert f"Bonded is running at {here}," in said
    assert "WARNING: it listens on every address of this machine, but the commands below" in said
    assert f"--public-url http://HOST:{server.port}\n" in said
    assert f"--repository-url {here}/my-project/python/" in said
    assert "0.0.0.0" not in said


def test_a_data_directory_that_is_a_file_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")

    start = _start(tmp_path / "data", free_port())

    assert start.returncode == 1
    assert start.stderr == (
        f"bonded: cannot start: {tmp_path / 'data'} is not a directory. Name another.\n"
    )


@pytest.mark.parametrize("host", ["nobody.invalid", "192.0.2.1"])
def test_a_server_that_cannot_listen_says_nothing_else_and_leaves_its_key_file(
    tmp_path: Path, host: str
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "admin-key.json").write_text('{"token_uri": "http://here/token"}')

    start = _start(tmp_path / "data", free_port(), host)

    assert start.returncode == 1
    assert start.stderr.startswith(f"bonded: cannot listen on {host}:")
    assert start.stdout == ""
    assert "http://here/token" in (tmp_path / "data" / "admin-key.json").read_text()


def test_what_the_server_writes_only_its_user_can_read(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o755)

    with running_server(tmp_path / "data") as server:
        made = [path for path in server.data_dir.rglob("*") if path.name != "data"]

        assert made
        assert [str(path) for path in made if path.stat().st_mode & 0o077] == []
