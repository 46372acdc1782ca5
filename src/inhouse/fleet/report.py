"""What goes into a fleet and what it tells: settings, the state of loaded models, an observer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, cast

import psutil

from ..core.journal import Record
from ..core.models import Card
from .model import Model, State
from .variants import Variant
from .worker import Worker


@dataclass(frozen=True, slots=True)
class FleetSettings:
    """Seconds, bytes and counts; 0 for ``max_loaded`` and ``memory`` is no limit.

    ``log_dir`` None keeps no worker logs. ``stop_grace``: how long a worker may take to end before
    it is killed. ``patience``: see ``scheduler.Limits``.
    """

    keep_alive: float = 300.0
    max_loaded: int = 0
    memory: int = 0
    max_queue: int = 512
    queue_timeout: float = 600.0
    load_timeout: float = 300.0
    hang_timeout: float = 15.0
    log_dir: Path | None = None
    stop_grace: float = 5.0
    patience: float = 2.0


@dataclass(frozen=True, slots=True)
class Loaded:
    """One model that has a worker. ``memory`` is resident bytes of the process; ``expires_in``
    seconds until an idle model goes, its whole keep-alive while it is busy, ``inf`` for never."""

    card: Card
    context_length: int
    slots: int
    busy: int
    waiting: int
    memory: int
    expires_in: float
    state: Literal["loading", "ready", "stopping"]
    engine: str
    build: str
    pid: int | None


class Observer(Protocol):
    """Hears what happens to models; calls must not block."""

    def loaded(self, name: str, seconds: float) -> None: ...
    def evicted(self, name: str, why: str) -> None:
        """A worker was told to stop: expired, evicted, reloaded, stopped, abandoned or closing."""
        ...

    def restarted(self, name: str) -> None:
        """A worker is started again after one that failed."""
        ...

    def record(self, record: Record) -> None:
        """Something that an operator may ask about later."""
        ...


class Silence:
    """An observer that does nothing."""

    def loaded(self, name: str, seconds: float) -> None:
        return None

    def evicted(self, name: str, why: str) -> None:
        return None

    def restarted(self, name: str) -> None:
        return None

    def record(self, record: Record) -> None:
        return None


def loaded(variant: Variant, worker: Worker, model: Model | None, now: float) -> Loaded:
    """The state of one worker, for people."""
    expires, busy, waiting, state = 0.0, 0, 0, State.STOPPING
    if model is not None:
        expires = min(model.keep_alive, model.expires_at - now) if model.idle else model.keep_alive
        busy, waiting, state = model.busy, len(model.queue), model.state
    return Loaded(
        card=variant.card,
        context_length=worker.launch.context_length,
        slots=worker.launch.slots,
        busy=busy,
        waiting=waiting,
        memory=_resident(worker.pid),
        expires_in=max(0.0, expires),
        state=cast(Literal["loading", "ready", "stopping"], state.value),
        engine=worker.launch.engine,
        build=worker.launch.build,
        pid=worker.pid,
    )


def _resident(pid: int | None) -> int:
    """Resident bytes of a process, 0 if it is gone."""
    if pid is None:
        return 0
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0
