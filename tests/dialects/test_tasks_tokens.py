"""Tokenize, detokenize and templates: llama.cpp's and vLLM's shapes."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dialects.answers_support import TIMINGS, body, json_leaves, json_values, rows, run
from inhouse.core.errors import BadRequest, EngineError
from inhouse.core.events import ChoiceEnd, Event, Finished, Rendered, Started, TextDelta, Tokens
from inhouse.core.messages import Message, Text
from inhouse.core.requests import Chat, Detokenize, Load, Render, Tokenize
from inhouse.core.usage import Usage
from inhouse.dialects.codec import Decoded
from inhouse.dialects.tasks import (
    decode_apply_template,
    decode_detokenize,
    decode_rerank,
    decode_rerank_v2,
    decode_score,
    decode_tokenize,
)
from inhouse.dialects.tasks.answer import OneBody
from inhouse.dialects.tasks.tokens import MAX_TEXT


def read_chat(sent: bytes) -> Decoded:
    """A chat codec of few words: each message has a role and a text."""
    raw = json.loads(sent)
    if not isinstance(raw.get("model"), str):
        raise BadRequest("no model", param="model")
    try:
        messages = tuple(Message(m["role"], (Text(m["content"]),)) for m in raw["messages"])
    except (TypeError, KeyError) as error:
        raise BadRequest("no messages", param="messages") from error
    if not messages:
        raise BadRequest("no messages", param="messages")
    known = {"model", "messages", "keep_alive"}
    noted = tuple(name for name in raw if name not in known)
    return Decoded(Chat(model=raw["model"], messages=messages, keep_alive=7.0, priority=-1), OneBody(), noted)


tokenize = partial(decode_tokenize, read_chat=read_chat)
apply_template = partial(decode_apply_template, read_chat=read_chat)
USER = [{"role": "user", "content": "hi"}]
EURO = Tokens((5, 6, 7), (b"a", b"\xe2\x82", b"\xac"), 2048)


def answered(decode: Any, sent: dict[str, Any], *events: Event) -> Any:
    encoder = decode(body(sent)).encoder
    assert not encoder.streaming
    return json.loads(run(encoder, [Started(), *events, Finished(Usage(3), TIMINGS)]))


def refused(decode: Any, sent: dict[str, Any]) -> str | None:
    with pytest.raises(BadRequest) as caught:
        decode(body(sent))
    return caught.value.param


# tokenize


def test_ids_of_a_text():
    told = answered(tokenize, {"model": "m", "content": "a€"}, EURO)
    assert told == {"tokens": [5, 6, 7], "count": 3, "max_model_len": 2048, "token_strs": None}


def test_pieces_are_text_or_bytes():
    told = answered(tokenize, {"model": "m", "content": "a€", "with_pieces": True}, EURO)
    assert told["tokens"] == [
        {"id": 5, "piece": "a"},
        {"id": 6, "piece": [0xE2, 0x82]},
        {"id": 7, "piece": [0xAC]},
    ]


def test_texts_of_tokens_beside_their_ids():
    told = answered(tokenize, {"model": "m", "prompt": "a€", "return_token_strs": True}, EURO)
    assert told["tokens"] == [5, 6, 7]
    assert told["token_strs"] == ["a", "\ufffd", "\ufffd"]


@pytest.mark.parametrize(
    "sent, special, control",
    [
        ({"content": "x"}, False, True),
        ({"prompt": "x"}, True, True),
        ({"content": "x", "add_special": True, "parse_special": False}, True, False),
        ({"prompt": "x", "add_special_tokens": False}, False, True),
        ({"prompt": "x", "add_special_tokens": True, "add_special": True}, True, True),
        ({"content": ""}, False, True),
    ],
)
def test_each_shape_has_its_own_defaults(sent, special, control):
    text = sent.get("content", sent.get("prompt"))
    request = tokenize(body({"model": "m"}, sent)).request
    assert request == Tokenize(model="m", text=text, special=special, control=control)


def test_a_conversation_is_counted_as_it_would_be_generated():
    decoded = tokenize(body({"model": "m", "messages": USER, "return_token_strs": True}))
    request = decoded.request
    assert isinstance(request, Render)
    assert request.pieces
    assert (request.keep_alive, request.priority) == (7.0, -1)
    assert request.chat.messages[0].text == "hi"
    assert decoded.noted == ()
    assert not tokenize(body({"model": "m", "messages": USER})).request.pieces


def test_what_the_chat_codec_notes_is_noted():
    assert tokenize(body({"model": "m", "messages": USER, "odd": 1})).noted == ("odd",)
    assert tokenize(body({"model": "m", "content": "x", "odd": 1})).noted == ("odd",)


@pytest.mark.parametrize(
    "wrong, param",
    [
        ({"model": None}, "model"),
        ({"content": None}, "content"),
        ({"content": 5}, "content"),
        ({"content": ["x", 1]}, "content"),
        ({"content": "x" * (MAX_TEXT + 1)}, "content"),
        ({"prompt": "y"}, "prompt"),
        ({"messages": USER}, "messages"),
        ({"add_special": "yes"}, "add_special"),
        ({"add_special": True, "add_special_tokens": False}, "add_special_tokens"),
        ({"content": None, "messages": USER, "add_special_tokens": True}, "add_special_tokens"),
        ({"content": None, "messages": USER, "parse_special": False}, "parse_special"),
        ({"content": None, "messages": USER, "chat_template": "x"}, "chat_template"),
        ({"content": None, "messages": []}, "messages"),
    ],
)
def test_a_wrong_field_of_tokenizing_is_named(wrong, param):
    assert refused(tokenize, {"model": "m", "content": "x"} | wrong) == param


@pytest.mark.parametrize("decode", [tokenize, apply_template], ids=["tokenize", "template"])
def test_what_the_chat_codec_refuses_is_refused(decode):
    assert refused(decode, {"model": "m", "messages": [{"role": "user"}]}) == "messages"


@pytest.mark.parametrize("events", [(), (Tokens((1, 2), (b"a",)),)])
def test_tokens_that_are_missing_are_an_error(events):
    with pytest.raises(EngineError):
        answered(tokenize, {"model": "m", "content": "x", "with_pieces": True}, *events)


# detokenize and templates


def test_text_of_ids_under_both_names():
    told = answered(decode_detokenize, {"model": "m", "tokens": [1, 2]}, TextDelta("a€"), ChoiceEnd("stop"))
    assert told == {"content": "a€", "prompt": "a€"}
    assert decode_detokenize(body({"model": "m", "tokens": []})).request == Detokenize(model="m", tokens=())


@pytest.mark.parametrize(
    "wrong, param",
    [
        ({"model": ""}, "model"),
        ({"tokens": None}, "tokens"),
        ({"tokens": "1"}, "tokens"),
        ({"tokens": [1, -1]}, "tokens[1]"),
        ({"tokens": [1, 2**40]}, "tokens[1]"),
        ({"tokens": [True]}, "tokens[0]"),
        ({"tokens": [[1]]}, "tokens[0]"),
    ],
)
def test_a_wrong_field_of_detokenizing_is_named(wrong, param):
    assert refused(decode_detokenize, {"model": "m", "tokens": [1]} | wrong) == param


def test_the_prompt_of_a_conversation():
    told = answered(apply_template, {"model": "m", "messages": USER}, Rendered("<user>hi"), Tokens((1, 2, 3)))
    assert told == {"prompt": "<user>hi", "count": 3}


def test_a_prompt_that_is_missing_is_an_error():
    with pytest.raises(EngineError):
        answered(apply_template, {"model": "m", "messages": USER})


def test_a_reader_of_chats_must_read_chats():
    def other(sent: bytes) -> Decoded:
        return Decoded(Load(model="m"), OneBody())

    with pytest.raises(TypeError):
        decode_apply_template(body({"model": "m"}), read_chat=other)


def test_a_failure_after_all_has_the_shape_of_the_others():
    error = EngineError("It failed.", hint="Try again.")
    told = json.loads(decode_detokenize(body({"model": "m", "tokens": [1]})).encoder.fail(error))
    assert told["error"]["message"] == "It failed. Try again."
    assert told["error"]["code"] == "engine_error"


# anything


DECODERS = [tokenize, decode_detokenize, apply_template, decode_rerank, decode_rerank_v2, decode_score]
NAMES = sorted({row.field for row in rows("api-tasks.md")})
BASE = {"model": "m", "query": "q", "content": "x", "tokens": [1], "messages": USER, "text_1": "a"}
JSON = json_values(json_leaves(["user", "right", "10m"]), ["text", "image", "role", "content"])


@pytest.mark.parametrize("decode", DECODERS, ids=lambda d: getattr(d, "func", d).__name__)
@settings(deadline=None, max_examples=100, suppress_health_check=list(HealthCheck))
@given(
    odd=st.dictionaries(st.sampled_from(NAMES), JSON, max_size=5), kept=st.sets(st.sampled_from(list(BASE)))
)
def test_any_fields_decode_or_are_refused(decode, odd, kept):
    try:
        decoded = decode(body({name: BASE[name] for name in kept}, odd))
    except BadRequest as error:
        assert error.message
        assert error.param
        return
    assert decoded.request.model
