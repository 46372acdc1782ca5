"""Entries and the meter: every end is counted once, under the right outcome."""

from __future__ import annotations

import asyncio

import pytest

from inhouse.core.errors import BadRequest, Cancelled, ModelNotFound, QueueFull, WorkerDied
from inhouse.core.events import Finished, ReasoningDelta, Started, TextDelta
from inhouse.core.requests import Caller
from inhouse.core.usage import Timings, Usage
from inhouse.ledger import Entry, Histogram, Meter

CALLER = Caller("r", endpoint="/v1/x")


def entry(meter: Meter, model: str = "m") -> Entry:
    made = Entry(CALLER, model, "chat", meter.record)
    made.model = model
    return made


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, "ok"),
        (BadRequest("x"), "refused"),
        (ModelNotFound("x"), "refused"),
        (QueueFull("x"), "overloaded"),
        (WorkerDied("x"), "error"),
        (Cancelled("x"), "cancelled"),
        (GeneratorExit(), "cancelled"),
        (asyncio.CancelledError(), "cancelled"),
        (RuntimeError(), "error"),
    ],
)
def test_every_end_has_its_outcome(error: BaseException | None, outcome: str) -> None:
    meter = Meter()
    one = entry(meter)
    one.close(error)
    one.close(None)
    assert meter.requests == {("m", "/v1/x", outcome): 1}


def test_tokens_gaps_and_first_token_are_counted_from_events() -> None:
    meter = Meter()
    one = entry(meter)
    one.note(Started(load=1.5, queue=0.25))
    assert one.ttft is None
    for text in "abc":
        one.note(TextDelta(text))
    one.note(ReasoningDelta("hm"))
    one.note(Finished(Usage(10, 4, 3, 1), Timings(total=2.0)))
    one.close()
    assert one.ttft is not None
    assert meter.tokens["prompt"]["m"] == 10
    assert meter.tokens["completion"]["m"] == 4
    assert meter.tokens["cached"]["m"] == 3
    assert meter.tokens["reasoning"]["m"] == 1
    assert sum(meter.latency["inter_token"]["m"].counts) == 3
    assert sum(meter.latency["ttft"]["m"].counts) == 1
    assert meter.latency["queue"]["m"].sum == 0.25


def test_a_request_for_an_unknown_model_gets_no_label_of_its_own() -> None:
    meter = Meter()
    one = Entry(CALLER, "what the client typed", "chat", meter.record)
    one.close(ModelNotFound("x"))
    assert list(meter.requests) == [("unknown", "/v1/x", "refused")]
    assert "unknown" not in meter.latency["queue"]


def test_a_histogram_cumulates_as_prometheus_wants_it() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 9.0):
        histogram.observe(value)
    assert histogram.cumulative() == [("1.0", 2), ("2.0", 3), ("+Inf", 4)]
    histogram.merge([1, 0, 0], 0.5)
    assert histogram.cumulative()[-1] == ("+Inf", 5)
    assert histogram.sum == pytest.approx(12.5)


def test_what_the_fleet_tells_is_counted() -> None:
    meter = Meter()
    meter.loaded("m", 0.5)
    meter.evicted("m", "idle")
    meter.restarted("m")
    assert meter.loads["m"] == 1
    assert meter.load_seconds["m"] == 500
    assert meter.evictions[("m", "idle")] == 1
    assert meter.restarts["m"] == 1
