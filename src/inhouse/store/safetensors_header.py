"""Safetensors: headers and facts of a model folder, read as data only. No code, no pickle, no weights.

A file is 8 bytes of length (little-endian), a JSON header, then the data: every tensor's range lies in
the data, none overlap and none are left out.

Format: https://huggingface.co/docs/safetensors
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from ..core.errors import BadRequest, StoreError, Unsupported
from .gguf_bytes import regular_file

HEADER_CEILING: Final = 16 * 2**20
TENSORS_CEILING: Final = 65_536
SHAPE_CEILING: Final = 256

BITS: Final[dict[str, int]] = (
    dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E5M2FNUZ", "F8_E4M3FNUZ"), 8)
    | dict.fromkeys(("I16", "U16", "F16", "BF16"), 16)
    | dict.fromkeys(("I32", "U32", "F32"), 32)
    | dict.fromkeys(("I64", "U64", "F64", "C64"), 64)
    | {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6}
)
"""Bits of one element by dtype. Source: ``safetensors/src/tensor.rs``."""

_SHARD = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.safetensors\Z", re.ASCII)


class _Entry(msgspec.Struct, frozen=True):
    """One member of the header. All optional, for ``__metadata__`` is an object of other members.

    ``shape`` stays raw until its length is known to be sane.
    """

    dtype: str = ""
    shape: msgspec.Raw = msgspec.Raw()
    data_offsets: tuple[int, int] | None = None


class Tensor(NamedTuple):
    """``begin`` and ``end`` count bytes from the start of the data."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def size(self) -> int:
        return self.end - self.begin


_HEADER = msgspec.json.Decoder(dict[str, _Entry])
_SHAPE = msgspec.json.Decoder(tuple[int, ...])


def _malformed(offset: int, reason: str) -> BadRequest:
    return BadRequest(
        f"not a usable safetensors file: {reason} (at byte {offset})",
        hint="The file is damaged or was made by another tool. Fetch it again.",
    )


def read_header(path: Path) -> tuple[Tensor, ...]:
    """The tensors of one file, in the order of their data.

    Raises BadRequest naming the byte and the tensor, StoreError if the file cannot be read.
    """
    try:
        with regular_file(path) as (file, size):
            head = file.read(8)
            length = int.from_bytes(head, "little")
            if len(head) < 8 or not 2 <= length <= HEADER_CEILING:
                claim = f"its header claims {length} bytes" if len(head) == 8 else "it ends in its header"
                raise _malformed(0, claim)
            if 8 + length > size:
                raise _malformed(0, f"its header claims {length} bytes, it has {size}")
            raw = b""
            while len(raw) < length and (chunk := file.read(length - len(raw))):
                raw += chunk
    except OSError as error:
        raise StoreError(
            "A model file cannot be read.",
            hint="Check that it is still there and that you may read it.",
            detail=str(error),
        ) from error
    if len(raw) < length:
        raise _malformed(8 + len(raw), "it ends in its header")
    return _checked(_entries(raw), 8 + length, size - 8 - length)


def _entries(raw: bytes) -> dict[str, _Entry]:
    # Each tensor is an object, so this bounds what decoding can cost; and each has its offsets once,
    # so a count tells a name that stands twice, which decoding would not.
    if raw[:1] != b"{":
        raise _malformed(8, "its header is not a JSON object")
    if raw.count(b"{") > TENSORS_CEILING + 2:
        raise _malformed(8, f"it has more than {TENSORS_CEILING} tensors")
    try:
        entries = _HEADER.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise _malformed(8, f"its header is not valid: {str(error)[:200]}") from error
    entries.pop("__metadata__", None)
    if raw.count(b'"data_offsets"') != len(entries):
        raise _malformed(8, "a tensor stands twice or has no offsets")
    if not entries:
        raise _malformed(8, "it has no tensors")
    return entries


def _tensor(name: str, entry: _Entry, data_at: int, room: int) -> Tensor:
    what = f"tensor '{name[:80]}'"
    bits = BITS.get(entry.dtype)
    if not name or not name.isprintable() or ".." in name:
        raise _malformed(8, "a tensor name is empty or has forbidden characters")
    if bits is None:
        raise _malformed(8, f"{what} has the unknown dtype '{entry.dtype[:20]}'")
    try:
        shape = _SHAPE.decode(entry.shape) if len(bytes(entry.shape)) <= SHAPE_CEILING else ()
    except msgspec.DecodeError as error:
        raise _malformed(8, f"{what} has an impossible shape") from error
    elements = math.prod(shape)
    if len(bytes(entry.shape)) > SHAPE_CEILING or min(shape, default=0) < 0 or elements >= 2**63:
        raise _malformed(8, f"{what} has an impossible shape")
    begin, end = entry.data_offsets or (-1, -1)
    if not 0 <= begin <= end <= room:
        raise _malformed(data_at, f"{what} lies at {begin}..{end} of {room} bytes of data")
    if elements * bits != (end - begin) * 8:
        raise _malformed(data_at + begin, f"{what} has {end - begin} bytes for its shape")
    return Tensor(name, entry.dtype, shape, begin, end)


def _checked(entries: Mapping[str, _Entry], data_at: int, room: int) -> tuple[Tensor, ...]:
    """All tensors by place. They must cover the data without gaps and without overlap."""
    tensors = [_tensor(name, entry, data_at, room) for name, entry in entries.items()]
    tensors.sort(key=lambda tensor: (tensor.begin, tensor.end))
    if tensors[0].begin:
        raise _malformed(data_at, f"tensor '{tensors[0].name[:80]}' lies at {tensors[0].begin}, not at 0")
    for before, tensor in pairwise(tensors):
        if tensor.begin != before.end:
            wrong = f"tensor '{tensor.name[:80]}' lies at {tensor.begin}, not at {before.end}"
            raise _malformed(data_at + tensor.begin, wrong)
    if tensors[-1].end != room:
        raise _malformed(data_at + tensors[-1].end, f"{room - tensors[-1].end} bytes belong to no tensor")
    return tuple(tensors)


def read_shards(files: Mapping[str, Path]) -> tuple[Tensor, ...]:
    """The tensors of all safetensors files of one model, by relative file name.

    Raises Unsupported when a shard of a set (``-00001-of-00002``) is missing, BadRequest when two files
    hold the same tensor, and what ``read_header`` raises.
    """
    _check_shards(list(files))
    found: dict[str, Tensor] = {}
    for name, path in files.items():
        for tensor in read_header(path):
            if tensor.name in found:
                raise _malformed(8, f"tensor '{tensor.name[:80]}' is in two files, also in {name[:80]}")
            found[tensor.name] = tensor
        if len(found) > TENSORS_CEILING:
            raise _malformed(8, f"the files have more than {TENSORS_CEILING} tensors")
    return tuple(found.values())


def _check_shards(names: Sequence[str]) -> None:
    for match in filter(None, map(_SHARD.match, names)):
        stem, _, count = match.groups()
        if not 1 <= int(count) <= 10_000:
            raise BadRequest(
                f"A safetensors file name claims {int(count)} parts.", hint="Fetch the model again."
            )
        wanted = (f"{stem}-{number:05d}-of-{count}.safetensors" for number in range(1, int(count) + 1))
        missing = sorted(set(wanted) - set(names))
        if missing:
            rest = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
            raise Unsupported(
                f"The model lacks {', '.join(missing[:3])}{rest}.", hint="Fetch the missing files."
            )
