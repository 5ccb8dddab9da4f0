"""Edits of other tools' configuration files: what we set changes, all else stays as it stands.

Each function takes a file's text and returns the text that it should have, so that doing it twice
changes nothing. A text is edited as text, for the sake of its comments; then it is read as its
tool reads it, and refused unless that is what it was before, with ours set.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from configparser import ConfigParser, Error
from dataclasses import dataclass
from io import StringIO
from textwrap import indent
from typing import Any

from bonded.client.errors import Misconfigured

_HEADER = re.compile(r"\[(?P<name>.+)\]")
_BLOCK = re.compile(r"^\[\[index\]\][^\n]*\n(?:(?!\[)[^\n]*(?:\n|\Z))*", re.MULTILINE)
_GAP = re.compile(r"^(?:[ \t]*(?:#[^\n]*)?\n)*\Z", re.MULTILINE)
_KEYRING = re.compile(r"^[ \t]*keyring-provider[ \t]*=[^\n]*\n?", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class _Line:
    """What begins at a line of an INI file: a section if it has no *key*, else an option."""

    section: str
    key: str
    first: int
    after: int
    depth: int


def set_option(text: str, section: str, key: str, value: str) -> str:
    """Return the INI file *text* with an option set, its comments and order kept.

    Raises:
        Misconfigured: it is no INI file, or written in a way that only a person can change.
    """
    space = "" if value.startswith("\n") else " "
    written = f"{key} ={space}{value}\n"
    before = _options(text)
    others = {
        name: old
        for name, old in before.get(section, before["DEFAULT"]).items()
        if _plain(name) != _plain(key)
    }
    ours = _options(f"[{section}]\n{written}")[section]
    expected = {**before, section: others | ours}
    if before == expected:
        return text
    changed = _with_option(text, section, key, written)
    if _options(changed) != expected:
        raise _unsafe("options")
    return changed


def read_option(text: str, section: str, key: str, absent: str = "") -> str:
    """Return an option of the INI file *text*, or what counts if it is *absent*.

    Raises:
        Misconfigured: it is no INI file.
    """
    options = _options(text).get(section, {})
    return {_plain(name): value for name, value in options.items()}.get(_plain(key), absent)


def add_word(text: str, section: str, key: str, word: str, *, absent: str = "") -> str:
    """Return the INI file *text* with *word* among those of an option, after the others.

    *absent* holds the words that count where the option is not set, and would not any more.

    Raises:
        Misconfigured: as for `set_option`.
    """
    words = read_option(text, section, key, absent).split()
    if word in words:
        return text
    listed = "".join(f"\n    {each}" for each in [*words, word])
    return set_option(text, section, key, listed if words else word)


def find_pypirc_rivals(text: str, name: str) -> tuple[str, ...]:
    """Return what in the .pypirc *text* twine uses before keyring for *name*, in sentences."""
    options = _options(text)
    return tuple(
        f"[{section}] password stays, and twine takes it in place of a token. Remove it."
        for section in (name, "server-login")
        if "password" in options.get(section, {})
    )


def find_pip_rivals(text: str) -> tuple[str, ...]:
    """Return what in the pip.conf *text* has packages come from elsewhere, a sentence for each."""
    said = []
    for section, options in _options(text).items():
        for key in sorted({_plain(name) for name, value in options.items() if value.strip()}):
            if key == "extra-index-url" and section != "DEFAULT":
                said.append(
                    f"[{section}] extra-index-url stays. pip takes the greatest version that any "
                    "of its indexes has, so a public package can take the place of yours. Remove "
                    "it, and have a virtual repository read that index."
                )
            if key == "index-url" and section not in {"DEFAULT", "global"}:
                said.append(f"[{section}] index-url stays, and counts instead of [global]'s there.")
    return tuple(said)


def set_uv_index(text: str, index: dict[str, Any]) -> str:
    """Return the uv.toml *text* with keyring switched on and *index* in it, known by its name.

    Raises:
        Misconfigured: it is not TOML, has another default index, or is written in a way that only
            a person can change.
    """
    before = _parse_toml(text)
    indexes = _indexes(before)
    others = [each for each in indexes if each.get("name") != index["name"]]
    if rival := next((each for each in others if each.get("default")), None):
        raise Misconfigured(
            f"Another index is the default one: {rival.get('name') or 'one without a name'}.",
            hint="Remove it, or its `default = true`: packages must come from one place.",
        )
    kept = [index if each.get("name") == index["name"] else each for each in indexes]
    if index not in kept:
        kept.append(index)
    expected = {**before, "keyring-provider": "subprocess", "index": kept}
    if before == expected:
        return text
    if before.get("keyring-provider") != "subprocess":
        # What stands in a table is another option of that name.
        table = re.search(r"^[ \t]*\[", text, re.MULTILINE)
        head = text[: table.start()] if table else text
        head = 'keyring-provider = "subprocess"\n' + _KEYRING.sub("", head)
        text = head + (text[table.start() :] if table else "")
    if index not in indexes:
        block = "[[index]]\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in index.items())
        text = _replace_block(text, index["name"], block)
    if _parse_toml(text) != expected:
        raise _unsafe("indexes")
    return text


def find_uv_rivals(text: str, name: str) -> tuple[str, ...]:
    """Return what in the uv.toml *text* uv asks before the index called *name*, in sentences."""
    parsed = _parse_toml(text)
    pip = parsed.get("pip", {})
    found = [
        f"The index {each.get('name') or 'without a name'}"
        for each in _indexes(parsed)
        if each.get("name") != name and not each.get("explicit")
    ]
    found += ["extra-index-url"] if parsed.get("extra-index-url") else []
    found += ["[pip] extra-index-url"] if pip.get("extra-index-url") else []
    said = [
        f"{rival} stays. uv asks it first, so a package there takes the place of yours. Remove it, "
        "and have a virtual repository read that index; or make it an [[index]] with "
        "`explicit = true`, for the packages that name it."
        for rival in found
    ]
    if pip.get("keyring-provider", "subprocess") != "subprocess":
        said.append("[pip] keyring-provider stays, so `uv pip` gets no token from keyring.")
    return tuple(said)


def _with_option(text: str, section: str, key: str, written: str) -> str:
    """Return *text* with what is *written* in place of the option *key*, or after the others."""
    lines = list(StringIO(text))
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    own = [line for line in _layout(lines) if line.section == section]
    if not own:
        gap = ["\n"] if lines and lines[-1].strip() else []
        return "".join([*lines, *gap, f"[{section}]\n", written])
    options = own[1:]
    same = [line for line in options if _plain(line.key) == _plain(key)]
    # As deep as its neighbours: what is deeper would go on with the option before it.
    beside = (same or options or own)[0]
    written = indent(written, lines[beside.first][: beside.depth])
    for line in reversed(same[1:]):
        del lines[line.first : line.after]
    if same:
        lines[beside.first : beside.after] = [written]
    else:
        lines.insert(own[-1].after, written)
    return "".join(lines)


def _layout(lines: list[str]) -> list[_Line]:
    """Return where sections and options of an INI file begin and end, as configparser has it."""
    found: list[_Line] = []
    for number, line in enumerate(lines):
        bare = line.strip()
        if not bare or bare.startswith(("#", ";")):
            continue
        depth = len(line) - len(line.lstrip())
        last = found[-1] if found else None
        if last and last.key and depth > last.depth:
            found[-1] = _Line(last.section, last.key, last.first, number + 1, last.depth)
        elif header := _HEADER.match(bare):
            found.append(_Line(header["name"], "", number, number + 1, depth))
        elif last:
            key = re.split("[=:]", bare, maxsplit=1)[0].strip()
            found.append(_Line(last.section, key, number, number + 1, depth))
    return found


def _replace_block(text: str, name: str, block: str) -> str:
    """Return *text* with *block* in place of the index of that name, or at the end."""
    for match in _BLOCK.finditer(text):
        if _parse_toml(match[0])["index"][0].get("name") == name:
            # Comments and gaps at its end are about what follows.
            gap = _GAP.search(match[0])
            end = match.start() + (gap.start() if gap else len(match[0]))
            return text[: match.start()] + block + text[end:]
    return text.rstrip("\n") + f"\n\n{block}"


def _plain(name: str) -> str:
    """Return the name of an option as pip understands it: `--Index_URL` is `index-url`."""
    return name.lower().replace("_", "-").removeprefix("--")


def _options(text: str) -> dict[str, dict[str, str]]:
    """Return the options of an INI file, by section; each has those of DEFAULT too."""
    parser = ConfigParser(interpolation=None)
    try:
        parser.read_string(text)
    except Error as error:
        raise Misconfigured(f"It is no INI file: {_reason(error)}") from error
    return {section: dict(options) for section, options in parser.items()}


def _indexes(parsed: Mapping[str, Any]) -> list[dict[str, Any]]:
    indexes = parsed.get("index", [])
    if not isinstance(indexes, list) or not all(isinstance(each, dict) for each in indexes):
        raise _unsafe("indexes")
    return indexes


def _parse_toml(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Misconfigured(f"It is not TOML: {error}.") from error


def _reason(error: Error) -> str:
    """Return what is wrong with an INI file, without its lines: they may hold secrets."""
    where = "".join(f", line {number}" for number, _ in getattr(error, "errors", [])[:1])
    return error.message.splitlines()[0].replace("'<string>'", "it") + where


def _unsafe(what: str) -> Misconfigured:
    return Misconfigured(f"The {what} in it are written in a way that is not changed safely.")
