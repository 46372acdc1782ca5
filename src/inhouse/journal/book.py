"""Lines on disk, appended by a thread of their own and bounded by size and age.

A book is a folder's files ``name.<seconds since 1970>.jsonl``, each begun at that time; nothing is ever
renamed. The last one is written to until it is full or old; the oldest go first. A process that is killed
leaves whole lines but for the last one, which readers skip and the next writer closes with a newline.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

log = logging.getLogger("inhouse.journal")

PIECES = 8
"""Files that a full book has."""
PENDING = 10_000
"""Lines that may wait for the disk; what comes then is dropped."""
LONGEST = 64 * 1024
"""Bytes of a line; a longer one is dropped."""
DAY = 86_400.0

_PIECE = re.compile(r"\.(\d{1,12})\.jsonl\Z", re.ASCII)


class Book:
    """Appending never blocks and never raises: what the disk refuses is dropped, counted and said once.

    ``size`` bytes and ``days`` (0 without limit) are kept. The writing thread starts with the first line.
    """

    def __init__(
        self, folder: Path, name: str, *, size: int, days: int, clock: Callable[[], float] = time.time
    ) -> None:
        self._folder, self._name = folder, name
        self._piece, self._days, self._clock = max(1, size // PIECES), days, clock
        self._waiting: deque[bytes] = deque()
        self._turn = threading.Condition()
        self._thread: threading.Thread | None = None
        self._writing = self._closed = self._failing = False
        self._file: int | None = None
        self._born = 0
        self._size = 0
        self.dropped = 0

    def append(self, line: bytes) -> None:
        """Hand one line (without its newline) to the writer. From any thread."""
        with self._turn:
            if self._closed or len(self._waiting) >= PENDING or len(line) > LONGEST:
                self.dropped += 1
                return
            self._waiting.append(line)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._write_all, name=f"book-{self._name}", daemon=True
                )
                self._thread.start()
            self._turn.notify_all()

    def flush(self, timeout: float = 2.0) -> bool:
        """Wait until all that was appended is written or dropped; False when that took too long."""
        with self._turn:
            return self._turn.wait_for(lambda: not self._waiting and not self._writing, timeout)

    def close(self, timeout: float = 2.0) -> None:
        """Write what waits, for ``timeout`` seconds at most: a disk that hangs must not keep the server."""
        self.flush(timeout)
        with self._turn:
            self._closed = True
            self._turn.notify_all()
        if self._thread is not None:
            self._thread.join(timeout)

    # reading

    def lines(self) -> Iterator[bytes]:
        """Every line there is, oldest first; a torn one among them. Blocking."""
        for path in self.pieces():
            yield from read(path)

    def last(self, count: int) -> list[bytes]:
        """The last ``count`` lines, oldest first. Blocking."""
        found: list[bytes] = []
        for path in reversed(self.pieces()):
            found = read(path) + found
            if len(found) >= count:
                break
        return found[-count:]

    def pieces(self) -> list[Path]:
        """The files, oldest first."""
        try:
            names = os.listdir(self._folder)
        except OSError:
            return []
        mine = [name for name in names if name.startswith(f"{self._name}.") and _PIECE.search(name)]
        return [self._folder / name for name in sorted(mine, key=lambda n: (_began(n), n))]

    # the writing thread

    def _write_all(self) -> None:
        while True:
            with self._turn:
                self._writing = False
                self._turn.notify_all()
                self._turn.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    break
                batch = list(self._waiting)
                self._waiting.clear()
                self._writing = True
            self._write(batch)
        self._shut()

    def _write(self, batch: list[bytes]) -> None:
        done = 0
        try:
            for chunk in _chunks(batch, self._piece):
                self._put(b"".join(line + b"\n" for line in chunk))
                done += len(chunk)
        except OSError as error:
            self._shut()
            self.dropped += len(batch) - done
            if not self._failing:
                log.warning("%s are not written down: %s", self._name, error.strerror or type(error).__name__)
            self._failing = True
        else:
            if self._failing:
                log.warning("%s are written down again; %d lines were lost", self._name, self.dropped)
            self._failing = False

    def _put(self, data: bytes) -> None:
        if self._file is not None and self._is_full(len(data)):
            self._shut()
        file = self._open(len(data)) if self._file is None else self._file
        before, view = self._size, memoryview(data)
        try:
            while view:
                view = view[os.write(file, view) :]
        except OSError:
            with contextlib.suppress(OSError):  # half a line is worse than none
                os.ftruncate(file, before)
            raise
        self._size += len(data)

    def _is_full(self, more: int) -> bool:
        old = self._days and self._clock() - self._born > max(DAY, self._days * DAY / PIECES)
        return bool(self._size and (old or self._size + more > self._piece))

    def _open(self, more: int) -> int:
        """Go on with the last piece, or begin one when that is full or old; the descriptor."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        pieces = self.pieces()
        self._born = _began(pieces[-1].name) if pieces else 0
        self._size = pieces[-1].stat().st_size if pieces else 0
        if pieces and not self._is_full(more):
            path = pieces[-1]
        else:
            self._born = max(int(self._clock()), self._born + 1)
            self._size = 0
            path = self._folder / f"{self._name}.{self._born}.jsonl"
            pieces.append(path)
        self._prune(pieces)
        flags = (
            os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
        )
        file = self._file = os.open(path, flags, 0o600)
        if self._size:
            os.lseek(file, -1, os.SEEK_END)
            if os.read(file, 1) != b"\n":
                self._size += os.write(file, b"\n")
        return file

    def _prune(self, pieces: list[Path]) -> None:
        """Delete the oldest pieces: too many, or all of whose lines are too old."""
        horizon = self._clock() - self._days * DAY if self._days else 0.0
        for at, path in enumerate(pieces[:-1]):
            if len(pieces) - at > PIECES or _began(pieces[at + 1].name) < horizon:
                with contextlib.suppress(OSError):
                    path.unlink()

    def _shut(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                os.close(self._file)
            self._file = None


def _began(name: str) -> int:
    match = _PIECE.search(name)
    return int(match[1]) if match else 0


def read(path: Path) -> list[bytes]:
    """The lines of a file; none where it is gone meanwhile."""
    try:
        return path.read_bytes().splitlines()
    except OSError:
        return []


def _chunks(lines: list[bytes], size: int) -> Iterator[list[bytes]]:
    """Groups of lines of ``size`` bytes at most, each of one line at least."""
    group: list[bytes] = []
    held = 0
    for line in lines:
        if group and held + len(line) + 1 > size:
            yield group
            group, held = [], 0
        group.append(line)
        held += len(line) + 1
    if group:
        yield group
