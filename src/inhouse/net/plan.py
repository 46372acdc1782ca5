"""Which bytes of a file are here, which are on their way, and who fetches what next. Pure; no clock."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

PIECE_LEAST: Final = 2**18
PIECE_MOST: Final = 2**22
PIECES: Final = 256
"""A killed transfer loses at most one piece a stream."""

SHARE_LEAST: Final = 2**23
SHARE_MOST: Final = 2**26

SLOW: Final = 8.0
"""A stream this many times slower than the best loses all of its range, not just half."""
WORTH: Final = 0.5
"""Seconds of work left from which on a range is worth sharing: what its answer had already on the way is
lost. A range that is too young to be measured is not shared."""
FORGET: Final = 0.9


def piece_size(size: int) -> int:
    """Bytes of the pieces in which a file of ``size`` is remembered."""
    return min(PIECE_MOST, max(PIECE_LEAST, size // PIECES))


@dataclass(slots=True)
class Segment:
    """A range that one stream is fetching: ``pos`` up to ``end``. ``rate``: bytes/s of late, None: new."""

    pos: int
    end: int
    mark: int
    marked_at: float
    rate: float | None = None

    @property
    def left(self) -> int:
        return self.end - self.pos


class Plan:
    """The state of one transfer. Not thread-safe: its owner holds a lock.

    ``done``: indices of pieces that are here. Segments are handed out in ascending order, so that the
    finished part grows from the front and can be hashed meanwhile. A segment begins where a piece does,
    or where a former owner of the same piece stopped: all before ``pos`` in its piece is written.
    """

    def __init__(self, size: int, piece: int, done: Iterable[int] = (), *, streams: int = 1) -> None:
        self.size = size
        self.piece = piece
        self.count = -(-size // piece)
        self.done = bytearray(self.count)
        for index in done:
            self.done[index] = 1
        self.completed = sum(self._length(i) for i in range(self.count) if self.done[i])
        share = min(SHARE_MOST, max(SHARE_LEAST, size // 64)) if streams > 1 else size
        self._share = self._aligned(share)
        self._free = self._gaps()
        self._active: list[Segment] = []
        self._front = 0
        self._best = 0.0

    @property
    def finished(self) -> bool:
        return self.completed == self.size

    @property
    def prefix(self) -> int:
        """Bytes from the file's start that are here without a gap, in whole pieces."""
        while self._front < self.count and self.done[self._front]:
            self._front += 1
        return min(self.size, self._front * self.piece)

    def first(self) -> tuple[int, int]:
        """The range that ``take`` would hand out first."""
        start, end = self._free[0] if self._free else (0, 0)
        return start, min(end, self._aligned(start + self._share))

    def take(self, now: float) -> Segment | None:
        """The next range to fetch: a free one, else a part of another stream's. None: nothing now."""
        if self._free:
            start, end = self.first()
            rest = self._free.pop(0)
            if end < rest[1]:
                self._free.insert(0, (end, rest[1]))
        elif found := self._steal():
            start, end = found
        else:
            return None
        segment = Segment(start, end, start, now)
        self._active.append(segment)
        return segment

    def advance(self, segment: Segment, count: int) -> list[int]:
        """``count`` more bytes of a segment are written; the pieces that this completes.

        Bytes beyond the segment's end, which another stream may have taken meanwhile, do not count.
        """
        count = min(count, segment.left)
        first = segment.pos // self.piece
        segment.pos += count
        self.completed += count
        last = self.count if segment.pos == self.size else segment.pos // self.piece
        found = [index for index in range(first, last) if not self.done[index]]
        for index in found:
            self.done[index] = 1
        return found

    def leave(self, segment: Segment) -> None:
        """A stream gives up or is finished; what is left of its range is free again."""
        self._active = [other for other in self._active if other is not segment]
        if segment.left:
            self._free.append((segment.pos, segment.end))
            self._free.sort()
            segment.end = segment.pos

    def observe(self, now: float) -> None:
        """Measure every stream; to be called about once a second."""
        for segment in self._active:
            if now - segment.marked_at > 0:
                segment.rate = (segment.pos - segment.mark) / (now - segment.marked_at)
                segment.mark, segment.marked_at = segment.pos, now
        rates = [segment.rate for segment in self._active if segment.rate is not None]
        self._best = max([self._best * FORGET, *rates])

    def _steal(self) -> tuple[int, int] | None:
        """All of a range that hardly moves, else half of the one that will take longest."""
        waiting = [(s.left / max(1.0, s.rate), s) for s in self._active if s.left and s.rate is not None]
        for seconds, segment in waiting:
            if segment.rate is not None and segment.rate * SLOW < self._best and seconds > WORTH:
                start, end = segment.pos, segment.end
                segment.end = segment.pos
                return start, end
        for seconds, segment in sorted(waiting, key=lambda pair: -pair[0]):
            if seconds < WORTH:
                break
            middle = self._aligned(segment.pos + segment.left // 2)
            if segment.pos < middle < segment.end:
                end, segment.end = segment.end, middle
                return middle, end
        return None

    def _gaps(self) -> list[tuple[int, int]]:
        found: list[tuple[int, int]] = []
        for index in range(self.count):
            if self.done[index]:
                continue
            start, end = index * self.piece, min(self.size, (index + 1) * self.piece)
            if found and found[-1][1] == start:
                found[-1] = (found[-1][0], end)
            else:
                found.append((start, end))
        return found

    def _aligned(self, offset: int) -> int:
        """The border of a piece at or after ``offset``."""
        return -(-offset // self.piece) * self.piece

    def _length(self, index: int) -> int:
        return min(self.piece, self.size - index * self.piece)
