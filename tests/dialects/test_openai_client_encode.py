"""The client half: what it writes, the server half reads as the same request."""

from __future__ import annotations

import base64
import dataclasses
import json
from typing import Any

import pytest

from inhouse.core.errors import BadRequest, Unsupported
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
from inhouse.core.requests import Chat, Complete
from inhouse.dialects.openai import decode_chat, decode_completions, decode_embeddings
from inhouse.dialects.openai.client import (
    FEATURES,
    OPENAI,
    SGLANG,
    VLLM,
    Service,
    decode_embed,
    decode_text,
    decode_tokens,
    encode_chat,
    encode_complete,
    encode_detokenize,
    encode_embed,
    encode_render,
    encode_tokenize,
)

ALL = frozenset(FEATURES)
EVERYTHING = Service("m", ALL)
HELLO = (Message("user", (Text("hello"),)),)
SEEN = Image(
    base64.b64decode(
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    ),
    "image/png",
)
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
WEATHER = Tool("weather", "Tells it.", {"type": "object", "properties": {"at": {"type": "string"}}})


def chat(*messages: Message, **more: Any) -> Chat:
    sampling = more.pop("sampling", Sampling(temperature=1.0, top_p=1.0))
    return Chat(model="m", messages=messages or HELLO, sampling=sampling, **more)


def there_and_back(request: Chat, takes: frozenset[str] = ALL) -> Chat:
    body = encode_chat(request, Service("m", takes)).body
    found = decode_chat(json.dumps(body).encode()).request
    assert isinstance(found, Chat)
    return found


CHATS = {
    "plain": chat(),
    "several roles": chat(
        Message("system", (Text("be brief"),)),
        Message("user", (Text("hi"),), name="ann"),
        Message("assistant", (Text("hello"),)),
        Message("user", (Text("and?"),)),
    ),
    "a picture": chat(Message("user", (Text("what is"), SEEN, Text("this?")))),
    "calls and results": chat(
        Message("user", (Text("weather?"),)),
        Message("assistant", (ToolCall("c1", "weather", '{"at":"x"}'), ToolCall("c2", "weather", "{}"))),
        Message("tool", (ToolResult("rain", "c1", "weather"),)),
        Message("tool", (ToolResult("sun", "c2", "weather"),)),
        tools=(WEATHER,),
    ),
    "a call by name": chat(tools=(WEATHER,), tool_choice=ToolChoice("required", "weather")),
    "any call": chat(tools=(WEATHER,), tool_choice=ToolChoice("required"), parallel_tool_calls=False),
    "no call": chat(tools=(WEATHER,), tool_choice=ToolChoice("none")),
    "thoughts before": chat(
        Message("user", (Text("hi"),)),
        Message("assistant", (Reasoning("hm"), Text("hello"))),
        Message("user", (Text("and?"),)),
    ),
    "goes on": chat(Message("user", (Text("hi"),)), Message("assistant", (Text("hel"),))),
    "json": chat(format=Format("json")),
    "schema": chat(format=Format("schema", SCHEMA, param="response_format.json_schema.schema")),
    "regex": chat(format=Format("grammar", grammar=Grammar("regex", "a+"), param="structured_outputs.regex")),
    "lark": chat(
        format=Format("grammar", grammar=Grammar("lark", 'start: "a"'), param="structured_outputs.grammar")
    ),
    "many": chat(n=3, logprobs=5),
    "thinking": chat(think="high"),
    "no thinking": chat(think=False),
    "template": chat(template_args={"documents": ["a"]}),
    "sampling": chat(
        sampling=Sampling(
            temperature=0.3,
            top_p=0.9,
            top_k=40,
            min_p=0.05,
            typical_p=0.9,
            seed=7,
            repeat_penalty=1.2,
            repeat_last_n=33,
            presence_penalty=0.5,
            frequency_penalty=-0.5,
            logit_bias=((5, -100.0),),
            max_tokens=12,
            stop=("a", "b"),
        )
    ),
}


@pytest.mark.parametrize("name", CHATS)
def test_the_server_half_reads_the_same_chat(name: str) -> None:
    assert there_and_back(CHATS[name]) == CHATS[name]


@pytest.mark.parametrize("takes", [OPENAI, VLLM, SGLANG, ALL], ids=["openai", "vllm", "sglang", "all"])
@pytest.mark.parametrize("name", CHATS)
def test_a_server_gets_the_whole_request_or_none(name: str, takes: frozenset[str]) -> None:
    """What is not refused arrives: nothing is dropped on the way."""
    request = CHATS[name]
    try:
        found = there_and_back(request, takes)
    except Unsupported as error:
        assert error.param
        return
    if name == "thoughts before" and "past_reasoning" not in takes:  # the one thing that may be left out
        assert not [p for m in found.messages for p in m.parts if isinstance(p, Reasoning)]
        return
    if name == "regex" and takes == SGLANG:  # a field of its own, which our server half has not
        assert encode_chat(request, Service("m", takes)).body["regex"] == "a+"
        return
    if request.think is not None and "reasoning_effort" not in takes:
        assert found.template_args["enable_thinking"] is (request.think is not False)
        return
    assert found == request


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("top_k", 40),
        ("min_p", 0.1),
        ("typical_p", 0.5),
        ("repeat_penalty", 1.1),
        ("presence_penalty", 1.0),
        ("frequency_penalty", 1.0),
        ("seed", 1),
        ("stop", ("x",)),
        ("logit_bias", ((1, 1.0),)),
    ],
)
def test_sampling_that_a_server_does_not_take_is_refused_by_name(field: str, value: Any) -> None:
    bare = Service("m", frozenset({"chat", "completions"}))
    with pytest.raises(Unsupported) as caught:
        encode_chat(chat(sampling=Sampling(**{field: value})), bare)
    assert caught.value.param == field
    raw = Complete(model="m", prompts=("a",), sampling=Sampling(**{field: value}))
    with pytest.raises(Unsupported) as caught:
        encode_complete(raw, "a", bare)
    assert caught.value.param == field


def test_sampling_that_changes_nothing_needs_no_field() -> None:
    neutral = Sampling(top_k=0, min_p=0.0, typical_p=1.0, repeat_penalty=1.0, presence_penalty=0.0)
    body = encode_chat(chat(sampling=neutral), Service("m", frozenset({"chat"}))).body
    assert body == {"model": "m", "stream": True, "messages": [{"role": "user", "content": "hello"}]}


@pytest.mark.parametrize(
    ("request_", "param"),
    [
        (chat(tools=(WEATHER,)), "tools"),
        (chat(format=Format("schema", SCHEMA, param="format")), "format"),
        (chat(format=Format("json", param="format")), "format"),
        (chat(format=Format("grammar", grammar=Grammar("gbnf", 'root ::= "a"'), param="grammar")), "grammar"),
        (chat(format=Format("grammar", grammar=Grammar("lark", 'start: "a"'), param="g")), "g"),
        (chat(logprobs=1), "logprobs"),
        (chat(n=2), "n"),
        (chat(think=True), "think"),
        (chat(think_budget=5), "think_budget"),
        (chat(context=(1, 2)), "context"),
        (chat(template="{{ messages }}"), "template"),
        (chat(prompt="<s>hello"), "template"),
        (chat(template_args={"x": 1}), "chat_template_kwargs"),
        (CHATS["goes on"], "messages"),
        (CHATS["a picture"], "messages"),
        (CHATS["calls and results"], "messages"),
    ],
)
def test_what_a_bare_server_cannot_do_is_refused_by_name(request_: Chat, param: str) -> None:
    with pytest.raises(Unsupported) as caught:
        encode_chat(request_, Service("m", frozenset({"chat"})))
    assert caught.value.param == param
    assert "engine" in caught.value.message
    assert caught.value.hint


def test_a_choice_among_tools_is_refused_where_a_server_cannot_force_one() -> None:
    service = Service("m", frozenset({"chat", "tools"}))
    for request, param in (
        (CHATS["any call"], "tool_choice"),
        (dataclasses.replace(CHATS["no call"], parallel_tool_calls=True), "parallel_tool_calls"),
    ):
        with pytest.raises(Unsupported) as caught:
            encode_chat(request, service)
        assert caught.value.param == param


@pytest.mark.parametrize(
    ("messages", "why"),
    [
        ((), "no messages"),
        ((Message("assistant", (ToolCall("a", "weather", "{}"),)),), "results are missing"),
        ((Message("tool", (ToolResult("x", "a", images=(SEEN,)),)),), "Images in the result"),
    ],
)
def test_conversations_that_no_server_takes(messages: tuple[Message, ...], why: str) -> None:
    with pytest.raises(BadRequest, match=why):
        encode_chat(Chat(model="m", messages=messages), EVERYTHING)


def test_a_choice_without_tools_is_refused() -> None:
    with pytest.raises(BadRequest, match="no tools"):
        encode_chat(chat(tool_choice=ToolChoice("required")), EVERYTHING)


def test_results_without_an_id_answer_the_open_calls_in_order() -> None:
    """Ollama's client sends names only."""
    order = encode_chat(
        chat(
            Message("assistant", (ToolCall("", "a", "{}"), ToolCall("", "b", ""))),
            Message("tool", (ToolResult("of b", None, "b"),)),
            Message("tool", (ToolResult("of a", None, None),)),
            Message("tool", (ToolResult("of none", None, "c"),)),
        ),
        EVERYTHING,
    )
    messages = order.body["messages"]
    assert [call["id"] for call in messages[0]["tool_calls"]] == ["call_0", "call_1"]
    assert [m["tool_call_id"] for m in messages[1:]] == ["call_1", "call_0", "call_0"]
    assert messages[0]["content"] is None


def test_the_limit_has_the_name_that_the_server_takes() -> None:
    limited = chat(sampling=Sampling(max_tokens=5))
    assert encode_chat(limited, EVERYTHING).body["max_completion_tokens"] == 5
    assert encode_chat(limited, Service("m", OPENAI)).body["max_tokens"] == 5
    nothing = encode_chat(chat(sampling=Sampling(max_tokens=0)), Service("m", OPENAI))
    assert (nothing.body["max_tokens"], nothing.mute) == (1, True)
    assert "max_tokens" not in encode_chat(chat(sampling=Sampling(max_tokens=-1)), Service("m", OPENAI)).body


def test_penalties_have_the_name_that_the_server_takes() -> None:
    wanted = chat(sampling=Sampling(repeat_penalty=1.3))
    for name in ("repetition_penalty", "repeat_penalty"):
        body = encode_chat(wanted, Service("m", frozenset({"chat", name}))).body
        assert body[name] == 1.3
    body = encode_chat(wanted, Service("m", frozenset({"chat", "repeat_penalty", "repetition_penalty"}))).body
    assert "repeat_penalty" not in body


def test_a_rendered_prompt_goes_as_raw_text() -> None:
    order = encode_chat(chat(prompt="<s>[INST] hi", n=2, logprobs=1), EVERYTHING, offset=4)
    assert order.path == "/v1/completions"
    assert order.body["prompt"] == "<s>[INST] hi"
    assert order.body["add_special_tokens"] is False
    assert (order.n, order.offset, order.logprobs) == (2, 4, 1)
    with pytest.raises(Unsupported) as caught:
        encode_chat(chat(prompt="hi", tools=(WEATHER,)), EVERYTHING)
    assert caught.value.param == "tools"


def test_how_hard_to_think_goes_to_the_template_where_there_is_no_field() -> None:
    service = Service("m", frozenset({"chat", "chat_template_kwargs"}))
    args = {
        think: encode_chat(chat(think=think), service).body["chat_template_kwargs"]
        for think in (True, False, "high", "max")
    }
    assert args[True] == {"enable_thinking": True}
    assert args[False] == {"enable_thinking": False}
    assert args["high"] == {"enable_thinking": True, "reasoning_effort": "high"}
    assert args["max"] == {"enable_thinking": True}


COMPLETIONS = {
    "text": Complete(model="m", prompts=("hello",), sampling=Sampling(1.0, 1.0, max_tokens=9)),
    "tokens": Complete(model="m", prompts=((1, 2, 3),), sampling=Sampling(1.0, 1.0, max_tokens=9)),
    "much": Complete(
        model="m",
        prompts=("a",),
        suffix="z",
        echo=True,
        n=2,
        logprobs=3,
        sampling=Sampling(0.5, 0.5, top_k=3, max_tokens=4, stop=("x",)),
        format=Format("schema", SCHEMA, param="response_format.json_schema.schema"),
    ),
}


@pytest.mark.parametrize("name", COMPLETIONS)
def test_the_server_half_reads_the_same_completion(name: str) -> None:
    request = COMPLETIONS[name]
    body = encode_complete(request, request.prompts[0], EVERYTHING).body
    assert decode_completions(json.dumps(body).encode()).request == request


@pytest.mark.parametrize(
    ("request_", "param", "takes"),
    [
        (COMPLETIONS["text"], "prompt", frozenset[str]()),
        (COMPLETIONS["tokens"], "prompt", frozenset({"completions"})),
        (Complete(model="m", prompts=("a",), suffix="b"), "suffix", frozenset({"completions"})),
        (Complete(model="m", prompts=("a",), echo=True), "echo", frozenset({"completions"})),
        (Complete(model="m", prompts=("a",), logprobs=0), "logprobs", frozenset({"completions"})),
    ],
)
def test_completions_that_a_server_cannot_make(request_: Complete, param: str, takes: frozenset[str]) -> None:
    with pytest.raises(Unsupported) as caught:
        encode_complete(request_, request_.prompts[0], Service("m", takes))
    assert caught.value.param == param


def test_a_completion_without_a_limit_says_so() -> None:
    """Left out it would be 16 tokens."""
    body = encode_complete(Complete(model="m", prompts=("a",)), "a", EVERYTHING).body
    assert body["max_tokens"] is None


def test_embeddings_there_and_back() -> None:
    body = encode_embed(["a", "", "c"], EVERYTHING, truncate=True)
    assert body["input"] == ["a", " ", "c"]
    assert body["truncate_prompt_tokens"] == -1
    found = decode_embeddings(json.dumps(body).encode()).request
    assert found.inputs == ("a", " ", "c")  # type: ignore[union-attr]
    assert "truncate_prompt_tokens" not in encode_embed(["a"], Service("m", OPENAI), truncate=True)
    with pytest.raises(Unsupported) as caught:
        encode_embed([(1, 2)], Service("m", OPENAI), truncate=False)
    assert caught.value.param == "input"
    with pytest.raises(Unsupported):
        encode_embed(["a"], Service("m", frozenset()), truncate=False)


def test_vectors_come_in_the_order_of_the_inputs() -> None:
    data = [{"index": 1, "embedding": [2.0, None]}, {"index": 0, "embedding": [1.0, 0.0]}]
    answer = {"data": data, "usage": {"prompt_tokens": 7}}
    vectors, tokens = decode_embed(json.dumps(answer).encode(), 2)
    assert vectors[0] == [1.0, 0.0]
    assert vectors[1][0] == 2.0
    assert vectors[1][1] != vectors[1][1]
    assert tokens == 7


@pytest.mark.parametrize("body", [b"", b"{}", b'{"data": []}', b'{"data": [{"index": 3, "embedding": []}]}'])
def test_other_vectors_than_asked_for_are_an_error(body: bytes) -> None:
    with pytest.raises(Exception, match="cannot be read"):
        decode_embed(body, 1)


def test_tokens_of_vllm() -> None:
    assert encode_tokenize("hi", EVERYTHING, special=False) == {
        "model": "m",
        "prompt": "hi",
        "add_special_tokens": False,
    }
    assert encode_detokenize((1, 2), EVERYTHING)["tokens"] == [1, 2]
    body = encode_render(dataclasses.replace(CHATS["no call"], think=False), EVERYTHING)
    assert body["add_generation_prompt"] is True
    assert body["tools"][0]["function"]["name"] == "weather"
    assert decode_tokens(b'{"tokens": [1, 2], "count": 2, "max_model_len": 9}') == (1, 2)
    assert decode_text(b'{"prompt": "hi"}') == "hi"
    with pytest.raises(Exception, match="cannot be read"):
        decode_text(b"[]")


@pytest.mark.parametrize(
    "ask",
    [
        lambda s: encode_tokenize("a", s, special=True),
        lambda s: encode_detokenize((1,), s),
        lambda s: encode_render(chat(), s),
    ],
)
def test_a_server_without_tokens_says_so(ask: Any) -> None:
    with pytest.raises(Unsupported) as caught:
        ask(Service("m", OPENAI))
    assert "count" in caught.value.hint


def test_every_set_of_features_is_declared() -> None:
    assert OPENAI | VLLM | SGLANG <= ALL


@pytest.mark.parametrize("name", ["chat_template", "tokenize", "add_generation_prompt", "tools"])
def test_a_request_cannot_bring_a_template_of_its_own(name: str) -> None:
    request = chat(template_args={"style": "short", name: "{% for i in range(9) %}{% endfor %}"})
    for encode in (encode_chat, encode_render):
        with pytest.raises(Unsupported, match=name) as caught:
            encode(request, EVERYTHING)
        assert caught.value.param == "chat_template_kwargs"
