"""Every place where tools keep credentials: variables, .pypirc, netrc, a key file."""

from __future__ import annotations

from pathlib import Path

import pytest

from clients.shelves import USER, Shelf
from support.tools import UV, Desk, tool
from support.wheels import Distribution, make_wheel

pytestmark = pytest.mark.clients


@pytest.fixture(name="wheel")
def _wheel(tmp_path: Path) -> Path:
    return make_wheel("demo", "1.0").write_to(tmp_path)


def test_twine_publishes_as_token(desk: Desk, shelf: Shelf, wheel: Path) -> None:
    desk.run(
        *(tool("twine"), "upload", "--non-interactive", wheel),
        TWINE_REPOSITORY_URL=shelf.upload_url,
        TWINE_USERNAME="__token__",
        TWINE_PASSWORD=shelf.token,
    )

    assert shelf.list_files("demo") == {wheel.name: make_wheel("demo", "1.0").sha256}


def test_twine_publishes_as_pypirc_says(desk: Desk, shelf: Shelf, wheel: Path) -> None:
    lines = (
        "[distutils]",
        "index-servers = shelf",
        "[shelf]",
        f"repository = {shelf.upload_url}",
        f"username = {USER}",
        f"password = {shelf.token}",
    )
    (desk.home / ".pypirc").write_text("\n".join(lines))

    desk.run(tool("twine"), "upload", "--non-interactive", "--repository", "shelf", wheel)

    assert list(shelf.list_files("demo")) == [wheel.name]


def test_twine_publishes_with_a_key_file(desk: Desk, shelf: Shelf, wheel: Path) -> None:
    desk.run(
        *(tool("twine"), "upload", "--non-interactive", wheel),
        TWINE_REPOSITORY_URL=shelf.upload_url,
        TWINE_USERNAME="_json_key_base64",
        TWINE_PASSWORD=shelf.key_base64,
    )

    assert list(shelf.list_files("demo")) == [wheel.name]


def test_uv_publishes_with_a_token_of_the_environment(
    desk: Desk, shelf: Shelf, wheel: Path
) -> None:
    desk.uv("publish", "--publish-url", shelf.upload_url, wheel, UV_PUBLISH_TOKEN=shelf.token)

    assert list(shelf.list_files("demo")) == [wheel.name]


def test_uv_sends_nothing_that_its_check_url_already_has(
    desk: Desk, shelf: Shelf, wheel: Path
) -> None:
    command = (UV, "publish", "--publish-url", shelf.upload_url, "--check-url", shelf.index_url)
    desk.run(*command, wheel, UV_PUBLISH_TOKEN=shelf.token)

    again = desk.run(*command, wheel, UV_PUBLISH_TOKEN=shelf.token)
    other = make_wheel("demo", "1.0", summary="Another.").write_to(wheel.parent)
    refused = desk.run(*command, other, fails=True, UV_PUBLISH_TOKEN=shelf.token)

    assert "already exists, skipping" in again.flat
    assert "Local file and index file do not match" in refused.flat


@pytest.mark.parametrize("publisher", ["twine", "uv"])
def test_a_wrong_token_publishes_nothing_and_the_tool_says_unauthorized(
    publisher: str, desk: Desk, shelf: Shelf, wheel: Path
) -> None:
    commands = {
        "twine": (tool("twine"), "upload", "--non-interactive", "--repository-url"),
        "uv": (UV, "publish", "--publish-url"),
    }
    credentials = ("--username", USER, "--password", "wrong")

    refused = desk.run(*commands[publisher], shelf.upload_url, *credentials, wheel, fails=True)

    assert "401 Unauthorized" in refused.flat
    with shelf.open_index() as index:
        assert index.get_index_page().projects == []


@pytest.mark.parametrize("installer", ["pip", "uv"])
def test_installers_find_the_token_in_netrc(
    installer: str, desk: Desk, shelf: Shelf, wheel: Path
) -> None:
    desk.uv("publish", "--publish-url", shelf.upload_url, wheel, UV_PUBLISH_TOKEN=shelf.token)
    netrc = desk.home / ".netrc"
    netrc.write_text(f"machine 127.0.0.1 login {USER} password {shelf.token}\n")
    netrc.chmod(0o600)

    _install(installer, desk, shelf.public_index_url, make_wheel("demo", "1.0"))


@pytest.mark.parametrize("installer", ["pip", "uv"])
def test_installers_take_a_key_file_in_the_url(
    installer: str, desk: Desk, shelf: Shelf, wheel: Path
) -> None:
    desk.uv("publish", "--publish-url", shelf.upload_url, wheel, UV_PUBLISH_TOKEN=shelf.token)

    url = shelf.index_url_as("_json_key_base64", shelf.key_base64)

    _install(installer, desk, url, make_wheel("demo", "1.0"))


@pytest.mark.parametrize("installer", ["pip", "uv"])
def test_without_a_credential_nothing_is_installed(
    installer: str, desk: Desk, shelf: Shelf, wheel: Path
) -> None:
    desk.uv("publish", "--publish-url", shelf.upload_url, wheel, UV_PUBLISH_TOKEN=shelf.token)
    python = desk.make_environment("empty")

    if installer == "pip":
        refused = desk.pip(
            python, "install", "--index-url", shelf.public_index_url, "demo", fails=True
        )
    else:
        command = ("pip", "install", "--python", python, "--default-index")
        refused = desk.uv(*command, shelf.public_index_url, "demo", fails=True)

    assert "401" in refused.flat or "No matching distribution" in refused.flat


def _install(installer: str, desk: Desk, index_url: str, wheel: Distribution) -> None:
    """Install the package demo into an empty environment and import it."""
    python = desk.make_environment("empty")
    requirement = f"demo==1.0 --hash=sha256:{wheel.sha256}\n"
    (desk.home / "demo.txt").write_text(requirement)
    what = ("--require-hashes", "--requirement", desk.home / "demo.txt")
    if installer == "pip":
        desk.pip(python, "install", "--index-url", index_url, *what)
    else:
        desk.uv("pip", "install", "--default-index", index_url, "--python", python, *what)
    assert desk.run(python, "-c", "import demo; print(demo.__version__)").output == "1.0\n"
