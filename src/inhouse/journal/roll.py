"""The newest of something, in memory and in a book."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from .book import Book

T = TypeVar("T")

LAST = 2.0**37
"""Seconds since 1970 until the year 6325: a line that claims to be of later is as one that is torn."""

_ENCODER = msgspec.json.Encoder(enc_hook=str)


class Roll(Generic[T]):
    """Frozen dataclasses of one ``kind``, the last ``kept`` of them at hand, all of them in ``book``.

    Without a book they are in memory only. What an earlier process wrote is read when this is made.
    """

    def __init__(self, kind: type[T], book: Book | None, *, kept: int) -> None:
        self._decoder = msgspec.json.Decoder(kind)
        self._book = book
        self._lock = threading.Lock()
        before = book.last(kept) if book is not None else []
        self._items: deque[T] = deque(self._decoded(before), maxlen=kept)
        self._unreadable = 0

    def add(self, item: T) -> None:
        """Take in one more; quick, and never fails."""
        with self._lock:
            self._items.append(item)
        if self._book is not None:
            try:
                self._book.append(_ENCODER.encode(item))
            except (TypeError, ValueError, OverflowError, UnicodeEncodeError, RecursionError):
                self._unreadable += 1

    def items(self) -> list[T]:
        """What is at hand, oldest first."""
        with self._lock:
            return list(self._items)

    def everything(self) -> list[T]:
        """All that is kept, oldest first; from the disk when memory does not hold it all. Blocking."""
        items = self.items()
        if self._book is None or len(items) < (self._items.maxlen or 0):
            return items
        self._book.flush()
        found = self._decoded(self._book.lines())
        return found if len(found) >= len(items) else items

    def search(self, lines: Callable[[], Sequence[bytes]]) -> list[T]:
        """Those among ``lines`` of the book, which are asked for only where memory does not hold all that is
        kept. Blocking."""
        if self._book is None or len(self._items) < (self._items.maxlen or 0):
            return []
        self._book.flush()
        return self._decoded(lines())

    @property
    def dropped(self) -> int:
        """How many the disk did not take."""
        return (self._book.dropped if self._book is not None else 0) + self._unreadable

    def close(self) -> None:
        """Write down what waits. Blocking, for some seconds at most."""
        if self._book is not None:
            self._book.close()

    def _decoded(self, lines: Any) -> list[T]:
        """The lines that can be read: a torn one, or one of another version, is passed over."""
        found: list[T] = []
        for line in lines:
            try:
                found.append(self._decoder.decode(line))
            except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
                continue
        return found
