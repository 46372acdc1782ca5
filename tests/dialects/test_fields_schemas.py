"""JSON Schemas from strangers: what a grammar can be made of, and what is refused at once."""

from __future__ import annotations

import time

import pytest

from inhouse.core.errors import BadRequest
from inhouse.dialects.schemas import MAX_DEPTH, MAX_ENUM, check_schema


def nested(levels: int) -> dict:
    schema: dict = {"type": "string"}
    for _ in range(levels // 2):
        schema = {"properties": {"x": schema}}
    return schema


LIST = {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}}}


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "object", "properties": {"a": {"type": "integer"}}},
        {"$defs": {"node": LIST}, "$ref": "#/$defs/node"},
        {"definitions": {"a b": {"type": "string"}}, "$ref": "#/definitions/a%20b"},
        {"definitions": {"a/b~c": {"type": "string"}}, "$ref": "#/definitions/a~1b~0c"},
        {"anyOf": [{"type": "string"}, {"$ref": "#/anyOf/0"}]},
        {"enum": list(range(MAX_ENUM))},
        {"const": 10**40},
        nested(MAX_DEPTH - 2),
    ],
)
def test_ordinary_schemas_pass(schema):
    check_schema(schema, "format")


@pytest.mark.parametrize(
    "schema, why",
    [
        ({"$ref": "https://example.com/x"}, "outside"),
        ({"$ref": "file:///etc/passwd"}, "outside"),
        ({"$ref": "#"}, "itself"),
        ({"properties": {"a": [{"$ref": "other.json#/a"}]}}, "outside"),
        ({"$ref": "#/$defs/none"}, "nowhere"),
        ({"$ref": "#/type/x", "type": "object"}, "nowhere"),
        ({"$ref": "#/anyOf/7", "anyOf": [{}]}, "nowhere"),
        ({"$ref": "#/anyOf/x", "anyOf": [{}]}, "nowhere"),
        ({"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}, "itself"),
        (
            {"$defs": {"a": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/a"}]}}, "$ref": "#/$defs/a"},
            "itself",
        ),
        (
            {
                "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"allOf": [{"$ref": "#/$defs/a"}]}},
                "items": {"$ref": "#/$defs/a"},
            },
            "itself",
        ),
        ({"enum": list(range(MAX_ENUM + 1))}, "enum"),
        ({"pattern": "a" * 1001}, "pattern"),
        ({"description": "x" * 300_000}, "KiB"),
        (nested(MAX_DEPTH + 10), "deeper"),
    ],
)
def test_what_cannot_or_must_not_be_followed_is_refused(schema, why):
    with pytest.raises(BadRequest, match=why) as caught:
        check_schema(schema, "format")
    assert caught.value.param == "format"
    assert caught.value.hint


def test_a_long_chain_of_references_is_checked_fast():
    size = 3000
    defs = {f"d{i}": {"$ref": f"#/$defs/d{i + 1}"} for i in range(size)} | {f"d{size}": {"type": "null"}}
    before = time.process_time()
    check_schema({"$defs": defs, "$ref": "#/$defs/d0"}, "format")
    defs[f"d{size}"] = {"$ref": "#/$defs/d0"}
    with pytest.raises(BadRequest, match="itself"):
        check_schema({"$defs": defs, "$ref": "#/$defs/d0"}, "format")
    assert time.process_time() - before < 2


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"next": {"$ref": "#"}}},
        {"properties": {"a": {"$ref": "#it"}}, "$defs": {"x": {"$anchor": "it", "type": "string"}}},
        {"properties": {"a": {"$ref": "#it"}}, "definitions": {"x": {"$id": "#it", "type": "string"}}},
    ],
    ids=["root", "anchor", "older anchor"],
)
def test_references_may_name_the_whole_schema_or_an_anchor(schema):
    check_schema(schema, "p")


@pytest.mark.parametrize(
    "schema", [{"$ref": "#"}, {"anyOf": [{"$ref": "#"}]}, {"items": {"$ref": "#nowhere"}}]
)
def test_references_to_themselves_or_to_no_anchor_are_refused(schema):
    with pytest.raises(BadRequest, match="ref"):
        check_schema(schema, "p")


def _many_anchors() -> dict:
    count = 3000
    anchored = [{"$anchor": f"a{i}"} for i in range(count)]
    return {"$defs": anchored, "properties": {"x": {"anyOf": [{"$ref": f"#a{i}"} for i in range(count)]}}}


def _one_wide_node_under_many_names() -> dict:
    names = [
        "".join(f"%{ord(c):x}" if i >> n & 1 else c for n, c in enumerate("abcdefghijk")) for i in range(2000)
    ]
    uses = {"anyOf": [{"$ref": f"#/$defs/{name}"} for name in names]}
    return {"$defs": {"abcdefghijk": {"allOf": [{}] * 30_000}}, "properties": {"x": uses}}


@pytest.mark.parametrize(
    "schema", [_many_anchors(), _one_wide_node_under_many_names()], ids=["anchors", "names"]
)
def test_many_references_are_followed_fast(schema):
    before = time.process_time()
    check_schema(schema, "p")
    assert time.process_time() - before < 2


def test_a_circle_through_two_names_of_one_node_is_seen():
    with pytest.raises(BadRequest, match="itself"):
        check_schema(
            {"$defs": {"a": {"$anchor": "it", "allOf": [{"$ref": "#/$defs/%61"}]}}, "$ref": "#it"}, "p"
        )
