"""Schemas closed to what they name, as llama.cpp's own grammars are.

A JSON Schema that lists properties admits any others too. Held to that, a small model goes on
inventing them until its tokens run out; so an object that lists properties gets those alone, where
nothing else in the schema speaks of others. What is then written still satisfies the schema.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_JOINS = frozenset({"allOf", "if", "not", "dependentSchemas", "unevaluatedProperties", "$dynamicRef"})
"""Where one of these stands an object may be described in two places: nothing is closed then."""
_OTHERS = frozenset(
    {
        "additionalProperties",
        "patternProperties",
        "propertyNames",
        "minProperties",
        "anyOf",
        "oneOf",
        "$ref",
        "dependentRequired",
        "dependencies",
    }
)
_VALUES = frozenset({"const", "enum", "default", "examples"})
_NAMED = frozenset({"properties", "$defs", "definitions"})


def closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema with ``additionalProperties: false`` where it goes without saying."""
    if any(_JOINS & node.keys() for node in _nodes(schema)):
        return dict(schema)
    return _close(schema)


def _children(node: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    return ((key, value) for key, value in node.items() if key not in _VALUES)


def _nodes(value: Any) -> Iterator[Mapping[str, Any]]:
    """All schemas inside of a value; a property may bear the name of a keyword."""
    stack = [value]
    while stack:
        at = stack.pop()
        if isinstance(at, Mapping):
            yield at
            for key, child in _children(at):
                named = key in _NAMED and isinstance(child, Mapping)
                stack.extend(child.values() if named else [child])
        elif isinstance(at, list | tuple):
            stack.extend(at)


def _close(node: Mapping[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {key: _inside(key, value, node) for key, value in node.items()}
    names = out.get("properties")
    if isinstance(names, Mapping) and not _OTHERS & out.keys():
        required = out.get("required")
        if not isinstance(required, list) or set(required) <= names.keys():
            out["additionalProperties"] = False
    return out


def _inside(key: str, value: Any, node: Mapping[str, Any]) -> Any:
    if key in _VALUES:
        return value
    if key in _NAMED and isinstance(value, Mapping):
        return {name: _close(one) if isinstance(one, Mapping) else one for name, one in value.items()}
    if key in {"anyOf", "oneOf"} and "properties" in node:
        return value  # a branch speaks of the same object as its parent
    if isinstance(value, Mapping):
        return _close(value)
    if isinstance(value, list):
        return [_close(one) if isinstance(one, Mapping) else one for one in value]
    return value
