"""Bytes that go out, and the fold of a stream."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialects.answers_support import FINISHED, RICH
from inhouse.core.errors import BadRequest, Busy, EngineError, InhouseError, QueueFull
from inhouse.core.events import ChoiceEnd, Progress, TextDelta, ToolCallDelta, Vector
from inhouse.dialects.fold import Fold
from inhouse.dialects.wire import dumps, explain, finite, nearest, quote, retry_after


@given(st.text())
def test_a_quoted_text_is_one_line_and_reads_back(text):
    for out in (quote(text), dumps({"t": text})):
        shown = out.decode("utf-8")
        assert len(shown.splitlines()) == 1
        value = json.loads(shown)
        assert (value if isinstance(value, str) else value["t"]) == text


def test_lone_surrogates_become_something_valid():
    assert json.loads(quote("a\ud800b").decode()) == "a?b"
    assert json.loads(dumps({"x": "a\ud800b"}).decode()) == {"x": "a?b"}


def test_numbers_that_json_has_not():
    assert dumps([float("nan")]) == b"[null]"
    assert finite(float("-inf")) == -9999.0
    assert finite(-0.25) == -0.25


def test_nearest_takes_the_closest_base():
    table = {InhouseError: 1, Busy: 2, QueueFull: 3}
    assert [nearest(e, table) for e in (BadRequest("x"), Busy("x"), QueueFull("x"))] == [1, 2, 3]
    with pytest.raises(LookupError):
        nearest(BadRequest("x"), {Busy: 1})


def test_hints_follow_the_message_and_details_never_do():
    assert explain(BadRequest("It is wrong.", hint="Mend it.", detail="/home/me")) == "It is wrong. Mend it."
    assert explain(BadRequest("It is wrong", hint="Mend it.")) == "It is wrong. Mend it."
    assert explain(BadRequest("It is wrong")) == "It is wrong"


@pytest.mark.parametrize(
    "seconds, default, expected",
    [(None, None, ()), (None, 1, "1"), (0.0, None, "1"), (2.2, None, "3"), (float("inf"), 5, "5")],
)
def test_retry_after_is_whole_seconds(seconds, default, expected):
    headers = retry_after(Busy("x", retry_after=seconds), default)
    assert headers == ((("Retry-After", expected),) if expected else ())


def test_the_fold_keeps_everything():
    fold = Fold()
    finished = [fold.feed(event) for event in RICH]
    assert finished[:-1] == [None] * (len(RICH) - 1)
    assert finished[-1] is FINISHED
    ((index, choice, reason),) = fold.ended(1)
    assert (index, reason) == (0, "stop")
    assert "".join(choice.reasoning) == "Let me think."
    assert "".join(choice.text) == "Grüße\u2028\u0085 “quoted”\n"
    assert [(c.id, c.name, "".join(c.arguments)) for c in choice.calls.values()] == [
        ("call_engine", "weather", '{"city": "Köln"}'),
        ("call_other", "time", "{}"),
    ]
    assert fold.started.load == 1.0
    assert len(fold.notices) == 1


def test_a_choice_without_an_end_is_an_error():
    fold = Fold()
    for event in (TextDelta("a"), ChoiceEnd("stop"), TextDelta("b", 1), Progress(1, 2), FINISHED):
        fold.feed(event)
    with pytest.raises(EngineError):
        fold.ended(2)


def test_a_missing_vector_is_an_error():
    fold = Fold()
    fold.feed(Vector(1, (1.0,)))
    with pytest.raises(EngineError):
        fold.vectors_in_order(2)
    fold.feed(Vector(0, (0.5,)))
    assert fold.vectors_in_order(2) == [(0.5,), (1.0,)]


def test_names_of_a_call_may_come_late():
    fold = Fold()
    fold.feed(ToolCallDelta(0, "{"))
    fold.feed(ToolCallDelta(0, "}", "id", "f"))
    call = fold.choice(0).calls[0]
    assert (call.id, call.name, call.arguments) == ("id", "f", ["{", "}"])
