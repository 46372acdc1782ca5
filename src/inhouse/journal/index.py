"""In which files of a book a request may be, so that one nobody knows costs no reading."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from .book import Book, read

_ID = re.compile(rb'\{"id":("(?:[^"\\]|\\.)*")')
"""How a line of a book of requests begins; the id is written as JSON."""


@dataclass(slots=True)
class _Piece:
    """What is known of one file: hashes of the ids in its first ``read`` bytes."""

    read: int = 0
    ids: set[int] = field(default_factory=set)


class Index:
    """Files only grow, by whole lines: each byte of them is looked at once. From any thread."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._pieces: dict[Path, _Piece] = {}
        self._lock = threading.Lock()

    def lines(self, id: str) -> list[bytes]:
        """The lines of requests of that id, oldest first; perhaps others too. Blocking."""
        wanted = hash(msgspec.json.encode(id))
        found: list[bytes] = []
        for path in self._holding(wanted):
            found += [line for line in read(path) if _mark(line) == wanted]
        return found

    def _holding(self, wanted: int) -> list[Path]:
        with self._lock:
            paths = self._book.pieces()
            self._pieces = {path: self._pieces.get(path, _Piece()) for path in paths}
            for path, piece in self._pieces.items():
                _read_on(path, piece)
            return [path for path, piece in self._pieces.items() if wanted in piece.ids]


def _read_on(path: Path, piece: _Piece) -> None:
    """Look at what was written since."""
    try:
        if path.stat().st_size <= piece.read:
            return
        with path.open("rb") as file:
            file.seek(piece.read)
            data = file.read()
    except OSError:
        return
    whole = data[: data.rfind(b"\n") + 1]
    piece.read += len(whole)
    piece.ids.update(mark for line in whole.splitlines() if (mark := _mark(line)) is not None)


def _mark(line: bytes) -> int | None:
    begin = _ID.match(line)
    return hash(begin[1]) if begin else None
