"""An entry in netrc: set where it stands, and read back by Python's own reader before it counts."""

from __future__ import annotations

import re
from netrc import NetrcParseError, netrc
from pathlib import Path
from tempfile import TemporaryDirectory

from bonded.client.errors import Misconfigured
from bonded.client.private_files import write_private

# A blank ends a word unless it is quoted or escaped, as Python's reader has it.
_WORD = re.compile(r'"(?:[^"\\]|\\.)*"|(?:[^\s\\]|\\.)+', re.DOTALL)
_FIELDS = frozenset({"login", "user", "account", "password"})
_Read = tuple[dict[str, tuple[str, str, str]], dict[str, list[str]]]


def set_netrc(text: str, host: str, user: str, password: str) -> str:
    """Return the netrc *text* with the credential of *host*, before any default entry.

    Raises:
        Misconfigured: it is no netrc, or written in a way that only a person can change.
    """
    entry = f"machine {host} login {user} password {password}\n"
    hosts, macros = _read(text)
    spans = [(start, end) for name, start, end in _entries(text) if name == host]
    changed = text if spans else entry + text
    for start, end in reversed(spans):
        written = entry if start == spans[0][0] else ""
        changed = changed[:start] + written + changed[end:].lstrip(" \t").removeprefix("\n")
    if _read(changed) != ({**hosts, host: (user, "", password)}, macros):
        raise Misconfigured("Its entries are written in a way that is not changed safely.")
    return changed


def find_netrc_losses(text: str, host: str, user: str) -> tuple[str, ...] | None:
    """Return what `set_netrc` takes out of the netrc *text*, in sentences, showing no word of it.

    None if it is the entry that it wrote there before, and no more.

    Raises:
        Misconfigured: it is no netrc.
    """
    hosts, _ = _read(text)
    count = sum(name == host for name, _, _ in _entries(text))
    if count == 1 and hosts[host][0] == user:
        return None
    if not count:
        return ()
    what = "The entry" if count == 1 else f"All {count} entries"
    said = f"{what} of {host} will be replaced by ours, since pip takes one for a host."
    return (f"{said} Whatever else signs in there by netrc needs its own from the copy.",)


def _entries(text: str) -> list[tuple[str, int, int]]:
    """Return the host of each entry, and where it begins and ends; a default entry has no host."""
    found: list[tuple[str, int, int]] = []
    at = 0
    while word := _WORD.search(text, at):
        at = word.end()
        if word[0].startswith("#"):
            at = _after(text, "\n", at)
        elif word[0] == "default":
            found.append(("", word.start(), at))
        elif word[0] in _FIELDS | {"machine", "macdef"} and (value := _WORD.search(text, at)):
            at = value.end()
            if word[0] == "machine":
                found.append((_unquoted(value[0]), word.start(), at))
            elif word[0] == "macdef":
                # Up to an empty line, all is the macro's.
                at = _after(text, "\n\n", at)
            elif found:
                found[-1] = (*found[-1][:2], at)
    return found


def _after(text: str, end: str, at: int) -> int:
    """Return where *end* ends that comes next after *at*, or the end of *text*."""
    found = text.find(end, at)
    return len(text) if found < 0 else found + len(end)


def _unquoted(word: str) -> str:
    return re.sub(r"\\(.)", r"\1", word.removeprefix('"').removesuffix('"'))


def _read(text: str) -> _Read:
    """Return what Python reads in *text*: the credentials by host, and macros.

    Raises:
        Misconfigured: it cannot read it, and so pip cannot.
    """
    # It reads files only, by their names.
    with TemporaryDirectory() as directory:
        path = Path(directory, "netrc")
        write_private(path, text)
        try:
            found = netrc(str(path))
        except NetrcParseError as error:
            # Its message repeats a word, which may be a part of a password.
            raise Misconfigured(
                f"Python, and so pip, cannot read it: look at line {error.lineno} or before.",
                hint="A comment must not follow an empty line, and `#` stands before a blank.",
            ) from error
    return dict(found.hosts), dict(found.macros)
