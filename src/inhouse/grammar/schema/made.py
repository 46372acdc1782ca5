"""Schemas that no client wrote: small ones that say one thing, made once each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .source import Source

FORBID = "\0forbid"
"""Scalars that are not allowed. These keywords are ours: schemas with NUL in a key are refused."""
MISMATCH = "\0mismatch"
"""A pattern that must match nowhere."""
PREFIX = "\0prefix"
"""Schemas of the first items, in any draft."""
TAIL = "\0tail"
"""The schema of all items, in any draft."""

KINDS = ("null", "boolean", "number", "string", "array", "object")


def kind_of(value: Any) -> str:
    """The type of a JSON value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    for kind, types in (("number", (int, float)), ("string", (str,)), ("array", (list,))):
        if isinstance(value, types):
            return kind
    return "object"


def opposite(source: Source, node: Any) -> dict[str, Any]:
    """The schema of all values that are not valid under ``node``."""
    return source.make(("not", source.number(node)), lambda: {"not": node})


def present(source: Source, *names: str) -> dict[str, Any]:
    """Objects that have these properties."""
    return source.make(("present", *names), lambda: {"required": list(names)})


def absent(source: Source, name: str) -> dict[str, Any]:
    """Objects that lack a property."""
    return source.make(("absent", name), lambda: {"properties": {name: False}})


def spoiled(source: Source, name: str, part: Any) -> list[dict[str, Any]]:
    """Objects whose property is there and not valid under ``part``."""
    key = ("spoiled", name, source.number(part))
    return [present(source, name), source.make(key, lambda: {"properties": {name: opposite(source, part)}})]


def spoiled_item(source: Source, at: int, part: Any) -> list[dict[str, Any]]:
    """Arrays whose item number ``at`` is there and not valid under ``part``."""
    key = ("item", at, source.number(part))
    return [{"minItems": at + 1}, source.make(key, lambda: {PREFIX: [True] * at + [opposite(source, part)]})]


def no_item(source: Source, part: Any) -> dict[str, Any]:
    """Arrays of which no item is valid under ``part``."""
    return source.make(("none", source.number(part)), lambda: {TAIL: opposite(source, part)})


def constant(source: Source, value: list[Any] | dict[str, Any]) -> dict[str, Any]:
    """The schema that only this array or object is valid under."""
    if isinstance(value, list):
        return source.make(
            ("constant", id(value)),
            lambda: {
                "type": "array", "minItems": len(value), "maxItems": len(value),
                PREFIX: [{"enum": [part]} for part in value],
            },
        )  # fmt: skip
    return source.make(
        ("constant", id(value)),
        lambda: {
            "type": "object", "required": list(value), "additionalProperties": False,
            "properties": {key: {"enum": [part]} for key, part in value.items()},
        },
    )  # fmt: skip


def frame(node: Mapping[str, Any], draft: int) -> tuple[list[Any], Any]:
    """``(first items, all further items)`` as one schema speaks of them."""
    if PREFIX in node or TAIL in node:
        return node.get(PREFIX, []), node.get(TAIL, True)
    items = node.get("items", True)
    if isinstance(items, list):
        return items, node.get("additionalItems", True)
    return (node.get("prefixItems", []) if draft >= 2020 else []), items
