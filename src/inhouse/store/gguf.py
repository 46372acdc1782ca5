"""A bounds-checked reader of GGUF headers (versions 2 and 3, little-endian), in pure Python.

The file may be hostile: every count and length is held against the file's size and a ceiling before
it is used, so a header of any content costs at most about a second and 64 MiB.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

from ..core.errors import StoreError
from .gguf_bytes import HEADER_CEILING, Numbers, Reader, Strings, malformed, regular_file
from .gguf_types import TENSOR_TYPES

KEY_CEILING: Final = 1024
PAIRS_CEILING: Final = 4096
TENSORS_CEILING: Final = 32_768
TENSOR_NAME_CEILING: Final = 127
TEXT_CEILING: Final = 2**20
SHOWN_TEXT: Final = 2**16
TEXTS_CEILING: Final = 4 * 2**20

WHOLE_TEXTS: Final = frozenset({"tokenizer.chat_template", "general.license"})
"""Texts that are kept whole, hence have a ceiling; the others are cut for display."""

_STRING, _ARRAY, _BOOL = 8, 9, 7
_LETTERS: Final = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    _BOOL: "?",
    10: "Q",
    11: "q",
    12: "d",
}
_SCALARS: Final = {code: struct.Struct("<" + letter) for code, letter in _LETTERS.items()}
_MAGICS: Final = (b"ggml", b"lmgg", b"fmgg", b"tjgg", b"algg", b"FUGG")


Scalar = int | float | bool | str
Value: TypeAlias = "Scalar | Numbers | Strings"


class Tensor(NamedTuple):
    """``offset`` counts from the start of the tensor data; ``shape`` is as stored, fastest first.

    ``elements`` and ``size`` in bytes of all of it; ``part`` counts the files of a split model from 0.
    """

    name: str
    shape: tuple[int, ...]
    type: int
    offset: int
    elements: int
    size: int
    part: int = 0


@dataclass(frozen=True, slots=True)
class Header:
    """What stands before the weights. ``spans``: where each key's value (type first) begins and ends.

    ``data`` are the bytes read; arrays among ``values`` point into it. ``tensors_at``: where the first
    tensor is described; ``data_offset``: where the weights begin.
    """

    version: int
    values: Mapping[str, Value]
    spans: Mapping[str, tuple[int, int]]
    tensors: tuple[Tensor, ...]
    tensors_at: int
    data_offset: int
    data: bytearray

    def raw(self, key: str) -> bytes:
        """A key's value as it stands in the file, type and length first."""
        begin, end = self.spans[key]
        with memoryview(self.data) as view:
            return bytes(view[begin:end])


def _array(reader: Reader, key: str) -> Numbers | Strings:
    start = reader.at
    what = f"the array '{key}'"
    kind = reader.u32(what)
    count = reader.u64(what)
    if kind == _STRING:
        return reader.strings(count, what)
    item = _SCALARS.get(kind)
    if item is None:
        reason = "holds arrays" if kind == _ARRAY else f"has the unknown type {kind}"
        raise malformed(start, f"{what} {reason}")
    if count > reader.size:
        raise malformed(start, f"{what} claims {count} elements")
    reader.need(count * item.size, what)
    numbers = Numbers(reader.data, reader.at, count, _LETTERS[kind])
    reader.at += count * item.size
    return numbers


def _text(reader: Reader, key: str) -> str:
    """A text. It need not be UTF-8 in the wild: it is repaired; a long one is cut, unless kept whole."""
    whole = key in WHOLE_TEXTS
    begin, end = reader.raw(f"'{key}'", TEXT_CEILING if whole else HEADER_CEILING)
    shown = end if whole else min(end, begin + SHOWN_TEXT)
    text = reader.data[begin:shown].decode("utf-8", "replace")
    return text if shown == end else text.rstrip("\ufffd") + "…"


def _value(reader: Reader, key: str) -> Value:
    start = reader.at
    kind = reader.u32(f"'{key}'")
    if kind == _STRING:
        return _text(reader, key)
    if kind == _ARRAY:
        return _array(reader, key)
    item = _SCALARS.get(kind)
    if item is None:
        raise malformed(start, f"'{key}' has the unknown type {kind}")
    value = reader.number(item, f"'{key}'")
    if kind == _BOOL and reader.data[reader.at - 1] > 1:
        raise malformed(start, f"'{key}' is neither true nor false")
    return value


def _preamble(reader: Reader) -> tuple[int, int, int]:
    """Magic, version and the two counts."""
    reader.need(4, "the magic number")
    magic = bytes(reader.data[:4])
    if magic != b"GGUF":
        foreign = magic in _MAGICS
        raise malformed(0, "an older or foreign ggml format" if foreign else "the magic number is missing")
    reader.at = 4
    version = reader.u32("the version")
    if version not in (2, 3):
        swapped = version in (1 << 24, 2 << 24, 3 << 24)
        raise malformed(4, "it is big-endian" if swapped else f"version {version} is not 2 or 3")
    tensors = reader.u64("the tensor count")
    if tensors > TENSORS_CEILING:
        raise malformed(8, f"it claims {tensors} tensors")
    pairs = reader.u64("the key count")
    if not 0 < pairs <= PAIRS_CEILING:
        raise malformed(16, f"it claims {pairs} keys")
    return version, tensors, pairs


def _alignment(values: Mapping[str, Value], spans: Mapping[str, tuple[int, int]]) -> int:
    key = "general.alignment"
    alignment = values.get(key, 32)
    whole = isinstance(alignment, int) and not isinstance(alignment, bool)
    if not whole or not 8 <= alignment <= 2**20 or alignment & (alignment - 1):  # type: ignore[operator]
        raise malformed(spans[key][0], f"'{key}' is not a power of two from 8 up")
    return alignment  # type: ignore[return-value]


def _tensor(reader: Reader) -> Tensor:
    start = reader.at
    name = reader.name("a tensor name", TENSOR_NAME_CEILING)
    what = f"tensor '{name}'"
    at = reader.at
    count = reader.u32(what)
    if not 1 <= count <= 4:
        raise malformed(at, f"{what} has {count} dimensions")
    shape = tuple([reader.u64(what) for _ in range(count)])
    elements = math.prod(shape)
    if elements == 0 or elements >= 2**63:
        raise malformed(at, f"{what} has an impossible shape")
    at = reader.at
    code = reader.u32(what)
    kind = TENSOR_TYPES.get(code)
    if kind is None:
        raise malformed(at, f"{what} has the unknown type {code}")
    if shape[0] % kind.block:
        raise malformed(start, f"{what} has rows of {shape[0]}, not a multiple of {kind.block}")
    offset = reader.u64(what)
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
    if tensors and begin + tensors[-1].offset + tensors[-1].size > reader.size:
        beyond = next(t for t in tensors if begin + t.offset + t.size > reader.size)
        raise malformed(reader.size, f"the data of tensor '{beyond.name}' runs past the end of the file")
    return tuple(tensors), begin


def read_header(path: Path) -> Header:
    """Read and check a header. Raises BadRequest naming the byte, StoreError if it cannot be opened."""
    try:
        with regular_file(path) as (file, size):
            return _read(Reader(file, size))
    except OSError as error:
        raise StoreError(
            "A model file cannot be read.",
            hint="Check that it is still there and that you may read it.",
            detail=str(error),
        ) from error


def _read(reader: Reader) -> Header:
    version, tensor_count, pair_count = _preamble(reader)
    values: dict[str, Value] = {}
    spans: dict[str, tuple[int, int]] = {}
    texts = 0
    for _ in range(pair_count):
        start = reader.at
        key = reader.name("a key", KEY_CEILING)
        if key in values:
            raise malformed(start, f"the key '{key[:80]}' stands twice")
        begin = reader.at
        value = values[key] = _value(reader, key)
        spans[key] = (begin, reader.at)
        texts += len(value) if isinstance(value, str) else 0
        if texts > TEXTS_CEILING:
            raise malformed(begin, f"'{key[:80]}': all texts together exceed {TEXTS_CEILING >> 20} MiB")
    tensors_at = reader.at
    tensors, data_offset = _tensors(reader, tensor_count, _alignment(values, spans))
    return Header(version, values, spans, tensors, tensors_at, data_offset, reader.data)
