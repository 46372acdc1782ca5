"""What was predicted is held against what came, and teaches the next prediction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from inhouse.planning import History, Where
from inhouse.planning import history as room

HERE = Where("machine-1", "build-1", "model-1", "Q4_K_M")
TOLD = (100.0, 80.0, 125.0)


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    found = History(tmp_path / "home", clock=lambda: 1.0)
    yield found
    found.close()


def measured(history: History, where: Where, *values: float, what: room.What = "decode") -> None:
    for value in values:
        history.came(where, what, 512, TOLD, (value, value * 1e6))
    history.flush()


def test_a_day_without_history_has_nothing_to_say(history: History):
    assert history.rate("decode", HERE) is None
    assert history.surplus(HERE) == (0.0, 0)
    assert history.record("memory", "machine-1").count == 0


def test_what_was_measured_makes_the_rate_of_this_model(history: History):
    measured(history, HERE, 90, 100, 110)
    rate = history.rate("decode", HERE)
    assert rate is not None
    assert (rate.basis, rate.count) == ("this model", 3)
    assert rate.values.low <= 100e6 <= rate.values.high


@pytest.mark.parametrize(
    "other, basis",
    [
        (Where("machine-1", "build-1", "model-2", "Q4_K_M"), "this quantisation"),
        (Where("machine-1", "build-1", "model-2", "Q8_0"), "this machine"),
    ],
)
def test_a_new_model_goes_by_its_kin(history: History, other: Where, basis: str):
    measured(history, HERE, 100)
    rate = history.rate("decode", other)
    assert rate is not None
    assert rate.basis == basis


@pytest.mark.parametrize(
    "other",
    [Where("machine-2", "build-1", "model-1", "Q4_K_M"), Where("machine-1", "build-2", "model-1", "Q4_K_M")],
)
def test_another_machine_or_build_learns_nothing_from_this_one(history: History, other: Where):
    measured(history, HERE, 100)
    assert history.rate("decode", other) is None


def test_the_newest_measurements_count(history: History):
    measured(history, HERE, *[10.0] * 30, *[100.0] * 24)
    rate = history.rate("decode", HERE)
    assert rate is not None
    assert rate.values.low > 80e6


def test_a_prediction_that_was_told_is_held_against_what_came(history: History):
    history.expect(HERE, "decode", 512, (50.0, 40.0, 60.0))
    measured(history, HERE, 100)
    (score,) = history.scores("decode", HERE)
    assert (score.predicted, score.measured, score.error) == (50.0, 100.0, -0.5)


def test_a_prediction_for_another_prompt_length_stays_open(history: History):
    history.expect(HERE, "decode", 8000, (50.0, 40.0, 60.0))
    measured(history, HERE, 100)
    (score,) = history.scores("decode", HERE)
    assert score.predicted == TOLD[0]


def test_a_prediction_of_memory_is_for_its_context_alone(history: History):
    history.expect(HERE, "memory", 8192, (50.0, 40.0, 60.0))
    history.came(HERE, "memory", 4096, TOLD, (100.0, 0.0))
    history.flush()
    assert [score.predicted for score in history.scores("memory", HERE)] == [TOLD[0]]


def test_an_open_prediction_is_no_measurement(history: History):
    history.expect(HERE, "decode", 512, TOLD)
    history.flush()
    assert history.rate("decode", HERE) is None
    assert history.record("decode", "machine-1").count == 0


def test_the_record_tells_the_median_error_and_what_lay_within(history: History):
    measured(history, HERE, 100, 90, 200)
    record = history.record("decode", "machine-1")
    assert (record.count, record.within) == (3, 2)
    assert record.median == pytest.approx(1 / 9)
    assert record.worst == pytest.approx(0.5)


def test_the_record_is_of_the_last_dozen(history: History):
    measured(history, HERE, *[1000.0] * 5, *[100.0] * 12)
    record = history.record("decode", "machine-1")
    assert (record.count, record.worst) == (12, 0.0)


def test_what_the_formula_lacks_is_learnt_from_loads_before_the_engines_word(history: History):
    history.came(HERE, "exact", 512, TOLD, (100.0, 7.0))
    history.flush()
    assert history.surplus(HERE) == (7.0, 1)
    history.came(HERE, "memory", 512, TOLD, (100.0, 11.0))
    history.flush()
    assert history.surplus(HERE) == (11.0, 1)
    assert history.surplus(Where("machine-1", "build-1", "another", "Q8_0")) == (11.0, 1)


def test_the_file_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(room, "MOST", 10)
    history = History(tmp_path)
    measured(history, HERE, *range(1, 40))
    history.close()
    with sqlite3.connect(tmp_path / room.FILE) as database:
        assert database.execute("SELECT count(*) FROM scores").fetchone() == (10,)
    database.close()


def test_it_is_there_after_a_restart(tmp_path: Path):
    first = History(tmp_path)
    first.came(HERE, "decode", 512, TOLD, (100.0, 1e8))
    first.close()
    second = History(tmp_path)
    assert len(second.scores("decode", HERE)) == 1
    second.close()


def test_a_broken_file_is_put_aside(tmp_path: Path):
    (tmp_path / room.FILE).write_bytes(b"this is no database" * 100)
    history = History(tmp_path)
    measured(history, HERE, 100)
    assert len(history.scores("decode", HERE)) == 1
    assert (tmp_path / "predictions.broken").exists()
    history.close()


def test_a_home_that_cannot_be_written_keeps_nothing_and_breaks_nothing(tmp_path: Path):
    (tmp_path / "home").write_text("a file where a folder should be")
    history = History(tmp_path / "home")
    measured(history, HERE, 100)
    assert history.rate("decode", HERE) is None
    history.close()


def test_what_comes_after_the_end_is_dropped(tmp_path: Path):
    history = History(tmp_path)
    history.close()
    measured(history, HERE, 100)
    history.close()
    assert not (tmp_path / room.FILE).exists()


def test_a_file_that_is_locked_for_a_while_keeps_what_was_learnt(
    history: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    measured(history, HERE, 100)
    connect = sqlite3.connect
    monkeypatch.setattr(room.sqlite3, "connect", lambda path, timeout: connect(path, timeout=0.01))
    other = connect(tmp_path / "home" / room.FILE, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    assert history.scores("decode", HERE) == []
    measured(history, HERE, 200)
    other.execute("ROLLBACK")
    other.close()
    assert [score.measured for score in history.scores("decode", HERE)] == [100]


def test_a_file_that_turns_out_to_be_broken_inside_is_put_aside(tmp_path: Path):
    history = History(tmp_path)
    measured(history, HERE, *range(1, 200))
    file = tmp_path / room.FILE
    whole = file.read_bytes()
    file.write_bytes(whole[:8192] + b"\xff" * (len(whole) - 8192))
    assert history.scores("decode", HERE) == []
    measured(history, HERE, 100, 110)
    history.close()
    assert len(history.scores("decode", HERE)) == 2


def test_asking_for_plans_does_not_push_out_what_was_learnt(
    history: History, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(room, "MOST", 20)
    monkeypatch.setattr(room, "OPEN", 10)
    measured(history, HERE, 100)
    for size in range(1, 60):
        history.expect(HERE, "decode", size * 10_000, TOLD)
    history.flush()
    assert [score.measured for score in history.scores("decode", HERE)] == [100]
