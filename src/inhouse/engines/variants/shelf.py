"""The builds that are installed: a folder each, which is there whole or not at all.

``<home>/engines/<engine>-<name>-<version>/`` holds ``build.json`` (the record) and ``files/``. A folder is
made aside, under a name that begins with a dot, and gets its name in one step; what a killed try left is
swept.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from ...core.disk import guarded
from ...core.errors import Conflict, NotFound, StoreError

ENGINE: Final = "llama.cpp"
RECORD: Final = "build.json"
FILES: Final = "files"
CHUNK: Final = 2**20
STALE: Final = 7 * 86400.0
"""Seconds."""

_SAFE = re.compile(r"[a-z0-9][a-z0-9._+-]{0,60}\Z", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of an installed build.

    ``program``: the file that is run, relative to ``files`` ("" where a package is imported), with its
    ``program_sha256``, ``program_size`` and ``program_mtime`` (ns). ``sha256`` is that of what was fetched,
    ``pinned`` who told it: catalogue, publisher or user; ``fetched`` its address. ``cpu`` names the CPU that
    it was compiled for, "" for any. ``made``: compiler, flags and the like. ``at``: Unix time.
    """

    name: str
    version: str
    runs: str
    backend: str
    source: str
    program: str
    program_sha256: str
    program_size: int
    program_mtime: int
    sha256: str
    pinned: str
    fetched: str = ""
    engine: str = ENGINE
    licence: str = ""
    loses: tuple[str, ...] = ()
    cpu: str = ""
    made: dict[str, Any] = field(default_factory=dict)
    at: float = 0.0

    @property
    def folder(self) -> str:
        return f"{self.engine}-{self.name}-{self.version}"


@dataclass(frozen=True, slots=True)
class Installed:
    """A build on the shelf and where it lies."""

    record: Record
    path: Path

    @property
    def program(self) -> Path:
        """What is run; for a package the folder that it is imported from."""
        return self.path / FILES / self.record.program if self.record.program else self.path / FILES

    @property
    def checked(self) -> Path:
        """The file whose digest is recorded: the program, or the largest library of a package."""
        return self.path / FILES / (self.record.program or str(self.record.made.get("library", "")))


class Shelf:
    """All installed builds of a home. Blocking. Raises StoreError where the folder cannot be used."""

    def __init__(self, home: Path) -> None:
        self.root = home / "engines"
        self._whole: dict[tuple[str, int, int], bool] = {}

    def sweep(self) -> None:
        """Remove what killed installs left, and downloads that nobody went on with for a week; only while no
        other install can run (at the start)."""
        with contextlib.suppress(OSError):
            for one in self.root.glob(".new-*"):
                shutil.rmtree(one, ignore_errors=True)
            for one in self.root.glob(".part-*"):
                if time.time() - one.stat().st_mtime > STALE:
                    shutil.rmtree(one, ignore_errors=True)

    def all(self) -> list[Installed]:
        """Every installed build; a folder without a readable record is passed over."""
        found = []
        with contextlib.suppress(OSError):
            for path in sorted(self.root.iterdir()):
                if not path.name.startswith(".") and (record := _read(path / RECORD)):
                    found.append(Installed(record, path))
        return found

    def get(self, name: str) -> Installed:
        """The newest installed build of a name. Raises NotFound."""
        found = [one for one in self.all() if one.record.name == name]
        if not found:
            raise NotFound(f"No build called {name[:40]!r} is installed.", hint="See: inhouse engine list")
        return max(found, key=lambda one: one.record.at)

    @contextlib.contextmanager
    def aside(self) -> Iterator[Path]:
        """A new folder beside the others, removed again unless ``add`` took it."""
        with guarded("preparing a build's folder"):
            self.root.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix=".new-", dir=self.root))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def add(self, folder: Path, record: Record) -> Installed:
        """Give a folder of ``aside``, with its ``files``, the build's name; an older one of it goes.

        Raises Conflict for a name that makes no safe folder.
        """
        if not _SAFE.match(record.name) or not _SAFE.match(record.version):
            raise Conflict("The build's name or version cannot be a folder's.", hint="Choose another name.")
        target = self.root / record.folder
        if (there := _read(target / RECORD)) and there.name != record.name:
            raise Conflict(f"The build {there.name!r} lies where it would.", hint="Choose another name.")
        with guarded("installing a build"):
            (folder / RECORD).write_text(json.dumps(asdict(record), indent=1), "utf-8")
            old = self.root / f".new-old-{time.time_ns()}"
            if target.exists():
                target.rename(old)
            folder.rename(target)
            shutil.rmtree(old, ignore_errors=True)
        for other in self.all():
            if other.record.name == record.name and other.path != target:
                self._drop(other.path)
        return Installed(record, target)

    def remove(self, name: str) -> None:
        """Delete a build. Raises NotFound."""
        self._drop(self.get(name).path)

    def _drop(self, path: Path) -> None:
        with guarded("removing a build"):
            gone = self.root / f".new-gone-{time.time_ns()}"
            path.rename(gone)  # first out of sight, so that no half of it is ever listed
        shutil.rmtree(gone, ignore_errors=True)

    def damage(self, one: Installed) -> str:
        """Why an installed build is not what was installed; "" if it is. Hashes a file that looks changed."""
        record = one.record
        try:
            state = one.checked.stat()
        except OSError:
            return "its program is gone"
        if (state.st_mtime_ns, state.st_size) == (record.program_mtime, record.program_size):
            return ""
        key = (str(one.checked), state.st_mtime_ns, state.st_size)
        if key not in self._whole:
            try:
                self._whole[key] = digest(one.checked) == record.program_sha256
            except OSError:
                return "its program cannot be read"
        return "" if self._whole[key] else "its program is not the one that was installed"


def digest(
    path: Path, tick: Callable[[], None] = lambda: None, heard: Callable[[bytes], object] = lambda chunk: None
) -> str:
    """The sha256 of a file, 64 hex; ``heard`` gets all bytes of it. Raises OSError and what the two do."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            tick()
            found.update(chunk)
            heard(chunk)
    return found.hexdigest()


def facts(path: Path) -> dict[str, Any]:
    """The fields of a record that describe a program file. Raises StoreError."""
    try:
        state = path.stat()
        return {
            "program_sha256": digest(path),
            "program_size": state.st_size,
            "program_mtime": state.st_mtime_ns,
        }
    except OSError as error:
        raise StoreError(
            "A file of the build cannot be read.", hint="Try again.", detail=str(error)
        ) from error


def _read(path: Path) -> Record | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Record)
    except (OSError, msgspec.DecodeError):
        return None


def known(record: Record) -> Mapping[str, Any]:
    """A record as JSON values."""
    return asdict(record)


__all__ = ["ENGINE", "FILES", "Installed", "Record", "Shelf", "digest", "facts", "known"]
