"""Schemas are closed only where that goes without saying."""

from __future__ import annotations

from typing import Any

import pytest

from inhouse.grammar.closed import closed

OPEN: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "integer"}}}
SHUT = {**OPEN, "additionalProperties": False}


def test_an_object_that_names_its_properties_has_no_others() -> None:
    assert closed(OPEN) == SHUT
    assert closed({"items": OPEN, "$defs": {"properties": OPEN}}) == {
        "items": SHUT,
        "$defs": {"properties": SHUT},
    }
    assert closed({"anyOf": [OPEN, {"type": "null"}]}) == {"anyOf": [SHUT, {"type": "null"}]}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        {**OPEN, "additionalProperties": True},
        {**OPEN, "patternProperties": {"^x": {}}},
        {**OPEN, "propertyNames": {"pattern": "^a"}},
        {**OPEN, "required": ["b"]},
        {**OPEN, "minProperties": 2},
        {**OPEN, "anyOf": [{"properties": {"b": {}}, "required": ["b"]}]},
        {"allOf": [OPEN, {"properties": {"b": {}}}]},
        {"properties": {"x": {"allOf": [{"$ref": "#/$defs/o"}]}}, "$defs": {"o": OPEN}},
        {"const": OPEN},
        {"enum": [OPEN]},
    ],
)
def test_an_object_of_which_something_else_is_said_is_left_alone(schema: dict[str, Any]) -> None:
    assert closed(schema) == schema


def test_properties_that_are_called_like_keywords_are_no_keywords() -> None:
    schema = {"properties": {"allOf": {"type": "string"}, "const": OPEN}}
    assert closed(schema) == {
        "properties": {"allOf": {"type": "string"}, "const": SHUT},
        "additionalProperties": False,
    }
