"""The identity of the machine, from our metadata server to our keyring, each a process."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bonded.client.accounts import AccountStore, ServiceAccountKey
from support.cli_registry import EMAIL, Registry

LOOK = (
    "import sys\n"
    "from bonded.client.keyring_backend import BondedKeyring\n"
    "for name in sys.argv[1:]:\n"
    "    print(BondedKeyring().get_password(name, None))"
)
BASE = {"PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring"}


@contextmanager
def machine(
    home: Path, registry: Registry, *flags: str, email: str = EMAIL, port: int = 0
) -> Iterator[dict[str, str]]:
    """Run `bonded metadata-server`; yield the variables that it prints for its clients."""
    settings = BASE | {"BONDED_CONFIG": str(home / "machine"), "BONDED_CORE_ACCOUNT": email}
    AccountStore(home / "machine").add(ServiceAccountKey.parse(registry.key_file(email), "key"))
    registry.projects.setdefault("my-project", {"projectNumber": "17"})
    line = [sys.executable, "-m", "bonded", "metadata-server", f"--listen=127.0.0.1:{port}"]
    with subprocess.Popen(
        [*line, *flags], env=settings, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stderr is not None
            said = ""
            while not said.endswith("\n\n") or "export" not in said:
                said += (row := process.stderr.readline())
                assert row, said
            yield dict(re.findall(r"(\w+)=(\S+)", said))
        finally:
            process.terminate()


def look_up(home: Path, variables: dict[str, str], *names: str) -> list[str]:
    """Return what a process with an empty configuration is given for each of *names*."""
    settings = BASE | {"BONDED_CONFIG": str(home / "job"), "HOME": str(home)} | variables
    done = subprocess.run(
        [sys.executable, "-c", LOOK, *names],
        env=settings,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_what_the_metadata_server_prints_shows_the_identity_to_its_registry(
    registry: Registry, tmp_path: Path
) -> None:
    with machine(tmp_path, registry) as variables:
        given = look_up(
            tmp_path, variables, registry.url, registry.url.replace("://127.", "://128.")
        )

    assert variables["BONDED_ATTACHED_IDENTITY_HOSTS"] == registry.url
    assert given == ["token-1", "None"]


def test_the_identity_that_is_for_an_https_host_does_not_go_in_clear(
    registry: Registry, tmp_path: Path
) -> None:
    """Pip and uv ask for the URL, then for the host, each time in a process of its own."""
    host = "packages.example.com"
    safe = [f"https://{host}/simple/", f"https://{host}:8443/simple/"]
    bare = [host, f"{host}:80", f"{host}:443", f"{host}:8443"]
    clear = [f"http://{netloc}/simple/" for netloc in bare]
    with machine(tmp_path, registry) as variables:
        variables |= {"BONDED_ATTACHED_IDENTITY_HOSTS": f"{host},{host}:443,{host}:8443"}
        given = look_up(tmp_path, variables, *bare, *clear, *safe)

    assert given == ["None"] * 8 + ["token-1"] * 2


def test_a_machine_that_is_somebody_else_or_less_does_not_give_the_token_of_before(
    registry: Registry, tmp_path: Path
) -> None:
    port, given = 0, []
    for flags, email in (((), EMAIL), ((), f"other-{EMAIL}"), (("--read-only",), EMAIL)):
        with machine(tmp_path, registry, *flags, email=email, port=port) as variables:
            given += look_up(tmp_path, variables, registry.url)
        port = int(variables["GCE_METADATA_HOST"].rpartition(":")[2])

    assert given == ["token-1", "token-2", "token-of-less"]


def test_a_kept_token_of_the_machine_is_given_without_what_is_slow(
    registry: Registry, tmp_path: Path
) -> None:
    with machine(tmp_path, registry) as variables:
        look_up(tmp_path, variables, registry.url)
        (kept,) = (tmp_path / "job" / "tokens").rglob("*.json")
        kept.write_text('{"access_token": "kept", "expires_at": 9e9}')

        settings = BASE | {"BONDED_CONFIG": str(tmp_path / "job")} | variables
        line = [sys.executable, "-X", "importtime", "-c", LOOK, registry.url]
        done = subprocess.run(
            line, env=settings, capture_output=True, text=True, check=True, timeout=60
        )

    modules = {row.rpartition("|")[2].strip() for row in done.stderr.splitlines()}
    assert done.stdout == "kept\n"
    assert not {"requests", "urllib3", "google", "google.auth", "click", "filelock"} & modules
