"""What a terminal shows: wrapping, cleaning, colours, spinner, tables, times, sizes."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inhouse.cli import output, pulling, screen, views
from inhouse.cli.screen import Screen, Spinner, Wrap


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


Begin = Callable[[], tuple[Terminal, Terminal]]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Begin:
    """Call it to make stdout and stderr terminals of 20 columns (pytest sets its own before the test)."""

    def begin() -> tuple[Terminal, Terminal]:
        out, err = Terminal(), Terminal()
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        return out, err

    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return begin


def emulate(text: str, width: int) -> list[str]:
    """The lines of a terminal after ``text``; it knows newline, back and erase."""
    lines, column, at = [""], 0, 0
    while at < len(text):
        if text[at] == "\x1b":
            end = at + 2
            while text[end].isdigit():
                end += 1
            if text[end] == "D":
                column -= int(text[at + 2 : end])
            else:
                lines[-1] = lines[-1][:column]
            at = end + 1
            continue
        if text[at] == "\n":
            lines.append("")
            column = 0
        else:
            assert column < width, "the terminal would have wrapped by itself"
            lines[-1] = lines[-1][:column] + text[at]
            column += 1
        at += 1
    return lines


def test_words_are_wrapped_whole() -> None:
    lines = emulate(Wrap(10).feed("one two three four\nfive"), 10)
    assert [line.rstrip() for line in lines] == ["one two", "three four", "five"]


def test_a_word_longer_than_the_line_is_broken() -> None:
    assert emulate(Wrap(10).feed("x" * 25), 10) == ["x" * 10, "x" * 10, "x" * 5]


@given(st.lists(st.text("ab cdefgh\n\té", max_size=30)), st.integers(8, 30))
def test_wrapping_loses_nothing_whatever_the_pieces(pieces: list[str], width: int) -> None:
    wrap = Wrap(width)
    lines = emulate("".join(wrap.feed(piece) for piece in pieces), width)
    text = "".join(pieces)
    assert "".join("".join(lines).split()) == "".join(text.split())
    for word in text.split():
        if len(word) <= width // 2:
            assert any(word in line for line in lines)


def test_wide_characters_take_two_columns() -> None:
    assert screen.cells("日本") == 4
    assert Wrap(11).feed("日本日本日本").index("\n") == 5


def test_a_terminal_gets_no_control_characters(terminal: Begin) -> None:
    out, _err = terminal()
    view = Screen()
    view.say("a\x1b]0;title\x07b\u202ec\x9b31m\tok")
    view.end()
    output.data("x\x1b[2Jy")
    text = out.getvalue()
    assert not set(text) & set("\x1b\x07\x9b\u202e")
    assert text.startswith("a]0;titlebc31m")


def test_thinking_is_greyed_and_closed(terminal: Begin) -> None:
    out, err = terminal()
    view = Screen()
    view.think("Hm\x1b[0m.")
    view.say("Yes.")
    view.end()
    assert out.getvalue() == "Yes.\n"
    grey = "\x1b[90m{}\x1b[0m"
    assert err.getvalue() == "".join(
        grey.format(t) + e
        for t, e in (("Thinking...", "\n"), ("Hm[0m.", ""), ("\n...done thinking.\n", "\n"))
    )


def test_an_answer_that_ends_in_thought_is_closed(terminal: Begin) -> None:
    out, err = terminal()
    view = Screen()
    view.think("Hm")
    view.end()
    assert "...done thinking." in err.getvalue()
    assert out.getvalue() == ""


def test_the_spinner_comes_after_a_while_and_goes(terminal: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    _out, err = terminal()
    now = 100.0
    monkeypatch.setattr(screen.time, "monotonic", lambda: now)
    view = Screen(thinking=False)
    view.tick()
    assert err.getvalue() == ""
    now += 1
    view.think("hidden")
    view.tick()
    assert "Thinking..." in err.getvalue()
    view.say("Hi")
    assert err.getvalue().endswith("\r\x1b[2K")
    now += 9
    view.tick()
    assert err.getvalue().endswith("\r\x1b[2K"), "no spinner inside half a line"


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_no_colours_where_none_are_wanted(
    terminal: Begin, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    out, err = terminal()
    monkeypatch.setenv(name, value)
    monkeypatch.setattr(screen, "_DELAY", -1)
    output.note("Error: x", colour="red")
    output.labelled("error", "red", "y")
    Spinner("z").tick()
    assert (out.getvalue(), err.getvalue()) == ("error  y\n", "Error: x\n")


def test_labels_have_colours_on_a_terminal(terminal: Begin) -> None:
    out, _err = terminal()
    output.labelled("error", "red", "x\x1b[0m")
    assert out.getvalue() == "\x1b[31merror\x1b[0m  x[0m\n"


def test_a_closed_stream_is_no_terminal_and_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    assert not output.is_terminal(closed)
    output.note("nobody hears")


def test_pull_shows_bars_with_bytes(terminal: Begin) -> None:
    _out, err = terminal()
    events: list[dict[str, Any]] = [
        {"status": "pulling manifest"},
        {"status": "pulling manifest"},
        {"status": "pulling ab", "digest": "sha256:ab", "total": 1000, "completed": 500},
        {"status": "pulling ab", "digest": "sha256:ab", "total": 1000, "completed": 1000},
        {"status": "[bold]success\x1b"},
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "120")
        with pulling.display() as bars:
            for event in events:
                bars.show(event)
    text = err.getvalue()
    assert text.count("pulling manifest") == 1
    assert "1.0/1.0 kB" in text
    assert "100%" in text
    assert "[bold]success" in text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (98_362_432, "98 MB"),
        (1_117_320_768, "1.1 GB"),
        (25e9, "25 GB"),
        (3e12, "3.0 TB"),
    ],
)
def test_sizes(count: float, text: str) -> None:
    assert output.human_size(count) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0ms"),
        (0.0005, "0.50ms"),
        (0.25, "250ms"),
        (4.912, "4.91s"),
        (125, "2m5s"),
        (3600, "1h"),
        (float("inf"), "forever"),
    ],
)
def test_measured_times(value: float, text: str) -> None:
    assert output.seconds(value) == text


NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("span", "text"),
    [
        (timedelta(milliseconds=1), "Less than a second"),
        (timedelta(seconds=1), "1 second"),
        (timedelta(seconds=59), "59 seconds"),
        (timedelta(minutes=1), "About a minute"),
        (timedelta(minutes=4), "4 minutes"),
        (timedelta(hours=1), "About an hour"),
        (timedelta(hours=47), "47 hours"),
        (timedelta(days=3), "3 days"),
        (timedelta(weeks=3), "3 weeks"),
        (timedelta(days=100), "3 months"),
        (timedelta(days=1000), "2 years"),
    ],
)
def test_distances(span: timedelta, text: str) -> None:
    assert views.ago((NOW - span).isoformat(), NOW) == f"{text} ago"
    assert views.until((NOW + span).isoformat(), NOW) == f"{text} from now"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2025-12-31T23:56:00.123456789Z", "3 minutes ago"),
        ("2025-12-31T23:56:00.1+00:00", "3 minutes ago"),
        ("2025-12-31T23:56:00", "4 minutes ago"),
        ("yesterday", "-"),
        ("", "-"),
    ],
)
def test_times_of_any_precision(text: str, shown: str) -> None:
    assert views.ago(text, NOW) == shown


def test_past_and_far_ends() -> None:
    assert views.until("2025-01-01T00:00:00Z", NOW) == "Stopping..."
    assert views.until("2318-01-01T00:00:00Z", NOW) == "Forever"
    assert views.until("?", NOW) == "-"


@pytest.mark.parametrize(
    ("size", "gpu", "text"),
    [(10, 0, "100% CPU"), (10, 10, "100% GPU"), (100, 59, "41%/59% CPU/GPU"), (0, 0, "100% CPU")],
)
def test_processor(size: int, gpu: int, text: str) -> None:
    assert views.processor(size, gpu) == text


def test_cells_of_a_table_cannot_break_it() -> None:
    assert output.table(("A", "B"), [("x\ny\x1b", "z")]) == "A      B\nx y    z"


def test_parameter_counts() -> None:
    def shown(count: float) -> str:
        return views.model({"model_info": {"general.parameter_count": count}}).split()[-1]

    assert [shown(c) for c in (134_515_008, 1.78e9, 12_000, 5)] == ["134.52M", "1.78B", "12.00K", "5"]


@pytest.mark.parametrize(
    ("told", "line"),
    [
        (None, ""),
        (
            {"on": True, "isa": "avx2", "tensors": {"q6_K": 29, "q4_K": 168}, "bytes": 934_000_000},
            "m: kernels (avx2): 168 q4_K, 29 q6_K tensors, 934 MB",
        ),
        ({"on": True, "isa": "avx2", "tensors": {}}, "m: kernels (avx2): no tensors"),
        ({"on": False, "why": "a self-test failed"}, "m: kernels are off: a self-test failed"),
    ],
)
def test_what_runs_is_told_with_our_kernels(told: Any, line: str) -> None:
    text = views.running([{"name": "m", "kernels": told}], datetime(2026, 1, 1, tzinfo=UTC))
    assert [one for one in text.splitlines() if one.startswith("m:")] == [line] * bool(line)
