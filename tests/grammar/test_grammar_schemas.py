"""Each keyword: what is valid can be said, what is not cannot; and no random word is ever invalid."""

from __future__ import annotations

import random
from typing import Any

import pytest

from inhouse.core.errors import BadRequest, Unsupported
from inhouse.grammar import Validator

from .words import divides, enforced, matcher, takes, takes_text, walk

D4 = "http://json-schema.org/draft-04/schema#"
D7 = "http://json-schema.org/draft-07/schema#"
D19 = "https://json-schema.org/draft/2019-09/schema"

CASES: dict[str, tuple[dict[str, Any], list[Any], list[Any]]] = {
    "type list": ({"type": ["string", "null"]}, ["a", None], [1, [], {}]),
    "integer": ({"type": "integer"}, [0, -5, 12345678901], [1.5, "1"]),
    "bounds": ({"type": "integer", "minimum": -3, "exclusiveMaximum": 7}, [-3, 6], [-4, 7]),
    "draft 4 bounds": (
        {"$schema": D4, "type": "integer", "minimum": 3, "exclusiveMinimum": True}, [4], [3],
    ),
    "draft 4 bounds unnamed": ({"type": "integer", "maximum": 3, "exclusiveMaximum": True}, [2], [3]),
    "multipleOf twice": ({"type": "integer", "multipleOf": 4, "allOf": [{"multipleOf": 6}]}, [0, 12], [4, 6]),
    "decimal multipleOf": ({"type": "number", "multipleOf": 0.01}, [1.25, 3], [1.255]),
    "const": ({"const": {"a": [1, "x"]}}, [{"a": [1, "x"]}], [{"a": [1]}, {"a": [1, "x"], "b": 1}]),
    "enum under type": ({"type": "string", "enum": ["a", 1, None]}, ["a"], [1, None]),
    "enum under bounds": ({"enum": [1, 5, 9], "minimum": 4}, [5, 9], [1]),
    "length": ({"type": "string", "minLength": 2, "maxLength": 3}, ["ab", "äöü"], ["a", "abcd"]),
    "pattern searches": ({"type": "string", "pattern": "b+"}, ["abc", "b"], ["ac"]),
    "pattern anchored": ({"type": "string", "pattern": "^a|z$"}, ["ab", "yz"], ["bz1", "ba"]),
    "pattern classes": ({"type": "string", "pattern": r"^[\w.&&-]+$"}, ["a_1", "&-."], ["a b", "ä"]),
    "pattern without quotes": ({"type": "string", "pattern": '^[^"]*$'}, ["a", "\\", "é\n"], ['a"b', '"']),
    "pattern without backslashes": ({"type": "string", "pattern": r"^[^\\]*$"}, ["a", '"'], ["a\\b"]),
    "pattern of other than letters": ({"type": "string", "pattern": r"^[^\p{L}]\P{P}$"}, ["1a"], ["ab", '1"', "1\\"]),
    "two patterns": (
        {"type": "string", "pattern": "^a", "allOf": [{"pattern": "z$"}]}, ["az", "abz"], ["a", "z"],
    ),
    "format date": ({"type": "string", "format": "date"}, ["2024-02-29", "1999-12-31"], ["2023-02-29", "x"]),
    "format unknown": ({"type": "string", "format": "color"}, ["anything"], [1]),
    "format email": ({"type": "string", "format": "email"}, ["a.b@c.de"], ["a@", "a b@c.de", ".a@b.c"]),
    "format uri": ({"type": "string", "format": "uri"}, ["https://a.b/c?d=e#f"], ["/a", "http://[x]"]),
    "properties": (
        {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
        [{"a": 1}], [{}, {"a": "x"}, {"b": 1}],
    ),
    "closed": (
        {"type": "object", "properties": {"a": {}}, "additionalProperties": False}, [{}, {"a": 1}], [{"b": 1}],
    ),
    "typed rest": (
        {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": {"type": "integer"}},
        [{"a": "x", "b": 1}], [{"b": "x"}, {"a": 1}],
    ),
    "patternProperties": (
        {"type": "object", "patternProperties": {"^x-": {"type": "integer"}}, "additionalProperties": False},
        [{"x-a": 1}, {}], [{"x-a": "s"}, {"y": 1}],
    ),
    "patternProperties and rest": (
        {"type": "object", "patternProperties": {"^x-": {"type": "integer"}}, "additionalProperties": {"type": "null"}},
        [{"x-a": 1, "b": None}], [{"x-a": None}, {"b": 1}],
    ),
    "patterns that overlap": (
        {"type": "object", "patternProperties": {"^a": {"minimum": 3}, "z$": {"maximum": 5}}},
        [{"az": 4}, {"a": 9}, {"z": 1}], [{"az": 2}, {"az": 7}, {"a": 1}],
    ),
    "pattern of a listed name": (
        {"type": "object", "properties": {"ab": {"minimum": 2}}, "patternProperties": {"^a": {"type": "integer"}}},
        [{"ab": 3}], [{"ab": 1}, {"ab": "x"}],
    ),
    "propertyNames": (
        {"type": "object", "propertyNames": {"pattern": "^[a-c]+$", "maxLength": 2}}, [{"ab": 1}], [{"d": 1}, {"abc": 1}],
    ),
    "propertyNames listed": (
        {"type": "object", "propertyNames": {"enum": ["a", "b"]}}, [{"a": 1}, {"b": 1}], [{"c": 1}],
    ),
    "minProperties": (
        {"type": "object", "properties": {"a": {}, "b": {}, "c": {}}, "minProperties": 2, "additionalProperties": False},
        [{"a": 1, "c": 1}, {"a": 1, "b": 1, "c": 1}], [{}, {"a": 1}],
    ),
    "maxProperties": (
        {"type": "object", "properties": {"a": {}, "b": {}}, "maxProperties": 1, "additionalProperties": True}, [{}, {"b": 1}, {"z": 1}],
        [{"a": 1, "b": 1}, {"a": 1, "z": 1}],
    ),
    "minProperties of a map": ({"type": "object", "minProperties": 1}, [{"a": 1}], [{}]),
    "items": ({"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 2}, [[1], [1, 2]], [[], [1, 2, 3], ["a"]]),
    "prefixItems": (
        {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "items": False},
        [[], [1], [1, "a"]], [["a"], [1, "a", 2]],
    ),
    "items list of draft 7": (
        {"$schema": D7, "type": "array", "items": [{"type": "integer"}], "additionalItems": {"type": "null"}},
        [[1, None]], [[None], [1, 2]],
    ),
    "uniqueItems over enum": (
        {"type": "array", "items": {"enum": ["a", "b", "c"]}, "uniqueItems": True, "minItems": 1},
        [["c", "a"], ["a"]], [["a", "a"], []],
    ),
    "uniqueItems of one": ({"type": "array", "uniqueItems": True, "maxItems": 1}, [[1]], [[1, 1]]),
    "uniqueItems of types": (
        {"type": "array", "prefixItems": [{"type": "string"}, {"type": "null"}], "items": False, "uniqueItems": True},
        [["a", None]], [["a", "a"]],
    ),
    "contains in few": (
        {"type": "array", "contains": {"const": 1}, "maxItems": 3}, [[1], [2, 1]], [[], [2, 3]],
    ),
    "not contains": ({"type": "array", "not": {"contains": {"type": "null"}}}, [[], [1]], [[None], [1, None]]),
    "anyOf": ({"anyOf": [{"type": "string", "maxLength": 1}, {"type": "integer"}]}, ["a", 4], ["ab", 1.5]),
    "allOf merges": (
        {"allOf": [{"type": "object", "required": ["a"]}, {"properties": {"a": {"type": "null"}}}]},
        [{"a": None}], [{}, {"a": 1}],
    ),
    "oneOf by constant": (
        {"oneOf": [
            {"type": "object", "properties": {"k": {"const": "x"}, "v": {"type": "integer"}}, "required": ["k"]},
            {"type": "object", "properties": {"k": {"const": "y"}, "v": {"type": "string"}}, "required": ["k"]},
        ]},
        [{"k": "x", "v": 1}, {"k": "y", "v": "s"}], [{"k": "x", "v": "s"}, {"k": "z"}],
    ),
    "oneOf by what is there": (
        {"type": "object", "oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
        [{"a": 1}, {"b": 1, "c": 2}], [{}, {"a": 1, "b": 2}],
    ),
    "oneOf of ranges": (
        {"type": "integer", "oneOf": [{"minimum": 5}, {"maximum": 10}]}, [4, 11], [5, 7, 10],
    ),
    "oneOf of lists": (
        {"oneOf": [{"type": "array", "items": {"type": "string"}}, {"type": "array", "items": {"type": "integer"}}]},
        [["a"], [1, 2]], [[], ["a", 1]],
    ),
    "oneOf that meets further on": (
        {"oneOf": [
            {"type": "array", "prefixItems": [{"type": "integer"}], "minItems": 1},
            {"type": "array", "not": {"items": {"type": "integer"}}},
        ]},
        [["x"], [1, 2]], [[1, "x"]],
    ),
    "not enum": ({"type": "string", "not": {"enum": ["no", "never"]}}, ["yes", "n", "none", ""], ["no", "never"]),
    "not pattern": ({"type": "string", "not": {"pattern": "^[0-9]"}}, ["a1", ""], ["1a"]),
    "not required": ({"type": "object", "not": {"required": ["a"]}}, [{}, {"b": 1}], [{"a": 1}]),
    "not type": ({"not": {"type": ["string", "object"]}}, [1, None, []], ["a", {}]),
    "not number": ({"type": "integer", "minimum": 0, "maximum": 3, "not": {"const": 2}}, [0, 1, 3], [2]),
    "if then else": (
        {"type": "object", "properties": {"k": {"enum": ["a", "b"]}}, "required": ["k"],
         "if": {"properties": {"k": {"const": "a"}}}, "then": {"required": ["x"]}, "else": {"required": ["y"]}},
        [{"k": "a", "x": 1}, {"k": "b", "y": 1}], [{"k": "a", "y": 1}, {"k": "b"}],
    ),
    "dependentRequired": (
        {"type": "object", "dependentRequired": {"a": ["b"]}}, [{}, {"b": 1}, {"a": 1, "b": 1}], [{"a": 1}],
    ),
    "dependencies": (
        {"$schema": D7, "type": "object", "dependencies": {"a": {"properties": {"b": {"type": "null"}, "a": True}}}},
        [{"b": None, "a": 1}, {"b": 1}], [{"a": 1, "b": 1}],
    ),
    "$ref recursive": (
        {"$ref": "#/$defs/n", "$defs": {"n": {"type": "object", "properties": {"n": {"$ref": "#/$defs/n"}},
                                              "additionalProperties": False}}},
        [{}, {"n": {"n": {}}}], [{"n": 1}, {"n": {"n": []}}],
    ),
    "$ref beside others": ({"$defs": {"a": {"type": "integer"}}, "$ref": "#/$defs/a", "minimum": 3}, [3], [2, "a"]),
    "$ref alone in draft 7": (
        {"$schema": D7, "definitions": {"a": {"type": "integer"}}, "properties": {"x": {"$ref": "#/definitions/a", "minimum": 3}}},
        [{"x": 1}], [{"x": "s"}],
    ),
    "$anchor": ({"$defs": {"a": {"$anchor": "here", "type": "null"}}, "$ref": "#here"}, [None], [1]),
    "$id": (
        {"$id": "http://a.example/root", "$defs": {"b": {"$id": "b", "type": "null"}}, "$ref": "b"}, [None], [1],
    ),
    "recursive and merged": (
        {"$schema": D19, "$ref": "#/$defs/n", "required": ["v"],
         "$defs": {"n": {"type": "object", "properties": {"n": {"$ref": "#/$defs/n"}, "v": {"type": "integer"}}}}},
        [{"v": 1}, {"n": {"v": 2}, "v": 1}], [{}, {"v": "x"}],
    ),
    "property order of writing": ({"type": "object", "properties": {"b": {}, "a": {}}}, [{"b": 1, "a": 1}], []),
    "false property": ({"type": "object", "properties": {"a": False}}, [{}, {"b": 1}], [{"a": 1}]),
    "names with quotes": (
        {"type": "object", "dependentRequired": {'a"b': ["c"]}}, [{"c": 1}, {'a"b': 1, "c": 1}], [{'a"b': 1}],
    ),
    "names with escapes": (
        {"type": "object", "properties": {"a\nb": {"type": "string"}}, "additionalProperties": {"type": "integer"}},
        [{"a\nb": "x"}, {"c": 1}], [{"a\nb": 1}],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_is_valid_can_be_said_and_what_is_not_cannot(name: str) -> None:
    schema, good, bad = CASES[name]
    divides(schema, good, bad)


@pytest.mark.parametrize("name", CASES)
def test_no_random_word_is_invalid(name: str) -> None:
    schema = CASES[name][0]
    validator, start, rng = Validator(schema), matcher(schema), random.Random(name)
    words = [word for word in (walk(start, rng) for _ in range(12)) if word is not None]
    assert words
    for word in words:
        assert validator.valid(word) is None, word


REFUSED: dict[str, dict[str, Any]] = {
    "not: cannot turn 'multipleOf'": {
        "oneOf": [{"type": "number", "not": {"multipleOf": 2}}, {"type": "number", "minimum": 3}]
    },
    "not: leaves": {"oneOf": [{"type": "number"}, {"type": "integer"}]},
    "uniqueItems": {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
    "contains": {"type": "array", "contains": {"type": "null"}},
    "unevaluatedProperties": {"type": "object", "unevaluatedProperties": False},
    "pattern": {"type": "string", "pattern": "^(?=a)b"},
    "$ref": {"$ref": "http://json-schema.org/draft-07/schema#"},
    "not": {"type": "string", "not": {"format": "date"}},
    "minProperties": {"type": "object", "minProperties": 3},
    "enum": {"enum": [9007199254740993]},
    "multipleOf": {"type": "number", "multipleOf": 0.123456789012},
}


@pytest.mark.parametrize("keyword", REFUSED)
def test_what_cannot_be_enforced_is_refused_by_name(keyword: str) -> None:
    with pytest.raises(BadRequest) as refused:
        enforced(REFUSED[keyword])
    assert keyword in refused.value.message or keyword == "$ref"
    assert refused.value.param == "response_format"


def test_a_schema_without_values_is_told_so() -> None:
    with pytest.raises(BadRequest, match="no value is valid"):
        enforced({"type": "string", "minLength": 2, "maxLength": 1})
    with pytest.raises(BadRequest, match="no value is valid"):
        enforced({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]})


def test_a_client_cannot_loosen_the_grammar_with_options_of_the_library() -> None:
    assert not takes({"x-guidance": {"lenient": True}, "type": "integer"}, "text")
    assert "x-guidance" not in enforced({"x-guidance": {"lenient": True}, "type": "integer"})


def test_a_listed_name_cannot_come_again_in_another_spelling() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "string"}},
        "additionalProperties": {"type": "integer"},
    }
    assert not takes_text(schema, '{"\\u0061": 5}')


def test_our_own_words_cannot_be_written_by_a_client() -> None:
    with pytest.raises(Unsupported):
        enforced({"type": "string", "\0forbid": ["a"]})
