"""The text of a Go template -> pieces of text and actions of tokens, white space trimmed as marked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from .tree import malformed

MAX_TOKENS: Final = 20_000

_SPACES: Final = " \t\r\n"
_TOKEN: Final = re.compile(
    r"""(?P<string>"(?:[^"\\\n]|\\.)*")
    |(?P<raw>`[^`]*`)
    |(?P<number>[+-]?[0-9][\w.]*)
    |(?P<variable>\$\w*(?:\.[A-Za-z_]\w*)*)
    |(?P<field>(?:\.[A-Za-z_]\w*)+)
    |(?P<dot>\.)
    |(?P<word>[A-Za-z_]\w*)
    |(?P<mark>:=|[=|,()])""",
    re.VERBOSE,
)
_TRIM: Final = re.compile(r"\{\{-[ \t\r\n]")
_SPACE: Final = re.compile(r"[ \t\r\n]*")


@dataclass(frozen=True, slots=True)
class Token:
    """``kind``: string, raw, number, variable, field, dot, word or mark. ``apart``: white space before it."""

    kind: str
    text: str
    apart: bool


@dataclass(frozen=True, slots=True)
class Action:
    """What stands between ``{{`` and ``}}``; a comment has no tokens."""

    tokens: tuple[Token, ...]
    line: int


def pieces(text: str) -> Iterator[str | Action]:
    """Texts and actions in order. Raises BadRequest with the line."""
    at, line, counted, trim, room = 0, 1, 0, False, MAX_TOKENS
    while True:
        start = text.find("{{", at)
        before = text[at:] if start < 0 else text[at:start]
        if trim:
            before = before.lstrip(_SPACES)
        trims = start >= 0 and bool(_TRIM.match(text, start))
        if trims:
            before = before.rstrip(_SPACES)
        if before:
            yield before
        if start < 0:
            return
        line += text.count("\n", counted, start)
        counted = start
        action, at, trim = _action(text, start + (3 if trims else 2), line, room)
        room -= 1 + len(action.tokens)
        yield action


def _action(text: str, at: int, line: int, room: int) -> tuple[Action, int, bool]:
    """The action whose inside begins at ``at``, the place behind it, and whether it trims what follows."""
    inside = _skip(text, at)
    if room <= 0:
        malformed(line, f"more than {MAX_TOKENS} words and actions")
    if text.startswith("/*", inside):
        end = text.find("*/", inside + 2)
        closed = _close(text, end + 2) if end >= 0 else None
        if closed is None:
            malformed(line, "a comment has no end, or something behind it")
        return Action((), line), *closed
    tokens: list[Token] = []
    while (closed := _close(text, at)) is None:
        behind = _skip(text, at)
        found = _TOKEN.match(text, behind)
        if not found or found.lastgroup is None:
            malformed(line, "an action has no end" if behind >= len(text) else "an action cannot be read")
        if len(tokens) >= room:
            malformed(line, f"more than {MAX_TOKENS} words and actions")
        tokens.append(Token(found.lastgroup, found.group(), behind > at))
        at = found.end()
    if not tokens:
        malformed(line, "an action is empty")
    return Action(tuple(tokens), line), *closed


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _close(text: str, at: int) -> tuple[int, bool] | None:
    """The place behind ``}}`` or `` -}}`` (then: True) when it stands here."""
    behind = _skip(text, at)
    if text.startswith("}}", behind):
        return behind + 2, False
    if behind > at and text.startswith("-}}", behind):
        return behind + 3, True
    return None
