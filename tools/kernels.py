"""Build the kernels of native/ into an environment, where there is a C++ compiler. Standard library only.

They make models faster; nothing needs them. So what goes wrong here is said in one line and is no failure.
CMake, Ninja and the build backend are pinned in requirements-native.lock; they stay out of the environment.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NATIVE = ROOT / "native"
LOCK = ROOT / "requirements-native.lock"
STAMP = "inhouse-kernels"
LOG = "kernels.log"
COMPILERS = ("c++", "g++", "clang++")
MINUTES = 10


def build(python: Path, folder: Path) -> None:
    """Install what native/ makes into the environment ``folder`` of this ``python``, if it changed."""
    if sys.platform != "linux" or platform.machine() not in ("x86_64", "AMD64"):
        return  # there are no kernels for other machines yet; inhouse doctor says so
    mark, stamp = _mark(), folder / STAMP
    if stamp.is_file() and stamp.read_text() == mark:
        return
    compiler = os.environ.get("CXX", "").split(" ")[0] or next(filter(shutil.which, COMPILERS), "")
    if not shutil.which(compiler):
        _say("There is no C++ compiler, so models run without Inhouse's own kernels.")
        return
    _say("Compiling Inhouse's own kernels ...")
    log = folder / LOG
    with tempfile.TemporaryDirectory(prefix="inhouse-native-") as tools, log.open("w") as heard:
        failed = _steps(python, Path(tools), heard)
    if failed:
        _say(f"The kernels could not be built ({failed}; see {log}), so models run without them.")
    else:
        stamp.write_text(mark)


def _steps(python: Path, tools: Path, heard: object) -> str:
    """Fetch the tools, build, install; which of it failed, "" if nothing."""
    pip = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    paths = {
        "PYTHONPATH": str(tools),
        "PATH": os.pathsep.join((str(tools / "bin"), os.environ.get("PATH", ""))),
    }
    steps = {
        "fetching the tools": [*pip, "--require-hashes", "--target", str(tools), "-r", str(LOCK)],
        "compiling": [*pip, "--no-deps", "--no-build-isolation", "--force-reinstall", str(NATIVE)],
    }
    for name, command in steps.items():
        env = {**os.environ, **(paths if name == "compiling" else {})}
        try:
            done = subprocess.run(
                command, env=env, cwd=ROOT, stdout=heard, stderr=heard, check=False, timeout=60 * MINUTES
            )
        except (OSError, subprocess.SubprocessError):
            return f"{name} did not end"
        if done.returncode:
            return f"{name} failed"
    return ""


def _mark() -> str:
    """A digest of everything that makes the library."""
    found = hashlib.sha256()
    for path in [LOCK, *sorted(NATIVE.rglob("*"))]:
        inside = path.relative_to(ROOT).parts
        if path.is_file() and not {"build", "bench", "tests", "__pycache__"} & set(inside):
            found.update("/".join(inside).encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
