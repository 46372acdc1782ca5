"""How much of a machine's memory models may take. Pure."""

from __future__ import annotations

from typing import Final

from .machine import Machine

SHARE: Final = 0.8
"""Of the memory that was available at the start, what models may take unless the settings say."""

RESERVE: Final = 256 * 2**20
"""Bytes that a plan leaves to the machine, so that what was planned still fits when it is loaded."""


def budget(machine: Machine, wanted: int = 0) -> int:
    """Bytes that models may take in all: as many as are ``wanted``, or else a share of what was free."""
    return wanted or int(machine.memory_available * SHARE)


def device_budget(machine: Machine) -> int:
    """Bytes that models may take on GPUs with memory of their own; 0 where none is known."""
    return int(sum(gpu.free or gpu.memory for gpu in machine.gpus if not gpu.shared))


def room(budget: int, available: int, loaded: int) -> int:
    """Bytes that a model may take if all others, which have ``loaded`` bytes now, make room for it."""
    return min(budget, max(0, available + loaded - RESERVE))


__all__ = ["RESERVE", "SHARE", "budget", "device_budget", "room"]
