"""Every publishing tool publishes, publishes again, and is refused when the bytes changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from clients.publishers import PUBLISHERS, Publisher
from clients.shelves import Shelf
from support.tools import Desk

pytestmark = [
    pytest.mark.clients,
    pytest.mark.parametrize("publisher", PUBLISHERS, ids=str),
]


def test_what_a_tool_publishes_pip_installs(
    publisher: Publisher, desk: Desk, shelf: Shelf, tmp_path: Path
) -> None:
    project = publisher.prepare(desk, tmp_path / "project", "a book")
    python = desk.make_environment("empty")

    publisher.publish(desk, shelf, project)

    desk.pip(python, "install", "--index-url", shelf.index_url, "parcel-one==1.0")
    said = desk.run(python, "-c", "import parcel_one; print(parcel_one.contents)")
    assert said.output == "a book\n"
    wheel, sdist = shelf.list_files("parcel-one")
    assert wheel == "parcel_one-1.0-py3-none-any.whl"
    assert sdist == "parcel_one-1.0.tar.gz"


def test_publishing_again_succeeds_with_the_same_bytes_and_fails_with_others(
    publisher: Publisher, desk: Desk, shelf: Shelf, tmp_path: Path
) -> None:
    project = publisher.prepare(desk, tmp_path / "project", "a book")
    publisher.publish(desk, shelf, project)
    first = shelf.list_files("parcel-one")

    publisher.publish(desk, shelf, project)
    refused = publisher.publish(
        desk, shelf, publisher.prepare(desk, project, "a stone"), fails=True
    )

    assert ("File already exists" in refused.flat) == publisher.shows_reasons, refused.output
    assert shelf.list_files("parcel-one") == first
