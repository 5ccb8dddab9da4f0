"""What `./serve` and `./check` do before anything is installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
# As Debian's python3 is without python3-venv.
PREPARE = """
import sys
sys.modules["ensurepip"] = None
sys.path.insert(0, "tools")
import environment
environment.prepare("server")
"""


def test_a_python_without_ensurepip_is_told_what_to_install(tmp_path: Path) -> None:
    for part in ("tools", "requirements"):
        shutil.copytree(ROOT / part, tmp_path / part)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)

    ran = subprocess.run(
        [sys.executable, "-c", PREPARE],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ran.returncode == 1
    package = f"python3.{sys.version_info.minor}-venv"
    assert ran.stderr == (
        "Preparing .venv needs Python's ensurepip, which is not installed here. On Debian and "
        f"Ubuntu: sudo apt install {package}\n"
    )
    assert not (tmp_path / ".venv").exists()
