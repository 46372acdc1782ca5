"""Predictions held against what came: what is expected, which requests count, what they say. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from ..core.usage import Timings, Usage
from ..machine.fit import sized
from ..machine.footprint import Load
from .found import Found
from .history import What
from .places import Place
from .plan import Host, Planned, told
from .speed import Work, decode_bytes, predict, prompt_operations

LEAST_ANSWER: Final = 16
"""Tokens of an answer below which its rate says little."""
LEAST_PROMPT: Final = 64
GUESSED: Final = 0.1
"""Share of an answer that may be right guesses, which cost less than other tokens, for its rate to count."""
CLOCKS: Final = 0.05
"""Seconds that the engine's clock and ours may differ by over a request."""
_REMEMBERED: Final = 256
_MIB: Final = 2**20

Told = tuple[float, float, float]
"""A prediction: (middle, low, high)."""


@dataclass(frozen=True, slots=True)
class Came:
    """What was ``expected`` of so many tokens (``size``), and what came: ``measured``, and the
    ``coefficient`` that it gives for the machine. As in ``History.came``."""

    what: What
    size: int
    expected: Told
    measured: float
    coefficient: float


@dataclass(frozen=True, slots=True)
class Heard:
    """What a request tells of its model's speed: tokens that were computed afresh, of the whole prompt and
    of the answer, and the seconds that both took."""

    fresh: int
    prompt: int
    answer: int
    prefill: float
    decode: float


def heard(usage: Usage, timings: Timings, seconds: float) -> Heard | None:
    """The figures of a request that ended well after ``seconds``; without the answer where much of it was
    guessed.

    None for one of several choices side by side: each slows the others, and together they took more time of
    the engine than there was.
    """
    if timings.prefill + timings.decode > seconds + CLOCKS:
        return None
    guessed = usage.accepted_tokens > GUESSED * usage.completion_tokens
    return Heard(
        usage.prompt_tokens - usage.cached_tokens,
        usage.prompt_tokens,
        0 if guessed else usage.completion_tokens,
        timings.prefill,
        timings.decode,
    )


class Apart:
    """Tells requests that began after all others had ended."""

    def __init__(self) -> None:
        self._ends: deque[float] = deque(maxlen=_REMEMBERED)

    def note(self, opened: float, closed: float) -> bool:
        """A request is over: whether no other had ended since it began. In the order of their ends."""
        alone = not self._ends or self._ends[-1] <= opened
        self._ends.append(closed)
        return alone


def speeds(one: Heard, found: Found, load: Load, host: Host) -> list[Came]:
    """What a request that had the machine to itself says of the model's rates."""
    if host.decode is None or host.prefill is None:
        return []
    shape, parameters, out = found.shape, found.card.parameters, []
    # Half of the answer was there, on average, when a token of it was made.
    middle = one.prompt + one.answer // 2
    if one.answer >= LEAST_ANSWER and one.decode > 0:
        rate = one.answer / one.decode
        work = Work(shape, load, parameters, middle)
        expected = told(predict(work, host.decode, host.prefill).decode)
        out.append(Came("decode", one.prompt, expected, rate, rate * decode_bytes(shape, load, middle)))
    if one.fresh >= LEAST_PROMPT and one.prefill > 0:
        rate = one.fresh / one.prefill
        work = Work(shape, load, parameters, one.fresh)
        expected = told(predict(work, host.decode, host.prefill).prefill)
        coefficient = rate * prompt_operations(shape, parameters, one.fresh) / one.fresh
        out.append(Came("prefill", one.fresh, expected, rate, coefficient))
    return out


def predictions(found: Found, place: Place, planned: Planned) -> dict[What, Told]:
    """What of a plan is held against requests to come: those of a model that is here, one at a time."""
    if not place.here or found.source != "stored" or not planned.speed or planned.load.slots > 1:
        return {}
    return {"decode": told(planned.speed.decode), "prefill": told(planned.speed.prefill)}


def formula(found: Found, load: Load) -> int:
    """Bytes that a loaded model takes before it answers, by the formula alone."""
    return sized(found.shape, load, load.context, load.slots).at_rest


def expected_memory(plain: float, surplus: tuple[float, int]) -> Told:
    """Bytes that a loaded model is expected to take before it answers: the formula's with what that was found
    to lack (``History.surplus``)."""
    lacks, count = surplus
    middle = plain + lacks
    width = max(0.05 * middle, 100 * _MIB) if not count else max(0.03 * middle, 32 * _MIB)
    return (middle, middle - width, middle + width)


def memory(found: Found, load: Load, surplus: tuple[float, int], size: int) -> Came:
    """What a load that takes ``size`` bytes says of the formula."""
    plain = formula(found, load)
    return Came("memory", _tokens(load), expected_memory(plain, surplus), size, size - plain)


def reckoning(found: Found, load: Load, kept: int) -> Came:
    """What the engine's own reckoning says of the formula: ``kept`` bytes of weights and caches, laid out
    without a mapped file, so that nothing is there twice."""
    parts = sized(found.shape, load, load.context, load.slots)
    plain = parts.weights + parts.kv
    return Came("exact", _tokens(load), (float(plain),) * 3, kept, kept - plain)


def _tokens(load: Load) -> int:
    return load.context * load.slots


__all__ = [
    "Apart",
    "Came",
    "Heard",
    "expected_memory",
    "formula",
    "heard",
    "memory",
    "predictions",
    "reckoning",
    "speeds",
]
