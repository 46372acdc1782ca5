"""A bounds-checked reader of GGUF headers (versions 2 and 3, little-endian), in pure Python.

The file may be hostile: every count and length is held against the file's size and a ceiling before
it is used, so a header of any content costs at most about a second and 64 MiB.

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
from typing import Any, Final, NamedTuple, TypeAlias

from ..core.errors import StoreError
from .gguf_bytes import Reader, Skipped, Strings, malformed
from .gguf_types import TENSOR_TYPES

NAME_CEILING: Final = 65_535
PAIRS_CEILING: Final = 65_536
TENSORS_CEILING: Final = 65_536
KEPT_NUMBERS: Final = 4_096
KEPT_STRINGS: Final = 64
TENSOR_NAME_CEILING: Final = 127
WHOLE_ARRAYS: Final = frozenset({"tokenizer.ggml.tokens", "tokenizer.ggml.token_type"})

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


def _array(reader: Reader, key: str) -> Value:
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


def _value(reader: Reader, key: str) -> Value:
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


def _preamble(reader: Reader) -> tuple[int, int, int]:
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


def _tensor(reader: Reader) -> Tensor:
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


def _tensors(reader: Reader, count: int, alignment: int) -> tuple[tuple[Tensor, ...], int]:
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
            return _read(Reader(file, os.fstat(file.fileno()).st_size))
    except OSError as error:
        raise StoreError("A model file cannot be read.", detail=str(error)) from error


def _read(reader: Reader) -> Header:
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
