"""Priority in the queue: first in the short run, and never at the price of anybody's whole turn."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from inhouse.core.errors import QueueFull
from inhouse.fleet.fairness import HIGHEST, RISE, FairQueue, Waiting
from inhouse.fleet.limits import Limits
from inhouse.fleet.messages import Arrive, Command, Grant, Leave, Ready, Refuse
from inhouse.fleet.scheduler import Scheduler

PRIORITIES = st.integers(-1, 1)
NEWCOMERS = st.lists(st.tuples(st.sampled_from("xyz"), PRIORITIES, st.floats(0, 9)), max_size=30)


def lined_up(newcomers) -> tuple[FairQueue, float]:
    queue, now = FairQueue(), 0.0
    for ticket, (tenant, priority, later) in enumerate(newcomers):
        now += later
        queue.push(Waiting(ticket, tenant, now, 1, priority=priority))
    return queue, now


def drained(queue: FairQueue, now: float) -> list[Waiting]:
    out = []
    while (item := queue.head(now)) is not None:
        queue.serve(item)
        out.append(item)
    return out


def rank(item: Waiting, now: float) -> int:
    steps = (item.since + RISE <= now) + (item.since + RISE + RISE <= now)
    return min(HIGHEST, item.priority + steps)


@given(NEWCOMERS, st.floats(0, 100))
def test_all_are_served_by_rank_and_each_tenant_in_order(newcomers, later):
    queue, now = lined_up(newcomers)
    now += later
    order = drained(queue, now)
    assert sorted(item.ticket for item in order) == list(range(len(newcomers)))
    rounds = [min(0, rank(item, now)) for item in order]
    assert rounds == sorted(rounds, reverse=True)
    for tenant in "xyz":
        ranks = [rank(item, now) for item in order if item.tenant == tenant]
        assert ranks == sorted(ranks, reverse=True)
    for tenant, level in itertools.product("xyz", (-1, 0, 1)):
        mine = [item.since for item in order if item.tenant == tenant and rank(item, now) == level]
        assert mine == sorted(mine)


@given(st.lists(st.sampled_from("xyz"), max_size=30), PRIORITIES)
def test_among_equals_it_is_the_same_whatever_their_priority(tenants, priority):
    plain, _ = lined_up([(tenant, 0, 0.0) for tenant in tenants])
    other, _ = lined_up([(tenant, priority, 0.0) for tenant in tenants])
    assert [i.ticket for i in drained(plain, 0.0)] == [i.ticket for i in drained(other, 0.0)]


@given(st.lists(st.sampled_from("xyz"), min_size=1, max_size=30), PRIORITIES)
def test_no_tenant_gets_two_turns_while_another_of_its_rank_waits_for_one(tenants, priority):
    queue, now = lined_up([(tenant, priority, 0.0) for tenant in tenants])
    left = {tenant: tenants.count(tenant) for tenant in tenants}
    since_turn = dict.fromkeys(left, 0)
    for item in drained(queue, now):
        for other, rest in left.items():
            since_turn[other] += rest > 0 and other != item.tenant
        since_turn[item.tenant], left[item.tenant] = 0, left[item.tenant] - 1
        assert all(since_turn[other] <= len(left) - 1 for other in left if left[other])


@given(NEWCOMERS, st.data())
def test_a_head_of_the_highest_rank_stays_until_it_is_served(newcomers, data):
    """Else a request for many slots would never see enough of them free at once."""
    queue, now = lined_up(newcomers)
    head = queue.head(now)
    if head is None or rank(head, now) < HIGHEST:
        return
    for ticket in range(100, 100 + data.draw(st.integers(0, 20))):
        queue.push(Waiting(ticket, data.draw(st.sampled_from("wxyz")), now, 1, priority=HIGHEST))
        now += data.draw(st.floats(0, 5))
        first = queue.head(now)
        assert first is not None
        # only one of its tenant that came before it may step in front, having risen
        assert first is head or (first.tenant == head.tenant and first.since <= head.since)
        head = first


class House:
    """A scheduler with one ready model of a few slots."""

    def __init__(self, slots: int = 1, **limits) -> None:
        self.now, self.tickets = 0.0, itertools.count()
        self.scheduler = Scheduler(Limits(queue_timeout=1e9, **limits))
        self.running: list[object] = []
        self.refused: dict[object, Exception] = {}
        first = self.arrive()
        self.do(self.scheduler.step(Ready("m", slots), self.now))
        self.leave(first)

    def do(self, commands: list[Command]) -> None:
        for command in commands:
            if isinstance(command, Grant):
                self.running.append(command.ticket)
            elif isinstance(command, Refuse):
                self.refused[command.ticket] = command.error

    def arrive(self, tenant: str = "t", priority: int = 0, weight: int = 1) -> int:
        ticket = next(self.tickets)
        event = Arrive(ticket, "m", "m", tenant, 1, weight, None, priority)
        self.do(self.scheduler.step(event, self.now))
        return ticket

    def leave(self, ticket: object) -> None:
        self.running.remove(ticket)
        self.do(self.scheduler.step(Leave(ticket, ok=True), self.now))


def test_the_urgent_overtake_those_in_line_but_not_those_that_run():
    house = House()
    running, low, plain, urgent = (house.arrive(priority=p) for p in (-1, -1, 0, 1))
    order = []
    for _ in range(4):
        order.append(house.running[0])
        house.leave(house.running[0])
    assert order == [running, urgent, plain, low]


def test_a_stream_of_urgent_requests_delays_what_gives_way_by_a_bounded_time():
    house = House()
    house.arrive("busy", 1)
    patient = house.arrive("patient", -1)
    while patient not in house.running:
        assert house.now < RISE + 3, "starved"
        house.arrive("busy", 1)
        house.now += 1.0
        house.leave(house.running[0])
    assert house.now >= RISE


def test_a_stream_of_urgent_requests_delays_another_tenants_usual_one_by_two_turns():
    house = House()
    for _ in range(20):
        house.arrive("busy", 1)
    usual = house.arrive("other", 0)
    for turn in range(3):
        if usual in house.running:
            break
        assert turn < 2, "an urgent flood took a third turn"
        house.arrive("busy", 1)
        house.leave(house.running[0])
    assert usual in house.running


def test_a_tenants_own_urgent_requests_go_before_its_others_for_a_bounded_time():
    house = House()
    house.arrive("one", 1)
    usual = house.arrive("one", 0)
    while usual not in house.running:
        assert house.now < RISE + 2, "starved"
        house.arrive("one", 1)
        house.now += 1.0
        house.leave(house.running[0])
    assert house.now >= RISE


def test_a_patient_request_for_all_slots_is_served_too():
    house = House(slots=4)
    for _ in range(4):
        house.arrive("busy", 1)
    wide = house.arrive("patient", -1, weight=4)
    while wide not in house.running:
        assert house.now < 3 * RISE, "starved"
        house.arrive("busy", 1)
        house.now += 0.5
        house.leave(house.running[0])


def test_a_full_house_makes_room_for_the_urgent_and_says_so_to_the_others():
    house = House(max_queue=2)
    house.arrive()
    low, plain = house.arrive("x", -1), house.arrive("y", 0)
    urgent = house.arrive("z", 1)
    assert list(house.refused) == [low]
    late = house.arrive("w", -1)
    assert list(house.refused) == [low, late]
    assert all(isinstance(error, QueueFull) for error in house.refused.values())
    house.leave(house.running[0])
    assert house.running == [urgent]
    house.leave(urgent)
    assert house.running == [plain]
