"""Who is in line and who runs: every ticket in exactly one place. Pure."""

from __future__ import annotations

import math
from collections import Counter
from typing import Final

from .alarms import Alarms
from .fairness import Waiting
from .messages import Arrive, Ticket
from .model import Model, Running, State

SHORTEST: Final = 0.001
"""Seconds that everybody may wait, so that who finds a slot free is not late for it."""


class Places:
    """Moves tickets between the lines and the slots of models."""

    def __init__(self, queue_timeout: float) -> None:
        self._timeout = queue_timeout
        self._places: dict[Ticket, tuple[Model, Waiting | None]] = {}
        self._running: Counter[str] = Counter()
        self._alarms = Alarms()

    def __len__(self) -> int:
        return len(self._places)

    def running(self, tenant: str) -> int:
        """Requests of a tenant that run now, over all models."""
        return self._running[tenant]

    def at_limit(self, most: int) -> frozenset[str]:
        """Tenants that have ``most`` requests running; 0 is no limit."""
        if not most:
            return frozenset()
        return frozenset(name for name, count in self._running.items() if count >= most)

    def enter(self, event: Arrive, model: Model, now: float) -> None:
        """Put a new ticket in line."""
        item = Waiting(
            event.ticket,
            event.tenant,
            now,
            max(1, event.weight),
            event.keep_alive,
            event.priority,
            max(1, event.work),
            event.deadline,
        )
        model.queue.push(item)
        self._places[item.ticket] = (model, item)
        self._wind(model, item, now)

    def wind(self, model: Model, now: float) -> None:
        """The model began to load or became ready: how long its line may wait is counted from now. Loading
        does not count, or a model that takes longer could never be loaded."""
        for item in model.queue:
            self._wind(model, item, now)

    def _wind(self, model: Model, item: Waiting, now: float) -> None:
        latest = math.inf if model.state is State.LOADING else now + max(SHORTEST, self._timeout)
        self._alarms.set(item.ticket, min(item.deadline, latest))

    def next_alarm(self) -> float:
        """When the next one in line runs out of time."""
        return self._alarms.next()

    def late(self, now: float) -> list[tuple[Model, Waiting]]:
        """Those in line whose time is over."""
        places = (self._places[ticket] for ticket in self._alarms.due(now))
        return [(model, item) for model, item in places if item is not None]

    def serve(self, item: Waiting, model: Model, now: float) -> None:
        """From the line into its slots."""
        model.queue.serve(item)
        self._alarms.drop(item.ticket)
        weight = min(item.weight, model.slots)
        model.running[item.ticket] = Running(item.tenant, weight, item.work, now)
        self._places[item.ticket] = (model, None)
        self._running[item.tenant] += 1
        if item.keep_alive is not None:
            model.keep_alive = item.keep_alive
        model.last_used = now

    def drop(self, ticket: Ticket) -> tuple[Model, Running | None] | None:
        """Take it out, wherever it is: the model, and what it held if it ran. None if it is nowhere."""
        place = self._places.pop(ticket, None)
        if place is None:
            return None
        model, item = place
        if item is not None:
            model.queue.remove(item)
            self._alarms.drop(ticket)
            return model, None
        held = model.running.pop(ticket)
        self._count_out(held)
        return model, held

    def lose(self, model: Model) -> None:
        """All that ran on a model is gone with its worker."""
        for ticket, held in model.running.items():
            del self._places[ticket]
            self._count_out(held)
        model.running.clear()

    def _count_out(self, held: Running) -> None:
        self._running[held.tenant] -= 1
        if not self._running[held.tenant]:
            del self._running[held.tenant]
