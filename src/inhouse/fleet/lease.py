"""What a granted request holds."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TypeVar

from ..core.engine import Engine
from ..core.errors import EngineError, InhouseError
from ..core.usage import Step
from .worker import Worker

EXPLAIN = 1.5  # seconds that a broken request waits for its worker's verdict

_Error = TypeVar("_Error", bound=InhouseError)


def own(error: _Error) -> _Error:
    """A copy to raise: one exception raised in several tasks would mix up their tracebacks."""
    return copy.copy(error)


@dataclass(slots=True)
class Lease:
    """The right to run one request. ``load`` and ``queue`` are the seconds spent on each, ``steps`` what
    they were spent on."""

    engine: Engine
    load: float
    queue: float
    context_length: int
    slots: int
    worker: Worker
    steps: tuple[Step, ...] = ()

    @classmethod
    def of(cls, worker: Worker, arrived: float, now: float) -> Lease:
        """A lease on ``worker``, granted ``now`` to a request that ``arrived``."""
        waited = now - arrived
        loading = min(waited, max(0.0, (worker.ready or 0.0) - max(arrived, worker.started)))
        queue = max(0.0, waited - loading)
        return cls(
            engine=worker.engine,
            load=loading,
            queue=queue,
            context_length=worker.launch.context_length,
            slots=worker.launch.slots,
            worker=worker,
            steps=tuple(step for step in (Step("queue", queue), Step("load", loading)) if step.seconds > 0),
        )

    async def explain(self, error: EngineError) -> EngineError:
        """What a request should report that broke with ``error``: WorkerDied or WorkerHung when the
        worker is found to be gone (waits up to 1.5 s), else the error itself."""
        return own(await self.worker.explain(error, EXPLAIN))
