"""The memory's speed: measured by a program of its own, once, kept for this machine, honest when disturbed."""

from __future__ import annotations

import dataclasses
import json
import sys
import threading

import pytest

from inhouse.machine import Bandwidth, Caches, Machine, detect, known, measured, speed
from inhouse.machine.asking import Answer
from inhouse.machine.natives import bandwidth

GIB = 2**30
MACHINE = Machine("linux", "x86_64", "CPU", 2, 2, ("avx2",), 8 * GIB, 4 * GIB, one_each=(0, 1))


@pytest.fixture
def answers(monkeypatch):
    """What the program prints, one answer a run; the orders it got."""
    said: list[Answer] = []
    orders: list[dict] = []

    def native(name: str, order: str, timeout: float) -> Answer:
        assert name == "bandwidth"
        orders.append(json.loads(order))
        return said.pop(0)

    monkeypatch.setattr(speed, "native", native)
    return said, orders


def quiet(monkeypatch, *used: float) -> None:
    """The whole system's CPU seconds before and after each run."""
    seconds = iter(used)
    monkeypatch.setattr(speed, "_used", lambda: next(seconds))


def told(read: int, cpu: float = 1.0) -> Answer:
    return Answer(json.dumps({"read": read, "copy": read - 1, "size": 1, "seconds": 1.0, "cpu": cpu}))


def test_it_is_measured_once_and_kept(tmp_path, monkeypatch, answers):
    said, orders = answers
    said.append(told(40))
    quiet(monkeypatch, 10.0, 11.0)
    first = measured(MACHINE, tmp_path / "home")
    assert (first.bandwidth.read, first.bandwidth.copy, first.bandwidth.threads) == (40, 39, 2)
    assert first.bandwidth.busy == 0
    assert first.troubles == ()
    assert measured(MACHINE, tmp_path / "home") == first
    assert known(MACHINE, tmp_path / "home") == first
    assert len(orders) == 1


def test_another_machine_is_measured_anew_and_both_are_kept(tmp_path, monkeypatch, answers):
    said, orders = answers
    said += [told(40), told(80)]
    quiet(monkeypatch, 0, 1, 0, 1)
    other = dataclasses.replace(MACHINE, cpu="another")
    measured(MACHINE, tmp_path)
    assert known(other, tmp_path).bandwidth == Bandwidth()
    assert measured(other, tmp_path).bandwidth.read == 80
    assert known(MACHINE, tmp_path).bandwidth.read == 40
    assert len(orders) == 2


def test_what_was_measured_beside_others_is_measured_again_and_never_replaces_a_faster_one(
    tmp_path, monkeypatch, answers
):
    said, orders = answers
    monkeypatch.setattr(speed.os, "cpu_count", lambda: 1)
    monkeypatch.setattr(speed.time, "perf_counter", iter(range(100)).__next__)
    said += [told(30), told(20), told(50)]
    quiet(monkeypatch, 0, 1.6, 0, 1.7, 0, 1)
    assert measured(MACHINE, tmp_path).bandwidth.busy == 0.6
    assert measured(MACHINE, tmp_path).bandwidth.read == 30
    assert measured(MACHINE, tmp_path).bandwidth.read == 50
    assert measured(MACHINE, tmp_path).bandwidth.read == 50
    assert len(orders) == 3


def test_it_is_measured_again_when_asked_for(tmp_path, monkeypatch, answers):
    said, _ = answers
    said += [told(40), told(35)]
    quiet(monkeypatch, 0, 1, 0, 1)
    measured(MACHINE, tmp_path)
    assert measured(MACHINE, tmp_path, again=True).bandwidth.read == 35
    assert known(MACHINE, tmp_path).bandwidth.read == 35


@pytest.mark.parametrize(
    "answer, why",
    [
        (Answer(why="it did not answer within 10 seconds"), "it did not answer within 10 seconds"),
        (Answer(), "the test printed nothing"),
        (Answer("{}"), "the test's answer has another form than expected"),
        (Answer("[1]"), "the test's answer has another form than expected"),
        (Answer('{"read": "x"}'), "the test's answer has another form than expected"),
    ],
)
def test_a_test_that_fails_is_a_trouble_and_what_was_known_stays(tmp_path, monkeypatch, answers, answer, why):
    said, _ = answers
    said += [told(40), answer]
    quiet(monkeypatch, *range(10))
    measured(MACHINE, tmp_path)
    again = measured(MACHINE, tmp_path, again=True)
    assert again.bandwidth.read == 40
    assert [(t.source, t.why) for t in again.troubles] == [("memory bandwidth", why)]


def test_with_little_free_memory_it_is_not_measured(tmp_path):
    found = measured(dataclasses.replace(MACHINE, memory_available=2**27), tmp_path)
    assert found.troubles[0].why == "there is too little free memory to measure with"
    assert not (tmp_path / "machine.json").exists()


def test_many_cores_with_little_memory_are_not_measured(tmp_path):
    many = dataclasses.replace(MACHINE, physical_cores=64, logical_cores=64, one_each=tuple(range(64)))
    found = measured(dataclasses.replace(many, memory_available=GIB), tmp_path)
    assert found.troubles[0].why == "there is too little free memory to measure with"


@pytest.mark.parametrize(
    "text", [b'{"bandwidth": "\xff"}', b'{"bandwidth":' + b"[" * 5000 + b"]" * 5000 + b"}", b"["]
)
def test_a_file_of_rubbish_is_as_none(tmp_path, text):
    (tmp_path / "machine.json").write_bytes(text)
    assert known(MACHINE, tmp_path).bandwidth == Bandwidth()


def test_only_the_newest_are_kept(tmp_path, monkeypatch, answers):
    said, _ = answers
    monkeypatch.setattr(speed, "_used", lambda: 0.0)
    monkeypatch.setattr(speed.time, "time", iter(range(100)).__next__)
    machines = [dataclasses.replace(MACHINE, cpu=str(number)) for number in range(20)]
    for machine in machines:
        said.append(told(40))
        measured(machine, tmp_path)
    assert [known(machine, tmp_path).bandwidth.read for machine in machines] == [0] * 4 + [40] * 16


@pytest.mark.parametrize("text", ["", "{", "[]", '{"bandwidth": 1}', '{"bandwidth": {"a": {"read": -1}}}'])
def test_a_broken_file_is_as_none(tmp_path, text):
    (tmp_path / "machine.json").write_text(text)
    assert known(MACHINE, tmp_path).bandwidth == Bandwidth()


def test_a_home_that_cannot_be_written_keeps_nothing(tmp_path, monkeypatch, answers):
    answers[0].append(told(40))
    quiet(monkeypatch, 0, 1)
    (tmp_path / "home").write_text("a file")
    assert measured(MACHINE, tmp_path / "home").bandwidth.read == 40


def test_buffers_are_larger_than_all_caches_and_every_core_has_one(tmp_path, monkeypatch, answers):
    said, orders = answers
    said.append(told(40))
    quiet(monkeypatch, 0, 1)
    caches = Caches(l3=2**25, l3_cores=4, l3_total=2**27)
    cores = dataclasses.replace(
        MACHINE, physical_cores=4, logical_cores=8, one_each=(0, 2, 4, 6), caches=caches
    )
    measured(cores, tmp_path)
    assert orders[0]["cpus"] == [0, 2, 4, 6]
    assert orders[0]["size"] * 4 == 4 * 2**27


def test_this_machines_memory_is_measured(tmp_path):
    found = measured(detect(), tmp_path)
    assert found.troubles == ()
    assert 10**8 < found.bandwidth.copy <= found.bandwidth.read < 10**14
    assert found.bandwidth.threads >= 1


def test_the_test_reads_and_copies_on_every_core():
    test = bandwidth.Test(2**20, [0, 0])
    rates = test.run()
    assert test.filled == [bandwidth.LEAST] * 2
    assert set(rates) == {"memchr", "memcmp", "memmove"}
    assert all(rate > 0 for rate in rates.values())
    assert all(len(rows) == 2 and len(rows[0]) == bandwidth.SPANS for rows in test.spans.values())


def test_pages_are_touched_only_as_long_as_there_is_time(monkeypatch):
    monkeypatch.setattr(bandwidth, "FILLING", 0.0)
    test = bandwidth.Test(2**30, [0])
    filled: list[int] = []
    monkeypatch.setattr(test, "_time", lambda name, size, call: filled.append(size))
    test.run()
    assert set(filled) == {bandwidth.LEAST}


def test_a_thread_that_fails_does_not_let_the_others_wait(monkeypatch):
    test = bandwidth.Test(2**20, [0, 1])
    report = threading.excepthook

    def others(args: threading.ExceptHookArgs) -> None:
        if args.exc_type not in (MemoryError, threading.BrokenBarrierError):
            report(args)

    monkeypatch.setattr(threading, "excepthook", others)

    def fails(cpu: int) -> None:
        if cpu:
            raise MemoryError
        test._gate.wait(30)

    monkeypatch.setattr(test, "_measure", fails)
    test.run()
    assert test._gate.broken


def test_the_program_prints_what_it_measured(monkeypatch):
    monkeypatch.setattr(bandwidth, "SPAN", 0.001)
    found = bandwidth.main({"size": 2**20, "cpus": [0]})
    assert found["read"] >= found["copy"] > 0
    assert found["size"] == bandwidth.LEAST
    assert sys.getsizeof(json.dumps(found)) < 1000
