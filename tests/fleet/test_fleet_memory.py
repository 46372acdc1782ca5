"""Who stays in memory: measured sizes, what the machine has left, and the cheapest ones to go."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inhouse.core.errors import LoadFailed as LoadError
from inhouse.core.errors import OutOfMemory
from inhouse.fleet.eviction import TRIED, Claim, Resident, plan
from inhouse.fleet.history import HALF, MOST, History
from inhouse.fleet.memory import Room
from inhouse.fleet.messages import (
    Arrive,
    Free,
    Grant,
    Leave,
    LoadFailed,
    Measured,
    Ready,
    Refuse,
    Replanned,
    Start,
    Stop,
    Stopped,
)

from .test_fleet_scheduler import House, refusal

# which ones go


def resident(key: str, memory: int, value: float, **other: bool) -> Resident:
    return Resident(
        key=key,
        group=key,
        memory=memory,
        settled=True,
        leaving=False,
        idle=other.get("idle", True),
        kept=other.get("kept", False),
        last_used=0.0,
        since=value,
        device=0,
        value=value,
    )


def evicted(need: int, residents: list[Resident], total: int = 100) -> set[object]:
    return set(plan([Claim("new", "new", need, 0.0)], residents, Room.of(total, 0), 2.0).yielding)


def test_one_that_is_large_enough_goes_rather_than_three_that_are_worth_more_together() -> None:
    small = [resident(name, 20, 1.0) for name in "abc"]
    assert evicted(60, [*small, resident("large", 40, 1.5)]) == {"large", "a"}
    assert evicted(40, [*small, resident("large", 40, 1.5)]) == {"large"}


def test_three_go_rather_than_one_that_is_worth_more_than_all_of_them() -> None:
    small = [resident(name, 20, 1.0) for name in "abc"]
    assert evicted(60, [*small, resident("dear", 40, 9.0)]) == {"a", "b", "c"}


def test_what_is_kept_for_ever_goes_only_where_nothing_else_makes_room() -> None:
    kept = resident("kept", 50, 0.0, kept=True)
    assert evicted(50, [kept, resident("dear", 50, 1e6)]) == {"dear"}
    assert evicted(80, [kept, resident("dear", 50, 1e6)]) == {"kept", "dear"}


def test_none_that_works_goes_while_an_idle_one_will_do_and_no_idle_one_goes_for_nothing() -> None:
    busy, idle = resident("busy", 80, 0.0, idle=False), resident("idle", 20, 1e6)
    assert evicted(20, [busy, idle]) == {"idle"}
    assert evicted(70, [busy, idle]) == {"busy"}
    assert evicted(90, [busy, idle]) == {"busy", "idle"}


def test_the_count_of_models_makes_one_go_even_where_bytes_would_fit() -> None:
    room = Room.of(1000, 2)
    decided = plan([Claim("n", "n", 1, 0.0)], [resident("a", 1, 2.0), resident("b", 1, 1.0)], room, 2.0)
    assert set(decided.yielding) == {"b"}
    assert decided.claimants == {"b": "n"}
    assert decided.crowded == {"b"}


def test_who_goes_for_memory_does_not_go_for_the_count_even_where_that_is_full_too() -> None:
    loaded = [resident("a", 50, 2.0), resident("b", 50, 1.0)]
    decided = plan([Claim("n", "n", 50, 0.0)], loaded, Room.of(100, 2), 2.0)
    assert decided.claimants == {"b": "n"}
    assert decided.crowded == set()


SIZES = st.lists(st.tuples(st.integers(1, 40), st.floats(0, 100)), max_size=8)


@given(SIZES, st.integers(1, 120))
def test_no_other_set_of_idle_models_is_worth_less_and_makes_enough_room(
    sizes: list[tuple[int, float]], need: int
) -> None:
    residents = [resident(str(n), memory, value) for n, (memory, value) in enumerate(sizes)]
    total = max(120, sum(memory for memory, _ in sizes))
    free = total - sum(memory for memory, _ in sizes)
    decided = plan([Claim("new", "new", need, 0.0)], residents, Room.of(total, 0), 2.0)
    sets = itertools.chain.from_iterable(
        itertools.combinations(residents, n) for n in range(len(residents) + 1)
    )
    worths = [sum(r.value for r in one) for one in sets if free + sum(r.memory for r in one) >= need]
    if free >= need:
        assert decided.start == ["new"]
        return
    assert worths, "all together always make room here"
    gone = [r for r in residents if r.key in decided.yielding]
    assert free + sum(r.memory for r in gone) >= need
    assert sum(r.value for r in gone) == pytest.approx(min(worths))


@given(st.lists(st.tuples(st.integers(1, 9), st.floats(0, 9)), min_size=TRIED + 1, max_size=30), st.data())
def test_with_very_many_models_none_goes_in_vain(sizes: list[tuple[int, float]], data: st.DataObject) -> None:
    residents = [resident(str(n), memory, value) for n, (memory, value) in enumerate(sizes)]
    total = sum(memory for memory, _ in sizes)
    need = data.draw(st.integers(1, total))
    gone = [r for r in residents if r.key in evicted(need, residents, total)]
    assert sum(r.memory for r in gone) >= need
    assert all(sum(r.memory for r in gone) - one.memory < need for one in gone)


def test_gpus_have_room_of_their_own() -> None:
    room = Room.of(100, 0, 50)
    assert room.fits(100, 50)
    assert not room.fits(1, 51)
    assert not room.take(10, 40).fits(10, 20)
    assert room.take(10, 40).free(10, 40) == room
    assert Room.of(100, 0).fits(100, 10**15)
    assert Room.of(0, 0).within(5) == Room(5, None, None)
    assert Room.of(9, 0).within(5).bytes == 5


# worth


def test_worth_is_use_that_fades_times_the_time_of_a_load() -> None:
    history = History()
    history.used("often", 0.0)
    history.used("often", 0.0)
    history.used("once", 0.0)
    for key in ("often", "once"):
        history.loaded(key, 9.0)
    assert history.value("once", 0, 0.0) == pytest.approx(10)
    assert history.value("often", 0, 0.0) == pytest.approx(20)
    assert history.value("often", 0, HALF) == pytest.approx(10)
    assert history.value("unknown", 10**9, 0.0) == 0


def test_a_load_that_was_never_seen_is_guessed_by_its_bytes() -> None:
    history = History()
    assert history.load_seconds("x", 5 * 500 * 2**20) == 5
    history.loaded("x", 1.5)
    assert history.load_seconds("x", 5 * 500 * 2**20) == 1.5


def test_small_requests_do_not_make_a_model_look_quick() -> None:
    history = History()
    history.served("m", 10.0, 1000)
    for _ in range(20):
        history.served("m", 0.0005, 1)  # a load of what is loaded, a count of tokens
    assert history.pace("m") == pytest.approx(0.01, rel=0.2)


def test_of_models_at_work_one_that_is_kept_for_ever_goes_last() -> None:
    pinned, other = resident("kept", 50, 1.0, idle=False, kept=True), resident("b", 50, 2.0, idle=False)
    assert evicted(50, [pinned, other]) == {"b"}
    assert evicted(90, [pinned, other]) == {"kept", "b"}


def test_the_pace_is_a_running_mean_and_models_are_forgotten() -> None:
    history = History()
    assert history.pace("x") is None
    history.served("x", 10.0, 100)
    assert history.pace("x") == pytest.approx(0.1)
    history.served("x", 20.0, 100)
    assert history.pace("x") == pytest.approx(0.12)
    for number in range(MOST):
        history.loaded(number, 1.0)
    assert history.pace("x") is None


def test_a_model_in_use_stays_and_the_one_that_nobody_asks_for_goes() -> None:
    house = House(memory=20, keep_alive=1e6)
    house.load("popular")
    for _ in range(5):
        house.arrive("r", "popular", after=1)
        house(Leave("r", ok=True))
    house.load("rare")
    assert house.arrive(1, "new", after=1) == [Stop("rare", "evicted")]
    [stop] = [c for c in house(Stopped("rare")) if isinstance(c, Start)]
    assert stop == Start("new")


def test_a_stop_says_whose_room_it_makes() -> None:
    house = House(memory=10)
    house.load("old")
    [stop] = house.arrive(1, "new")
    assert isinstance(stop, Stop)
    assert stop.claimant == "new"


# what workers really take


def test_a_measured_size_takes_the_place_of_the_estimate() -> None:
    house = House(memory=100)
    house.load("a", memory=60)
    assert house.arrive(1, "b", memory=60) == [Stop("a", "evicted")]

    house = House(memory=100)
    house.load("a", memory=60)
    assert house(Measured("a", 30, 30)) == []
    assert house.arrive(1, "b", memory=60) == [Start("b")]

    house = House(memory=100)
    house.load("a", memory=30)
    house(Measured("a", 80, 80))
    assert house.arrive(1, "b", memory=60) == [Stop("a", "evicted")]


def test_models_that_turn_out_too_large_together_lose_the_idle_one_that_is_worth_least() -> None:
    house = House(memory=100)
    for key in ("a", "b", "c"):
        house.load(key, memory=30)
        house.now += 10
    house.arrive("r", "a")
    assert house(Measured("a", 60, 60)) == [Stop("b", "evicted")]
    assert house(Measured("a", 61, 61)) == []  # what leaves counts no more


def test_what_is_kept_stays_where_all_idle_ones_would_not_be_enough() -> None:
    house = House(memory=100)
    house.load("kept", memory=20, keep_alive=math.inf)
    house.load("idle", memory=20)
    house.arrive("r", "busy", memory=50)
    house(Ready("busy", 1))
    assert house(Measured("busy", 130, 130)) == [Stop("idle", "evicted")]


def test_a_model_that_shrinks_lets_a_waiting_one_in() -> None:
    house = House(memory=100)
    house.arrive("r", "a", memory=60)
    house(Ready("a", 1))
    assert house.arrive(1, "b", memory=60) == []
    assert house(Measured("a", 30, 30)) == [Start("b")]


def test_while_it_loads_the_estimate_stands() -> None:
    house = House(memory=100)
    house.arrive("r", "a", memory=60)
    house(Measured("a", 0, 10))
    assert house.arrive(1, "b", memory=60) == []


def test_measuring_what_is_gone_does_nothing() -> None:
    house = House(memory=100)
    assert house(Measured("nobody", 1, 1)) == []
    assert house(Replanned("nobody", 1)) == []


# what the machine has left


def test_nothing_is_loaded_into_memory_that_other_programs_have() -> None:
    house = House(memory=100)
    house(Free(60))
    house.load("a", memory=50)
    house(Measured("a", 50, 50))
    house(Free(10))
    # 10 are free and 50 can be, of a budget of 100
    assert house.arrive(1, "b", memory=40) == [Stop("a", "evicted")]
    house(Free(60))
    assert house(Stopped("a")) == [Start("b")]


def test_who_cannot_fit_whatever_goes_is_told_so_at_once() -> None:
    house = House(memory=2**30)
    house(Free(200 * 2**20))
    error = refusal(house.arrive(1, "b", memory=400 * 2**20)).error
    assert isinstance(error, OutOfMemory)
    assert "400 MiB" in error.message
    assert "200 MiB" in error.message
    assert "inhouse plan" in error.hint
    assert house.scheduler.tickets == 0


def test_room_that_a_stopping_model_still_holds_is_waited_for_and_looked_at_again() -> None:
    house = House(memory=100)
    house(Free(100))
    house.load("a", memory=80)
    house(Measured("a", 80, 80))
    house(Free(20))
    assert house.arrive(1, "b", memory=80) == [Stop("a", "evicted")]
    assert house.scheduler.next_wake() == house.now + 1
    house(Free(30))  # somebody else took some of it meanwhile
    assert isinstance(refusal(house(Stopped("a"))).error, OutOfMemory)


def test_a_model_that_is_loading_counts_whole_though_it_has_little_yet() -> None:
    house = House(memory=1000)
    house(Free(100))
    house.arrive(1, "a", memory=80)
    assert house.arrive(2, "b", memory=80) == []
    house(Measured("a", 0, 60))
    house(Free(40))
    assert house.arrive(3, "c", memory=15) == []  # b was there before
    assert house(Ready("a", 1)) == [Grant(1, "a")]


# loads


def test_only_so_many_models_load_at_once_and_those_that_run_are_served_meanwhile() -> None:
    house = House(max_loads=2)
    house.load("ready")
    assert house.arrive(1, "a") == [Start("a")]
    assert house.arrive(2, "b") == [Start("b")]
    assert house.arrive(3, "c") == []
    assert house.arrive(4, "ready") == [Grant(4, "ready")]
    assert house(Ready("a", 1)) == [Start("c"), Grant(1, "a")]


def test_nobody_has_to_go_for_a_load_that_may_not_begin_yet() -> None:
    house = House(max_loads=1, memory=30)
    house.load("idle", memory=20)
    assert house.arrive(1, "a", memory=10) == [Start("a")]
    assert house.arrive(2, "b", memory=20) == []
    assert house(Ready("a", 1)) == [Stop("idle", "evicted"), Grant(1, "a")]


def test_a_load_with_another_plan_goes_on_and_those_in_line_stay() -> None:
    house = House(memory=100)
    house.arrive(1, "a", memory=90)
    assert house.arrive(2, "b", memory=40) == []
    assert house(Replanned("a", 60)) == [Start("b")]
    assert house(Ready("a", 1)) == [Grant(1, "a")]


def test_a_failed_load_says_why_and_the_others_go_on() -> None:
    house = House(max_loads=1)
    house.arrive(1, "a")
    house.arrive(2, "b")
    error = LoadError("no")
    assert house(LoadFailed("a", error)) == [Refuse(1, error), Start("b")]


def test_gpu_memory_is_a_limit_of_its_own() -> None:
    house = House(device=100)
    error = refusal(house(Arrive(1, "a", "a", "t", 1, device=101))).error
    assert isinstance(error, OutOfMemory)
    assert "GPU" in error.message
    assert house(Arrive(2, "a", "a", "t", 1, device=80)) == [Start("a")]
    assert house(Ready("a", 1)) == [Grant(2, "a")]
    house(Leave(2, ok=True))
    assert house(Arrive(3, "b", "b", "t", 1, device=30)) == [Stop("a", "evicted")]


def test_time_that_stands_still_or_jumps_far_unloads_nothing_that_is_kept() -> None:
    house = House(keep_alive=60)
    house.load("a", keep_alive=math.inf)
    house.now += 365 * 86400
    assert house(Measured("a", 10, 10)) == []


@pytest.mark.parametrize("free", [None, 100])
def test_a_model_that_took_more_than_its_plan_and_all_there_is_stays_alone_and_loads_again(
    free: int | None,
) -> None:
    house = House(memory=0 if free else 100, keep_alive=50.0)
    if free:
        house(Free(free))
    house.load("a", memory=95)
    if free:
        house(Free(0))
    assert house(Measured("a", 105, 100)) == []  # idle, but who would have its room?
    assert house.arrive(1, "b", memory=50) == [Stop("a", "evicted")]
    house(Leave(1))
    house(Stopped("a"))
    if free:
        house(Free(free))
    again = Arrive(2, "a", "a", "t", 105, planned=95)
    assert house(again) == [Start("a")]
    assert house.arrive(3, "b", memory=1) == []  # nothing loads beside it
    assert house(Ready("a", 1)) == [Grant(2, "a")]


def test_a_plan_that_does_not_fit_is_refused_whatever_was_measured() -> None:
    house = House(memory=100)
    error = refusal(house(Arrive(1, "a", "a", "t", 120, planned=110))).error
    assert isinstance(error, OutOfMemory)
    house = House()
    house(Free(100))
    error = refusal(house(Arrive(1, "a", "a", "t", 120, planned=110))).error
    assert isinstance(error, OutOfMemory)


def test_of_idle_models_that_are_each_too_large_the_one_that_is_worth_most_stays() -> None:
    both = [resident("a", 110, 1.0), resident("b", 120, 2.0)]
    assert set(plan([], both, Room.of(100, 0), 2.0).yielding) == {"a"}
    assert not plan([], both[:1], Room.of(100, 0), 2.0).yielding
