"""How many tokens a request may use: what the worker has, and what the request asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from ..core.engine import Launch
from ..core.messages import Sampling
from ..core.requests import LoadOptions

_PAD = 256
"""The engine rounds a slot's context up to a multiple of this; only then we must count ourselves."""


def own_limit(launch: Launch, load: LoadOptions) -> int | None:
    """The context length that we must enforce because the engine would allow more; None if none."""
    asked = load.context_length
    if asked and (not launch.context_length or asked < launch.context_length):
        return asked
    return launch.context_length if launch.context_length % _PAD else None


def rounds(n: int, slots: int) -> Iterator[tuple[int, int]]:
    """Offset and size of the rounds in which ``n`` choices are run on ``slots`` slots."""
    size = max(1, slots)
    for offset in range(0, n, size):
        yield offset, min(size, n - offset)


def reseeded(sampling: Sampling, offset: int) -> Sampling:
    """Sampling for a later round: a fixed seed moves on, so that choices differ as in one round."""
    if not offset or sampling.seed is None:
        return sampling
    return dataclasses.replace(sampling, seed=sampling.seed + offset)
