"""Answers of every kind against the schemas of OpenAI's published specification."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema_rs
import pytest

from dialects.answers_support import RICH, answer, token
from dialects.responses_support import CUSTOM, FUNCTION, encoder, order, sent, stream, whole
from inhouse.core.errors import EngineError
from inhouse.core.events import ChoiceEnd, ReasoningDelta, TextDelta, ToolCallDelta

SPEC = json.loads((Path(__file__).parents[1] / "support" / "openai_answers.json").read_text("utf-8"))
TOLD = {
    "plain": {},
    "full": {
        "tools": [FUNCTION, CUSTOM],
        "tool_choice": {"type": "custom", "name": "patch"},
        "text": {
            "format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "description": "d"}
        },
        "metadata": {"a": "b"},
        "user": "u",
        "instructions": "Be brief.",
        "conversation": "conv_1",
        "service_tier": "flex",
        "max_output_tokens": 5,
        "reasoning": {"effort": "low", "summary": "auto"},
    },
    "allowed": {
        "tools": [FUNCTION],
        "tool_choice": {
            "type": "allowed_tools",
            "mode": "auto",
            "tools": [{"type": "function", "name": "weather"}],
        },
        "text": {"format": {"type": "json_object"}},
    },
}
EVENTS = answer(
    *RICH[2:-2],
    ReasoningDelta("Again."),
    TextDelta("a", logprobs=(token("a"),)),
    ToolCallDelta(2, '{"input": "x"}', "c", "patch"),
)


def holds(name: str, value: dict[str, object]) -> None:
    # Null in OpenAI's own examples, though the schema has no null there.
    value = {k: v for k, v in value.items() if v is not None or k not in ("usage", "user")}
    checker = jsonschema_rs.Draft202012Validator({"$ref": f"#/$defs/{name}", **SPEC})
    assert not [f"{e.instance_path}: {e.message[:300]}" for e in checker.iter_errors(value)]


@pytest.mark.parametrize("fields", TOLD.values(), ids=TOLD)
@pytest.mark.parametrize(
    "style", [{}, {"summary": True, "sealed": True, "queued": True}], ids=["own", "other"]
)
def test_streams(fields, style):
    for event in stream(EVENTS, order(**fields), **style):
        holds("Response" if "response" in event else "ResponseStreamEvent", event.get("response", event))


@pytest.mark.parametrize("fields", TOLD.values(), ids=TOLD)
def test_whole_answers(fields):
    holds("Response", whole(EVENTS, order(**fields)))
    holds("Response", whole(answer(TextDelta("a"), end=ChoiceEnd("length")), order(**fields)))


def test_failures():
    made = encoder(streaming=True)
    data = b"".join(made.feed(event) for event in EVENTS[:-2]) + made.fail(EngineError("It broke."))
    *_, error, failed = sent(data)
    holds("ResponseStreamEvent", error)
    holds("Response", failed["response"])
