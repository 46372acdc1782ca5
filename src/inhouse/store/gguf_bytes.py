"""The bytes of a GGUF header: a buffer that never reads past the file or a ceiling.

Plain ``read`` calls, not ``mmap``: a file cut short meanwhile must not kill the process. Arrays stay
in the buffer as they lie; nothing of them is decoded until somebody asks.
"""

from __future__ import annotations

import contextlib
import os
import stat
import struct
import sys
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

from ..core.errors import BadRequest

HEADER_CEILING: Final = 32 * 2**20
STEP: Final = 4 * 2**20
ITEM_CEILING: Final = 2**16
STRINGS_CEILING: Final = 2_000_000

_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")


def malformed(offset: int, reason: str) -> BadRequest:
    """The one error for a file that is not a usable GGUF; names the byte."""
    return BadRequest(
        f"not a usable GGUF file: {reason} (at byte {offset})",
        hint="The file is damaged or was made by another tool. Fetch it again.",
    )


class Numbers:
    """An array of numbers of the format letter ``letter`` (as in ``struct``), still in the buffer."""

    __slots__ = ("_count", "_data", "_start", "letter")

    def __init__(self, data: bytearray, start: int, count: int, letter: str) -> None:
        self._data = data
        self._start = start
        self._count = count
        self.letter = letter

    def __len__(self) -> int:
        return self._count

    def values(self) -> array[Any]:
        """All of them, copied out."""
        end = self._start + self._count * struct.calcsize("<" + self.letter)
        out: array[Any] = array("B" if self.letter == "?" else self.letter)
        with memoryview(self._data) as view:
            out.frombytes(view[self._start : end])
        if sys.byteorder == "big":
            out.byteswap()
        return out

    def places(self, value: int) -> Iterator[int]:
        """The indexes of one value, ascending; searches the bytes, for there may be 150,000 of others."""
        wanted = struct.pack("<" + self.letter, value)
        width = len(wanted)
        at, end = self._start, self._start + self._count * width
        while (at := self._data.find(wanted, at, end)) >= 0:
            off = (at - self._start) % width
            if not off:
                yield (at - self._start) // width
            at += width - off


class Strings:
    """An array of strings as it lies in the buffer; five megabytes for a vocabulary, not fifty."""

    __slots__ = ("_data", "_end", "_starts")

    def __init__(self, data: bytearray, starts: array[int], end: int) -> None:
        """``starts``: where in ``data`` the length before each string begins; ``end``: where all end."""
        self._data = data
        self._starts = starts
        self._end = end

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index: int) -> str:
        start = self._starts[index]
        return self._data[start + 8 : start + 8 + self.length(index)].decode("utf-8", "replace")

    def __contains__(self, text: str) -> bool:
        raw = text.encode()
        begin = self._starts[0] if self._starts else self._end
        return self._data.find(_U64.pack(len(raw)) + raw, begin, self._end) >= 0

    def length(self, index: int) -> int:
        """The length of one string in bytes."""
        return int(_U64.unpack_from(self._data, self._starts[index])[0])

    @property
    def size(self) -> int:
        """Bytes of all strings with their lengths."""
        return self._end - self._starts[0] if self._starts else 0


@contextlib.contextmanager
def regular_file(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """A file, opened, and its size in bytes. Raises OSError; BadRequest at once for a pipe or device."""
    nonblocking = getattr(os, "O_NONBLOCK", 0)  # or the open of a named pipe never returns
    with open(path, "rb", buffering=0, opener=lambda p, flags: os.open(p, flags | nonblocking)) as file:
        facts = os.fstat(file.fileno())
        if not stat.S_ISREG(facts.st_mode):
            raise BadRequest("A model file must be a regular file.", hint="Give the path of the file itself.")
        yield file, facts.st_size


class Reader:
    """The head of a file as a buffer that grows on demand, never past the file or the ceiling."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file = file
        self.size = size
        self.data = bytearray()
        self.at = 0
        self.strings_left = STRINGS_CEILING

    def need(self, count: int, what: str) -> None:
        """Make ``count`` bytes from here available."""
        end = self.at + count
        if end <= len(self.data):
            return
        if end > self.size:
            raise malformed(self.at, f"{what} runs past the end of the file")
        if end > HEADER_CEILING:
            raise malformed(self.at, f"the header is larger than {HEADER_CEILING >> 20} MiB")
        while end > len(self.data):
            chunk = self.file.read(min(max(len(self.data), 2**16), STEP))
            if not chunk:
                raise malformed(self.at, f"{what} runs past the end of the file")
            self.data += chunk

    def number(self, kind: struct.Struct, what: str) -> int | float:
        self.need(kind.size, what)
        value: int | float = kind.unpack_from(self.data, self.at)[0]
        self.at += kind.size
        return value

    def u32(self, what: str) -> int:
        return int(self.number(_U32, what))

    def u64(self, what: str) -> int:
        return int(self.number(_U64, what))

    def raw(self, what: str, ceiling: int) -> tuple[int, int]:
        """Step over a length-prefixed string; where its bytes begin and end."""
        start = self.at
        length = self.u64(what)
        if length > ceiling:
            raise malformed(start, f"{what} claims {length} bytes, at most {ceiling} are allowed")
        self.need(length, what)
        self.at += length
        return self.at - length, self.at

    def name(self, what: str, ceiling: int) -> str:
        """A name: printable ASCII that can never climb out of a folder."""
        start = self.at
        begin, end = self.raw(what, ceiling)
        name = self.data[begin:end].decode("ascii", "replace")
        if not name or not name.isprintable() or ".." in name or "\ufffd" in name:
            raise malformed(start, f"{what} is empty or has forbidden characters")
        return name

    def strings(self, count: int, what: str) -> Strings:
        """Walk an array of strings; the hot loop of the reader, hence the local names."""
        if count > self.strings_left:
            raise malformed(self.at, f"{what} has {count} strings, too many")
        self.strings_left -= count
        starts = array("I")
        data, at, length_at, add = self.data, self.at, _U64.unpack_from, starts.append
        for _ in range(count):
            try:
                length = length_at(data, at)[0]
            except struct.error:  # the end of what is buffered
                self._reach(at, starts, what)
                length = length_at(data, at)[0]
            if length > ITEM_CEILING:
                raise malformed(at, f"{what} has a string of {length} bytes")
            add(at)
            at += 8 + length
        self._reach(at - 8, starts, what)
        self.at = at
        return Strings(data, starts, at)

    def _reach(self, at: int, starts: array[int], what: str) -> None:
        """Buffer the 8 bytes at ``at``; what lies before belongs to the last string walked over."""
        if at + 8 > len(self.data):
            if starts and at > self.size:
                raise malformed(starts[-1], f"{what} has a string that runs past the end of the file")
            self.at = at
            self.need(8, what)
