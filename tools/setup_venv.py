"""Make .venv from the lock file: every package pinned, every hash checked. Standard library only."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = Path(os.environ.get("INHOUSE_VENV") or ROOT / ".venv")
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def run(*command: str | Path) -> None:
    """Run a command; on failure end with its exit code."""
    code = subprocess.run([str(part) for part in command], cwd=ROOT, check=False).returncode
    if code:
        raise SystemExit(code)


def ready(*, dev: bool) -> Path:
    """Make or bring up to date the environment; returns its Python. Quick when nothing changed."""
    if not ((3, 11) <= sys.version_info < (3, 14)):
        found = ".".join(map(str, sys.version_info[:2]))
        raise SystemExit(f"Inhouse needs Python 3.11, 3.12 or 3.13; this is {found}.")
    lock = ROOT / ("requirements-dev.lock" if dev else "requirements.lock")
    mark = hashlib.sha256(lock.read_bytes() + (ROOT / "pyproject.toml").read_bytes()).hexdigest()
    marker = VENV / f"inhouse-{'dev' if dev else 'run'}"
    if marker.is_file() and marker.read_text() == mark:
        return PYTHON
    if not PYTHON.exists():
        say(f"Making {VENV.name} ...")
        try:
            venv.create(VENV, with_pip=True)
        except (subprocess.CalledProcessError, OSError) as error:
            raise SystemExit(
                f"cannot make a virtual environment: {error}\n"
                "Hint: on Debian and Ubuntu: apt install python3-venv"
            ) from error
    say(f"Installing what {lock.name} pins ...")
    pip = (PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    run(*pip, "--require-hashes", "-r", lock)
    build = ROOT / "requirements-build.lock"
    run(*pip, "--require-hashes", "-r", build)
    run(*pip, "--no-deps", "--no-build-isolation", "-e", ROOT)
    marker.write_text(mark)
    return PYTHON
