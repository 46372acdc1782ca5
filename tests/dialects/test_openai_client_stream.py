"""The client half: what servers of OpenAI's wire stream, as events."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inhouse.core.errors import (
    BadRequest,
    BodyTooLarge,
    Busy,
    ContextExceeded,
    EngineError,
    InhouseError,
    NotFound,
)
from inhouse.core.events import (
    ChoiceEnd,
    Event,
    Finished,
    Notice,
    ReasoningDelta,
    Started,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    TopLogprob,
)
from inhouse.core.usage import Timings, Usage
from inhouse.dialects.openai import decode_chat, decode_completions
from inhouse.dialects.openai.client import ChatDecoder, Order, TextDecoder, from_answer
from inhouse.dialects.openai.client.wire import Lines

USAGE = Usage(11, 7, 3, 2)


def order(**more: Any) -> Order:
    return Order("/v1/chat/completions", more.pop("body", {}), tools=frozenset({"weather"}), **more)


def sse(*chunks: Any) -> bytes:
    return b"".join(
        b"data: " + (c if isinstance(c, bytes) else json.dumps(c).encode()) + b"\n\n" for c in chunks
    )


def delta(index: int = 0, end: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": fields, "finish_reason": end}]}


def read(data: bytes, size: int | None = None, **more: Any) -> tuple[list[Event], ChatDecoder]:
    decoder = ChatDecoder(order(**more))
    out: list[Event] = []
    step = size or len(data) or 1
    for at in range(0, len(data), step):
        out += decoder.feed(data[at : at + step])
    return out, decoder


def merged(events: Sequence[Event]) -> list[Event]:
    """Texts of one choice that follow each other are one."""
    out: list[Event] = []
    for event in events:
        last = out[-1] if out else None
        both = type(event) is TextDelta and type(last) is TextDelta and last.index == event.index
        if both and not (event.logprobs or last.logprobs):
            out[-1] = TextDelta(last.text + event.text, event.index)
            continue
        out.append(event)
    return [event for event in out if event != TextDelta("")]


PROBABLE = TokenLogprob("Hi", -0.5, b"Hi", (TopLogprob("Hi", -0.5, b"Hi"), TopLogprob("Ho", -2.0, b"Ho")))
ANSWERS: dict[str, list[Event]] = {
    "text": [TextDelta("Hel"), TextDelta("lo\u2028 wörld"), ChoiceEnd("stop")],
    "cut": [TextDelta("Hello"), ChoiceEnd("length")],
    "empty": [ChoiceEnd("stop")],
    "thought": [ReasoningDelta("hm"), TextDelta("yes"), ChoiceEnd("stop")],
    "calls": [
        TextDelta("let me see"),
        ToolCallDelta(0, '{"at"', "c1", "weather"),
        ToolCallDelta(0, ': "x"}'),
        ToolCallDelta(1, "{}", "c2", "weather"),
        ChoiceEnd("tool_calls"),
    ],
    "several": [TextDelta("a", 0), TextDelta("b", 1), ChoiceEnd("stop", 1), ChoiceEnd("length", 0)],
    "logprobs": [TextDelta("Hi", 0, (PROBABLE,)), ChoiceEnd("stop")],
}
TOOLS = [{"type": "function", "function": {"name": "weather"}}]


@pytest.mark.parametrize("size", [None, 1, 7])
@pytest.mark.parametrize("name", ANSWERS)
def test_what_the_server_half_streams_is_read_as_the_same_events(name: str, size: int | None) -> None:
    answer = ANSWERS[name]
    n = 2 if name == "several" else 1
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "n": n, "tools": TOOLS}
    body |= {"stream": True, "stream_options": {"include_usage": True}}
    encoder = decode_chat(json.dumps(body).encode()).encoder
    sent = b"".join(encoder.feed(e) for e in (Started(), *answer, Finished(USAGE, Timings())))
    events, decoder = read(sent, size, n=n, logprobs=2 if name == "logprobs" else None)
    assert merged(events) == merged(answer)
    assert decoder.done
    assert decoder.usage == USAGE
    assert not decoder.counted


@pytest.mark.parametrize("logprobs", [None, 1])
def test_what_the_server_half_streams_of_a_completion_is_read_as_the_same_events(
    logprobs: int | None,
) -> None:
    token = TokenLogprob("Hi", -0.5, b"Hi", (TopLogprob("Hi", -0.5, b"Hi"),))
    answer = [TextDelta("Hi", 0, (token,) if logprobs else ()), ChoiceEnd("length")]
    body: dict[str, Any] = {"model": "m", "prompt": "x", "stream": True, "logprobs": logprobs}
    encoder = decode_completions(json.dumps(body).encode()).encoder
    sent = b"".join(encoder.feed(e) for e in (Started(), *answer, Finished(USAGE, Timings())))
    decoder = TextDecoder(order(logprobs=logprobs))
    assert merged(decoder.feed(sent)) == answer
    assert decoder.counted  # usage was not asked for


def test_choices_are_counted_from_their_offset() -> None:
    events, _ = read(sse(delta(1, content="b"), delta(0, "stop"), delta(1, "stop")), n=2, offset=4)
    assert events == [TextDelta("b", 5), ChoiceEnd("stop", 4), ChoiceEnd("stop", 5)]


def test_the_stop_string_that_was_hit_is_told_under_both_names() -> None:
    for name in ("stop_reason", "matched_stop"):
        chunk = delta(end="stop")
        chunk["choices"][0][name] = "END"
        assert read(sse(chunk), body={"stop": ["END"]})[0] == [ChoiceEnd("stop", 0, "END")]
        chunk["choices"][0][name] = 151645  # the id of a token that ends a turn is no stop string
        assert read(sse(chunk), body={"stop": ["END"]})[0] == [ChoiceEnd("stop")]


def test_thoughts_have_two_names() -> None:
    for name in ("reasoning", "reasoning_content"):
        events, decoder = read(sse(delta(**{name: "hm"}), delta(content="a"), delta(end="stop")))
        assert events[:2] == [ReasoningDelta("hm"), TextDelta("a")]
        assert decoder.usage == Usage(0, 2, 0, 1)


def test_calls_without_numbers_begin_with_their_name() -> None:
    pieces = [
        {"id": "a", "function": {"name": "weather", "arguments": ""}},
        {"function": {"arguments": "{}"}},
        {"id": "b", "function": {"name": "weather", "arguments": "{}"}},
    ]
    events, _ = read(sse(*(delta(tool_calls=[piece]) for piece in pieces), delta(end="stop")))
    assert [event.call for event in events if isinstance(event, ToolCallDelta)] == [0, 0, 1]
    assert events[-1] == ChoiceEnd("tool_calls")


def test_a_call_of_a_function_that_nobody_offered_is_an_error() -> None:
    with pytest.raises(EngineError, match="not offered"):
        read(sse(delta(tool_calls=[{"index": 0, "function": {"name": "rm", "arguments": "{}"}}])))


def test_a_refusal_is_text() -> None:
    assert read(sse(delta(refusal="no")))[0] == [TextDelta("no")]


def test_an_answer_to_no_tokens_is_empty() -> None:
    data = sse(
        delta(content="x"), delta(end="length"), {"usage": {"prompt_tokens": 5, "completion_tokens": 1}}
    )
    events, decoder = read(data, mute=True)
    assert events == [ChoiceEnd("length")]
    assert decoder.usage == Usage(5, 0)


def test_a_filter_is_told_of() -> None:
    events, _ = read(sse(delta(content="x"), delta(end="content_filter")))
    assert [type(event) for event in events] == [TextDelta, Notice, ChoiceEnd]


def test_an_answer_that_the_engine_aborts_is_an_error() -> None:
    with pytest.raises(EngineError, match="broke the answer off"):
        read(sse(delta(content="x"), delta(end="abort")))


def test_usage_counts_what_it_is_told_in_all_spellings() -> None:
    told = {
        "prompt_tokens": 9,
        "completion_tokens": 8,
        "prompt_tokens_details": {"cached_tokens": 4},
        "reasoning_tokens": 3,
    }
    assert read(sse(delta(end="stop"), {"choices": [], "usage": told}))[1].usage == Usage(9, 8, 4, 3)
    empty = {"prompt_tokens": 9, "completion_tokens": None, "prompt_tokens_details": None}
    assert read(sse(delta(end="stop"), {"choices": [], "usage": empty}))[1].usage == Usage(9, 0)


def test_a_stream_that_says_done_amid_an_answer_is_an_error() -> None:
    with pytest.raises(EngineError):
        read(sse(delta(content="x"), b"[DONE]"))


def test_a_stream_is_done_with_its_last_choice() -> None:
    _, decoder = read(sse(delta(0, "stop")), n=2)
    assert not decoder.done
    decoder.feed(sse(delta(1, "stop")))
    assert decoder.done
    assert decoder.feed(sse(delta(1, content="late"))) == []


@pytest.mark.parametrize("line", [b"{", b'{"choices": 5}', b'{"choices": [{"index": 7, "delta": {}}]}'])
def test_lines_that_are_no_chunks_are_an_error(line: bytes) -> None:
    with pytest.raises(EngineError, match="cannot be read"):
        read(sse(line))


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ({"error": {"message": "boom", "code": 500}}, EngineError),
        ({"error": {"message": "bad thing", "code": 400, "param": "top_p"}}, BadRequest),
        ({"object": "error", "message": "boom", "code": 500}, EngineError),
        ({"error": "boom"}, EngineError),
    ],
)
def test_errors_amid_a_stream(line: Any, kind: type[InhouseError]) -> None:
    with pytest.raises(kind):
        read(sse(delta(content="x"), line))


def test_comments_other_fields_and_carriage_returns_are_read_over() -> None:
    data = b": ping\n\nevent: x\r\nid: 4\r\ndata:" + json.dumps(delta(content="a")).encode() + b"\r\n\r\n"
    assert read(data)[0] == [TextDelta("a")]


@given(
    st.lists(st.binary(max_size=12).filter(lambda b: b"\n" not in b and b"\r" not in b)), st.integers(1, 9)
)
def test_lines_come_whole_however_they_are_cut(texts: list[bytes], size: int) -> None:
    data = b"".join(b"data: " + text + b"\n\n" for text in texts)
    lines, out = Lines(), list[bytes]()
    for at in range(0, len(data), size):
        out += lines.feed(data[at : at + size])
    assert out == texts


def test_several_data_fields_are_one_event() -> None:
    assert Lines().feed(b"data: {\ndata: }\n\n") == [b"{\n}"]


VLLM_LONG = (
    "This model's maximum context length is 2048 tokens. However, you requested 3100 tokens (3000 in the "
    "messages, 100 in the completion). Please reduce the length of the messages or completion."
)
VLLM_MOST = (
    "'max_tokens' or 'max_completion_tokens' is too large: 5000. This model's maximum context length is 2048 "
    "tokens and your request has 36 input tokens (5000 > 2048 - 36)."
)
SGLANG_LONG = "The input (3000 tokens) is longer than the model's context length (2048 tokens)."


@pytest.mark.parametrize(
    ("status", "body", "kind", "param"),
    [
        (400, {"error": {"message": "bad", "param": "top_p"}}, BadRequest, "top_p"),
        (400, {"error": {"message": "bad", "param": "<script>"}}, BadRequest, "messages"),
        (400, {"object": "error", "message": "bad", "code": 400}, BadRequest, "messages"),
        (422, {"detail": "bad"}, BadRequest, "messages"),
        (400, {"error": {"message": "Jinja template error: roles"}}, BadRequest, "messages"),
        (401, {"error": "no"}, EngineError, None),
        (404, {"error": {"message": "The model `x` does not exist."}}, NotFound, "model"),
        (413, {}, BodyTooLarge, None),
        (429, {"error": {"message": "slow"}}, Busy, None),
        (500, "Internal Server Error", EngineError, None),
        (502, b"\xff\xfe", EngineError, None),
        (503, {}, Busy, None),
    ],
)
def test_refusals_are_said_in_our_words(
    status: int, body: Any, kind: type[InhouseError], param: str | None
) -> None:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    error = from_answer(status, data, param="messages", retry_after=7.0)
    assert type(error) is kind
    assert error.param == param
    assert "bad" not in error.message
    if kind is Busy:
        assert error.retry_after == 7.0


@pytest.mark.parametrize(
    ("message", "asked", "limit"),
    [
        (VLLM_LONG, 3000, 2048),
        (VLLM_MOST, 36, 2048),
        (SGLANG_LONG, 3000, 2048),
        ("This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens.",
         9000, 8192),
    ],
)  # fmt: skip
def test_a_context_that_is_too_short_is_told_in_figures(message: str, asked: int, limit: int) -> None:
    error = from_answer(400, json.dumps({"error": {"message": message}}).encode(), param="messages")
    assert isinstance(error, ContextExceeded)
    assert (error.prompt_tokens, error.context_length) == (asked, limit)


def test_a_context_that_is_too_short_without_figures() -> None:
    told = {"error": {"message": "too long", "code": "context_length_exceeded"}}
    error = from_answer(400, json.dumps(told).encode(), param="messages")
    assert isinstance(error, ContextExceeded)
    assert error.message == "The prompt is longer than the model's context."


def test_calls_that_are_all_numbered_0_are_told_apart_by_their_ids() -> None:
    def call(ident: str | None, name: str | None, arguments: str) -> dict[str, Any]:
        return {"index": 0, "id": ident, "function": {"name": name, "arguments": arguments}}

    found, _ = read(
        sse(
            delta(tool_calls=[call("a", "weather", '{"at"'), call(None, None, ":1}")]),
            delta(tool_calls=[call("b", "weather", "{"), call("b", None, "}")]),
            delta(end="tool_calls"),
        )
    )
    made = [event for event in found if isinstance(event, ToolCallDelta)]
    assert [(one.call, one.arguments) for one in made] == [(0, '{"at"'), (0, ":1}"), (1, "{"), (1, "}")]


def test_what_a_server_has_nothing_to_say_of_may_be_null_or_empty() -> None:
    first = delta(end="", content="a") | {"object": None}
    last = {"choices": None, "usage": {"prompt_tokens": None, "completion_tokens": 1}}
    found, decoder = read(sse(first, delta(end="stop"), last))
    assert [type(event) for event in found] == [TextDelta, ChoiceEnd]
    assert (decoder.usage.prompt_tokens, decoder.usage.completion_tokens) == (0, 1)


def test_an_event_without_an_end_is_an_error_and_no_load() -> None:
    lines, piece = Lines(), bytes(2**20)
    for _ in range(32):
        lines.feed(piece)
    with pytest.raises(EngineError):
        lines.feed(piece)
    lines = Lines()
    for _ in range(100):
        assert lines.feed(b": wait" + bytes(2**20) + b"\n\n") == []
    assert lines.feed(b"data: {}\n\n") == [b"{}"]


def test_a_long_event_costs_no_more_for_coming_in_many_pieces() -> None:
    class Piece(bytes):
        joined = 0

        def __radd__(self, other: bytes) -> bytes:  # pragma: no cover - only if pieces were added up
            Piece.joined += 1
            return bytes(other) + bytes(self)

    lines = Lines()
    pieces = [Piece(b"data: " + b"x" * 1000), *(Piece(b"y" * 1000) for _ in range(500))]
    for piece in pieces:
        assert lines.feed(piece) == []
    assert Piece.joined == 0
    assert lines.feed(b"\n\n") == [b"x" * 1000 + b"y" * 500_000]
