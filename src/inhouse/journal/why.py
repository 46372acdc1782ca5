"""Where a request's time went, and what would help. Pure: traces and lines in, sentences out.

Why = parts (a timeline that adds up to the whole) + rates + findings (what stands out, dearest first)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ..core.usage import Step
from .facts import Facts, Rates, at_once, number, rates, spans, unload_said, unloaded_by, usual
from .journal import Line
from .rules import RULES, STEPS, Finding, refused
from .trace import RUNNING, Trace

WORTH = 0.05
"""Share of the whole below which a stretch is not worth a sentence."""
LEAST = 0.1
"""Seconds below which it is not, either."""

_WAITED = {
    "queue_full": "queue",
    "deadline_exceeded": "queue",
    "out_of_memory": "queue",
    "draining": "queue",
    "load_failed": "load",
    "crash_loop": "load",
}


@dataclass(frozen=True, slots=True)
class Part:
    """One stretch of the way: ``seconds`` and its ``share`` of the whole (0 to 1)."""

    name: str
    seconds: float
    share: float
    cause: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Why:
    """``usual`` are the medians of this model's latest requests, all None when there were too few;
    ``together`` how many requests the model ran while this one was answered, on average; ``lines`` of the
    journal belong to it."""

    trace: Trace
    parts: tuple[Part, ...]
    rates: Rates
    usual: Rates = field(default_factory=Rates)
    together: float = 1.0
    findings: tuple[Finding, ...] = ()
    lines: tuple[Line, ...] = ()


def explain(trace: Trace, peers: Sequence[Trace] = (), lines: Sequence[Line] = ()) -> Why:
    """Why ``trace`` took as long as it did. ``peers`` are further requests of any model and any time,
    ``lines`` the journal's."""
    peers = [one for one in peers if one.model == trace.model and (one.id, one.at) != (trace.id, trace.at)]
    steps = _steps(trace)
    prefill, decode = _within(trace, steps)
    other = max(0.0, trace.seconds - sum(step.seconds for step in steps) - prefill - decode)
    together = at_once(trace, peers, decode)
    unloaded = unloaded_by(trace, lines)
    facts = Facts(trace, prefill, decode, other, rates(trace), usual(peers), together, unloaded)
    found = [finding for rule in RULES if (finding := rule(facts)) is not None]
    worth = max(WORTH * trace.seconds, LEAST)
    found = [one for one in found if one.seconds >= worth] + refused(trace)
    return Why(
        trace,
        tuple(_parts(facts, steps)),
        facts.rates,
        facts.usual,
        together,
        tuple(sorted(found, key=lambda one: -one.seconds)),
        tuple(line for line in lines if line.record.request_id == trace.id or line is unloaded),
    )


def _within(trace: Trace, steps: Sequence[Step]) -> tuple[float, float]:
    """Seconds of prefill and decode as they passed: several choices side by side take more of the engine's
    time than passes meanwhile."""
    prefill, decode = spans(trace)
    left = max(0.0, trace.seconds - sum(step.seconds for step in steps))
    fits = min(1.0, left / (prefill + decode)) if prefill + decode > 0 else 1.0
    return prefill * fits, decode * fits


def _steps(trace: Trace) -> tuple[Step, ...]:
    """What it waited for; a request that was refused before an engine had it did nothing else."""
    name = _WAITED.get(trace.trouble.code, "") if trace.trouble else ""
    if trace.steps or trace.engine or trace.ttft is not None or not name:
        return trace.steps
    return (Step(name, trace.seconds, "It was refused."),)


def _parts(facts: Facts, steps: Sequence[Step]) -> Iterator[Part]:
    trace, whole = facts.trace, max(facts.trace.seconds, sum(s.seconds for s in steps), 1e-9)

    def part(name: str, seconds: float, cause: str, remedy: str = "") -> Part:
        return Part(name, seconds, min(1.0, seconds / whole), cause, remedy)

    for step in steps:
        cause, remedy = STEPS.get(step.name, ("", "")) if step.seconds >= LEAST else ("", "")
        cause, remedy = step.cause or cause, step.remedy or remedy
        if step.name == "load" and facts.unloaded is not None:
            cause, remedy = unload_said(facts.unloaded, trace), facts.unloaded.record.remedy or remedy
        yield part(step.name, step.seconds, cause, remedy)
    usage, running = trace.usage, trace.outcome == RUNNING
    if facts.prefill:
        read = usage.prompt_tokens - usage.cached_tokens
        cached = f", {usage.cached_tokens:,} came from the cache" if usage.cached_tokens else ""
        text = f"{read:,} tokens of the prompt were read{_pace(facts.rates.prefill)}{cached}."
        if usage.restored_tokens:
            text = f"{text[:-1]} ({usage.restored_tokens:,} of them had been saved on disk)."
        yield part("prefill", facts.prefill, text if usage.prompt_tokens else "The prompt was read.")
    if facts.decode:
        text = f"{usage.completion_tokens:,} tokens were written{_pace(facts.rates.decode)}."
        now = "The answer is being written." if running else "The answer was written."
        yield part("decode", facts.decode, text if usage.completion_tokens else now)
    if facts.other > 1e-6 or not steps:
        if running and not trace.engine:
            cause = "Taking the request in, and bringing what it names."
        elif trace.ttft is None and trace.outcome not in ("ok", "refused") and not facts.prefill:
            cause = "With the engine, which had written nothing yet."
        else:
            cause = "Taking the request in, bringing what it names, and sending to a client that may be slow."
        yield part("other", facts.other, cause)


def _pace(rate: float | None) -> str:
    return f" at {number(rate)} tokens/s" if rate else ""
