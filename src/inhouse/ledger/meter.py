"""Counters and histograms over closed entries. Plain numbers; whoever exposes them reads them."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable

from ..core.errors import DeadlineExceeded
from ..core.journal import Record
from .entry import INTER_TOKEN_BUCKETS, Entry

LATENCY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)


class Histogram:
    """Counts per upper bound (seconds), not yet cumulated, and their sum."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def merge(self, counts: Iterable[int], total: float) -> None:
        """Add counts that were made with the same bounds."""
        self.counts = [a + b for a, b in zip(self.counts, counts, strict=True)]
        self.sum += total

    def cumulative(self) -> list[tuple[str, int]]:
        """``(upper bound, count up to it)``, ending with ``+Inf``: the Prometheus text format's shape."""
        out, running = [], 0
        for bound, count in zip([*map(str, self.bounds), "+Inf"], self.counts, strict=True):
            running += count
            out.append((bound, running))
        return out


class Meter:
    """The numbers behind ``/metrics``. Labels: model (resolved names only), endpoint, outcome, reason (the
    code of an error), step and kind (of a record). ``load_seconds`` and ``step_seconds`` are milliseconds."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str, str]] = Counter()
        self.tokens: dict[str, Counter[str]] = {
            kind: Counter()
            for kind in ("prompt", "completion", "cached", "reasoning", "drafted", "accepted", "restored")
        }
        self.latency: dict[str, dict[str, Histogram]] = {
            kind: {} for kind in ("queue", "ttft", "inter_token", "request")
        }
        self.loads: Counter[str] = Counter()
        self.load_seconds: Counter[str] = Counter()
        self.evictions: Counter[tuple[str, str]] = Counter()
        self.restarts: Counter[str] = Counter()
        self.refusals: Counter[tuple[str, str]] = Counter()
        self.deadlines: Counter[str] = Counter()
        self.restores: Counter[str] = Counter()
        self.restored_bytes: Counter[str] = Counter()
        self.steps: Counter[tuple[str, str]] = Counter()
        self.step_seconds: Counter[tuple[str, str]] = Counter()
        self.records: Counter[tuple[str, str]] = Counter()

    def _histogram(self, kind: str, model: str) -> Histogram:
        bounds = INTER_TOKEN_BUCKETS if kind == "inter_token" else LATENCY_BUCKETS
        return self.latency[kind].setdefault(model, Histogram(bounds))

    def record(self, entry: Entry) -> None:
        """Count one closed entry."""
        model = entry.model or "unknown"
        self.requests[(model, entry.caller.endpoint, entry.outcome or "")] += 1
        self._histogram("request", model).observe(entry.seconds)
        if entry.error is not None and entry.outcome in ("refused", "overloaded"):
            self.refusals[(model, entry.error.code)] += 1
            self.deadlines[model] += isinstance(entry.error, DeadlineExceeded)
        if not entry.model:
            return
        self._histogram("queue", model).observe(entry.queue)
        if entry.ttft is not None:
            self._histogram("ttft", model).observe(entry.ttft)
        self._histogram("inter_token", model).merge(entry.gaps, entry.gap_sum)
        for kind, count in (
            ("prompt", entry.usage.prompt_tokens),
            ("completion", entry.usage.completion_tokens),
            ("cached", entry.usage.cached_tokens),
            ("reasoning", entry.usage.reasoning_tokens),
            ("drafted", entry.usage.drafted_tokens),
            ("accepted", entry.usage.accepted_tokens),
            ("restored", entry.usage.restored_tokens),
        ):
            self.tokens[kind][model] += count
        self.restores[model] += entry.usage.restored_tokens > 0
        self.restored_bytes[model] += entry.usage.restored_bytes
        for step in entry.steps:
            self.steps[(model, step.name)] += 1
            self.step_seconds[(model, step.name)] += round(step.seconds * 1000)

    # What the fleet tells its observer.

    def loaded(self, name: str, seconds: float) -> None:
        self.loads[name] += 1
        self.load_seconds[name] += int(seconds * 1000)

    def evicted(self, name: str, why: str) -> None:
        self.evictions[(name, why)] += 1

    def restarted(self, name: str) -> None:
        self.restarts[name] += 1

    def recorded(self, record: Record) -> None:
        self.records[(record.model, record.kind)] += 1
