"""Where the time of a request went before it ran, with cause and remedy. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..core.usage import Step
from .model import Model, State


@dataclass(frozen=True, slots=True)
class Chapter:
    """Something that happened to a model from ``began`` to ``ended``: evict (others for it), load, retry."""

    name: str
    began: float
    ended: float
    cause: str = ""
    remedy: str = ""

    def during(self, since: float, until: float) -> float:
        """Seconds of it in that time."""
        return max(0.0, min(self.ended, until) - max(self.began, since))


@dataclass(frozen=True, slots=True)
class Ahead:
    """What a request found when it came: those in line of its own key and of others, those that ran, and
    of how many slots; ``limited``: its key ran as many as it may."""

    own: int = 0
    others: int = 0
    running: int = 0
    slots: int = 0
    limited: bool = False

    @classmethod
    def of(cls, model: Model | None, tenant: str, *, limited: bool) -> Ahead:
        if model is None:
            return cls(limited=limited)
        own = model.queue.crowd.count(tenant)
        slots = model.slots if model.state is State.READY else 0
        return cls(own, len(model.queue) - own, len(model.running), slots, limited)

    def cause(self, model: str) -> str:
        """One sentence."""
        if self.limited:
            return f"The key had as many requests running as it may; {self.own} more of it were in line."
        if not (self.own or self.others or self.running):
            return ""
        line = f"{_many(self.own + self.others)} in line for {model} ({self.own} of the same key)"
        at_work = f", {self.running} running in {self.slots} slots" if self.slots else ""
        return f"Behind {line}{at_work}."

    def remedy(self) -> str:
        """What would have helped."""
        if self.limited:
            return "Send fewer at once, or raise INHOUSE_KEY_CONCURRENCY."
        if self.own > self.others:
            return "Most of the line was this key's own: send fewer at once."
        if self.own or self.others or self.running:
            return "More slots (INHOUSE_SLOTS) or a higher priority shorten the wait."
        return ""


def _many(count: int) -> str:
    return "1 request" if count == 1 else f"{count} requests"


def told(
    chapters: Iterable[Chapter], since: float, until: float, cause: str, remedy: str
) -> tuple[float, tuple[Step, ...]]:
    """Seconds spent on loading, and the steps from ``since`` to ``until``: what overlaps with a chapter is
    that, the rest is the queue with its ``cause`` and ``remedy``."""
    parts = [(c, seconds) for c in chapters if (seconds := c.during(since, until)) > 0]
    spent = min(until - since, sum(seconds for _, seconds in parts))
    loading = sum(seconds for c, seconds in parts if c.name in ("load", "retry"))
    queue = max(0.0, until - since - spent)
    steps = [Step("queue", queue, cause, remedy)] if queue > 0 else []
    steps += [Step(c.name, seconds, c.cause, c.remedy) for c, seconds in parts]
    return min(loading, until - since), tuple(steps)
