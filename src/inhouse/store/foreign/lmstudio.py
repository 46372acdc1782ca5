"""LM Studio's folder: ``models/publisher/repository/file.gguf`` below its home.

Its home is what ``~/.lmstudio-home-pointer`` says, else ``~/.lmstudio``, in older versions
``~/.cache/lm-studio``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ..regular import read_small
from .base import Found
from .files import folders, of_folder

PROGRAM: Final = "lmstudio"


def scan(environ: Mapping[str, str], home: Path) -> list[Found]:
    """Every model, named by its path, or by its folder where a projector lies beside it."""
    found: list[Found] = []
    for top in _tops(home):
        for publisher in folders(top):
            for repository in folders(publisher):
                found += of_folder(PROGRAM, repository, whole=True)
    return found


def _tops(home: Path) -> list[Path]:
    pointer = read_small(home / ".lmstudio-home-pointer", 4096).decode("utf-8", "replace").strip()
    homes = [Path(pointer)] if pointer and os.path.isabs(pointer) else []
    homes += [home / ".lmstudio", home / ".cache" / "lm-studio"]
    # One is often a link to another.
    real = {os.path.realpath(top / "models"): top / "models" for top in reversed(homes)}
    return list(reversed(real.values()))
