"""What people are shown of a change to a file that may hold secrets of others."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

# Options whose values say nothing that is secret.
_HARMLESS = frozenset(
    {"authenticate", "default", "explicit", "index-servers", "keyring-provider", "name"}
    | {"native-tls", "timeout", "trusted-host"}
)
# The user names of tokens and keys, which are the same for everybody.
_USERS = frozenset({"__token__", "oauth2accesstoken", "_json_key", "_json_key_base64"})
_URL = re.compile(r"(?P<scheme>\w+)://(?:(?P<user>[^\s\"',]*)@)?(?P<host>[\w.:-]*)[^\s\"',]*")


def diff(old: str, new: str, path: Path) -> str:
    """Return the difference; of what is not ours, no more than who knows the file recognises."""
    known = {line.strip() for line in old.splitlines()}
    lines = list(
        difflib.unified_diff(old.splitlines(), new.splitlines(), str(path), str(path), lineterm="")
    )
    shown = lines[:2]
    for line in lines[2:]:
        sign, body = line[:1], line[1:]
        is_ours = sign == "@" or (sign == "+" and body.strip() not in known)
        shown.append(line if is_ours else sign + _without_secrets(body))
    return "\n".join(shown)


def _without_secrets(line: str) -> str:
    """Return *line* with its value left out, but for the origins of URLs and what is harmless."""
    bare = line.strip()
    if not bare or re.fullmatch(r"\[+[^]]*\]+", bare):
        return line
    depth = line[: len(line) - len(line.lstrip())]
    match = re.fullmatch(r"([\w-]+)\s*[=:](?!//)\s*(.*)", bare)
    if match is None:
        return f"{depth}…"
    key, value = match.groups()
    if key.lower().replace("_", "-") in _HARMLESS:
        return line
    origins = ", ".join(_origin(url) for url in _URL.finditer(value))
    return f"{depth}{key} = {origins or '…'}"


def _origin(url: re.Match[str]) -> str:
    """Return where *url* points: its path may hold a token as well as its user."""
    user = f"{url['user'] if url['user'] in _USERS else '…'}@" if url["user"] else ""
    return f"{url['scheme']}://{user}{url['host']}/…"
