"""Which of two ways is faster, when every figure is noisy. Pure.

A median alone picks winners out of noise. What is tried must win most of its rounds, so many that as many
heads in a row of coins would be rare (a sign test), and by more than a trifle.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Final, Literal

Verdict = Literal["more", "better", "worse", "same"]

FEWEST: Final = 3
"""Rounds before anything is said."""

MOST: Final = 8
"""Rounds after which what is not better stays as it was."""

LEAST: Final = 1.02
"""A gain below this is not worth another setting."""

CHANCE: Final = 0.07
"""How often coins may do as well."""


def luck(wins: int, rounds: int) -> float:
    """How probable it is that a coin falls on one side at least ``wins`` times in ``rounds``."""
    return sum(math.comb(rounds, k) for k in range(wins, rounds + 1)) / 2**rounds if rounds else 1.0


def verdict(ratios: Sequence[float], *, least: float = LEAST, most: int = MOST) -> Verdict:
    """What ``ratios`` (the new over the old, round by round) say so far; ``more`` asks for another round."""
    count = len(ratios)
    if count < min(FEWEST, most):
        return "more"
    median = statistics.median(ratios)
    if median < 1:
        return "worse"
    if median >= least and luck(sum(ratio > 1 for ratio in ratios), count) <= CHANCE:
        return "better"
    return "same" if count >= most else "more"


__all__ = ["FEWEST", "LEAST", "MOST", "Verdict", "luck", "verdict"]
