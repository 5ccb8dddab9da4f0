"""Whose a kept token is: where the proof of an identity is elsewhere, that of the one who asks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bonded.client.credential_files import digest, find_mark
from bonded.client.keyring_backend import BondedKeyring
from support.cli_registry import EMAIL, Registry, Terminal

Fields = dict[str, Any]


def workload(registry: Registry, source: Fields) -> Fields:
    """Return a configuration of an outside identity whose proof is at *source*."""
    return {
        "type": "external_account",
        "audience": "//iam.googleapis.com/the-pool/providers/builds",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": f"{registry.url}/v1/token",
        "credential_source": source,
    }


def impersonating(registry: Registry, source: Fields) -> Fields:
    """Return one that acts as a service account by that identity."""
    return {
        "type": "impersonated_service_account",
        "source_credentials": workload(registry, source),
        "service_account_impersonation_url": f"{registry.url}/v1/x:generateAccessToken",
    }


def ask(registry: Registry) -> str | None:
    """Return what a process of its own would be given."""
    return BondedKeyring().get_password(f"{registry.url}/my-project/python/simple/", None)


def test_the_token_of_one_job_is_not_given_to_the_next_with_the_same_configuration(
    registry: Registry, terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proof = tmp_path / "proof"
    (tmp_path / "adc.json").write_text(json.dumps(workload(registry, {"file": str(proof)})))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "adc.json"))
    given = []
    for job in ("a", "a", "b", "a", "b"):
        proof.write_text(f"proof of job {job}")
        given.append((job, ask(registry)))
        printed = terminal("auth", "application-default", "print-access-token").out
        given.append((job, printed.strip()))

    assert set(given) == {("a", "token-1"), ("b", "token-2")}
    assert registry.token_requests == 2


@pytest.mark.parametrize("flags", [(), (f"--impersonate-service-account={EMAIL}",)])
def test_an_account_of_the_command_line_is_whoever_proves_it_now(
    registry: Registry, terminal: Terminal, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    proof, exchanges = tmp_path / "proof", []
    (tmp_path / "config.json").write_text(json.dumps(workload(registry, {"file": str(proof)})))
    proof.write_text("proof of job a")
    assert terminal("auth", "login", f"--cred-file={tmp_path / 'config.json'}").status == 0
    for job in ("a", "a", "b", "a", "b"):
        proof.write_text(f"proof of job {job}")
        assert terminal("auth", "print-access-token", *flags).status == 0
        exchanges.append((registry.token_requests, len(registry.requests)))

    assert [tokens for tokens, _ in exchanges] == [1, 1, 2, 2, 2]
    # Once for each job, what is done with the tokens is done too.
    assert len({requests for _, requests in exchanges}) == 2


def test_a_proof_that_only_the_machine_gives_is_exchanged_once_for_each_process(
    registry: Registry, terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    form = {"type": "json", "subject_token_field_name": "username"}
    source = {"url": f"{registry.url}/v1/introspect", "format": form}
    (tmp_path / "adc.json").write_text(json.dumps(workload(registry, source)))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "adc.json"))
    processes = [BondedKeyring(), BondedKeyring()]

    given = [each.get_password(registry.url, None) for each in processes for _ in range(3)]

    assert given == ["token-1"] * 3 + ["token-2"] * 3
    assert not list(terminal.config.rglob("*.json"))


@pytest.mark.parametrize("make", [workload, impersonating])
@pytest.mark.parametrize(
    ("source", "mark"),
    [
        ({"file": "PROOF"}, digest("proof")),
        ({"file": "PROOF", "format": {"type": "text"}}, digest("proof")),
        ({"file": "PROOF.missing"}, None),
        ({"file": "PROOF\0"}, None),
        ({"file": "PROOF\ud800"}, None),
        ({"file": "PROOF", "executable": {"command": "x"}}, None),
        ({"url": "http://169.254.169.254/"}, None),
        ({"url": "http://169.254.169.254/", "headers": {"Metadata": "True"}}, None),
        ({"url": "https://ci.example/", "headers": {"Authorization": "bearer x"}}, ""),
        ({"url": "https://ci.example/", "headers": {"authorization": "bearer x"}}, ""),
        ({"executable": {"command": "x"}}, None),
        ({"environment_id": "aws1"}, None),
        ({"certificate": {"use_default_certificate_config": True}}, None),
        ({}, None),
    ],
)
def test_a_proof_is_marked_where_it_can_be_read_without_asking_anybody(
    registry: Registry,
    tmp_path: Path,
    make: Callable[[Registry, Fields], Fields],
    source: Fields,
    mark: str | None,
) -> None:
    (tmp_path / "proof").write_text("proof")
    text = json.dumps(make(registry, source)).replace("PROOF", str(tmp_path / "proof"))

    assert find_mark(json.loads(text)) == mark


@pytest.mark.parametrize(
    "kind", ["service_account", "authorized_user", "external_account_authorized_user"]
)
def test_a_file_that_holds_the_credential_needs_no_mark(kind: str) -> None:
    assert find_mark({"type": kind}) == ""
