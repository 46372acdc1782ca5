"""What stands out in the way of a request, and what would help. Pure.

A rule is a function from ``Facts`` to a finding or None; ``RULES`` lists them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .facts import SLOW, Facts, number, span, unload_said
from .trace import Trace

LONG_PROMPT, LONG_ANSWER, LONG_PAUSE = 1000, 500, 2.0

STEPS = {
    "queue": ("All slots of the model were busy, or others came first.",
              "Let the model run more at once with INHOUSE_SLOTS, or send fewer requests at a time."),
    "evict": ("Another model had to be unloaded first.",
              "Raise INHOUSE_MAX_LOADED_MODELS or INHOUSE_MEMORY, so that both stay loaded."),
    "load": ("The model was not loaded.",
             "Keep it loaded: keep_alive in the request, INHOUSE_KEEP_ALIVE for all, or load it before it"
             " is needed."),
    "retry": ("A first try failed.", "See what failed: inhouse events --kind retry"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that cost about ``seconds``, and what would help."""

    what: str
    remedy: str
    seconds: float = 0.0


Rule = Callable[[Facts], Finding | None]


def _waiting(facts: Facts) -> Finding | None:
    steps = [s for s in facts.trace.steps if s.name not in ("load", "restore")]
    worst = max(steps, key=lambda step: step.seconds, default=None)
    if worst is None:
        return None
    cause, remedy = STEPS.get(worst.name, ("", ""))
    text = f"It waited {span(worst.seconds)} ({worst.name}). {worst.cause or cause}".rstrip()
    return Finding(text, worst.remedy or remedy, worst.seconds)


def _loading(facts: Facts) -> Finding | None:
    load = next((s for s in facts.trace.steps if s.name == "load"), None)
    if load is None:
        return None
    cause, remedy = load.cause or STEPS["load"][0], load.remedy or STEPS["load"][1]
    if facts.unloaded is not None:
        cause = unload_said(facts.unloaded, facts.trace)
        remedy = facts.unloaded.record.remedy or remedy
    return Finding(f"Loading took {span(load.seconds)}. {cause}", remedy, load.seconds)


def _uncached(facts: Facts) -> Finding | None:
    usage = facts.trace.usage
    read = usage.prompt_tokens - usage.cached_tokens
    if read < LONG_PROMPT or (facts.rates.cached or 0.0) >= 0.5:
        return None
    return Finding(
        f"{read:,} of {usage.prompt_tokens:,} prompt tokens were not in the cache.",
        "Keep what repeats (system prompt, tools, documents) first and the same to the letter; what changes,"
        " such as the time of day, belongs at the end.",
        facts.prefill,
    )


def _slow_prefill(facts: Facts) -> Finding | None:
    now, often = facts.rates.prefill, facts.usual.prefill
    if now is None or often is None or now >= SLOW * often or facts.trace.usage.prompt_tokens < 64:
        return None
    return Finding(
        f"The prompt was read at {number(now)} tokens/s; {number(often)} are usual for this model.",
        "Other requests or other programs took the processor; see inhouse ps, or run fewer at once.",
        facts.prefill * (1 - now / often),
    )


def _slow_decode(facts: Facts) -> Finding | None:
    now, often = facts.rates.decode, facts.usual.decode
    slow = now is not None and often is not None and now < SLOW * often
    if now is None or facts.trace.usage.completion_tokens < 8 or not (slow or facts.together >= 2):
        return None
    text = f"It was written at {number(now)} tokens/s"
    text += f" while {facts.together:.0f} ran at once" if facts.together >= 1.5 else ""
    text += f"; {number(often)} are usual for this model" if often is not None else ""
    if facts.together >= 1.5:
        remedy = "Each gets its part: run fewer at once (INHOUSE_SLOTS), or choose a smaller model or quant."
    else:
        remedy = "Other programs took the processor, or the machine throttled; see inhouse doctor."
    lost = 1 - now / often if often and now < often else 1 - 1 / facts.together
    return Finding(text + ".", remedy, facts.decode * lost)


def _long_answer(facts: Facts) -> Finding | None:
    usage = facts.trace.usage
    if usage.completion_tokens < LONG_ANSWER:
        return None
    if usage.reasoning_tokens > usage.completion_tokens / 2:
        return Finding(
            f"{usage.reasoning_tokens:,} of {usage.completion_tokens:,} tokens were thoughts.",
            "Let it think less: think off, a lower effort, or a budget of thoughts.",
            facts.decode * usage.reasoning_tokens / usage.completion_tokens,
        )
    if facts.decode < facts.trace.seconds / 2:
        return None
    return Finding(
        f"The answer is long: {usage.completion_tokens:,} tokens.",
        "Ask for less, or bound it with max_tokens; inhouse tune looks for faster settings.",
        facts.decode / 2,
    )


def _bad_guesses(facts: Facts) -> Finding | None:
    usage, right = facts.trace.usage, facts.rates.accepted
    if right is None or usage.drafted_tokens < 64 or right >= 0.3:
        return None
    return Finding(
        f"Of {usage.drafted_tokens:,} tokens that were guessed ahead, {right:.0%} were right.",
        "Guessing costs more than it gives here; inhouse tune measures whether it pays.",
        facts.decode * 0.2,
    )


def _paused(facts: Facts) -> Finding | None:
    pause = facts.trace.pause
    if pause < LONG_PAUSE:
        return None
    return Finding(
        f"Once nothing came for {span(pause)} in the middle of the answer.",
        "A long prompt of another request was being read, or the machine was busy; fewer slots"
        " (INHOUSE_SLOTS) make such pauses rarer.",
        pause,
    )


def _elsewhere(facts: Facts) -> Finding | None:
    if facts.other < 1.0 or facts.trace.outcome != "ok":
        return None
    return Finding(
        f"{span(facts.other)} went neither into waiting nor into the engine.",
        "A client that reads slowly, or pictures and texts that were fetched by URL, take such time.",
        facts.other,
    )


RULES: tuple[Rule, ...] = (
    _waiting, _loading, _uncached, _slow_prefill, _slow_decode, _long_answer, _bad_guesses, _paused,
    _elsewhere,
)  # fmt: skip


def refused(trace: Trace) -> list[Finding]:
    """What its client was told; always worth the first place."""
    if trace.trouble is None:
        return []
    return [Finding(f"{trace.trouble.code}: {trace.trouble.message}", trace.trouble.hint, trace.seconds + 1)]
