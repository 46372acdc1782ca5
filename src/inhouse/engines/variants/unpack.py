"""Opens an archive that a stranger made: only plain files, only below the target, never too much."""

from __future__ import annotations

import functools
import gzip
import os
import posixpath
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Final

from ...core.disk import guarded
from ...core.errors import NoSpace, SourceFailed

try:
    from lzma import LZMAError
except ImportError:  # a Python that was built without it opens no such archives
    LZMAError = zlib.error  # type: ignore[misc, assignment]

CHUNK: Final = 2**20
MOST_FILES: Final = 20_000
MOST_MEMBERS: Final = 100_000
"""Folders and what is not wanted included."""

MOST_BYTES: Final = 8 * 2**30
"""The largest build known, with all CUDA libraries, takes 1.5 GB."""

SLACK: Final = 64 * 2**20
_BROKEN: Final = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, LZMAError, gzip.BadGzipFile, EOFError,
    NotImplementedError, OverflowError, ValueError, KeyError, struct.error,
)  # fmt: skip
_DRIVES: Final = ":\\"


@dataclass(frozen=True, slots=True)
class Limits:
    """At most so many ``bytes`` and ``files`` come out of an archive."""

    bytes: int = MOST_BYTES
    files: int = MOST_FILES


@dataclass(frozen=True, slots=True)
class _Entry:
    """One entry: ``link`` names the entry that it is a second name of, "" for a file of its own."""

    name: str
    size: int
    runs: bool
    link: str
    open: Callable[[], AbstractContextManager[IO[bytes]]]


def unpack(
    archive: Path,
    target: Path,
    tick: Callable[[], None],
    *,
    within: str = "",
    limits: Limits = Limits(),
) -> int:
    """Write what is in a tar or zip file below ``target``, which need not exist; bytes written.

    ``within``: only this folder of it, whose own name goes. ``tick`` is called often and may raise. A link
    is followed while unpacking, to a file of the same folder (shared libraries are named so); it becomes a
    copy. Raises SourceFailed for an archive that is damaged, dangerous or too large, NoSpace.
    """
    with guarded("unpacking a build"):
        target.mkdir(parents=True, exist_ok=True)
        try:
            with _Reader(archive, tick) as reader:
                return _Writer(target, within, limits, tick).run(reader)
        except _BROKEN as error:
            raise SourceFailed(
                "The archive is damaged.", hint="Fetch it again.", detail=str(error)
            ) from error


class _Reader:
    def __init__(self, path: Path, tick: Callable[[], None]) -> None:
        self._tick = tick
        self._met = 0
        self._zip = zipfile.ZipFile(path) if zipfile.is_zipfile(path) else None
        self._tar = None if self._zip else tarfile.open(path)  # noqa: SIM115 - closed on exit

    def __enter__(self) -> _Reader:
        return self

    def __exit__(self, *error: object) -> None:
        for one in (self._zip, self._tar):
            if one is not None:
                one.close()

    def entries(self) -> Iterator[_Entry]:
        yield from self._zipped(self._zip) if self._zip else self._tarred()

    def _meet(self) -> None:
        """Another member, wanted or not."""
        self._tick()
        self._met += 1
        if self._met > MOST_MEMBERS:
            raise _refused(f"holds more than {MOST_MEMBERS} members")

    def _zipped(self, archive: zipfile.ZipFile) -> Iterator[_Entry]:
        for info in archive.infolist():
            self._meet()
            mode = info.external_attr >> 16
            if info.is_dir():
                continue
            if info.flag_bits & 1:
                raise _refused("has a member under a password")
            link = ""
            if stat.S_ISLNK(mode):
                if info.file_size > 1024:
                    raise _refused("has a link that is none")
                link = archive.read(info).decode("utf-8", "replace")
            elif stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                raise _refused("holds something that is no file")
            yield _Entry(
                info.filename, info.file_size, bool(mode & 0o111), link, functools.partial(archive.open, info)
            )

    def _tarred(self) -> Iterator[_Entry]:
        assert self._tar is not None  # noqa: S101 - one of the two is there
        tar = self._tar
        for info in tar:
            self._meet()
            if info.isdir():
                continue
            if not (info.isreg() or (info.issym() and info.linkname)):
                raise _refused("holds something that is no file")
            link = info.linkname if info.issym() else ""
            yield _Entry(
                info.name, info.size, bool(info.mode & 0o111), link, functools.partial(_member, tar, info)
            )


def _member(tar: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    file = tar.extractfile(info)
    if file is None:
        raise _refused("holds something that is no file")
    return file


class _Writer:
    def __init__(self, target: Path, within: str, limits: Limits, tick: Callable[[], None]) -> None:
        self._target = target
        self._within = within.strip("/")
        self._limits = limits
        self._tick = tick
        self._written = 0
        self._links: list[tuple[PurePosixPath, str]] = []
        self._seen: set[str] = set()

    def run(self, reader: _Reader) -> int:
        for entry in reader.entries():
            place = self._place(entry.name)
            if place is None:
                continue
            if entry.link:
                self._links.append((place, entry.link))
            else:
                self._write(place, entry)
        self._follow()
        if not self._seen:
            raise _refused("holds nothing that is wanted")
        return self._written

    def _place(self, name: str) -> PurePosixPath | None:
        """Where a member goes, None if it is not wanted. Names are compared strictly, as on any system."""
        parts = posixpath.normpath(name).split("/")
        if name.startswith("/") or ".." in name.split("/") or any(c in name for c in (*_DRIVES, "\0")):
            raise _refused("names a place outside itself")
        if self._within:
            inside = self._within.split("/")
            if parts[: len(inside)] != inside or len(parts) == len(inside):
                return None
            parts = parts[len(inside) :]
        place = PurePosixPath(*parts)
        if str(place).casefold() in self._seen:
            raise _refused("has two files of one name")
        if len(self._seen) >= self._limits.files:
            raise _refused(f"holds more than {self._limits.files} files")
        self._seen.add(str(place).casefold())
        return place

    def _write(self, place: PurePosixPath, entry: _Entry) -> None:
        path = self._fresh(place)
        with entry.open() as source, path.open("xb") as out:
            while chunk := source.read(CHUNK):
                self._tick()
                self._count(len(chunk))
                out.write(chunk)
        if entry.runs and os.name == "posix":
            path.chmod(0o755)

    def _fresh(self, place: PurePosixPath) -> Path:
        path = self._target.joinpath(*place.parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _count(self, size: int) -> None:
        self._written += size
        if self._written > self._limits.bytes:
            raise _refused(f"unpacks to more than {self._limits.bytes / 1e9:.1f} GB")
        if shutil.disk_usage(self._target).free < SLACK:
            raise NoSpace("The disk is full: unpacking a build stopped.", hint="Free some space: inhouse du")

    def _follow(self) -> None:
        """Copy what links name. A link to a link is followed, in rounds, so a circle ends."""
        left = self._links
        while left:
            rest = []
            for place, link in left:
                if "/" in link or "\\" in link or link in ("", ".", ".."):
                    raise _refused("has a link that leads out of its folder")
                source = self._target.joinpath(*place.with_name(link).parts)
                if not source.is_file():
                    rest.append((place, link))
                    continue
                self._count(source.stat().st_size)
                shutil.copy2(source, self._fresh(place))
            if len(rest) == len(left):
                raise _refused("has a link to nothing")
            left = rest


def _refused(why: str) -> SourceFailed:
    return SourceFailed(
        f"The archive {why}.", hint="Nothing of it was kept. Get it from its publisher again."
    )


__all__ = ["Limits", "unpack"]
