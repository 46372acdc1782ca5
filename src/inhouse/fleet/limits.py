"""What may be in line and run, and what those are told who may not. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ..core.errors import DeadlineExceeded, Draining, QueueFull, RateLimited
from .history import History
from .model import Model, State

SHORTEST: Final = 1.0
LONGEST: Final = 60.0
"""Seconds of Retry-After."""

UNKNOWN: Final = 5.0
"""Seconds that a line is taken to need where nothing was measured yet."""


@dataclass(frozen=True, slots=True)
class Limits:
    """``memory`` and ``device`` in bytes and ``max_loaded`` models, 0 without limit; times in seconds.

    ``patience``: for how long after the first request for a waiting model busy ones in its way
    still take new work. ``max_loads`` models load at once. ``key_concurrency``: requests that one tenant
    may have running, ``key_queue`` those that it may have in line, ``model_concurrency`` those that one
    model runs; 0 is no limit for all four.
    """

    memory: int = 0
    max_loaded: int = 0
    max_queue: int = 512
    queue_timeout: float = 600.0
    keep_alive: float = 300.0
    patience: float = 2.0
    device: int = 0
    max_loads: int = 0
    key_concurrency: int = 0
    key_queue: int = 0
    model_concurrency: int = 0


def expected_wait(model: Model | None, ahead: float, history: History, now: float) -> float:
    """Seconds until ``ahead`` tokens of work are done on the model, 1 to 60.

    The rest of a load, then what is left of those that run and the work ahead, at the measured pace,
    over all slots.
    """
    if model is None:
        return UNKNOWN
    seconds = 0.0
    if model.state is State.LOADING:
        seconds = max(0.0, history.load_seconds(model.key, model.memory) - (now - model.since))
    pace = history.pace(model.key)
    if pace is None:
        return min(LONGEST, max(SHORTEST, seconds or UNKNOWN))
    left = sum(max(0.0, one.work * pace - (now - one.since)) for one in model.running.values())
    seconds += (left + ahead * pace) / max(1, model.slots)
    return min(LONGEST, max(SHORTEST, seconds))


def work_in_line(model: Model, tenant: str | None = None) -> int:
    """Tokens that wait for a model, all or one tenant's."""
    return model.queue.crowd.work(tenant)


def queue_full(limit: int, retry_after: float) -> QueueFull:
    return QueueFull(
        f"Too many requests are waiting (limit {limit}).",
        hint="Try again later, or raise INHOUSE_MAX_QUEUE.",
        retry_after=retry_after,
    )


def key_full(limit: int, retry_after: float) -> RateLimited:
    return RateLimited(
        f"Too many requests of this key are waiting (limit {limit}).",
        hint="Send fewer at once, or raise INHOUSE_KEY_QUEUE.",
        retry_after=retry_after,
    )


def waited_too_long(limit: float, retry_after: float) -> DeadlineExceeded:
    return DeadlineExceeded(
        f"The request waited longer than {limit:g} s for its turn.",
        hint="Try again later, or raise INHOUSE_QUEUE_TIMEOUT.",
        retry_after=retry_after,
    )


def past_deadline(waited: float, retry_after: float) -> DeadlineExceeded:
    return DeadlineExceeded(
        f"The request's own deadline passed after it had waited {waited:.1f} s; it was not begun.",
        hint="Give it more time (x-request-timeout), or try again later.",
        retry_after=retry_after,
    )


def draining() -> Draining:
    return Draining("The server is stopping.", hint="Try again in a moment.", retry_after=5.0)
