"""What the scheduler hears and what it answers: one frozen class each, one union per direction.

A *key* names one variant of a model as a worker would run it; keys of one *group* stand for the
same model and never run side by side. A *ticket* is one request's place in line. Both are opaque
and hashable. Times are seconds of one monotonic clock.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Literal

from ..core.errors import InhouseError

Key = Hashable
Ticket = Hashable
Why = Literal["expired", "evicted", "reloaded", "stopped", "abandoned", "closing"]


@dataclass(frozen=True, slots=True)
class Arrive:
    """A request wants ``weight`` slots of ``key``, whose worker would need ``memory`` bytes.

    ``keep_alive`` None leaves the model's as it is; ``inf`` keeps it for ever, 0 stops it once idle.
    ``priority`` orders the requests of one tenant (1, 0, -1); -1 gives way to everybody. Who waits rises.
    ``work`` is the estimated effort in tokens, ``deadline`` when the answer is of no use any more.
    ``device``: bytes needed on GPUs, beside ``memory``. ``planned``: bytes that were planned where ``memory``
    was measured; a model whose plan fits is not refused for what it took beyond it, but loads alone.
    """

    ticket: Ticket
    key: Key
    group: Hashable
    tenant: str
    memory: int
    weight: int = 1
    keep_alive: float | None = None
    priority: int = 0
    work: int = 1
    deadline: float = math.inf
    device: int = 0
    planned: int = 0

    @property
    def least(self) -> int:
        """Bytes without which it is refused."""
        return min(self.memory, self.planned or self.memory)


@dataclass(frozen=True, slots=True)
class Leave:
    """The request is over, whatever it was doing; ``ok`` when the engine answered it to its end.
    ``work``: the tokens that it took, None if that is not known."""

    ticket: Ticket
    ok: bool = False
    work: int | None = None


@dataclass(frozen=True, slots=True)
class Ready:
    """The worker of ``key`` is loaded and runs ``slots`` requests at once."""

    key: Key
    slots: int


@dataclass(frozen=True, slots=True)
class LoadFailed:
    key: Key
    error: InhouseError


@dataclass(frozen=True, slots=True)
class Replanned:
    """The load goes on with another plan, of ``memory`` and ``device`` bytes."""

    key: Key
    memory: int
    device: int = 0


@dataclass(frozen=True, slots=True)
class Measured:
    """The worker of ``key`` has ``resident`` bytes now; ``memory`` is what it needs in all (0: not known
    yet, the estimate stands)."""

    key: Key
    memory: int
    resident: int


@dataclass(frozen=True, slots=True)
class Free:
    """Bytes that the machine has left now, whoever took the rest."""

    memory: int


@dataclass(frozen=True, slots=True)
class Died:
    """A loaded worker is gone that nobody told to stop."""

    key: Key
    error: InhouseError


@dataclass(frozen=True, slots=True)
class Stopped:
    """A worker that was told to stop is gone; its memory is free."""

    key: Key


@dataclass(frozen=True, slots=True)
class StopWanted:
    """Unload ``key`` as soon as its running requests have ended."""

    key: Key


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed; due whenever ``Scheduler.next_wake`` says so."""


@dataclass(frozen=True, slots=True)
class Drain:
    """Take no new requests; those that wait or run may end."""


@dataclass(frozen=True, slots=True)
class Close:
    """Refuse all who wait and stop every worker."""


Event = (
    Arrive
    | Leave
    | Ready
    | LoadFailed
    | Replanned
    | Measured
    | Free
    | Died
    | Stopped
    | StopWanted
    | Tick
    | Drain
    | Close
)


@dataclass(frozen=True, slots=True)
class Grant:
    """The ticket holds its slots from now until it leaves."""

    ticket: Ticket
    key: Key


@dataclass(frozen=True, slots=True)
class Refuse:
    ticket: Ticket
    error: InhouseError


@dataclass(frozen=True, slots=True)
class Start:
    """Load ``key``; answered by Ready or LoadFailed, or by Stopped if a Stop came between."""

    key: Key


@dataclass(frozen=True, slots=True)
class Stop:
    """End the worker of ``key``; answered by Stopped. ``claimant``: the key that needs its room;
    ``crowded``: it would fit, but for how many may be loaded."""

    key: Key
    why: Why
    claimant: Key | None = field(default=None, compare=False)
    crowded: bool = field(default=False, compare=False)


Command = Grant | Refuse | Start | Stop
