"""Bodies of the Responses API: what they become, and what is refused by which name."""

from __future__ import annotations

import json

import pytest

from dialects.responses_support import CUSTOM, FUNCTION, count, order
from inhouse.core.errors import BadRequest
from inhouse.core.messages import Format, ToolChoice
from inhouse.dialects.openai.responses import decode_create
from inhouse.dialects.openai.responses.tools import Offer

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}


def refused(**fields):
    with pytest.raises(BadRequest) as caught:
        order(**fields)
    return caught.value.param


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": None}, "model"),
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": 7}, "input"),
        ({"input": ["x"]}, "input[0]"),
        ({"input": [{"type": "web_search_call", "id": "ws_1"}]}, "input[0].type"),
        ({"input": [{"role": "user", "content": "x", "id": "i" * 300}]}, "input[0].id"),
        ({"input": [{"role": "user", "content": "x", "status": "odd"}]}, "input[0].status"),
        ({"input": [{"type": "item_reference"}]}, "input[0].id"),
        ({"previous_response_id": "resp_1", "conversation": "conv_1"}, "previous_response_id"),
        ({"conversation": {"id": ""}}, "conversation.id"),
        ({"conversation": 3}, "conversation"),
        ({"background": True, "store": False}, "background"),
        ({"stream_options": {"include_obfuscation": True}}, "stream_options"),
        ({"include": ["odd"]}, "include[0]"),
        ({"include": [[]]}, "include[0]"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"max_tool_calls": "2"}, "max_tool_calls"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"temperature": 2.1}, "temperature"),
        ({"truncation": "some"}, "truncation"),
        ({"service_tier": "slow"}, "service_tier"),
        ({"prompt_cache_retention": "25h"}, "prompt_cache_retention"),
        ({"metadata": {str(i): "x" for i in range(17)}}, "metadata"),
        ({"metadata": {"k" * 65: "x"}}, "metadata"),
        ({"metadata": {"k": 1}}, "metadata.k"),
        ({"metadata": {"k": "v" * 513}}, "metadata.k"),
        ({"reasoning": {"effort": "huge"}}, "reasoning.effort"),
        ({"reasoning": {"summary": "concise"}}, "reasoning.summary"),
        ({"reasoning": {"generate_summary": "concise"}}, "reasoning.generate_summary"),
        ({"text": {"format": {}}}, "text.format.type"),
        ({"text": {"format": {"type": "json_schema", "schema": {}}}}, "text.format.name"),
        ({"text": {"format": {"type": "json_schema", "name": "n"}}}, "text.format.schema"),
        (
            {"text": {"format": {"type": "json_schema", "name": "n", "schema": {"$ref": "x"}}}},
            "text.format.schema",
        ),
        ({"tools": [{"name": "f"}]}, "tools[0].type"),
        ({"tools": [{"type": "function", "name": "a b"}]}, "tools[0].name"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": [FUNCTION, FUNCTION]}, "tools[1].name"),
        ({"tools": [{**FUNCTION, "parameters": []}]}, "tools[0].parameters"),
        ({"tools": [{**FUNCTION, "defer_loading": True}]}, "tools[0].defer_loading"),
        ({"tools": [{**FUNCTION, "async": True}]}, "tools[0].async"),
        ({"tools": [FUNCTION, {"type": "file_search", "vector_store_ids": []}]}, "tools[1].type"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"type": "local_shell"}]}, "tools[0].type"),
        ({"tools": [{"type": "mcp", "server_label": "s"}]}, "tools[0].type"),
        (
            {"tools": [{**CUSTOM, "format": {"type": "grammar", "syntax": "lark", "definition": "start: A"}}]},
            "tools[0].format.syntax",
        ),
        ({"tools": [{**CUSTOM, "format": {"type": "grammar"}}]}, "tools[0].format.syntax"),
        (
            {"tools": [{**CUSTOM, "format": {"type": "grammar", "syntax": "regex"}}]},
            "tools[0].format.definition",
        ),
        (
            {"tools": [{"type": "namespace", "name": "n", "tools": [{"type": "mcp"}]}]},
            "tools[0].tools[0].type",
        ),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": "some"}, "tool_choice"),
        ({"tool_choice": 1}, "tool_choice"),
        ({"tools": [FUNCTION], "tool_choice": {}}, "tool_choice.type"),
        ({"tools": [FUNCTION], "tool_choice": {"type": "web_search"}}, "tool_choice.type"),
        ({"tools": [FUNCTION], "tool_choice": {"type": "function", "name": "g"}}, "tool_choice.name"),
        ({"tools": [FUNCTION], "tool_choice": {"type": "custom", "name": "weather"}}, "tool_choice.name"),
        ({"tools": [FUNCTION], "tool_choice": {"type": "allowed_tools", "tools": []}}, "tool_choice.mode"),
        (
            {"tools": [FUNCTION], "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": []}},
            "tool_choice.tools",
        ),
        (
            {
                "tools": [FUNCTION],
                "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "mcp"}]},
            },
            "tool_choice.tools[0].type",
        ),
    ],
    ids=lambda value: str(value)[:60],
)  # fmt: skip
def test_what_is_wrong_is_refused_by_its_name(fields, param):
    assert refused(**fields) == param


def test_a_continued_conversation_needs_no_input():
    assert order(input=None, previous_response_id="resp_1").previous == "resp_1"
    assert order(input=None, conversation="conv_1").conversation == "conv_1"
    assert order(conversation={"id": "conv_2"}).conversation == "conv_2"


def test_sampling_and_hints_reach_the_chat():
    asked = order(
        temperature=0.3, top_p=0.4, max_output_tokens=9, seed=5, stop="x", top_k=3, service_tier="fast",
        prompt_cache_retention="24h", truncation="auto", parallel_tool_calls=False, keep_alive="1m",
    )  # fmt: skip
    sampling = asked.chat.sampling
    assert (sampling.temperature, sampling.top_p, sampling.max_tokens) == (0.3, 0.4, 9)
    assert (sampling.seed, sampling.stop, sampling.top_k) == (5, ("x",), 3)
    assert (asked.chat.priority, asked.chat.pin, asked.chat.keep_alive) == (1, 86_400.0, 60.0)
    assert asked.chat.truncate
    assert asked.chat.parallel_tool_calls is False
    assert asked.echo["service_tier"] == "priority"
    assert asked.echo["parallel_tool_calls"] is False


@pytest.mark.parametrize(
    ("fields", "logprobs"),
    [
        ({}, None),
        ({"top_logprobs": 0}, None),
        ({"top_logprobs": 3}, 3),
        ({"include": ["message.output_text.logprobs"]}, 0),
        ({"include": ["message.output_text.logprobs"], "top_logprobs": 2}, 2),
    ],
)
def test_log_probabilities_are_asked_for_in_two_ways(fields, logprobs):
    assert order(**fields).chat.logprobs == logprobs


@pytest.mark.parametrize(
    ("asked", "think"),
    [("none", False), ("minimal", "low"), ("high", "high"), ("xhigh", "max"), (None, None)],
)
def test_an_effort_is_a_level_of_thinking(asked, think):
    made = order(reasoning={"effort": asked})
    assert made.chat.think == think
    assert made.echo["reasoning"] == {"effort": asked, "summary": None}


def test_a_summary_is_remembered_under_both_names():
    assert order(reasoning={"summary": "detailed"}).summary
    assert order(reasoning={"generate_summary": "auto"}).summary
    assert not order(reasoning={}).summary


def test_formats():
    assert order(text={"format": {"type": "text"}}).chat.format is None
    assert order(text={"format": {"type": "json_object"}}).chat.format == Format("json", param="text.format")
    described = {"type": "json_schema", "name": "n", "schema": SCHEMA}
    made = order(text={"format": described})
    assert made.chat.format == Format("schema", SCHEMA, param="text.format.schema")
    assert made.echo["text"]["format"] == {**described, "strict": True}
    after = order(text={"format": {**described, "enforcement": "after"}}).chat.format
    assert after is not None
    assert after.after


def test_a_custom_tool_is_a_function_of_one_text():
    made = order(tools=[{**CUSTOM, "description": "d"}])
    (tool,) = made.chat.tools
    assert tool.parameters["properties"] == {"input": {"type": "string"}}
    assert tool.parameters["required"] == ["input"]
    assert made.offers == {"patch": Offer("patch", custom=True)}
    assert made.echo["tools"] == [
        {"type": "custom", "name": "patch", "description": "d", "format": {"type": "text"}}
    ]


def test_a_regular_expression_of_a_custom_tool_is_enforced_whole():
    form = {"type": "grammar", "syntax": "regex", "definition": "a|b"}
    (tool,) = order(tools=[{**CUSTOM, "format": form}]).chat.tools
    assert tool.parameters["properties"]["input"]["pattern"] == "^(?:a|b)$"


def test_functions_of_namespaces_keep_apart():
    made = order(
        tools=[
            FUNCTION,
            {"type": "namespace", "name": "home", "tools": [FUNCTION, CUSTOM]},
        ]
    )
    assert [tool.name for tool in made.chat.tools] == ["weather", "home__weather", "home__patch"]
    assert made.offers["home__weather"] == Offer("weather", "home")
    assert made.echo["tools"][1]["tools"][0]["name"] == "weather"


def test_what_agents_always_declare_is_left_out_and_said():
    made = order(tools=[FUNCTION, {"type": "web_search", "external_web_access": False}])
    assert [tool.name for tool in made.chat.tools] == ["weather"]
    assert len(made.echo["tools"]) == 1
    (notice,) = made.notices
    assert notice.code == "tool_not_offered"
    assert "web_search" in notice.text


@pytest.mark.parametrize(
    ("choice", "names", "wanted"),
    [
        ("none", ["weather", "patch"], ToolChoice("none")),
        ("required", ["weather", "patch"], ToolChoice("required")),
        ({"type": "function", "name": "weather"}, ["weather", "patch"], ToolChoice("required", "weather")),
        ({"type": "custom", "name": "patch"}, ["weather", "patch"], ToolChoice("required", "patch")),
        (
            {"type": "allowed_tools", "mode": "required", "tools": [{"type": "custom", "name": "patch"}]},
            ["patch"],
            ToolChoice("required"),
        ),
        (
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "weather"}]},
            ["weather"],
            ToolChoice("auto"),
        ),
    ],
    ids=str,
)
def test_choices(choice, names, wanted):
    made = order(tools=[FUNCTION, CUSTOM], tool_choice=choice)
    assert [tool.name for tool in made.chat.tools] == names
    assert made.chat.tool_choice == wanted
    assert made.echo["tool_choice"] == choice


def test_counting_reads_what_makes_the_prompt_and_nothing_else():
    made = count(instructions="Be brief.", tools=[FUNCTION], temperature=0.5)
    assert [tool.name for tool in made.chat.tools] == ["weather"]
    assert "temperature" in made.noted


def test_unknown_fields_are_noted():
    assert order(client_metadata={"x": "y"}).noted == ("client_metadata",)


def test_a_body_that_is_no_object_is_refused():
    with pytest.raises(BadRequest):
        decode_create(json.dumps([1]).encode())
