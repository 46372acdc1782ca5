"""The journal: numbered over restarts, overloads in two lines, read while it is written."""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from inhouse.core.journal import Record
from inhouse.journal import Book, Journal, Line, Trace, Traces, Trouble
from inhouse.journal import journal as module


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def evicted(cause: str = "Room was needed.", **more: Any) -> Record:
    return Record("eviction", "fake:latest", cause, **more)


def refused(cause: str, model: str = "fake:latest") -> Record:
    return Record("refusal", model, cause, "Wait.", facts={"waiting": 3})


def book(folder: Path, name: str = "events") -> Book:
    return Book(folder, name, size=2**20, days=30)


def causes(lines: list[Line]) -> list[str]:
    return [line.record.cause for line in lines]


def test_numbers_go_on_after_a_restart(tmp_path: Path) -> None:
    first = Journal(book(tmp_path))
    first.write(evicted(facts={"bytes": 7, "seconds": 1.5, "names": ["a"]}, remedy="More memory."))
    first.write(evicted("Again."))
    first.close()
    second = Journal(book(tmp_path))
    second.write(evicted("Third."))
    assert [line.number for line in second.lines()] == [1, 2, 3]
    before = second.lines()[0].record
    assert dict(before.facts) == {"bytes": 7, "seconds": 1.5, "names": ["a"]}
    assert (before.kind, before.model, before.remedy) == ("eviction", "fake:latest", "More memory.")
    second.close()


def test_lines_of_strangers_and_torn_ones_are_passed_over(tmp_path: Path) -> None:
    first = Journal(book(tmp_path))
    first.write(evicted("Kept."))
    first.close()
    piece = next(tmp_path.glob("events.*.jsonl"))
    piece.write_bytes(piece.read_bytes() + b'[1]\n{"number":"x"}\n\xff\xfe\n{"number":9,"at":1.0,"rec')
    second = Journal(book(tmp_path))
    second.write(evicted("After."))
    assert causes(second.lines()) == ["Kept.", "After."]
    second.close()
    assert causes(Journal(book(tmp_path)).lines()) == ["Kept.", "After."]


def test_what_memory_forgot_is_still_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT", 10)
    journal = Journal(book(tmp_path))
    for number in range(25):
        journal.write(evicted(f"{number}"))
    assert causes(journal.lines()) == [f"{n}" for n in range(15, 25)]
    assert causes(journal.everything()) == [f"{n}" for n in range(25)]
    journal.close()


def test_facts_that_are_no_json_harm_nobody(tmp_path: Path) -> None:
    journal = Journal(book(tmp_path))
    journal.write(evicted(facts={"path": Path("x"), "much": float("inf")}))
    loop: dict[str, Any] = {}
    loop["self"] = loop
    journal.write(evicted(facts=loop))
    journal.write(evicted("After."))
    journal.close()
    assert journal.dropped == 1
    assert causes(Journal(book(tmp_path)).lines()) == ["Room was needed.", "After."]


def test_an_overload_is_two_lines() -> None:
    clock = Clock()
    heard: list[Record] = []
    journal = Journal(hear=heard.append, monotonic=clock)
    for waiting in range(500):
        journal.write(refused(f"{waiting} wait."))
    assert len(heard) == 500
    journal.write(refused("1 waits.", "other:latest"))
    assert len(journal.lines()) == 2
    clock.now += module.WINDOW
    last = journal.lines()[-1]
    assert (last.record.cause, last.record.facts["times"]) == ("499 wait.", 499)
    journal.write(refused("7 wait."))
    assert causes(journal.lines()) == ["0 wait.", "1 waits.", "499 wait.", "7 wait."]


def test_what_was_only_counted_is_told_at_the_end(tmp_path: Path) -> None:
    journal = Journal(book(tmp_path))
    for _ in range(3):
        journal.write(refused("Full."))
    journal.close()
    assert [line.record.facts.get("times") for line in Journal(book(tmp_path)).lines()] == [None, 2]


def test_evictions_are_all_written() -> None:
    journal = Journal()
    for _ in range(5):
        journal.write(evicted())
    assert len(journal.lines()) == 5


async def test_followers_get_what_there_is_and_what_comes_from_any_thread() -> None:
    journal = Journal()
    journal.write(evicted("1"))
    journal.write(evicted("2"))
    seen: list[str] = []
    ended = False
    async with aclosing(journal.follow(1, lambda: ended)) as lines:
        async for line in lines:
            seen.append(line.record.cause)
            if len(seen) == 1:
                threading.Thread(target=journal.write, args=(evicted("3"),)).start()
            if len(seen) == 2:
                journal.write(evicted("4"))
            if len(seen) == 3:
                ended = True
    assert seen == ["2", "3", "4"]


async def test_a_follower_that_leaves_is_forgotten() -> None:
    journal = Journal()
    lines = journal.follow(0, lambda: False)
    waiting = asyncio.ensure_future(anext(lines))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await lines.aclose()
    assert not journal._woken
    journal.write(evicted())


async def test_followers_end_with_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TURN", 0.01)
    assert [line async for line in Journal().follow(0, lambda: True)] == []


def trace(id: str, tenant: str = "", **more: Any) -> Trace:
    return Trace(id=id, at=1.0, tenant=tenant, **more)


def test_traces_outlive_the_process_and_belong_to_whoever_asked(tmp_path: Path) -> None:
    first = Traces(book(tmp_path, "traces"))
    first.write(trace("r", "ann", model="a", trouble=Trouble("queue_full", "Full.")))
    first.write(trace("r", "bob", model="b"))
    first.write(trace("r", "ann", model="c"))
    first.close()
    again = Traces(book(tmp_path, "traces"))
    assert [one.model for one in again.named("r", None)] == ["c", "b", "a"]
    assert [one.model for one in again.named("r", "ann")] == ["c", "a"]
    assert again.named("r", "eve") == []
    assert again.named("r", "ann")[1].trouble == Trouble("queue_full", "Full.")
    again.close()


def test_an_old_request_is_found_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inhouse.journal.trace.KEPT", 3)
    traces = Traces(book(tmp_path, "traces"))
    for number in range(9):
        traces.write(trace(f"r{number}"))
    assert [one.id for one in traces.items()] == ["r6", "r7", "r8"]
    assert [one.id for one in traces.named("r1", "")] == ["r1"]
    assert traces.dropped == 0
    traces.close()


def test_an_id_that_nobody_knows_costs_no_second_look_at_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inhouse.journal.trace.KEPT", 3)
    traces = Traces(Book(tmp_path, "traces", size=20_000, days=30))
    for number in range(60):
        traces.write(trace(f"r{number}"))
    assert traces.named("nobody", None) == []
    opened: list[Path] = []
    real = Path.open

    def spied(path: Path, *given: Any, **more: Any) -> Any:
        opened.append(path)
        return real(path, *given, **more)

    def never(path: Path) -> bytes:
        raise AssertionError(f"{path} is read as a whole")

    monkeypatch.setattr(Path, "open", spied)
    monkeypatch.setattr(Path, "read_bytes", never)
    assert traces.named("nobody", None) == []
    assert opened == []
    for number in range(60, 64):
        traces.write(trace(f"r{number}"))
    assert traces.named("nobody", None) == []
    assert len(set(opened)) == 1, "only what was written since is looked at"
    monkeypatch.undo()
    assert [one.id for one in traces.named("r59", None)] == ["r59"]
    traces.close()


def test_ids_on_disk_are_found_whatever_letters_they_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inhouse.journal.trace.KEPT", 1)
    traces = Traces(book(tmp_path, "traces"))
    ids = ['with "quotes"', "back\\slash", "ü", "", "same", "same", "last"]
    for id in ids:
        traces.write(trace(id, model=f"m {id}"))
    for id in ids[:4]:
        assert [one.model for one in traces.named(id, None)] == [f"m {id}"]
    assert len(traces.named("same", None)) == 2
    assert traces.named("sam", None) == []
    traces.close()


def test_lines_of_impossible_times_are_passed_over(tmp_path: Path) -> None:
    record = {"kind": "load", "model": "m", "cause": "c"}
    rows = [{"number": 1, "at": 1e20, "record": record}, {"number": 2, "at": -1, "record": record}]
    rows += [{"number": 2**70, "at": 5, "record": record}, {"number": 3, "at": 5, "record": record}]
    (tmp_path / "events.1.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "traces.1.jsonl").write_text('{"id": "x", "at": 1e20}\n{"id": "y", "at": 1e9}\n')
    journal = Journal(Book(tmp_path, "events", size=2**20, days=30))
    assert [line.number for line in journal.lines()] == [3]
    assert [one.id for one in Traces(Book(tmp_path, "traces", size=2**20, days=30)).items()] == ["y"]
