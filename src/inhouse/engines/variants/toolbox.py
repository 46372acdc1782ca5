"""CMake and Ninja from the package index, in a private environment, for machines that lack them.

The wheels' digests stand in ``tools.txt``, and pip refuses any other file (``--require-hashes``).
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import Final

from ...core.disk import guarded
from ...core.errors import LoadFailed
from ..environments import for_pip
from ..tool import Command, full, run

DONE: Final = "complete"
LIST: Final = "tools.txt"


def _folder(home: Path) -> Path:
    return home / "tools" / "build"


def place(home: Path) -> Path | None:
    """Where its programs lie; None unless it is installed whole."""
    if not (_folder(home) / DONE).is_file():
        return None
    return _folder(home) / ("Scripts" if sys.platform == "win32" else "bin")


def install(
    home: Path, say: Callable[[str], None], stopped: Callable[[], bool], environ: Mapping[str, str]
) -> None:
    """Install them; whole or not at all. The user's pip settings hold. Raises LoadFailed, Cancelled.

    They are made where they stay: their scripts name the interpreter's path.
    """
    target = _folder(home)
    if place(home) is not None:
        return
    env = for_pip(environ)
    shutil.rmtree(target, ignore_errors=True)
    try:
        with guarded("installing tools"):
            target.mkdir(parents=True)
            wanted = target / LIST
            wanted.write_text(resources.files(__package__).joinpath(LIST).read_text("utf-8"), "utf-8")
        say("installing CMake and Ninja")
        _do([sys.executable, "-I", "-m", "venv", "--without-pip", str(target)], env, say, stopped)
        pip = [sys.executable, "-I", "-m", "pip", "--python", str(target), "install", "--no-input"]
        pip += ["--disable-pip-version-check", "--progress-bar", "off", "--no-cache-dir", "--no-deps"]
        pip += ["--only-binary", ":all:", "--require-hashes", "-r", str(wanted)]
        _do(pip, env, say, stopped)
        with guarded("installing tools"):
            (target / DONE).touch()
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise


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
