"""What the scheduler remembers of one model variant."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from enum import Enum

from .fairness import FairQueue
from .messages import Key, Ticket


class State(Enum):
    ABSENT = "absent"
    LOADING = "loading"
    READY = "ready"
    STOPPING = "stopping"


@dataclass(slots=True, eq=False)
class Model:
    """All the scheduler knows of one key. ``running`` maps tickets to (slots held, granted at)."""

    key: Key
    group: Hashable
    memory: int
    keep_alive: float
    state: State = State.ABSENT
    slots: int = 0
    queue: FairQueue = field(default_factory=FairQueue)
    running: dict[Ticket, tuple[int, float]] = field(default_factory=dict)
    since: float = 0.0
    last_used: float = 0.0
    stop_wanted: bool = False
    service: float = 1.0

    @property
    def busy(self) -> int:
        """Slots in use."""
        return sum(weight for weight, _ in self.running.values())

    @property
    def idle(self) -> bool:
        return not self.running and not self.queue

    @property
    def expires_at(self) -> float:
        """When an idle, loaded model goes."""
        return self.last_used + self.keep_alive

    def serves_at_once(self, weight: int) -> bool:
        """Would a request of ``weight`` slots find them free and nobody before it?"""
        if self.state is not State.READY or self.queue or self.stop_wanted:
            return False
        return self.busy + min(weight, self.slots) <= self.slots
