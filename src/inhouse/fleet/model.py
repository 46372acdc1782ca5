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


@dataclass(frozen=True, slots=True)
class Running:
    """A request that holds ``weight`` slots since ``since``; it was charged ``work`` tokens."""

    tenant: str
    weight: int
    work: int
    since: float


@dataclass(slots=True, eq=False)
class Model:
    """All the scheduler knows of one key. ``memory`` and ``device`` are the bytes that it needs, expected
    or measured, ``least`` those without which it is not loaded; ``resident`` those that its worker has now.
    ``since``: in this state."""

    key: Key
    group: Hashable
    memory: int
    keep_alive: float
    device: int = 0
    least: int = 0
    resident: int = 0
    state: State = State.ABSENT
    slots: int = 0
    queue: FairQueue = field(default_factory=FairQueue)
    running: dict[Ticket, Running] = field(default_factory=dict)
    since: float = 0.0
    last_used: float = 0.0
    stop_wanted: bool = False

    @property
    def busy(self) -> int:
        """Slots in use."""
        return sum(one.weight for one in self.running.values())

    @property
    def idle(self) -> bool:
        return not self.running and not self.queue

    @property
    def expires_at(self) -> float:
        """When an idle, loaded model goes."""
        return self.last_used + self.keep_alive

    def serves_at_once(self, weight: int, most: int = 0) -> bool:
        """Would a request of ``weight`` slots find them free and nobody before it? ``most`` requests may
        run, 0 is no limit."""
        if self.state is not State.READY or self.queue or self.stop_wanted:
            return False
        if most and len(self.running) >= most:
            return False
        return self.busy + min(weight, self.slots) <= self.slots
