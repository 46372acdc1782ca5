"""Objects that list their properties have no others, where that goes without saying."""

from __future__ import annotations

from typing import Any

import pytest

from .words import takes

OPEN: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "integer"}}}
OTHERS = {"a": 1, "z": 1}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (OPEN, OTHERS),
        ({"type": "array", "items": OPEN}, [OTHERS]),
        ({"anyOf": [OPEN, {"type": "null"}]}, OTHERS),
        ({"$ref": "#/$defs/o", "$defs": {"o": OPEN}}, OTHERS),
        ({"allOf": [OPEN, {"properties": {"b": {}}}]}, {"a": 1, "b": 2, "z": 1}),
    ],
)
def test_an_object_that_lists_its_properties_has_no_others(schema: dict[str, Any], value: Any) -> None:
    assert not takes(schema, value)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        {**OPEN, "additionalProperties": True},
        {**OPEN, "patternProperties": {"^x": {}}},
        {**OPEN, "propertyNames": {"pattern": "^[az]"}},
        {**OPEN, "required": ["z"]},
        {**OPEN, "minProperties": 2},
        {"type": "object", "required": ["a"]},
        {"type": "object", "not": {"required": ["b"]}},
        {"allOf": [OPEN, {"properties": {"z": {}}}]},
        {**OPEN, "anyOf": [{"properties": {"z": {}}, "required": ["z"]}]},
    ],
)
def test_where_a_schema_speaks_of_others_they_may_come(schema: dict[str, Any]) -> None:
    assert takes(schema, OTHERS)


def test_choices_exclude_each_other_as_they_were_written_not_as_they_are_closed() -> None:
    schema = {"oneOf": [OPEN, {"type": "object", "properties": {"b": {"type": "integer"}}}]}
    assert not takes(schema, {"a": 1})
    assert not takes(schema, {})
