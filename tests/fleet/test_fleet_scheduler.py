"""The scheduler by example: events in, commands out, no clock."""

from __future__ import annotations

import math

import pytest

from inhouse.core.errors import (
    CrashLoop,
    DeadlineExceeded,
    Draining,
    OutOfMemory,
    QueueFull,
    WorkerDied,
)
from inhouse.core.errors import (
    LoadFailed as LoadError,
)
from inhouse.fleet.limits import Limits
from inhouse.fleet.messages import (
    Arrive,
    Close,
    Died,
    Drain,
    Event,
    Grant,
    Leave,
    LoadFailed,
    Ready,
    Refuse,
    Start,
    Stop,
    Stopped,
    StopWanted,
    Tick,
)
from inhouse.fleet.model import State
from inhouse.fleet.scheduler import Scheduler


class House:
    """A scheduler with a hand on its clock."""

    def __init__(self, **limits: float) -> None:
        self.scheduler = Scheduler(Limits(**limits))  # type: ignore[arg-type]
        self.now = 100.0

    def __call__(self, event: Event, *, after: float = 0.0) -> list[object]:
        self.now += after
        return list(self.scheduler.step(event, self.now))

    def arrive(
        self,
        ticket: object,
        key: str = "a",
        *,
        tenant: str = "t",
        memory: int = 10,
        weight: int = 1,
        keep_alive: float | None = None,
        group: str | None = None,
        after: float = 0.0,
    ) -> list[object]:
        event = Arrive(ticket, key, group or key, tenant, memory, weight, keep_alive)
        return self(event, after=after)

    def load(self, key: str = "a", slots: int = 1, **options: object) -> None:
        """Bring a model in, idle, with a request that came and went."""
        ticket = object()
        assert self.arrive(ticket, key, **options) == [Start(key)]  # type: ignore[arg-type]
        assert self(Ready(key, slots)) == [Grant(ticket, key)]
        self(Leave(ticket, ok=True))


def refusal(commands: list[object]) -> Refuse:
    [one] = [c for c in commands if isinstance(c, Refuse)]
    return one


# loading and slots


def test_first_request_starts_the_model_and_is_granted_when_it_is_ready() -> None:
    house = House()
    assert house.arrive(1) == [Start("a")]
    assert house(Ready("a", 1)) == [Grant(1, "a")]


def test_requests_during_a_load_start_it_only_once() -> None:
    house = House()
    house.arrive(1)
    assert house.arrive(2) == []
    assert house(Ready("a", 2)) == [Grant(1, "a"), Grant(2, "a")]


def test_no_more_than_slots_run_and_the_next_follows_when_one_leaves() -> None:
    house = House()
    for ticket in (1, 2, 3):
        house.arrive(ticket)
    assert house(Ready("a", 2)) == [Grant(1, "a"), Grant(2, "a")]
    assert house(Leave(1)) == [Grant(3, "a")]
    assert house(Leave(2)) == []


def test_a_wide_request_takes_several_slots_and_is_not_starved_by_narrow_ones() -> None:
    house = House()
    house.load("a", 4)
    assert house.arrive(1, tenant="n") == [Grant(1, "a")]
    assert house.arrive(2, tenant="w", weight=4) == []
    assert house.arrive(3, tenant="n") == []  # one slot is free, but the wide one is next
    assert house(Leave(1)) == [Grant(2, "a")]
    assert house(Leave(2)) == [Grant(3, "a")]


def test_a_request_wider_than_the_worker_gets_all_its_slots() -> None:
    house = House()
    house.load("a", 2)
    assert house.arrive(1, weight=9) == [Grant(1, "a")]
    assert house.arrive(2) == []


def test_leaving_twice_or_leaving_what_was_never_there_is_harmless() -> None:
    house = House()
    house.load("a", 1)
    house.arrive(1)
    house.arrive(2)
    assert house(Leave(1)) == [Grant(2, "a")]
    assert house(Leave(1)) == []
    assert house(Leave("nobody")) == []
    assert house.arrive(3) == []


def test_a_load_that_nobody_waits_for_any_more_is_cancelled() -> None:
    house = House()
    house.arrive(1)
    house.arrive(2)
    assert house(Leave(1)) == []
    assert house(Leave(2)) == [Stop("a", "abandoned")]
    assert house.arrive(3) == []  # the old process first has to be gone
    assert house(Stopped("a")) == [Start("a")]


def test_a_load_of_one_model_does_not_hold_up_another() -> None:
    house = House(memory=100)
    house.load("a")
    assert house.arrive(1, "b") == [Start("b")]
    assert house.arrive(2, "a") == [Grant(2, "a")]


# fairness


def test_tenants_take_turns_inside_a_model() -> None:
    house = House()
    house.load("a", 1)
    house.arrive(0, tenant="flood")
    for ticket in range(1, 6):
        house.arrive(ticket, tenant="flood")
    house.arrive("other", tenant="small")
    order = []
    last: object = 0
    for _ in range(3):
        [grant] = house(Leave(last))
        assert isinstance(grant, Grant)
        last = grant.ticket
        order.append(last)
    assert order.index("other") <= 1


def test_steady_load_on_one_model_cannot_starve_another() -> None:
    house = House(max_loaded=1, patience=2.0)
    house.load("a", 1)
    house.arrive(0, "a")
    assert house.arrive("b", "b", after=1) == []
    granted, last = [], 0
    for ticket in range(1, 100):
        house.arrive(ticket, "a", after=1)
        for command in house(Leave(last)):
            if isinstance(command, Stop):
                assert command == Stop("a", "evicted")
                assert house(Stopped("a")) == [Start("b")]
                assert Grant("b", "b") in house(Ready("b", 1))
                assert granted == [1, 2]  # those that came within the patience
                return
            assert isinstance(command, Grant)
            granted.append(command.ticket)
            last = ticket
    pytest.fail("b was starved")


def test_models_that_do_not_fit_together_take_turns() -> None:
    house = House(max_loaded=1, patience=0.0)
    house.load("a", 1)
    house.arrive(1, "a", after=1)
    house.arrive(2, "b", after=1)
    house.arrive(3, "a", after=1)
    assert house(Leave(1), after=1) == [Stop("a", "evicted")]
    assert house(Stopped("a")) == [Start("b")]
    assert house(Ready("b", 1)) == [Grant(2, "b")]
    assert house(Leave(2), after=1) == [Stop("b", "evicted")]
    assert house(Stopped("b")) == [Start("a")]
    assert house(Ready("a", 1)) == [Grant(3, "a")]


# memory


def test_a_model_larger_than_the_budget_is_refused_with_both_numbers() -> None:
    house = House(memory=2**30)
    error = refusal(house.arrive(1, memory=3 * 2**30)).error
    assert isinstance(error, OutOfMemory)
    assert "3.0 GiB" in error.message
    assert "1.0 GiB" in error.message


def test_the_least_recently_used_idle_model_goes_first() -> None:
    house = House(memory=30)
    house.load("a")
    house.now += 1
    house.load("b")
    house.now += 1
    house.load("c")
    house.arrive(1, "a", after=1)
    house(Leave(1))
    assert house.arrive(2, "d", after=1) == [Stop("b", "evicted")]
    assert house(Stopped("b")) == [Start("d")]


def test_as_many_idle_models_go_as_the_new_one_needs() -> None:
    house = House(memory=30)
    for key in "abc":
        house.load(key)
    assert house.arrive(1, "d", memory=20, after=1) == [Stop("a", "evicted"), Stop("b", "evicted")]
    assert house(Stopped("a")) == []
    assert house(Stopped("b")) == [Start("d")]


def test_models_kept_for_ever_go_last() -> None:
    house = House(memory=20)
    house.load("a", keep_alive=math.inf)
    house.now += 1
    house.load("b")
    assert house.arrive(1, "c", after=1) == [Stop("b", "evicted")]


def test_idle_models_go_before_busy_ones() -> None:
    house = House(memory=20)
    house.load("a")
    house.load("b")
    house.arrive(1, "a", after=1)
    assert house.arrive(2, "c") == [Stop("b", "evicted")]


def test_a_younger_small_model_may_load_beside_a_waiting_one_but_not_into_its_room() -> None:
    house = House(memory=30)
    house.load("a", memory=20)
    house.arrive(1, "a")
    assert house.arrive(2, "big", memory=25, after=5) == []  # waits for a
    assert house.arrive(3, "small", memory=10) == []  # fits now, but big has a claim on that room
    assert house(Leave(1)) == [Stop("a", "evicted")]
    assert Start("big") in house(Stopped("a"))


def test_a_younger_model_that_fits_beside_the_claim_loads_at_once() -> None:
    house = House(memory=30)
    house.load("a", memory=20)
    house.arrive(1, "a")
    assert house.arrive(2, "big", memory=25, after=5) == []
    assert house.arrive(3, "tiny", memory=5) == [Start("tiny")]


def test_a_model_that_is_loading_is_not_evicted_but_waited_for() -> None:
    house = House(memory=10)
    house.arrive(1, "a")
    assert house.arrive(2, "b", after=5) == []
    assert house(Ready("a", 1)) == [Grant(1, "a")]
    assert house(Leave(1)) == [Stop("a", "evicted")]
    assert house(Stopped("a")) == [Start("b")]


def test_max_loaded_counts_models_that_are_still_stopping() -> None:
    house = House(max_loaded=1)
    house.load("a")
    assert house.arrive(1, "b") == [Stop("a", "evicted")]
    assert house.arrive(2, "b") == []
    assert house(Stopped("a")) == [Start("b")]


# reloading


def test_a_second_variant_of_a_model_replaces_the_first_after_its_running_requests() -> None:
    house = House(memory=1000)
    house.load("a8", group="a")
    house.arrive(1, "a8", group="a", after=1)
    assert house.arrive(2, "a32", group="a", after=1) == []
    assert house.arrive(3, "a8", group="a", after=1) == []  # no patience among variants
    assert house(Leave(1)) == [Stop("a8", "reloaded")]
    assert house(Stopped("a8")) == [Start("a32")]
    assert house(Ready("a32", 1)) == [Grant(2, "a32")]
    assert house(Leave(2)) == [Stop("a32", "reloaded")]
    assert house(Stopped("a32")) == [Start("a8")]


def test_an_idle_variant_is_replaced_at_once_even_if_both_would_fit() -> None:
    house = House()
    house.load("a8", group="a")
    assert house.arrive(1, "a32", group="a") == [Stop("a8", "reloaded")]


# keep-alive


def test_an_idle_model_goes_when_its_keep_alive_is_over() -> None:
    house = House(keep_alive=60.0)
    house.load("a")
    assert house.scheduler.next_wake() == house.now + 60
    assert house(Tick(), after=59) == []
    assert house(Tick(), after=1) == [Stop("a", "expired")]


def test_use_starts_the_keep_alive_anew() -> None:
    house = House(keep_alive=60.0)
    house.load("a")
    house.arrive(1, after=59)
    assert house(Tick(), after=59) == []
    house(Leave(1))
    assert house(Tick(), after=59) == []
    assert house(Tick(), after=1) == [Stop("a", "expired")]


def test_keep_alive_zero_stops_the_model_once_it_is_idle() -> None:
    house = House()
    house.load("a", 1)
    house.arrive(1, keep_alive=0.0)
    house.arrive(2)
    assert house(Leave(1)) == [Grant(2, "a")]
    assert house(Leave(2)) == [Stop("a", "expired")]


def test_keep_alive_infinite_never_expires() -> None:
    house = House(keep_alive=1.0)
    house.load("a", keep_alive=math.inf)
    assert house.scheduler.next_wake() == math.inf
    assert house(Tick(), after=1e9) == []


def test_a_request_without_keep_alive_leaves_what_another_set() -> None:
    house = House(keep_alive=10.0)
    house.load("a", keep_alive=1000.0)
    house.arrive(1)
    house(Leave(1))
    assert house(Tick(), after=999) == []


# stop


def test_stop_waits_for_running_requests_and_admits_no_more() -> None:
    house = House()
    house.load("a", 2)
    house.arrive(1)
    assert house(StopWanted("a")) == []
    assert house.arrive(2) == []
    assert house(Leave(1)) == [Stop("a", "stopped")]
    assert house(Stopped("a")) == [Start("a")]  # for the one who came meanwhile
    assert house(Ready("a", 2)) == [Grant(2, "a")]


def test_stop_of_an_idle_model_is_immediate_and_of_an_unknown_one_nothing() -> None:
    house = House()
    house.load("a")
    assert house(StopWanted("b")) == []
    assert house(StopWanted("a")) == [Stop("a", "stopped")]


def test_stop_during_a_load_serves_who_waits_and_then_unloads() -> None:
    house = House()
    house.arrive(1)
    assert house(StopWanted("a")) == []
    assert house(Ready("a", 1)) == [Grant(1, "a")]
    assert house(Leave(1)) == [Stop("a", "expired")]


# limits


def test_a_full_queue_refuses_with_retry_after() -> None:
    house = House(max_queue=2)
    house.load("a", 1)
    house.arrive(0)
    house.arrive(1)
    house.arrive(2)
    error = refusal(house.arrive(3)).error
    assert isinstance(error, QueueFull)
    assert error.retry_after is not None
    assert error.retry_after >= 1
    assert house(Leave(0)) == [Grant(1, "a")]
    assert house.arrive(4) == []  # room again


def test_a_request_that_needs_no_queue_passes_a_full_one() -> None:
    house = House(max_queue=1)
    house.load("b", 1)
    house.arrive(1, "a")
    assert isinstance(refusal(house.arrive(2, "a")).error, QueueFull)
    assert house.arrive(3, "b") == [Grant(3, "b")]


def test_a_queue_filled_by_one_tenant_still_takes_another() -> None:
    house = House(max_queue=3)
    house.load("a", 1)
    for ticket in range(4):
        house.arrive(ticket, tenant="flood", after=1)
    commands = house.arrive("other", tenant="small")
    assert refusal(commands).ticket == 3  # the newest of the many
    assert house(Leave(0)) == [Grant("other", "a")]
    assert house(Leave("other")) == [Grant(1, "a")]


def test_waiting_too_long_is_refused() -> None:
    house = House(queue_timeout=30.0)
    house.load("a", 1)
    house.arrive(1)
    house.arrive(2, after=1)
    assert house.scheduler.next_wake() == house.now + 30
    assert house(Tick(), after=29) == []
    late = refusal(house(Tick(), after=1))
    assert late.ticket == 2
    assert isinstance(late.error, DeadlineExceeded)
    assert house(Leave(2)) == []


# failures


def failed(text: str = "no") -> LoadError:
    return LoadError(text, hint="why", detail="log")


def test_a_failed_load_refuses_all_who_waited_with_its_error() -> None:
    house = House()
    house.arrive(1)
    house.arrive(2)
    error = failed()
    assert house(LoadFailed("a", error)) == [Refuse(1, error), Refuse(2, error)]
    assert house.arrive(3) == [Start("a")]


def test_repeated_failures_back_off_with_the_reason_and_longer_each_time() -> None:
    house = House()
    for ticket in range(3):
        house.arrive(ticket)
        house(LoadFailed("a", failed("bad file")))
    first = refusal(house.arrive("x")).error
    assert isinstance(first, CrashLoop)
    assert "bad file" in first.message
    assert first.hint == "why"
    assert first.detail == "log"
    assert first.retry_after == pytest.approx(1.0)
    assert house.arrive("y", after=1.0) == [Start("a")]
    house(LoadFailed("a", failed()))
    again = refusal(house.arrive("z")).error
    assert again.retry_after == pytest.approx(2.0)


def test_back_off_is_bounded_and_forgotten_after_long() -> None:
    house = House()
    for _ in range(30):
        ticket = object()
        house.arrive(ticket, after=61)
        house(LoadFailed("a", failed()))
    wait = refusal(house.arrive("x")).error.retry_after
    assert wait == pytest.approx(60)
    house.arrive("b", "b", after=10_000)
    house(LoadFailed("b", failed()))
    house.arrive("y")
    house(LoadFailed("a", failed()))
    assert house.arrive("z") == [Start("a")]


def test_success_resets_the_back_off() -> None:
    house = House()
    for ticket in range(2):
        house.arrive(ticket)
        house(LoadFailed("a", failed()))
    house.load("a")
    house(Died("a", WorkerDied("gone")))
    house.arrive("x")
    house(LoadFailed("a", failed()))
    assert house.arrive("y") == [Start("a")]


def test_back_off_of_one_model_leaves_others_alone() -> None:
    house = House()
    for ticket in range(3):
        house.arrive(ticket)
        house(LoadFailed("a", failed()))
    assert house.arrive("b", "b") == [Start("b")]


def test_death_frees_the_slots_and_restarts_for_those_in_line() -> None:
    house = House()
    house.load("a", 1)
    house.arrive(1)
    house.arrive(2)
    assert house(Died("a", WorkerDied("gone"))) == [Start("a")]
    assert house(Leave(1)) == []  # its slot went with the old worker
    assert house(Ready("a", 1)) == [Grant(2, "a")]


def test_death_of_an_idle_worker_waits_for_the_next_request() -> None:
    house = House()
    house.load("a", 1)
    assert house(Died("a", WorkerDied("gone"))) == []
    assert house.scheduler.model("a") is None
    assert house.arrive(1) == [Start("a")]


def test_dying_again_and_again_under_requests_ends_in_a_crash_loop() -> None:
    house = House()
    for ticket in range(3):
        assert house.arrive(ticket) == [Start("a")]
        house(Ready("a", 1))
        house.arrive((ticket, "waits"))
        commands = house(Died("a", WorkerDied("gone")))
        if ticket < 2:
            assert commands == [Start("a")]
            house(Ready("a", 1))
            house(Leave((ticket, "waits")))
        else:
            assert isinstance(refusal(commands).error, CrashLoop)
            return
        house(StopWanted("a"))
        house(Stopped("a"))


def test_a_death_after_a_long_life_is_not_a_crash_loop() -> None:
    house = House()
    for ticket in range(6):
        house.arrive(ticket)
        house(Ready("a", 1))
        assert house(Died("a", WorkerDied("gone")), after=61) == []
    assert house.arrive("x") == [Start("a")]


# the end


def test_draining_refuses_new_requests_and_lets_the_others_end() -> None:
    house = House()
    house.load("a", 1)
    house.arrive(1)
    house.arrive(2)
    assert house(Drain()) == []
    assert isinstance(refusal(house.arrive(3)).error, Draining)
    assert house(Leave(1)) == [Grant(2, "a")]
    assert house.scheduler.tickets == 1


def test_closing_refuses_those_in_line_and_stops_every_worker() -> None:
    house = House()
    house.load("a", 1)
    house.arrive(1)
    house.arrive(2)
    house.arrive(3, "b")
    commands = house(Close())
    assert Stop("a", "closing") in commands
    assert Stop("b", "closing") in commands
    assert [c.ticket for c in commands if isinstance(c, Refuse)] == [2, 3]
    assert house(Stopped("a")) == []
    assert house(LoadFailed("b", failed())) == []
    assert house(Leave(1)) == []
    assert house.scheduler.tickets == 0


def test_late_news_about_a_worker_is_ignored() -> None:
    house = House()
    assert house(Ready("a", 1)) == []
    assert house(Stopped("a")) == []
    assert house(Died("a", WorkerDied("gone"))) == []
    assert house(LoadFailed("a", failed())) == []
    house.arrive(1)
    house(Leave(1))
    assert house(Ready("a", 1)) == []  # told to stop before it was ready
    model = house.scheduler.model("a")
    assert model is not None
    assert model.state is State.STOPPING


def test_who_asks_with_other_options_each_time_is_held_back_by_failed_loads_too() -> None:
    house = House()
    for number in range(6):
        key = f"m{number}"
        assert house.arrive(number, key, group="m") == [Start(key)]
        assert isinstance(refusal(house(LoadFailed(key, LoadError("broken")))).error, LoadError)
    assert isinstance(refusal(house.arrive(6, "m6", group="m")).error, CrashLoop)
    assert house.arrive(7, "other") == [Start("other")]
    assert house.arrive(8, "m8", group="m", after=1.1) == [Start("m8")]
    house(Ready("m8", 1))
    house(LoadFailed("other", LoadError("broken")))
    assert house.arrive(9, "m9", group="m") == []  # it waits for the one that is loaded to go
