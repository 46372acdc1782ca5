"""What can be said of a trace in numbers: rates, what is usual, how many ran at once. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from .journal import Line
from .trace import Trace

ENOUGH = 5
"""Requests to the same model that make a median worth comparing with."""
PEERS = 200
"""How many of the latest are compared with."""
SLOW = 0.6
"""Below this share of the usual rate something is slow."""
BEFORE = 600.0
"""Seconds before a request in which an unload explains that its model had to be loaded."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Tokens per second of ``prefill`` and ``decode``; the shares (0 to 1) of the prompt that came from the
    cache and of guessed tokens that were right. None where there was nothing to measure."""

    prefill: float | None = None
    decode: float | None = None
    cached: float | None = None
    accepted: float | None = None
    ttft: float | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What rules look at. ``prefill`` and ``decode`` in seconds."""

    trace: Trace
    prefill: float
    decode: float
    other: float
    rates: Rates
    usual: Rates
    together: float
    unloaded: Line | None


def spans(trace: Trace) -> tuple[float, float]:
    """Seconds of prefill and of decode: the engine's own, else as the answer's pieces came."""
    if trace.timings.prefill or trace.timings.decode:
        return trace.timings.prefill, trace.timings.decode
    waited = sum(step.seconds for step in trace.steps)
    if trace.ttft is None:
        return 0.0, 0.0
    return max(0.0, trace.ttft - waited), max(0.0, trace.seconds - trace.ttft)


def rates(trace: Trace) -> Rates:
    """How fast it went, where there was enough to tell."""
    usage, (prefill, decode) = trace.usage, spans(trace)
    read = usage.prompt_tokens - usage.cached_tokens
    return Rates(
        read / prefill if read > 0 and prefill > 0 else None,
        usage.completion_tokens / decode if usage.completion_tokens > 1 and decode > 0 else None,
        usage.cached_tokens / usage.prompt_tokens if usage.prompt_tokens else None,
        usage.accepted_tokens / usage.drafted_tokens if usage.drafted_tokens else None,
        trace.ttft,
    )


def usual(peers: Sequence[Trace]) -> Rates:
    """The medians of one model's answered requests; None where there are fewer than ``ENOUGH``."""
    known = [rates(one) for one in peers if one.outcome == "ok"][-PEERS:]

    def median(values: list[float | None]) -> float | None:
        there = [value for value in values if value is not None]
        return statistics.median(there) if len(there) >= ENOUGH else None

    return Rates(
        median([one.prefill for one in known]),
        median([one.decode for one in known]),
        median([one.cached for one in known]),
        median([one.accepted for one in known]),
        median([one.ttft for one in known]),
    )


def at_once(trace: Trace, peers: Sequence[Trace], decode: float) -> float:
    """How many requests ran, this one among them, on average over the ``decode`` seconds of its end."""
    if decode <= 0:
        return 1.0
    end = trace.at + trace.seconds
    begin = end - decode
    shared = 0.0
    for one in peers:
        granted = one.at + sum(step.seconds for step in one.steps)
        if spans(one) != (0.0, 0.0):
            shared += max(0.0, min(end, one.at + one.seconds) - max(begin, granted))
    return 1.0 + shared / decode


def unloaded_by(trace: Trace, lines: Sequence[Line]) -> Line | None:
    """The line that says why its model was not loaded any more, for a request that had to load it."""
    if not any(step.name == "load" for step in trace.steps):
        return None
    for line in reversed(lines):
        record = line.record
        recent = trace.at - BEFORE <= line.at <= trace.at
        if record.model == trace.model and recent and record.kind in ("eviction", "restart"):
            return line
    return None


def unload_said(line: Line, trace: Trace) -> str:
    """That line as a sentence."""
    return f"The model was unloaded {span(max(0.0, trace.at - line.at))} before: {line.record.cause}"


def number(value: float) -> str:
    """A rate for people: ``85``, ``7.2``."""
    return f"{value:,.0f}" if value >= 20 else f"{value:.1f}"


def span(seconds: float) -> str:
    """A time for people: ``4.1 s``, ``120 ms``."""
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"
