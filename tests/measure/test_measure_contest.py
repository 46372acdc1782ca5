"""What decides between two ways to load a model, and what is said of it."""

from __future__ import annotations

import pytest

from inhouse.measure import Round, Sample
from inhouse.measure.contest import (
    GAINS,
    TAKEN,
    contest,
    decided,
    outcome,
    outcome_of_batch,
    outcome_of_guesses,
    speed,
)
from inhouse.measure.duel import MOST
from inhouse.measure.versus import decode, prefill, total

BETTER, WORSE, SAME = [1.5] * 4, [0.5] * 4, [1.0] * MOST


def a_round(prefill: float, decode: float) -> Round:
    one = Sample(1.0, 2.0, 1 + 10 / decode, (), 100, 0, 11, prefill=100 / prefill)
    return Round("new", 1, 1, 2.0, (one,))


@pytest.mark.parametrize(
    ("kind", "rate"),
    [("prefill", prefill), ("clients", total), ("copy", decode), ("text", decode), ("speed", speed)],
)
def test_each_kind_has_its_requests_and_what_counts_of_them(kind: str, rate: object) -> None:
    found = contest(kind, chat=True)
    assert found.rate is rate
    assert (found.plan.task == "copy") == (kind == "copy")
    assert (found.plan.clients == (8,)) == (kind == "clients")
    assert found.plan.chat == (kind in ("copy", "text"))
    assert not contest(kind, chat=False).plan.chat
    assert found.plan.seed != contest(kind, chat=True).plan.seed


def test_the_whole_is_told_by_contests_that_there_are() -> None:
    assert {contest(kind, chat=False).rate for kind in GAINS.values()} == {prefill, decode, total}


def test_answers_count_for_more_than_prompts() -> None:
    assert speed(a_round(200, 10)) < speed(a_round(100, 20))
    assert speed(a_round(100, 10)) == pytest.approx(100**0.3 * 10**0.7)


def test_it_is_decided_after_as_many_rounds_of_both() -> None:
    assert decided(BETTER, 8)
    assert not decided(BETTER, 9)
    assert not decided([1.5], 2)
    assert decided([1.5], 2, most=1)


@pytest.mark.parametrize(
    ("ratios", "said"), [(BETTER, TAKEN), (WORSE, "slower"), (SAME, "not faster"), ([1.5], "not faster")]
)
def test_what_comes_of_a_try_is_told(ratios: list[float], said: str) -> None:
    assert outcome(ratios) == said


def test_a_batch_that_takes_too_long_is_not_taken() -> None:
    fast, slow = [a_round(1000, 10)], [a_round(500, 10)]
    assert outcome_of_batch(BETTER, fast, 512) == TAKEN
    assert "too long" in outcome_of_batch(BETTER, slow, 512)
    assert outcome_of_batch(WORSE, slow, 512) == "slower"
    assert outcome_of_batch(BETTER, [], 512) == TAKEN


def test_guessing_may_not_cost_ordinary_answers_much() -> None:
    assert outcome_of_guesses(BETTER) == TAKEN
    assert outcome_of_guesses([0.9] * 4) == "slower on ordinary text"
    assert outcome_of_guesses([0.99] * 4) == ""
