"""Expressions of Go templates as expressions of Jinja, with the type that each has."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from .tree import Call, Expression, Literal, Variable, untranslatable
from .types import ANY, BOOL, INT, MIXED, NIL, TEXT, TEXTS, Type

_ESCAPES: Final = str.maketrans({"\\": "\\\\", "'": "\\'", "\n": "\\n", "\r": "\\r", "\t": "\\t"})
_JSON: Final = "tojson(separators=(',', ':'))"
_ORDERS: Final = {"lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_BASIC: Final = ("text", "int", "bool")
_VERB: Final = re.compile(r"%(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Value:
    """A Jinja expression that binds as tightly as a name. ``truth``: what it is as a condition, if known."""

    text: str
    type: Type
    truth: bool | None = None


FALSE: Final = Value("false", BOOL, False)
NOTHING: Final = Value("''", NIL, False)

Lookup = Callable[[str, int], Value]
"""The value of a variable (``""``: the dot) at a line; raises BadRequest when there is none."""
Root = Callable[[str, int], Value]
"""The value of a field of the whole data at a line."""


def written(text: str) -> str:
    """A text as a literal of Jinja."""
    return "'" + text.translate(_ESCAPES) + "'"


def shown(value: Value, line: int) -> str:
    """The Jinja expression that prints a value as Go does. Raises Unsupported."""
    text, kind = value.text, value.type
    if kind.json and kind.kind == "map":
        return f"({text} if {text} is string else ({text} | {_JSON}))"
    if kind.json:
        return f"({text} | {_JSON})"
    if kind.kind == "bool":
        return f"('true' if {text} else 'false')"
    if kind.kind == "any":
        return f"({text} if {text} is string else ({text} | {_JSON}))"
    if kind.kind == "kind":
        return f"({text} if {text} is string else ('[' ~ ({text} | join(' ')) ~ ']'))"
    if kind is TEXTS:
        return f"('[' ~ ({text} | join(' ')) ~ ']')"
    if kind.kind in ("text", "int"):
        return text
    untranslatable(line, "printing a value that is no text")


class Values:
    """Translates expressions. ``lookup`` knows the variables and the dot, ``root`` the data of ``$``."""

    def __init__(self, lookup: Lookup, root: Root) -> None:
        self._lookup = lookup
        self._root = root

    def of(self, node: Expression) -> Value:
        """Raises Unsupported for what has no equal in Jinja."""
        if isinstance(node, Literal):
            return _literal(node)
        if isinstance(node, Call):
            return self._call(node)
        names = node.names
        if isinstance(node, Variable):
            if not node.name:
                return self._of_root(names, node.line)
            value = self._lookup(node.name, node.line)
        elif node.base is not None:
            value = self.of(node.base)
        else:
            value = self._lookup("", node.line)
        if value.text == "$":
            return self._of_root(names, node.line)
        for name in names:
            value = _member(value, name, node.line)
        return value

    def _of_root(self, names: tuple[str, ...], line: int) -> Value:
        if not names:
            untranslatable(line, "the whole data as one value")
        value = self._root(names[0], line)
        for name in names[1:]:
            value = _member(value, name, line)
        return value

    def _call(self, node: Call) -> Value:
        arguments = [self.of(argument) for argument in node.arguments]
        known: dict[str, Callable[[list[Value], int], Value]] = {
            "and": _and,
            "or": _or,
            "not": _not,
            "eq": _eq,
            "ne": lambda values, line: _not([_eq(_count(values, 2, 2, "ne", line), line)], line),
            "len": _len,
            "index": _index,
            "slice": _slice,
            "print": _print,
            "printf": _printf,
            "json": _json,
            "currentDate": _date,
        }
        if node.name in _ORDERS:
            return _order(node.name, arguments, node.line)
        if node.name not in known:
            untranslatable(node.line, f"the function {node.name[:40]}")
        return known[node.name](arguments, node.line)


def _literal(node: Literal) -> Value:
    if node.value is None:
        untranslatable(node.line, "nil")
    if isinstance(node.value, bool):
        return Value("true" if node.value else "false", BOOL, node.value)
    if isinstance(node.value, int):
        return Value(f"({node.value})" if node.value < 0 else str(node.value), INT, bool(node.value))
    return Value(written(node.value), TEXT, bool(node.value))


def _member(value: Value, name: str, line: int) -> Value:
    if value.type is NIL:
        return NOTHING
    if name not in value.type.fields:
        untranslatable(line, f"the field .{name[:40]}")
    key, kind = value.type.fields[name]
    text = f"{value.text}['{key}']"
    if kind.missing:
        text = f"({text} or {kind.missing})"
    return Value(text, kind, struct(kind))


def struct(kind: Type) -> bool | None:
    """A struct of Go is true, whatever it holds."""
    return True if kind.kind == "struct" else None


def _count(values: list[Value], least: int, most: int, name: str, line: int) -> list[Value]:
    if not least <= len(values) <= most:
        untranslatable(line, f"{name} with {len(values)} arguments")
    return values


def _and(values: list[Value], line: int) -> Value:
    _count(values, 1, 100, "and", line)
    if any(value.truth is False for value in values):
        return FALSE
    return _joined([value for value in values[:-1] if value.truth is None] + values[-1:], "and")


def _or(values: list[Value], line: int) -> Value:
    _count(values, 1, 100, "or", line)
    left = [value for value in values[:-1] if value.truth is not False] + values[-1:]
    decided = next((at for at, value in enumerate(left) if value.truth is True), len(left) - 1)
    return _joined(left[: decided + 1], "or")


def _joined(values: list[Value], word: str) -> Value:
    if len(values) == 1:
        return values[0]
    kinds = {id(value.type) for value in values}
    truth = True if word == "or" and values[-1].truth else None
    text = f" {word} ".join(value.text for value in values)
    return Value(f"({text})", values[0].type if len(kinds) == 1 else MIXED, truth)


def _not(values: list[Value], line: int) -> Value:
    (value,) = _count(values, 1, 1, "not", line)
    if value.truth is not None:
        return Value("false" if value.truth else "true", BOOL, not value.truth)
    return Value(f"(not {value.text})", BOOL)


def _comparable(values: list[Value], name: str, line: int) -> None:
    kinds = {value.type.kind for value in values if value.type is not ANY}
    if len(kinds) > 1 or not kinds <= set(_BASIC):
        untranslatable(line, f"{name} of values that Go does not compare")


def _eq(values: list[Value], line: int) -> Value:
    first, *others = _count(values, 2, 100, "eq", line)
    _comparable(values, "eq", line)
    if len(others) == 1:
        return Value(f"({first.text} == {others[0].text})", BOOL)
    return Value(f"({first.text} in [{', '.join(other.text for other in others)}])", BOOL)


def _order(name: str, values: list[Value], line: int) -> Value:
    left, right = _count(values, 2, 2, name, line)
    _comparable(values, name, line)
    if any(value.type.kind != "int" for value in values):
        untranslatable(line, f"{name} of what are no numbers")
    return Value(f"({left.text} {_ORDERS[name]} {right.text})", BOOL)


def _len(values: list[Value], line: int) -> Value:
    (value,) = _count(values, 1, 1, "len", line)
    if value.type.kind not in ("list", "map", "text"):
        untranslatable(line, "len of this value")
    return Value(f"({value.text} | length)", INT)


def _index(values: list[Value], line: int) -> Value:
    value, *keys = _count(values, 2, 10, "index", line)
    for key in keys:
        wanted = {"list": "int", "map": "text"}.get(value.type.kind)
        if wanted != key.type.kind or value.type.item is None:
            untranslatable(line, "index of this value")
        item = value.type.item
        value = Value(f"{value.text}[{key.text}]", item, struct(item))
    return value


def _slice(values: list[Value], line: int) -> Value:
    value, *bounds = _count(values, 1, 3, "slice", line)
    if value.type.kind != "list" or any(bound.type is not INT for bound in bounds):
        untranslatable(line, "slice of this value")
    start, stop = [bound.text for bound in bounds] + [""] * (2 - len(bounds))
    return Value(f"{value.text}[{start or 0}:{stop}]", value.type)


def _print(values: list[Value], line: int) -> Value:
    if not values or any(value.type.kind != "text" for value in values):
        untranslatable(line, "print of what is no text")
    return Value(f"({' ~ '.join(value.text for value in values)})", TEXT)


def _printf(values: list[Value], line: int) -> Value:
    """``%s`` of texts, ``%d`` of numbers, ``%v`` and ``%%``."""
    first, *rest = values or [NOTHING]
    if first.type is not TEXT or first.truth is None:
        untranslatable(line, "printf without a plain format")
    return Value(_formatted(first.text, rest, line), TEXT)


def _formatted(form: str, rest: list[Value], line: int) -> str:
    parts, end, used = ["''"], 1, 0
    for verb in _VERB.finditer(form, 1, len(form) - 1):
        parts.append("'" + form[end : verb.start()] + "'")
        end = verb.end()
        if verb.group(1) == "%":
            parts.append("'%'")
            continue
        value = rest[used] if used < len(rest) else NOTHING
        used += 1
        kinds = {"s": ("text",), "d": ("int",), "v": _BASIC}.get(verb.group(1), ())
        if value.type.kind not in kinds:
            untranslatable(line, f"printf with %{verb.group(1)} of this value")
        parts.append(shown(value, line))
    if used != len(rest) or form[end:-1].endswith("%"):
        untranslatable(line, "printf with another number of values than verbs")
    parts.append("'" + form[end:-1] + "'")
    return "(" + " ~ ".join(part for at, part in enumerate(parts) if not at or part != "''") + ")"


def _json(values: list[Value], line: int) -> Value:
    (value,) = _count(values, 1, 1, "json", line)
    if value.type is NIL or value.type is MIXED or (value.type.kind == "struct" and not value.type.json):
        untranslatable(line, "json of this value")
    if value.type.json and value.type.kind == "map":
        return Value(shown(value, line), TEXT)
    return Value(f"({value.text} | {_JSON})", TEXT)


def _date(values: list[Value], line: int) -> Value:
    # Ollama accepts a format and always prints this one.
    return Value("strftime_now('%Y-%m-%d')", TEXT, True)
