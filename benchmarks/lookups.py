"""What a cached look-up costs the `keyring` command, beyond what keyring itself costs.

The same command asks a backend that knows nothing, and Bonded's with a token at hand; no server is
needed, because a cached token asks nobody.

    .venv/bin/python benchmarks/lookups.py
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bonded.client.accounts import AccountStore, SignIn
from bonded.client.tokens import AccessToken, keep_token

ROUNDS = 15
GOAL_MS = 150.0
SERVER = "https://packages.example.com"
BACKENDS = {
    "keyring itself": "keyring.backends.null.Keyring",
    "with Bonded's backend": "bonded.client.keyring_backend.BondedKeyring",
}


def look_up(backend: str, config: Path) -> float:
    """Run one look-up in a process of its own; return its milliseconds."""
    environment = {
        "PATH": os.defpath,
        "HOME": str(config),
        "BONDED_CONFIG": str(config),
        "PYTHON_KEYRING_BACKEND": backend,
    }
    command = [sys.executable, "-m", "keyring", "get", f"{SERVER}/p/r/simple/", "oauth2accesstoken"]
    start = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    elapsed_ms = 1000 * (time.perf_counter() - start)
    # keyring's own exit status for a password that nobody has is 1.
    if done.stdout.strip() != (b"cached" if "bonded" in backend else b""):
        raise RuntimeError(done.stderr.decode())
    return elapsed_ms


def main() -> int:
    """Print both medians and the difference; the exit status says whether the goal is met."""
    with tempfile.TemporaryDirectory() as directory:
        config = Path(directory)
        sign_in = SignIn("ada@example.com", SERVER, "unused")
        AccountStore(config).add(sign_in)
        keep_token(config, sign_in.account, AccessToken("cached", time.time() + 3600))
        taken: dict[str, list[float]] = {name: [] for name in BACKENDS}
        for _ in range(ROUNDS):
            for name, backend in BACKENDS.items():
                taken[name].append(look_up(backend, config))
    for name, all_ms in taken.items():
        spread = f"{min(all_ms):.0f} to {max(all_ms):.0f}"
        print(f"{name:24}{statistics.median(all_ms):8.0f} ms   ({spread})")
    without, with_ours = (statistics.median(each) for each in taken.values())
    print(f"{'the difference':24}{with_ours - without:8.0f} ms   (goal: under {GOAL_MS:.0f})")
    return 0 if with_ours - without < GOAL_MS else 1


if __name__ == "__main__":
    sys.exit(main())
