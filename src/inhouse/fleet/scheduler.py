"""Who runs, who waits, who goes: a state machine. Events in, commands out.

No await, no I/O and no clock of its own: ``now`` comes with every event. A model's key is absent,
loading, ready or stopping; every ticket ends exactly once, by Refuse or by its own Leave.

    absent ──Start──> loading ──Ready──> ready ──Stop──> stopping ──Stopped──> absent
                         │ LoadFailed       │ Died
                         └──> absent        └──> absent
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..core.errors import DeadlineExceeded, Draining, InhouseError, QueueFull
from .backoff import Backoff
from .eviction import Claim, Plan, Resident, plan
from .fairness import Waiting, crowded_out
from .memory import Room, never_fits
from .messages import (
    Arrive,
    Close,
    Command,
    Died,
    Drain,
    Event,
    Grant,
    Key,
    Leave,
    LoadFailed,
    Ready,
    Refuse,
    Start,
    Stop,
    Stopped,
    StopWanted,
    Tick,
    Ticket,
    Why,
)
from .model import Model, State

STABLE = 60.0  # seconds of life after which a worker's death is not part of a crash loop


@dataclass(frozen=True, slots=True)
class Limits:
    """``memory`` in bytes and ``max_loaded`` models, 0 without limit; times in seconds.

    ``patience``: for how long after the first request for a waiting model busy ones in its way
    still take new work.
    """

    memory: int = 0
    max_loaded: int = 0
    max_queue: int = 512
    queue_timeout: float = 600.0
    keep_alive: float = 300.0
    patience: float = 2.0


class Scheduler:
    """The state and its one entry, ``step``."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._models: dict[Key, Model] = {}
        self._places: dict[Ticket, tuple[Model, Waiting | None]] = {}
        self._backoff = Backoff()
        self._closed: str | None = None
        self._out: list[Command] = []

    def step(self, event: Event, now: float) -> list[Command]:
        """Take in one event and say what is to be done, in order."""
        self._out = []
        match event:
            case Arrive():
                self._arrive(event, now)
            case Leave(ticket, ok):
                self._leave(ticket, ok, now)
            case Ready(key, slots):
                self._ready(key, slots, now)
            case LoadFailed(key, error):
                self._load_failed(key, error, now)
            case Died(key, error):
                self._died(key, error, now)
            case Stopped(key):
                self._gone(key)
            case StopWanted(key):
                self._stop_wanted(key)
            case Drain():
                self._closed = self._closed or "draining"
            case Close():
                self._close()
            case Tick():
                self._expire_waiting(now)
        self._settle(now)
        return self._out

    # what an observer may ask

    @property
    def waiting(self) -> int:
        """Requests in line, over all models."""
        return sum(len(model.queue) for model in self._models.values())

    @property
    def tickets(self) -> int:
        """Requests in line or running."""
        return len(self._places)

    def model(self, key: Key) -> Model | None:
        """The state of a key, to read; None when the scheduler has forgotten it."""
        return self._models.get(key)

    def next_wake(self) -> float:
        """When to send the next Tick at the latest; ``inf`` for never."""
        wake = math.inf
        for model in self._models.values():
            if (oldest := model.queue.oldest()) is not None:
                wake = min(wake, oldest.since + self._limits.queue_timeout)
            elif model.state is State.READY and not model.running:
                wake = min(wake, model.expires_at)
        return wake

    # events

    def _arrive(self, event: Arrive, now: float) -> None:
        if (refusal := self._refusal(event, now)) is not None:
            self._out.append(Refuse(event.ticket, refusal))
            return
        model = self._models.get(event.key)
        if model is None:
            model = Model(event.key, event.group, event.memory, self._limits.keep_alive)
            self._models[event.key] = model
        if model.state is State.ABSENT:
            model.memory = event.memory
        item = Waiting(
            event.ticket, event.tenant, now, max(1, event.weight), event.keep_alive, event.priority
        )
        model.queue.push(item)
        self._places[event.ticket] = (model, item)

    def _refusal(self, event: Arrive, now: float) -> InhouseError | None:
        """Why this request may not even stand in line."""
        if self._closed:
            return _draining()
        if (loop := self._backoff.refusal(event.key, now)) is not None:
            return loop
        model = self._models.get(event.key)
        if self._limits.memory and event.memory > self._limits.memory:
            return never_fits(event.memory, self._limits.memory)
        if model is not None and model.serves_at_once(event.weight):
            return None
        if self.waiting < max(1, self._limits.max_queue):  # a load needs one who waits for it
            return None
        full = QueueFull(
            f"Too many requests are waiting (limit {self._limits.max_queue}).",
            hint="Try again later, or raise INHOUSE_MAX_QUEUE.",
            retry_after=self._expected_wait(model),
        )
        other = crowded_out((m.queue for m in self._models.values()), event.tenant, event.priority)
        if other is None:
            return full
        self._refuse(other.ticket, full)
        return None

    def _leave(self, ticket: Ticket, ok: bool, now: float) -> None:
        place = self._places.pop(ticket, None)
        if place is None:
            return  # refused, or its worker died
        model, item = place
        if item is not None:
            model.queue.remove(item)
            return
        _, granted = model.running.pop(ticket)
        model.last_used = now
        if ok:
            model.service += 0.2 * (now - granted - model.service)
            self._backoff.succeeded(model.key)

    def _ready(self, key: Key, slots: int, now: float) -> None:
        model = self._models.get(key)
        if model is None or model.state is not State.LOADING:
            return
        model.state, model.slots = State.READY, max(1, slots)
        model.since = model.last_used = now

    def _load_failed(self, key: Key, error: InhouseError, now: float) -> None:
        model = self._models.get(key)
        if model is None or model.state is not State.LOADING:
            self._gone(key)
            return
        self._backoff.failed(key, error, now)
        self._gone(key)
        self._refuse_waiting(model, error)

    def _died(self, key: Key, error: InhouseError, now: float) -> None:
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

    def _gone(self, key: Key) -> None:
        """No worker any more: what it ran is lost, what waits for it may have it started again."""
        model = self._models.get(key)
        if model is None:
            return
        for ticket in model.running:
            self._places.pop(ticket, None)
        model.running.clear()
        model.state, model.stop_wanted = State.ABSENT, False

    def _stop_wanted(self, key: Key) -> None:
        model = self._models.get(key)
        if model is None:
            return
        if model.state is State.READY:
            model.stop_wanted = True
        elif model.state is State.LOADING:
            model.keep_alive = 0.0

    def _close(self) -> None:
        self._closed = "closed"
        for model in self._models.values():
            self._refuse_waiting(model, _draining())
            if model.state in (State.LOADING, State.READY):
                self._stop(model, "closing")

    def _expire_waiting(self, now: float) -> None:
        limit = self._limits.queue_timeout
        for model in self._models.values():
            for item in [w for w in model.queue if now >= w.since + limit]:
                error = DeadlineExceeded(
                    f"The request waited longer than {limit:g} s for its turn.",
                    hint="Try again later, or raise INHOUSE_QUEUE_TIMEOUT.",
                    retry_after=self._expected_wait(model),
                )
                self._refuse(item.ticket, error)

    # what follows from the state

    def _settle(self, now: float) -> None:
        """Grant, start and stop whatever the state now asks for."""
        decided = self._plan()
        for key in decided.start:
            self._models[key].state = State.LOADING
            self._out.append(Start(key))
        for model in list(self._models.values()):
            if model.state is State.READY:
                self._settle_ready(model, decided, now)
            elif model.state is State.LOADING and not model.queue:
                self._stop(model, "abandoned")
            elif model.state is State.ABSENT and not model.queue:
                del self._models[model.key]

    def _settle_ready(self, model: Model, decided: Plan, now: float) -> None:
        barrier = -math.inf if model.stop_wanted else decided.yielding.get(model.key, math.inf)
        while (item := model.queue.head(now, barrier)) is not None:
            weight = min(item.weight, model.slots)
            if model.busy + weight > model.slots:
                return
            model.queue.serve(item)
            model.running[item.ticket] = (weight, now)
            self._places[item.ticket] = (model, None)
            if item.keep_alive is not None:
                model.keep_alive = item.keep_alive
            model.last_used = now
            self._out.append(Grant(item.ticket, model.key))
        if model.running:
            return
        if model.stop_wanted:
            self._stop(model, "stopped")
        elif barrier < math.inf:
            self._stop(model, "reloaded" if self._reloads(model) else "evicted")
        elif now >= model.expires_at:
            self._stop(model, "expired")

    def _plan(self) -> Plan:
        claims, residents = [], []
        for model in self._models.values():
            if model.state is State.ABSENT:
                if (oldest := model.queue.oldest()) is not None:
                    claims.append(Claim(model.key, model.group, model.memory, oldest.since))
                continue
            residents.append(
                Resident(
                    key=model.key,
                    group=model.group,
                    memory=model.memory,
                    settled=model.state is State.READY,
                    leaving=model.state is State.STOPPING,
                    idle=model.idle,
                    kept=model.keep_alive == math.inf,
                    last_used=model.last_used,
                    since=model.since,
                )
            )
        if not claims:
            return Plan()
        limits = self._limits
        return plan(claims, residents, Room.of(limits.memory, limits.max_loaded), limits.patience)

    def _reloads(self, model: Model) -> bool:
        """Does another variant of the same model wait for this one to go?"""
        return any(m.group == model.group and m is not model and m.queue for m in self._models.values())

    def _stop(self, model: Model, why: Why) -> None:
        model.state, model.stop_wanted = State.STOPPING, False
        self._out.append(Stop(model.key, why))

    def _refuse(self, ticket: Ticket, error: InhouseError) -> None:
        model, item = self._places.pop(ticket)
        if item is not None:
            model.queue.remove(item)
        self._out.append(Refuse(ticket, error))

    def _refuse_waiting(self, model: Model, error: InhouseError) -> None:
        for item in list(model.queue):
            self._refuse(item.ticket, error)

    def _expected_wait(self, model: Model | None) -> float:
        """Seconds until the line may be shorter: a guess from recent service times, 1 to 60."""
        if model is None or not model.slots:
            return 5.0
        return min(60.0, max(1.0, model.service * len(model.queue) / model.slots))


def _draining() -> Draining:
    return Draining("The server is stopping.", hint="Try again in a moment.", retry_after=5.0)
