"""Hugging Face's cache on this machine: ``models--org--repo/{blobs,refs,snapshots}``."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from ..layout import sync_folder
from ..regular import read_small
from .listing import HubFile
from .names import COMMIT, MAIN, is_safe

DEPTH: Final = 6
MOST: Final = 10_000
WINDOWS: Final = os.name == "nt"
COPY: Final = 4 * 2**20

_SHA256 = re.compile(r"[0-9a-f]{64}\Z", re.ASCII)
_BLOB = re.compile(r"([0-9a-f]{40}|[0-9a-f]{64})\Z", re.ASCII)


def folder(environ: Mapping[str, str], home: Path) -> Path:
    """Where the cache lies, as huggingface_hub finds it."""
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if environ.get(variable):
            return _expanded(environ[variable], home)
    if environ.get("HF_HOME"):
        return _expanded(environ["HF_HOME"], home) / "hub"
    base = environ.get("XDG_CACHE_HOME")
    return (_expanded(base, home) if base else home / ".cache") / "huggingface" / "hub"


def _expanded(text: str, home: Path) -> Path:
    return Path(os.path.abspath(home / text[2:] if text.startswith("~/") else os.path.expandvars(text)))


class CachedRepo:
    """The folder of one repository. Reading never raises OSError: what cannot be read is not there."""

    def __init__(self, cache: Path, repo: str) -> None:
        self.folder = cache / ("models--" + repo.replace("/", "--"))

    def commit(self, revision: str) -> str:
        """The commit that a branch or tag stood for when it was last asked for, "" if unknown."""
        if COMMIT.match(revision):
            return revision
        text = read_small(self.folder / "refs" / (revision or MAIN), 64).decode("ascii", "replace").strip()
        return text if COMMIT.match(text) else ""

    def commits(self) -> list[str]:
        """Commits with files here: that of main first, then the newest first."""
        try:
            with os.scandir(self.folder / "snapshots") as entries:
                found = [(entry.stat().st_mtime, entry.name) for entry in entries if COMMIT.match(entry.name)]
        except OSError:
            return []
        main = self.commit(MAIN)
        return [name for _, name in sorted(found, key=lambda item: (item[1] == main, *item), reverse=True)]

    def path(self, commit: str, file: str) -> Path:
        """Where a file of a commit lies or would lie; ``file`` is safe."""
        return self.folder / "snapshots" / commit / file

    def files(self, commit: str) -> list[HubFile]:
        """What of a commit is here, by path; broken links and names that are unsafe are not."""
        return sorted(self._walk(self.path(commit, ""), "", DEPTH), key=lambda file: file.path)[:MOST]

    def _walk(self, place: Path, before: str, depth: int) -> Iterator[HubFile]:
        try:
            with os.scandir(place) as entries:
                listed = list(entries)
        except OSError:
            return
        for entry in listed[:MOST]:
            name = before + entry.name
            if not is_safe(name) or not name.isprintable():
                continue
            if depth and entry.is_dir(follow_symlinks=False):
                yield from self._walk(place / entry.name, name + "/", depth - 1)
            elif file := _file(entry, name):
                yield file

    def link(self, commit: str, file: HubFile) -> Path | None:
        """The file as it lies here, linked to this commit if only another one had it; None if it is
        absent or of another size. Raises OSError where the cache cannot be written."""
        place = self.path(commit, file.path)
        if not os.path.lexists(place) and file.blob and _fits(self._blob(file), file.size):
            _link(self._blob(file), place)
        return place if _fits(place, file.size) else None

    def add(self, commit: str, file: HubFile, source: Path, tick: Callable[[], None]) -> Path:
        """Move a downloaded, synced file here and link it. Returns its path in the snapshot.

        ``file`` has its true size and blob. ``tick`` is called while it is copied to another disk and may
        raise. Raises OSError; ``source`` is still there then.
        """
        blob, place = self._blob(file), self.path(commit, file.path)
        if any(os.path.lexists(path) and not _fits(path, file.size) for path in (blob, place)):
            raise FileExistsError(errno.EEXIST, "another file is in the way")
        blob.parent.mkdir(parents=True, exist_ok=True)
        if not blob.exists():
            _copy(source, blob, tick)
            sync_folder(blob.parent)
        if not place.exists():
            _link(blob, place)
        source.unlink(missing_ok=True)
        return place

    def _blob(self, file: HubFile) -> Path:
        return self.folder / "blobs" / file.blob

    def remember(self, revision: str, commit: str) -> None:
        """Note which commit a branch or tag stands for, as the library does. Raises OSError."""
        ref = self.folder / "refs" / (revision or MAIN)
        if COMMIT.match(revision) or self.commit(revision) == commit:
            return
        ref.parent.mkdir(parents=True, exist_ok=True)
        temp = ref.with_name(f"{ref.name}.{secrets.token_hex(4)}.tmp")
        temp.write_text(commit, encoding="ascii")
        temp.replace(ref)


def _fits(path: Path, size: int) -> bool:
    """Whether there is a regular file of that size; size 0 is unknown."""
    try:
        info = path.stat()
    except OSError:
        return False
    return stat.S_ISREG(info.st_mode) and size in (0, info.st_size)


def _file(entry: os.DirEntry[str], name: str) -> HubFile | None:
    try:
        if not entry.is_file():
            return None
        size = entry.stat().st_size
        target = os.path.basename(os.readlink(entry.path)) if entry.is_symlink() else ""
    except OSError:
        return None
    blob = target if _BLOB.match(target) else ""
    return HubFile(name, size, blob if _SHA256.match(blob) else "", blob)


def _copy(source: Path, blob: Path, tick: Callable[[], None]) -> None:
    """Make ``source`` a blob too: at once on the same disk, else by writing it aside and renaming it."""
    aside = blob.with_name(f"{blob.name}.{secrets.token_hex(4)}.incomplete")
    try:
        try:
            os.link(source, aside)
        except OSError:  # another disk, or one without hard links
            with source.open("rb") as read, aside.open("xb") as write:
                while chunk := read.read(COPY):
                    tick()
                    write.write(chunk)
                write.flush()
                os.fsync(write.fileno())
        os.replace(aside, blob)
    finally:
        aside.unlink(missing_ok=True)


def _link(blob: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.symlink(os.path.relpath(blob, place.parent), place)
    except FileExistsError:
        return  # another process was faster, with the same bytes
    except OSError:
        if not WINDOWS:
            raise
        shutil.move(blob, place)  # few users may make links there; the library does the same
    sync_folder(place.parent)


__all__ = ["CachedRepo", "folder"]
