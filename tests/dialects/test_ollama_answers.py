"""Ollama's answers: read by the official client's types, and whole equal to the fold of the stream."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import ollama
import pytest

from dialects.answers_support import FINISHED, RICH, TIMINGS, USAGE, answer, body, run, token
from inhouse.core import errors as e
from inhouse.core.events import (
    ChoiceEnd,
    Event,
    Finished,
    Notice,
    Progress,
    Rendered,
    Started,
    TextDelta,
    ToolCallDelta,
    Vector,
)
from inhouse.core.models import Card, Footprint, ModelName
from inhouse.core.usage import Timings
from inhouse.dialects.ollama import (
    Loaded,
    PullEncoder,
    decode_chat,
    decode_embed,
    decode_embeddings,
    decode_generate,
    render_error,
    render_ps,
    render_show,
    render_tags,
    render_version,
)
from inhouse.dialects.ollama.times import Stamper, load_duration, nanoseconds, stamp

CHAT = {"model": "Name", "messages": [{"role": "user", "content": "hi"}]}
GENERATE = {"model": "Name", "prompt": "Why?"}
FIGURES = {
    "total_duration": 2_000_000_000,
    "load_duration": 1_500_000_000,
    "prompt_eval_count": 11,
    "prompt_eval_cached_count": 4,
    "prompt_eval_duration": 250_000_000,
    "eval_count": 7,
    "eval_duration": 125_000_000,
}


def lines(out: bytes) -> list[dict[str, Any]]:
    shown = out.decode()
    assert shown.endswith("\n")
    return [json.loads(line) for line in shown.splitlines()]


def stream(decode, base, events: list[Event], **more) -> list[dict[str, Any]]:
    return lines(run(decode(body(base, more)).encoder, events))


def whole(decode, base, events: list[Event], **more) -> dict[str, Any]:
    return json.loads(run(decode(body(base, {"stream": False}, more)).encoder, events))


def ids_hidden(calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
    assert all(re.fullmatch(r"call_\w{8}", call["id"]) for call in calls)
    return [call["function"] for call in calls]


def test_the_whole_chat_is_what_a_client_folds_from_the_stream():
    parts = stream(decode_chat, CHAT, RICH)
    content, thinking, calls = "", "", []
    for part in parts:
        ollama.ChatResponse.model_validate(part)
        assert part["model"] == "Name"
        content += part["message"]["content"]
        thinking += part["message"].get("thinking", "")
        calls += part["message"].get("tool_calls", [])
    answer_ = whole(decode_chat, CHAT, RICH)
    ollama.ChatResponse.model_validate(answer_)
    message = answer_["message"]
    assert message["role"] == "assistant"
    assert message["content"] == content == "Grüße\u2028\u0085 “quoted”\n"
    assert message["thinking"] == thinking == "Let me think."
    assert ids_hidden(message["tool_calls"]) == ids_hidden(calls)
    assert ids_hidden(calls) == [
        {"index": 0, "name": "weather", "arguments": {"city": "Köln"}},
        {"index": 1, "name": "time", "arguments": {}},
    ]
    assert [p["done"] for p in parts] == [False] * (len(parts) - 1) + [True]
    for last in (parts[-1], answer_):
        assert last["done_reason"] == "stop"
        assert last.items() >= FIGURES.items()
        assert last["warnings"] == [{"code": "shortened", "message": "The oldest 2 messages were dropped."}]
        assert "context" not in last


def test_the_whole_generation_is_what_a_client_folds_from_the_stream():
    parts = stream(decode_generate, GENERATE, RICH)
    for part in parts:
        ollama.GenerateResponse.model_validate(part)
    answer_ = whole(decode_generate, GENERATE, RICH)
    ollama.GenerateResponse.model_validate(answer_)
    assert answer_["response"] == "".join(p["response"] for p in parts)
    assert answer_["thinking"] == "".join(p.get("thinking", "") for p in parts)
    assert ids_hidden(answer_["tool_calls"]) == ids_hidden(
        [c for p in parts for c in p.get("tool_calls", [])]
    )
    assert answer_["context"] == parts[-1]["context"] == [1, 2, 3]
    assert answer_.items() >= FIGURES.items()


@pytest.mark.parametrize("more", [{"raw": True}, {"suffix": "end"}])
def test_raw_answers_have_no_context(more):
    assert "context" not in stream(decode_generate, GENERATE, answer(TextDelta("a")), **more)[-1]


def test_a_tool_call_goes_out_as_soon_as_the_next_one_begins():
    encoder = decode_chat(body(CHAT)).encoder
    assert encoder.feed(ToolCallDelta(0, '{"a"', "x", "f")) == b""
    assert encoder.feed(ToolCallDelta(0, ":1}")) == b""
    (first,) = lines(encoder.feed(ToolCallDelta(1, "", "y", "g")))
    assert ids_hidden(first["message"]["tool_calls"]) == [{"index": 0, "name": "f", "arguments": {"a": 1}}]
    (second,) = lines(encoder.feed(ChoiceEnd("tool_calls")))
    assert ids_hidden(second["message"]["tool_calls"]) == [{"index": 1, "name": "g", "arguments": {}}]
    assert lines(encoder.feed(FINISHED))[0]["done_reason"] == "stop"


@pytest.mark.parametrize("text", ['{"a": ', "[1]", "5", "[" * 100_000])
def test_arguments_that_are_no_object_are_kept(text):
    events = answer(ToolCallDelta(0, text, "x", "f"))
    (call,) = whole(decode_chat, CHAT, events)["message"]["tool_calls"]
    assert call["function"]["arguments"] == {"raw": text}


def test_logprobs_are_the_same_in_both():
    events = answer(TextDelta("He", 0, (token("He"),)), TextDelta("y", 0, (token("y"),)))
    for decode, base in ((decode_chat, CHAT), (decode_generate, GENERATE)):
        parts = stream(decode, base, events, logprobs=True)
        told = [one for part in parts for one in part.get("logprobs", [])]
        assert told == whole(decode, base, events, logprobs=True)["logprobs"]
        assert told[0] == {
            "token": "He",
            "logprob": -0.5,
            "bytes": [72, 101],
            "top_logprobs": [
                {"token": "He", "logprob": -0.5, "bytes": [72, 101]},
                {"token": "ä", "logprob": -9999.0, "bytes": [195, 164]},
            ],
        }


def test_a_cut_answer_says_length():
    events = answer(TextDelta("a"), end=ChoiceEnd("length"))
    assert stream(decode_chat, CHAT, events)[-1]["done_reason"] == "length"
    assert whole(decode_chat, CHAT, events)["done_reason"] == "length"


def test_silence_is_filled_with_empty_pieces_that_tell_the_progress():
    encoder = decode_chat(body(CHAT)).encoder
    (silent,) = lines(encoder.keepalive())
    ollama.ChatResponse.model_validate(silent)
    assert (silent["message"]["content"], silent["done"]) == ("", False)
    assert encoder.feed(Progress(512, 4096)) == b""
    assert lines(encoder.keepalive())[0]["progress"] == {"processed": 512, "total": 4096}
    assert decode_chat(body(CHAT, {"stream": False})).encoder.keepalive() == b""
    assert encoder.media_type == "application/x-ndjson"


def test_a_failure_is_the_last_line_and_nothing_half_goes_out():
    encoder = decode_chat(body(CHAT)).encoder
    sent = run(encoder, [TextDelta("a"), ToolCallDelta(0, '{"a"', "x", "f")])
    last = encoder.fail(e.WorkerDied("The engine stopped.", hint="Try again.", detail="/tmp/secret"))
    assert lines(last) == [{"error": "The engine stopped. Try again."}]
    assert b"tool_calls" not in sent
    assert b'"done":true' not in sent
    whole_ = decode_chat(body(CHAT, {"stream": False})).encoder
    assert json.loads(whole_.fail(e.Busy("Busy."))) == {"error": "Busy."}


@pytest.mark.parametrize("streaming", [True, False])
def test_an_end_without_a_reason_is_an_error(streaming):
    encoder = decode_chat(body(CHAT, {"stream": streaming})).encoder
    with pytest.raises(e.EngineError):
        run(encoder, [TextDelta("a"), FINISHED])


@pytest.mark.parametrize("keep_alive, reason", [(None, "load"), (60, "load"), (0, "unload")])
def test_loading_and_unloading_are_answered_at_once(keep_alive, reason):
    for decode, kind in ((decode_chat, ollama.ChatResponse), (decode_generate, ollama.GenerateResponse)):
        encoder = decode(body({"model": "m", "keep_alive": keep_alive})).encoder
        told = json.loads(run(encoder, answer(end=ChoiceEnd(reason))))
        kind.model_validate(told)
        assert (told["done"], told["done_reason"]) == (True, reason)
        assert told.get("response", told.get("message", {}).get("content")) == ""


def test_embeddings():
    encoder = decode_embed(body({"model": "m", "input": ["a", "b"]})).encoder
    told = json.loads(run(encoder, [Notice("cut", "x"), Vector(1, (0.5,)), Vector(0, (0.25,)), FINISHED]))
    ollama.EmbedResponse.model_validate(told)
    assert told["embeddings"] == [[0.25], [0.5]]
    assert (told["prompt_eval_count"], told["total_duration"]) == (11, 2_000_000_000)
    assert told["warnings"] == [{"code": "cut", "message": "x"}]
    empty = json.loads(run(decode_embed(body({"model": "m", "input": ""})).encoder, [FINISHED]))
    assert empty["embeddings"] == []
    assert json.loads(encoder.fail(e.ModelNotFound("m")))["error"].endswith("try pulling it first")
    assert encoder.keepalive() == b""


def test_the_old_embeddings():
    encoder = decode_embeddings(body({"model": "m", "prompt": "a"})).encoder
    told = json.loads(run(encoder, [Vector(0, (0.25,)), FINISHED]))
    ollama.EmbeddingsResponse.model_validate(told)
    assert told == {"embedding": [0.25]}
    empty = decode_embeddings(body({"model": "m", "prompt": ""})).encoder
    assert json.loads(run(empty, [FINISHED])) == {"embedding": []}


NOW = 1_700_000_000.25


def card(name: str, at: float = NOW, **more) -> Card:
    facts = {
        "capabilities": frozenset({"completion", "chat", "tools"}),
        "family": "llama",
        "parameters": 134_515_008,
        "quantization": "Q4_1",
        "modified_at": at,
    }
    return Card(ModelName.parse(name), "0" * 64, "/w", "1" * 64, 99, Footprint(1, 1), **(facts | more))


def test_tags_are_newest_first():
    told = json.loads(render_tags([card("old", NOW - 5), card("new")]))
    models = ollama.ListResponse.model_validate(told).models
    assert [m.model for m in models] == ["new:latest", "old:latest"]
    assert models[0].modified_at == datetime.fromtimestamp(NOW, UTC)
    assert models[0].digest == "0" * 64
    assert models[0].details.parameter_size == "134.52M"
    assert told["models"][0]["capabilities"] == ["completion", "tools"]
    assert "/w" not in json.dumps(told)


def test_ps_puts_what_stays_longest_first():
    soon = datetime.fromtimestamp(NOW, UTC)
    loaded = [
        Loaded(card("a"), soon, 10, 5, 2048, {"slots": 4, "size": 0}),
        Loaded(card("b"), None, 20, 0, 4096),
        Loaded(card("c"), soon + timedelta(hours=1), 30, 0, 4096),
    ]
    told = json.loads(render_ps(loaded))
    models = ollama.ProcessResponse.model_validate(told).models
    assert [m.name for m in models] == ["b:latest", "c:latest", "a:latest"]
    assert models[0].expires_at.year == 9999
    assert models[2].expires_at == soon
    assert (models[2].size, models[2].size_vram, models[2].context_length) == (10, 5, 2048)
    assert told["models"][2]["slots"] == 4


def test_show_hides_long_arrays_unless_asked():
    metadata = {
        "general.name": "x",
        "tokenizer.chat_template": "{{ }}",
        "tokenizer.ggml.tokens": ["a"] * 100,
        "rope.sections": [1, 2],
        "llama.context_length": 2048,
    }
    facts = card("m", metadata=metadata, template="{{ .Prompt }}", licence="MIT", system="Be brief.")
    tensors = [{"name": "t", "type": "F32", "shape": [2]}]
    told = json.loads(render_show(facts, modelfile="FROM x", parameters="stop x", tensors=tensors))
    shown = ollama.ShowResponse.model_validate(told)
    assert told["model_info"] == {
        "tokenizer.ggml.tokens": None,
        "rope.sections": [1, 2],
        "llama.context_length": 2048,
    }
    assert (shown.license, shown.modelfile, shown.parameters) == ("MIT", "FROM x", "stop x")
    assert (shown.template, told["system"], told["tensors"]) == ("{{ .Prompt }}", "Be brief.", tensors)
    verbose = json.loads(render_show(facts, verbose=True))
    assert len(verbose["model_info"]["tokenizer.ggml.tokens"]) == 100
    assert json.loads(render_show(card("bare")))["model_info"] == {}


def test_version():
    told = json.loads(render_version("0.1.0", {"engine": "llama.cpp (wheel)", "engine_build": "b1"}))
    assert (told["inhouse"], told["engine_build"]) == ("0.1.0", "b1")
    assert tuple(map(int, told["version"].split("."))) >= (0, 6, 4), "what Copilot's client asks for"


def test_a_pull_is_a_line_for_each_step_or_only_the_last():
    steps = [("pulling manifest",), ("pulling abc", "sha256:abc", 10, 0), ("success",)]
    told = PullEncoder()
    parts = lines(b"".join(told.feed(*step) for step in steps) + told.finish())
    assert parts[1] == {"status": "pulling abc", "digest": "sha256:abc", "total": 10, "completed": 0}
    assert ollama.ProgressResponse.model_validate(parts[2]).status == "success"
    assert lines(told.fail(e.NoSpace("The disk is full."))) == [{"error": "The disk is full."}]
    quiet = PullEncoder(stream=False)
    assert b"".join(quiet.feed(*step) for step in steps) == b""
    assert json.loads(quiet.finish()) == {"status": "success"}
    assert (quiet.media_type, told.media_type) == ("application/json", "application/x-ndjson")


@pytest.mark.parametrize(
    "error, route, status, text, headers",
    [
        (e.BadRequest("It is bad.", hint="Mend it."), "", 400, "It is bad. Mend it.", {}),
        (e.BadRequest("missing request body"), "", 400, "missing request body", {}),
        (e.BodyTooLarge("big"), "", 413, "big", {}),
        (e.Unauthorized("key"), "", 401, "key", {"WWW-Authenticate": "Bearer"}),
        (e.Forbidden("host"), "", 403, "host", {}),
        (e.ModelNotFound("x"), "", 404, "model 'x' not found", {}),
        (e.ModelNotFound("x"), "embed", 404, 'model "x" not found, try pulling it first', {}),
        (e.ModelNotFound("x"), "copy", 404, 'model "x" not found', {}),
        (e.Conflict("now"), "", 409, "now", {}),
        (e.Cancelled("left"), "", 499, "request canceled", {}),
        (
            e.QueueFull("full", retry_after=2),
            "",
            503,
            "server busy, please try again.  maximum pending requests exceeded",
            {"Retry-After": "2"},
        ),
        (e.DeadlineExceeded("late"), "", 503, "late", {"Retry-After": "1"}),
        (e.CrashLoop("again", retry_after=9), "", 503, "again", {"Retry-After": "9"}),
        (e.LoadFailed("no"), "", 500, "no", {}),
        (e.NoSpace("disk"), "", 507, "disk", {}),
        (e.InhouseError("odd"), "", 500, "odd", {}),
    ],
)
def test_errors_have_ollamas_texts(error, route, status, text, headers):
    shown = render_error(error, route=route)
    assert (shown.status, json.loads(shown.body), dict(shown.headers)) == (status, {"error": text}, headers)


def test_what_a_model_lacks_is_said_in_ollamas_words_and_no_more():
    shown = render_error(e.Unsupported('"m" does not support thinking', hint="Leave it out.", param="think"))
    assert json.loads(shown.body) == {"error": '"m" does not support thinking'}
    assert (shown.status, dict(shown.headers)) == (400, {"x-inhouse-hint": "Leave it out."})


@pytest.mark.parametrize("route", ["embed", "embeddings"])
def test_an_input_of_which_nothing_is_left_has_its_own_text(route):
    text = json.loads(render_error(e.ContextExceeded(8, 1, param="input"), route=route).body)["error"]
    assert text == "input after truncation exceeds maximum context length"


@pytest.mark.parametrize("decode, base", [(decode_chat, CHAT), (decode_generate, GENERATE)])
@pytest.mark.parametrize("images", [0, 2])
def test_a_rendering_is_shown_as_ollama_shows_it(decode, base, images):
    encoder = decode(json.dumps({**base, "_debug_render_only": True}).encode()).encoder
    said = [Started(), Rendered("<user>hi", images), Finished(USAGE, TIMINGS)]
    shown = json.loads(run(encoder, said))
    assert shown.pop("created_at")
    counted = {"image_count": images} if images else {}
    piece = {"message": {"role": "assistant", "content": ""}} if decode is decode_chat else {"response": ""}
    info = {"rendered_template": "<user>hi", **counted}
    assert shown == {"model": "Name", **piece, "done": False, "_debug_info": info}


def test_a_rendering_without_a_prompt_is_an_error():
    encoder = decode_chat(json.dumps({**CHAT, "_debug_render_only": True}).encode()).encoder
    with pytest.raises(e.EngineError, match="rendered no prompt"):
        run(encoder, [Started(), Finished(USAGE, TIMINGS)])


def test_a_long_prompt_is_told_with_both_numbers():
    error = e.ContextExceeded(6031, 4096)
    for route in ("", "embed"):
        text = json.loads(render_error(error, route=route).body)["error"]
        assert "6031" in text
        assert "4096" in text
    assert text.startswith("the input length exceeds the context length")


def test_times():
    ticks = iter([1_700_000_000_000_000_001, 1_700_000_000_999_999_999, 1_700_000_001_000_000_000])
    stamper = Stamper(lambda: next(ticks))
    assert [stamper() for _ in range(3)] == [
        b"2023-11-14T22:13:20.000000001Z",
        b"2023-11-14T22:13:20.999999999Z",
        b"2023-11-14T22:13:21.000000000Z",
    ]
    assert stamp(datetime(2026, 1, 2, tzinfo=UTC)) == "2026-01-02T00:00:00.000000000Z"
    assert stamp(None).startswith("9999")
    assert (nanoseconds(1.5), nanoseconds(-1)) == (1_500_000_000, 0)


@pytest.mark.parametrize(
    ("timings", "count"),
    [(Timings(), 1), (Timings(load=1.0), 10**9), (Timings(load=1.0, queue=0.25), 1_250_000_000)],
)
def test_the_load_duration_is_the_whole_wait_and_never_reads_as_missing(timings: Timings, count: int) -> None:
    assert load_duration(timings) == count
