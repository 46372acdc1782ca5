"""A bounds-checked reader of GGUF headers (versions 2 and 3, little-endian), in pure Python.

The file may be hostile: every count and length is held against the file's size and a ceiling before
it is used, so a header of any content costs at most about a second and 64 MiB. It reads with plain
``read`` calls, not ``mmap``: a file cut short meanwhile must not kill the process.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import math
import os
import struct
import sys
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, TypeAlias

from ..core.errors import BadRequest, StoreError
from .gguf_types import TENSOR_TYPES

HEADER_CEILING: Final = 32 * 2**20
STEP: Final = 4 * 2**20
STRING_CEILING: Final = 4 * 2**20
NAME_CEILING: Final = 65_535
PAIRS_CEILING: Final = 65_536
TENSORS_CEILING: Final = 65_536
STRINGS_CEILING: Final = 2_000_000
KEPT_NUMBERS: Final = 4_096
KEPT_STRINGS: Final = 64
TENSOR_NAME_CEILING: Final = 127
WHOLE_ARRAYS: Final = frozenset({"tokenizer.ggml.tokens", "tokenizer.ggml.token_type"})

_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_STRING, _ARRAY, _BOOL = 8, 9, 7
_SCALARS: Final = {
    code: struct.Struct("<" + letter)
    for code, letter in {
        0: "B",
        1: "b",
        2: "H",
        3: "h",
        4: "I",
        5: "i",
        6: "f",
        _BOOL: "B",
        10: "Q",
        11: "q",
        12: "d",
    }.items()
}


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


Scalar = int | float | bool | str
Value: TypeAlias = "Scalar | array[Any] | Strings | Skipped"


class Tensor(NamedTuple):
    """``offset`` counts from the start of the tensor data; ``shape`` is as stored, fastest first."""

    name: str
    shape: tuple[int, ...]
    type: int
    offset: int
    elements: int
    size: int


@dataclass(frozen=True, slots=True)
class Header:
    """What stands before the weights. ``places`` are the byte offsets of the keys' values."""

    version: int
    values: Mapping[str, Value]
    places: Mapping[str, int]
    tensors: tuple[Tensor, ...]
    data_offset: int


def malformed(offset: int, reason: str) -> BadRequest:
    """The one error for a file that is not a usable GGUF; names the byte."""
    return BadRequest(
        f"not a usable GGUF file: {reason} (at byte {offset})",
        hint="The file is damaged or was made by another tool. Fetch it again.",
    )


class _Reader:
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


def _array(reader: _Reader, key: str) -> Value:
    start = reader.at
    what = f"the array '{key}'"
    kind = reader.u32(what)
    count = reader.u64(what)
    whole = key in WHOLE_ARRAYS
    if kind == _STRING:
        return reader.strings(count, whole or count <= KEPT_STRINGS, what)
    item = _SCALARS.get(kind)
    if item is None:
        reason = "holds arrays" if kind == _ARRAY else f"has the unknown type {kind}"
        raise malformed(start, f"{what} {reason}")
    if count > reader.size:
        raise malformed(start, f"{what} claims {count} elements")
    size = count * item.size
    reader.need(size, what)
    values: Value = Skipped(count)
    if whole or count <= KEPT_NUMBERS:
        values = array(item.format[1], bytes(reader.data[reader.at : reader.at + size]))
        if sys.byteorder == "big":
            values.byteswap()
    reader.at += size
    return values


def _value(reader: _Reader, key: str) -> Value:
    start = reader.at
    kind = reader.u32(f"'{key}'")
    if kind == _STRING:
        return reader.text(f"'{key}'")
    if kind == _ARRAY:
        return _array(reader, key)
    item = _SCALARS.get(kind)
    if item is None:
        raise malformed(start, f"'{key}' has the unknown type {kind}")
    value = reader.number(item, f"'{key}'")
    if kind != _BOOL:
        return value
    if value not in (0, 1):
        raise malformed(start, f"'{key}' is neither true nor false")
    return bool(value)


def _preamble(reader: _Reader) -> tuple[int, int, int]:
    """Magic, version and the two counts."""
    reader.need(4, "the magic number")
    magic = bytes(reader.data[:4])
    if magic != b"GGUF":
        known = magic in (b"ggml", b"lmgg", b"fmgg", b"tjgg", b"algg", b"FUGG")
        raise malformed(0, "an older or foreign ggml format" if known else "the magic number is missing")
    reader.at = 4
    version = reader.u32("the version")
    if version not in (2, 3):
        swapped = version in (2 << 24, 3 << 24)
        raise malformed(4, "it is big-endian" if swapped else f"version {version} is not 2 or 3")
    tensors = reader.u64("the tensor count")
    if not 0 < tensors <= TENSORS_CEILING:
        raise malformed(8, f"it claims {tensors} tensors")
    pairs = reader.u64("the key count")
    if not 0 < pairs <= PAIRS_CEILING:
        raise malformed(16, f"it claims {pairs} keys")
    return version, tensors, pairs


def _alignment(values: Mapping[str, Value], places: Mapping[str, int]) -> int:
    alignment = values.get("general.alignment", 32)
    if (
        not isinstance(alignment, int)
        or not 8 <= alignment <= 2**20
        or alignment & (alignment - 1)
        or isinstance(alignment, bool)
    ):
        raise malformed(places["general.alignment"], "'general.alignment' is not a power of two from 8 up")
    return alignment


def _tensor(reader: _Reader) -> Tensor:
    start = reader.at
    name = reader.name("a tensor name", TENSOR_NAME_CEILING)
    at = reader.at
    count = reader.u32(f"tensor '{name}'")
    if not 1 <= count <= 4:
        raise malformed(at, f"tensor '{name}' has {count} dimensions")
    shape = tuple(reader.u64(f"tensor '{name}'") for _ in range(count))
    elements = math.prod(shape)
    if elements == 0 or elements >= 2**63:
        raise malformed(at, f"tensor '{name}' has an impossible shape")
    at = reader.at
    code = reader.u32(f"tensor '{name}'")
    kind = TENSOR_TYPES.get(code)
    if kind is None:
        raise malformed(at, f"tensor '{name}' has the unknown type {code}")
    if shape[0] % kind.block:
        raise malformed(start, f"tensor '{name}' has rows of {shape[0]}, not a multiple of {kind.block}")
    offset = reader.u64(f"tensor '{name}'")
    return Tensor(name, shape, code, offset, elements, elements // kind.block * kind.size)


def _tensors(reader: _Reader, count: int, alignment: int) -> tuple[tuple[Tensor, ...], int]:
    """All tensor infos. Data must lie in order, aligned, without gaps or overlap, inside the file."""
    tensors: list[Tensor] = []
    names: set[str] = set()
    expected = 0
    for _ in range(count):
        start = reader.at
        tensor = _tensor(reader)
        if tensor.name in names:
            raise malformed(start, f"tensor '{tensor.name}' stands twice")
        if tensor.offset != expected:
            raise malformed(start, f"tensor '{tensor.name}' lies at {tensor.offset}, not at {expected}")
        names.add(tensor.name)
        tensors.append(tensor)
        expected += -(-tensor.size // alignment) * alignment
    begin = -(-reader.at // alignment) * alignment
    last = tensors[-1]
    if begin + last.offset + last.size > reader.size:
        raise malformed(reader.size, f"the data of tensor '{last.name}' runs past the end of the file")
    return tuple(tensors), begin


def read_header(path: Path) -> Header:
    """Read and check a header. Raises BadRequest naming the byte, StoreError if it cannot be opened."""
    try:
        with path.open("rb", buffering=0) as file:
            return _read(_Reader(file, os.fstat(file.fileno()).st_size))
    except OSError as error:
        raise StoreError("A model file cannot be read.", detail=str(error)) from error


def _read(reader: _Reader) -> Header:
    version, tensor_count, pair_count = _preamble(reader)
    values: dict[str, Value] = {}
    places: dict[str, int] = {}
    for _ in range(pair_count):
        start = reader.at
        key = reader.name("a key", NAME_CEILING)
        if key in values:
            raise malformed(start, f"the key '{key[:80]}' stands twice")
        places[key] = reader.at
        values[key] = _value(reader, key)
    alignment = _alignment(values, places)
    tensors, data_offset = _tensors(reader, tensor_count, alignment)
    return Header(version, values, places, tensors, data_offset)
