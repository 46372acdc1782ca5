"""The opposite of each keyword, and patterns as ECMA-262 has them."""

from __future__ import annotations

from typing import Any

import pytest

from inhouse.core.errors import Unsupported
from inhouse.grammar.schema import Inexpressible, rewrite

from .words import divides, enforced, takes

D4 = "http://json-schema.org/draft-04/schema#"
OBJECT: dict[str, Any] = {"type": "object", "additionalProperties": True}

OPPOSITES: dict[str, tuple[dict[str, Any], list[Any], list[Any]]] = {
    "minimum": ({"type": "integer", "not": {"minimum": 3}}, [2], [3]),
    "maximum": ({"type": "integer", "not": {"maximum": 3}}, [4], [3]),
    "exclusiveMinimum": ({"type": "integer", "not": {"exclusiveMinimum": 3}}, [3], [4]),
    "exclusiveMaximum": ({"type": "integer", "not": {"exclusiveMaximum": 3}}, [3], [2]),
    "draft 4 minimum": (
        {"$schema": D4, "type": "integer", "not": {"minimum": 3, "exclusiveMinimum": True}}, [3], [4],
    ),
    "draft 4 maximum": (
        {"$schema": D4, "type": "integer", "not": {"maximum": 3, "exclusiveMaximum": True}}, [3], [2],
    ),
    "minLength": ({"type": "string", "not": {"minLength": 2}}, ["a"], ["ab"]),
    "maxLength": ({"type": "string", "not": {"maxLength": 2}}, ["abc"], ["ab"]),
    "minItems": ({"type": "array", "not": {"minItems": 2}}, [[1]], [[1, 2]]),
    "maxItems": ({"type": "array", "not": {"maxItems": 1}}, [[1, 2]], [[1]]),
    "maxProperties": ({"type": "object", "not": {"maxProperties": 0}}, [{"a": 1}], [{}]),
    "minProperties": ({"type": "object", "not": {"minProperties": 1}}, [{}], [{"a": 1}]),
    "true": ({"anyOf": [{"type": "null"}, {"not": True}]}, [None], [1]),
    "false": ({"type": "null", "not": False}, [None], [1]),
    "not": ({"not": {"not": {"type": "null"}}}, [None], [1]),
    "anyOf": ({"type": "integer", "not": {"anyOf": [{"minimum": 5}, {"maximum": 2}]}}, [3, 4], [5, 2]),
    "allOf": ({"type": "integer", "not": {"allOf": [{"minimum": 2}, {"maximum": 5}]}}, [1, 6], [2, 5]),
    "oneOf": ({"type": "integer", "not": {"oneOf": [{"minimum": 2}, {"maximum": 5}]}}, [2, 5], [1, 6]),
    "if": (
        {"type": "integer", "not": {"if": {"minimum": 5}, "then": {"maximum": 7}, "else": {"maximum": 2}}},
        [8, 3], [5, 7, 2],
    ),
    "$ref": ({"type": "string", "not": {"$ref": "#/$defs/a"}, "$defs": {"a": {"maxLength": 1}}}, ["ab"], ["a"]),
    "properties": (
        {**OBJECT, "not": {"properties": {"a": {"type": "integer"}}}}, [{"a": "x"}], [{}, {"a": 1}],
    ),
    "additionalProperties": (
        {"type": "object", "properties": {"a": {}, "b": {}}, "additionalProperties": False,
         "not": {"properties": {"a": {}}, "additionalProperties": False}},
        [{"b": 1}, {"a": 1, "b": 2}], [{}, {"a": 1}],
    ),
    "dependentRequired": ({**OBJECT, "not": {"dependentRequired": {"a": ["b"]}}}, [{"a": 1}], [{}, {"a": 1, "b": 1}]),
    "dependentSchemas": (
        {**OBJECT, "not": {"dependentSchemas": {"a": {"required": ["b"]}}}}, [{"a": 1}], [{}, {"a": 1, "b": 1}],
    ),
    "prefixItems": (
        {"type": "array", "not": {"prefixItems": [{"type": "null"}, {"type": "null"}]}}, [[1], [None, 1]], [[], [None]],
    ),
    "items": ({"type": "array", "not": {"items": {"type": "null"}}}, [[1], [1, None]], [[], [None]]),
    "const object": ({**OBJECT, "not": {"const": {"a": 1}}}, [{}, {"a": 2}], [{"a": 1}]),
    "const array": ({"type": "array", "not": {"const": [1]}}, [[], [2], [1, 2]], [[1]]),
    "enum of other types": ({"type": "boolean", "not": {"enum": [1, "a"]}}, [True, False], [1]),
    "null": ({"type": ["null", "boolean"], "not": {"enum": [None, True]}}, [False], [None, True]),
    "pattern among listed": (
        {"enum": ["ab", "cd"], "not": {"pattern": "^a"}}, ["cd"], ["ab"],
    ),
    "multipleOf among listed": ({"enum": [3, 4, 6], "multipleOf": 3}, [3, 6], [4]),
}  # fmt: skip

PATTERNS: dict[str, tuple[list[str], list[str]]] = {
    r"^\d{2,3}$": (["12", "123"], ["1", "1234"]),
    r"^(?:a|b)+?c{2}$": (["abcc"], ["abc"]),
    r"^(?<n>a)\.$": (["a."], ["ab"]),
    r"^[^\d\s]$": (["a", "é"], ["1", " "]),
    r"^[\D]\W\S$": (["a-b"], ["1-b", "aab", "a- "]),
    r"^\u0041\x42\t\cJ$": (["AB\t\n"], ["AB"]),
    r"^[a\]\--]+$": (["a]-"], ["b"]),
    r"^\p{Lu}[\p{Ll}0-9]$": (["Äö", "A1"], ["aö"]),
    r"^\/a\/$": (["/a/"], ["a"]),
    r"(^a|b$)": (["ax", "xb"], ["xa"]),
    r"^.$": (["a"], ["\n"]),
    "": (["", "x"], []),
}  # fmt: skip

ODD = [
    "a**", "(a", "a)", "[a", "*a", r"\1(a)", r"a\b", "(?<=a)b", "(?i)a", "a{3,2}", "a{20000}", "[z-a]", r"\q",
    "a$b", "(^a)*", r"\u12", r"\p{}", r"\c1", "[]",
]  # fmt: skip


@pytest.mark.parametrize("name", OPPOSITES)
def test_the_opposite_of_a_keyword_is_enforced(name: str) -> None:
    schema, good, bad = OPPOSITES[name]
    divides(schema, good, bad)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_mean_what_ecma_says(pattern: str) -> None:
    good, bad = PATTERNS[pattern]
    schema = {"type": "string", "pattern": pattern}
    assert all(takes(schema, text) for text in good)
    assert not any(takes(schema, text) for text in bad)


@pytest.mark.parametrize("pattern", ODD)
def test_odd_patterns_are_refused_by_us_before_any_library_reads_them(pattern: str) -> None:
    with pytest.raises(Inexpressible):
        rewrite({"type": "string", "pattern": pattern})


def test_escapes_of_ecma_that_no_validator_here_reads_are_read() -> None:
    found = rewrite({"type": "string", "pattern": r"^\u{1f600}\ud83d\ude00[\b]$"}).schema
    assert found["pattern"] == "^\U0001f600\U0001f600\\x08$"


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "integer", "minimum": 2**60},
        {"type": "array", "minItems": 20_000},
        {"type": "array", "items": {"type": "string"}, "maxItems": 20_000},
        {"type": "integer", "multipleOf": 5, "maximum": 0},
        {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "type": "string",
            "contentMediaType": "application/json",
        },
        {"type": "object", "minProperties": 5, "properties": {f"p{i}": {} for i in range(12)}},
        {"type": "object", "patternProperties": {f"[{c}]": {"maximum": i} for i, c in enumerate("abcde")}},
        {"type": "array", "contains": {"type": "null"}, "minContains": 2, "maxItems": 3},
        {
            "$schema": "https://json-schema.org/draft/2019-09/schema",
            "$recursiveRef": "#",
            "$recursiveAnchor": True,
        },
    ],
)
def test_ceilings_are_refusals(schema: dict[str, Any]) -> None:
    with pytest.raises(Unsupported):
        enforced(schema)


def test_base64_is_enforced_where_the_draft_says_so() -> None:
    schema = {"type": "string", "contentEncoding": "base64"}
    assert takes(schema, "no base64!")
    schema["$schema"] = "http://json-schema.org/draft-07/schema#"
    assert takes(schema, "YWI=")
    assert not takes(schema, "no base64!")


def test_dynamic_references_with_one_meaning_are_followed() -> None:
    schema = {"$defs": {"a": {"$dynamicAnchor": "x", "type": "null"}}, "$dynamicRef": "#x"}
    assert takes(schema, None)
    assert not takes(schema, 1)
    old = {"$schema": "https://json-schema.org/draft/2019-09/schema", "type": "object",
           "properties": {"a": {"$recursiveRef": "#"}}, "additionalProperties": False}  # fmt: skip
    assert takes(old, {"a": {}})
    assert not takes(old, {"a": 1})
