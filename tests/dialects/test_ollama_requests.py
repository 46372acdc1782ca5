"""Bodies of Ollama's routes: what they become, and what is refused in Ollama's own words."""

from __future__ import annotations

import json
import math

import pytest

from dialects.answers_support import body
from dialects.test_fields_images import b64, png
from inhouse.core.errors import BadRequest
from inhouse.core.messages import (
    Format,
    Grammar,
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
from inhouse.core.requests import Chat, Complete, Embed, Load, LoadOptions, Render, Unload
from inhouse.dialects.ollama import (
    PullOrder,
    ShowOrder,
    decode_chat,
    decode_copy,
    decode_embed,
    decode_embeddings,
    decode_generate,
    decode_name,
    decode_pull,
    decode_show,
)
from inhouse.dialects.ollama.options import DEFAULTS

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
GENERATE = {"model": "m", "prompt": "Why?"}
IMAGE = b64(png())
CALL = {"function": {"name": "f", "arguments": {"a": "ä"}}}


def chat(**more) -> Chat:
    request = decode_chat(body(CHAT, more)).request
    assert isinstance(request, Chat)
    return request


def messages(*items) -> tuple[Message, ...]:
    return chat(messages=list(items)).messages


def generate(**more):
    return decode_generate(body(GENERATE, more)).request


def refusal(decode, base, more) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        decode(body(base, more))
    return caught.value


def test_the_least_bodies():
    sampling = Sampling(fallback=DEFAULTS)
    assert chat() == Chat(
        model="m",
        messages=(Message("user", (Text("hi"),)),),
        sampling=sampling,
        truncate=True,
        think_wish=True,
    )
    assert generate() == Chat(
        model="m",
        messages=(Message("user", (Text("Why?"),)),),
        sampling=sampling,
        truncate=True,
        want_context=True,
        think_wish=True,
    )
    assert decode_embed(body({"model": "m", "input": "a"})).request == Embed(
        model="m", inputs=("a",), truncate=True
    )
    assert decode_embeddings(body({"model": "m", "prompt": "a"})).request == Embed(
        model="m", inputs=("a",), truncate=True
    )


def test_ollamas_defaults_are_the_fallback_and_nothing_else():
    assert (DEFAULTS.temperature, DEFAULTS.top_k, DEFAULTS.top_p, DEFAULTS.min_p) == (0.8, 40, 0.9, 0.0)
    assert (DEFAULTS.repeat_last_n, DEFAULTS.repeat_penalty, DEFAULTS.seed) == (64, 1.0, None)
    assert chat(options={"top_k": 7}).sampling == Sampling(top_k=7, fallback=DEFAULTS)


def test_streams_by_default():
    assert decode_chat(body(CHAT)).encoder.streaming
    assert decode_generate(body(GENERATE, {"stream": None})).encoder.streaming
    assert not decode_chat(body(CHAT, {"stream": False})).encoder.streaming


@pytest.mark.parametrize(
    "option, loaded",
    [
        ({"num_ctx": 0}, LoadOptions()),
        ({"num_ctx": 1}, LoadOptions(context_length=4)),
        ({"num_ctx": 2048.9}, LoadOptions(context_length=2048)),
        ({"num_gpu": -1}, LoadOptions(gpu_layers=-1)),
        ({"num_gpu": 0}, LoadOptions(gpu_layers=0)),
        ({"num_thread": 0}, LoadOptions()),
        ({"num_thread": 3}, LoadOptions(threads=3)),
        ({"num_batch": 64}, LoadOptions(batch=64)),
        ({"use_mmap": False}, LoadOptions(use_mmap=False)),
        ({"use_mmap": None, "num_ctx": None, "main_gpu": None}, LoadOptions()),
    ],
)
def test_options_of_the_load(option, loaded):
    assert chat(options=option).load == loaded


@pytest.mark.parametrize(
    "option, field, value",
    [
        ({"temperature": -1}, "temperature", 0.0),
        ({"temperature": 0}, "temperature", 0.0),
        ({"top_k": -1}, "top_k", 0),
        ({"top_p": 1.5}, "top_p", 1.0),
        ({"typical_p": 2}, "typical_p", 1.0),
        ({"seed": -1}, "seed", None),
        ({"seed": 0}, "seed", 0),
        ({"seed": 2**32}, "seed", 1),
        ({"num_predict": -1}, "max_tokens", None),
        ({"num_predict": -2}, "max_tokens", None),
        ({"num_predict": 0}, "max_tokens", None),
        ({"num_predict": 10}, "max_tokens", 10),
        ({"repeat_last_n": -1}, "repeat_last_n", -1),
        ({"stop": ["a", "", "b"]}, "stop", ("a", "b")),
        ({"stop": [str(i) for i in range(64)]}, "stop", tuple(str(i) for i in range(64))),
        ({"num_keep": 4}, "seed", None),
    ],
)
def test_options_of_sampling(option, field, value):
    assert getattr(chat(options=option).sampling, field) == value


@pytest.mark.parametrize(
    "option, text",
    [
        ({"num_ctx": "4096"}, 'option "num_ctx" must be of type integer'),
        ({"num_ctx": True}, 'option "num_ctx" must be of type integer'),
        ({"num_keep": "x"}, 'option "num_keep" must be of type integer'),
        ({"temperature": "hot"}, 'option "temperature" must be of type float32'),
        ({"use_mmap": 1}, 'option "use_mmap" must be of type boolean'),
        ({"stop": "x"}, 'option "stop" must be of type array'),
        ({"stop": [1]}, 'option "stop" must be of an array of strings'),
    ],
)
def test_options_of_the_wrong_type_are_refused_in_ollamas_words(option, text):
    assert refusal(decode_chat, CHAT, {"options": option}).message == text


@pytest.mark.parametrize(
    "option",
    [
        {"num_ctx": -1},
        {"num_ctx": 2**31},
        {"num_batch": -5},
        {"num_gpu": -2},
        {"temperature": 1e308},
        {"top_p": -0.1},
        {"min_p": 1.1},
        {"repeat_penalty": 0},
        {"presence_penalty": 1e9},
        {"seed": 2**63},
        {"repeat_last_n": -2},
        {"num_predict": 2**63},
        {"stop": [str(i) for i in range(65)]},
        {"stop": ["x" * 1025]},
        {"main_gpu": 0},
        {"draft_num_predict": 8},
    ],
)
def test_options_out_of_range_or_without_effect_here_are_refused(option):
    (name,) = option
    assert refusal(decode_chat, CHAT, {"options": option}).param == f"options.{name}"


def test_options_that_ollama_forgot_are_noted():
    options = {"mirostat": 1, "nonsense": [1], "top_k": 5, "num_keep": 24}
    decoded = decode_chat(body(CHAT, {"options": options}))
    assert sorted(decoded.noted) == ["options.mirostat", "options.nonsense", "options.num_keep"]


@pytest.mark.parametrize(
    "keep_alive, seconds",
    [(None, None), (0, 0.0), (300, 300.0), (-1, math.inf), ("10m", 600.0), ("-1m", math.inf), (1.5, 1.5)],
)
def test_keep_alive(keep_alive, seconds):
    assert chat(keep_alive=keep_alive).keep_alive == seconds


def test_messages_of_every_role():
    assert messages(
        {"role": "System", "content": "Be brief."},
        {"role": "USER", "content": "see", "images": [IMAGE]},
        {"role": "assistant", "content": "so", "thinking": "hm", "tool_calls": [CALL]},
        {"role": "tool", "content": "42", "tool_name": "f"},
        {"role": "assistant"},
    ) == (
        Message("system", (Text("Be brief."),)),
        Message("user", (Text("see"), Image(png(), "image/png"))),
        Message("assistant", (Reasoning("hm"), Text("so"), ToolCall("call_00000001", "f", '{"a":"ä"}'))),
        Message("tool", (ToolResult("42", "call_00000001", "f"),)),
        Message("assistant", (Text(""),)),
    )


def results(*tools) -> list[tuple[str | None, str | None]]:
    calls = [
        {"id": "one", "function": {"name": "f"}},
        {"id": "two", "function": {"name": "g", "arguments": {}, "index": 1}},
    ]
    made = messages(
        {"role": "assistant", "tool_calls": calls}, *({"role": "tool", "content": "x", **t} for t in tools)
    )
    return [(p.call_id, p.name) for m in made[1:] for p in m.parts if isinstance(p, ToolResult)]


def test_results_find_their_calls_by_id_by_name_or_by_order():
    assert results({"tool_call_id": "two"}, {}) == [("two", "g"), ("one", "f")]
    assert results({"tool_name": "g"}, {"tool_name": "f"}) == [("two", "g"), ("one", "f")]
    assert results({}, {}, {}) == [("one", "f"), ("two", "g"), (None, None)]
    assert results({"tool_name": "h"}, {"tool_call_id": "zero"}) == [(None, "h"), ("zero", None)]


def test_tools_and_formats():
    schema = {"type": "object", "properties": {"a": {"type": ["string", "null"]}}}
    tool = {"type": None, "function": {"name": "ns.f", "description": "d", "parameters": schema}}
    assert chat(tools=[tool]).tools == (Tool("ns.f", "d", schema),)
    assert chat(format="json").format == Format("json", param="format")
    assert chat(format="").format is None
    assert chat(format=schema).format == Format("schema", schema, param="format")
    assert chat(format=schema, format_enforcement="after").format == Format(
        "schema", schema, after=True, param="format"
    )
    assert chat(format=schema, format_enforcement="strict").format == chat(format=schema).format


@pytest.mark.parametrize("kind", ["gbnf", "lark", "regex"])
def test_a_grammar_instead_of_a_format(kind):
    given = {"kind": kind, "text": "[a-z]+"}
    wanted = Format("grammar", grammar=Grammar(kind, "[a-z]+"), param="grammar")
    assert chat(grammar=given).format == wanted
    assert generate(grammar=given).format == wanted
    assert generate(grammar=given, raw=True).format == wanted


@pytest.mark.parametrize(
    "given, choice",
    [
        (None, ToolChoice()),
        ("auto", ToolChoice()),
        ("none", ToolChoice("none")),
        ("required", ToolChoice("required")),
        ({"type": "function", "function": {"name": "f"}}, ToolChoice("required", "f")),
        ({"function": {"name": "f"}}, ToolChoice("required", "f")),
    ],
)
def test_the_choice_of_a_tool(given, choice):
    tools = [{"function": {"name": "e"}}, {"function": {"name": "f"}}]
    assert chat(tools=tools, tool_choice=given).tool_choice == choice


def test_formats_are_refused_in_ollamas_words():
    text = refusal(decode_chat, CHAT, {"format": "xml"}).message
    assert text == r'invalid format: "\"xml\""; expected "json" or a valid JSON Schema object'
    assert len(refusal(decode_chat, CHAT, {"format": "x" * 999}).message) < 100


def test_only_rendering():
    asked = {"think": True, "options": {"num_ctx": 512}, "keep_alive": 5}
    for decode, base, request in (
        (decode_chat, CHAT, chat(**asked)),
        (decode_generate, GENERATE, generate(**asked)),
        (decode_generate, {**GENERATE, "template": "{{ .Prompt }}"}, None),
    ):
        decoded = decode(body(base, asked, {"_debug_render_only": True}))
        assert isinstance(decoded.request, Render)
        assert (decoded.request.model, decoded.request.keep_alive) == ("m", 5.0)
        assert decoded.request.load == LoadOptions(context_length=512)
        assert not decoded.encoder.streaming
        assert request in (None, decoded.request.chat)
    assert decoded.request.chat.template == "{{ .Prompt }}"
    raw = decode_generate(body(GENERATE, {"raw": True, "_debug_render_only": True})).request
    assert isinstance(raw, Render)
    assert raw.chat.prompt == "Why?"
    loads = decode_chat(body({"model": "m", "_debug_render_only": True})).request
    assert loads == Load(model="m")


def test_a_template_of_the_request_is_kept_as_it_came():
    request = generate(template="{{ .System }}{{ .Prompt }}", system="Be brief.", context=[1])
    assert isinstance(request, Chat)
    assert request.template == "{{ .System }}{{ .Prompt }}"
    assert request.messages[0].text == "Be brief."
    assert request.context == (1,)
    assert generate(template="").template is None


def test_an_embedding_may_read_as_little_as_one_token():
    def load(**options):
        return decode_embed(body({"model": "m", "input": "a", "options": options})).request.load

    assert load(num_ctx=1).context_length == 1
    assert load(num_ctx=3).context_length == 3
    assert load().context_length is None
    text = refusal(decode_embed, {"model": "m", "input": "a"}, {"options": {"num_ctx": 0}}).message
    assert text == "input after truncation exceeds maximum context length"
    assert decode_embed(body({"model": "m", "options": {"num_ctx": 0}})).request == Load(model="m")


@pytest.mark.parametrize("think", [None, True, False, "low", "medium", "high", "max"])
def test_thinking(think):
    assert chat(think=think).think == think
    assert chat(think=think).think_wish is True, "whatever can think does, unless told not to"
    assert chat(think=think, think_budget=100).think_budget == 100


@pytest.mark.parametrize(
    "more, truncate",
    [({}, True), ({"truncate": False}, False), ({"shift": False}, False), ({"shift": True}, True)],
)
def test_what_is_not_to_be_cut_is_refused_later(more, truncate):
    assert chat(**more).truncate is truncate


def test_logprobs():
    assert chat(logprobs=True, top_logprobs=3).logprobs == 3
    assert chat(logprobs=True).logprobs == 0
    assert chat(top_logprobs=3).logprobs is None


@pytest.mark.parametrize("decode", [decode_chat, decode_generate])
@pytest.mark.parametrize("empty", [{}, {"messages": [], "prompt": ""}, {"messages": None, "prompt": None}])
def test_nothing_to_say_loads_or_unloads(decode, empty):
    base = {"model": "m", "options": {"num_ctx": 512}, **empty}
    load = LoadOptions(context_length=512)
    assert decode(body(base)).request == Load(model="m", load=load)
    assert decode(body(base, {"keep_alive": -1})).request == Load(model="m", load=load, keep_alive=math.inf)
    assert decode(body(base, {"keep_alive": 0})).request == Unload(model="m", keep_alive=0.0)
    assert decode(body(base, {"keep_alive": "0s"})).request == Unload(model="m", keep_alive=0.0)


def test_generate_through_the_template():
    request = generate(system="Be brief.", context=[1, 2], images=[IMAGE], think=True)
    assert isinstance(request, Chat)
    assert request.messages == (
        Message("system", (Text("Be brief."),)),
        Message("user", (Text("Why?"), Image(png(), "image/png"))),
    )
    assert request.context == (1, 2)
    assert request.want_context
    assert request.think is True


def test_generate_raw_and_with_a_suffix():
    raw = generate(raw=True, system="", format="json", truncate=False)
    assert raw == Complete(
        model="m",
        prompts=("Why?",),
        format=Format("json", param="format"),
        sampling=Sampling(fallback=DEFAULTS),
    )
    filled = generate(prompt="", suffix="end", logprobs=True)
    assert isinstance(filled, Complete)
    assert (filled.prompts, filled.suffix, filled.logprobs, filled.truncate) == (("",), "end", 0, True)


@pytest.mark.parametrize("more", [{"template": "x"}, {"system": "x"}, {"context": [1]}])
def test_raw_has_no_template_system_or_context(more):
    error = refusal(decode_generate, GENERATE, {"raw": True, **more})
    assert error.message == "raw mode does not support template, system, or context"


BAD = [
    (decode_chat, CHAT, {"messages": "hi"}, "messages"),
    (decode_chat, CHAT, {"messages": [5]}, "messages[0]"),
    (decode_chat, CHAT, {"messages": [{"content": "x"}]}, "messages[0].role"),
    (decode_chat, CHAT, {"messages": [{"role": "robot"}]}, "messages[0].role"),
    (decode_chat, CHAT, {"messages": [{"role": "user", "content": ["x"]}]}, "messages[0].content"),
    (decode_chat, CHAT, {"messages": [{"role": "user", "images": ["?"]}]}, "messages[0].images[0]"),
    (decode_chat, CHAT, {"messages": [{"role": "user", "images": [5]}]}, "messages[0].images[0]"),
    (decode_chat, CHAT, {"messages": [{"role": "user", "images": [IMAGE] * 32}] * 2}, "messages"),
    (decode_chat, CHAT, {"messages": [{"role": "user"}] * 10_001}, "messages"),
    (
        decode_chat,
        CHAT,
        {"messages": [{"role": "assistant", "tool_calls": [{}]}]},
        "messages[0].tool_calls[0].function",
    ),
    (
        decode_chat,
        CHAT,
        {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}]},
        "messages[0].tool_calls[0].function.arguments",
    ),
    (decode_chat, CHAT, {"tools": [{}]}, "tools[0].function"),
    (decode_chat, CHAT, {"tools": [{"type": "web"}]}, "tools[0].type"),
    (decode_chat, CHAT, {"tools": [{"function": {}}]}, "tools[0].function.name"),
    (decode_chat, CHAT, {"tools": [{"function": {"name": "f" * 257}}]}, "tools[0].function.name"),
    (decode_chat, CHAT, {"format": "xml"}, "format"),
    (decode_chat, CHAT, {"format": 5}, "format"),
    (decode_chat, CHAT, {"format": {"$ref": "file:///etc/passwd"}}, "format"),
    (decode_chat, CHAT, {"options": []}, "options"),
    (decode_chat, CHAT, {"keep_alive": "soon"}, "keep_alive"),
    (decode_chat, CHAT, {"think": 5}, "think"),
    (decode_chat, CHAT, {"think_budget": -1}, "think_budget"),
    (decode_generate, GENERATE, {"raw": True, "think_budget": 5}, "think_budget"),
    (decode_chat, CHAT, {"stream": 1}, "stream"),
    (decode_chat, CHAT, {"logprobs": 1}, "logprobs"),
    (decode_chat, CHAT, {"shift": "no"}, "shift"),
    (decode_chat, CHAT, {"_debug_render_only": 1}, "_debug_render_only"),
    (decode_chat, CHAT, {"tool_choice": "any"}, "tool_choice"),
    (decode_chat, CHAT, {"tool_choice": "required"}, "tool_choice"),
    (decode_chat, CHAT, {"tool_choice": {"type": "mcp"}}, "tool_choice"),
    (decode_chat, CHAT, {"tool_choice": {"function": {}}}, "tool_choice.function.name"),
    (decode_chat, CHAT, {"tool_choice": {"function": {"name": "g"}}}, "tool_choice"),
    (
        decode_chat,
        CHAT,
        {"tools": [{"function": {"name": "f"}}], "tool_choice": {"function": {"name": "g"}}},
        "tool_choice.function.name",
    ),
    (decode_chat, CHAT, {"grammar": {"kind": "abnf", "text": "x"}}, "grammar.kind"),
    (decode_chat, CHAT, {"grammar": {"text": "x"}}, "grammar.kind"),
    (decode_chat, CHAT, {"grammar": {"kind": "regex"}}, "grammar.text"),
    (decode_chat, CHAT, {"grammar": {"kind": "regex", "text": "x" * 70_000}}, "grammar.text"),
    (decode_chat, CHAT, {"grammar": {"kind": "regex", "text": "x"}, "format": "json"}, "grammar"),
    (decode_chat, CHAT, {"format": "json", "format_enforcement": "after"}, "format_enforcement"),
    (decode_chat, CHAT, {"format_enforcement": "after"}, "format_enforcement"),
    (decode_chat, CHAT, {"format": {}, "format_enforcement": "later"}, "format_enforcement"),
    (decode_generate, GENERATE, {"prompt": ["a"]}, "prompt"),
    (decode_generate, GENERATE, {"context": [-1]}, "context[0]"),
    (decode_generate, GENERATE, {"context": ["a"]}, "context[0]"),
    (decode_generate, GENERATE, {"template": "x" * (2**20 + 1)}, "template"),
    (decode_generate, GENERATE, {"template": 5}, "template"),
    (decode_generate, GENERATE, {"template": "x", "images": [IMAGE]}, "images"),
    (decode_generate, GENERATE, {"template": "x", "suffix": "y"}, "template"),
    (decode_generate, GENERATE, {"_debug_render_only": True, "suffix": "y"}, "_debug_render_only"),
    (decode_embed, {"model": "m"}, {"input": "a", "options": {"num_ctx": 0}}, "options.num_ctx"),
    (decode_generate, GENERATE, {"width": 5}, "width"),
    (decode_generate, GENERATE, {"raw": True, "images": [IMAGE]}, "images"),
    (decode_generate, GENERATE, {"raw": True, "think": True}, "think"),
    (decode_generate, GENERATE, {"raw": True, "suffix": "x"}, "raw"),
    (decode_generate, GENERATE, {"suffix": "x", "system": "y"}, "system"),
    (decode_generate, GENERATE, {"suffix": "x", "context": [1]}, "context"),
    (decode_embed, {"model": "m"}, {"input": ["a"] * 2049}, "input"),
    (decode_embed, {"model": "m"}, {"input": "a", "dimensions": -1}, "dimensions"),
    (decode_embed, {"model": "m"}, {"input": "a", "truncate": 1}, "truncate"),
    (decode_embeddings, {"model": "m"}, {"prompt": ["a"]}, "prompt"),
]


@pytest.mark.parametrize("decode, base, more, param", BAD)
def test_bad_fields_are_named(decode, base, more, param):
    assert refusal(decode, base, more).param == param


def test_arguments_nested_too_deeply_are_refused():
    deep: dict = {}
    for _ in range(200):
        deep = {"a": deep}
    call = {"function": {"name": "f", "arguments": deep}}
    error = refusal(decode_chat, CHAT, {"messages": [{"role": "assistant", "tool_calls": [call]}]})
    assert error.param == "messages[0].tool_calls[0].function.arguments"


@pytest.mark.parametrize("value", ["x", "LOW", "y" * 500])
def test_unknown_levels_of_thinking_are_refused_in_ollamas_words(value):
    message = refusal(decode_chat, CHAT, {"think": value}).message
    assert message.startswith('invalid think value: "')
    assert len(message) < 200


def test_thinking_is_no_number():
    text = 'think must be a boolean or string ("high", "medium", "low", "max", true, or false)'
    assert refusal(decode_chat, CHAT, {"think": 5}).message == text


@pytest.mark.parametrize("top", [-1, 21, 2**63])
def test_top_logprobs_have_bounds(top):
    message = refusal(decode_chat, CHAT, {"top_logprobs": top}).message
    assert message.startswith(("top_logprobs must be between 0 and 20", "Invalid value for 'top_logprobs'"))


@pytest.mark.parametrize("value", [5, {}, ["a", 1], True])
def test_inputs_of_other_types_are_refused_in_ollamas_words(value):
    assert refusal(decode_embed, {"model": "m"}, {"input": value}).message == "invalid input type"


@pytest.mark.parametrize("value", [None, "", []])
def test_an_empty_input_only_loads(value):
    assert decode_embed(body({"model": "m", "input": value})).request == Load(model="m")
    if value != []:
        assert decode_embeddings(body({"model": "m", "prompt": value})).request == Load(model="m")


DECODERS = [decode_chat, decode_generate, decode_embed, decode_embeddings]
NAMED = [decode_name, decode_show, decode_pull, decode_copy]


@pytest.mark.parametrize("decode", [*DECODERS, *NAMED])
@pytest.mark.parametrize("raw", [b"", b" \n"])
def test_an_empty_body_has_its_own_text(decode, raw):
    with pytest.raises(BadRequest, match=r"^missing request body$"):
        decode(raw)


@pytest.mark.parametrize("decode", [*DECODERS, *NAMED])
@pytest.mark.parametrize("raw", [b"{", b"[]", b"\xff", b'{"model":1,"source":1}', b"{}"])
def test_bad_json_and_missing_models_are_refused(decode, raw):
    with pytest.raises(BadRequest):
        decode(raw)


def test_name_is_an_old_alias_of_model():
    for field in ("model", "name"):
        raw = json.dumps({field: "smollm2"}).encode()
        assert decode_name(raw) == "smollm2"
        assert decode_show(raw) == ShowOrder("smollm2", False)
        assert decode_pull(raw) == PullOrder("smollm2", True)
    assert decode_show(b'{"model": "m", "verbose": true}').verbose
    shown = decode_show(b'{"model": "m", "system": "x", "options": {"top_k": 3, "mirostat": 1}}')
    assert (shown.system, shown.options) == ("x", {"top_k": 3})
    with pytest.raises(BadRequest, match='option "top_k" must be of type integer'):
        decode_show(b'{"model": "m", "options": {"top_k": "many"}}')
    assert not decode_pull(b'{"model": "m", "stream": false, "insecure": false}').stream


def test_copies_need_both_names_and_pulls_are_secure_unless_told():
    assert decode_copy(b'{"source": "a", "destination": "b"}') == ("a", "b")
    with pytest.raises(BadRequest, match='destination "" is invalid'):
        decode_copy(b'{"source": "a"}')
    with pytest.raises(BadRequest, match='destination "a b" is invalid'):
        decode_copy(b'{"source": "a", "destination": "a b"}')
    assert not decode_pull(b'{"model": "m"}').insecure
    assert decode_pull(b'{"model": "m", "insecure": true}').insecure
