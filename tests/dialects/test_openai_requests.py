"""Bodies of OpenAI's routes: what they become, and what is refused in which words."""

from __future__ import annotations

import math

import pytest

from dialects.answers_support import body
from dialects.test_fields_images import b64, png
from inhouse.core.errors import BadRequest, Unsupported
from inhouse.core.messages import (
    Format,
    Image,
    Message,
    Reasoning,
    Sampling,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from inhouse.core.requests import Chat, Complete, Embed
from inhouse.dialects.openai import decode_chat, decode_completions, decode_embeddings

HI = {"role": "user", "content": "hi"}
CHAT = {"model": "m", "messages": [HI]}
TEXT = {"model": "m", "prompt": "Once"}
EMBED = {"model": "m", "input": "a"}
F = {"type": "function", "function": {"name": "f"}}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CALLED = {"role": "assistant", "content": None, "tool_calls": [CALL]}
DATA_URI = f"data:image/png;base64,{b64(png())}"


def chat(**more) -> Chat:
    request = decode_chat(body(CHAT, more)).request
    assert isinstance(request, Chat)
    return request


def messages(*items) -> tuple[Message, ...]:
    return chat(messages=list(items)).messages


def param_of(decode, base, more) -> str | None:
    with pytest.raises(BadRequest) as caught:
        decode(body(base, more))
    assert caught.value.message
    return caught.value.param


def test_the_least_body_gets_openais_defaults():
    assert chat() == Chat(
        model="m",
        messages=(Message("user", (Text("hi"),)),),
        sampling=Sampling(temperature=1.0, top_p=1.0),
    )
    assert decode_completions(body(TEXT)).request == Complete(
        model="m", prompts=("Once",), sampling=Sampling(temperature=1.0, top_p=1.0, max_tokens=16)
    )
    assert decode_embeddings(body(EMBED)).request == Embed(model="m", inputs=("a",))


def test_a_full_body_reaches_the_request():
    request = chat(
        temperature=0,
        top_p=0.25,
        top_k=-1,
        min_p=0.125,
        repeat_penalty=1.5,
        presence_penalty=-2,
        frequency_penalty=2,
        seed=2**63 - 1,
        stop="END",
        logit_bias={"7": -100, "8": 1},
        max_tokens=9,
        n=3,
        logprobs=True,
        top_logprobs=4,
        tools=[{"type": "function", "function": {**F["function"], "description": "d", "strict": True}}],
        tool_choice={"type": "function", "function": {"name": "f"}},
        parallel_tool_calls=False,
        response_format={"type": "json_object"},
        reasoning_effort="minimal",
        keep_alive=-1,
    )
    assert request.sampling == Sampling(
        temperature=0.0,
        top_p=0.25,
        top_k=0,
        min_p=0.125,
        repeat_penalty=1.5,
        presence_penalty=-2.0,
        frequency_penalty=2.0,
        seed=(2**63 - 1) % (2**32 - 1),
        stop=("END",),
        logit_bias=((7, -100.0), (8, 1.0)),
        max_tokens=9,
    )
    assert (request.n, request.logprobs, request.think) == (3, 4, "low")
    assert request.tools == (Tool("f", "d", {}, True),)
    assert request.tool_choice == ToolChoice("required", "f")
    assert request.parallel_tool_calls is False
    assert request.format == Format("json")
    assert request.keep_alive == math.inf


def test_the_newer_ceiling_wins():
    assert chat(max_tokens=5, max_completion_tokens=7).sampling.max_tokens == 7


@pytest.mark.parametrize(
    "effort, think", [("none", False), ("low", "low"), ("medium", "medium"), ("xhigh", "max"), (None, None)]
)
def test_reasoning_efforts(effort, think):
    assert chat(reasoning_effort=effort).think == think


def test_logprobs_without_alternatives_are_zero_alternatives():
    assert chat(logprobs=True).logprobs == 0
    assert chat(logprobs=False).logprobs is None


def test_messages_of_every_role():
    assert messages(
        {"role": "developer", "content": "Be brief."},
        {"role": "system", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "user", "name": "ann", "content": [{"type": "text", "text": "see"}]},
        {**CALLED, "reasoning_content": "hm"},
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "42"}]},
        {"role": "assistant", "content": "so", "refusal": "no"},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "never"}]},
    ) == (
        Message("system", (Text("Be brief."),)),
        Message("system", (Text("a"), Text("b"))),
        Message("user", (Text("see"),), "ann"),
        Message("assistant", (Reasoning("hm"), ToolCall("c1", "f", "{}"))),
        Message("tool", (ToolResult("42", "c1", "f"),)),
        Message("assistant", (Text("so"), Text("no"))),
        Message("assistant", (Text("never"),)),
    )


@pytest.mark.parametrize("url", [DATA_URI, {"url": DATA_URI, "detail": "high"}])
def test_images_come_as_data_uris(url):
    (message,) = messages({"role": "user", "content": [{"type": "image_url", "image_url": url}]})
    assert message.parts == (Image(png(), "image/png"),)


def test_fields_without_effect_are_noted():
    decoded = decode_chat(body(CHAT, {"user": "u", "store": False, "new_field": 1, "metadata": None}))
    assert decoded.noted == ("user", "new_field")
    assert decoded.request == chat()


@pytest.mark.parametrize(
    "items, param",
    [
        ([], "messages"),
        ([{"role": "user"}], "messages[0].content"),
        ([{"content": "x"}], "messages[0].role"),
        ([{"role": "robot", "content": "x"}], "messages[0].role"),
        ([{"role": "function", "content": "x", "name": "f"}], "messages[0].name"),
        ([{"role": "user", "content": None}], "messages[0].content"),
        ([{"role": "user", "content": 5}], "messages[0].content"),
        ([{"role": "user", "content": []}], "messages[0].content"),
        ([HI, {"role": "user", "content": ["x"]}], "messages[1].content[0]"),
        ([{"role": "user", "content": [{"text": "x"}]}], "messages[0].content[0].type"),
        ([{"role": "user", "content": [{"type": "text"}]}], "messages[0].content[0].text"),
        (
            [{"role": "user", "content": [{"type": "file", "file": {}}]}],
            "messages[0].content[0].file.file_data",
        ),
        ([{"role": "user", "content": [{"type": "file"}]}], "messages[0].content[0].file"),
        ([{"role": "assistant", "content": [{"type": "file"}]}], "messages[0].content[0].type"),
        ([{"role": "user", "content": [{"type": "input_audio"}]}], "messages[0].content[0].type"),
        ([{"role": "user", "content": [{"type": "refusal", "refusal": "x"}]}], "messages[0].content[0].type"),
        ([{"role": "system", "content": [{"type": "image_url"}]}], "messages[0].content[0].type"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "messages[0].content[0].image_url"),
        (
            [
                {
                    "role": "user",
                    "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}],
                }
            ],
            "messages[0].content[0].image_url.url",
        ),
        ([{"role": "assistant"}], "messages[0].content"),
        ([{"role": "assistant", "content": None}], "messages[0].content"),
        ([{"role": "assistant", "function_call": {"name": "f"}}], "messages[0].function_call.arguments"),
        ([{"role": "assistant", "audio": {"id": "x"}}], "messages[0].audio"),
        ([{"role": "assistant", "tool_calls": [{"id": "x"}]}], "messages[0].tool_calls[0].function"),
        (
            [{"role": "assistant", "tool_calls": [{**CALL, "type": "custom"}]}],
            "messages[0].tool_calls[0].custom",
        ),
        (
            [{"role": "assistant", "tool_calls": [{**CALL, "function": {"name": "f"}}]}],
            "messages[0].tool_calls[0].function.arguments",
        ),
        ([{"role": "tool", "content": "x"}], "messages[0].tool_call_id"),
        ([{"role": "tool", "content": "x", "tool_call_id": "c1"}], "messages[0].tool_call_id"),
        ([CALLED, {"role": "tool", "content": "x", "tool_call_id": "other"}], "messages[1].tool_call_id"),
        ([CALLED, {"role": "tool", "tool_call_id": "c1"}], "messages[1].content"),
        ([HI] * 10_001, "messages"),
    ],
)
def test_bad_messages_are_refused_at_their_place(items, param):
    assert param_of(decode_chat, CHAT, {"messages": items}) == param


def test_too_many_images_are_refused():
    part = {"type": "image_url", "image_url": DATA_URI}
    assert param_of(decode_chat, CHAT, {"messages": [{"role": "user", "content": [part] * 33}]}) == "messages"


def test_ten_thousand_messages_are_fine():
    assert len(messages(*[HI] * 10_000)) == 10_000


BAD_CHAT = [
    ("model", 5),
    ("model", ""),
    ("model", None),
    ("messages", None),
    ("messages", "hi"),
    ("temperature", 2.01),
    ("temperature", "1"),
    ("temperature", True),
    ("top_p", -0.1),
    ("n", 0),
    ("n", 10**9),
    ("n", 1.5),
    ("stop", ["a"] * 5),
    ("stop", [""]),
    ("stop", ""),
    ("stop", "x" * 2000),
    ("stop", [5]),
    ("stop", 5),
    ("max_tokens", 0),
    ("max_tokens", 2**31),
    ("max_completion_tokens", -1),
    ("seed", 2**63),
    ("seed", "1"),
    ("presence_penalty", -2.1),
    ("frequency_penalty", 1e308),
    ("logit_bias", {"a": 1}),
    ("logit_bias", {"-1": 1}),
    ("logit_bias", {str(2**31): 1}),
    ("logit_bias", {"1": 101}),
    ("logit_bias", {"1": "x"}),
    ("logit_bias", {str(i): 1 for i in range(301)}),
    ("logit_bias", []),
    ("logprobs", 5),
    ("top_logprobs", 3),
    ("stream", "true"),
    ("stream_options", {"include_usage": True}),
    ("tools", [F] * 129),
    ("tools", [F, F]),
    ("tools", [{"type": "custom", "custom": {"name": "x", "format": {"type": "grammar"}}}]),
    ("tools", [{"type": "web_search"}]),
    ("tools", [{"type": "custom"}]),
    ("tools", [{"function": {"name": "f"}}]),
    ("tools", [{"type": "function"}]),
    ("tools", [{"type": "function", "function": {"name": "bad name"}}]),
    ("tools", [{"type": "function", "function": {"name": "f", "parameters": []}}]),
    ("tools", [{"type": "function", "function": {"name": "f", "parameters": {"$ref": "http://x"}}}]),
    ("tool_choice", "maybe"),
    ("tool_choice", "required"),
    ("tool_choice", 5),
    ("tool_choice", {"type": "allowed_tools"}),
    ("tool_choice", {"type": "function"}),
    ("response_format", "json"),
    ("response_format", {}),
    ("response_format", {"type": "xml"}),
    ("response_format", {"type": "json_schema"}),
    ("response_format", {"type": "json_schema", "json_schema": {"name": "n"}}),
    ("response_format", {"type": "json_schema", "json_schema": {"schema": {}}}),
    ("response_format", {"type": "json_schema", "json_schema": {"name": "n", "schema": True}}),
    ("reasoning_effort", "extreme"),
    ("keep_alive", "soon"),
    ("service_tier", "gold"),
    ("metadata", "x"),
    ("user", 5),
    ("parallel_tool_calls", "no"),
    ("min_p", 1.5),
    ("repeat_penalty", 0),
    ("top_k", -2),
    ("typical_p", 2),
    ("repetition_penalty", 0),
    ("mirostat", 2),
    ("stop_token_ids", [1]),
    ("safety_identifier", "x" * 129),
    ("prompt_cache_retention", "1h"),
    ("prompt_cache_options", {"ttl": "1h"}),
    ("prompt_cache_options", {"mode": "never"}),
    ("metadata", {str(i): "" for i in range(17)}),
    ("metadata", {"k" * 65: ""}),
    ("metadata", {"k": "v" * 513}),
    ("metadata", {"k": 1}),
    ("prediction", {"type": "content"}),
    ("prediction", {"content": "x"}),
    ("prediction", {"type": "content", "content": [{"type": "image_url"}]}),
    ("prediction", {"type": "content", "content": 5}),
    ("think_budget", -1),
    ("reasoning", {"effort": "extreme"}),
    ("reasoning", {"exclude": True}),
    ("store", "yes"),
    ("chat_template", "x"),
    ("chat_template_kwargs", []),
    ("add_generation_prompt", False),
    ("continue_final_message", True),
    ("functions", []),
    ("functions", [{"name": "f"}, {"name": "f"}]),
    ("functions", [{"name": "bad name"}]),
    ("tool_choice", {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}}),
    ("tool_choice", {"type": "allowed_tools", "allowed_tools": {"tools": [F]}}),
    ("tool_choice", {}),
    ("grammar", ""),
    ("grammar", "x" * 65_537),
    ("guided_json", "{"),
    ("guided_json", 5),
    ("guided_choice", []),
    ("guided_choice", [""]),
    ("guided_choice", ["x" * 40_000, "y" * 40_000]),
    ("guided_whitespace_pattern", "x"),
    ("structured_outputs", {}),
    ("structured_outputs", {"regex": "a", "grammar": "b"}),
    ("structured_outputs", {"structural_tag": "x"}),
    ("json_schema", {"$ref": "http://x"}),
    ("response_format", {"type": "grammar"}),
    ("response_format", {"type": "grammar", "grammar": {"text": "x"}}),
    ("response_format", {"type": "grammar", "grammar": {"kind": "ebnf", "text": "x"}}),
    (
        "response_format",
        {"type": "json_schema", "json_schema": {"name": "n", "schema": {}, "enforcement": "x"}},
    ),
    ("response_format", {"type": "json_schema", "json_schema": {"name": "a b", "schema": {}}}),
]


@pytest.mark.parametrize("name, value", BAD_CHAT)
def test_bad_chat_fields_are_named(name, value):
    param = param_of(decode_chat, CHAT, {name: value})
    assert param is not None
    assert param.partition(".")[0].partition("[")[0] == name


def test_a_named_choice_must_be_among_the_tools():
    more = {"tools": [F], "tool_choice": {"type": "function", "function": {"name": "g"}}}
    assert param_of(decode_chat, CHAT, more) == "tool_choice.function.name"


def test_tool_choices():
    assert chat(tools=[F], tool_choice="none").tool_choice == ToolChoice("none")
    assert chat(tools=[F], tool_choice="required").tool_choice == ToolChoice("required")
    assert chat(tool_choice="auto").tool_choice == ToolChoice("auto")


def test_formats():
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "strict": False}}
    place = "response_format.json_schema.schema"
    assert chat(response_format=wanted).format == Format("schema", schema, param=place)
    wanted["json_schema"]["enforcement"] = "after"
    assert chat(response_format=wanted).format == Format("schema", schema, after=True, param=place)
    assert chat(response_format={"type": "text"}).format is None


@pytest.mark.parametrize(
    "prompt, prompts",
    [
        ("a", ("a",)),
        ("", ("",)),
        (["a", "b"], ("a", "b")),
        ([1, 2.0], ((1, 2),)),
        ([[1], [2, 3]], ((1,), (2, 3))),
    ],
)
def test_prompts_in_all_forms(prompt, prompts):
    request = decode_completions(body(TEXT, {"prompt": prompt})).request
    assert isinstance(request, Complete)
    assert request.prompts == prompts


def test_a_completion_takes_its_own_fields():
    more = {"suffix": "end", "echo": True, "n": 2, "best_of": 2, "logprobs": 5, "max_tokens": 3}
    request = decode_completions(body(TEXT, more)).request
    assert isinstance(request, Complete)
    assert (request.suffix, request.echo, request.n, request.logprobs) == ("end", True, 2, 5)
    assert request.sampling.max_tokens == 3


@pytest.mark.parametrize(
    "more, param",
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": 5}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [[]]}, "prompt[0]"),
        ({"prompt": [-1]}, "prompt[0]"),
        ({"prompt": [1, "a"]}, "prompt[1]"),
        ({"prompt": ["a", 1]}, "prompt[1]"),
        ({"prompt": [[1], "a"]}, "prompt[1]"),
        ({"prompt": [True]}, "prompt[0]"),
        ({"prompt": [None]}, "prompt[0]"),
        ({"prompt": ["a"] * 2049}, "prompt"),
        ({"prompt": ["a"] * 100, "n": 100}, "n"),
        ({"best_of": 3, "n": 4}, "best_of"),
        ({"best_of": 3, "stream": True}, "best_of"),
        ({"best_of": 100, "prompt": ["a"] * 100}, "best_of"),
        ({"best_of": 10**9}, "best_of"),
        ({"logprobs": 6}, "logprobs"),
        ({"logprobs": True}, "logprobs"),
        ({"prompt": ["a", "b"], "suffix": "x"}, "suffix"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"echo": 1}, "echo"),
        ({"user": []}, "user"),
    ],
)
def test_bad_completions_are_named(more, param):
    assert param_of(decode_completions, TEXT, more) == param


@pytest.mark.parametrize(
    "more, param",
    [
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["a", ""]}, "input[1]"),
        ({"input": {}}, "input"),
        ({"input": ["a"] * 2049}, "input"),
        ({"dimensions": 0}, "dimensions"),
        ({"encoding_format": "hex"}, "encoding_format"),
        ({"model": None}, "model"),
    ],
)
def test_bad_embeddings_are_named(more, param):
    assert param_of(decode_embeddings, EMBED, more) == param


def test_refusals_say_so():
    with pytest.raises(Unsupported):
        decode_chat(body(CHAT, {"audio": {"voice": "x"}}))


@pytest.mark.parametrize("decode", [decode_chat, decode_completions, decode_embeddings])
@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b"\xff\xfe{}",
        b"\xef\xbb\xbf{}",
        '{"model": "a"}'.encode("utf-16"),
        b'{"model": "\\ud800", "prompt": "x"}',
        b'{"model": "a", "model": "b"}',
        b'{"n": NaN}',
        b'{"n": 1e400}',
        b'{"n": ' + b"9" * 100_000 + b"}",
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    ],
)
def test_what_is_not_json_is_a_bad_request(decode, raw):
    with pytest.raises(BadRequest):
        decode(raw)


def test_a_body_of_null_bytes_in_strings_reads():
    assert messages({"role": "user", "content": "a\0b"}) == (Message("user", (Text("a\0b"),)),)
