"""Ceilings for JSON Schemas from strangers: refused here, fast, before any engine sees them.

A schema becomes a grammar in the engine, so its size is work there. References stay inside the
document (``#``, ``#/...``, ``#anchor``); nothing is ever fetched. Recursion through properties or items
is fine; a reference that leads back to itself without consuming anything has no meaning and is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from ..core.errors import BadRequest
from .wire import dumps

MAX_BYTES = 256 * 1024
MAX_DEPTH = 64
MAX_ENUM = 5000
MAX_PATTERN = 1000
_JOINS = ("anyOf", "oneOf", "allOf")


def check_schema(schema: Mapping[str, Any], param: str) -> None:
    """Raise BadRequest when a schema is too deep, too large or refers outside itself."""
    refs: list[str] = []
    anchors: dict[str, Mapping[str, Any]] = {}
    for node in nested_objects(schema, param):
        _check_node(node, param, refs)
        for name in _anchors(node):
            anchors.setdefault(name, node)
    if len(dumps(schema)) > MAX_BYTES:
        _refuse(param, f"it is larger than {MAX_BYTES // 1024} KiB", "Shorten the schema.")
    targets = {ref: _resolve(schema, ref, anchors) for ref in dict.fromkeys(refs)}
    if not all(isinstance(target, Mapping) for target in targets.values()):
        _refuse(param, "a $ref points nowhere", "Define what it names, e.g. under '$defs'.")
    if _circles(targets):
        _refuse(param, "a $ref leads back to itself", "Let references recur through properties.")


def nested_objects(value: Any, param: str) -> Iterator[dict[str, Any]]:
    """All objects inside a JSON value, itself too. Raises BadRequest beyond MAX_DEPTH levels."""
    stack: list[tuple[Any, int]] = [(value, 1)]
    while stack:
        node, depth = stack.pop()
        if depth > MAX_DEPTH:
            _refuse(param, f"it is nested deeper than {MAX_DEPTH} levels", "Flatten it.")
        if isinstance(node, dict):
            yield node
        children = node.values() if isinstance(node, dict) else node
        stack.extend((child, depth + 1) for child in children if isinstance(child, dict | list))


def _refuse(param: str, what: str, hint: str) -> None:
    raise BadRequest(f"Invalid value for '{param}': {what}.", hint=hint, param=param)


def _check_node(node: dict[str, Any], param: str, refs: list[str]) -> None:
    ref = node.get("$ref")
    if isinstance(ref, str):
        if not ref.startswith("#"):
            _refuse(param, "a $ref leads outside the schema", "Use references like '#/$defs/name' only.")
        refs.append(ref)
    values = node.get("enum")
    if isinstance(values, list) and len(values) > MAX_ENUM:
        _refuse(param, f"an enum has more than {MAX_ENUM} values", "Use a string instead.")
    pattern = node.get("pattern")
    if isinstance(pattern, str) and len(pattern) > MAX_PATTERN:
        _refuse(param, f"a pattern is longer than {MAX_PATTERN} characters", "Shorten the pattern.")


def _resolve(schema: Mapping[str, Any], ref: str, anchors: Mapping[str, Any]) -> Any:
    if ref == "#":
        return schema
    if not ref.startswith("#/"):
        return anchors.get(ref)
    node: Any = schema
    for part in ref[2:].split("/"):
        key = unquote(part).replace("~1", "/").replace("~0", "~")
        if isinstance(node, Mapping):
            node = node.get(key)
        elif isinstance(node, list) and key.isascii() and key.isdigit() and len(key) < 6:
            node = node[int(key)] if int(key) < len(node) else None
        else:
            return None
    return node


def _anchors(node: Mapping[str, Any]) -> Iterator[str]:
    """What ``#name`` means this node; drafts before 2019 write the anchor as an ``$id``."""
    for value in (node.get("$id"), node.get("id")):
        if isinstance(value, str):
            yield value
    if isinstance(anchor := node.get("$anchor"), str):
        yield f"#{anchor}"


def _immediate(node: Any) -> Iterator[str]:
    """References that a value must satisfy as a whole, not one of its parts."""
    stack = [node]
    while stack:
        at = stack.pop()
        if not isinstance(at, Mapping):
            continue
        ref = at.get("$ref")
        if isinstance(ref, str):
            yield ref
        for join in _JOINS:
            branches = at.get(join)
            if isinstance(branches, list):
                stack.extend(branches)


def _circles(targets: Mapping[str, Any]) -> bool:
    """Whether a reference leads back to itself at once.

    Nodes count, not references: one node may be named in thousands of ways.
    """
    edges: dict[int, tuple[int, ...]] = {}
    for target in targets.values():
        if id(target) not in edges:
            edges[id(target)] = tuple({id(targets[ref]) for ref in _immediate(target)})
    done: set[int] = set()
    for start, first in edges.items():
        path: dict[int, Iterator[int]] = {} if start in done else {start: iter(first)}
        while path:
            at, children = next(reversed(path.items()))
            child = next(children, None)
            if child is None:
                done.add(at)
                del path[at]
            elif child in path:
                return True
            elif child not in done:
                path[child] = iter(edges[child])
    return False
