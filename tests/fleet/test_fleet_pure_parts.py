"""Fairness, memory and eviction on their own."""

from __future__ import annotations

import errno
import math
import os

import psutil
import pytest

from inhouse.fleet import footprint
from inhouse.fleet.eviction import Claim, Resident, plan
from inhouse.fleet.fairness import RISE, FairQueue, Waiting, crowded_out
from inhouse.fleet.memory import Room, gib


def waiting(ticket: object, tenant: str = "t", since: float = 0.0, priority: int = 0) -> Waiting:
    return Waiting(ticket, tenant, since, 1, priority=priority)


def filled(*items: Waiting) -> FairQueue:
    queue = FairQueue()
    for item in items:
        queue.push(item)
    return queue


def served(queue: FairQueue, now: float = 0.0) -> list[object]:
    out = []
    while (item := queue.head(now)) is not None:
        queue.serve(item)
        out.append(item.ticket)
    return out


def test_tenants_alternate_and_each_keeps_its_order() -> None:
    queue = filled(waiting(1, "x"), waiting(2, "x"), waiting(3, "x"), waiting(4, "y"), waiting(5, "z"))
    assert served(queue) == [1, 4, 5, 2, 3]
    assert len(queue) == 0


def test_who_leaves_the_line_takes_no_turn_from_its_tenant() -> None:
    one, two, three = waiting(1, "x"), waiting(2, "x"), waiting(3, "y")
    queue = filled(one, two, three)
    queue.remove(one)
    assert served(queue) == [2, 3]


def test_a_barrier_hides_those_who_came_later() -> None:
    queue = filled(waiting(1, "x", 10.0), waiting(2, "y", 5.0))
    head = queue.head(10.0, until=5.0)
    assert head is not None
    assert head.ticket == 2
    assert queue.head(10.0, until=4.9) is None
    oldest = queue.oldest()
    assert oldest is not None
    assert oldest.ticket == 2


def test_a_newcomer_displaces_the_newest_of_the_greediest_tenant() -> None:
    first = filled(waiting(1, "x", 1.0), waiting(2, "x", 2.0))
    second = filled(waiting(3, "x", 3.0), waiting(4, "y", 4.0))
    out = crowded_out([first, second], "new", 0)
    assert out is not None
    assert out.ticket == 3


def test_nobody_is_displaced_for_one_who_has_as_much() -> None:
    queue = filled(waiting(1, "x"), waiting(2, "x"), waiting(3, "y"))
    assert crowded_out([queue], "x", 0) is None
    assert crowded_out([queue], "y", 0) is None
    assert crowded_out([], "x", 0) is None


def test_the_urgent_are_served_first_and_tenants_alternate_among_equals() -> None:
    queue = filled(
        waiting("low", "x", priority=-1),
        waiting(1, "x"),
        waiting(2, "x"),
        waiting(3, "y"),
        waiting("x1", "x", priority=1),
        waiting("x2", "x", priority=1),
        waiting("y1", "y", priority=1),
        waiting("beyond", "z", priority=9),
    )
    assert served(queue) == ["x1", "y1", "beyond", "x2", 3, 1, 2, "low"]  # x had two already
    assert len(queue) == 0


def test_who_waits_rises_and_stands_before_those_of_its_tenant_that_came_later() -> None:
    queue = filled(
        waiting("low", "x", 0.0, -1),
        waiting("late", "x", RISE - 1, 0),
        waiting("other", "y", RISE - 2, 0),
        waiting("urgent", "x", 2 * RISE, 1),
    )
    assert len(queue) == 4
    copy = filled(*queue)
    assert served(copy, RISE - 0.1) == ["urgent", "other", "late", "low"]
    copy = filled(*queue)
    assert served(copy, RISE) == ["urgent", "other", "low", "late"]
    assert served(queue, 2 * RISE) == ["low", "other", "late", "urgent"]


def test_one_that_rose_leaves_from_where_it_stands() -> None:
    items = [waiting(n, "x", float(n), -1) for n in range(4)]
    queue = filled(*items)
    queue.head(RISE + 1)
    queue.remove(items[0])
    queue.remove(items[3])
    assert served(queue, 3 * RISE) == [1, 2]
    assert queue.oldest() is None


def test_a_long_life_leaves_nothing_behind() -> None:
    queue = FairQueue()
    for n in range(1000):
        queue.push(waiting(n, "x", float(n) / 1000))
        assert served(queue, float(n) / 1000) == [n]
    assert len(queue._rises) < 50


def test_a_full_house_refuses_the_least_urgent_first() -> None:
    queue = filled(
        waiting(1, "x", 1.0), waiting(2, "x", 2.0), waiting(3, "y", 3.0, -1), waiting(4, "z", 4.0, 1)
    )
    for priority in (0, 1):
        out = crowded_out([queue], "x", priority)
        assert out is not None
        assert out.ticket == 3
    assert crowded_out([queue], "x", -1) is None
    queue.remove(waiting(3, "y", 3.0, -1))
    assert crowded_out([queue], "new", -1) is None
    assert crowded_out([queue], "x", 1) is None
    out = crowded_out([queue], "new", 1)
    assert out is not None
    assert out.ticket == 2


def test_calling_oneself_urgent_keeps_no_place_in_a_full_house() -> None:
    queue = filled(waiting(1, "x", 1.0, 1), waiting(2, "x", 2.0, 1))
    out = crowded_out([queue], "new", 0)
    assert out is not None
    assert out.ticket == 2


def test_having_waited_for_long_does_not_keep_a_greedy_tenant_in_a_full_house() -> None:
    queue = filled(waiting(1, "x", 0.0), waiting(2, "x", 0.0))
    queue.head(10 * RISE)
    assert crowded_out([queue], "new", 0) is not None


def test_room_counts_bytes_and_models() -> None:
    room = Room.of(100, 2)
    assert room.fits(100)
    assert not room.fits(101)
    assert not room.take(10).take(10).fits(1)
    assert room.take(60).free(60) == room
    assert Room.of(0, 0).take(10**15).fits(10**15)


def test_sizes_read_well() -> None:
    assert gib(3 * 2**29) == "1.5 GiB"
    assert gib(100 * 2**20) == "100 MiB"


def resident(key: str, memory: int, *, idle: bool = True, **other: float) -> Resident:
    return Resident(
        key=key,
        group=key,
        memory=memory,
        settled=True,
        leaving=False,
        idle=idle,
        kept=bool(other.get("kept", False)),
        last_used=other.get("last_used", 0.0),
        since=other.get("since", 0.0),
    )


def test_nothing_is_evicted_if_that_would_not_make_enough_room() -> None:
    loading = Resident("l", "l", 80, False, False, False, False, 0, 0)
    decided = plan([Claim("n", "n", 50, 0.0)], [loading, resident("i", 10)], Room.of(100, 0), 1.0)
    assert decided.start == []
    assert decided.yielding == {}


def test_room_that_is_coming_back_is_not_made_twice() -> None:
    leaving = Resident("l", "l", 80, False, True, False, False, 0, 0)
    decided = plan([Claim("n", "n", 50, 0.0)], [leaving, resident("i", 10)], Room.of(100, 0), 1.0)
    assert decided.start == []
    assert decided.yielding == {}


def test_busy_victims_serve_on_for_the_patience_and_the_longest_resident_goes_first() -> None:
    old, new = resident("old", 50, idle=False, since=1.0), resident("new", 50, idle=False, since=2.0)
    decided = plan([Claim("n", "n", 50, 7.0)], [new, old], Room.of(100, 0), 2.0)
    assert decided.yielding == {"old": 9.0}


def test_an_idle_victim_serves_nothing_more() -> None:
    decided = plan([Claim("n", "n", 50, 7.0)], [resident("i", 60)], Room.of(100, 0), 2.0)
    assert decided.yielding == {"i": -math.inf}


def test_two_claims_take_different_victims() -> None:
    claims = [Claim("n", "n", 50, 7.0), Claim("m", "m", 50, 8.0)]
    decided = plan(claims, [resident("i", 50), resident("j", 50, last_used=1.0)], Room.of(100, 0), 2.0)
    assert set(decided.yielding) == {"i", "j"}


def test_workers_whose_memory_cannot_be_looked_at_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def out_of_descriptors(self: psutil.Process) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(psutil.Process, "memory_info", out_of_descriptors)
    assert footprint.measure([os.getpid()]) == {}
    assert footprint.resident(os.getpid()) == 0
