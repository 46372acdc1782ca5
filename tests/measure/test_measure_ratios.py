"""Which of two is faster: chance does not decide, rounds are paired, runs apart say how far they may lie."""

from __future__ import annotations

import random

import pytest

from inhouse.measure import Figures, Level, Plan, Round, Sample, apart, curves, in_turns
from inhouse.measure.duel import MOST, luck, verdict
from inhouse.measure.run import told
from inhouse.measure.versus import decode, gains, prefill, times, total


def a_round(who: str, number: int, seconds: float, *, clients: int = 1) -> Round:
    one = Sample(ttft=1.0, seconds=seconds, last=seconds, prompt_tokens=100, answer_tokens=11, prefill=0.5)
    return Round(who, clients, number, seconds, (one,) * clients)


class TestVerdict:
    @pytest.mark.parametrize(
        ("ratios", "said"),
        [
            ([], "more"),
            ([1.5, 1.5], "more"),
            ([1.5, 1.5, 1.5], "more"),
            ([1.5, 1.5, 1.5, 1.5], "better"),
            ([0.9, 0.8, 1.5], "worse"),
            ([1.5, 1.5, 1.5, 0.5], "more"),
            ([1.01] * MOST, "same"),
            ([1.5, 1.5, 1.5, 0.5, 0.5, 1.5, 0.6, 1.5], "same"),
        ],
    )
    def test_a_gain_must_come_again_and_again(self, ratios: list[float], said: str) -> None:
        assert verdict(ratios) == said

    def test_noise_seldom_wins(self) -> None:
        source = random.Random(1)
        wins = 0
        for _ in range(500):
            ratios: list[float] = []
            while (said := verdict(ratios)) == "more":
                ratios.append(source.lognormvariate(0, 0.3))
            wins += said == "better"
        assert wins < 75, "one in seven at the most, with 30 % of noise and no gain at all"

    def test_a_real_gain_wins_through_noise(self) -> None:
        source = random.Random(2)
        wins = 0
        for _ in range(200):
            ratios: list[float] = []
            while (said := verdict(ratios)) == "more":
                ratios.append(1.5 * source.lognormvariate(0, 0.15))
            wins += said == "better"
        assert wins > 180

    def test_fewer_rounds_may_be_asked_for(self) -> None:
        assert verdict([1.1], most=1) == "same"

    def test_the_luck_of_coins(self) -> None:
        assert luck(4, 4) == 1 / 16
        assert luck(0, 5) == 1
        assert luck(0, 0) == 1


class TestRatios:
    def test_rounds_are_paired_by_their_numbers(self) -> None:
        done = [a_round("a", 1, 2.0), a_round("b", 2, 6.0), a_round("a", 2, 3.0), a_round("b", 1, 3.0)]
        assert gains(done, "a", "b", decode) == [2.0, 2.5]

    def test_a_round_without_its_partner_does_not_count(self) -> None:
        assert gains([a_round("a", 1, 2.0)], "a", "b", total) == []

    def test_rates_of_a_round(self) -> None:
        one = a_round("a", 1, 2.0, clients=3)
        assert (prefill(one), decode(one), total(one)) == (200.0, 10.0, 16.5)

    def test_in_turns_tells_every_level(self) -> None:
        done = [a_round(who, 1, s, clients=n) for n in (1, 2) for who, s in (("a", 2.0), ("b", 3.0))]
        rows = in_turns(done, "a", "b")
        assert [row["clients"] for row in rows] == [1, 2]
        assert [row["decode"]["median"] for row in rows] == [2.0, 2.0]
        assert rows[0]["ttft"]["median"] == 1.0

    def test_runs_apart_may_lie_as_far_as_both_spreads_allow(self) -> None:
        now, before = (
            Figures("m", Plan(), (Level.of(1, [(r.seconds, r.samples) for r in rounds]),))
            for rounds in ([a_round("a", 1, 2.0)], [a_round("a", 1, 3.0), a_round("a", 2, 6.0)])
        )
        row = apart(now, before)[0]["decode"]
        assert row["low"] < row["median"] < row["high"]
        assert apart(now, Figures("m", Plan(), ())) == []


def test_levels_are_drawn_as_lines_by_the_number_of_clients() -> None:
    rounds = [a_round("a", 1, 2.0), a_round("a", 1, 4.0, clients=2)]
    levels = tuple(Level.of(one.clients, [(one.seconds, one.samples)]) for one in rounds)
    found = curves({"m": Figures("m", Plan(clients=(1, 2)), levels)})
    assert list(found) == ["m: all streams", "m: one stream"]
    assert found["m: all streams"] == [(1.0, 5.5), (2.0, 5.5)]


def test_a_round_is_told_to_people_who_wait() -> None:
    plan = Plan(rounds=3)
    assert told(a_round("a", 2, 2.0), plan, several=False) == "1 client, round 2 of 3: 5.5 tokens/s"
    assert told(a_round("a", 2, 2.0, clients=2), plan, several=True).startswith("a, 2 clients, round 2")


def test_times_are_medians_round_by_round_in_whatever_order_they_came() -> None:
    done = [a_round("new", 2, 1.0), a_round("old", 1, 4.0), a_round("new", 1, 2.0), a_round("old", 2, 3.0)]
    assert times(done, "new", "old", total).median == pytest.approx((2.0 + 3.0) / 2)
    assert times(done, "new", "nobody", total).count == 0
