"""A look at a Jinja template before it is kept: what no engine could read is refused with its line.

No parser: only what every dialect of Jinja demands is checked, so that a template that works is never
refused. Braces close, brackets and texts in them pair up, blocks end in the order they began.
"""

from __future__ import annotations

import re
from typing import Final, NoReturn

from ...core.errors import BadRequest

_OPENERS: Final = re.compile(r"\{\{|\{%|\{#")
_TEXT: Final = r"""'(?:[^'\\]|\\.)*+'|"(?:[^"\\]|\\.)*+"|['"]"""
_INSIDE: Final = re.compile(rf"{_TEXT}|[()\[\]{{}}]", re.DOTALL)
_ENDS: Final = {
    "{{": re.compile(rf"{_TEXT}|[-+]?\}}\}}|[()\[\]{{}}]", re.DOTALL),
    "{%": re.compile(rf"{_TEXT}|[-+]?%\}}|[()\[\]{{}}]", re.DOTALL),
}
_RAW: Final = re.compile(r"\{%[-+]?\s*endraw\s*[-+]?%\}")
_TAG: Final = re.compile(r"[-+]?\s*(?P<word>[A-Za-z_]\w*)?(?P<rest>.*)\Z", re.DOTALL)
_PAIRS: Final = {")": "(", "]": "[", "}": "{"}
_BLOCKS: Final = frozenset({"if", "for", "macro", "call", "filter", "generation"})
_INLINE: Final = re.compile(r"[\w\s.,()]+=")
_HEADLESS: Final = frozenset({"generation"})
_WITHIN: Final = {"elif": ("if",), "else": ("if", "for")}


def check(text: str) -> None:
    """Raises BadRequest naming the line where a template is broken."""
    blocks: list[tuple[str, int]] = []
    at = 0
    while opener := _OPENERS.search(text, at):
        start = opener.start()
        if opener[0] == "{#":
            at = text.find("#}", opener.end()) + 2
            if at < 2:
                _broken(text, start, "a comment has no end")
            continue
        inside, at = _action(text, opener)
        if opener[0] == "{{":
            if not inside.strip(" \t\r\n-+"):
                _broken(text, start, "an expression is empty")
        elif _block(text, start, inside, blocks) == "raw":
            end = _RAW.search(text, at)
            at = end.end() if end else _broken(text, start, "'raw' has no end")
    if blocks:
        _broken(text, blocks[-1][1], f"'{blocks[-1][0]}' has no end")


def _action(text: str, opener: re.Match[str]) -> tuple[str, int]:
    """What stands between braces, and where it ends; no brace within brackets ends it."""
    brackets: list[str] = []
    at = opener.end()
    while piece := (_INSIDE if brackets else _ENDS[opener[0]]).search(text, at):
        found, at = piece[0], piece.end()
        if found in ("'", '"'):
            _broken(text, piece.start(), "a text has no end")
        if found[0] in "'\"":
            continue
        if len(found) > 1:
            return text[opener.end() : piece.start()], at
        if found not in _PAIRS:
            brackets.append(found)
        elif not brackets or brackets.pop() != _PAIRS[found]:
            _broken(text, piece.start(), f"'{found}' closes nothing")
    _broken(text, opener.start(), f"'{opener[0]}' has no end")


def _block(text: str, at: int, inside: str, blocks: list[tuple[str, int]]) -> str:
    """Follow a statement; returns its word."""
    match = _TAG.match(inside)
    if not match or not match["word"]:
        _broken(text, at, "a statement is empty")
    word, rest = match["word"], match["rest"].strip()
    if word in _BLOCKS | {"elif"} and word not in _HEADLESS and not rest:
        _broken(text, at, f"'{word}' says nothing")
    if word in _BLOCKS or (word == "set" and not _INLINE.match(rest)):
        blocks.append((word, at))
    elif word in _WITHIN and (not blocks or blocks[-1][0] not in _WITHIN[word]):
        _broken(text, at, f"'{word}' stands alone")
    elif word[:3] == "end" and word[3:] in _BLOCKS | {"set"} and (not blocks or blocks.pop()[0] != word[3:]):
        _broken(text, at, f"'{word}' ends nothing")
    return word


def _broken(text: str, at: int, what: str) -> NoReturn:
    line = text.count("\n", 0, at) + 1
    raise BadRequest(
        f"The chat template cannot be read: line {line}: {what}.",
        hint="Correct it, or use the one inside the weights: --embedded-template.",
        param="template",
    )


__all__ = ["check"]
