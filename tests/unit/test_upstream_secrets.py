"""Where the secrets for upstreams come from, and what is said when they do not."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from bonded.server.core.errors import UpstreamFailed
from bonded.server.core.upstreams import SecretReference
from bonded.server.upstream.secrets import Secrets

VARIABLE = "BONDED_SECRET_MY_PROJECT_NEXUS"


def reference(kind: str) -> SecretReference:
    return SecretReference.parse(f"{kind}:nexus" if kind != "env" else "env:NEXUS", "my-project")


def keep(directory: Path, data: bytes, mode: int = 0o600) -> Path:
    path = directory / "my-project" / "nexus"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    path.chmod(mode)
    return path


async def test_each_kind_of_secret_is_read_without_the_space_around_it(tmp_path: Path) -> None:
    secrets = Secrets(tmp_path, {VARIABLE: " from the variable "})

    keep(tmp_path, b"from the file\n")
    assert await secrets.get(reference("file")) == "from the file"
    keep(tmp_path, b"#!/bin/sh\necho from the program; echo noise >&2\n", 0o700)
    assert await secrets.get(reference("command")) == "from the program"
    assert await secrets.get(reference("env")) == "from the variable"


async def test_a_program_is_run_once_until_its_secret_is_refused(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    keep(tmp_path, f"#!/bin/sh\necho >> {runs}\nwc -l < {runs}\n".encode(), 0o700)
    secrets = Secrets(tmp_path, {})

    assert [await secrets.get(reference("command")) for _ in range(3)] == ["1", "1", "1"]
    secrets.forget(reference("command"))

    assert await secrets.get(reference("command")) == "2"


FAILURES = {
    "no file": ("file", None, 0, "its file cannot be read: No such file or directory"),
    "an empty file": ("file", b" \n", 0o600, "it is empty, or not printable ASCII"),
    "a file of bytes": ("file", b"\xff\x00", 0o600, "it is empty, or not printable ASCII"),
    "a file of two lines": ("file", b"a\nb\n", 0o600, "it is empty, or not printable ASCII"),
    "no program": ("command", None, 0, "its program cannot be run: No such file or directory"),
    "no program's mode": ("command", b"#!/bin/sh\n", 0o600, "its program cannot be run: Perm"),
    "a program that fails": (
        "command",
        b"#!/bin/sh\necho hush-hush\nexit 3\n",
        0o700,
        "its program ended with status 3",
    ),
    "a program that says nothing": ("command", b"#!/bin/sh\n", 0o700, "it is empty, or"),
    "no variable": ("env", None, 0, "it is empty, or not printable ASCII"),
}


@pytest.mark.parametrize(("kind", "data", "mode", "why"), FAILURES.values(), ids=FAILURES.keys())
async def test_a_secret_that_is_not_to_be_had_says_why_and_nothing_of_itself(
    tmp_path: Path, kind: str, data: bytes | None, mode: int, why: str
) -> None:
    if data is not None:
        keep(tmp_path, data, mode)
    secrets = Secrets(tmp_path, {})

    with pytest.raises(UpstreamFailed) as caught:
        await secrets.get(reference(kind))

    text = caught.value.message
    assert text.startswith(f"The secret {reference(kind)} for the upstream is not to be had: {why}")
    assert "hush" not in text
    assert str(tmp_path) not in text


async def test_a_secret_that_is_printed_in_pieces_is_read_to_its_end(tmp_path: Path) -> None:
    keep(tmp_path, b"#!/bin/sh\nprintf abc\nsleep 0.3\nprintf def\n", 0o700)

    assert await Secrets(tmp_path, {}).get(reference("command")) == "abcdef"


async def test_a_slow_program_holds_up_no_other_secret(tmp_path: Path) -> None:
    keep(tmp_path, b"#!/bin/sh\nsleep 1\necho slow\n", 0o700)
    secrets = Secrets(tmp_path, {VARIABLE: "quick"})

    slow = asyncio.create_task(secrets.get(reference("command")))
    await asyncio.sleep(0.1)

    assert await secrets.get(reference("env")) == "quick"
    assert not slow.done()
    assert await slow == "slow"
