"""What a shared library for Linux asks of a system and shows to it. Reads 64-bit little-endian ELF; standard
library only. Section 4 of the System V ABI ("Object Files") and the "Symbol Versioning" chapter of the Linux
Standard Base describe the fields."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

DYNAMIC, DYNSYM, VERNEED = 6, 11, 0x6FFFFFFE  # sh_type
NEEDED = 1  # d_tag
HIDDEN, INTERNAL = 2, 1  # visibility
LOCAL = 0  # binding


@dataclass(frozen=True)
class Library:
    """``needed``: names of libraries; ``versions``: the symbol versions asked of each; ``shown``: the
    symbols that others can see."""

    needed: frozenset[str]
    versions: dict[str, frozenset[str]]
    shown: frozenset[str]

    def newest(self, family: str) -> tuple[int, ...]:
        """The newest version of a family ("GLIBC") that is asked for, as numbers; () for none."""
        found = (one for versions in self.versions.values() for one in versions)
        numbers = (one.split("_", 1)[1] for one in found if one.split("_", 1)[0] == family)
        return max((tuple(int(part) for part in one.split(".")) for one in numbers), default=())


@dataclass(frozen=True)
class _Section:
    kind: int
    link: int
    body: bytes
    info: int


def read(path: Path) -> Library:
    """Raises ValueError for what is no library of this kind."""
    data = path.read_bytes()
    if data[:6] != b"\x7fELF\x02\x01":
        raise ValueError(f"{path.name} is no 64-bit little-endian ELF")
    sections = list(_sections(data))
    needed: set[str] = set()
    shown: set[str] = set()
    versions: dict[str, frozenset[str]] = {}
    for one in sections:
        names = sections[one.link].body if one.link else b""
        if one.kind == DYNAMIC:
            needed |= {
                _name(names, value) for tag, value in struct.iter_unpack("<QQ", one.body) if tag == NEEDED
            }
        elif one.kind == DYNSYM:
            shown |= set(_shown(one.body, names))
        elif one.kind == VERNEED:
            versions |= dict(_versions(one, names))
    if not shown:
        raise ValueError(f"{path.name} shows no symbols")
    return Library(frozenset(needed), versions, frozenset(shown))


def _sections(data: bytes) -> Iterator[_Section]:
    (start,) = struct.unpack_from("<Q", data, 0x28)
    size, count = struct.unpack_from("<HH", data, 0x3A)
    for i in range(count):
        kind, offset, length, link, info = struct.unpack_from("<4xI16xQQII", data, start + i * size)
        yield _Section(kind, link, data[offset : offset + length], info)


def _shown(table: bytes, names: bytes) -> Iterator[str]:
    for name, info, other, section in struct.iter_unpack("<IBBH16x", table):
        if section and info >> 4 != LOCAL and other & 3 not in (HIDDEN, INTERNAL):
            yield _name(names, name)


def _versions(one: _Section, names: bytes) -> Iterator[tuple[str, frozenset[str]]]:
    at = 0
    for _ in range(one.info):
        count, file, first, following = struct.unpack_from("<2xHIII", one.body, at)
        found, entry = set(), at + first
        for _ in range(count):
            name, step = struct.unpack_from("<8xII", one.body, entry)
            found.add(_name(names, name))
            entry += step
        yield _name(names, file), frozenset(found)
        at += following


def _name(names: bytes, at: int) -> str:
    return names[at : names.index(b"\0", at)].decode()
