"""The scheduler under any order of events: what must hold always, and that everybody is served."""

from __future__ import annotations

import math

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from inhouse.core.errors import EngineError, WorkerDied
from inhouse.fleet.limits import Limits
from inhouse.fleet.messages import (
    Arrive,
    Command,
    Died,
    Event,
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
    StopWanted,
    Tick,
)
from inhouse.fleet.scheduler import Scheduler

BUDGET = 100
PER_KEY, PER_MODEL = 3, 3
MODELS = {"a8": ("a", 20), "a32": ("a", 60), "b": ("b", 50), "c": ("c", 70), "d": ("d", 30)}
SLOTS = {"a8": 3, "a32": 1, "b": 2, "c": 1, "d": 4}


class SchedulerMachine(RuleBasedStateMachine):
    """Plays the fleet: keeps its own books of workers and tickets and compares."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        limits = Limits(
            memory=BUDGET,
            max_loaded=3,
            max_queue=8,
            queue_timeout=1000,
            keep_alive=50,
            max_loads=2,
            key_concurrency=PER_KEY,
            key_queue=5,
            model_concurrency=PER_MODEL,
        )
        self.scheduler = Scheduler(limits)
        self.next = 0
        self.workers: dict[str, str] = {}  # key -> loading | ready | stopping
        self.waiting: dict[int, tuple[str, int]] = {}
        self.running: dict[int, tuple[str, int]] = {}
        self.tenants: dict[int, str] = {}
        self.deadlines: dict[int, float] = {}
        self.sizes: dict[str, int] = {}
        self.ended: set[int] = set()

    def send(self, event: Event) -> None:
        for command in self.scheduler.step(event, self.now):
            self.obey(command)

    def obey(self, command: Command) -> None:
        match command:
            case Start(key):
                assert key not in self.workers, "started twice"
                self.workers[str(key)] = "loading"
                assert sum(self.sizes[key] for key in self.workers) <= BUDGET, "loaded into no room"
            case Stop(key, _):
                assert self.workers[str(key)] in ("loading", "ready")
                self.workers[str(key)] = "stopping"
            case Grant(ticket, key):
                assert self.workers[str(key)] == "ready"
                assert isinstance(ticket, int)
                assert self.now < self.deadlines[ticket], "served too late"
                wanted, weight = self.waiting.pop(ticket)
                assert wanted == key
                self.running[ticket] = (wanted, weight)
            case Refuse(ticket, _):
                assert isinstance(ticket, int)
                del self.waiting[ticket]
                self.end(ticket)

    def end(self, ticket: int) -> None:
        assert ticket not in self.ended, "ended twice"
        self.ended.add(ticket)

    def lose(self, key: str) -> None:
        """The worker of ``key`` is gone with all it ran."""
        self.workers.pop(key, None)
        for ticket in [t for t, (k, _) in self.running.items() if k == key]:
            del self.running[ticket]
            self.end(ticket)

    @rule(
        key=st.sampled_from(sorted(MODELS)),
        tenant=st.sampled_from("xyz"),
        weight=st.integers(1, 5),
        keep_alive=st.sampled_from([None, 0.0, 5.0, math.inf]),
        urgency=st.tuples(st.integers(-1, 1), st.sampled_from([math.inf, math.inf, 30.0])),
        work=st.integers(1, 1000),
    )
    def arrive(
        self,
        key: str,
        tenant: str,
        weight: int,
        keep_alive: float | None,
        urgency: tuple[int, float],
        work: int,
    ) -> None:
        ticket, self.next = self.next, self.next + 1
        self.waiting[ticket] = (key, min(weight, SLOTS[key]))
        self.tenants[ticket] = tenant
        priority, patience = urgency
        self.deadlines[ticket] = self.now + patience
        group, memory = MODELS[key]
        if key not in self.workers:
            self.sizes[key] = memory
        deadline = self.deadlines[ticket]
        self.send(Arrive(ticket, key, group, tenant, memory, weight, keep_alive, priority, work, deadline))

    @precondition(lambda self: self.waiting or self.running)
    @rule(data=st.data(), ok=st.booleans(), work=st.one_of(st.none(), st.integers(1, 1000)))
    def leave(self, data: st.DataObject, ok: bool, work: int | None) -> None:
        ticket = data.draw(st.sampled_from(sorted([*self.waiting, *self.running])))
        self.waiting.pop(ticket, None)
        self.running.pop(ticket, None)
        self.end(ticket)
        self.send(Leave(ticket, ok, work))

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), share=st.floats(0.1, 1.0))
    def measured(self, data: st.DataObject, share: float) -> None:
        """A worker turns out to take less than was planned for it."""
        key = data.draw(st.sampled_from(sorted(self.workers)))
        size = max(1, int(self.sizes[key] * share))
        ready = self.workers[key] == "ready"
        if ready:
            self.sizes[key] = size
        self.send(Measured(key, size, size if ready else 0))

    @precondition(lambda self: "loading" in self.workers.values())
    @rule(data=st.data())
    def replanned(self, data: st.DataObject) -> None:
        loading = sorted(key for key, state in self.workers.items() if state == "loading")
        key = data.draw(st.sampled_from(loading))
        self.sizes[key] = max(1, self.sizes[key] // 2)
        self.send(Replanned(key, self.sizes[key]))

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), well=st.booleans())
    def worker_news(self, data: st.DataObject, well: bool) -> None:
        key = data.draw(st.sampled_from(sorted(self.workers)))
        state = self.workers[key]
        if state == "loading" and well:
            self.workers[key] = "ready"
            self.send(Ready(key, SLOTS[key]))
        elif state == "loading":
            self.lose(key)
            self.send(LoadFailed(key, EngineError("bad")))
        elif state == "stopping":
            self.lose(key)
            self.send(Stopped(key))
        elif not well:
            self.lose(key)
            self.send(Died(key, WorkerDied("gone")))

    @rule(key=st.sampled_from(sorted(MODELS)))
    def stop_wanted(self, key: str) -> None:
        self.send(StopWanted(key))

    @rule(seconds=st.floats(0, 80))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.send(Tick())

    @invariant()
    def books_agree_and_nothing_is_over_its_limit(self) -> None:
        assert sum(self.sizes[key] for key in self.workers) <= BUDGET
        assert len(self.workers) <= 3
        assert list(self.workers.values()).count("loading") <= 2
        for tenant in "xyz":
            runs = [ticket for ticket in self.running if self.tenants[ticket] == tenant]
            assert len(runs) == self.scheduler.running(tenant) <= PER_KEY
        groups = [MODELS[key][0] for key in self.workers]
        assert len(groups) == len(set(groups))
        for key in MODELS:
            used = sum(weight for k, weight in self.running.values() if k == key)
            assert sum(k == key for k, _ in self.running.values()) <= PER_MODEL
            assert used <= SLOTS[key]
            model = self.scheduler.model(key)
            assert (model.busy if model else 0) == used, "a slot was lost"
        assert self.scheduler.waiting == len(self.waiting) <= 8
        assert self.scheduler.tickets == len(self.waiting) + len(self.running)

    def teardown(self) -> None:
        """From any state, with workers that behave, everybody is served in bounded time."""
        for _ in range(200):
            if not (self.waiting or self.running):
                return
            for key, state in list(self.workers.items()):
                if state == "loading":
                    self.workers[key] = "ready"
                    self.send(Ready(key, SLOTS[key]))
                elif state == "stopping":
                    self.lose(key)
                    self.send(Stopped(key))
            for ticket in list(self.running):
                del self.running[ticket]
                self.end(ticket)
                self.send(Leave(ticket, ok=True))
            self.now += 0.5
            self.send(Tick())
            assert all(self.now < self.deadlines[ticket] for ticket in self.waiting), "no alarm rang"
        raise AssertionError(f"starved: {self.waiting}, workers {self.workers}")


TestSchedulerProperties = SchedulerMachine.TestCase
TestSchedulerProperties.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
