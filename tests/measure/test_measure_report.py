"""What a benchmark answers."""

from __future__ import annotations

from inhouse.measure import Figures, Level, Plan, Round, Sample
from inhouse.measure.report import OURS, Report

PLAN = Plan(rounds=1)


def a_round(who: str, seconds: float) -> Round:
    one = Sample(ttft=1.0, seconds=seconds, last=seconds, prompt_tokens=100, answer_tokens=11, prefill=0.5)
    return Round(who, 1, 1, seconds, (one,))


def figures(name: str, seconds: float) -> Figures:
    one = a_round(name, seconds)
    return Figures(name, PLAN, (Level.of(1, [(one.seconds, one.samples)]),))


MINE, THEIRS = figures("m", 2.0), figures("n", 4.0)


def test_alone_it_is_figures_and_lines() -> None:
    report = Report(MINE)
    assert report.to_json() == {"figures": MINE.to_json()}
    assert list(report.lines()) == ["m: all streams", "m: one stream"]


def test_what_took_turns_is_held_against_it_round_by_round() -> None:
    report = Report(MINE, [a_round(OURS, 2.0), a_round("other", 4.0)], ("other", THEIRS))
    found = report.to_json()
    assert found["against"] == {"name": "other", "figures": THEIRS.to_json()}
    assert found["ratios"][0]["total"]["median"] == 2.0
    assert list(report.lines())[2:] == ["other: all streams", "other: one stream"]


def test_an_earlier_run_is_held_against_it_level_by_level() -> None:
    found = Report(MINE, before=THEIRS).to_json()
    assert found["before"] == THEIRS.to_json()
    assert (found["ratios"][0]["clients"], found["ratios"][0]["total"]["median"]) == (1, 2.0)
    assert "before: one stream" in Report(MINE, before=THEIRS).lines()
