"""Hostile GGUF files made from a valid one: every field lies, every border is a place to be cut off.

The walk over the valid file is written apart from the reader under test, so that a mistake of the one
does not hide in the other.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from .tiny_gguf import ARRAY, BOOL, F64, I8, I16, I64, STRING, U8, U16, U64

LIES = (0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1)
_WIDTHS = {U8: 1, I8: 1, BOOL: 1, U16: 2, I16: 2, U64: 8, I64: 8, F64: 8}


class Place(NamedTuple):
    """One field of a file: what it is, where it stands and how many bytes it has."""

    name: str
    at: int
    width: int


class _Walk:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self.places: list[Place] = []

    def number(self, name: str, width: int) -> int:
        self.places.append(Place(name, self.at, width))
        value = int.from_bytes(self.data[self.at : self.at + width], "little")
        self.at += width
        return value

    def text(self, name: str) -> str:
        length = self.number(f"{name} length", 8)
        self.at += length
        return self.data[self.at - length : self.at].decode("utf-8", "replace")

    def value(self, name: str, kind: int) -> None:
        if kind == STRING:
            self.text(name)
        elif kind == ARRAY:
            inner = self.number(f"{name} item type", 4)
            for _ in range(self.number(f"{name} count", 8)):
                self.value(f"{name} item", inner)
        else:
            self.number(name, _WIDTHS.get(kind, 4))


def places(data: bytes) -> list[Place]:
    """All fields of a valid file, in order."""
    walk = _Walk(data)
    walk.number("magic", 4)
    walk.number("version", 4)
    tensors, pairs = walk.number("tensor count", 8), walk.number("key count", 8)
    for _ in range(pairs):
        key = walk.text("key")
        walk.value(key, walk.number(f"{key} type", 4))
    for _ in range(tensors):
        name = walk.text("tensor name")
        for _ in range(walk.number(f"{name} dimensions", 4)):
            walk.number(f"{name} dimension", 8)
        walk.number(f"{name} type", 4)
        walk.number(f"{name} offset", 8)
    walk.number("padding", 0)
    return walk.places


def lies(data: bytes) -> Iterator[tuple[str, bytes]]:
    """The file with each field in turn set to each value that once broke a reader."""
    for place in places(data):
        for lie in LIES:
            if lie < 256**place.width:
                patch = lie.to_bytes(place.width, "little")
                changed = data[: place.at] + patch + data[place.at + place.width :]
                if changed != data:
                    yield f"{place.name} = {lie}", changed


def cuts(data: bytes) -> Iterator[tuple[str, bytes]]:
    """The file cut off at every field's border, at every power of two, and one byte beside each."""
    borders = {place.at for place in places(data)} | {2**n for n in range(64) if 2**n < len(data)}
    for at in sorted({min(max(border + d, 0), len(data) - 1) for border in borders for d in (-1, 0, 1)}):
        yield f"cut at {at}", data[:at]


def joints(data: bytes) -> Iterator[tuple[str, bytes]]:
    """The file with eight bytes of a length too many or too few at every border."""
    for place in places(data):
        yield f"gap before {place.name}", data[: place.at] + struct.pack("<Q", 8) + data[place.at :]
        yield f"hole at {place.name}", data[: place.at] + data[place.at + 8 :]


__all__ = ["LIES", "Place", "cuts", "joints", "lies", "places"]
