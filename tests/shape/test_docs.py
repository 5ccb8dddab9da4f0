"""What the documentation says of the tree must be true of the tree."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

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
