"""A schema as written: its draft, its parts by number, and where its references lead."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin

from .errors import Inexpressible

DRAFTS = {
    "draft-03": 3,
    "draft-04": 4,
    "draft-06": 6,
    "draft-07": 7,
    "draft/2019-09": 2019,
    "draft/2020-12": 2020,
}
NEWEST = 2020
_DATA = frozenset({"enum", "const", "default", "examples", "example"})
_URI = re.compile(r"^https?://json-schema\.org/(draft-0[3467]|draft/20\d\d-\d\d)/")


def draft_of(schema: Any) -> int:
    """The draft a schema names in ``$schema``, else the newest whose words it uses rightly."""
    if not isinstance(schema, Mapping):
        return NEWEST
    named = _URI.match(str(schema.get("$schema", "")))
    if named and named[1] in DRAFTS:
        return DRAFTS[named[1]]
    draft = NEWEST
    for node in nodes(schema):
        if isinstance(node.get("exclusiveMinimum"), bool) or isinstance(node.get("exclusiveMaximum"), bool):
            return 4
        if isinstance(node.get("items"), list):
            draft = 7
    return draft


def nodes(schema: Any) -> Iterator[Mapping[str, Any]]:
    """All objects inside a schema but those that are data (values of enum, const, default ...)."""
    stack = [schema]
    while stack:
        node = stack.pop()
        if isinstance(node, Mapping):
            yield node
            stack.extend(value for key, value in node.items() if not (key in _DATA and not _is_schema(value)))
        elif isinstance(node, list):
            stack.extend(node)


def _is_schema(value: Any) -> bool:
    """A property may be called ``default``: then its value is a schema, which we cannot tell from data."""
    return isinstance(value, Mapping) and ("type" in value or "$ref" in value)


class Source:
    """Numbers the parts of one schema, so that sets of them can be compared, and follows references."""

    def __init__(self, schema: Any) -> None:
        self.root = schema
        self.draft = draft_of(schema)
        self._numbers: dict[int, int] = {}
        self._nodes: list[Any] = []
        self._leaves: dict[str, int] = {}
        self._kept: list[Any] = []  # alive, so that no id comes twice
        self._made: dict[tuple[Any, ...], dict[str, Any]] = {}
        self._bases: dict[int, str] = {}
        self._ids: dict[str, Any] = {}
        self._anchors: dict[str, list[Any]] = {}
        self._index(schema)

    def number(self, node: Any) -> int:
        """The number of a part of the schema; the same object has always the same, and so have equal
        ones with nothing inside."""
        if isinstance(node, bool):
            node = _TRUE if node else _FALSE
        found = self._numbers.get(id(node))
        if found is None:
            found = len(self._nodes)
            if _is_leaf(node):
                found = self._leaves.setdefault(repr(node), found)
            self._numbers[id(node)] = found
            self._kept.append(node)
            if found == len(self._nodes):
                self._nodes.append(node)
        return found

    def node(self, number: int) -> Any:
        """The part with this number."""
        return self._nodes[number]

    def make(self, key: tuple[Any, ...], build: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """A part that was not written by the client; made once for each key."""
        found = self._made.get(key)
        if found is None:
            found = self._made[key] = build()
        return found

    def follow(self, node: Mapping[str, Any], ref: str) -> Any:
        """What a reference names. Raises Inexpressible when that is not in this schema."""
        base = self._bases.get(id(node), "")
        target, fragment = urldefrag(urljoin(base, ref)) if base or not ref.startswith("#") else ("", ref[1:])
        document = self._ids.get(
            target, self.root if target in ("", self._bases.get(id(self.root), "")) else None
        )
        if document is None:
            raise Inexpressible("$ref", "leads outside the schema")
        if fragment and not fragment.startswith("/"):
            found = self._ids.get(f"{target}#{fragment}")
        else:
            found = self._pointer(document, unquote(fragment))
        if not isinstance(found, Mapping | bool):
            raise Inexpressible("$ref", "leads to nothing that is a schema")
        return found

    def dynamic(self, ref: str) -> Any:
        """What ``$dynamicRef`` names where only one place can be meant."""
        found = self._anchors.get(ref.removeprefix("#"), [])
        if len(found) != 1:
            raise Inexpressible("$dynamicRef", "may mean several places")
        return found[0]

    def _index(self, schema: Any) -> None:
        stack: list[tuple[Any, str]] = [(schema, "")]
        while stack:
            node, base = stack.pop()
            if isinstance(node, list):
                stack.extend((child, base) for child in node)
            if not isinstance(node, Mapping):
                continue
            base = self._enter(node, base)
            stack.extend((child, base) for key, child in node.items() if key not in ("enum", "const"))

    def _enter(self, node: Mapping[str, Any], base: str) -> str:
        own = node.get("id" if self.draft <= 4 else "$id")
        if isinstance(own, str) and not (self.draft <= 7 and "$ref" in node):
            target, fragment = urldefrag(urljoin(base, own))
            if fragment:
                self._ids.setdefault(f"{target}#{fragment}", node)
            if target and not own.startswith("#"):
                base = target
                self._ids.setdefault(base, node)
        if base:
            self._bases[id(node)] = base
        for key in ("$anchor", "$dynamicAnchor"):
            anchor = node.get(key)
            if isinstance(anchor, str):
                self._ids.setdefault(f"{base}#{anchor}", node)
                if key == "$dynamicAnchor":
                    self._anchors.setdefault(anchor, []).append(node)
        return base

    @staticmethod
    def _pointer(node: Any, pointer: str) -> Any:
        for part in pointer.split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            if isinstance(node, Mapping):
                node = node.get(key)
            elif isinstance(node, list) and key.isascii() and key.isdigit() and len(key) < 6:
                node = node[int(key)] if int(key) < len(node) else None
            else:
                return None
        return node


def _is_leaf(node: Any) -> bool:
    if not isinstance(node, Mapping) or len(node) > 8 or "$ref" in node:
        return False
    return all(
        isinstance(value, str | int | float | None)
        or (isinstance(value, list) and not any(map(_nested, value[:50])))
        for value in node.values()
    ) and not any(isinstance(value, list) and len(value) > 50 for value in node.values())


def _nested(value: Any) -> bool:
    return isinstance(value, dict | list)


_TRUE: dict[str, Any] = {}
_FALSE: dict[str, Any] = {"not": _TRUE}
