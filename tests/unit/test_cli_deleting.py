"""What the command line says before a repository goes, and of one that nobody would reach."""
# ruff: noqa: E501 - what is printed is shown as it is printed

from __future__ import annotations

import pytest
from inline_snapshot import snapshot

from support.cli_registry import Registry, Said, Terminal

PYTHON = "projects/my-project/locations/local/repositories/python"


def test_deleting_says_what_goes_and_takes_an_empty_line_for_yes(
    registry: Registry, bonded: Terminal
) -> None:
    registry.add_repository(sizeBytes="2621440")
    registry.add_repository("two")
    registry.resources[f"{PYTHON}/packages/acme-core"] = {"name": "acme-core"}
    bonded.answer("maybe\nn\n")
    assert bonded("artifacts", "repositories", "delete", "python") == snapshot(
        Said(
            out="",
            err="""\
You are about to delete repository [python]. With it goes what was published to it: 1 package, 0 files, 2.500 MB.

Do you want to continue (Y/n)?  Please enter 'y' or 'n':  \n\
ERROR: (bonded.artifacts.repositories.delete) Aborted by user.
""",
            status=1,
        )
    )
    bonded.answer("\n")
    assert bonded("artifacts", "repositories", "delete", "python") == snapshot(
        Said(
            out="",
            err="""\
You are about to delete repository [python]. With it goes what was published to it: 1 package, 0 files, 2.500 MB.

Do you want to continue (Y/n)?  \n\
Delete request issued for: [python]
Waiting for operation [projects/my-project/locations/local/operations/op-1] to complete...done.
Deleted repository [python].
""",
        )
    )
    assert bonded(
        "artifacts",
        "repositories",
        "delete",
        "two",
        "--quiet",
        "--async",
        "--format=value(done)",
    ) == snapshot(
        Said(
            out="True\n",
            err="""\
Delete request issued for: [two]
Operation [projects/my-project/locations/local/operations/op-1] is done.
""",
        )
    )


@pytest.mark.parametrize(
    ("mode", "lost"),
    [
        (
            "VIRTUAL_REPOSITORY",
            "It holds no packages itself: those of its upstreams stay.",
        ),
        (
            "REMOTE_REPOSITORY",
            "With it goes what it has cached: more than 1 package, 0 files, 0.000 MB.",
        ),
    ],
)
def test_at_the_end_of_the_input_nothing_is_deleted(
    registry: Registry, bonded: Terminal, mode: str, lost: str
) -> None:
    registry.add_repository(mode=mode)
    for name in ("acme-core", "acme-web"):
        registry.resources[f"{PYTHON}/packages/{name}"] = {"name": name}
    for typed in ("", "maybe"):
        bonded.answer(typed)
        said = bonded("artifacts", "repositories", "delete", "python")
        assert said.status == 1
        assert said.err.startswith(f"You are about to delete repository [python]. {lost}\n")
        assert said.err.endswith(
            "ERROR: (bonded.artifacts.repositories.delete) This prompt could not be answered: the "
            "input is at its end.\nRe-run the command with the --quiet flag to accept the default "
            "answers for all prompts.\n"
        )
    assert PYTHON in registry.resources


@pytest.mark.parametrize(
    ("host", "warning"),
    [
        ("127.0.0.1:8080", ""),
        ("eu-python.registry.invalid", "which is no name that is known here. Have your DNS lead"),
        ("eu-python.127.0.0.1:8080", "which cannot be: there are no names below an address."),
        ("eu-python.[::1]:8080", "which cannot be: there are no names below an address."),
    ],
)
def test_a_location_whose_host_does_not_exist_is_warned_of(
    registry: Registry, bonded: Terminal, host: str, warning: str
) -> None:
    registry.add_repository("one", "eu", registryUri=f"{host}/my-project/one")

    said = bonded("artifacts", "repositories", "describe", "one", "--location=eu")
    printed = bonded(
        *("artifacts", "print-settings", "python", "--tool=pip"),
        *("--repository=one", "--location=eu"),
    )

    assert warning in said.err
    assert warning in printed.err
    assert ("WARNING" in said.err) == bool(warning)
