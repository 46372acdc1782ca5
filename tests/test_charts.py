"""Pictures of numbers: well-formed, readable without colour or eyes, and without surprises in the data."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inhouse import charts

SVG = "{http://www.w3.org/2000/svg}"
NUMBERS = st.floats(-1e12, 1e12) | st.sampled_from([float("nan"), float("inf")])


def parse(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text)


def texts(root: ElementTree.Element) -> list[str]:
    return [element.text or "" for element in root.iter(f"{SVG}text")]


def test_a_picture_says_what_it_shows_to_those_who_cannot_see_it():
    root = parse(charts.lines("Speed", "clients", "tokens/s", {"wheel": [(1, 40), (8, 130)]}))
    assert root.get("role") == "img"
    assert root.findtext(f"{SVG}title") == "Speed"
    assert root.findtext(f"{SVG}desc") == "tokens/s by clients. wheel: 40.0 at 1.00 to 130 at 8.00"


def test_text_is_escaped_and_nothing_runs():
    hostile = '<script>alert("1")</script> & co'
    for text in (
        charts.lines(hostile, hostile, hostile, {hostile: [(0, 1)]}),
        charts.bars(hostile, hostile, [hostile], {hostile: [1.0]}),
    ):
        assert "<script" not in text
        assert hostile in texts(parse(text))


def test_ticks_are_round_numbers_that_cover_the_data():
    root = parse(charts.lines("t", "x", "y", {"": [(0, 0), (10, 137)]}))
    assert {"0", "50", "100", "150"} <= set(texts(root))


def test_small_numbers_keep_their_decimals():
    root = parse(charts.lines("t", "x", "y", {"": [(0, 0.012), (1, 0.058)]}))
    assert {"0.02", "0.04", "0.06"} <= set(texts(root))


def test_values_that_differ_little_fill_the_picture():
    root = parse(charts.lines("t", "x", "y", {"": [(0, 1000), (1, 1004)]}))
    assert {"1,000", "1,004"} <= set(texts(root))


def test_a_line_goes_up_where_values_rise():
    root = parse(charts.lines("t", "x", "y", {"": [(2, 5), (1, 1)]}))
    (path,) = (p.get("d") or "" for p in root.iter(f"{SVG}path"))
    (x0, y0), (x1, y1) = re.findall(r"([\d.]+) ([\d.]+)", path)
    assert float(x0) < float(x1)
    assert float(y0) > float(y1)  # downwards is positive


def test_series_differ_by_shape_as_well_as_by_colour():
    text = charts.lines("t", "x", "y", {name: [(0, 1)] for name in "abc"})
    assert "<circle" in text
    assert "<polygon" in text
    assert text.count('height="6.4"') == 2  # in the legend and at the point


def test_a_ninth_series_is_dashed_since_colours_come_again():
    text = charts.lines("t", "x", "y", {str(n): [(0, n), (1, n)] for n in range(9)})
    assert text.count("stroke-dasharray") == 2


def test_bars_are_as_high_as_their_values():
    root = parse(charts.bars("t", "MiB", ["a", "b"], {"": [100, 50]}))
    heights = [float(r.get("height", "")) for r in root.iter(f"{SVG}rect") if r.get("rx")]
    assert heights[0] == pytest.approx(2 * heights[1], rel=0.01)


def test_a_gap_is_shown_as_one():
    root = parse(charts.bars("t", "MiB", ["a", "b"], {"s": [None, float("nan")]}))
    assert texts(root).count("-") == 2
    assert root.findtext(f"{SVG}desc") == "MiB. a, s: -; b, s: -"


def test_bars_below_zero_hang():
    root = parse(charts.bars("t", "%", ["a", "b"], {"": [10, -10]}))
    up, down = (r for r in root.iter(f"{SVG}rect") if r.get("rx"))
    foot = float(up.get("y", "")) + float(up.get("height", ""))
    assert foot == pytest.approx(float(down.get("y", "")), abs=0.2)


def test_long_labels_are_turned_so_that_they_do_not_overlap():
    text = charts.bars("t", "y", [f"a-rather-long-label-{n}" for n in range(9)], {"": [1.0] * 9})
    assert text.count("rotate(-28") == 9


def test_a_series_of_the_wrong_length_is_refused():
    with pytest.raises(ValueError, match="one value for each label"):
        charts.bars("t", "y", ["a"], {"s": [1, 2]})


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=5), st.lists(st.tuples(NUMBERS, NUMBERS), max_size=5), max_size=4))
def test_any_numbers_make_a_well_formed_picture(series):
    text = charts.lines("t", "x", "y", series)
    parse(text)
    assert not re.search(r'="[^"]*\b(nan|inf)\b', text)


@settings(deadline=None)
@given(st.lists(st.none() | NUMBERS, max_size=6))
def test_any_values_make_well_formed_bars(values):
    text = charts.bars("t", "y", [str(n) for n in range(len(values))], {"s": values})
    parse(text)
    assert not re.search(r'="[^"]*\b(nan|inf)\b', text)
