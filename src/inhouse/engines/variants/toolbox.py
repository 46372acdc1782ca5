"""CMake and Ninja from the package index, in a private environment, for machines that lack them.

The wheels' digests stand in ``tools.txt``, and pip refuses any other file (``--require-hashes``).
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import Final

from ...core.disk import guarded
from ...core.errors import LoadFailed
from ..child import scrubbed
from ..tool import Command, full, run

_KEPT: Final = re.compile(
    r"PIP_\w+|(https?|no|all)_proxy|SSL_CERT_(FILE|DIR)|\w+_CA_BUNDLE|HOME", re.IGNORECASE
)


def place(home: Path) -> Path:
    """Where its programs lie, if it is installed."""
    return home / "tools" / "build" / ("Scripts" if sys.platform == "win32" else "bin")


def install(
    home: Path, say: Callable[[str], None], stopped: Callable[[], bool], environ: Mapping[str, str]
) -> None:
    """Install them; whole or not at all. The user's pip settings hold. Raises LoadFailed, Cancelled."""
    target = place(home).parent
    if (place(home) / ("cmake.exe" if sys.platform == "win32" else "cmake")).is_file():
        return
    with guarded("preparing a folder for tools"):
        target.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix="build-", dir=target.parent))
    try:
        env = scrubbed(environ) | {k: v for k, v in environ.items() if _KEPT.fullmatch(k)}
        env.pop("PYTHONPATH", None)
        wanted = aside / "tools.txt"
        wanted.write_text(resources.files(__package__).joinpath("tools.txt").read_text("utf-8"), "utf-8")
        say("installing CMake and Ninja")
        _do([sys.executable, "-m", "venv", "--without-pip", str(aside / "env")], env, say, stopped)
        pip = [sys.executable, "-I", "-m", "pip", "--python", str(aside / "env"), "install", "--no-input"]
        pip += ["--disable-pip-version-check", "--progress-bar", "off", "--no-cache-dir", "--no-deps"]
        pip += ["--only-binary", ":all:", "--require-hashes", "-r", str(wanted)]
        _do(pip, env, say, stopped)
        shutil.rmtree(target, ignore_errors=True)
        with guarded("installing tools"):
            os.rename(aside / "env", target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _do(
    argv: list[str], env: dict[str, str], say: Callable[[str], None], stopped: Callable[[], bool]
) -> None:
    ended = run(Command(argv, env, Path(tempfile.gettempdir())), say, stopped)
    if ended.code:
        raise full(Path(argv[0]), "installing tools", ended) or LoadFailed(
            "CMake could not be installed from the package index.",
            hint="Check the network and the index that pip is set to, or install CMake yourself.",
            detail=ended.log(),
        )


__all__ = ["install", "place"]
