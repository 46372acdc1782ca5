"""Limits by key and model, deadlines, and how long those are told to wait who are refused."""

from __future__ import annotations

import math

import pytest

from inhouse.core.errors import DeadlineExceeded, OutOfMemory, QueueFull, RateLimited
from inhouse.fleet.alarms import Alarms
from inhouse.fleet.limits import Limits
from inhouse.fleet.messages import Arrive as Come
from inhouse.fleet.messages import Grant, Leave, LoadFailed, Ready, Refuse, Start, Stop, StopWanted, Tick
from inhouse.fleet.scheduler import Scheduler

from .test_fleet_work import Shop


def test_a_key_runs_no_more_than_it_may_and_holds_up_nobody() -> None:
    shop = Shop(3, key_concurrency=1)
    first, second = shop.arrive("a"), shop.arrive("a")
    other = shop.arrive("b")
    assert set(shop.running) == {first, other}
    shop.finish(other)
    assert set(shop.running) == {first}
    shop.finish(first)
    assert set(shop.running) == {second}


def test_a_keys_limit_counts_over_all_models() -> None:
    shop = Shop(2, key_concurrency=1)
    first = shop.arrive("a")
    step = shop.scheduler.step
    assert step(Come("n1", "n", "n", "a", 1), 0.0) == [Start("n")]
    assert step(Ready("n", 1), 0.0) == []
    model = shop.scheduler.model("n")
    assert model is not None
    assert not model.running
    assert [c.ticket for c in step(Leave(first, ok=True), 0.0)] == ["n1"]  # type: ignore[union-attr]


def test_a_model_whose_line_waits_for_its_key_is_not_unloaded_as_idle() -> None:
    shop = Shop(1, key_concurrency=1)
    shop.arrive("a")
    step = shop.scheduler.step
    step(Come("n1", "n", "n", "a", 1), 0.0)
    step(StopWanted("n"), 0.0)  # while it loads: to be unloaded as soon as it is idle
    assert step(Ready("n", 1), 0.0) == []
    assert step(Tick(), 1e6) == []
    assert shop.scheduler.next_wake() == 1e9


def test_a_model_runs_no_more_than_it_may_whatever_its_slots() -> None:
    shop = Shop(4, model_concurrency=2)
    tickets = [shop.arrive(tenant) for tenant in "abc"]
    assert set(shop.running) == set(tickets[:2])
    shop.finish(tickets[0])
    assert set(shop.running) == set(tickets[1:])


def test_a_keys_line_has_its_own_limit_and_its_own_answer() -> None:
    shop = Shop(1, key_queue=2)
    for _ in range(3):
        shop.arrive("a")
    late = shop.arrive("a")
    error = shop.refused[late]
    assert isinstance(error, RateLimited)
    assert not isinstance(error, QueueFull)
    assert "limit 2" in error.message
    assert error.retry_after is not None
    other = shop.arrive("b")
    assert other in shop.waiting
    for _ in range(2):
        shop.finish(next(iter(shop.running)))
    assert shop.arrive("a") in shop.waiting


def test_no_limits_by_default() -> None:
    shop = Shop(1)
    for _ in range(100):
        shop.arrive("a")
    assert not shop.refused


# Retry-After


def served(shop: Shop, work: int, seconds: float) -> None:
    """One request that sets the pace."""
    ticket = shop.arrive("pace", work)
    shop.now += seconds
    shop.finish(ticket, work)


@pytest.mark.parametrize(
    ("slots", "pace", "waiting", "seconds"),
    [
        (1, 0.01, 10, 1 + 5),  # 100 tokens of 0.01 s run, and half of ten times as many are in line
        (2, 0.01, 10, (2 + 5) / 2),
        (1, 0.1, 10, 60),  # a minute at most
        (1, 0.0001, 10, 1),  # a second at least
    ],
)
def test_retry_after_is_the_time_until_the_line_is_half_as_long(
    slots: int, pace: float, waiting: int, seconds: float
) -> None:
    shop = Shop(slots, max_queue=waiting)
    served(shop, 1000, 1000 * pace)
    shop.scheduler._history._pasts["m"].pace = pace  # what the first, empty request did to it is not meant
    for _ in range(slots + waiting):
        shop.arrive("a", 100)
    error = shop.refused[shop.arrive("a", 100)]
    assert isinstance(error, QueueFull)
    assert error.retry_after == pytest.approx(seconds)


def test_retry_after_counts_what_has_run_already_and_the_rest_of_a_load() -> None:
    shop = Shop(1, max_queue=2)
    served(shop, 100, 10)
    shop.scheduler._history._pasts["m"].pace = 0.1
    for _ in range(3):
        shop.arrive("a", 100)
    shop.tick(4.0)
    error = shop.refused[shop.arrive("a", 100)]
    assert isinstance(error, QueueFull)
    assert error.retry_after == pytest.approx(6 + 10)

    empty = Shop(1, max_queue=1)
    empty.do(empty.scheduler.step(StopWanted("m"), 0.0))
    step = empty.scheduler.step
    step(Come("n1", "n", "n", "a", 10 * 500 * 2**20), 0.0)
    [refused] = step(Come("n2", "n", "n", "a", 10 * 500 * 2**20), 3.0)
    assert refused.error.retry_after == pytest.approx(7)  # type: ignore[union-attr]


def test_a_key_is_told_how_long_its_own_line_takes_with_others_between() -> None:
    shop = Shop(1, key_queue=4)
    served(shop, 100, 1)
    shop.scheduler._history._pasts["m"].pace = 0.01
    shop.arrive("b", 100)
    for _ in range(4):
        shop.arrive("a", 100)
    for _ in range(3):
        shop.arrive("b", 100)
    error = shop.refused[shop.arrive("a", 100)]
    assert isinstance(error, RateLimited)
    assert error.retry_after == pytest.approx(1 + 2 + 2)


# deadlines


def test_who_is_late_is_dropped_before_it_runs() -> None:
    shop = Shop(1)
    running = shop.arrive("a")
    late = shop.arrive("b", deadline=5.0)
    assert shop.scheduler.next_wake() == 5.0
    shop.tick(4.9)
    assert late in shop.waiting
    shop.tick(0.2)
    error = shop.refused[late]
    assert isinstance(error, DeadlineExceeded)
    assert "own deadline" in error.message
    assert shop.scheduler.tickets == 1
    shop.finish(running)
    assert not shop.running


def test_a_slot_that_is_free_too_late_is_not_given_to_who_is_past_its_deadline() -> None:
    shop = Shop(1)
    running = shop.arrive("a")
    late, next_one = shop.arrive("b", deadline=5.0), shop.arrive("b")
    shop.now = 6.0  # no tick came in between
    shop.finish(running)
    assert late in shop.refused
    assert list(shop.running) == [next_one]


def test_a_deadline_that_passed_before_the_request_came_is_refused_even_where_a_slot_is_free() -> None:
    shop = Shop(1)
    shop.now = 10.0
    assert isinstance(shop.refused[shop.arrive("a", deadline=9.0)], DeadlineExceeded)


def test_a_deadline_counts_during_a_load_and_the_load_is_given_up_with_the_last() -> None:
    shop = Shop(1)
    step = shop.scheduler.step
    step(Come("n1", "n", "n", "a", 1, deadline=3.0), 0.0)
    commands = step(Tick(), 3.0)
    assert [type(c).__name__ for c in commands] == ["Refuse", "Stop"]
    assert commands[1] == Stop("n", "abandoned")


def test_alarms_ring_in_order_once_and_not_for_those_who_left() -> None:
    alarms = Alarms()
    for ticket, when in (("c", 3.0), ("a", 1.0), ("b", 2.0), ("never", math.inf)):
        alarms.set(ticket, when)
    alarms.drop("b")
    assert alarms.next() == 1.0
    assert alarms.due(0.5) == []
    assert alarms.due(3.0) == ["a", "c"]
    assert alarms.next() == math.inf
    for number in range(1000):
        alarms.set(number, 1e9)
        alarms.drop(number)
    assert len(alarms._heap) < 50


def test_after_a_failed_load_no_alarm_is_left() -> None:
    shop = Shop(1)
    step = shop.scheduler.step
    step(Come("n1", "n", "n", "a", 1, deadline=3.0), 0.0)
    step(LoadFailed("n", OutOfMemory("no")), 1.0)
    assert shop.scheduler.next_wake() == math.inf


def test_a_load_takes_nothing_of_the_time_that_a_request_may_wait() -> None:
    scheduler = Scheduler(Limits(queue_timeout=5.0))
    scheduler.step(Come("first", "m", "m", "a", 1), 0.0)
    scheduler.step(Come("meanwhile", "m", "m", "a", 1), 1.0)
    scheduler.step(Come("own", "m", "m", "a", 1, deadline=30.0), 1.0)
    [late] = scheduler.step(Tick(), 30.0)
    assert isinstance(late, Refuse)
    assert late.ticket == "own"
    assert scheduler.step(Tick(), 200.0) == []
    assert scheduler.step(Ready("m", 1), 201.0) == [Grant("first", "m")]
    assert scheduler.next_wake() == 206.0
    [refused] = scheduler.step(Tick(), 206.0)
    assert isinstance(refused, Refuse)
    assert refused.ticket == "meanwhile"


def test_who_waits_for_room_may_wait_no_longer_than_others() -> None:
    scheduler = Scheduler(Limits(queue_timeout=5.0, max_loaded=1, patience=1e6))
    scheduler.step(Come("runs", "a", "a", "a", 1), 0.0)
    scheduler.step(Ready("a", 1), 0.0)
    assert scheduler.step(Come("waits", "b", "b", "a", 1), 1.0) == []
    [refused] = scheduler.step(Tick(), 6.0)
    assert isinstance(refused, Refuse)


def test_an_alarm_that_is_set_again_rings_once_and_at_its_new_time() -> None:
    alarms = Alarms()
    alarms.set(1, 1.0)
    alarms.set(1, math.inf)
    assert alarms.next() == math.inf
    alarms.set(1, 3.0)
    alarms.set(1, 3.0)
    assert alarms.due(2.0) == []
    assert alarms.due(3.0) == [1]
    assert alarms.next() == math.inf


def test_where_nobody_may_wait_a_free_slot_is_still_taken() -> None:
    scheduler = Scheduler(Limits(queue_timeout=0.0))
    scheduler.step(Come("load", "m", "m", "a", 1), 0.0)
    assert scheduler.step(Ready("m", 1), 0.9) == [Grant("load", "m")]
    [refused] = scheduler.step(Come("late", "m", "m", "a", 1), 1.0) + scheduler.step(Tick(), 1.1)
    assert isinstance(refused, Refuse)
    assert isinstance(refused.error, DeadlineExceeded)
    scheduler.step(Leave("load", ok=True), 2.0)
    assert scheduler.step(Come("next", "m", "m", "a", 1), 2.0) == [Grant("next", "m")]
