"""When figures are called disturbed."""

from __future__ import annotations

from inhouse.measure.quiet import BUSY, disturbances


def test_who_answered_meanwhile_is_named_once_and_in_order() -> None:
    assert disturbances(["b", "a", "b"], 0.0) == [
        "a answered requests meanwhile.",
        "b answered requests meanwhile.",
    ]


def test_a_busy_machine_is_told_and_a_quiet_one_is_not() -> None:
    assert disturbances([], BUSY) == []
    assert disturbances([], 0.4) == ["Other programs used 40% of the CPUs before it began."]
