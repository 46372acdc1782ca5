"""OpenAI's answers: read by the official client's types, and whole equal to the fold of the stream."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import pytest
from openai.types import Completion, CreateEmbeddingResponse, Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from dialects.answers_support import FINISHED, RICH, answer, body, run, token
from inhouse.core import errors as e
from inhouse.core.events import (
    ChoiceEnd,
    Event,
    Notice,
    Progress,
    ReasoningDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    Vector,
)
from inhouse.core.models import Card, Footprint, ModelName
from inhouse.dialects.openai import (
    decode_chat,
    decode_completions,
    decode_embeddings,
    render_error,
    render_model,
    render_models,
)

CHAT = {"model": "Name", "messages": [{"role": "user", "content": "hi"}]}
TEXT = {"model": "Name", "prompt": "Once"}
USAGE = {"stream_options": {"include_usage": True}}


def chunks(out: bytes) -> list[dict[str, Any]]:
    """Data of the events; the last one must be [DONE]."""
    events = out.decode().split("\n\n")
    assert events.pop() == ""
    data = [event[6:] for event in events if event.startswith("data: ")]
    assert data.pop() == "[DONE]"
    return [json.loads(one) for one in data]


def stream(events: list[Event], **more) -> list[dict[str, Any]]:
    return chunks(run(decode_chat(body(CHAT, {"stream": True}, more)).encoder, events))


def whole(events: list[Event], **more) -> dict[str, Any]:
    return json.loads(run(decode_chat(body(CHAT, more)).encoder, events))


def folded(parts: list[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """What a client makes of the chunks."""
    choices: dict[int, dict[str, Any]] = {}
    for part in parts:
        ChatCompletionChunk.model_validate(part, strict=False)
        for choice in part["choices"]:
            mine = choices.setdefault(
                choice["index"], {"content": "", "reasoning": "", "calls": {}, "probs": []}
            )
            delta = choice["delta"]
            mine["content"] += delta.get("content") or ""
            mine["reasoning"] += delta.get("reasoning_content") or ""
            assert delta.get("reasoning") == delta.get("reasoning_content")
            for call in delta.get("tool_calls", ()):
                known = mine["calls"].setdefault(call["index"], {"arguments": ""})
                known |= {k: call[k] for k in ("id", "type") if k in call}
                known |= {"name": call["function"]["name"]} if "name" in call["function"] else {}
                known["arguments"] += call["function"]["arguments"]
            mine["probs"] += (choice["logprobs"] or {}).get("content") or []
            if choice["finish_reason"]:
                assert "reason" not in mine
                mine["reason"] = choice["finish_reason"]
    return choices


def test_the_whole_answer_is_what_a_client_folds_from_the_stream():
    mine = folded(stream(RICH))[0]
    answer_ = whole(RICH)
    parsed = ChatCompletion.model_validate(answer_)
    message = answer_["choices"][0]["message"]
    assert parsed.choices[0].finish_reason == mine["reason"] == "tool_calls"
    assert message["content"] == mine["content"] == "Grüße\u2028\u0085 “quoted”\n"
    assert message["reasoning"] == message["reasoning_content"] == mine["reasoning"] == "Let me think."
    assert [
        (call["id"], call["type"], call["function"]["name"], call["function"]["arguments"])
        for call in message["tool_calls"]
    ] == [(c["id"], c["type"], c["name"], c["arguments"]) for c in mine["calls"].values()]
    assert json.loads(mine["calls"][0]["arguments"]) == {"city": "Köln"}
    assert answer_["warnings"] == [{"code": "shortened", "message": "The oldest 2 messages were dropped."}]
    assert answer_["model"] == "Name"
    assert answer_["usage"] == {
        "prompt_tokens": 11,
        "completion_tokens": 7,
        "total_tokens": 18,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 2},
    }


def test_no_client_that_splits_lines_can_break_a_chunk():
    out = run(decode_chat(body(CHAT, {"stream": True})).encoder, RICH)
    for line in out.decode().splitlines():
        assert line == "" or line.startswith((": ", "data: "))
        if line.startswith("data: {"):
            json.loads(line[6:])


def test_the_role_comes_first_and_once_for_each_choice():
    parts = stream(
        answer(TextDelta("a"), TextDelta("b", 1), ChoiceEnd("length", 1), TextDelta("c")), n=2, **USAGE
    )
    roles = [(p["choices"][0]["index"], p["choices"][0]["delta"].get("role")) for p in parts if p["choices"]]
    assert roles == [
        (0, "assistant"),
        (0, None),
        (1, "assistant"),
        (1, None),
        (1, None),
        (0, None),
        (0, None),
    ]
    assert {i: c["reason"] for i, c in folded(parts).items()} == {0: "stop", 1: "length"}


def test_an_answer_without_text_still_opens_and_closes():
    mine = folded(stream(answer()))[0]
    assert (mine["content"], mine["reason"]) == ("", "stop")
    assert whole(answer())["choices"][0]["message"]["content"] == ""


def test_usage_comes_last_when_asked_and_is_null_before():
    parts = stream(answer(TextDelta("a")), **USAGE)
    assert [p["usage"] for p in parts[:-1]] == [None] * (len(parts) - 1)
    assert parts[-1]["choices"] == []
    assert parts[-1]["usage"]["total_tokens"] == 18
    assert all("usage" not in p for p in stream(answer(TextDelta("a"))))


def test_ids_are_one_for_each_answer():
    first, second = stream(RICH), stream(RICH)
    assert len({p["id"] for p in first}) == 1
    assert first[0]["id"].startswith("chatcmpl-")
    assert first[0]["id"] != second[0]["id"]
    assert whole(RICH)["system_fingerprint"] == first[0]["system_fingerprint"]


def test_the_fingerprint_tells_builds_of_the_engine_apart():
    prints = set()
    for build in ("xllamacpp 1", "llama-server b2"):
        events = [Started(build=build), *answer(TextDelta("a"))[1:]]
        parts = stream(events)
        assert {p["system_fingerprint"] for p in parts} == {whole(events)["system_fingerprint"]}
        prints.add(parts[0]["system_fingerprint"])
    assert len(prints) == 2


def test_logprobs_are_the_same_in_both():
    events = answer(TextDelta("He", 0, (token("He"),)), TextDelta("y", 0, (token("y", float("-inf")),)))
    mine = folded(stream(events, logprobs=True, top_logprobs=2))[0]
    answer_ = whole(events, logprobs=True, top_logprobs=2)
    ChatCompletion.model_validate(answer_)
    content = answer_["choices"][0]["logprobs"]["content"]
    assert content == mine["probs"]
    assert content[0]["top_logprobs"][1] == {"token": "ä", "logprob": -9999.0, "bytes": [195, 164]}
    assert content[1]["logprob"] == -9999.0
    assert whole(answer(TextDelta("x")))["choices"][0]["logprobs"] is None


def test_a_tool_call_without_an_id_gets_one():
    events = answer(ToolCallDelta(0, "{}", name="f"), end=ChoiceEnd("tool_calls"))
    assert folded(stream(events))[0]["calls"][0]["id"].startswith("call_")
    answer_ = whole(events)["choices"][0]
    assert answer_["message"]["tool_calls"][0]["id"].startswith("call_")
    assert answer_["message"]["content"] is None
    assert answer_["finish_reason"] == "tool_calls"


@pytest.mark.parametrize("reason, shown", [("stop", "stop"), ("length", "length"), ("tool_calls", "stop")])
def test_a_reason_never_promises_calls_that_are_not_there(reason, shown):
    events = answer(TextDelta("a"), end=ChoiceEnd(reason))
    assert whole(events)["choices"][0]["finish_reason"] == folded(stream(events))[0]["reason"] == shown


CUSTOM = {
    "tools": [{"type": "custom", "custom": {"name": "c"}}, {"type": "function", "function": {"name": "f"}}]
}


def deltas(parts: list[dict[str, Any]], name: str) -> list[Any]:
    found = [p["choices"][0]["delta"].get(name) for p in parts if p["choices"]]
    return [one for one in found if one is not None]


def test_calls_of_custom_tools_are_texts_in_both():
    events = answer(
        ToolCallDelta(0, '{"inp', "x", "c"),
        ToolCallDelta(0, 'ut": "a\\'),
        ToolCallDelta(0, "n\\ud83d"),
        ToolCallDelta(0, '\\ude00"'),
        ToolCallDelta(0, "}"),
        ToolCallDelta(1, '{"a": 1}', "y", "f"),
        end=ChoiceEnd("tool_calls"),
    )
    first, second = whole(events, **CUSTOM)["choices"][0]["message"]["tool_calls"]
    assert first == {"id": "x", "type": "custom", "custom": {"name": "c", "input": "a\n😀"}}
    assert second["function"] == {"name": "f", "arguments": '{"a": 1}'}
    parts = stream(events, **CUSTOM)
    calls = [call for (call,) in deltas(parts, "tool_calls")]
    assert calls[0] == {"index": 0, "id": "x", "type": "custom", "custom": {"name": "c", "input": ""}}
    assert "".join(c["custom"]["input"] for c in calls if "custom" in c) == "a\n😀"
    assert parts[-1]["choices"][0]["finish_reason"] == "tool_calls"
    assert deltas(parts, "content") == []


def test_a_custom_call_of_another_form_is_not_lost():
    events = answer(ToolCallDelta(0, "just text", "x", "c"), end=ChoiceEnd("tool_calls"))
    assert whole(events, **CUSTOM)["choices"][0]["message"]["tool_calls"][0]["custom"]["input"] == "just text"
    calls = [call for (call,) in deltas(stream(events, **CUSTOM), "tool_calls")]
    assert "".join(call["custom"]["input"] for call in calls) == "just text"


OLD = {"functions": [{"name": "f"}]}


def test_calls_of_the_old_way_in_both():
    events = answer(
        ToolCallDelta(0, '{"a"', "x", "f"),
        ToolCallDelta(0, ": 1}"),
        ToolCallDelta(1, "{}", "y", "f"),
        end=ChoiceEnd("tool_calls"),
    )
    choice = whole(events, **OLD)["choices"][0]
    assert choice["message"]["function_call"] == {"name": "f", "arguments": '{"a": 1}'}
    assert "tool_calls" not in choice["message"]
    parts = stream(events, **OLD)
    assert deltas(parts, "function_call") == [
        {"name": "f", "arguments": '{"a"'},
        {"arguments": ": 1}"},
    ]
    assert choice["finish_reason"] == parts[-1]["choices"][0]["finish_reason"] == "function_call"
    ChatCompletion.model_validate(whole(events, **OLD))


def test_the_content_is_null_only_where_there_are_calls_alone():
    called = answer(ToolCallDelta(0, "{}", "x", "f"), end=ChoiceEnd("tool_calls"))
    assert stream(called)[0]["choices"][0]["delta"] == {"role": "assistant", "content": None, "refusal": None}
    assert whole(called)["choices"][0]["message"]["content"] is None
    thought = answer(ReasoningDelta("hm"))
    assert deltas(stream(thought), "content") == [""]
    assert whole(thought)["choices"][0]["message"]["content"] == ""
    spoken = answer(ReasoningDelta("hm"), TextDelta("a"))
    assert deltas(stream(spoken), "content") == ["a"]
    assert deltas(stream(answer(TextDelta("a"))), "content") == ["", "a"]


PADDED = {"stream_options": {"include_obfuscation": True, "include_usage": True}}


@pytest.mark.parametrize("decode, base", [(decode_chat, CHAT), (decode_completions, TEXT)])
def test_padded_chunks_have_few_sizes(decode, base):
    events = answer(*(TextDelta("x" * i) for i in range(40)))
    out = run(decode(body(base, {"stream": True}, PADDED)).encoder, events)
    parts = chunks(out)
    assert all(part["obfuscation"].isalnum() or part["obfuscation"] == "" for part in parts[:-1])
    assert "obfuscation" not in parts[-1]
    sizes = [len(one) for one in out.split(b"\n\n") if b"obfuscation" in one]
    assert len({size % 32 for size in sizes}) == 1
    assert folded_text(parts) == "".join("x" * i for i in range(40))


def folded_text(parts: list[dict[str, Any]]) -> str:
    choices = [part["choices"][0] for part in parts if part["choices"]]
    return "".join(c["text"] if "text" in c else c["delta"].get("content") or "" for c in choices)


def test_metadata_is_told_of_what_is_kept():
    sent = {"store": True, "metadata": {"a": "b"}}
    assert ChatCompletion.model_validate(whole(RICH, **sent)).metadata == {"a": "b"}
    assert "metadata" not in whole(RICH, metadata={"a": "b"})


def test_progress_and_silence_are_comments():
    encoder = decode_chat(body(CHAT, {"stream": True})).encoder
    assert encoder.feed(Progress(512, 4096)) == b": prefill 512/4096\n\n"
    assert encoder.keepalive() == b": keep-alive\n\n"
    assert (encoder.media_type, encoder.streaming) == ("text/event-stream", True)


def test_a_whole_answer_sends_nothing_before_its_end():
    encoder = decode_chat(body(CHAT)).encoder
    assert [encoder.feed(event) for event in RICH[:-1]] == [b""] * (len(RICH) - 1)
    assert encoder.keepalive() == b""
    assert (encoder.media_type, encoder.streaming) == ("application/json", False)
    ChatCompletion.model_validate_json(encoder.feed(FINISHED))


def test_a_failure_ends_the_stream_without_pretending():
    encoder = decode_chat(body(CHAT, {"stream": True})).encoder
    sent = run(encoder, RICH[:5])
    last = encoder.fail(e.WorkerDied("The engine stopped.", hint="Try again.", detail="/tmp/secret"))
    assert json.loads(last[6:]) == {
        "error": {
            "message": "The engine stopped. Try again.",
            "type": "server_error",
            "param": None,
            "code": "worker_died",
        }
    }
    assert b"[DONE]" not in sent + last
    assert b'"finish_reason":"' not in sent + last
    assert json.loads(decode_chat(body(CHAT)).encoder.fail(e.Busy("Busy.")))["error"]["message"] == "Busy."


@pytest.mark.parametrize("streaming", [True, False])
def test_an_end_with_an_open_choice_is_an_error(streaming):
    encoder = decode_chat(body(CHAT, {"stream": streaming, "n": 2})).encoder
    with pytest.raises(e.EngineError):
        run(encoder, answer(TextDelta("a"), TextDelta("b", 1)))


def test_a_late_notice_is_not_lost():
    encoder = decode_chat(body(CHAT, {"stream": True})).encoder
    late = [*answer(TextDelta("a"))[:-1], Notice("late", "x"), FINISHED]
    assert b': warning {"code":"late","message":"x"}\n\n' in run(encoder, late)


def completion(events: list[Event], **more) -> dict[str, Any]:
    answer_ = json.loads(run(decode_completions(body(TEXT, more)).encoder, events))
    Completion.model_validate(answer_)
    return answer_


def test_completions_stream_the_same_as_whole():
    events = answer(
        TextDelta("Once"),
        TextDelta(" up", 0, (token(" up"),)),
        TextDelta("on", 0, (token("on"),)),
        TextDelta("b", 1, (token("b"),)),
        ChoiceEnd("length", 1),
    )
    more = {"n": 2, "logprobs": 1, "echo": True}
    answer_ = completion(events, **more)
    parts = chunks(run(decode_completions(body(TEXT, more, {"stream": True}, USAGE)).encoder, events))
    texts, probs, reasons = {0: "", 1: ""}, {0: [], 1: []}, {}
    for part in parts:
        Completion.model_validate(part | {"choices": []})
        assert part["object"] == "text_completion"
        for choice in part["choices"]:
            texts[choice["index"]] += choice["text"]
            reasons[choice["index"]] = choice["finish_reason"]
            if choice["logprobs"]:
                probs[choice["index"]] += choice["logprobs"]["text_offset"]
    assert texts == {0: "Once upon", 1: "b"} == {c["index"]: c["text"] for c in answer_["choices"]}
    assert reasons == {0: "stop", 1: "length"} == {c["index"]: c["finish_reason"] for c in answer_["choices"]}
    assert probs == {0: [4, 7], 1: [0]}
    logprobs = answer_["choices"][0]["logprobs"]
    assert logprobs == {
        "tokens": [" up", "on"],
        "token_logprobs": [-0.5, -0.5],
        "top_logprobs": [{" up": -0.5}, {"on": -0.5}],
        "text_offset": [4, 7],
    }
    assert answer_["id"].startswith("cmpl-")
    assert parts[-1]["usage"]["completion_tokens"] == 7


def test_completions_without_logprobs_have_null():
    events = answer(TextDelta("a"))
    assert completion(events)["choices"][0]["logprobs"] is None
    with_tokens = answer(TextDelta("a", 0, (token("a"),)))
    assert completion(with_tokens, logprobs=0)["choices"][0]["logprobs"]["top_logprobs"] is None


def embeddings(**more) -> dict[str, Any]:
    encoder = decode_embeddings(body({"model": "m", "input": ["a", "b"]}, more)).encoder
    return json.loads(run(encoder, [Vector(1, (0.5, -1.0)), Vector(0, (0.25, 2.0)), FINISHED]))


def test_embeddings_come_in_the_order_of_the_inputs():
    answer_ = embeddings()
    CreateEmbeddingResponse.model_validate(answer_)
    assert [d["embedding"] for d in answer_["data"]] == [[0.25, 2.0], [0.5, -1.0]]
    assert answer_["usage"] == {"prompt_tokens": 11, "total_tokens": 11}


def test_base64_embeddings_are_little_endian_floats():
    data = embeddings(encoding_format="base64")["data"]
    assert struct.unpack("<2f", base64.b64decode(data[1]["embedding"])) == (0.5, -1.0)


def card(name: str, at: float = 1_700_000_000.5) -> Card:
    return Card(ModelName.parse(name), "0" * 64, "w", "1" * 64, 5, Footprint(1, 1), modified_at=at)


def test_models_are_listed_by_their_full_names():
    listed = json.loads(render_models([card("smollm2"), card("hf.co/ann/x:q4")]))
    models = [Model.model_validate(one) for one in listed["data"]]
    assert [(m.id, m.owned_by, m.created) for m in models] == [
        ("smollm2:latest", "library", 1_700_000_000),
        ("hf.co/ann/x:q4", "ann", 1_700_000_000),
    ]
    assert json.loads(render_model(card("smollm2"))) == listed["data"][0]


@pytest.mark.parametrize(
    "error, status, kind, code, headers",
    [
        (e.BadRequest("x", param="n"), 400, "invalid_request_error", "invalid_request", {}),
        (e.ContextExceeded(9, 8), 400, "invalid_request_error", "context_length_exceeded", {}),
        (e.InvalidName("x"), 400, "invalid_request_error", "invalid_model_name", {}),
        (e.BodyTooLarge("x"), 413, "invalid_request_error", "body_too_large", {}),
        (
            e.Unauthorized("x"),
            401,
            "invalid_request_error",
            "invalid_api_key",
            {"WWW-Authenticate": "Bearer"},
        ),
        (e.Forbidden("x"), 403, "permission_error", "forbidden", {}),
        (e.ModelNotFound("m"), 404, "invalid_request_error", "model_not_found", {}),
        (e.Conflict("x"), 409, "invalid_request_error", "conflict", {}),
        (e.QueueFull("x"), 429, "rate_limit_error", "rate_limit_exceeded", {"Retry-After": "1"}),
        (e.Busy("x", retry_after=2.5), 429, "rate_limit_error", "rate_limit_exceeded", {"Retry-After": "3"}),
        (e.OutOfMemory("x"), 503, "server_error", "out_of_memory", {"Retry-After": "1"}),
        (e.DeadlineExceeded("x"), 503, "server_error", "deadline_exceeded", {"Retry-After": "1"}),
        (e.Draining("x"), 503, "server_error", "draining", {"Retry-After": "1"}),
        (e.CrashLoop("x", retry_after=30), 503, "server_error", "crash_loop", {"Retry-After": "30"}),
        (e.LoadFailed("x"), 503, "server_error", "load_failed", {}),
        (e.WorkerDied("x"), 500, "server_error", "worker_died", {}),
        (e.WorkerHung("x"), 500, "server_error", "worker_hung", {}),
        (e.NoSpace("x"), 507, "server_error", "no_space", {}),
        (e.SourceFailed("x"), 502, "server_error", "source_failed", {}),
        (e.Cancelled("x"), 499, "request_cancelled", "cancelled", {}),
        (e.InhouseError("x"), 500, "server_error", "internal_error", {}),
    ],
)
def test_errors_have_openais_shape(error, status, kind, code, headers):
    shown = render_error(error)
    assert (shown.status, dict(shown.headers)) == (status, headers)
    inner = json.loads(shown.body)["error"]
    assert set(inner) == {"message", "type", "param", "code"}
    assert (inner["type"], inner["code"], inner["param"]) == (kind, code, error.param)


def test_both_numbers_are_in_the_message_of_a_long_prompt():
    message = json.loads(render_error(e.ContextExceeded(6031, 4096)).body)["error"]["message"]
    assert "6031" in message
    assert "4096" in message
    assert "larger context" in message


def test_details_are_never_sent():
    error = e.LoadFailed("It did not start.", hint="Look at the log.", detail="/home/ann/.inhouse secret")
    assert b"secret" not in render_error(error).body
