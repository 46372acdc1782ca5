"""Splits a GGUF file as llama-gguf-split does: all keys in the first part, tensors in order, bytes as they are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from inhouse.store.gguf import Header, Tensor, read_header

from . import tiny_gguf
from .tiny_gguf import I32, U16, Tiny, number, typed

ALIGNMENT = 32


def split(source: Path, folder: Path, stem: str, count: int) -> list[Path]:
    """Write ``<stem>-00001-of-0000N.gguf`` and so on, of about the same size. Returns them in order."""
    header = read_header(source)
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    with source.open("rb") as file:
        for at, tensors in enumerate(_shares(header, count)):
            path = folder / f"{stem}-{at + 1:05d}-of-{count:05d}.gguf"
            with path.open("wb") as out:
                out.write(_head(header, at, count, tensors))
                for tensor in tensors:
                    file.seek(header.data_offset + tensor.offset)
                    out.write(file.read(tensor.size))
                    out.write(bytes(-tensor.size % ALIGNMENT))
            parts.append(path)
    return parts


def _shares(header: Header, count: int) -> list[list[Tensor]]:
    total = sum(tensor.size for tensor in header.tensors)
    shares: list[list[Tensor]] = [[] for _ in range(count)]
    done = 0
    for tensor in header.tensors:
        shares[done * count // total].append(tensor)
        done += tensor.size
    return shares


def _head(header: Header, at: int, count: int, tensors: Sequence[Tensor]) -> bytes:
    """Everything before the data, padded to where it begins."""
    pairs = {key: header.raw(key) for key in header.values} if at == 0 else {}
    pairs["split.no"] = typed(U16, number(U16, at))
    pairs["split.count"] = typed(U16, number(U16, count))
    pairs["split.tensors.count"] = typed(I32, number(I32, len(header.tensors)))
    placed, offset = [], 0
    for tensor in tensors:
        placed.append(tiny_gguf.Tensor(tensor.name, tensor.shape, tensor.type, offset, b""))
        offset += -(-tensor.size // ALIGNMENT) * ALIGNMENT
    return Tiny(pairs, placed).build()
