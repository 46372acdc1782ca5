"""Regular expressions for whole strings, written so that every engine means the same by them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .errors import Inexpressible

TOP = 0x10FFFF
Ranges = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Chars:
    """One character of a set; ``classes`` are Unicode classes such as ``\\p{L}``."""

    ranges: Ranges
    classes: tuple[str, ...] = ()
    negated: bool = False


@dataclass(frozen=True)
class Cat:
    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Alt:
    branches: tuple[Node, ...]


@dataclass(frozen=True)
class Rep:
    node: Node
    low: int
    high: int | None


@dataclass(frozen=True)
class Edge:
    """``^`` (start) or ``$``."""

    start: bool


Node = Chars | Cat | Alt | Rep | Edge


def union(ranges: Iterable[tuple[int, int]]) -> Ranges:
    out: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if out and low <= out[-1][1] + 1:
            out[-1] = (out[-1][0], max(high, out[-1][1]))
        else:
            out.append((low, high))
    return tuple(out)


def complement(ranges: Ranges) -> Ranges:
    out, at = [], 0
    for low, high in union(ranges):
        if low > at:
            out.append((at, low - 1))
        at = high + 1
    if at <= TOP:
        out.append((at, TOP))
    return tuple(out)


ANY = Rep(Chars(((0, TOP),)), 0, None)


def write(node: Node) -> str:
    """An expression in the syntax that ECMA-262 and Rust's regex share."""
    match node:
        case Chars():
            return _write_chars(node)
        case Cat(parts):
            return "".join(write(part) for part in parts)
        case Alt(branches):
            return "(?:" + "|".join(write(branch) for branch in branches) + ")"
        case Rep(inner, low, high):
            text = write(inner)
            if not isinstance(inner, Chars | Alt):
                text = f"(?:{text})"
            times = {(0, None): "*", (1, None): "+", (0, 1): "?"}.get((low, high))
            return text + (
                times or (f"{{{low}}}" if high == low else f"{{{low},{'' if high is None else high}}}")
            )
    raise Inexpressible("pattern", "has an anchor inside")


def _write_chars(chars: Chars) -> str:
    """Without NUL, unless any character will do: of a set with all control characters derivre, which
    llguidance matches by, takes a quote and a backslash for members when it reads them in JSON."""
    if chars.ranges == ((0, TOP),):
        return r"[\s\S]"
    if chars.classes:
        inner = "".join(map(_range, _scalars(chars.ranges))) + "".join(chars.classes)
        return f"[[{'^' if chars.negated else ''}{inner}]&&[^\\x00]]"
    ranges = union(r for r in ((max(low, 1), high) for low, high in chars.ranges) if r[0] <= r[1])
    if not _scalars(ranges):
        raise Inexpressible("pattern", "matches nothing")
    if len(ranges) > 1 and ranges[-1][1] == TOP:
        return "[^" + "".join(map(_range, _scalars(complement(ranges)))) + "]"  # shorter
    ranges = _scalars(ranges)
    if len(ranges) == 1 and ranges[0][0] == ranges[0][1]:
        return _char(ranges[0][0])
    return "[" + "".join(map(_range, ranges)) + "]"


def _scalars(ranges: Ranges) -> Ranges:
    """Without surrogates, which are no characters."""
    parts = [part for low, high in ranges for part in ((low, min(high, 0xD7FF)), (max(low, 0xE000), high))]
    return union((low, high) for low, high in parts if low <= high)


def _range(span: tuple[int, int]) -> str:
    low, high = span
    return _char(low) if low == high else f"{_char(low)}-{_char(high)}"


def _char(code: int) -> str:
    char = chr(code)
    if char.isascii():
        return char if char.isalnum() or char in " _" else f"\\x{code:02x}"
    return char if char.isprintable() else f"\\u{code:04x}" if code < 0x10000 else f"\\u{{{code:x}}}"


def literal(text: str) -> Node:
    """Exactly this text."""
    return Cat(tuple(Chars(((ord(c), ord(c)),)) for c in text))


def others(words: Iterable[str]) -> Node:
    """Every string but these."""
    return _others(frozenset(words))


def _others(words: frozenset[str]) -> Node:
    heads: dict[str, set[str]] = {}
    for word in words:
        if word:
            heads.setdefault(word[0], set()).add(word[1:])
    free = Chars(complement(tuple((ord(c), ord(c)) for c in heads)))
    branches: list[Node] = [Cat((free, ANY))]
    if "" not in words:
        branches.append(Cat(()))
    branches.extend(Cat((literal(head), _others(frozenset(rest)))) for head, rest in sorted(heads.items()))
    return Alt(tuple(branches))
