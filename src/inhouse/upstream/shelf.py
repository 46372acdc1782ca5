"""Saved prompts on disk: found by their marks, bounded in bytes, never trusted without a check.

``<root>/<layout>/<name>.kv`` is what the engine wrote, ``<name>.json`` what we know of it; a layout is
named ``model-engine-build-key``. A file that is
torn, changed or foreign is deleted and counts as absent. Everything here blocks; call it in a thread.
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from ..core.disk import tree_size

VERSION: Final = 1
HALF_LIFE: Final = 24 * 3600.0
"""Seconds in which a prompt that nobody asks for loses half of its worth."""

STALE: Final = 600.0
"""Seconds after which a half-written file belongs to nobody any more."""

_CHUNK: Final = 2**20


class Saved(msgspec.Struct):
    """One saved prompt of ``owner``: ``marks`` of its beginning, about ``tokens`` long. The file has
    ``held`` tokens, ``size`` bytes and the checksum ``crc``. ``seconds`` is what computing it took,
    ``used`` when it was last of use (seconds since 1970), ``hits`` how often, ``misses`` how often not."""

    name: str
    layout: str
    owner: str
    marks: list[str]
    size: int
    crc: int
    used: float
    tokens: int = 0
    held: int = 0
    seconds: float = 0.0
    hits: int = 0
    misses: int = 0
    version: int = VERSION

    def worth(self, now: float) -> float:
        """Seconds that a byte of it saves, as far as the past tells."""
        age = max(0.0, now - self.used)
        return self.seconds * (1 + self.hits) / max(self.size, 1) * math.exp2(-age / HALF_LIFE)


class Shelf:
    """All saved prompts of a server, ``limit`` bytes of them at most. Safe to call from several threads."""

    def __init__(self, root: Path, limit: int) -> None:
        self.root = root
        self.limit = limit
        self._lock = threading.Lock()
        self._saved: dict[tuple[str, str], Saved] = {}
        self._index: dict[tuple[str, str, str], Saved] = {}
        self._known: set[str] = set()
        self._checked: dict[tuple[str, str], int] = {}

    def open(self, layout: str) -> None:
        """Read what an earlier process left for ``layout``, once; what older builds left is deleted."""
        parts = layout.split("-")

        def older(folder: Path) -> bool:
            theirs = folder.name.split("-")
            return theirs[:2] == parts[:2] and theirs[2:3] != parts[2:3]

        self._clear(older)
        with self._lock:
            self._read(layout)

    def find(self, layout: str, owner: str, chain: Sequence[bytes]) -> tuple[Saved, int] | None:
        """The owner's saved prompt with the longest beginning in common, and how many blocks that is."""
        with self._lock:
            for count in range(len(chain), 0, -1):
                found = self._index.get((layout, owner, chain[count - 1].hex()))
                if found is not None:
                    return found, count
        return None

    def intact(self, saved: Saved) -> bool:
        """Whether the file is still what was written; else it is deleted. Checked once a process."""
        path = self._path(saved)
        try:
            state = path.stat()
            seen = self._checked.get((saved.layout, saved.name)) == state.st_mtime_ns
            good = state.st_size == saved.size and (seen or checksum(path) == saved.crc)
        except OSError:
            good = False
        if good:
            self._checked[saved.layout, saved.name] = state.st_mtime_ns
        else:
            self.drop(saved)
        return good

    def touch(self, saved: Saved, *, hit: bool) -> None:
        """It was of use, or it was not; what is of no use twice in a row goes."""
        saved.used = time.time()
        saved.hits += hit
        saved.misses = 0 if hit else saved.misses + 1
        if saved.misses >= 2:
            self.drop(saved)
            return
        with self._lock, contextlib.suppress(OSError):
            if (saved.layout, saved.name) in self._saved:
                self._write(saved)

    def add(self, saved: Saved, part: Path) -> bool:
        """Keep ``part`` (a file in the layout's folder) as ``saved``; False if there is no room for it."""
        with self._lock:
            self._read_all()
            needless = self._superseded(saved)
            victims = self._victims(saved, needless)
            if victims is None:
                part.unlink(missing_ok=True)
                return False
            for old in (*needless, *victims):
                self._drop(old)
            path = self._path(saved)
            os.replace(part, path)
            self._checked[saved.layout, saved.name] = path.stat().st_mtime_ns
            self._write(saved)
            self._enter(saved)
        return True

    def drop(self, saved: Saved) -> None:
        """Delete one."""
        with self._lock:
            self._drop(saved)

    def sweep(self, wanted: Iterable[str]) -> None:
        """Delete the folders of layouts whose first part (the model) is none of ``wanted``, and what saves
        that never ended left in the others."""
        keep = set(wanted)
        self._clear(lambda folder: _model(folder) not in keep)
        with self._lock:
            self._read_all()
            for folder in self._folders():
                self._tidy(folder)

    def clear(self) -> None:
        """Delete all saved prompts. Their folders stay: workers write into them."""
        with self._lock:
            self._read_all()
            for saved in list(self._saved.values()):
                self._drop(saved)
            for folder in self._folders():
                self._tidy(folder)

    def sizes(self, wanted: Iterable[str]) -> tuple[int, int]:
        """Bytes on disk, and those of them in the folders of models that are none of ``wanted``."""
        keep, total, gone = set(wanted), 0, 0
        for folder in self._folders():
            size = tree_size(folder)
            total += size
            gone += 0 if _model(folder) in keep else size
        return total, gone

    def unproven(self, layout: str, owner: str) -> int:
        """How many of an owner's saved prompts nobody has asked for yet."""
        with self._lock:
            ours = [one for one in self._saved.values() if (one.layout, one.owner) == (layout, owner)]
            return sum(not one.hits for one in ours)

    def bytes(self) -> int:
        """How much is kept."""
        with self._lock:
            self._read_all()
            return sum(saved.size for saved in self._saved.values())

    def _clear(self, condemned: Callable[[Path], bool]) -> None:
        """Delete folders. Gigabytes take their time, and whoever asks what there is must not wait so long."""
        with self._lock:
            folders = [folder for folder in self._folders() if condemned(folder)]
            for folder in folders:
                self._forget(folder.name)
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
        with self._lock:
            self._known -= {folder.name for folder in folders}

    # inside the lock

    def _folders(self) -> list[Path]:
        with contextlib.suppress(OSError):
            return [folder for folder in self.root.iterdir() if folder.is_dir()]
        return []

    def _read_all(self) -> None:
        for folder in self._folders():
            self._read(folder.name)

    def _read(self, layout: str) -> None:
        if layout in self._known:
            return
        self._known.add(layout)
        folder = self.root / layout
        with contextlib.suppress(OSError):
            for path in folder.glob("*.json"):
                saved = _decoded(path)
                if saved is None or (saved.layout, saved.name) != (layout, path.stem):
                    path.unlink(missing_ok=True)
                else:
                    self._enter(saved)
        self._tidy(folder)

    def _tidy(self, folder: Path) -> None:
        with contextlib.suppress(OSError):
            for path in self._strays(folder):
                path.unlink(missing_ok=True)

    def _strays(self, folder: Path) -> Iterator[Path]:
        """Files of no entry, but for those that are just being written."""
        for path in folder.iterdir():
            known = path.suffix == ".json" or (folder.name, path.stem) in self._saved
            if not known and time.time() - path.stat().st_mtime > (0 if path.suffix == ".kv" else STALE):
                yield path

    def _enter(self, saved: Saved) -> None:
        self._saved[saved.layout, saved.name] = saved
        for mark in saved.marks:
            self._index.setdefault((saved.layout, saved.owner, mark), saved)

    def _superseded(self, new: Saved) -> list[Saved]:
        """A longer one that costs little more makes a shorter one needless."""
        chain = dict.fromkeys(new.marks)
        ours = [old for old in self._saved.values() if (old.layout, old.owner) == (new.layout, new.owner)]
        return [old for old in ours if old.marks and old.marks[-1] in chain and new.size <= 2 * old.size]

    def _victims(self, new: Saved, needless: list[Saved]) -> list[Saved] | None:
        """What is worth least beside the ``needless``, so much of it that ``new`` fits, but nothing that is
        worth more; None where that is not enough."""
        now, victims = time.time(), list[Saved]()
        others = [old for old in self._saved.values() if all(old is not one for one in needless)]
        free = self.limit - sum(saved.size for saved in others)
        for old in sorted(others, key=lambda saved: saved.worth(now)):
            if free >= new.size or old.worth(now) > new.worth(now):
                break
            victims.append(old)
            free += old.size
        return victims if free >= new.size else None

    def _drop(self, saved: Saved) -> None:
        self._saved.pop((saved.layout, saved.name), None)
        self._checked.pop((saved.layout, saved.name), None)
        orphans = [key for key, value in self._index.items() if value is saved]
        for key in orphans:
            del self._index[key]
        for other in self._saved.values():  # those that had these marks too, but came later
            for mark in other.marks:
                self._index.setdefault((other.layout, other.owner, mark), other)
        path = self._path(saved)
        for one in (path.with_suffix(".json"), path):
            with contextlib.suppress(OSError):
                one.unlink(missing_ok=True)

    def _forget(self, layout: str) -> None:
        self._known.add(layout)  # until it is gone, it is not read again
        self._saved = {key: saved for key, saved in self._saved.items() if key[0] != layout}
        self._checked = {key: when for key, when in self._checked.items() if key[0] != layout}
        self._index = {key: saved for key, saved in self._index.items() if key[0] != layout}

    def _path(self, saved: Saved) -> Path:
        return self.root / saved.layout / f"{saved.name}.kv"

    def _write(self, saved: Saved) -> None:
        path = self._path(saved).with_suffix(".json")
        part = path.with_suffix(".tmp")
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(msgspec.json.encode(saved))
        os.replace(part, path)


def _model(folder: Path) -> str:
    return folder.name.partition("-")[0]


def _decoded(path: Path) -> Saved | None:
    try:
        saved = msgspec.json.decode(path.read_bytes(), type=Saved)
    except (OSError, msgspec.DecodeError):
        return None
    return saved if saved.version == VERSION else None


def checksum(path: Path) -> int:
    """CRC-32 of a file. Raises OSError."""
    crc = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            crc = zlib.crc32(chunk, crc)
    return crc
