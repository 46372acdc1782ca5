"""What a Go template says, as a tree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

from ...core.errors import BadRequest, InhouseError, Unsupported

_HINT = "Write the template in Jinja, or ask for the one inside the weights (use_embedded_template)."


@dataclass(frozen=True, slots=True)
class Literal:
    """A text, a whole number, true or false; None is Go's nil."""

    value: str | int | bool | None
    line: int


@dataclass(frozen=True, slots=True)
class Field:
    """``.A.B`` of the dot (``base`` None), or of what stands in parentheses before it; no names: the dot."""

    names: tuple[str, ...]
    base: Expression | None
    line: int


@dataclass(frozen=True, slots=True)
class Variable:
    """``$name.A.B``; the empty name is ``$``, the data of the whole template."""

    name: str
    names: tuple[str, ...]
    line: int


@dataclass(frozen=True, slots=True)
class Call:
    """A function with its arguments."""

    name: str
    arguments: tuple[Expression, ...]
    line: int


Expression = Literal | Field | Variable | Call


@dataclass(frozen=True, slots=True)
class Text:
    text: str


@dataclass(frozen=True, slots=True)
class Show:
    value: Expression


@dataclass(frozen=True, slots=True)
class Assign:
    """``$name := value``, or ``$name = value`` when it does not declare."""

    name: str
    value: Expression
    declares: bool
    line: int


@dataclass(frozen=True, slots=True)
class If:
    """``if`` and, with ``moves``, ``with``: in its body the dot is the value. ``name``: a variable for it."""

    value: Expression
    name: str
    moves: bool
    body: tuple[Node, ...]
    otherwise: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """``key`` and ``item`` are names of variables, "" where there is none."""

    value: Expression
    key: str
    item: str
    body: tuple[Node, ...]
    otherwise: tuple[Node, ...]
    line: int


@dataclass(frozen=True, slots=True)
class Leave:
    """``break``, or ``continue``."""

    breaks: bool
    line: int


Node = Text | Show | Assign | If | Range | Leave


def expressions(nodes: tuple[Node, ...]) -> Iterator[Expression]:
    """Every expression of a tree, the inner ones too."""
    for node in nodes:
        if isinstance(node, Show | Assign | If | Range):
            yield from _inside(node.value)
        if isinstance(node, If | Range):
            yield from expressions(node.body)
            yield from expressions(node.otherwise)


def _inside(value: Expression) -> Iterator[Expression]:
    yield value
    if isinstance(value, Call):
        for argument in value.arguments:
            yield from _inside(argument)
    elif isinstance(value, Field) and value.base is not None:
        yield from _inside(value.base)


def untranslatable(line: int, what: str) -> NoReturn:
    """Raise Unsupported: a valid template, but ``what`` has no equal in Jinja."""
    _raise(Unsupported, f"The template cannot be translated: line {line}: {what}.")


def malformed(line: int, what: str) -> NoReturn:
    """Raise BadRequest: this is no Go template."""
    _raise(BadRequest, f"template error: line {line}: {what}.")


def _raise(kind: type[InhouseError], message: str) -> NoReturn:
    raise kind(message, hint=_HINT, param="template")
