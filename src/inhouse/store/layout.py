"""Where things lie under ``<home>/models``, and how a file gets there whole or not at all.

blobs/sha256-<64 hex>                           weights, immutable
manifests/<host>/<namespace>/<model>/<tag>.json what a name stands for
previous/<host>/<namespace>/<model>/<tag>.json  what it stood for before, for a rollback
views/<32 hex of a model's digest>/<file>       links to blobs that an engine wants by their own names
partial/<key>/                                  one file being fetched (see ``sources``)
partial/*.tmp                                   a manifest being written
.lock                                           held while names or blobs change
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import re
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from ..core.disk import failure, guarded, tree_size
from ..core.errors import BadRequest, Conflict, NoSpace, StoreError
from ..core.models import ModelName

LOCK_TIMEOUT: Final = 60.0
PARTIAL_LIFE: Final = 14 * 86400.0
CHUNK: Final = 2**20
SLACK: Final = 64 * 2**20
"""Bytes that are left free on the disk."""

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})\Z", re.ASCII)
_BLOB = re.compile(r"sha256-[0-9a-f]{64}\Z", re.ASCII)
_RESERVED = frozenset(
    ["con", "prn", "aux", "nul", *(f"com{n}" for n in range(10)), *(f"lpt{n}" for n in range(10))]
)


def digest_hex(digest: str) -> str:
    """The 64 hex digits of ``sha256:…``, the one digest grammar. Raises BadRequest."""
    match = _DIGEST.match(digest)
    if not match:
        raise BadRequest("A digest must be 'sha256:' and 64 lower-case hex digits.")
    return match[1]


def sync_folder(folder: Path) -> None:
    """Make renames in a folder durable; Windows has no such call."""
    if sys.platform == "win32":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_file(path: Path) -> None:
    """Make a file's bytes durable. Raises OSError."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def hash_file(path: Path) -> str:
    """sha256 of a file, 64 hex digits. Raises OSError."""
    with path.open("rb", buffering=0) as file:
        return hash_open(file, lambda done: None)


def hash_open(file: io.RawIOBase | io.BufferedIOBase, tick: Callable[[int], None]) -> str:
    """sha256 of an open file from where it stands; ``tick`` gets the bytes done and may raise."""
    digest = hashlib.sha256()
    buffer = bytearray(2 * CHUNK)
    view, done = memoryview(buffer), 0
    while count := file.readinto(buffer):
        digest.update(view[:count])
        done += count
        tick(done)
    return digest.hexdigest()


def _portable(part: str) -> str:
    """Windows refuses some names; ``+`` is in no name, so nothing can collide with the result."""
    reserved = part.split(".", 1)[0] in _RESERVED
    return ("+" if reserved else "") + part + ("+" if part.endswith(".") else "")


class Layout:
    """Paths of one store and the primitive moves on them. Methods raise StoreError or NoSpace."""

    def __init__(self, home: Path) -> None:
        self.models = home / "models"
        self.blobs = self.models / "blobs"
        self.manifests = self.models / "manifests"
        self.partial = self.models / "partial"
        self.previous = self.models / "previous"
        self.views = self.models / "views"
        self.changes = 0
        """How often this process wrote or removed something: another number means to look again."""

    def blob(self, digest: str) -> Path:
        """The path of a blob; the only place where a digest becomes a path."""
        return self.blobs / f"sha256-{digest_hex(digest)}"

    def manifest(self, name: ModelName) -> Path:
        """The path of a manifest."""
        return self.manifests / self._inside(name)

    def previous_manifest(self, name: ModelName) -> Path:
        """Where the manifest lies that a name had before."""
        return self.previous / self._inside(name)

    @staticmethod
    def _inside(name: ModelName) -> Path:
        """The only place where a name becomes a path."""
        *folders, tag = (_portable(part) for part in name.path_parts())
        return Path(*folders) / f"{tag}.json"

    def view(self, digest: str) -> Path:
        """The folder of links of a model; ``digest`` is 64 hex of its manifest."""
        return self.views / digest[:32]

    def manifest_paths(self) -> list[Path]:
        """All manifests; none when nothing was pulled yet."""
        with guarded("listing models"):
            if not self.manifests.is_dir():
                if self.models.exists() and not self.models.is_dir():
                    raise NotADirectoryError(errno.ENOTDIR, "it is not a folder", str(self.models))
                os.stat(self.models) if self.models.is_symlink() else None
                return []
            return list(_json_below(self.manifests, 3))

    def previous_paths(self) -> list[Path]:
        """The manifests that names had before."""
        with guarded("listing models"):
            return list(_json_below(self.previous, 3)) if self.previous.is_dir() else []

    def has(self, digest: str) -> bool:
        """Whether a blob is here. Raises BadRequest for what is no digest."""
        path = self.blob(digest)
        with guarded("looking for weights"):
            return path.is_file()

    def blob_paths(self) -> list[Path]:
        with guarded("listing models"):
            return [p for p in self.blobs.iterdir() if _BLOB.match(p.name)] if self.blobs.is_dir() else []

    def prepare(self) -> None:
        """Make the folders; a failure says whether it is read-only, foreign or full."""
        with guarded("preparing it"):
            for folder in (self.blobs, self.manifests, self.partial):
                folder.mkdir(parents=True, exist_ok=True)
            if not os.access(self.models, os.W_OK):
                raise PermissionError(errno.EACCES, "it is read-only", str(self.models))

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Held, across threads and processes, while names or blobs change. Short."""
        self.prepare()
        with self.hold(self.models / ".lock", LOCK_TIMEOUT):
            yield

    @contextlib.contextmanager
    def hold(self, path: Path, timeout: float) -> Iterator[None]:
        """A lock file. Raises Conflict when another holds it for longer than ``timeout`` seconds."""
        lock = FileLock(path, thread_local=False)
        try:
            lock.acquire(timeout=timeout)
        except Timeout as error:  # an OSError itself, hence first
            raise Conflict(
                "Another Inhouse process is changing the models.",
                hint="Wait for it, or stop it.",
                retry_after=5,
                detail=str(error),
            ) from error
        except OSError as error:
            raise failure(error, "locking it") from error
        try:
            yield
        finally:
            lock.release()

    def write(self, path: Path, data: bytes) -> None:
        """Write aside, sync, rename, sync: after a crash the file is there whole or not at all."""
        temp = self.partial / f"{secrets.token_hex(8)}.tmp"
        with guarded("writing a manifest"):
            try:
                with temp.open("xb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                path.parent.mkdir(parents=True, exist_ok=True)
                temp.replace(path)
                sync_folder(path.parent)
            finally:
                self.changes += 1
                temp.unlink(missing_ok=True)

    def adopt(self, temp: Path, digest: str) -> Path:
        """Make a finished, hashed and synced file a blob."""
        path = self.blob(digest)
        with guarded("storing weights"):
            if sys.platform != "win32":
                temp.chmod(0o444)
            temp.replace(path)
            sync_folder(self.blobs)
        return path

    def link(self, digest: str, files: Mapping[str, str]) -> None:
        """Make the view of a model: ``files`` maps relative names to paths. Complete or not there."""
        target = self.view(digest)
        with guarded("linking a model's files"):
            if target.is_dir() and all((target / file).exists() for file in files):
                return
            with self.workspace() as aside:
                make_links(aside, files)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.rmtree(target, ignore_errors=True)
                self._placed(aside, target)

    @staticmethod
    def _placed(aside: Path, target: Path) -> None:
        """Rename a view into its place; one that another load put there meanwhile has the same links."""
        try:
            aside.replace(target)
        except OSError:
            if not target.is_dir():
                raise

    @contextlib.contextmanager
    def workspace(self) -> Iterator[Path]:
        """A folder for unfinished work, gone afterwards. Others' sweeps and prunes leave it alone while
        it is in use, however long that takes; after a kill they take it."""
        folder = self.partial / f"{secrets.token_hex(8)}.tmp"
        with self.hold(pull_lock(folder), 0):
            try:
                with guarded("preparing the work"):
                    folder.mkdir()
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
                with contextlib.suppress(OSError):
                    pull_lock(folder).unlink(missing_ok=True)

    def drop(self, path: Path) -> None:
        """Remove a manifest or blob and the folders that it leaves empty."""
        with guarded("removing a model"):
            path.unlink(missing_ok=True)
            self.changes += 1
            held = any(path.is_relative_to(top) for top in (self.manifests, self.previous))
            for folder in path.parents[:3] if held else ():
                try:
                    folder.rmdir()
                except OSError:
                    break

    def need(self, size: int, what: str) -> None:
        """Raise NoSpace unless ``size`` bytes fit on the disk; ``what`` begins the sentence."""
        free = self.free()
        if size + SLACK > free:
            raise NoSpace(
                f"{what} {(size + SLACK) >> 20} MiB of disk, {free >> 20} MiB are free.",
                hint="Free some space: inhouse rm MODEL, inhouse prune; or set INHOUSE_HOME to another disk.",
            )

    def free(self) -> int:
        """Free bytes on the disk of the models, also before their folder is made."""
        with guarded("measuring free space"):
            there = next((one for one in (self.models, *self.models.parents) if one.exists()), self.models)
            return shutil.disk_usage(there).free

    def sweep(self) -> None:
        """Remove what killed processes left: temp files, and pulls that nobody resumed for two weeks.

        Never fails: a store that cannot be cleaned can still be read.
        """
        with contextlib.suppress(OSError, StoreError, Conflict):
            now = time.time()
            for entry in list(self.partial.iterdir()) if self.partial.is_dir() else []:
                with contextlib.suppress(OSError):  # one that goes away meanwhile keeps nobody
                    self._sweep_entry(entry, now)

    def _sweep_entry(self, entry: Path, now: float) -> None:
        if entry.is_symlink():  # none of ours: whatever it leads to is somebody else's
            entry.unlink()
        elif entry.suffix != ".tmp":
            self._sweep_pull(entry, now) if entry.is_dir() else None
        elif now - entry.stat().st_mtime > LOCK_TIMEOUT:
            if not entry.is_dir():
                entry.unlink()
                return
            with contextlib.suppress(StoreError, Conflict), self.hold(pull_lock(entry), 0):
                shutil.rmtree(entry, ignore_errors=True)
                pull_lock(entry).unlink(missing_ok=True)

    def _sweep_pull(self, folder: Path, now: float) -> None:
        with contextlib.suppress(OSError, StoreError, Conflict), self.hold(pull_lock(folder), 0):
            for temp in folder.glob("*.tmp"):
                shutil.rmtree(temp, ignore_errors=True) if temp.is_dir() else temp.unlink()
            if now - folder.stat().st_mtime > PARTIAL_LIFE:
                shutil.rmtree(folder, ignore_errors=True)


def make_links(folder: Path, files: Mapping[str, str]) -> None:
    """Links below a folder: ``files`` maps relative names to paths. Raises OSError."""
    for file, path in files.items():
        place = folder / file
        place.parent.mkdir(parents=True, exist_ok=True)
        # Windows lets only administrators make symbolic links.
        os.link(path, place) if sys.platform == "win32" else os.symlink(path, place)


def _json_below(folder: Path, depth: int) -> Iterator[Path]:
    """The manifests so many folders below. A folder that cannot be read is an OSError, not an empty one:
    what is in it may need any blob. One that goes away meanwhile is empty."""
    try:
        with os.scandir(folder) as entries:
            found = list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in found:
        if depth and entry.is_dir():
            yield from _json_below(Path(entry.path), depth - 1)
        elif not depth and entry.name.endswith(".json") and entry.is_file():
            yield Path(entry.path)


def pull_lock(folder: Path) -> Path:
    """The lock file of one pull folder; beside it, so that the folder can go while it is held."""
    return folder.with_suffix(".lock")


__all__ = [
    "Layout",
    "digest_hex",
    "failure",
    "guarded",
    "hash_file",
    "hash_open",
    "make_links",
    "pull_lock",
    "sync_file",
    "sync_folder",
    "tree_size",
]
