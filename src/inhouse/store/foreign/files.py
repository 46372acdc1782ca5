"""GGUF files in the folders of other programs, as models."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from .. import quants
from ..hub.listing import HubFile, pick
from ..hub.names import is_safe
from ..sources.base import Asset, Listing, Role
from .base import Found

MOST: Final = 10_000


def listed(folder: Path) -> list[os.DirEntry[str]]:
    """The entries of a folder whose names can be used, by name; none where it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            found = [entry for _, entry in zip(range(MOST), entries, strict=False)]
    except OSError:
        return []
    return sorted((e for e in found if is_safe(e.name) and e.name.isprintable()), key=lambda e: e.name)


def folders(folder: Path) -> list[Path]:
    """The folders in a folder, links to folders included: people keep models on other disks."""
    found = []
    for entry in listed(folder):
        try:
            if entry.is_dir():
                found.append(folder / entry.name)
        except OSError:
            continue
    return found


def gguf_files(folder: Path) -> dict[str, os.stat_result]:
    """The GGUF files right in a folder, by name; links that lead nowhere are not there."""
    found = {}
    for entry in listed(folder):
        try:
            if entry.name.lower().endswith(quants.GGUF) and entry.is_file():
                found[entry.name] = entry.stat()
        except OSError:
            continue
    return found


def asset(role: Role, file: HubFile, folder: Path) -> Asset:
    """A file below a folder of another program."""
    return Asset(role, file.path, file.size, file.sha256, folder / file.path)


def of_folder(program: str, folder: Path, *, whole: bool) -> list[Found]:
    """The models right in a folder, each named by its path.

    ``whole``: the folder is that of one repository, so that a lone model may be named by it and have
    the projector that lies beside it.
    """
    stats = gguf_files(folder)
    files = [HubFile(name, info.st_size) for name, info in stats.items()]
    choices = quants.group((file.path, file.size) for file in files)
    found = []
    for choice in choices:
        picked = pick(files, choice.file, 0).files
        lone = whole and len(choices) == 1 and picked[-1][0] == "projector"
        text = str(folder if lone else folder / choice.file)
        if text.isprintable():
            assets = tuple(asset(role, file, folder) for role, file in picked if lone or role == "model")
            modified = max(stats[file.file].st_mtime for file in assets)
            found.append(Found(program, text, Listing(assets, text), modified))
    return found


__all__ = ["asset", "folders", "gguf_files", "listed", "of_folder"]
