"""llama.cpp's own cache: flat files ``org_repo_file.gguf``, or Hugging Face's layout in LLAMA_CACHE.

Without LLAMA_CACHE its newer versions use Hugging Face's cache, which ``hub`` looks into.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ..hub import cache
from .base import Found
from .files import folders, of_folder
from .hub import repositories

PROGRAM: Final = "llama.cpp"


def scan(environ: Mapping[str, str], home: Path) -> list[Found]:
    """Every model, named by its path; see ``of_folder``."""
    found: list[Found] = []
    for top in _tops(environ, home):
        found += of_folder(PROGRAM, top, whole=False)
        if top == cache.folder(environ, home):
            continue
        for _, held in repositories(top):
            for commit in held.commits()[:1]:
                found += _tree(held.path(commit, ""))
    return found


def _tree(folder: Path) -> list[Found]:
    """A snapshot: the models in it and, split ones mostly, in its folders."""
    found = of_folder(PROGRAM, folder, whole=True)
    for inner in folders(folder):
        found += of_folder(PROGRAM, inner, whole=True)
    return found


def _tops(environ: Mapping[str, str], home: Path) -> list[Path]:
    if named := environ.get("LLAMA_CACHE"):
        return [Path(os.path.abspath(named))]
    bases = [environ.get("XDG_CACHE_HOME") or home / ".cache", home / "Library" / "Caches"]
    bases += [environ["LOCALAPPDATA"]] if environ.get("LOCALAPPDATA") else []
    return [Path(os.path.abspath(base)) / "llama.cpp" for base in bases]
