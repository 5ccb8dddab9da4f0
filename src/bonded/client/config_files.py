"""Edits of other tools' configuration files: what we set changes, all else stays as it stands.

Each function takes a file's text and returns the text that it should have, so that doing it twice
changes nothing.
"""

from __future__ import annotations

import json
import re
import tomllib
from configparser import ConfigParser, Error
from typing import Any

from bonded.client.errors import Misconfigured

_HEADER = re.compile(r"\s*\[(?P<name>[^]]+)\]")
_BLOCK = re.compile(r"^\[\[index\]\][^\n]*\n(?:(?!\[)[^\n]*(?:\n|\Z))*", re.MULTILINE)
_ENTRY = re.compile(r"(?:\A|(?<=\s))(?:machine|default|macdef)(?=\s|\Z)")


def set_option(text: str, section: str, key: str, value: str) -> str:
    """Return the INI file *text* with an option set, its comments and order kept.

    Raises:
        Misconfigured: it is no INI file.
    """
    if _parse_ini(text).get(section, key, fallback=None) == value:
        return text
    space = "" if value.startswith("\n") else " "
    written = f"{key} ={space}{value}\n"
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    start = next((n for n, line in enumerate(lines) if _names(line, section)), None)
    if start is None:
        gap = ["\n"] if lines and lines[-1].strip() else []
        return "".join([*lines, *gap, f"[{section}]\n", written])
    end = next((n for n in range(start + 1, len(lines)) if _HEADER.match(lines[n])), len(lines))
    # pip takes `index_url` for `index-url`.
    spelled = "[-_]".join(re.escape(part) for part in key.split("-"))
    option = re.compile(rf"{spelled}\s*[=:]", re.IGNORECASE)
    found = next((n for n in range(start + 1, end) if option.match(lines[n])), None)
    if found is None:
        while end > start + 1 and not lines[end - 1].strip():
            end -= 1
        return "".join([*lines[:end], written, *lines[end:]])
    after = found + 1
    while after < end and lines[after].strip() and lines[after][0].isspace():
        after += 1
    return "".join([*lines[:found], written, *lines[after:]])


def read_option(text: str, section: str, key: str) -> str:
    """Return an option of the INI file *text*, or nothing.

    Raises:
        Misconfigured: it is no INI file.
    """
    return _parse_ini(text).get(section, key, fallback="")


def set_uv_index(text: str, index: dict[str, Any]) -> str:
    """Return the uv.toml *text* with keyring switched on and *index* in it, known by its name.

    Raises:
        Misconfigured: it is not TOML, has another default index, or is written in a way that only
            a person can change.
    """
    before = _parse_toml(text)
    others = [each for each in before.get("index", []) if each.get("name") != index["name"]]
    if rival := next((each for each in others if each.get("default")), None):
        raise Misconfigured(
            f"Another index is the default one: {rival.get('name') or rival.get('url')}.",
            hint="Remove it, or its `default = true`: packages must come from one place.",
        )
    if before.get("keyring-provider") != "subprocess":
        text = re.sub(r"(?m)^keyring-provider\s*=.*\n?", "", text)
        text = f'keyring-provider = "subprocess"\n{text}'
    if index not in before.get("index", []):
        block = "[[index]]\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in index.items())
        text = _replace_block(text, index["name"], block)
    after = _parse_toml(text)
    if index not in after["index"] or any(each not in after["index"] for each in others):
        raise Misconfigured("The indexes in it are written in a way that is not changed safely.")
    return text


def set_netrc(text: str, host: str, user: str, password: str) -> str:
    """Return the netrc *text* with the credential of *host*, before any default entry."""
    entry = f"machine {host} login {user} password {password}\n"
    starts = [match.start() for match in _ENTRY.finditer(text)]
    for start, end in zip(starts, [*starts[1:], len(text)], strict=False):
        if text[start:end].split()[:2] == ["machine", host]:
            # What follows on a line of its own, a comment or a gap, belongs to the next entry.
            rest = re.search(r"\n[ \t]*(?=#|\n)", text[start:end])
            tail = text[start + rest.start() :] if rest else text[end:]
            return text[:start] + entry + tail.removeprefix("\n")
    return entry + text


def _replace_block(text: str, name: str, block: str) -> str:
    """Return *text* with *block* in place of the index of that name, or at the end."""
    for match in _BLOCK.finditer(text):
        if _parse_toml(match[0])["index"][0].get("name") == name:
            tail = text[match.end() :]
            return text[: match.start()] + block + ("\n" if tail else "") + tail
    return text.rstrip("\n") + f"\n\n{block}"


def _names(line: str, section: str) -> bool:
    match = _HEADER.match(line)
    return match is not None and match["name"] == section


def _parse_ini(text: str) -> ConfigParser:
    parser = ConfigParser(interpolation=None)
    try:
        parser.read_string(text)
    except Error as error:
        raise Misconfigured(f"It is no INI file: {error.message}") from error
    return parser


def _parse_toml(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Misconfigured(f"It is not TOML: {error}.") from error
