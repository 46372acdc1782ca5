"""The opposite of a schema, keyword by keyword, for values of one type."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .made import (
    FORBID,
    MISMATCH,
    PREFIX,
    TAIL,
    absent,
    constant,
    frame,
    kind_of,
    no_item,
    opposite,
    present,
    spoiled,
    spoiled_item,
)
from .matching import matches
from .source import Source

Choice = list[Any]

_BY_KIND: dict[str, tuple[str, ...]] = {
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    "string": ("minLength", "maxLength", "pattern", "format", "contentEncoding", "contentMediaType"),
    "array": (
        "minItems", "maxItems", "uniqueItems", "contains", "prefixItems", "items", "additionalItems",
        "unevaluatedItems", PREFIX, TAIL,
    ),
    "object": (
        "required", "minProperties", "maxProperties", "properties", "patternProperties",
        "additionalProperties", "propertyNames", "dependencies", "dependentRequired",
        "dependentSchemas", "unevaluatedProperties",
    ),
}  # fmt: skip
_LESS = {"minLength": "maxLength", "minItems": "maxItems", "minProperties": "maxProperties"}
_MORE = {high: low for low, high in _LESS.items()}
_BOUNDS = {
    "minimum": "exclusiveMaximum",
    "maximum": "exclusiveMinimum",
    "exclusiveMinimum": "maximum",
    "exclusiveMaximum": "minimum",
}


@dataclass
class Opposite:
    """What makes a schema untrue: one of ``choices``; ``partial`` names a keyword with ways left out.

    A choice is a list of schemas that then hold; an empty one always holds.
    """

    source: Source
    kind: str
    names: tuple[str, ...]
    choices: list[Choice] = field(default_factory=list)
    partial: str = ""

    def of(self, node: Any) -> None:
        """Fill in the ways in which ``node`` can be untrue."""
        if isinstance(node, bool):
            self.choices += [] if node else [[]]
            return
        if "$ref" in node:
            self.choices.append([self._not(self.source.follow(node, node["$ref"]))])
            if self.source.draft <= 7:
                return
        for key, value in node.items():
            if key in ("$dynamicRef", "$recursiveRef"):
                self.partial = key
            self._general(key, value, node)
            if key in _BY_KIND.get(self.kind, ()):
                self._word(key, value, node)

    def _not(self, node: Any) -> dict[str, Any]:
        return opposite(self.source, node)

    def _general(self, key: str, value: Any, node: Mapping[str, Any]) -> None:
        if key == "type":
            self._type(value)
        elif key in ("enum", "const"):
            self._values(value if key == "enum" else [value])
        elif key == "allOf":
            self.choices += [[self._not(part)] for part in value]
        elif key == "anyOf":
            self.choices.append([self._not(part) for part in value])
        elif key == "oneOf":
            self.choices.append([self._not(part) for part in value])
            self.choices += [[one, other] for at, one in enumerate(value) for other in value[at + 1 :]]
        elif key == "not":
            self.choices.append([value])
        elif key == "if":
            if "then" in node:
                self.choices.append([value, self._not(node["then"])])
            if "else" in node:
                self.choices.append([self._not(value), self._not(node["else"])])

    def _type(self, types: Any) -> None:
        allowed = [types] if isinstance(types, str) else types
        if self.kind == "number" and "number" not in allowed and "integer" in allowed:
            self.partial = "type"
        elif self.kind not in allowed:
            self.choices.append([])

    def _values(self, values: list[Any]) -> None:
        mine = [value for value in values if kind_of(value) == self.kind]
        if self.kind in ("array", "object"):
            self.choices.append([self._not(constant(self.source, value)) for value in mine])
        elif mine:
            self.choices.append([self.source.make((FORBID, repr(mine)), lambda: {FORBID: mine})])
        else:
            self.choices.append([])

    def _word(self, key: str, value: Any, node: Mapping[str, Any]) -> None:
        if key in _LESS:
            self.choices += [[{_LESS[key]: int(value) - 1}]] if value else []
        elif key in _MORE:
            self.choices.append([{_MORE[key]: int(value) + 1}])
        elif key in _BOUNDS:
            self._bound(key, value, node)
        elif key == "pattern":
            self.choices.append([self.source.make((MISMATCH, value), lambda: {MISMATCH: value})])
        elif key == "required":
            for name in value:
                self.choices.append([absent(self.source, name)])
        elif key == "properties":
            self.choices += [
                spoiled(self.source, name, part) for name, part in value.items() if not _true(part)
            ]
        elif key == "additionalProperties":
            self._additional(value, node)
        elif key == "contains" and not {"minContains", "maxContains"} & node.keys():
            self.choices.append([no_item(self.source, value)])
        elif key in ("items", "prefixItems", "additionalItems", PREFIX, TAIL):
            self._items(key, node)
        elif key in ("dependencies", "dependentRequired", "dependentSchemas"):
            self._dependent(value)
        elif not _true(value) and value != {}:
            self.partial = key

    def _bound(self, key: str, value: Any, node: Mapping[str, Any]) -> None:
        if isinstance(value, bool):
            return  # draft 4: part of minimum or maximum
        exclusive = node.get("exclusive" + key[0].upper() + key[1:]) is True
        mirror = {"minimum": "maximum", "maximum": "minimum"}.get(key)
        self.choices.append([{mirror if exclusive and mirror else _BOUNDS[key]: value}])

    def _additional(self, value: Any, node: Mapping[str, Any]) -> None:
        if _true(value):
            return
        patterns = node.get("patternProperties", ())
        for name in self.names:
            if name not in node.get("properties", ()) and not any(matches(p, name) for p in patterns):
                self.choices.append(spoiled(self.source, name, value))
        self.partial = "additionalProperties"

    def _items(self, key: str, node: Mapping[str, Any]) -> None:
        """An item that is not as it should be: any of the first ones, of the others only the first."""
        prefix, tail = frame(node, self.source.draft)
        if key in (PREFIX, "prefixItems") or isinstance(node.get(key), list):
            for at, part in enumerate(prefix):
                self.choices += [] if _true(part) else [spoiled_item(self.source, at, part)]
        elif not _true(tail):
            self.choices.append(spoiled_item(self.source, len(prefix), tail))
            self.partial = key

    def _dependent(self, needs: Mapping[str, Any]) -> None:
        for name, need in needs.items():
            if isinstance(need, Mapping | bool):
                self.choices.append([present(self.source, name), self._not(need)])
                continue
            for other in [need] if isinstance(need, str) else need:
                self.choices.append([present(self.source, name), absent(self.source, other)])


def _true(node: Any) -> bool:
    return node is True or (isinstance(node, Mapping) and not node)


def negations(source: Source, node: Any, kind: str, names: Iterable[str]) -> tuple[list[Choice], str]:
    """The choices of ``Opposite`` for values of type ``kind``; one empty choice when it is never true."""
    opposite = Opposite(source, kind, tuple(names))
    opposite.of(node)
    if [] in opposite.choices:
        return [[]], ""
    return opposite.choices, opposite.partial
