"""Answers of the Responses API: the order of events, and that the stream and the whole say the same."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from dialects.answers_support import FINISHED, RICH, answer, token
from dialects.responses_support import CUSTOM, FUNCTION, encoder, order, sent, stream, whole
from inhouse.core.errors import ContextExceeded, EngineError, QueueFull
from inhouse.core.events import (
    ChoiceEnd,
    Event,
    Notice,
    Progress,
    ReasoningDelta,
    Started,
    TextDelta,
    ToolCallDelta,
)
from inhouse.dialects.openai.responses import render_error

EVENTS = TypeAdapter(ResponseStreamEvent)
# One letter an event: the grammar of a whole stream.
LETTERS = {
    "response.created": "C",
    "response.queued": "Q",
    "response.in_progress": "I",
    "response.output_item.added": "A",
    "response.output_item.done": "D",
    "response.content_part.added": "p",
    "response.content_part.done": "q",
    "response.output_text.delta": "t",
    "response.output_text.done": "u",
    "response.reasoning_text.delta": "r",
    "response.reasoning_text.done": "s",
    "response.reasoning_summary_part.added": "m",
    "response.reasoning_summary_part.done": "n",
    "response.reasoning_summary_text.delta": "v",
    "response.reasoning_summary_text.done": "w",
    "response.function_call_arguments.delta": "f",
    "response.function_call_arguments.done": "g",
    "response.custom_tool_call_input.delta": "x",
    "response.custom_tool_call_input.done": "y",
    "response.completed": "Z",
    "response.incomplete": "Y",
    "error": "E",
    "response.failed": "F",
}
STREAM = re.compile(r"CQ?I[ADpqtursmnvwfgxy]+(Z|Y|EF)")
ITEM = re.compile(r"A(pt*uq|pr*sq|mv*wn|f*g|x*y)D")
TOOLS = [FUNCTION, CUSTOM]
NAMES = ("weather", "patch")


def letters(events: list[dict[str, Any]]) -> str:
    return "".join(LETTERS[event["type"]] for event in events)


def by_item(events: list[dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
    found: dict[int, list[dict[str, Any]]] = {}
    for event in events:
        if "output_index" in event:
            found.setdefault(event["output_index"], []).append(event)
    return found


def plain(value: Any) -> Any:
    """Without what is made anew for each answer."""
    if isinstance(value, dict):
        fresh = ("id", "item_id", "created_at", "completed_at")
        return {key: plain(inner) for key, inner in value.items() if key not in fresh}
    return [plain(inner) for inner in value] if isinstance(value, list) else value


def as_input(text: str) -> list[str]:
    """The arguments of a custom call, in single characters."""
    return list(json.dumps({"input": text}))


@st.composite
def answers(draw: st.DrawFn) -> list[Event]:
    middle: list[Event] = []
    opened: dict[int, list[str]] = {}
    for kind in draw(st.lists(st.sampled_from("trcCnpl"), max_size=12)):
        text = draw(st.text(max_size=5))
        if kind == "t":
            middle.append(TextDelta(text))
        elif kind == "l":
            middle.append(TextDelta(text, logprobs=(token(text),)))
        elif kind == "r":
            middle.append(ReasoningDelta(text))
        elif kind == "n":
            middle.append(Notice("n", text))
        elif kind == "p":
            middle.append(Progress(1, 2))
        elif kind == "c" or not opened:
            name = draw(st.sampled_from(NAMES))
            rest = as_input(text) if name == "patch" else list(json.dumps({"a": text}))
            opened[len(opened)] = rest
            middle.append(ToolCallDelta(len(opened) - 1, rest.pop(0), f"call_{len(opened)}", name))
        else:
            call = draw(st.sampled_from(sorted(opened)))
            for _ in range(draw(st.integers(1, 4))):
                if opened[call]:
                    middle.append(ToolCallDelta(call, opened[call].pop(0)))
    for call, rest in opened.items():
        middle += [ToolCallDelta(call, piece) for piece in rest]
    reason = draw(st.sampled_from(["stop", "length", "tool_calls"]))
    started = [Started()] if draw(st.booleans()) else []
    return [*started, *middle, ChoiceEnd(reason), FINISHED]


STYLES = st.fixed_dictionaries(dict.fromkeys(("summary", "sealed", "queued", "obfuscate"), st.booleans()))


@settings(deadline=None, max_examples=200)
@given(events=answers(), style=STYLES)
def test_every_stream_follows_the_grammar_and_says_what_the_whole_says(events, style):
    asked = order(tools=TOOLS, stream=True)
    said = stream(events, asked, **style)
    assert [event["sequence_number"] for event in said] == list(range(len(said)))
    assert STREAM.fullmatch(letters(said))
    assert ("Q" in letters(said)) == style["queued"]
    final = said[-1]["response"]
    for index, own in by_item(said).items():
        assert ITEM.fullmatch(letters(own))
        assert own[-1]["item"] == final["output"][index]
        assert "".join(event.get("delta", "") for event in own) == shown_text(final["output"][index])
    for event in said:
        EVENTS.validate_python(event)
    Response.model_validate(final)
    assert plain(whole(events, asked, **style)) == plain(final)


def shown_text(item: dict[str, Any]) -> str:
    if item["type"] == "message":
        return "".join(part["text"] for part in item["content"])
    if item["type"] == "reasoning":
        return "".join(part["text"] for part in [*item["summary"], *item.get("content", [])])
    return str(item.get("arguments", item.get("input")))


@settings(deadline=None, max_examples=100)
@given(events=answers(), at=st.integers(0, 12), style=STYLES)
def test_a_failure_closes_what_is_open_and_says_so(events, at, style):
    made = encoder(order(tools=TOOLS), streaming=True, **style)
    head = b"".join(made.feed(event) for event in events[: min(at, len(events) - 2)])
    said = sent(head + made.fail(EngineError("It broke.", hint="Try again.")))
    assert re.fullmatch(r"CQ?I[ADpqtursmnvwfgxy]*EF", letters(said))
    assert all(ITEM.fullmatch(letters(own)) for own in by_item(said).values())
    assert said[-2]["message"] == "It broke. Try again."
    failed = said[-1]["response"]
    assert failed["status"] == "failed"
    assert failed["error"] == {"code": "server_error", "message": "It broke. Try again."}
    assert all(item["status"] != "in_progress" for item in failed["output"])
    for event in said:
        EVENTS.validate_python(event)


def test_the_documented_order_of_a_rich_answer():
    said = stream(RICH)
    assert letters(said) == "CI" + "AprrsqD" + "ApttuqD" + "AffAf" + "gDgD" + "Z"
    assert [item["type"] for item in said[-1]["response"]["output"]] == [
        "reasoning", "message", "function_call", "function_call",
    ]  # fmt: skip
    assert said[-1]["response"]["usage"] == {
        "input_tokens": 11,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
        "output_tokens": 7,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 18,
    }
    assert said[-1]["response"]["warnings"][0]["code"] == "shortened"


def test_lines_hold_no_break_that_a_reader_would_see():
    made = encoder(streaming=True)
    data = b"".join(made.feed(event) for event in RICH).decode()
    assert all(
        len(block.splitlines()) == 2 for block in data.split("\n\n") if not block.startswith(":") and block
    )


def test_a_call_keeps_the_engines_id_or_gets_one():
    events = answer(ToolCallDelta(0, "{}", "call_engine", "weather"), ToolCallDelta(1, "{}", None, "weather"))
    first, second = whole(events)["output"]
    assert first["call_id"] == "call_engine"
    assert second["call_id"].startswith("call_")
    assert first["id"].startswith("fc_")


def test_a_call_in_a_namespace_is_shown_apart():
    asked = order(tools=[{"type": "namespace", "name": "home", "tools": [FUNCTION]}])
    (item,) = whole(answer(ToolCallDelta(0, "{}", "c", "home__weather")), asked)["output"]
    assert (item["namespace"], item["name"]) == ("home", "weather")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ('{"input": "a\\n\\ud83d\\ude00\\u00e4\\\\b"}', "a\n😀ä\\b"),
        ('{"input":"cut', "cut"),
        ('{"other": 1}', '{"other": 1}'),
        ("no json", "no json"),
        ('{"input": 5}', '{"input": 5}'),
        ('{"input": ""}', ""),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 100])
def test_the_input_of_a_custom_tool_is_unescaped_as_it_comes(arguments, text, size):
    pieces = [arguments[i : i + size] for i in range(0, len(arguments), size)]
    first = ToolCallDelta(0, pieces[0], "c", "patch")
    events = answer(first, *(ToolCallDelta(0, piece) for piece in pieces[1:]), end=ChoiceEnd("length"))
    said = stream(events, order(tools=TOOLS))
    assert "".join(event["delta"] for event in said if event["type"].endswith("input.delta")) == text
    assert said[-1]["response"]["output"][0]["input"] == text


def test_a_cut_answer_is_incomplete():
    made = whole(answer(ReasoningDelta("hm"), TextDelta("a"), end=ChoiceEnd("length")))
    assert made["status"] == "incomplete"
    assert made["incomplete_details"] == {"reason": "max_output_tokens"}
    assert [item["status"] for item in made["output"]] == ["completed", "incomplete"]


def test_an_empty_answer_is_an_empty_message():
    (item,) = whole(answer())["output"]
    assert item["content"][0]["text"] == ""


def test_a_summary_takes_the_place_of_the_content():
    (item, _) = whole(answer(ReasoningDelta("hm"), TextDelta("a")), summary=True)["output"]
    assert item["summary"] == [{"type": "summary_text", "text": "hm"}]
    assert "content" not in item


def test_logprobs_have_bytes_in_items_and_none_in_events():
    events = answer(TextDelta("a", logprobs=(token("a"),)), TextDelta("b", logprobs=(token("b"),)))
    said = stream(events)
    deltas = [event for event in said if event["type"].endswith("text.delta")]
    assert [event["logprobs"][0]["token"] for event in deltas] == ["a", "b"]
    assert "bytes" not in deltas[0]["logprobs"][0]
    kept = said[-1]["response"]["output"][0]["content"][0]["logprobs"]
    assert kept[1]["bytes"] == [98]
    assert kept[0]["top_logprobs"][1]["logprob"] == -9999.0


def test_obfuscated_deltas_have_sizes_that_say_less():
    events = answer(*(TextDelta("x" * size) for size in range(1, 40)))
    made = encoder(order(stream=True, stream_options={"include_obfuscation": True}))
    sizes = {len(made.feed(event)) % 32 for event in events if isinstance(event, TextDelta)} - {0}
    assert len(sizes) <= 2  # the first one opens the item
    said = stream(answer(TextDelta("a", logprobs=(token("a"),))), obfuscate=True)
    assert all("obfuscation" in event for event in said if event["type"].endswith(".delta"))


def test_progress_and_silence_are_comments():
    made = encoder(streaming=True)
    assert made.feed(Progress(5, 10)) == b": prefill 5/10\n\n"
    assert made.keepalive() == b": keep-alive\n\n"
    silent = encoder(streaming=False)
    assert silent.feed(Progress(5, 10)) + silent.keepalive() == b""


def test_an_answer_without_an_end_is_an_error():
    made = encoder(streaming=True)
    with pytest.raises(EngineError):
        made.feed(FINISHED)


def test_the_answer_repeats_what_was_asked():
    asked = order(
        instructions="Be brief.", metadata={"a": "b"}, previous_response_id="resp_1", tools=[FUNCTION],
        max_output_tokens=9, user="u", truncation="auto", temperature=0.5,
    )  # fmt: skip
    made = whole(answer(TextDelta("a")), asked)
    assert made["instructions"] == "Be brief."
    assert made["metadata"] == {"a": "b"}
    assert made["previous_response_id"] == "resp_1"
    assert made["tools"][0]["name"] == "weather"
    assert (made["max_output_tokens"], made["user"], made["truncation"]) == (9, "u", "auto")
    assert (made["temperature"], made["top_p"]) == (0.5, 1.0)
    assert (made["object"], made["status"], made["store"]) == ("response", "completed", True)


def test_errors_have_the_names_of_this_api():
    refused = json.loads(render_error(ContextExceeded(9, 5)).body)["error"]
    assert (refused["param"], refused["code"]) == ("input", "context_length_exceeded")
    busy = encoder(streaming=True)
    assert sent(busy.fail(QueueFull("Full.")))[-1]["response"]["error"]["code"] == "rate_limit_exceeded"
    assert json.loads(encoder(streaming=False).fail(EngineError("x")))["error"]["message"] == "x"


def test_a_token_costs_little():
    made = encoder(streaming=True)
    made.feed(Started())
    made.feed(TextDelta("x"))
    delta, best = TextDelta(" hello"), 1.0
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(2000):
            made.feed(delta)
        best = min(best, (time.perf_counter() - began) / 2000)
    assert best < 10e-6
