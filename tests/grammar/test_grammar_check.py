from __future__ import annotations

import sys
import time
from typing import Any

import pytest

from inhouse.core.errors import BadRequest, Unsupported
from inhouse.core.messages import Format, Grammar, Tool
from inhouse.grammar import Validator, check, check_tools, engine_grammar, relaxed

from .words import LLG, takes

GBNF = frozenset({"gbnf"})
HARD = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "t": {"type": "array", "uniqueItems": True}},
}


def schema(words: dict[str, Any], *, after: bool = False) -> Format:
    return Format("schema", words, param="format", after=after)


def grammar(kind: Any, text: str) -> Format:
    return Format("grammar", grammar=Grammar(kind, text), param="grammar")


def test_a_keyword_that_cannot_be_enforced_is_refused_with_the_way_out() -> None:
    with pytest.raises(Unsupported, match="uniqueItems") as refused:
        check(schema(HARD), LLG)
    assert refused.value.param == "format"
    assert '"after"' in refused.value.hint


def test_with_validation_afterwards_the_schema_stays_for_the_validator() -> None:
    assert check(schema(HARD, after=True), LLG) == schema(HARD, after=True)
    loose = relaxed(HARD)
    assert loose["properties"]["a"] == {"type": "integer"}
    assert takes(loose, {"a": 1, "t": [1, 1]})
    assert not takes(loose, {"a": "x"})


def test_what_can_be_enforced_needs_no_validation_afterwards() -> None:
    assert check(schema({"type": "integer"}, after=True), LLG) == schema({"type": "integer"})


@pytest.mark.parametrize(
    "words",
    [
        {"type": "string", "not": {"format": "date"}},
        {"contains": {"type": "null"}, "type": "array"},
        {"type": "string", "pattern": "(?=a)"},
        {"type": "object", "unevaluatedProperties": False},
    ],
)
def test_a_relaxed_schema_keeps_the_type(words: dict[str, Any]) -> None:
    assert relaxed(words)["type"] == words["type"]


def test_a_relaxed_schema_may_be_nothing_at_all() -> None:
    assert relaxed({"$ref": "http://a.example/b"}) == {}


def test_what_is_no_schema_is_a_bad_request() -> None:
    with pytest.raises(BadRequest) as refused:
        check(schema({"type": "sting"}), LLG)
    assert refused.value.param == "format"
    assert "sting" not in refused.value.message


def test_any_object_is_an_object() -> None:
    assert check(Format("json"), LLG).schema == {"type": "object"}


def test_engines_without_lark_refuse_lark_and_regex() -> None:
    for kind in ("lark", "regex"):
        with pytest.raises(Unsupported) as refused:
            check(grammar(kind, "a"), GBNF)
        assert refused.value.param == "grammar"


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("lark", "start: nothing"),
        ("lark", ""),
        ("lark", 'start: "a'),
        ("lark", "start: " + "(" * 3000),
        ("lark", 'start: "a"\n' + "// x\n" * 20_000),
        ("lark", '%llguidance {"allow_invalid_utf8": true}\nstart: "a"'),
        ("regex", "(a"),
        ("regex", "a" * 9000),
        ("regex", r"(?=a)b"),
        ("gbnf", "root ::= x"),
    ],
)
def test_broken_grammars_never_reach_the_engine(kind: str, text: str) -> None:
    with pytest.raises(BadRequest) as refused:
        check(grammar(kind, text), LLG)
    assert refused.value.param == "grammar"


@pytest.mark.parametrize(
    ("kind", "text", "good", "bad"),
    [
        ("regex", r"https?://[a-z/]+\d*", "http://a/b1", "ftp://a"),
        ("regex", 'a/\nstart: "evil', 'a/\nstart: "evil', "evil"),
        ("regex", r"\\/b", r"\/b", "/b"),
        ("lark", 'start: "a" B\nB: /[0-9]+/', "a12", "ab"),
        ("lark", '%llguidance {}\nstart: "a"', "a", "b"),
    ],
)
def test_grammars_mean_what_they_say(kind: Any, text: str, good: str, bad: str) -> None:
    from llguidance import LLMatcher

    from inhouse.grammar.llg import byte_tokenizer

    asked = grammar(kind, text)
    assert check(asked, LLG) == asked
    assert asked.grammar is not None
    for word, taken in ((good, True), (bad, False)):
        matcher = LLMatcher(byte_tokenizer(), LLMatcher.grammar_from_lark(engine_grammar(asked.grammar)))
        data = list(word.encode())
        assert (matcher.try_consume_tokens(data) == len(data) and matcher.is_accepting()) is taken


def test_gbnf_goes_to_the_engine_as_it_is() -> None:
    text = 'root ::= "a" | "b"'
    assert check(grammar("gbnf", text), GBNF) == grammar("gbnf", text)
    assert engine_grammar(Grammar("gbnf", text)) == text


def test_a_tool_is_refused_by_its_field_only_when_a_call_is_forced() -> None:
    tools = (Tool("f", parameters={"type": "object"}), Tool("g", parameters=HARD))
    with pytest.raises(Unsupported) as refused:
        check_tools(tools, LLG, "tools")
    assert refused.value.param == "tools[1].function.parameters"
    loose = check_tools(tools, LLG, "tools", forced=False)
    assert [tool.name for tool in loose] == ["f", "g"]
    assert (loose[1].enforced or {})["properties"]["a"] == {"type": "integer"}


@pytest.mark.parametrize(
    "parameters", [{}, {"type": "object", "properties": {}}, {"properties": {}, "required": [], "title": "f"}]
)
def test_a_tool_without_parameters_takes_an_empty_object(parameters: dict[str, Any]) -> None:
    (tool,) = check_tools([Tool("f", parameters=parameters)], LLG, "tools")
    assert tool.parameters == parameters
    assert tool.enforced is not None
    assert takes(tool.enforced, {})
    assert not takes(tool.enforced, {"a": 1})


@pytest.mark.parametrize(
    "parameters", [{"type": "object"}, {"type": "object", "properties": {}, "additionalProperties": True}]
)
def test_a_tool_that_says_that_it_takes_an_object_takes_any(parameters: dict[str, Any]) -> None:
    (tool,) = check_tools([Tool("f", parameters=parameters)], LLG, "tools")
    assert takes(tool.enforced or {}, {"a": 1})


def test_reasons_are_short_and_do_not_quote() -> None:
    validator = Validator({"type": "object", "properties": {"k" * 200: {"type": "integer"}}})
    why = validator.valid('{"' + "k" * 200 + '": "secret"}')
    assert why is not None
    assert len(why) <= 80
    assert "secret" not in why


@pytest.mark.parametrize("text", ["", "{", "NaN", '{"a": 1} x', "[" * 100_000, '"\\ud800"'])
def test_what_is_not_json_is_not_valid(text: str) -> None:
    assert Validator({}).valid(text) == "it is not valid JSON"


def test_a_number_beyond_a_double_is_a_number() -> None:
    assert Validator({"type": "number"}).valid("1e999") is None
    assert Validator({"type": "number", "maximum": 5}).valid("1e999") is not None


@pytest.mark.parametrize(
    "words",
    [
        {"type": "string", "pattern": "((x{1,100}){1,100}){1,100}"},
        {"type": "string", "not": {"pattern": "(a|b)*a(a|b){20}"}},
        {"allOf": [{"anyOf": [{"required": [f"a{i}{j}"]} for j in range(8)]} for i in range(20)]},
        {"oneOf": [{"properties": {f"k{i}": {"type": "string"}}} for i in range(60)]},
        {"not": {"oneOf": [{"required": [str(i)]} for i in range(200)]}},
        {"type": "array", "maxItems": 3000, "items": {"type": "array", "maxItems": 3000}},
    ],
)
def test_hostile_schemas_end_soon(words: dict[str, Any]) -> None:
    import time

    began = time.thread_time()
    try:
        check(schema(words), LLG)
    except BadRequest as error:
        assert error.param == "format"
    assert time.thread_time() - began < 3


@pytest.mark.parametrize(
    "words",
    [
        {"type": "string", "not": {"pattern": "^(a|b)*a(a|b){4}x$"}},
        {"type": "number", "not": {"enum": list(range(5000))}},
    ],
)
def test_a_schema_that_grows_with_each_step_is_refused_at_once(words: dict[str, Any]) -> None:
    before = time.thread_time()
    with pytest.raises(Unsupported, match=r"pattern|not"):
        check(schema(words), LLG)
    assert time.thread_time() - before < 2


def test_the_schemas_of_all_tools_together_have_a_limit_of_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[check.__module__], "MOST_SECONDS", -1.0)
    with pytest.raises(Unsupported, match="too long") as caught:
        check_tools((Tool("a"), Tool("b")), frozenset({"gbnf", "lark"}), "tools")
    assert caught.value.param == "tools[0].function.parameters"
