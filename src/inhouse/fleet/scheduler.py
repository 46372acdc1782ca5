"""Who runs, who waits, who goes: a state machine. Events in, commands out.

No await, no I/O and no clock of its own: ``now`` comes with every event. A model's key is absent,
loading, ready or stopping; every ticket ends exactly once, by Refuse or by its own Leave.

    absent ──Start──> loading ──Ready──> ready ──Stop──> stopping ──Stopped──> absent
                         │ LoadFailed       │ Died
                         └──> absent        └──> absent
"""

from __future__ import annotations

import math

from ..core.errors import InhouseError
from . import messages as m
from .admission import Admission
from .backoff import Backoff, Whole
from .eviction import Plan
from .history import History
from .limits import Limits, draining, expected_wait, past_deadline, waited_too_long, work_in_line
from .memory import not_there
from .model import Model, State
from .places import Places
from .placing import decide, free_for_all

STABLE = 60.0  # seconds of life after which a worker's death is not part of a crash loop
RECHECK = 1.0  # seconds after which the machine's free memory is looked at again for those who need it


class Scheduler:
    """The state and its one entry, ``step``."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._models: dict[m.Key, Model] = {}
        self._places = Places(limits.queue_timeout)
        self._backoff = Backoff()
        self._history = History()
        self._admission = Admission(limits, self._models, self._backoff, self._history)
        self._free: int | None = None
        self._recheck = math.inf
        self._closed = False
        self._out: list[m.Command] = []

    def step(self, event: m.Event, now: float) -> list[m.Command]:
        """Take in one event and say what is to be done, in order."""
        self._out = []
        match event:
            case m.Arrive():
                self._arrive(event, now)
            case m.Leave(ticket, ok, work):
                self._leave(ticket, ok, work, now)
            case m.Drain():
                self._closed = True
            case m.Close():
                self._close(now)
            case m.Free(memory):
                self._free = memory
                return []
            case _:
                self._news(event, now)
        self._expire_waiting(now)
        self._settle(now)
        return self._out

    def _news(self, event: m.Event, now: float) -> None:
        """What happened to a worker."""
        match event:
            case m.Ready(key, slots):
                self._ready(key, slots, now)
            case m.LoadFailed(key, error):
                self._load_failed(key, error, now)
            case m.Replanned(key, memory, device):
                self._replanned(key, memory, device)
            case m.Measured(key, memory, resident):
                self._measured(key, memory, resident)
            case m.Died(key, error):
                self._died(key, error, now)
            case m.Stopped(key):
                self._gone(key)
            case m.StopWanted(key):
                self._stop_wanted(key)

    # what an observer may ask

    @property
    def waiting(self) -> int:
        """Requests in line, over all models."""
        return self._admission.waiting

    @property
    def tickets(self) -> int:
        """Requests in line or running."""
        return len(self._places)

    def model(self, key: m.Key) -> Model | None:
        """The state of a key, to read; None when the scheduler has forgotten it."""
        return self._models.get(key)

    def running(self, tenant: str) -> int:
        """Requests of a tenant that run now, over all models."""
        return self._places.running(tenant)

    def wants_room(self, event: m.Event) -> bool:
        """Does a model wait to be loaded, or will one with this event?"""
        if isinstance(event, m.Arrive):
            model = self._models.get(event.key)
            if model is None or model.state is State.ABSENT:
                return True
        return any(model.state is State.ABSENT and model.queue for model in self._models.values())

    def next_wake(self) -> float:
        """When to send the next Tick at the latest; ``inf`` for never."""
        wake = min(self._places.next_alarm(), self._recheck)
        for model in self._models.values():
            if model.state is State.READY and model.idle:
                wake = min(wake, model.expires_at)
        return wake

    # events

    def _arrive(self, event: m.Arrive, now: float) -> None:
        if self._closed:
            self._out.append(m.Refuse(event.ticket, draining()))
            return
        verdict = self._admission.check(event, now)
        if isinstance(verdict, InhouseError):
            self._out.append(m.Refuse(event.ticket, verdict))
            return
        if verdict is not None:
            self._refuse(verdict.ticket, self._admission.full(now))
        model = self._models.get(event.key)
        if model is None:
            model = Model(event.key, event.group, event.memory, self._limits.keep_alive)
            self._models[event.key] = model
        if model.state is State.ABSENT:
            model.memory, model.device, model.least = event.memory, event.device, event.least
        self._places.enter(event, model, now)

    def _leave(self, ticket: m.Ticket, ok: bool, work: int | None, now: float) -> None:
        place = self._places.drop(ticket)
        if place is None:
            return  # refused, or its worker died
        model, held = place
        if held is None:
            return
        model.last_used = now
        if work is not None:
            model.queue.accounts.settle(held.tenant, work - held.work)
        if ok:
            self._history.served(model.key, now - held.since, held.work if work is None else work)
            self._backoff.succeeded(model.key)

    def _ready(self, key: m.Key, slots: int, now: float) -> None:
        model = self._models.get(key)
        if model is None or model.state is not State.LOADING:
            return
        self._history.loaded(key, now - model.since)
        self._backoff.succeeded(Whole(model.group))
        model.state, model.slots = State.READY, max(1, slots)
        model.since = model.last_used = now
        self._places.wind(model, now)

    def _load_failed(self, key: m.Key, error: InhouseError, now: float) -> None:
        model = self._models.get(key)
        if model is None or model.state is not State.LOADING:
            self._gone(key)
            return
        self._backoff.failed(key, error, now)
        self._backoff.failed(Whole(model.group), error, now)
        self._gone(key)
        self._refuse_waiting(model, error)

    def _replanned(self, key: m.Key, memory: int, device: int) -> None:
        model = self._models.get(key)
        if model is not None and model.state is State.LOADING:
            model.memory, model.device, model.resident = memory, device, 0

    def _measured(self, key: m.Key, memory: int, resident: int) -> None:
        model = self._models.get(key)
        if model is None or model.state is State.ABSENT:
            return
        model.resident = resident
        if memory and model.state is State.READY:
            model.memory = memory

    def _died(self, key: m.Key, error: InhouseError, now: float) -> None:
        model = self._models.get(key)
        if model is None or model.state is not State.READY:
            self._gone(key)
            return
        if now - model.since >= STABLE:
            self._backoff.succeeded(key)
        self._backoff.failed(key, error, now)
        self._gone(key)
        if (refusal := self._backoff.refusal(key, now)) is not None:
            self._refuse_waiting(model, refusal)

    def _gone(self, key: m.Key) -> None:
        """No worker any more: what it ran is lost, what waits for it may have it started again."""
        model = self._models.get(key)
        if model is None:
            return
        self._places.lose(model)
        model.state, model.stop_wanted, model.resident = State.ABSENT, False, 0

    def _stop_wanted(self, key: m.Key) -> None:
        model = self._models.get(key)
        if model is None:
            return
        if model.state is State.READY:
            model.stop_wanted = True
        elif model.state is State.LOADING:
            model.keep_alive = 0.0

    def _close(self, now: float) -> None:
        self._closed = True
        for model in self._models.values():
            self._refuse_waiting(model, draining())
            if model.state in (State.LOADING, State.READY):
                self._stop(model, "closing", now)

    def _expire_waiting(self, now: float) -> None:
        for model, item in self._places.late(now):
            again = expected_wait(model, work_in_line(model) - item.work, self._history, now)
            if now >= item.deadline:
                error = past_deadline(now - item.since, again)
            else:
                error = waited_too_long(self._limits.queue_timeout, again)
            self._refuse(item.ticket, error)

    # what follows from the state

    def _settle(self, now: float) -> None:
        """Grant, start and stop whatever the state now asks for."""
        decided = decide(self._models.values(), self._limits, self._free, self._history, now)
        for key in decided.hopeless:
            left = free_for_all(self._models.values(), self._free)
            self._refuse_waiting(self._models[key], not_there(self._models[key].least, left or 0))
        for key in decided.start:
            self._models[key].state, self._models[key].since = State.LOADING, now
            self._places.wind(self._models[key], now)
            self._out.append(m.Start(key))
        for model in list(self._models.values()):
            if model.state is State.READY:
                self._settle_ready(model, decided, now)
            elif model.state is State.LOADING and not model.queue:
                self._stop(model, "abandoned", now)
            elif model.state is State.ABSENT and not model.queue:
                del self._models[model.key]
        waits = self._free is not None and self.wants_room(m.Tick())
        self._recheck = now + RECHECK if waits else math.inf

    def _settle_ready(self, model: Model, decided: Plan, now: float) -> None:
        barrier = -math.inf if model.stop_wanted else decided.yielding.get(model.key, math.inf)
        if not self._grant(model, barrier, now) or model.running:
            return
        if model.stop_wanted:
            self._stop(model, "stopped", now)
        elif barrier < math.inf:
            self._stop(model, "reloaded" if self._reloads(model) else "evicted", now, decided)
        elif not model.queue and now >= model.expires_at:
            self._stop(model, "expired", now)
        elif not model.queue:
            model.queue.accounts.clear()

    def _grant(self, model: Model, barrier: float, now: float) -> bool:
        """Serve who is next while there are slots; False if somebody may wait for one to be free.

        Whose turn it is, is asked only while one is free: asking fixes it, and what those that run really
        take may change it yet.
        """
        limits = self._limits
        while model.busy < model.slots:
            if limits.model_concurrency and len(model.running) >= limits.model_concurrency:
                return False
            item = model.queue.head(now, barrier, self._places.at_limit(limits.key_concurrency))
            if item is None:
                return True
            if model.busy + min(item.weight, model.slots) > model.slots:
                return False
            self._places.serve(item, model, now)
            self._history.used(model.key, now)
            self._out.append(m.Grant(item.ticket, model.key))
        return False

    def _reloads(self, model: Model) -> bool:
        """Does another variant of the same model wait for this one to go?"""
        return any(o.group == model.group and o is not model and o.queue for o in self._models.values())

    def _stop(self, model: Model, why: m.Why, now: float, plan: Plan | None = None) -> None:
        model.state, model.stop_wanted, model.since = State.STOPPING, False, now
        key, decided = model.key, plan or Plan()
        self._out.append(m.Stop(key, why, decided.claimants.get(key), key in decided.crowded))

    def _refuse(self, ticket: m.Ticket, error: InhouseError) -> None:
        self._places.drop(ticket)
        self._out.append(m.Refuse(ticket, error))

    def _refuse_waiting(self, model: Model, error: InhouseError) -> None:
        for item in list(model.queue):
            self._refuse(item.ticket, error)
