"""The names of the commands that a wheel installs: none may lead out of the directory for them.

Only that is judged, as current installers do; the specification recommends letters, digits and
`_.-`, but wheels have had others for long. Readers of `entry_points.txt` differ in what continues
a line, so each line is taken for an entry that any of them could take for one.
"""

from __future__ import annotations

from bonded.server.archives.members import is_safe, shown
from bonded.server.core.errors import Rejected

_SCRIPTS = ("console_scripts", "gui_scripts")


def check_entry_points(member: str, data: bytes) -> None:
    """Check *data*, the contents of *member*, as far as installers write what it names.

    Raises:
        Rejected: not UTF-8, or a script without a name that stays in the directory of scripts.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Rejected(f"{member} is not UTF-8 at byte {error.start}") from error
    group = ""
    for line in (each.strip() for each in text.splitlines()):
        if line.startswith("[") and line.endswith("]"):
            group = line.strip("[]").strip()
        elif group in _SCRIPTS and line and not line.startswith("#"):
            _check_script(member, line)


def _check_script(member: str, line: str) -> None:
    left, equals, _ = line.partition("=")
    if not equals:
        raise Rejected(f"{member} has a line that is no script: {shown(line)}")
    name = left.rstrip()
    # Readers that search for `name = callable` begin behind a space or a bracket.
    if not all(is_safe(part) for part in (name, *name.replace("[", " ").split())):
        raise Rejected(f"{member} has a script with an unsafe name: {shown(name)}")
