"""Answers of /v1/messages: the grammar of the stream, and that the whole is the same."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message, RawMessageStreamEvent
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from dialects.answers_support import FINISHED, RICH, TIMINGS, answer, run
from inhouse.core import errors as e
from inhouse.core.events import (
    ChoiceEnd,
    Event,
    Finished,
    Notice,
    Progress,
    ReasoningDelta,
    Started,
    TextDelta,
    ToolCallDelta,
)
from inhouse.core.usage import Usage
from inhouse.dialects.anthropic import decode_count_tokens, decode_messages, render_error
from inhouse.dialects.anthropic.partial import arguments_of
from inhouse.dialects.anthropic.thinking import recover

EVENT: Any = TypeAdapter(RawMessageStreamEvent)
ASK: dict[str, Any] = {"model": "m", "max_tokens": 7, "messages": [{"role": "user", "content": "hi"}]}


def encoder(**more: Any) -> Any:
    return decode_messages(json.dumps(ASK | more).encode()).encoder


def events_of(raw: bytes) -> list[dict[str, Any]]:
    """The events of a stream; each has its name in its data too."""
    out = []
    for chunk in raw.decode().split("\n\n"):
        if not chunk or chunk.startswith(":"):
            continue
        name, data = chunk.split("\n")
        value = json.loads(data.removeprefix("data: "))
        assert name == f"event: {value['type']}"
        out.append(value)
    return out


def check_grammar(events: list[dict[str, Any]]) -> None:
    """message_start · (start · delta* · stop)* · message_delta · message_stop, with pings anywhere after."""
    assert events[0]["type"] == "message_start"
    assert events[1] == {"type": "ping"}
    rest = [event for event in events[1:] if event["type"] != "ping"]
    assert [event["type"] for event in rest[-2:]] == ["message_delta", "message_stop"]
    open_, following = None, 0
    signed = False
    for event in rest[:-2]:
        if event["type"] == "content_block_start":
            assert open_ is None
            assert event["index"] == following
            open_, following, signed = event["content_block"]["type"], following + 1, False
        else:
            assert open_ is not None
            assert event["index"] == following - 1
        if event["type"] == "content_block_delta":
            kind = event["delta"]["type"]
            assert not signed
            assert (
                kind
                in {
                    "text": ("text_delta",),
                    "thinking": ("thinking_delta", "signature_delta"),
                    "tool_use": ("input_json_delta",),
                }[open_ or ""]
            )
            signed = kind == "signature_delta"
        elif event["type"] == "content_block_stop":
            assert signed == (open_ == "thinking")
            open_ = None
    assert open_ is None


def accumulated(events: list[dict[str, Any]]) -> Message:
    """The message as the official client puts it together."""
    message: Any = None
    buffers: dict[int, bytes] = {}
    for event in events:
        if event["type"] != "ping":
            parsed = EVENT.validate_python(event)
            message = accumulate_event(event=parsed, current_snapshot=message, json_bufs=buffers)
    return message  # type: ignore[no-any-return]


def plain(message: Message) -> dict[str, Any]:
    """What streamed and whole must have in common."""
    found = message.to_dict()
    for block in found["content"]:
        block.pop("id", None)
    return {name: found[name] for name in ("content", "stop_reason", "stop_sequence", "usage", "model")}


def both(events: list[Event], **more: Any) -> dict[str, Any]:
    """The message of a script, the same streamed and whole."""
    raw = run(encoder(stream=True, **more), events)
    streamed = events_of(raw)
    check_grammar(streamed)
    whole = Message.model_validate(json.loads(run(encoder(**more), events)))
    assert plain(accumulated(streamed)) == plain(whole)
    return plain(whole)


def test_a_rich_answer_streamed_and_whole():
    found = both(RICH)
    assert [block["type"] for block in found["content"]] == ["thinking", "text", "tool_use", "tool_use"]
    assert found["content"][0]["thinking"] == "Let me think."
    assert found["content"][1]["text"] == "Grüße\u2028\u0085 “quoted”\n"
    assert found["content"][2]["input"] == {"city": "Köln"}
    assert found["stop_reason"] == "tool_use"


def test_the_parts_of_usage_add_up():
    found = json.loads(run(encoder(cache_control={"type": "ephemeral"}), RICH))["usage"]
    assert (found["input_tokens"], found["cache_creation_input_tokens"]) == (0, 7)
    assert found["cache_read_input_tokens"] == 4
    found = both(RICH)["usage"]
    assert found["input_tokens"] == 11
    assert found["cache_read_input_tokens"] == 0
    assert found["cache_creation_input_tokens"] == 0
    assert found["output_tokens"] == 7
    assert found["output_tokens_details"] == {"thinking_tokens": 2}
    assert found["service_tier"] == "standard"


@pytest.mark.parametrize(
    ("ttl", "field"), [("5m", "ephemeral_5m_input_tokens"), ("1h", "ephemeral_1h_input_tokens")]
)
def test_with_a_breakpoint_the_fresh_tokens_are_written_to_the_cache(ttl, field):
    body = json.loads(run(encoder(cache_control={"type": "ephemeral", "ttl": ttl}), RICH))
    usage = body["usage"]
    assert (usage["input_tokens"], usage["cache_creation_input_tokens"]) == (0, 7)
    assert usage["cache_creation"][field] == 7
    assert sum(usage["cache_creation"].values()) == 7


STOPS = {"stop_sequences": ["END"]}


@pytest.mark.parametrize(
    ("events", "used", "more", "want"),
    [
        ([TextDelta("a")], 3, {}, ("end_turn", None)),
        ([TextDelta("a"), ChoiceEnd("length")], 7, {}, ("max_tokens", None)),
        ([TextDelta("a"), ChoiceEnd("length")], 6, {}, ("model_context_window_exceeded", None)),
        ([TextDelta("a"), ChoiceEnd("stop", stop="END")], 3, STOPS, ("stop_sequence", "END")),
        ([TextDelta("a"), ChoiceEnd("stop", stop="<|im_end|>")], 3, STOPS, ("end_turn", None)),
        ([ToolCallDelta(0, "{}", "i", "f"), ChoiceEnd("tool_calls")], 3, {}, ("tool_use", None)),
        ([ToolCallDelta(0, "{}", "i", "f")], 3, {}, ("tool_use", None)),
        ([ToolCallDelta(0, '{"a', "i", "f"), ChoiceEnd("length")], 7, {}, ("max_tokens", None)),
        ([], 0, {"max_tokens": 0}, ("max_tokens", None)),
    ],
)
def test_why_an_answer_stopped(events, used, more, want):
    ends = [] if events and isinstance(events[-1], ChoiceEnd) else [ChoiceEnd("stop")]
    script = [Started(), *events, *ends, Finished(Usage(5, used), TIMINGS)]
    if "max_tokens" in more:
        found = json.loads(run(encoder(**more), script))
    else:
        found = both(script, **more)
    assert (found["stop_reason"], found["stop_sequence"]) == want


def test_an_empty_answer_has_no_blocks():
    assert both(answer(TextDelta("")))["content"] == []


def test_a_call_begins_with_an_empty_piece_of_input():
    streamed = events_of(run(encoder(stream=True), answer(ToolCallDelta(0, "{}", "i", "f"))))
    deltas = [event["delta"] for event in streamed if event["type"] == "content_block_delta"]
    assert [delta["partial_json"] for delta in deltas] == ["", "{}"]
    (start,) = [event for event in streamed if event["type"] == "content_block_start"]
    assert start["content_block"]["id"].startswith("toolu_")
    assert start["content_block"]["input"] == {}


def test_ids_of_calls_never_come_again():
    ids = set()
    for _ in range(3):
        body = json.loads(run(encoder(), answer(ToolCallDelta(0, "{}", "call_0", "f"))))
        ids.add(body["content"][0]["id"])
    assert len(ids) == 3


def test_thoughts_that_are_left_out_travel_in_the_signature():
    thinking = {"thinking": {"type": "adaptive", "display": "omitted"}}
    found = both(RICH, **thinking)["content"][0]
    assert found["thinking"] == ""
    assert recover(found["signature"]) == "Let me think."
    raw = run(encoder(stream=True, **thinking), RICH)
    assert b"thinking_delta" not in raw


def test_thoughts_that_are_shown_are_not_in_the_signature():
    assert recover(both(RICH)["content"][0]["signature"]) == ""


def test_the_start_knows_the_prompt_when_its_progress_is_known():
    stream = encoder(stream=True)
    assert stream.feed(Started()) == b""
    start = events_of(stream.feed(Progress(0, 10, 3)))[0]["message"]["usage"]
    assert (start["input_tokens"], start["cache_read_input_tokens"]) == (10, 0)
    assert stream.feed(Progress(5, 10)) == b": prefill 5/10\n\n"


def test_silence_is_filled_with_pings_after_the_start():
    stream = encoder(stream=True)
    assert [event["type"] for event in events_of(stream.keepalive())] == ["message_start", "ping"]
    assert stream.keepalive() == b'event: ping\ndata: {"type":"ping"}\n\n'
    check_grammar(events_of(b'event: message_start\ndata: {"type":"message_start"}\n\n' + stream.keepalive()
                            + run(stream, answer(TextDelta("x")))))  # fmt: skip
    assert encoder().keepalive() == b""


def test_what_was_asked_for_is_told_beside_the_message():
    more: dict[str, Any] = {"context_management": {"edits": []}, "diagnostics": {"previous_message_id": None}}
    whole = json.loads(run(encoder(**more), RICH))
    assert whole["context_management"] == {"applied_edits": []}
    assert whole["diagnostics"] == {"cache_miss_reason": {"type": "unavailable"}}
    assert whole["warnings"] == [{"code": "shortened", "message": "The oldest 2 messages were dropped."}]
    streamed = events_of(run(encoder(stream=True, **more), RICH))
    assert streamed[0]["message"]["diagnostics"] == whole["diagnostics"]
    assert streamed[-2]["context_management"] == whole["context_management"]
    assert streamed[-2]["warnings"] == whole["warnings"]


@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_without_an_end_is_an_error(stream):
    with pytest.raises(e.EngineError):
        run(encoder(stream=stream), [Started(), TextDelta("a"), FINISHED])


@pytest.mark.parametrize("stream", [True, False])
def test_an_engine_that_goes_back_to_a_call_is_an_error(stream):
    calls = [ToolCallDelta(0, "{", "a", "f"), ToolCallDelta(1, "{}", "b", "f"), ToolCallDelta(0, "}")]
    with pytest.raises(e.EngineError):
        run(encoder(stream=stream), answer(*calls))


def test_a_failure_amid_the_stream_is_an_event_and_the_end():
    stream = encoder(stream=True)
    run(stream, [Started(), TextDelta("a")])
    (told,) = events_of(stream.fail(e.WorkerDied("The engine died.", hint="Try again.", detail="/secret")))
    assert told == {
        "type": "error",
        "error": {"type": "api_error", "message": "The engine died. Try again."},
        "request_id": None,
    }
    assert json.loads(encoder().fail(e.QueueFull("full")))["error"]["type"] == "overloaded_error"


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (e.BadRequest("x"), 400, "invalid_request_error"),
        (e.Unsupported("x"), 400, "invalid_request_error"),
        (e.BodyTooLarge("x"), 413, "request_too_large"),
        (e.Unauthorized("x"), 401, "authentication_error"),
        (e.Forbidden("x"), 403, "permission_error"),
        (e.ModelNotFound("x"), 404, "not_found_error"),
        (e.Conflict("x"), 409, "invalid_request_error"),
        (e.QueueFull("x"), 529, "overloaded_error"),
        (e.OutOfMemory("x"), 529, "overloaded_error"),
        (e.Draining("x"), 529, "overloaded_error"),
        (e.DeadlineExceeded("x"), 504, "timeout_error"),
        (e.LoadFailed("x"), 500, "api_error"),
        (e.CrashLoop("x"), 529, "overloaded_error"),
        (e.StoreError("x"), 500, "api_error"),
        (e.InhouseError("x"), 500, "api_error"),
    ],
    ids=lambda value: getattr(value, "code", str(value)),
)
def test_every_error_has_its_status_and_type(error, status, kind):
    answered = render_error(error)
    assert answered.status == status
    assert json.loads(answered.body)["error"]["type"] == kind
    if isinstance(error, e.Busy):
        assert ("Retry-After", "1") in answered.headers


def test_programs_recognise_a_prompt_that_is_too_long():
    told = json.loads(render_error(e.ContextExceeded(9000, 8192)).body)["error"]
    assert told["message"] == "prompt is too long: 9000 tokens > 8192 maximum"


def test_names_of_other_rooms_become_those_of_this_api():
    error = e.Unsupported("It does not think", hint="Leave 'think' out.", param="think")
    told = json.loads(render_error(error).body)["error"]["message"]
    assert told == "thinking: It does not think. Leave 'thinking' out."


def test_a_count_is_one_number():
    body = {"model": "m", "messages": ASK["messages"]}
    count = decode_count_tokens(json.dumps(body).encode()).encoder
    assert json.loads(run(count, [Started(), FINISHED])) == {"input_tokens": 11}
    assert not count.streaming
    edits = decode_count_tokens(json.dumps({**body, "context_management": {}}).encode()).encoder
    assert json.loads(run(edits, [FINISHED]))["context_management"] == {"original_input_tokens": 11}


TEXTS = st.text(st.characters(codec="utf-8"), max_size=6)
SAYINGS = st.one_of(
    st.builds(TextDelta, TEXTS),
    st.builds(ReasoningDelta, TEXTS),
    st.builds(Notice, st.just("n"), TEXTS),
    st.builds(Progress, st.integers(0, 9), st.just(11), st.just(4)),
    st.just("call"),
)


def script(sayings: list[Any], inputs: list[dict[str, Any]]) -> list[Event]:
    """Events of an answer; each call is cut into three pieces."""
    middle: list[Event] = []
    for number, saying in enumerate(sayings):
        if saying != "call":
            middle.append(saying)
            continue
        whole = json.dumps(inputs[number % len(inputs)] if inputs else {}, ensure_ascii=False)
        third = len(whole) // 3
        call = sum(isinstance(event, ToolCallDelta) and event.id is not None for event in middle)
        middle.append(ToolCallDelta(call, whole[:third], f"c{call}", "f"))
        middle.append(ToolCallDelta(call, whole[third : 2 * third]))
        middle.append(ToolCallDelta(call, whole[2 * third :]))
    return answer(*middle)


@given(
    st.lists(SAYINGS, max_size=12),
    st.lists(
        st.dictionaries(TEXTS, TEXTS | st.integers(-99, 99) | st.lists(TEXTS, max_size=2), max_size=3),
        max_size=3,
    ),
)
def test_any_answer_keeps_the_grammar_and_is_the_same_whole(sayings, inputs):
    found = both(script(sayings, inputs))
    said = "".join(s.text for s in sayings if isinstance(s, TextDelta))
    assert "".join(block["text"] for block in found["content"] if block["type"] == "text") == said
    calls = [block for block in found["content"] if block["type"] == "tool_use"]
    assert len(calls) == sayings.count("call")


@pytest.mark.parametrize(
    ("cut", "want"),
    [
        ("", {}),
        ("{", {}),
        ('{"a', {}),
        ('{"a":', {}),
        ('{"a": "b', {}),
        ('{"a": "b"', {"a": "b"}),
        ('{"a": "b", "c": 1', {"a": "b"}),
        ('{"a": "b", "c": 1,', {"a": "b", "c": 1}),
        ('{"a": {"b": [1, "x\\"', {"a": {"b": [1]}}),
        ('{"a": {"b": [1, {"', {"a": {"b": [1, {}]}}),
        ('{"a": tru', {}),
        ('{"a": 1}', {"a": 1}),
        ("[1]", {}),
        ("null", {}),
        ("]]}", {}),
    ],
)
def test_arguments_that_were_cut_off_are_what_is_certain(cut, want):
    assert arguments_of(cut) == want


def test_arguments_cut_off_deep_inside_are_read_fast():
    before = time.process_time()
    assert arguments_of('{"a": 1, "b": ' + "[" * 20_000) == {}
    assert time.process_time() - before < 1


@given(
    st.dictionaries(TEXTS, TEXTS | st.integers() | st.booleans() | st.lists(st.dictionaries(TEXTS, TEXTS))),
    st.data(),
)
def test_cut_arguments_are_never_wrong(value, data):
    text = json.dumps(value)
    cut = arguments_of(text[: data.draw(st.integers(0, len(text)))])
    assert list(cut) == list(value)[: len(cut)]
    assert all(cut[key] == value[key] for key in list(cut)[:-1])
    assert arguments_of(text) == value
