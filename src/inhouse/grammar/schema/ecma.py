"""ECMA-262 patterns, read as expressions for whole strings.

Where dialects differ (what ``.``, ``\\s`` or ``\\w`` stand for), the narrower reading is taken: the
expression matches only strings that the pattern matches somewhere.
"""

from __future__ import annotations

import functools
import re

from .errors import Inexpressible
from .regex import ANY, TOP, Alt, Cat, Chars, Edge, Node, Ranges, Rep, complement, union

MAX_BRANCHES = 64
MAX_REPEAT = 10_000

_DIGIT: Ranges = ((48, 57),)
_WORD: Ranges = ((48, 57), (65, 90), (95, 95), (97, 122))
_SPACE: Ranges = ((9, 13), (32, 32))
_WIDE_SPACE: Ranges = (
    (9, 13), (28, 32), (0x85, 0x85), (0xA0, 0xA0), (0x1680, 0x1680), (0x180E, 0x180E), (0x2000, 0x200A),
    (0x2028, 0x2029), (0x202F, 0x202F), (0x205F, 0x205F), (0x3000, 0x3000), (0xFEFF, 0xFEFF),
)  # fmt: skip
_LINE_ENDS: Ranges = ((10, 10), (13, 13), (0x2028, 0x2029))
_CONTROL = {"t": 9, "n": 10, "v": 11, "f": 12, "r": 13, "0": 0}


def escape_class(letter: str, *, wide: bool) -> Ranges:
    """What a class escape stands for: at least (``wide``) or at most what any dialect takes it for."""
    base = {"d": _DIGIT, "w": _WORD, "s": _WIDE_SPACE if wide != letter.isupper() else _SPACE}[letter.lower()]
    return complement(base) if letter.isupper() else base


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def take(self, word: str) -> bool:
        if self.text.startswith(word, self.at):
            self.at += len(word)
            return True
        return False

    def fail(self, why: str) -> Inexpressible:
        return Inexpressible("pattern", why)

    def alternation(self) -> Node:
        branches = [self.sequence()]
        while self.take("|"):
            branches.append(self.sequence())
        return branches[0] if len(branches) == 1 else Alt(tuple(branches))

    def sequence(self) -> Node:
        parts: list[Node] = []
        while self.peek() not in ("", "|", ")"):
            parts.append(self.repeated(self.atom()))
        return parts[0] if len(parts) == 1 else Cat(tuple(parts))

    def repeated(self, node: Node) -> Node:
        found = re.compile(r"\*|\+|\?|\{(\d+)(,(\d*))?\}").match(self.text, self.at)
        if not found:
            return node
        if isinstance(node, Edge):
            raise self.fail("repeats an anchor")
        self.at = found.end()
        self.take("?")  # lazy or greedy: the same strings
        if self.peek() in ("*", "+", "?"):
            raise self.fail("repeats a repetition")
        if found[0] in "*+?":
            return Rep(node, int(found[0] == "+"), 1 if found[0] == "?" else None)
        low = int(found[1])
        high = low if found[2] is None else int(found[3]) if found[3] else None
        if low > MAX_REPEAT or (high or 0) > MAX_REPEAT:
            raise self.fail(f"repeats more than {MAX_REPEAT} times")
        if high is not None and high < low:
            raise self.fail("has a repetition that ends before it begins")
        return Rep(node, low, high)

    def atom(self) -> Node:
        char = self.peek()
        self.at += 1
        if char == "^":
            return Edge(start=True)
        if char == "$":
            return Edge(start=False)
        if char == ".":
            return Chars(complement(_LINE_ENDS))
        if char == "(":
            return self.group()
        if char == "[":
            return self.char_class()
        if char == "\\":
            return self.escaped()
        if char in "*+?":
            raise self.fail("repeats nothing")
        return Chars(((ord(char), ord(char)),))

    def group(self) -> Node:
        if self.take("?") and not self.take(":"):
            name = re.compile(r"P?<[A-Za-z_][A-Za-z0-9_]*>").match(self.text, self.at)
            if not name:
                raise self.fail("looks around or sets flags")
            self.at = name.end()
        node = self.alternation()
        if not self.take(")"):
            raise self.fail("has an open group")
        return node

    def escaped(self) -> Node:
        char = self.peek()
        if char in tuple("dwsDWS"):
            self.at += 1
            return Chars(escape_class(char, wide=False))
        if char in ("b", "B") or (char.isdigit() and char != "0"):
            raise self.fail("uses a word boundary or a back reference")
        if char in ("p", "P"):
            return Chars((), (self.unicode_class(),))
        code = self.code()
        return Chars(((code, code),))

    def unicode_class(self) -> str:
        found = re.compile(r"[pP]\{[A-Za-z_]+(=[A-Za-z_]+)?\}").match(self.text, self.at)
        if not found:
            raise self.fail("uses an unknown Unicode class")
        self.at = found.end()
        return "\\" + found[0]

    def code(self) -> int:
        """The character of an escape; the backslash is read already."""
        char = self.peek()
        self.at += 1
        if char in _CONTROL:
            return _CONTROL[char]
        if char == "c":
            letter = self.peek()
            if not (letter.isascii() and letter.isalpha()):
                raise self.fail("uses an unknown escape")
            self.at += 1
            return ord(letter) % 32
        if char in ("u", "x"):
            return self.hexadecimal(char)
        if not char or (char.isascii() and char.isalnum()):
            raise self.fail("uses an unknown escape")
        return ord(char)

    def hexadecimal(self, kind: str) -> int:
        digits = r"[0-9a-fA-F]"
        shape = rf"{digits}{{4}}|\{{({digits}{{1,6}})\}}" if kind == "u" else rf"{digits}{{2}}"
        found = re.compile(shape).match(self.text, self.at)
        if not found:
            raise self.fail("uses an unknown escape")
        self.at = found.end()
        code = int(found[0].strip("{}"), 16)
        pair = re.compile(r"\\u([dD][c-fC-F][0-9a-fA-F]{2})").match(self.text, self.at)
        if 0xD800 <= code < 0xDC00 and pair:
            self.at = pair.end()
            return 0x10000 + ((code - 0xD800) << 10) + int(pair[1], 16) - 0xDC00
        if code > TOP:
            raise self.fail("names a character that does not exist")
        return code

    def char_class(self) -> Node:
        negated = self.take("^")
        ranges: list[tuple[int, int]] = []
        classes: list[str] = []
        while not self.take("]"):
            low = self.class_item(ranges, classes, wide=negated)
            if low is None or not (
                self.peek() == "-" and self.text[self.at + 1 : self.at + 2] not in ("]", "")
            ):
                ranges.extend([(low, low)] if low is not None else [])
                continue
            self.at += 1
            high = self.class_item(ranges, classes, wide=negated)
            if high is None or high < low:
                raise self.fail("has a range that ends before it begins")
            ranges.append((low, high))
        if classes:
            return Chars(union(ranges), tuple(classes), negated)
        return Chars(complement(union(ranges)) if negated else union(ranges))

    def class_item(self, ranges: list[tuple[int, int]], classes: list[str], *, wide: bool) -> int | None:
        """A single character, or None when a class escape was added."""
        char = self.peek()
        self.at += 1
        if not char:
            raise self.fail("has an open class")
        if char != "\\":
            return ord(char)
        letter = self.peek()
        if letter in tuple("dwsDWS"):
            self.at += 1
            ranges.extend(escape_class(letter, wide=wide))
            return None
        if letter in ("p", "P"):
            classes.append(self.unicode_class())
            return None
        if letter == "b":
            self.at += 1
            return 8
        return self.code()


@functools.lru_cache(1024)
def parse(pattern: str) -> Node:
    """Read a pattern. Raises Inexpressible for what is not a regular language here."""
    reader = _Reader(pattern)
    try:
        node = reader.alternation()
    except RecursionError:
        raise Inexpressible("pattern", "is nested too deeply") from None
    if reader.at < len(pattern):
        raise Inexpressible("pattern", "closes a group that was not opened")
    return node


def _anchored(node: Node) -> bool:
    match node:
        case Edge():
            return True
        case Rep(inner, _, _):
            return _anchored(inner)
        case Cat(parts) | Alt(parts):
            return any(_anchored(part) for part in parts)
    return False


def _distribute(node: Node) -> list[tuple[Node, ...]]:
    """Branches in which anchors stand at the top level."""
    if not _anchored(node):
        return [(node,)]
    match node:
        case Alt(branches):
            out = [row for branch in branches for row in _distribute(branch)]
        case Cat(parts):
            out = [()]
            for part in parts:
                out = [(*row, *more) for row in out for more in _distribute(part)]
                if len(out) > MAX_BRANCHES:
                    break
        case Edge():
            return [(node,)]
        case _:
            raise Inexpressible("pattern", "repeats an anchor")
    if len(out) > MAX_BRANCHES:
        raise Inexpressible("pattern", "has too many anchors")
    return out


def _whole_branch(row: tuple[Node, ...]) -> Node:
    start = end = False
    while row and row[0] == Edge(start=True):
        row, start = row[1:], True
    while row and row[-1] == Edge(start=False):
        row, end = row[:-1], True
    if any(isinstance(part, Edge) for part in row):
        raise Inexpressible("pattern", "has an anchor inside")
    return Cat((*(() if start else (ANY,)), *row, *(() if end else (ANY,))))


def whole(pattern: str) -> Node:
    """The strings that contain a match of ``pattern``, as an expression for whole strings."""
    rows = [_whole_branch(row) for row in _distribute(parse(pattern))]
    return rows[0] if len(rows) == 1 else Alt(tuple(rows))
