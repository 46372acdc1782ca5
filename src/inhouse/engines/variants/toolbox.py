"""CMake and Ninja from the package index, in a private environment, for machines that lack them.

The wheels' digests stand in ``tools.txt``, and pip refuses any other file (``--require-hashes``).
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Final

from .. import environments
from ..environments import Environment, Say, Stopped

LIST: Final = "tools.txt"
_DOWNLOAD, _UNPACKED = 30 * 2**20, 120 * 2**20
_FIX: Final = "Check the network and the index that pip is set to, or install CMake yourself."


def _folder(home: Path) -> Path:
    return home / "tools" / "build"


def place(home: Path) -> Path | None:
    """Where its programs lie; None unless it is installed whole."""
    folder = _folder(home)
    return environments.programs_of(folder) if environments.whole(folder) else None


def install(home: Path, say: Say, stopped: Stopped, environ: Mapping[str, str]) -> None:
    """Install them; whole or not at all. The user's pip settings hold. Raises NoSpace, StoreError,
    LoadFailed, Cancelled."""
    if place(home) is not None:
        return
    say("installing CMake and Ninja")
    with resources.as_file(resources.files(__package__).joinpath(LIST)) as pins:
        wanted = Environment(
            _folder(home),
            "CMake",
            steps=[[["--no-deps", "--require-hashes", "-r", str(pins)]]],
            download=_DOWNLOAD,
            unpacked=_UNPACKED,
            fix=_FIX,
            stays=True,
        )
        environments.install(wanted, say, stopped, environ)


__all__ = ["install", "place"]
