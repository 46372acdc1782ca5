"""Who may stand in line. Pure: it looks at the scheduler's state and says what should become of a request."""

from __future__ import annotations

from collections.abc import Mapping

from ..core.errors import InhouseError, QueueFull
from .backoff import Backoff, Whole
from .fairness import Waiting, crowded_out
from .history import History
from .limits import Limits, expected_wait, key_full, queue_full, work_in_line
from .memory import never_fits
from .messages import Arrive, Key
from .model import Model, State


class Admission:
    """Reads what the scheduler writes."""

    def __init__(
        self, limits: Limits, models: Mapping[Key, Model], backoff: Backoff, history: History
    ) -> None:
        self._limits, self._models = limits, models
        self._backoff, self._history = backoff, history

    @property
    def waiting(self) -> int:
        """Requests in line, over all models."""
        return sum(len(model.queue) for model in self._models.values())

    def check(self, event: Arrive, now: float) -> InhouseError | Waiting | None:
        """None lets it in; an error refuses it; a Waiting is to be refused in its place."""
        if (loop := self._backoff.refusal(event.key, now)) is not None:
            return loop
        model = self._models.get(event.key)
        absent = model is None or model.state is State.ABSENT
        if absent and (loop := self._backoff.refusal(Whole(event.group), now)) is not None:
            return loop
        limits = self._limits
        if limits.memory and event.least > limits.memory:
            return never_fits(event.least, limits.memory)
        if limits.device and event.device > limits.device:
            return never_fits(event.device, limits.device, "GPU memory")
        if model is not None and model.serves_at_once(event.weight, limits.model_concurrency):
            return None
        if limits.key_queue and self._in_line(event.tenant) >= limits.key_queue:
            return self._key_full(event.tenant, now)
        if self.waiting < max(1, limits.max_queue):  # a load needs one who waits for it
            return None
        queues = [one.queue for one in self._models.values()]
        return crowded_out(queues, event.tenant, event.priority) or self.full(now)

    def full(self, now: float) -> QueueFull:
        """The house is full until one of its lines is half as long."""
        waits = (
            expected_wait(model, work_in_line(model) / 2, self._history, now)
            for model in self._models.values()
            if model.queue
        )
        return queue_full(self._limits.max_queue, min(waits, default=1.0))

    def _in_line(self, tenant: str) -> int:
        return sum(model.queue.crowd.count(tenant) for model in self._models.values())

    def _key_full(self, tenant: str, now: float) -> InhouseError:
        """Its own line has to become half as long, and others have their turns meanwhile."""
        waits = []
        for model in self._models.values():
            own = work_in_line(model, tenant)
            if own:
                others = work_in_line(model) - own
                waits.append(expected_wait(model, own / 2 + min(others, own / 2), self._history, now))
        return key_full(self._limits.key_queue, min(waits, default=1.0))
