"""Engines with llama.cpp's own converter get only what it reads, every word of it."""

from __future__ import annotations

from typing import Any

import pytest

from inhouse.core.errors import Unsupported
from inhouse.core.messages import Format
from inhouse.grammar import check, relaxed

GBNF = frozenset({"gbnf"})


def native(words: dict[str, Any]) -> Any:
    return check(Format("schema", words), GBNF).schema


def test_objects_with_names_are_closed_so_that_none_comes_twice() -> None:
    found = native({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]})
    assert found == {
        "type": "object",
        "properties": {"a": {"type": "integer"}},
        "required": ["a"],
        "additionalProperties": False,
    }


def test_maps_keep_the_schema_of_their_values() -> None:
    found = native({"type": "object", "additionalProperties": {"type": "integer"}})
    assert found["additionalProperties"] == {"type": "integer"}
    assert native({"type": "object"})["additionalProperties"] is True


def test_names_that_may_not_be_there_are_left_out() -> None:
    assert native({"type": "object", "properties": {"a": False, "b": {}}})["properties"] == {"b": {}}


def test_recursion_and_choices_are_kept() -> None:
    found = native(
        {"$ref": "#/$defs/n", "$defs": {"n": {"type": "object", "properties": {"n": {"$ref": "#/$defs/n"}}}}}
    )
    name = found["properties"]["n"]["$ref"].removeprefix("#/$defs/")
    assert found["$defs"][name]["properties"]["n"]["$ref"] == found["properties"]["n"]["$ref"]
    assert native({"type": ["string", "null"]}) == {"anyOf": [{"type": "null"}, {"type": "string"}]}


def test_arrays_and_tuples() -> None:
    assert native({"type": "array", "items": {"type": "null"}, "minItems": 1, "maxItems": 3}) == {
        "type": "array", "items": {"type": "null"}, "minItems": 1, "maxItems": 3,
    }  # fmt: skip
    pair = {
        "type": "array",
        "prefixItems": [{"type": "null"}, {"type": "boolean"}],
        "items": False,
        "minItems": 2,
    }
    assert native(pair) == {"type": "array", "prefixItems": [{"type": "null"}, {"type": "boolean"}]}
    assert native({"type": "array", "maxItems": 0}) == {"const": []}


@pytest.mark.parametrize(
    ("keyword", "words"),
    [
        ("pattern", {"type": "string", "pattern": "a"}),
        ("pattern", {"type": "string", "format": "date"}),
        ("minLength", {"type": "string", "minLength": 2}),
        ("maxLength", {"type": "string", "maxLength": 5000}),
        ("minimum", {"type": "number", "minimum": 2}),
        ("minimum", {"type": "integer", "minimum": 2.5}),
        ("multipleOf", {"type": "integer", "multipleOf": 2}),
        ("patternProperties", {"type": "object", "patternProperties": {"^a": {"type": "null"}}}),
        ("minProperties", {"type": "object", "minProperties": 1}),
        ("prefixItems", {"type": "array", "prefixItems": [{"type": "null"}]}),
        ("maxItems", {"type": "array", "maxItems": 5000}),
    ],
)
def test_what_the_converter_passes_over_is_refused(keyword: str, words: dict[str, Any]) -> None:
    with pytest.raises(Unsupported, match=keyword):
        native(words)


def test_a_relaxed_schema_of_such_an_engine_is_at_least_the_type() -> None:
    assert relaxed({"type": "object", "patternProperties": {"^a": {"type": "null"}}}, GBNF) == {
        "type": "object"
    }
