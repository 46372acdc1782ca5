"""What was measured counts for the builds and the machine that it was measured on."""

from __future__ import annotations

from pathlib import Path

import pytest

from inhouse.engines.variants.figures import FILE, Figure, Kept

FIGURE = Figure("b1", "w1", prefill=2.0, decode=1.0, model="m")


def test_both_phases_count_and_decode_more() -> None:
    assert Figure("", "", 1.0, 1.0, "").speed == pytest.approx(1.0)
    assert Figure("", "", 1.0, 1.2, "").speed > Figure("", "", 1.2, 1.0, "").speed > 1
    assert Figure("", "", 2.0, 0.5, "").speed < 1
    assert Figure("", "", 0.0, 5.0, "").speed == 0


def test_a_figure_holds_for_these_builds_on_this_machine_only(tmp_path: Path) -> None:
    Kept(tmp_path, "here").note("native", FIGURE)
    kept = Kept(tmp_path, "here")
    found = kept.of("native", "b1", "w1")
    assert found is not None
    assert (found.prefill, found.machine) == (2.0, "here")
    assert kept.of("native", "b2", "w1") is None
    assert kept.of("native", "b1", "w2") is None
    assert kept.of("other", "b1", "w1") is None
    assert Kept(tmp_path, "there").of("native", "b1", "w1") is None


def test_the_choice_survives_and_goes_with_its_build(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    kept.choose("native")
    kept.note("native", FIGURE)
    assert Kept(tmp_path).use == "native"
    kept.forget("other")
    assert Kept(tmp_path).use == "native"
    kept.forget("native")
    again = Kept(tmp_path)
    assert (again.use, again.of("native", "b1", "w1")) == ("", None)


@pytest.mark.parametrize("text", ["", "nonsense", "[]", '{"use": 5}', '{"figures": {"a": {}}}'])
def test_a_file_that_is_none_is_as_good_as_empty(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    kept = Kept(tmp_path)
    assert kept.use == ""
    kept.choose("wheel")
    assert Kept(tmp_path).use == "wheel"
