"""What the documentation says of the tree must be true of the tree."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click

from bonded.cli.program import program

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\]\(([^)\s]+)\)")
ABSOLUTE = re.compile(r"[a-z][a-z+.-]*:")


def anchors(page: Path) -> set[str]:
    """Return what a link may name after `#`: each heading, as forges spell it."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


def leads_somewhere(page: Path, link: str) -> bool:
    name, _, anchor = link.partition("#")
    target = (page.parent / name).resolve() if name else page
    return target.exists() and (not anchor or anchor in anchors(target))


def test_every_relative_link_leads_to_a_file_and_to_a_heading_of_it() -> None:
    links = [
        (page, link)
        for page in PAGES
        for link in LINK.findall(page.read_text())
        if not ABSOLUTE.match(link)
    ]

    broken = [f"{p.relative_to(ROOT)}: {link}" for p, link in links if not leads_somewhere(p, link)]

    assert links
    assert broken == []


def test_the_reference_is_what_the_code_says() -> None:
    # In a process of its own: tools/ is no package and not on this one's path.
    script = "import json, reference; print(json.dumps(reference.pages()))"
    command = [sys.executable, "-c", script]
    printed = subprocess.run(command, cwd=ROOT / "tools", check=True, capture_output=True).stdout
    written = {name: (ROOT / "docs/reference" / name).read_text() for name in json.loads(printed)}

    assert written == json.loads(printed)


def commands(page: Path) -> list[list[str]]:
    """Return the words of each line of `bonded` that a page has people type, as a shell has them.

    Brackets are around what may be left out, and a bar between alternatives, of which the first
    stands for all.
    """
    text = page.read_text().replace("\\\n", " ")
    lines = re.findall(r"^ *(?:\$ )?(bonded [a-z].*)$", text, re.MULTILINE)
    found = []
    for line in lines:
        words = shlex.split(re.sub(r"\[(-[^\]]*)\]", r"\1", line), comments=True)
        ends = [index for index, word in enumerate(words) if word in {"|", ">", "&&", ";"}]
        found.append([word.split("|")[0] for word in words[1 : ends[0] if ends else None]])
    return found


def fault(words: list[str]) -> str:
    """Return what is wrong with a line, or nothing: a command, or a flag, that does not exist."""
    command: click.Command = program
    context = click.Context(command)
    while words and isinstance(command, click.Group):
        found = command.get_command(context, words[0])
        if found is None:
            return f"no command {words[0]}"
        command, words = found, words[1:]
    known = {name for one in command.params for name in (*one.opts, *one.secondary_opts)}
    given = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
    return " ".join(sorted(given - known - {"--help", "-h"}))


def test_every_command_that_a_page_has_people_type_exists_with_its_flags() -> None:
    typed = [(page, words) for page in PAGES for words in commands(page)]

    faults = [
        f"{page.relative_to(ROOT)}: bonded {' '.join(words)}: {why}"
        for page, words in typed
        if (why := fault(words))
    ]

    assert len(typed) > 50
    assert faults == []
