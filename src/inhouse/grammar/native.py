"""Which rewritten schemas llama.cpp's own converter enforces, for engines without llguidance.

The converter (``common/json-schema-to-grammar.cpp``) reads one keyword that decides and passes over the
others beside it, so a schema goes there only in the shapes of which it reads every word.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .schema import EVERY_KEY, Inexpressible

_ALLOWED: dict[str, frozenset[str]] = {
    "null": frozenset({"type"}),
    "boolean": frozenset({"type"}),
    "number": frozenset({"type"}),
    "integer": frozenset({"type", "minimum", "maximum"}),
    "string": frozenset({"type", "maxLength"}),
    "array": frozenset({"type", "items", "prefixItems", "minItems", "maxItems"}),
    "object": frozenset({"type", "properties", "required", "patternProperties", "additionalProperties"}),
}
MAX_REPEAT = 2_000
"""llama.cpp refuses to repeat a rule more often."""


def convert(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A rewritten schema as the converter gets it.

    Objects with named properties that are open to others are closed: the converter would let a name be
    written twice. Raises Inexpressible naming the keyword that it does not enforce.
    """
    out = _node(schema)
    definitions = schema.get("$defs", {})
    if definitions:
        out["$defs"] = {name: _node(part) for name, part in definitions.items()}
    return out


def _node(schema: Any) -> dict[str, Any]:
    if schema is True or not schema:
        return {}
    if "$ref" in schema or "enum" in schema or "const" in schema:
        return {key: schema[key] for key in ("$ref", "enum", "const") if key in schema}
    if "anyOf" in schema:
        return {"anyOf": [_node(part) for part in schema["anyOf"]]}
    kind = schema["type"]
    for key in schema:
        if key not in _ALLOWED[kind] and key != "$defs":
            raise Inexpressible(key, "is not enforced by this engine")
    if kind == "array":
        return _array(schema)
    if kind == "object":
        return _object(schema)
    out = {key: value for key, value in schema.items() if key != "$defs"}
    if out.get("maxLength", 0) > MAX_REPEAT:
        raise Inexpressible("maxLength", f"is over {MAX_REPEAT}")
    if not all(isinstance(out.get(key, 0), int) for key in ("minimum", "maximum")):
        raise Inexpressible("minimum" if "minimum" in out else "maximum", "is not a whole number")
    return out


def _array(schema: Mapping[str, Any]) -> dict[str, Any]:
    prefix = schema.get("prefixItems", [])
    if max(schema.get("minItems", 0), schema.get("maxItems", 0)) > MAX_REPEAT:
        raise Inexpressible("minItems" if "minItems" in schema else "maxItems", f"is over {MAX_REPEAT}")
    if prefix:
        if schema["items"] is not False or schema.get("minItems", 0) != len(prefix):
            raise Inexpressible("prefixItems", "is only enforced for arrays of exactly that length")
        return {"type": "array", "prefixItems": [_node(part) for part in prefix]}
    if schema["items"] is False:
        return {"const": []}
    bounds = {key: schema[key] for key in ("minItems", "maxItems") if key in schema}
    return {"type": "array", "items": _node(schema["items"])} | bounds


def _object(schema: Mapping[str, Any]) -> dict[str, Any]:
    keyed = schema.get("patternProperties", {})
    if set(keyed) - {EVERY_KEY}:
        raise Inexpressible("patternProperties", "is not enforced by this engine")
    named = {name: _node(part) for name, part in schema["properties"].items() if part is not False}
    out: dict[str, Any] = {"type": "object", "properties": named}
    if "required" in schema:
        out["required"] = schema["required"]
    shut = bool(schema["properties"]) or not keyed
    out["additionalProperties"] = False if shut else keyed[EVERY_KEY] is True or _node(keyed[EVERY_KEY])
    return out
