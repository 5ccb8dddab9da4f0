"""Print-settings, for every tool."""
# ruff: noqa: E501 - what is printed is shown as it is printed

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from inline_snapshot import snapshot

from bonded.client.snippets import TOOLS, Target
from support.cli_registry import Registry, Said, Terminal


def test_settings_of_pip(registry: Registry, bonded: Terminal) -> None:
    registry.add_repository("my-repo")
    said = bonded("artifacts", "print-settings", "python", "--repository=my-repo", "--tool=pip")
    assert said.err == ""
    assert said.out == snapshot("""\
# Insert the following snippet into your pip.conf
# Credentials: bonded auth configure-netrc --project=my-project --location=local --repository=my-repo

[global]
index-url = http://127.0.0.1:PORT/my-project/my-repo/simple/
""")


def test_settings_of_uv(registry: Registry, bonded: Terminal) -> None:
    registry.add_repository("my-repo")
    said = bonded("artifacts", "print-settings", "python", "--repository=my-repo", "--tool=uv")
    assert said.err == ""
    assert said.out == snapshot("""\
# Insert the following snippet into your pyproject.toml
# Credentials: export UV_INDEX_MY_REPO_USERNAME=oauth2accesstoken UV_INDEX_MY_REPO_PASSWORD="$(bonded auth print-access-token)"
# Publish: uv publish --index my-repo

[[tool.uv.index]]
name = "my-repo"
url = "http://127.0.0.1:PORT/my-project/my-repo/simple/"
publish-url = "http://127.0.0.1:PORT/my-project/my-repo/"
default = true
authenticate = "always"
""")


def test_settings_of_poetry(registry: Registry, bonded: Terminal) -> None:
    registry.add_repository("my-repo")
    said = bonded("artifacts", "print-settings", "python", "--repository=my-repo", "--tool=poetry")
    assert said.err == ""
    assert said.out == snapshot("""\
# Insert the following snippet into your pyproject.toml
# Credentials: export POETRY_HTTP_BASIC_MY_REPO_USERNAME=oauth2accesstoken POETRY_HTTP_BASIC_MY_REPO_PASSWORD="$(bonded auth print-access-token)"
# Publish: POETRY_REPOSITORIES_MY_REPO_URL=http://127.0.0.1:PORT/my-project/my-repo/ poetry publish -r my-repo

[[tool.poetry.source]]
name = "my-repo"
url = "http://127.0.0.1:PORT/my-project/my-repo/simple/"
priority = "primary"
""")


def test_settings_of_pdm(registry: Registry, bonded: Terminal) -> None:
    registry.add_repository("my-repo")
    said = bonded("artifacts", "print-settings", "python", "--repository=my-repo", "--tool=pdm")
    assert said.err == ""
    assert said.out == snapshot("""\
# Insert the following snippet into your pyproject.toml
# Credentials: export PDM_PYPI_USERNAME=oauth2accesstoken PDM_PYPI_PASSWORD="$(bonded auth print-access-token)"
# Publish: export PDM_PUBLISH_USERNAME=oauth2accesstoken PDM_PUBLISH_PASSWORD="$(bonded auth print-access-token)"; pdm publish -r http://127.0.0.1:PORT/my-project/my-repo/

[[tool.pdm.source]]
name = "pypi"
url = "http://127.0.0.1:PORT/my-project/my-repo/simple/"
""")


def test_settings_of_twine(registry: Registry, bonded: Terminal) -> None:
    registry.add_repository("my-repo")
    said = bonded("artifacts", "print-settings", "python", "--repository=my-repo", "--tool=twine")
    assert said.err == ""
    assert said.out == snapshot("""\
# Insert the following snippet into your .pypirc
# Credentials: export TWINE_USERNAME=oauth2accesstoken TWINE_PASSWORD="$(bonded auth print-access-token)"

[distutils]
index-servers =
    my-repo

[my-repo]
repository: http://127.0.0.1:PORT/my-project/my-repo/
""")


def test_without_a_tool_the_layout_is_that_of_gcloud(registry: Registry, bonded: Terminal) -> None:
    registry.add_repository()
    said = bonded("artifacts", "print-settings", "pypi", "--repository=python")
    assert said.out == snapshot("""\
# Insert the following snippet into your .pypirc
# Credentials: export TWINE_USERNAME=oauth2accesstoken TWINE_PASSWORD="$(bonded auth print-access-token)"

[distutils]
index-servers =
    python

[python]
repository: http://127.0.0.1:PORT/my-project/python/

# Insert the following snippet into your pip.conf
# Credentials: bonded auth configure-netrc --project=my-project --location=local --repository=python

[global]
index-url = http://127.0.0.1:PORT/my-project/python/simple/

""")


def test_a_key_shows_nowhere_but_in_pypirc(registry: Registry, bonded: Terminal) -> None:
    registry.add_repository()
    password = base64.b64encode(bonded.key_file.read_bytes()).decode()
    for tool in ("pip", "uv", "poetry", "pdm"):
        said = bonded(
            "artifacts",
            "print-settings",
            "python",
            "--repository=python",
            f"--json-key={bonded.key_file}",
            f"--tool={tool}",
        )
        assert said.status == 0
        assert password[:20] not in said.out
        assert ("--json-key=DIR/key.json" if tool == "pip" else "_json_key_base64") in said.out
    said = bonded(
        "artifacts",
        "print-settings",
        "python",
        "--repository=python",
        f"--json-key={bonded.key_file}",
    )
    assert said.out.replace(password, "SECRET") == snapshot("""\
# Insert the following snippet into your .pypirc
# Credentials: this file holds a private key, so keep it at mode 0600.

[distutils]
index-servers =
    python

[python]
repository: http://127.0.0.1:PORT/my-project/python/
username: _json_key_base64
password: SECRET

# Insert the following snippet into your pip.conf
# Credentials: bonded auth configure-netrc --project=my-project --location=local --repository=python --json-key=DIR/key.json

[global]
index-url = http://127.0.0.1:PORT/my-project/python/simple/

""")


def test_a_key_alone_is_enough(registry: Registry, bonded: Terminal) -> None:
    registry.add_repository()
    bonded("auth", "revoke")
    said = bonded(
        "artifacts",
        "print-settings",
        "python",
        "--repository=python",
        f"--json-key={bonded.key_file}",
        "--tool=uv",
    )
    assert said.out == snapshot("""\
# Insert the following snippet into your pyproject.toml
# Credentials: export UV_INDEX_PYTHON_USERNAME=_json_key_base64 UV_INDEX_PYTHON_PASSWORD="$(base64 < DIR/key.json | tr -d '\\n')"
# Publish: uv publish --index python

[[tool.uv.index]]
name = "python"
url = "http://127.0.0.1:PORT/my-project/python/simple/"
publish-url = "http://127.0.0.1:PORT/my-project/python/"
default = true
authenticate = "always"
""")


def test_an_explicit_index_is_for_those_who_name_it(registry: Registry, bonded: Terminal) -> None:
    registry.add_repository()
    line = ("artifacts", "print-settings", "python", "--repository=python", "--explicit")

    of_uv, of_poetry = bonded(*line, "--tool=uv").out, bonded(*line, "--tool=poetry").out

    assert "\nexplicit = true\n" in of_uv
    assert "default" not in of_uv
    assert '\npriority = "explicit"\n' in of_poetry
    for tool in ((), ("--tool=pip",)):
        assert bonded(*line, *tool) == snapshot(
            Said(
                out="",
                err="""\
ERROR: (bonded.artifacts.print-settings.python) [--explicit] is for --tool=uv and --tool=poetry.
Other tools cannot say that an index is for some packages only.
""",
                status=1,
            )
        )


def test_a_repository_must_be_named_and_hold_packages_of_python(
    registry: Registry, bonded: Terminal
) -> None:
    registry.add_repository("images", format="DOCKER")
    assert bonded("artifacts", "print-settings", "python") == snapshot(
        Said(
            out="",
            err="""\
ERROR: (bonded.artifacts.print-settings.python) Failed to find attribute [repository]. The attribute can be set in the following ways:
- Set the argument [--repository] on the command line
- Set the property [artifacts/repository], with `bonded config set artifacts/repository VALUE`
""",
            status=1,
        )
    )
    assert bonded("artifacts", "print-settings", "python", "--repository=images") == snapshot(
        Said(
            out="",
            err="ERROR: (bonded.artifacts.print-settings.python) Invalid repository type DOCKER. Valid type is PYTHON.\n",
            status=1,
        )
    )


def test_a_location_with_a_host_of_its_own_is_printed(registry: Registry, bonded: Terminal) -> None:
    registry.add_repository(
        "python", "eu", registryUri="eu-python.example.com:8443/my-project/python"
    )
    said = bonded(
        "artifacts",
        "print-settings",
        "python",
        "--repository=python",
        "--location=eu",
        "--tool=pip",
    )
    assert "index-url = http://eu-python.example.com:8443/my-project/python/simple/\n" in said.out
    assert "trusted-host = eu-python.example.com:8443\n" in said.out


@pytest.mark.parametrize(
    ("server", "is_insecure"),
    [
        ("http://127.0.0.1:8080", False),
        ("http://[::1]:8080", False),
        ("http://localhost:8080", False),
        ("http://app.localhost", False),
        ("https://packages.example.com", False),
        ("http://packages.example.com", True),
        ("http://192.0.2.1:8080", True),
    ],
)
def test_plain_http_to_another_machine_needs_trust(server: str, is_insecure: bool) -> None:  # noqa: FBT001
    target = Target(server, "p", "local", "r")

    assert ("trusted-host = " in TOOLS["pip"](target)) is is_insecure
    assert ("verify_ssl = false" in TOOLS["pdm"](target)) is is_insecure


@pytest.mark.parametrize("tool", [None, "pip", "uv", "poetry", "pdm", "twine"])
def test_nothing_offers_to_publish_where_nothing_can_be_published(
    registry: Registry, bonded: Terminal, tool: str | None
) -> None:
    beside = "projects/my-project/locations/local/repositories"
    registry.add_repository("far", mode="REMOTE_REPOSITORY")
    registry.add_repository("own")
    for name, upstreams in (("only-far", ["far"]), ("both", ["far", "own"])):
        policies = [{"id": one, "repository": f"{beside}/{one}"} for one in upstreams]
        virtual = {"upstreamPolicies": policies}
        registry.add_repository(name, mode="VIRTUAL_REPOSITORY", virtualRepositoryConfig=virtual)
    line = ("artifacts", "print-settings", "python", *([f"--tool={tool}"] if tool else []))

    nowhere = [bonded(*line, f"--repository={name}") for name in ("far", "only-far")]
    somewhere = bonded(*line, "--repository=both")

    for said, why in zip(
        nowhere,
        ("[far] is a remote repository", "[only-far] shows no standard repository"),
        strict=True,
    ):
        offers = [
            one
            for one in ("publish-url", "poetry publish", "pdm publish", "[distutils]")
            if one in said.out
        ]
        assert offers == []
        assert said.status == (tool == "twine")
        if tool != "pip":
            assert f"{why}." in said.out + said.err
            assert (
                "ublish to a standard one, and print the settings of that." in said.out + said.err
            )
    if tool != "pip":
        assert "/my-project/own/" in somewhere.out


@pytest.mark.parametrize("tool", ["uv", "twine"])
def test_no_tool_is_configured_to_publish_where_nothing_can_be_published(
    registry: Registry, bonded: Terminal, tmp_path: Path, tool: str
) -> None:
    registry.add_repository("far", mode="REMOTE_REPOSITORY")
    path = tmp_path / "file"

    said = bonded("auth", f"configure-{tool}", "--repository=far", f"--file={path}", "--quiet")

    assert "[far] is a remote repository." in said.err
    assert path.exists() == (tool == "uv")
    assert tool == "twine" or "publish-url" not in path.read_text()
