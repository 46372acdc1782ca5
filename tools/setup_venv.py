"""Make .venv from the lock file: every package pinned, every hash checked. Standard library only."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

import kernels

ROOT = Path(__file__).resolve().parent.parent
VENV = Path(os.environ.get("INHOUSE_VENV") or ROOT / ".venv")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def run(*command: str | Path) -> None:
    """Run a command; on failure end with its exit code."""
    code = subprocess.run([str(part) for part in command], cwd=ROOT, check=False).returncode
    if code:
        raise SystemExit(code)


def _programs(folder: Path) -> Path:
    windows = os.name == "nt"
    return folder / ("Scripts" if windows else "bin") / ("python.exe" if windows else "python")


PYTHON = _programs(VENV)


def environment(folder: Path, lock: Path, marker: str, *, ourselves: bool) -> Path:
    """The environment in ``folder`` with what ``lock`` pins; returns its Python. Quick if nothing changed."""
    python = _programs(folder)
    mark = hashlib.sha256(lock.read_bytes() + (ROOT / "pyproject.toml").read_bytes()).hexdigest()
    made = folder / marker
    if made.is_file() and made.read_text() == mark:
        return python
    if not python.exists():
        say(f"Making {folder.name} ...")
        try:
            venv.create(folder, with_pip=True)
        except (subprocess.CalledProcessError, OSError) as error:
            raise SystemExit(
                f"cannot make a virtual environment: {error}\n"
                "Hint: on Debian and Ubuntu: apt install python3-venv"
            ) from error
    say(f"Installing what {lock.name} pins ...")
    pip = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    run(*pip, "--require-hashes", "-r", lock)
    if ourselves:
        run(*pip, "--require-hashes", "-r", ROOT / "requirements-build.lock")
        run(*pip, "--no-deps", "--no-build-isolation", "-e", ROOT)
    made.write_text(mark)
    return python


def ready(*, dev: bool) -> Path:
    """Make or bring up to date the project's own environment; returns its Python."""
    if not ((3, 11) <= sys.version_info < (3, 14)):
        found = ".".join(map(str, sys.version_info[:2]))
        raise SystemExit(f"Inhouse needs Python 3.11, 3.12 or 3.13; this is {found}.")
    lock = ROOT / ("requirements-dev.lock" if dev else "requirements.lock")
    python = environment(VENV, lock, f"inhouse-{'dev' if dev else 'run'}", ourselves=True)
    kernels.build(python, VENV)
    return python
