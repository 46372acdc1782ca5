"""Threads that follow a growing file: one hashes it, one makes it durable."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

CHUNK: Final = 2**20
SYNC: Final = 2**28
"""Bytes after which what is here is made durable, so that the last sync is short."""


class Follower:
    """A thread that does ``work`` from where it stands up to where the file is ready, until the end.

    ``work`` gets both offsets and answers how far it got.
    """

    def __init__(self, name: str, work: Callable[[int, int], int], least: int = 1) -> None:
        self._work = work
        self._least = least
        self._ready = 0
        self._final = False
        self._stop = False
        self._wake = threading.Condition()
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def ready(self, offset: int) -> None:
        """All before ``offset`` is written."""
        with self._wake:
            self._ready = max(self._ready, offset)
            self._wake.notify()

    def ended(self, wait: float) -> bool:
        """No more comes; whether the work is done after at most ``wait`` seconds. Raises its error."""
        with self._wake:
            self._final = True
            self._wake.notify()
        self._thread.join(wait)
        if self.error:
            raise self.error
        return not self._thread.is_alive()

    def stop(self) -> None:
        """End at once; returns when the thread has."""
        with self._wake:
            self._stop = True
            self._wake.notify()
        self._thread.join()

    def _run(self) -> None:
        done = 0
        try:
            while (ready := self._next(done)) > done:
                done = self._work(done, ready)
        except BaseException as error:  # noqa: BLE001  (raised by ended)
            self.error = error

    def _next(self, done: int) -> int:
        with self._wake:
            while not (self._stop or self._final or self._ready >= done + self._least):
                self._wake.wait()
            return done if self._stop else self._ready


class Hasher(Follower):
    """sha256 of a file while it grows."""

    def __init__(self, path: Path) -> None:
        self._digest = hashlib.sha256()
        self._file = path.open("rb", buffering=0)
        self._view = memoryview(bytearray(CHUNK))
        super().__init__("hash", self._hash)

    def hexdigest(self) -> str:
        """64 hex digits of what was hashed so far."""
        return self._digest.hexdigest()

    def stop(self) -> None:
        super().stop()
        self._file.close()

    def _hash(self, done: int, ready: int) -> int:
        count = self._file.readinto(self._view[: min(CHUNK, ready - done)])
        if not count:
            raise OSError("the file became shorter")
        self._digest.update(self._view[:count])
        return done + count


def syncer(path: Path, after: Callable[[], Callable[[], None]]) -> Follower:
    """Sync a file every SYNC bytes. ``after`` is called before a sync, its result after it."""

    def sync(done: int, ready: int) -> int:
        then = after()
        with path.open("rb+") as file:
            os.fsync(file.fileno())
        then()
        return ready

    return Follower("sync", sync, SYNC)
