"""Finds the secrets that upstreams are shown: kept by the operator, never by the database."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path

from bonded.server.core.errors import UpstreamFailed
from bonded.server.core.upstreams import SecretKind, SecretReference

SECRET_SIZE_MAX_BYTES = 64 * 1024
COMMAND_TIMEOUT_S = 30
LIFE_S = 300
"""How long a secret is good without being looked for again; a command may take seconds."""


class Secrets:
    """Reads a directory (PROJECT/NAME), runs its programs, and knows the variables."""

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        self._directory = directory
        self._environment = environment
        self._found: dict[SecretReference, tuple[float, str]] = {}
        self._looking: dict[SecretReference, asyncio.Task[str]] = {}

    async def get(self, reference: SecretReference) -> str:
        """Return the secret.

        Raises:
            UpstreamFailed: it is not there, or its program fails; says nothing of what it prints.
        """
        known = self._found.get(reference)
        if known is not None and time.monotonic() < known[0]:
            return known[1]
        # A command is run once, however many requests wait for it; others do not wait for it.
        looking = self._looking.get(reference)
        if looking is None:
            looking = asyncio.create_task(self._find(reference))
            self._looking[reference] = looking
            looking.add_done_callback(lambda done: self._end(reference, done))
        return await asyncio.shield(looking)

    def _end(self, reference: SecretReference, looking: asyncio.Task[str]) -> None:
        del self._looking[reference]
        if not looking.cancelled() and looking.exception() is None:
            self._found[reference] = (time.monotonic() + LIFE_S, looking.result())

    def forget(self, reference: SecretReference) -> None:
        """Look for the secret again next time: the upstream has refused it."""
        self._found.pop(reference, None)

    async def _find(self, reference: SecretReference) -> str:
        try:
            secret = (await self._look(reference)).decode("ascii").strip()
        except UnicodeDecodeError:
            secret = ""
        if not secret or not secret.isprintable():
            raise _missing(reference, "it is empty, or not printable ASCII")
        return secret

    async def _look(self, reference: SecretReference) -> bytes:
        match reference.kind:
            case SecretKind.FILE:
                return await asyncio.to_thread(self._read, reference)
            case SecretKind.COMMAND:
                return await self._run(reference)
            case SecretKind.VARIABLE:
                return self._environment.get(reference.variable, "").encode()

    def _path(self, reference: SecretReference) -> Path:
        return self._directory / reference.project / reference.name

    def _read(self, reference: SecretReference) -> bytes:
        try:
            with self._path(reference).open("rb") as file:
                return file.read(SECRET_SIZE_MAX_BYTES)
        except OSError as error:
            raise _missing(reference, f"its file cannot be read: {error.strerror}") from None

    async def _run(self, reference: SecretReference) -> bytes:
        try:
            process = await asyncio.create_subprocess_exec(
                self._path(reference),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
        except OSError as error:
            raise _missing(reference, f"its program cannot be run: {error.strerror}") from None
        assert process.stdout is not None
        try:
            async with asyncio.timeout(COMMAND_TIMEOUT_S):
                data = await _read_all(process.stdout)
                status = await process.wait()
        except TimeoutError:
            raise _missing(reference, f"its program took over {COMMAND_TIMEOUT_S} s") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if status != 0:
            raise _missing(reference, f"its program ended with status {status}")
        return data


async def _read_all(stream: asyncio.StreamReader) -> bytes:
    # To its end: a program may print in pieces, of which `read` returns the first.
    data = bytearray()
    while len(data) < SECRET_SIZE_MAX_BYTES and (piece := await stream.read(4096)):
        data += piece
    return bytes(data)


def _missing(reference: SecretReference, why: str) -> UpstreamFailed:
    return UpstreamFailed(
        f"The secret {reference} for the upstream is not to be had: {why}",
        hint="The operator of this server puts it there.",
    )
