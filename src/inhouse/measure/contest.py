"""Two ways to load a model held against each other: with which requests, what of them counts, what it means.

Pure. ``ratios`` are gains of the new way over the old, round by round (``versus.gains``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from .duel import MOST, verdict
from .figures import Spread
from .plan import Plan
from .run import Round
from .versus import decode, prefill, total

PATIENCE: Final = 0.75
"""Seconds that a batch may take: a cancel and the other streams wait for its end."""

HARMLESS: Final = 0.98
"""Of the speed of ordinary answers, what a way of guessing must leave them."""

ROUNDS: Final = 16
"""At most; most contests are decided earlier."""

BRIEFLY: Final = 4
"""Rounds that tell how much the whole gained, once it is found."""

GAINS: Final = {"prefill": "prefill", "decode": "text", "copy": "copy", "8 clients": "clients"}
"""What is told of the whole over the defaults, and the contests that it comes from."""

TAKEN: Final = "taken"

Rate = Callable[[Round], float]


@dataclass(frozen=True, slots=True)
class Contest:
    """The requests, and what of a round counts."""

    plan: Plan
    rate: Rate


def speed(one: Round) -> float:
    """One stream: decode counts for more, since answers are waited for longer than prompts are read."""
    return float(prefill(one) ** 0.3 * decode(one) ** 0.7)


def contest(kind: str, *, chat: bool) -> Contest:
    """What decides: speed of one stream, prefill, the total of many clients, answers that go on with a text,
    or copies. ``chat``: the model can be asked in a conversation. The texts are others each time."""
    match kind:
        case "prefill":
            return Contest(Plan(prompt=512, answer=1, rounds=ROUNDS), prefill)
        case "clients":
            return Contest(Plan(prompt=64, answer=48, clients=(8,), rounds=ROUNDS), total)
        case "copy":
            return Contest(Plan(prompt=320, answer=128, rounds=ROUNDS, task="copy", chat=chat), decode)
        case "text":
            return Contest(Plan(prompt=96, answer=96, rounds=ROUNDS, chat=chat), decode)
    return Contest(Plan(prompt=256, answer=48, rounds=ROUNDS), speed)


def decided(ratios: Sequence[float], rounds: int, *, most: int = MOST) -> bool:
    """Whether enough is known after so many ``rounds`` of both together, of each as many as of the other."""
    return verdict(ratios, most=most) != "more" and rounds % 2 == 0


def outcome(ratios: Sequence[float]) -> str:
    """What comes of a way that was tried, for people."""
    return {"better": TAKEN, "worse": "slower"}.get(verdict(ratios), "not faster")


def outcome_of_batch(ratios: Sequence[float], rounds: Iterable[Round], batch: int) -> str:
    """The same of a number of prompt tokens in one go; ``rounds`` are those with it."""
    found = outcome(ratios)
    rate = Spread.of(prefill(one) for one in rounds).median
    if found == TAKEN and rate > 0 and batch / rate > PATIENCE:
        return "not taken: cancels and other streams would wait too long"
    return found


def outcome_of_guesses(texts: Sequence[float]) -> str:
    """What ordinary answers say of a way of guessing; "" leaves it to copies: it is taken for faster ones if
    ordinary answers stay as fast, or for these."""
    if verdict(texts) == "better":
        return TAKEN
    return "slower on ordinary text" if Spread.of(texts).median < HARMLESS else ""


__all__ = [
    "BRIEFLY",
    "GAINS",
    "TAKEN",
    "Contest",
    "Rate",
    "contest",
    "decided",
    "outcome",
    "outcome_of_batch",
    "outcome_of_guesses",
    "speed",
]
