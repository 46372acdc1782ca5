"""What the server writes of itself, and what it can tell of the one before it; where both books lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from inhouse.core.journal import Record
from inhouse.journal import Diary, Journal, Trace, opened
from inhouse.journal.shelf import SHARE


def last(journal: Journal) -> Record:
    return journal.lines()[-1].record


def test_the_first_start_finds_nothing_broken() -> None:
    journal = Journal()
    Diary(journal).begin(["INHOUSE_MEMORY"], [])
    assert last(journal).facts["after"] == "clean"
    assert last(journal).facts["settings"] == ["INHOUSE_MEMORY"]
    assert last(journal).remedy == ""


def test_after_an_end_the_next_start_is_clean() -> None:
    journal = Journal()
    first = Diary(journal)
    first.begin([], [])
    journal.write(Record("notice", "m", "Something else."))
    first.end()
    assert last(journal).facts["state"] == "stopped"
    Diary(journal).begin([], [])
    assert last(journal).facts["after"] == "clean"


@pytest.mark.parametrize("left", [[], ["2 worker sockets"]])
def test_a_start_without_an_end_before_it_is_told_with_a_remedy(left: list[str]) -> None:
    journal = Journal()
    if not left:
        Diary(journal).begin([], [])
    Diary(journal).begin([], left)
    assert (last(journal).facts["after"], last(journal).facts["left"]) == ("broken", left)
    assert "did not end by itself" in last(journal).cause
    assert "out-of-memory" in last(journal).remedy


def test_both_books_share_the_space_and_outlive_the_server(tmp_path: Path) -> None:
    heard: list[Record] = []
    journal, traces = opened(tmp_path, size=2**20, days=0, hear=heard.append)
    journal.write(Record("notice", "m", "It was loaded."))
    traces.write(Trace(id="r-1", at=1.0))
    for one in (journal, traces):
        one.close()
    assert [record.cause for record in heard] == ["It was loaded."]
    names = {path.name.split(".")[0] for path in tmp_path.iterdir()}
    assert names == {"events", "traces"}
    again, ways = opened(tmp_path, size=2**20, days=0)
    assert [line.record.cause for line in again.lines()] == ["It was loaded."]
    assert [one.at for one in ways.named("r-1", None)] == [1.0]
    for one in (again, ways):
        one.close()
    assert SHARE > 2  # traces are more


def test_without_a_size_nothing_is_written(tmp_path: Path) -> None:
    journal, traces = opened(tmp_path / "journal", size=0, days=30)
    journal.write(Record("notice", "m", "It was loaded."))
    for one in (journal, traces):
        one.close()
    assert not (tmp_path / "journal").exists()
