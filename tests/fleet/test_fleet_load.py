"""Thousands in line: what an event costs must not grow with those who wait."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inhouse.fleet.crowd import Crowd, Waiting
from inhouse.fleet.eviction import Claim, Resident, plan
from inhouse.fleet.fairness import FairQueue
from inhouse.fleet.limits import Limits
from inhouse.fleet.memory import Room
from inhouse.fleet.messages import Arrive, Event, Ready, Refuse, Tick
from inhouse.fleet.scheduler import Scheduler
from inhouse.fleet.story import Ahead

FEW, MANY = 250, 4000


def crowded(count: int) -> Scheduler:
    """One model at work and ``count`` requests of ten tenants in its line, which is full then."""
    scheduler = Scheduler(Limits(max_queue=count, queue_timeout=600.0))
    scheduler.step(Arrive("r", "k", "g", "t0", 1), 0.0)
    scheduler.step(Ready("k", 1), 0.0)
    for number in range(count):
        scheduler.step(Arrive(number, "k", "g", f"t{number % 10}", 1, work=9), number * 1e-6)
    return scheduler


def best(act: Callable[[], object], make: Callable[[], object] = lambda: None, times: int = 5) -> float:
    """Seconds that it takes when nothing disturbs."""
    seconds = []
    for _ in range(times):
        make()
        began = time.perf_counter()
        act()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def all_expire(count: int) -> float:
    house: list[Scheduler] = []

    def late() -> None:
        assert len(house[-1].step(Tick(), 601.0)) == count

    return best(late, lambda: house.append(crowded(count)), 3) / count


def one_arrives(count: int) -> float:
    scheduler = crowded(count)

    def overload() -> None:
        for _ in range(50):
            assert [type(one) for one in step(Arrive(object(), "k", "g", "t1", 1, work=9))] == [Refuse]

    def step(event: Event) -> list[object]:
        return list(scheduler.step(event, 1.0))

    return best(overload) / 50


def one_looks_around(count: int) -> float:
    model = crowded(count).model("k")
    assert model is not None
    assert Ahead.of(model, "t1", limited=False).own == count / 10
    return best(lambda: [Ahead.of(model, "t1", limited=False) for _ in range(50)]) / 50


def one_rises(count: int) -> float:
    """Half of a line rises among those who came later."""
    queues: list[FairQueue] = []

    def make() -> None:
        queues.append(FairQueue())
        for number in range(count):
            since, priority = (0.0, -1) if number < count // 2 else (20.0, 0)
            queues[-1].push(Waiting(number, "t", since + number * 1e-6, 1, priority=priority))

    def rise() -> None:
        head = queues[-1].head(31.0)
        assert head is not None
        assert head.ticket == 0

    return best(rise, make, 3) / count


@pytest.mark.parametrize("cost", [all_expire, one_arrives, one_looks_around, one_rises])
def test_what_one_request_costs_does_not_grow_with_the_line(cost: Callable[[int], float]) -> None:
    assert cost(MANY) < 4 * cost(FEW)


def test_a_claim_that_only_has_to_wait_is_not_weighed_against_all_sets_of_idle_models() -> None:
    def resident(number: int) -> Resident:
        gone = number == 0
        return Resident(number, number, 10, not gone, gone, True, False, 0.0, 0.0)

    residents = [resident(number) for number in range(13)]
    claim = Claim("new", "new", 10, 0.0)

    def ask() -> None:
        assert not plan([claim], residents, Room.of(130, 0), 2.0).yielding

    assert best(ask) < 0.002


ITEMS = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(-1, 1), st.integers(1, 9), st.booleans()), max_size=30
)


@given(ITEMS)
def test_a_crowd_counts_as_a_walk_along_the_line_would(steps: list[tuple[str, int, int, bool]]) -> None:
    crowd, there = Crowd(), list[Waiting]()
    for number, (tenant, priority, work, leaves) in enumerate(steps):
        there.append(Waiting(number, tenant, float(number), 1, None, priority, work))
        crowd.add(there[-1])
        if leaves:
            crowd.remove(there.pop(work % len(there)))
    assert crowd.lowest == min((min(0, one.priority) for one in there), default=None)
    assert crowd.work() == sum(one.work for one in there)
    for tenant in "abc":
        own = [one for one in there if one.tenant == tenant]
        assert crowd.count(tenant) == len(own)
        assert crowd.work(tenant) == sum(one.work for one in own)
        for priority in (-1, 0):
            same = [one for one in own if min(0, one.priority) == priority]
            assert crowd.counts(priority).get(tenant, 0) == len(same)
            assert crowd.newest(tenant, priority) == (same[-1] if same else None)
