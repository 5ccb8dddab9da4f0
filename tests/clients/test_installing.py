"""What installers do beside installing: resolve by date, read parts of files, go on after a cut."""

from __future__ import annotations

import pytest
from pypi_simple import ACCEPT_HTML_ONLY, ACCEPT_JSON_ONLY

from clients.cutting import cutting_line
from clients.shelves import Shelf
from support.tools import Desk
from support.wheels import Distribution, make_sdist, make_wheel

pytestmark = pytest.mark.clients

LONG_AGO = "2020-01-01"
FAR_AHEAD = "2100-01-01"


def _publish(desk: Desk, shelf: Shelf, *files: Distribution) -> None:
    directory = desk.home / "files"
    directory.mkdir()
    paths = [each.write_to(directory) for each in files]
    desk.uv("publish", "--publish-url", shelf.upload_url, *paths, UV_PUBLISH_TOKEN=shelf.token)


def test_pip_sees_only_what_was_uploaded_prior_to_a_date(desk: Desk, shelf: Shelf) -> None:
    _publish(desk, shelf, make_wheel("demo", "1.0"))
    python = desk.make_environment("empty")
    command = ("download", "--index-url", shelf.index_url, "demo", "--uploaded-prior-to")

    early = desk.pip(python, *command, LONG_AGO, fails=True)
    desk.pip(python, *command, FAR_AHEAD)

    assert "No matching distribution found for demo" in early.flat
    assert (desk.home / "demo-1.0-py3-none-any.whl").exists()


def test_uv_excludes_what_is_newer_than_a_date(desk: Desk, shelf: Shelf) -> None:
    _publish(desk, shelf, make_wheel("demo", "1.0"))
    (desk.home / "roots.in").write_text("demo\n")
    command = ("pip", "compile", "roots.in", "--default-index", shelf.index_url, "--exclude-newer")

    early = desk.uv(*command, LONG_AGO, fails=True)
    late = desk.uv(*command, FAR_AHEAD)

    assert "there are no versions of demo" in early.flat
    assert "missing an upload date" not in early.flat
    assert "demo==1.0" in late.output


def test_pip_resolves_from_metadata_and_downloads_only_what_it_installs(
    desk: Desk, shelf: Shelf
) -> None:
    _publish(
        desk,
        shelf,
        make_wheel("app", "2.0", requires_dist=["base<1"], payload_bytes=3_000_000),
        make_wheel("app", "1.0", requires_dist=["base"]),
        make_wheel("base", "1.0"),
    )
    python = desk.make_environment("empty")

    with cutting_line(shelf.server.port, cut_after_bytes=1 << 40) as line:
        url = shelf.index_url.replace(f":{shelf.server.port}/", f":{line.port}/")
        desk.pip(python, "install", "--index-url", url, "app")

    asked = [piece.split()[1].decode().rpartition("/")[2] for piece in line.requests]
    assert "app-2.0-py3-none-any.whl.metadata" in asked
    assert "app-2.0-py3-none-any.whl" not in asked
    assert "app-1.0-py3-none-any.whl" in asked


def test_pip_installs_with_fast_deps(desk: Desk, shelf: Shelf) -> None:
    _publish(
        desk,
        shelf,
        make_wheel("app", "1.0", requires_dist=["base"], payload_bytes=300_000),
        make_wheel("base", "1.0"),
    )
    python = desk.make_environment("empty")

    desk.pip(python, "install", "--use-feature=fast-deps", "--index-url", shelf.index_url, "app")

    assert desk.run(python, "-c", "import app, base; print(app.__version__)").output == "1.0\n"


def test_pip_resumes_a_download_that_was_cut(desk: Desk, shelf: Shelf) -> None:
    _publish(desk, shelf, make_wheel("demo", "1.0", payload_bytes=3_000_000))
    python = desk.make_environment("empty")

    with cutting_line(shelf.server.port, cut_after_bytes=1_000_000) as line:
        url = shelf.index_url.replace(f":{shelf.server.port}/", f":{line.port}/")
        desk.pip(python, "install", "--index-url", url, "demo")

    assert line.cuts == 1
    resumed = [piece.lower() for piece in line.requests if b"\r\nrange: bytes=" in piece.lower()]
    assert len(resumed) == 1
    assert b"\r\nif-range: " in resumed[0]
    assert desk.run(python, "-c", "import demo; print(demo.__version__)").output == "1.0\n"


def test_a_strict_reader_finds_the_same_in_json_and_html(desk: Desk, shelf: Shelf) -> None:
    wheel = make_wheel("demo", "1.0", requires_python=">=3.9")
    _publish(desk, shelf, wheel, make_sdist("demo", "1.0"))

    with shelf.open_index(ACCEPT_JSON_ONLY) as index:
        by_json = index.get_project_page("demo").packages
        metadata = index.get_package_metadata_bytes(by_json[0])
        index.download_package(by_json[0], desk.home / "copy.whl")
    with shelf.open_index(ACCEPT_HTML_ONLY) as index:
        by_html = index.get_project_page("demo").packages

    assert metadata == wheel.core_metadata
    assert (desk.home / "copy.whl").read_bytes() == wheel.data
    shared = ("filename", "url", "digests", "requires_python", "is_yanked", "metadata_digests")
    assert [[getattr(file, name) for name in shared] for file in by_json] == [
        [getattr(file, name) for name in shared] for file in by_html
    ]
    assert [file.size for file in by_json] == [len(wheel.data), len(make_sdist("demo", "1.0").data)]
    assert all(file.upload_time for file in by_json)
