"""A set of schemas that must all hold, taken apart into alternatives that combine nothing any more.

The set is looked at for one type of value at a time: keywords of other types then say nothing. What
must hold is absorbed at once; what offers a choice waits, and each choice makes its own ``Flat``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .errors import Inexpressible, TooComplex
from .made import FORBID, MISMATCH, PREFIX, TAIL, absent, constant, kind_of, opposite, present
from .negate import negations
from .source import Source

MAX_STEPS = 60_000
MAX_FLATS = 600
Tags = dict[str, frozenset[tuple[str, Any]]]
"""The values that a required property may have."""
MAX_SECONDS = 1.0
"""Of this thread's own time."""

WORDS: dict[str, frozenset[str]] = {
    "null": frozenset(),
    "boolean": frozenset(),
    "number": frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}),
    "string": frozenset(
        {"minLength", "maxLength", "pattern", "format", "contentEncoding", "contentMediaType", MISMATCH}
    ),
    "array": frozenset({"minItems", "maxItems", "uniqueItems", "contains"}),
    "object": frozenset({"required", "minProperties", "maxProperties", "propertyNames"}),
}
FRAMES: dict[str, frozenset[str]] = {
    "array": frozenset({"items", "prefixItems", "additionalItems", PREFIX, TAIL}),
    "object": frozenset({"properties", "patternProperties", "additionalProperties"}),
}
COUNTS = frozenset({"minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"})
_UNEVALUATED = {"array": "unevaluatedItems", "object": "unevaluatedProperties"}
_LATER = frozenset({"anyOf", "oneOf", "not", "if"})
_DEPENDENT = frozenset({"dependencies", "dependentRequired", "dependentSchemas"})
_REFS = ("$ref", "$dynamicRef", "$recursiveRef")
IN_PLACE = (
    frozenset({"type", "enum", "const", "allOf", FORBID})
    | _LATER
    | _DEPENDENT
    | frozenset((*_REFS, *_UNEVALUATED.values()))
)
"""Keywords that speak of a value whatever its type."""


@dataclass
class Flat:
    """One alternative for values of type ``kind``; ``words`` are the values of each keyword that hold."""

    kind: str
    todo: list[Any] = field(default_factory=list)
    later: list[tuple[str, Any]] = field(default_factory=list)
    goals: dict[int, None] = field(default_factory=dict)
    words: dict[str, list[Any]] = field(default_factory=dict)
    frames: list[Mapping[str, Any]] = field(default_factory=list)
    values: list[Any] | None = None
    forbidden: list[Any] = field(default_factory=list)

    def copy(self, *more: Any) -> Flat:
        """The same, with ``more`` schemas that must hold."""
        return replace(
            self,
            todo=[*self.todo, *more],
            later=list(self.later),
            goals=dict(self.goals),
            words={key: list(values) for key, values in self.words.items()},
            frames=list(self.frames),
            values=None if self.values is None else list(self.values),
            forbidden=list(self.forbidden),
        )


class Expander:
    """Takes sets of schemas apart. ``lenient`` leaves out what cannot be expressed instead of raising."""

    def __init__(self, source: Source, *, lenient: bool = False) -> None:
        self.source = source
        self.lenient = lenient
        self.steps = 0
        self.narrowed = False
        """Whether something was left out that a value might have needed."""
        self._until = time.thread_time() + MAX_SECONDS
        self._probing = 0  # asking whether there is any value: then nothing may be left out
        self._tagged: dict[int, Tags] = {}
        self._disjoint: dict[tuple[str, int, int], bool] = {}

    def contradicts(self, flat: Flat) -> bool:
        """Whether no value at all fits; False when that is not known. Set by who knows the types."""
        raise NotImplementedError

    def names(self, flat: Flat) -> list[str]:
        """The property names an alternative speaks of, in the order of their writing."""
        out: dict[str, None] = {}
        for frame in flat.frames:
            out.update(dict.fromkeys(frame.get("properties", ())))
        for required in flat.words.get("required", ()):
            out.update(dict.fromkeys(required))
        return list(out)

    def expand(self, kind: str, goals: tuple[int, ...]) -> list[Flat]:
        """All alternatives for values of one type; none when no value of it fits."""
        flats = []
        for flat in self._grow(Flat(kind, [self.source.node(goal) for goal in goals])):
            flats.append(flat)
            if len(flats) > MAX_FLATS:
                raise TooComplex("anyOf", "has too many combinations")
        return flats

    def _step(self) -> None:
        self.steps += 1
        if self.steps > MAX_STEPS or (self.steps % 64 == 0 and time.thread_time() > self._until):
            raise TooComplex("schema", "is too large")

    def _grow(self, flat: Flat) -> Iterator[Flat]:
        self._step()
        while flat.todo:
            node = flat.todo.pop(0)
            number = self.source.number(node)
            if number in flat.goals:
                continue
            flat.goals[number] = None
            self._step()
            if not self._absorb(flat, node):
                return
        if flat.later:
            key, node = flat.later.pop(0)
            yield from self._choose(flat, key, node)
        elif not self.contradicts(flat):
            yield flat

    def _absorb(self, flat: Flat, node: Any) -> bool:
        """Take in what must hold. False: no value of this type can fit."""
        if isinstance(node, bool):
            return node
        for key in _REFS:
            if key in node:
                flat.todo.append(self._target(node, key))
                if self.source.draft <= 7:
                    return True
        framed = False
        for key, value in node.items():
            if key == "type":
                if not self._fits(flat, value):
                    return False
            elif key in FRAMES.get(flat.kind, ()):
                if not framed:
                    flat.frames.append(node)
                framed = True
            elif not self._take(flat, key, value, node):
                return False
        return True

    def _take(self, flat: Flat, key: str, value: Any, node: Mapping[str, Any]) -> bool:
        if key in WORDS[flat.kind]:
            flat.words.setdefault(key, []).append(node if key == "contains" else self._word(node, key, value))
        elif key in ("enum", "const"):
            return self._only(flat, value if key == "enum" else [value])
        elif key == FORBID:
            flat.forbidden.extend(value)
        elif key == "allOf":
            flat.todo.extend(value)
        elif key in _LATER:
            flat.later.append((key, node))
        elif key in _DEPENDENT and flat.kind == "object":
            flat.later.extend(("dependent", (name, needs)) for name, needs in value.items())
        elif key == _UNEVALUATED.get(flat.kind) and value not in (True, {}) and not self.lenient:
            raise Inexpressible(key)
        return True

    @staticmethod
    def _word(node: Mapping[str, Any], key: str, value: Any) -> Any:
        if key.startswith("exclusive") and isinstance(value, bool):
            base = node.get("minimum" if key == "exclusiveMinimum" else "maximum")
            return base if value else None
        return int(value) if key in COUNTS else value  # 2.0 counts as 2

    def _target(self, node: Mapping[str, Any], key: str) -> Any:
        if key == "$ref" or (key == "$recursiveRef" and self.source.root.get("$recursiveAnchor") is None):
            return self.source.follow(node, node[key])
        if key == "$dynamicRef":
            return self.source.dynamic(node[key])
        raise Inexpressible(key)

    @staticmethod
    def _fits(flat: Flat, types: Any) -> bool:
        allowed = [types] if isinstance(types, str) else types
        if flat.kind == "number" and "number" not in allowed and "integer" in allowed:
            flat.words["integer"] = [True]
            return True
        return flat.kind in allowed

    def _only(self, flat: Flat, values: list[Any]) -> bool:
        mine = [value for value in values if kind_of(value) == flat.kind]
        if flat.kind in ("array", "object"):
            flat.later.insert(0, ("values", mine))
        else:
            flat.values = mine if flat.values is None else [value for value in flat.values if value in mine]
        return bool(mine)

    def _choose(self, flat: Flat, key: str, node: Any) -> Iterator[Flat]:
        if key == "anyOf":
            for option in node["anyOf"]:
                yield from self._grow(flat.copy(option))
        elif key == "oneOf":
            yield from self._one_of(flat, node["oneOf"])
        elif key == "values":
            for value in node:
                yield from self._grow(flat.copy(constant(self.source, value)))
        elif key == "dependent":
            name, needs = node
            schema = needs if isinstance(needs, Mapping | bool) else present(self.source, *as_list(needs))
            yield from self._grow(flat.copy(absent(self.source, name)))
            yield from self._grow(flat.copy(present(self.source, name), schema))
        elif key == "if":
            yield from self._grow(flat.copy(node["if"], node.get("then", True)))
            yield from self._grow(flat.copy(opposite(self.source, node["if"]), node.get("else", True)))
        else:
            yield from self._not(flat, node["not"])

    def _one_of(self, flat: Flat, options: list[Any]) -> Iterator[Flat]:
        options = [option for option in options if not self._apart(flat.kind, option, True)]
        for i, option in enumerate(options):
            rivals = [
                opposite(self.source, other)
                for j, other in enumerate(options)
                if i != j and not self._apart(flat.kind, option, other)
            ]
            yield from self._grow(flat.copy(option, *rivals))

    def _not(self, flat: Flat, node: Any) -> Iterator[Flat]:
        choices, partial = negations(self.source, node, flat.kind, self.names(flat))
        if (partial or len(choices) > 1) and self._excludes(flat, node):
            yield from self._grow(flat)
            return
        if partial and not choices and not self._probing:
            if partial == "type":  # numbers with a fraction: left out, other types may remain
                self.narrowed = True
            elif not self.lenient:
                raise Inexpressible("not", f"cannot turn '{partial}' around")
            else:
                yield from self._grow(flat)
        for choice in choices:
            yield from self._grow(flat.copy(*choice))
        if partial and self._probing:
            raise Inexpressible("not", "has ways that are not looked at")

    def _excludes(self, flat: Flat, node: Any) -> bool:
        """Whether what is known already rules a schema out."""
        probe = flat.copy(node)
        probe.later = []
        return self._empty(probe)

    def _apart(self, kind: str, one: Any, other: Any) -> bool:
        """Whether no value is valid under both, as far as can be seen."""
        a, b = self.source.number(one), self.source.number(other)
        a, b = min(a, b), max(a, b)
        found = self._disjoint.get((kind, a, b))
        if found is None and self._tagged_apart(one, other):
            found = self._disjoint[kind, a, b] = kind == "object"
        if found is None:
            self._disjoint[kind, a, b] = False  # while asking: recursion
            found = self._disjoint[kind, a, b] = self._empty(Flat(kind, [one, other]))
        return found

    def _tagged_apart(self, one: Any, other: Any) -> bool:
        """The usual case, quickly: both are objects that must have a property of different constants."""
        tags = self._tags(other)
        return any(name in tags and not values & tags[name] for name, values in self._tags(one).items())

    def _tags(self, node: Any) -> Tags:
        number = self.source.number(node)
        if number not in self._tagged:
            self._tagged[number] = {}  # while asking: recursion
            self._tagged[number] = self._find_tags(node)
        return self._tagged[number]

    def _find_tags(self, node: Any) -> Tags:
        if not isinstance(node, Mapping):
            return {}
        if "$ref" in node:
            return self._tags(self._target(node, "$ref"))
        out: Tags = {}
        for name in node.get("required", ()) if node.get("type") == "object" else ():
            part = node.get("properties", {}).get(name)
            if isinstance(part, Mapping) and ("const" in part or "enum" in part):
                values = part.get("enum", [part.get("const")])
                kinds = [kind_of(value) for value in values]
                if not {"array", "object"} & set(kinds):
                    out[name] = frozenset(zip(kinds, values, strict=True))
        return out

    def _empty(self, flat: Flat) -> bool:
        self._probing += 1
        try:
            return next(iter(self._grow(flat)), None) is None
        except TooComplex:
            raise
        except Inexpressible:
            return False
        finally:
            self._probing -= 1


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
