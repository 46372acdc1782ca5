"""Turns by work: fair in tokens whatever is promised, never idle, never starving."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inhouse.core.requests import Embed
from inhouse.core.usage import Usage
from inhouse.core.work import DEAR, estimate, spent
from inhouse.fleet.accounts import MOST, Accounts
from inhouse.fleet.fairness import FairQueue, Waiting
from inhouse.fleet.limits import Limits
from inhouse.fleet.messages import Arrive, Command, Grant, Leave, Ready, Refuse, Tick
from inhouse.fleet.scheduler import Scheduler


class Shop:
    """One ready model with ``slots``; requests are finished by hand."""

    def __init__(self, slots: int = 1, **limits: float) -> None:
        self.now = 0.0
        self.numbers = itertools.count()
        self.scheduler = Scheduler(Limits(queue_timeout=1e9, keep_alive=math.inf, **limits))  # type: ignore[arg-type]
        self.slots = slots
        self.waiting: dict[int, tuple[str, int]] = {}
        self.running: dict[int, tuple[str, int]] = {}
        self.order: list[tuple[int, str]] = []
        self.refused: dict[int, Exception] = {}
        first = self.arrive("first")
        self.do(self.scheduler.step(Ready("m", slots), self.now))
        self.finish(first)
        self.order.clear()

    def do(self, commands: list[Command]) -> None:
        for command in commands:
            if isinstance(command, Grant):
                ticket = command.ticket
                assert isinstance(ticket, int)
                self.running[ticket] = self.waiting.pop(ticket)
                self.order.append((ticket, self.running[ticket][0]))
            elif isinstance(command, Refuse):
                assert isinstance(command.ticket, int)
                self.waiting.pop(command.ticket, None)
                self.refused[command.ticket] = command.error

    def arrive(self, tenant: str, work: int = 1, weight: int = 1, deadline: float = math.inf) -> int:
        ticket = next(self.numbers)
        self.waiting[ticket] = (tenant, min(weight, self.slots))
        event = Arrive(ticket, "m", "m", tenant, 1, weight, work=work, deadline=deadline)
        self.do(self.scheduler.step(event, self.now))
        return ticket

    def finish(self, ticket: int, work: int | None = None) -> None:
        del self.running[ticket]
        self.do(self.scheduler.step(Leave(ticket, ok=True, work=work), self.now))

    def tick(self, seconds: float) -> None:
        self.now += seconds
        self.do(self.scheduler.step(Tick(), self.now))


TENANTS = st.sampled_from("abc")
WORK = st.integers(1, 5000)


@given(
    flood=st.lists(st.tuples(WORK, st.integers(1, 4), WORK), min_size=1, max_size=25),
    slots=st.integers(1, 4),
    before=st.integers(0, 24),
    single=st.tuples(WORK, st.integers(1, 4)),
)
def test_one_flooding_tenant_delays_anothers_single_request_by_two_turns_at_most(
    flood: list[tuple[int, int, int]], slots: int, before: int, single: tuple[int, int]
) -> None:
    shop = Shop(slots)
    actual = {shop.arrive("flood", work, weight): really for work, weight, really in flood}
    for _ in range(min(before, len(flood) - 1)):
        ticket = next(iter(shop.running))
        shop.finish(ticket, actual[ticket])
    seen = len(shop.order)
    mine = shop.arrive("single", *single)
    while mine not in [ticket for ticket, _ in shop.order]:
        ticket = next(iter(shop.running))
        shop.finish(ticket, actual[ticket])
        more = shop.arrive("flood", 1)  # it never stops
        actual[more] = 1
    turns = [tenant for _, tenant in shop.order[seen:]].index("single")
    assert turns <= 2


@given(claims=st.tuples(WORK, WORK), truth=st.tuples(WORK, WORK), rounds=st.integers(20, 60))
@settings(max_examples=60)
def test_who_promises_little_and_takes_much_gains_nothing(
    claims: tuple[int, int], truth: tuple[int, int], rounds: int
) -> None:
    """Two that always have one in line get the same number of real tokens, up to one request of each and
    what was charged for it."""
    shop = Shop(1)
    had = [0, 0]
    for who in (0, 1, 0, 1):
        shop.arrive("ab"[who], claims[who])
    for _ in range(rounds):
        [(ticket, (tenant, _))] = shop.running.items()
        who = "ab".index(tenant)
        had[who] += truth[who]
        shop.arrive(tenant, claims[who])
        shop.finish(ticket, truth[who])
    assert abs(had[0] - had[1]) <= 2 * (max(truth) + max(claims))


@given(st.lists(st.tuples(st.booleans(), TENANTS, st.integers(1, 5), WORK), max_size=60), st.integers(1, 4))
def test_no_slot_is_idle_while_the_next_in_line_would_fit(
    moves: list[tuple[bool, str, int, int]], slots: int
) -> None:
    shop = Shop(slots)
    for comes, tenant, weight, work in moves:
        if comes or not shop.running:
            shop.arrive(tenant, work, weight)
        else:
            shop.finish(next(iter(shop.running)), work)
        used = sum(weight for _, weight in shop.running.values())
        assert used <= slots
        if shop.waiting:
            assert used + max(weight for _, weight in shop.waiting.values()) > slots


@given(st.lists(st.tuples(TENANTS, st.integers(1, 6), WORK), min_size=1, max_size=40), st.integers(1, 4))
def test_everybody_is_served(requests: list[tuple[str, int, int]], slots: int) -> None:
    shop = Shop(slots)
    tickets = [shop.arrive(tenant, work, weight) for tenant, weight, work in requests]
    while shop.running:
        shop.finish(next(iter(shop.running)))
    assert sorted(ticket for ticket, _ in shop.order) == tickets


def test_long_requests_have_fewer_turns_than_short_ones() -> None:
    shop = Shop(1)
    shop.arrive("long", 1000)
    for _ in range(3):
        shop.arrive("long", 1000)
    for _ in range(30):
        shop.arrive("short", 100)
    for _ in range(22):
        shop.finish(next(iter(shop.running)))
    turns = [tenant for _, tenant in shop.order]
    assert turns[0] == "long"
    assert (turns.count("long"), turns.count("short")) == (3, 20)


def test_a_tenant_that_was_away_has_saved_nothing_up() -> None:
    shop = Shop(1)
    shop.arrive("busy", 10)
    for _ in range(50):
        shop.arrive("busy", 10)
    for _ in range(40):
        shop.finish(next(iter(shop.running)))
    for _ in range(20):
        shop.arrive("new", 10)
    shop.order.clear()
    for _ in range(20):
        shop.finish(next(iter(shop.running)))
    turns = [tenant for _, tenant in shop.order]
    assert abs(turns.count("new") - turns.count("busy")) <= 1


def test_when_all_is_quiet_old_debts_are_forgotten() -> None:
    shop = Shop(1)
    shop.finish(shop.arrive("a", 1), 100_000)
    holder = shop.arrive("x", 1)
    mine = [shop.arrive("a", 1) for _ in range(2)]
    others = [shop.arrive("b", 1) for _ in range(2)]
    shop.finish(holder)
    for _ in range(3):
        shop.finish(next(iter(shop.running)))
    assert [ticket for ticket, _ in shop.order[2:]] == [mine[0], others[0], mine[1], others[1]]


def test_accounts_rise_to_whoever_had_least() -> None:
    accounts = Accounts()
    accounts.charge("a", 10)
    accounts.charge("b", 5)
    assert accounts.next(["a", "b", "new"]) == "new"
    assert accounts.next(["a", "b"]) == "b"
    assert accounts.owed("b") == 0
    assert accounts.owed("a") == 5
    accounts.settle("a", -7)
    assert accounts.owed("a") == 0
    accounts.settle("new", 3)
    assert accounts.owed("new") == 3
    assert accounts.next([]) is None
    accounts.clear()
    assert accounts.owed("new") == 0


def test_accounts_that_owe_nothing_are_dropped_when_there_are_many() -> None:
    accounts = Accounts()
    for number in range(2 * MOST):
        accounts.charge(str(number), 1)
        accounts.next([str(number)])
    assert len(accounts._spent) <= MOST


def test_a_tenant_that_is_blocked_is_passed_over_and_keeps_its_turn() -> None:
    queue = FairQueue()
    for ticket, tenant in enumerate("xxy"):
        queue.push(Waiting(ticket, tenant, 0.0, 1))
    head = queue.head(0.0, blocked={"x"})
    assert head is not None
    assert head.tenant == "y"
    queue.serve(head)
    head = queue.head(0.0)
    assert head is not None
    assert head.ticket == 0
    assert queue.head(0.0, blocked={"x", "y"}) is None


@pytest.mark.parametrize(
    ("usage", "work"),
    [
        (Usage(100, 10), 100 + 10 * DEAR),
        (Usage(100, 10, cached_tokens=90), 10 + 10 * DEAR),
        (Usage(), 1),
    ],
)
def test_what_was_computed_counts_and_answers_are_dear(usage: Usage, work: int) -> None:
    assert spent(usage) == work


def test_estimate_and_truth_have_one_unit() -> None:
    assert estimate(Embed(model="m", inputs=((1, 2, 3),))) == spent(Usage(prompt_tokens=4))
