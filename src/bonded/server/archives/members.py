"""What the names of an archive's members may be, and how they spell a name and a version."""

from __future__ import annotations

import re

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from bonded.server.core.errors import Rejected
from bonded.server.core.files import VERSION_LENGTH_MAX, Filename
from bonded.server.core.names import PACKAGE_NAME_LENGTH_MAX

NAME_SHOWN_MAX = 120
_STEM_LENGTH_MAX = PACKAGE_NAME_LENGTH_MAX + len("-") + VERSION_LENGTH_MAX

# Path components that do not climb, stay or vanish, at most one slash behind them, and no Windows
# drive or separator and no control character anywhere: each of these makes some extractor write
# outside the directory it was given, or take two names for one.
_SAFE = re.compile(
    r"(?![A-Za-z]:)(?:(?!\.{1,2}(?:/|\Z))[^/\\\x00-\x1f\x7f]++(?:/|\Z))+",
)


def shown(name: str) -> str:
    """Return *name* quoted for a message: short, and escaped so that it prints anywhere."""
    return ascii(name if len(name) <= NAME_SHOWN_MAX else f"{name[:NAME_SHOWN_MAX]}...")


def is_safe(name: str) -> bool:
    """Say whether *name* stays below the directory it is joined to, on every system."""
    return _SAFE.fullmatch(name) is not None


def path_of(archive: str, name: str) -> str:
    """Return the path that a member called *name* is unpacked to: without the slash at the end.

    Raises:
        Rejected: empty, absolute or climbing, a roundabout spelling of another path, or with a
            backslash, a drive or a control character.
    """
    if not is_safe(name):
        raise Rejected(f"{archive} has a member with an unsafe name: {shown(name)}")
    return name.removesuffix("/")


def plain(name: str) -> str:
    """Return *name* without the components that lead nowhere: `./a//b` is `a/b`."""
    root = "/" if name.startswith("/") else ""
    return root + "/".join(part for part in name.split("/") if part not in ("", "."))


def spells(text: str, filename: Filename) -> bool:
    """Say whether *text* is `name-version` with the filename's name and version, in any spelling.

    Real archives spell `zope.interface-5.0` and `zope_interface-5.0`, `1.0-rc1` and `1.0rc1`
    (PEP 503, PEP 440), so every hyphen is tried as the one between the two.
    """
    return len(text) <= _STEM_LENGTH_MAX and any(
        canonicalize_name(text[: hyphen.start()]) == filename.name.normalized
        and _same_version(text[hyphen.end() :], filename.version)
        for hyphen in re.finditer("-", text)
    )


def _same_version(text: str, version: Version) -> bool:
    try:
        return Version(text) == version
    except InvalidVersion:
        return False
