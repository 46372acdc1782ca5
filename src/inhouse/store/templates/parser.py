"""Pieces of a Go template -> its tree. Grammar: the documentation of Go's ``text/template``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from .lexer import Action, Token, pieces
from .quoting import unquote
from .tree import (
    Assign,
    Call,
    Expression,
    Field,
    If,
    Leave,
    Literal,
    Node,
    Range,
    Show,
    Text,
    Variable,
    malformed,
    untranslatable,
)

MAX_DEPTH: Final = 100
_CONSTANTS: Final[dict[str, bool | None]] = {"true": True, "false": False, "nil": None}
_WHOLE: Final = re.compile(r"[+-]?(?:0|[1-9][0-9]{0,8})\Z")
_NAMED: Final = ("define", "template", "block")


def parse(text: str) -> tuple[Node, ...]:
    """The tree of a template. Raises BadRequest for a malformed one, Unsupported for named templates."""
    return _Parser(text).template()


class _Parser:
    def __init__(self, text: str) -> None:
        self._pieces: Iterator[str | Action] = pieces(text)
        self._depth = 0

    def template(self) -> tuple[Node, ...]:
        nodes, end = self._list(0)
        if end is not None:
            malformed(end.line, f"{{{{ {end.tokens[0].text} }}}} without a beginning")
        return nodes

    def _deeper(self, line: int) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            malformed(line, f"more than {MAX_DEPTH} levels")

    def _list(self, loops: int) -> tuple[tuple[Node, ...], Action | None]:
        """Nodes up to an ``end`` or ``else``, which is returned; ``loops`` are open around them."""
        nodes: list[Node] = []
        for piece in self._pieces:
            if isinstance(piece, str):
                nodes.append(Text(piece))
                continue
            if not piece.tokens:
                continue
            first = piece.tokens[0]
            if first.kind == "word" and first.text in ("end", "else"):
                return tuple(nodes), piece
            nodes.append(self._node(piece, first, loops))
        return tuple(nodes), None

    def _node(self, action: Action, first: Token, loops: int) -> Node:
        word = first.text if first.kind == "word" else ""
        if word in _NAMED:
            untranslatable(action.line, f"{{{{ {word} }}}}: named templates")
        if word in ("if", "with"):
            return self._branch(action, word, action.tokens[1:], loops)
        if word == "range":
            return self._range(action, loops)
        if word in ("break", "continue"):
            if not loops or len(action.tokens) > 1:
                malformed(action.line, f"{{{{ {word} }}}} outside of a range")
            return Leave(word == "break", action.line)
        names, declares, rest = _declaration(action.tokens)
        value = self._pipeline(rest, action.line)
        if not names:
            return Show(value)
        if len(names) > 1:
            malformed(action.line, "two variables outside of a range")
        return Assign(names[0], value, declares, action.line)

    def _branch(self, action: Action, word: str, tokens: tuple[Token, ...], loops: int) -> If:
        self._deeper(action.line)
        names, declares, rest = _declaration(tokens)
        if len(names) > 1 or (names and not declares):
            malformed(action.line, f"{{{{ {word} }}}} declares one variable at most")
        value = self._pipeline(rest, action.line)
        body, end = self._list(loops)
        otherwise: tuple[Node, ...] = ()
        chained = end.tokens[1:] if end and end.tokens[0].text == "else" else ()
        if end and chained and chained[0].kind == "word" and chained[0].text == word:
            # The chained branch takes the end of the whole.
            otherwise = (self._branch(end, word, chained[1:], loops),)
        else:
            otherwise = self._otherwise(action, word, end, loops)
        self._depth -= 1
        return If(value, names[0] if names else "", word == "with", body, otherwise)

    def _otherwise(self, action: Action, word: str, end: Action | None, loops: int) -> tuple[Node, ...]:
        """The nodes behind a plain ``else``, and the end of the block."""
        otherwise: tuple[Node, ...] = ()
        if end and end.tokens[0].text == "else" and len(end.tokens) == 1:
            otherwise, end = self._list(loops)
        if end is None:
            malformed(action.line, f"{{{{ {word} }}}} has no end")
        if end.tokens[0].text != "end" or len(end.tokens) > 1:
            malformed(end.line, f"{{{{ {end.tokens[0].text} }}}} is out of place")
        return otherwise

    def _range(self, action: Action, loops: int) -> Range:
        self._deeper(action.line)
        names, declares, rest = _declaration(action.tokens[1:])
        if names and not declares:
            untranslatable(action.line, "a range that assigns to variables of before")
        value = self._pipeline(rest, action.line)
        body, end = self._list(loops + 1)
        otherwise = self._otherwise(action, "range", end, loops)
        self._depth -= 1
        key = names[0] if len(names) == 2 else ""
        return Range(value, key, names[-1] if names else "", body, otherwise, action.line)

    def _pipeline(self, tokens: tuple[Token, ...], line: int) -> Expression:
        value: Expression | None = None
        for command in _split(tokens, line):
            value = self._command(command, line, value)
        if value is None:
            malformed(line, "a value is missing")
        return value

    def _command(self, tokens: tuple[Token, ...], line: int, piped: Expression | None) -> Expression:
        """One command; the value of the one before is its last argument."""
        first = tokens[0]
        if first.kind == "word" and first.text not in _CONSTANTS:
            arguments = self._operands(tokens[1:], line)
            return Call(first.text, (*arguments, *((piped,) if piped else ())), line)
        operands = self._operands(tokens, line)
        if len(operands) != 1 or piped is not None:
            untranslatable(line, "arguments for what is no function")
        return operands[0]

    def _operands(self, tokens: tuple[Token, ...], line: int) -> tuple[Expression, ...]:
        out: list[Expression] = []
        at = 0
        while at < len(tokens):
            token = tokens[at]
            if token.text == "(" and token.kind == "mark":
                end = _closing(tokens, at, line)
                self._deeper(line)
                value = self._pipeline(tokens[at + 1 : end], line)
                self._depth -= 1
                at = end + 1
                if at < len(tokens) and tokens[at].kind == "field" and not tokens[at].apart:
                    value = Field(_names(tokens[at].text), value, line)
                    at += 1
                out.append(value)
                continue
            if at and not token.apart:
                malformed(line, "an operand follows another without a space")
            out.append(_operand(token, line))
            at += 1
        return tuple(out)


def _declaration(tokens: tuple[Token, ...]) -> tuple[tuple[str, ...], bool, tuple[Token, ...]]:
    """The variables before ``:=`` or ``=``, whether they are declared, and the rest."""
    count = 3 if len(tokens) > 3 and tokens[1].text == "," else 1
    if len(tokens) <= count or tokens[count].kind != "mark" or tokens[count].text not in (":=", "="):
        return (), False, tokens
    variables = tokens[:count:2]
    if any(token.kind != "variable" or "." in token.text or token.text == "$" for token in variables):
        return (), False, tokens
    return tuple(token.text[1:] for token in variables), tokens[count].text == ":=", tokens[count + 1 :]


def _split(tokens: tuple[Token, ...], line: int) -> Iterator[tuple[Token, ...]]:
    """The commands between the bars of this level."""
    start = depth = 0
    for at, token in enumerate(tokens):
        if token.kind != "mark":
            continue
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        if token.text == "|" and not depth:
            if start == at:
                malformed(line, "a command is missing beside |")
            yield tokens[start:at]
            start = at + 1
    if start == len(tokens):
        malformed(line, "a value is missing")
    yield tokens[start:]


def _closing(tokens: tuple[Token, ...], at: int, line: int) -> int:
    depth = 0
    for place in range(at, len(tokens)):
        if tokens[place].kind == "mark":
            depth += {"(": 1, ")": -1}.get(tokens[place].text, 0)
            if not depth:
                return place
    malformed(line, "a parenthesis has no end")


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(".")[1:])


def _operand(token: Token, line: int) -> Expression:
    if token.kind in ("string", "raw"):
        inner = token.text[1:-1]
        value = inner.replace("\r", "") if token.kind == "raw" else unquote(inner)
        if value is None:
            malformed(line, "a text has an escape that Go does not know")
        return Literal(value, line)
    if token.kind == "number":
        if not _WHOLE.match(token.text):
            untranslatable(line, "a number that is not a plain whole one")
        return Literal(int(token.text), line)
    if token.kind == "variable":
        name, *names = token.text[1:].split(".")
        return Variable(name, tuple(names), line)
    if token.kind in ("field", "dot"):
        return Field(_names(token.text) if token.kind == "field" else (), None, line)
    if token.kind == "word" and token.text in _CONSTANTS:
        return Literal(_CONSTANTS[token.text], line)
    if token.kind == "word":
        return Call(token.text, (), line)
    malformed(line, "an action cannot be read")
