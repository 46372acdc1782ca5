"""What goes into a fleet and what it tells: settings, the state of loaded models, an observer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, cast

from ..core.engine import Launch
from ..core.journal import Record
from ..core.models import Card
from .footprint import resident
from .limits import Limits, work_in_line
from .model import Model, State
from .variants import Variant
from .worker import Worker


@dataclass(frozen=True, slots=True)
class FleetSettings:
    """Seconds, bytes and counts; 0 for ``max_loaded`` and ``memory`` is no limit.

    ``log_dir`` None keeps no worker logs. ``stop_grace``: how long a worker may take to end before
    it is killed. ``device_memory``: bytes of GPUs. For the others see ``limits.Limits``.
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
    device_memory: int = 0
    max_loads: int = 2
    key_concurrency: int = 0
    key_queue: int = 0
    model_concurrency: int = 0

    def limits(self) -> Limits:
        """What the scheduler goes by."""
        return Limits(
            memory=self.memory,
            max_loaded=self.max_loaded,
            max_queue=self.max_queue,
            queue_timeout=self.queue_timeout,
            keep_alive=self.keep_alive,
            patience=self.patience,
            device=self.device_memory,
            max_loads=self.max_loads,
            key_concurrency=self.key_concurrency,
            key_queue=self.key_queue,
            model_concurrency=self.model_concurrency,
        )


@dataclass(frozen=True, slots=True)
class Loaded:
    """One model that has a worker. ``memory`` is bytes of the process and its children, as measured last
    (0: not yet), ``device_memory`` those on GPUs, as planned; ``expires_in`` seconds until an idle model
    goes, its whole keep-alive while it is busy, ``inf`` for never. ``rate``: tokens per second over the
    last five seconds; ``queued``: waiting requests by tenant, ``queued_work``: what
    they may take by estimate, in tokens of a prompt. ``kernels``: as in ``Launch``."""

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
    variant: str = ""
    device_memory: int = 0
    planned_memory: int = 0
    rate: float = 0.0
    speculative: str = ""
    notices: tuple[str, ...] = ()
    load_seconds: float | None = None
    queued: Mapping[str, int] = field(default_factory=dict)
    queued_work: int = 0
    kernels: str = ""


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

    def measured(self, card: Card, launch: Launch, size: int) -> None:
        """What a loaded model takes: ``size`` bytes of main memory, soon after its load and again at its
        end if it grew."""
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

    def measured(self, card: Card, launch: Launch, size: int) -> None:
        return None


def loaded(variant: Variant, worker: Worker, model: Model | None, now: float) -> Loaded:
    """The state of one worker, for people."""
    expires, busy, waiting, work, state = 0.0, 0, 0, 0, State.STOPPING
    queued: dict[str, int] = {}
    if model is not None:
        expires = min(model.keep_alive, model.expires_at - now) if model.idle else model.keep_alive
        busy, waiting, state = model.busy, len(model.queue), model.state
        work = work_in_line(model)
        queued = dict(Counter(item.tenant for item in model.queue))
    return Loaded(
        card=variant.card,
        context_length=worker.launch.context_length,
        slots=worker.launch.slots,
        busy=busy,
        waiting=waiting,
        memory=worker.resident or resident(worker.pid),
        expires_in=max(0.0, expires),
        state=cast(Literal["loading", "ready", "stopping"], state.value),
        engine=worker.launch.engine,
        build=worker.launch.build,
        pid=worker.pid,
        variant=worker.launch.variant,
        device_memory=worker.launch.device_memory,
        planned_memory=worker.launch.memory,
        rate=worker.rate.now(),
        speculative=worker.launch.speculative,
        notices=worker.launch.notices,
        load_seconds=None if worker.ready is None else worker.ready - worker.started,
        queued=queued,
        queued_work=work,
        kernels=worker.launch.kernels,
    )
