"""The bytes of a GGUF header: a buffer that never reads past the file or a ceiling.

Plain ``read`` calls, not ``mmap``: a file cut short meanwhile must not kill the process.
"""

from __future__ import annotations

import struct
from array import array
from dataclasses import dataclass
from typing import BinaryIO, Final

from ..core.errors import BadRequest

HEADER_CEILING: Final = 32 * 2**20
STEP: Final = 4 * 2**20
STRING_CEILING: Final = 4 * 2**20
STRINGS_CEILING: Final = 2_000_000

_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")


@dataclass(frozen=True, slots=True)
class Skipped:
    """An array too long to keep: only its length is known."""

    count: int


class Strings:
    """An array of strings as it lies in the file; half a megabyte for a vocabulary, not fifty."""

    __slots__ = ("_data", "_starts")

    def __init__(self, data: bytes, starts: array[int]) -> None:
        """``data`` holds length-prefixed strings, ``starts`` where each prefix begins."""
        self._data = data
        self._starts = starts

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index: int) -> str:
        start = self._starts[index]
        length = _U64.unpack_from(self._data, start)[0]
        return self._data[start + 8 : start + 8 + length].decode("utf-8", "replace")

    def __contains__(self, text: str) -> bool:
        raw = text.encode()
        return _U64.pack(len(raw)) + raw in self._data


def malformed(offset: int, reason: str) -> BadRequest:
    """The one error for a file that is not a usable GGUF; names the byte."""
    return BadRequest(
        f"not a usable GGUF file: {reason} (at byte {offset})",
        hint="The file is damaged or was made by another tool. Fetch it again.",
    )


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

    def text(self, what: str, ceiling: int = STRING_CEILING) -> str:
        """A length-prefixed string. Values need not be UTF-8 in the wild: they are repaired."""
        start = self.at
        length = self.u64(what)
        if length > ceiling:
            raise malformed(start, f"{what} claims {length} bytes, at most {ceiling} are allowed")
        self.need(length, what)
        raw = self.data[self.at : self.at + length]
        self.at += length
        return raw.decode("utf-8", "replace")

    def name(self, what: str, ceiling: int) -> str:
        start = self.at
        name = self.text(what, ceiling)
        if not name or not name.isprintable() or ".." in name or "\ufffd" in name:
            raise malformed(start, f"{what} is empty or has forbidden characters")
        return name

    def strings(self, count: int, keep: bool, what: str) -> Strings | Skipped:
        """Walk an array of strings; the hot loop of the reader, hence the local names."""
        if count > self.strings_left:
            raise malformed(self.at, f"{what} has {count} strings, too many")
        self.strings_left -= count
        begin = self.at
        starts = array("I")
        data, at, have, length_at = self.data, begin, len(self.data), _U64.unpack_from
        for _ in range(count):
            if at + 8 > have:
                self.at = at
                self.need(8, what)
                have = len(data)
            length = length_at(data, at)[0]
            if keep:
                starts.append(at - begin)
            at += 8 + length
            if at > have:
                self.at = at - length
                if length > STRING_CEILING:
                    raise malformed(self.at - 8, f"{what} has a string of {length} bytes")
                self.need(length, what)
                have = len(data)
        self.at = at
        return Strings(bytes(data[begin:at]), starts) if keep else Skipped(count)
