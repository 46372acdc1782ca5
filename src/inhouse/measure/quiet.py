"""Whether a machine was quiet while it was measured. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

BUSY: Final = 0.25
"""Share of all CPUs that others may use before figures are called disturbed."""


def disturbances(others: Iterable[str], busy: float) -> list[str]:
    """Why figures may be too low, in sentences: ``others`` are the models that answered meanwhile, ``busy``
    the share of all CPUs (0..1) that was in use before it began."""
    out = [f"{name} answered requests meanwhile." for name in sorted(set(others))]
    if busy > BUSY:
        out.append(f"Other programs used {busy:.0%} of the CPUs before it began.")
    return out


__all__ = ["BUSY", "disturbances"]
