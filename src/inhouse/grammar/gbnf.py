"""GBNF, llama.cpp's grammar notation, read as strictly as the engine does, so that it never refuses late.

``name ::= "text" [a-z] . other (group | choice) item* item+ item? item{2,5} <[12]> # comment``
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

MAX_BYTES = 64 * 1024
MAX_RULES = 2_000
MAX_NESTING = 64
MAX_REPEAT = 2_000
"""llama.cpp copies what it repeats and refuses beyond this."""

_BLANK = re.compile(r"(?:[ \t]|#[^\n\r]*)*")
_BREAK = re.compile(r"(?:[ \t\r\n]|#[^\n\r]*)*")
_NAME = re.compile(r"[A-Za-z0-9-]+")
_ESCAPE = r"\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[trn\\\"\[\]-])"
_TEXT = re.compile(rf'"(?:{_ESCAPE}|[^"\\\r\n])*"')
_CLASS = re.compile(rf"\[\^?(?:{_ESCAPE}|[^\]\\\r\n])*\]")
_TOKEN = re.compile(r"!?<(?:\[[0-9]+\]|[^<>\s]+)>")
_COUNT = re.compile(r"\{[ \t]*([0-9]{1,9})[ \t]*(?:(,)[ \t]*([0-9]{1,9})?[ \t]*)?\}")


class BadGrammar(ValueError):
    """Says in a few words what is wrong and where."""


@dataclass
class _Item:
    """A piece of a sequence: a rule's name, or choices, or text. ``empty``: it may be left out or is no text;
    ``loop``: it may come any number of times; ``size`` counts the parts that a repetition copies."""

    name: str = ""
    choices: list[list[_Item]] = field(default_factory=list)
    empty: bool = False
    loop: bool = False
    size: int = 1


def check_gbnf(text: str) -> None:
    """Raises BadGrammar unless the engine takes ``text``."""
    if len(text.encode("utf-8", "replace")) > MAX_BYTES:
        raise BadGrammar(f"it is larger than {MAX_BYTES // 1024} KiB")
    rules = _Reader(text).rules()
    if "root" not in rules:
        raise BadGrammar("it has no rule 'root'")
    _check_defined(rules)
    _check_left(rules)


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.depth = 0

    def fail(self, why: str) -> BadGrammar:
        return BadGrammar(f"{why} in line {self.text.count(chr(10), 0, self.at) + 1}")

    def skip(self, *, breaks: bool) -> None:
        found = (_BREAK if breaks else _BLANK).match(self.text, self.at)
        self.at = found.end() if found else self.at

    def rules(self) -> dict[str, list[list[_Item]]]:
        out: dict[str, list[list[_Item]]] = {}
        self.skip(breaks=True)
        while self.at < len(self.text):
            name = self.name()
            self.skip(breaks=False)
            if not self.text.startswith("::=", self.at):
                raise self.fail("expected '::='")
            self.at += 3
            self.skip(breaks=True)
            out[name] = self.choices()
            if len(out) > MAX_RULES:
                raise BadGrammar(f"it has more than {MAX_RULES} rules")
            if self.at < len(self.text) and self.text[self.at] not in "\r\n":
                raise self.fail("expected the end of a line")
            self.skip(breaks=True)
        return out

    def name(self) -> str:
        found = _NAME.match(self.text, self.at)
        if not found:
            raise self.fail("expected the name of a rule")
        self.at = found.end()
        return found[0]

    def choices(self) -> list[list[_Item]]:
        out = [self.sequence()]
        while self.text.startswith("|", self.at):
            self.at += 1
            self.skip(breaks=True)
            out.append(self.sequence())
        return out

    def sequence(self) -> list[_Item]:
        items: list[_Item] = []
        while (item := self.item()) is not None:
            self.skip(breaks=self.depth > 0)
            items.append(self.repeated(item))
            self.skip(breaks=self.depth > 0)
        return items

    def item(self) -> _Item | None:
        if self.text.startswith("(", self.at):
            return self.group()
        for shape in (_TEXT, _CLASS, _TOKEN):
            found = shape.match(self.text, self.at)
            if found:
                self.at = found.end()
                return _Item(empty=found[0] == '""', size=max(1, len(found[0]) - 2 if shape is _TEXT else 1))
        if self.text.startswith(".", self.at):
            self.at += 1
            return _Item()
        if self.text.startswith(('"', "[", "<"), self.at):
            raise self.fail("a text or class is not closed, or has an unknown escape")
        found = _NAME.match(self.text, self.at)
        if not found:
            return None
        self.at = found.end()
        return _Item(name=found[0])

    def group(self) -> _Item:
        self.depth += 1
        if self.depth > MAX_NESTING:
            raise self.fail(f"groups are nested deeper than {MAX_NESTING}")
        self.at += 1
        self.skip(breaks=True)
        choices = self.choices()
        if not self.text.startswith(")", self.at):
            raise self.fail("a group is not closed")
        self.at += 1
        self.depth -= 1
        return _Item(choices=choices, size=max(1, sum(item.size for row in choices for item in row)))

    def repeated(self, item: _Item) -> _Item:
        sign = self.text[self.at : self.at + 1]
        if sign and sign in "*+?":
            self.at += 1
            low, high = int(sign == "+"), 1 if sign == "?" else None
        else:
            found = _COUNT.match(self.text, self.at)
            if not found:
                if sign == "{":
                    raise self.fail("a repetition is not {n}, {n,} or {n,m}")
                return item
            self.at = found.end()
            low = int(found[1])
            high = low if not found[2] else int(found[3]) if found[3] else None
            if high is not None and high < low:
                raise self.fail("a repetition ends before it begins")
        size = item.size * max(low, high or 0, 1)
        if size > MAX_REPEAT:
            raise self.fail(f"a repetition is larger than {MAX_REPEAT}")
        return _Item(choices=[[item]], empty=low == 0, loop=high is None, size=size)


def _check_defined(rules: dict[str, list[list[_Item]]]) -> None:
    for name in {item.name for choices in rules.values() for item in _all(choices) if item.name}:
        if name not in rules:
            raise BadGrammar(f"the rule '{name[:40]}' is not defined")


def _all(choices: list[list[_Item]]) -> list[_Item]:
    out, stack = [], [item for row in choices for item in row]
    while stack:
        item = stack.pop()
        out.append(item)
        stack.extend(part for row in item.choices for part in row)
    return out


def _check_left(rules: dict[str, list[list[_Item]]]) -> None:
    """A rule that may begin with itself would never end in the engine."""
    users: dict[str, list[str]] = {}
    for name, choices in rules.items():
        for part in {item.name for item in _all(choices) if item.name}:
            users.setdefault(part, []).append(name)
    empty: set[str] = set()
    todo = list(rules)
    while todo:
        name = todo.pop()
        if name not in empty and _nullable(rules[name], empty):
            empty.add(name)
            todo += users.get(name, ())
    for choices in rules.values():
        for item in _all(choices):
            if item.loop and _nullable(item.choices, empty):
                raise BadGrammar("a repetition repeats what may be empty")
    edges = {name: _firsts(choices, empty) for name, choices in rules.items()}
    done: set[str] = set()
    for start in rules:
        path = {start: iter(edges[start])} if start not in done else {}
        while path:
            at, following = next(reversed(path.items()))
            step = next(following, None)
            if step is None:
                done.add(at)
                del path[at]
            elif step in path:
                raise BadGrammar(f"the rule '{step[:40]}' begins with itself")
            elif step not in done:
                path[step] = iter(edges[step])


def _may_be_empty(item: _Item, empty: set[str]) -> bool:
    if item.name:
        return item.name in empty
    return item.empty or _nullable(item.choices, empty)


def _nullable(choices: list[list[_Item]], empty: set[str]) -> bool:
    return any(all(_may_be_empty(item, empty) for item in row) for row in choices)


def _firsts(choices: list[list[_Item]], empty: set[str]) -> set[str]:
    out: set[str] = set()
    for row in choices:
        for item in row:
            out |= {item.name} if item.name else _firsts(item.choices, empty)
            if not _may_be_empty(item, empty):
                break
    return out
