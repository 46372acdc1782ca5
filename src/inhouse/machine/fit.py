"""How a model is loaded so that it fits: context length and slots from its numbers and the memory. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ..core.errors import OutOfMemory
from ..core.models import Card

TARGET_CONTEXT: Final = 8192
SMALLEST_CONTEXT: Final = 512
TARGET_SLOTS: Final = 4
MOST_SLOTS: Final = 8
GENEROUS: Final = 0.02
COMPUTE: Final = 150 * 2**20
COMPUTE_SHARE: Final = 0.05
F16_BYTES: Final = 2.0
KV_BYTES: Final = {"f16": 2.0, "q8_0": 1.0625, "q4_0": 0.5625}
"""Bytes per KV cache element: q8_0 stores 32 elements in 34 bytes, q4_0 in 18."""


@dataclass(frozen=True, slots=True)
class Fit:
    """``context_length`` tokens for each of ``slots``; ``memory`` is the expected resident size in bytes.

    ``reason`` says in words how the numbers came about.
    """

    context_length: int
    slots: int
    memory: int
    reason: str


def resident(card: Card, context: int, slots: int, kv_bytes: float = F16_BYTES) -> int:
    """Expected resident bytes: weights, KV cache of all slots, and the engine's compute buffers."""
    kv = int(card.footprint.kv_per_token * kv_bytes / F16_BYTES) * context * slots
    return int((card.footprint.weights + kv) * (1 + COMPUTE_SHARE)) + COMPUTE


def _half(context: int) -> int:
    """The next smaller power of two, not below the smallest."""
    return max(SMALLEST_CONTEXT, 1 << (context - 1).bit_length() - 1)


def _wanted_context(card: Card, wanted: int | None) -> tuple[int, str]:
    trained = card.context_length or TARGET_CONTEXT
    if not wanted:
        context = min(TARGET_CONTEXT, trained)
        return context, "the model's trained length" if context == trained else "the usual length"
    if wanted > trained:
        return trained, f"{wanted} was asked for, the model was trained for {trained}"
    return wanted, "as asked for"


def _wanted_slots(card: Card, context: int, memory: int, kv_bytes: float) -> int:
    """More slots where their KV cache is small change."""
    kv = card.footprint.kv_per_token * kv_bytes / F16_BYTES * context * MOST_SLOTS
    return MOST_SLOTS if kv < GENEROUS * memory else TARGET_SLOTS


def plan(
    card: Card,
    *,
    memory: int,
    wanted_context: int | None = None,
    wanted_slots: int | None = None,
    kv_bytes: float = F16_BYTES,
) -> Fit:
    """Choose context and slots for ``memory`` bytes. First slots shrink, then the context, by halves.

    0 and None mean "you choose". ``kv_bytes`` is bytes per KV element. Raises OutOfMemory with the
    numbers when not even one slot of the smallest context fits.
    """
    context, why = _wanted_context(card, wanted_context)
    slots = wanted_slots or _wanted_slots(card, context, memory, kv_bytes)
    first = (context, slots)
    while (need := resident(card, context, slots, kv_bytes)) > memory:
        if slots > 1:
            slots = (slots + 1) // 2
        elif context > SMALLEST_CONTEXT:
            context = _half(context)
        else:
            raise OutOfMemory(
                f"The model '{card.name}' needs {_mib(need)} MiB of memory, "
                f"{_mib(max(0, memory))} MiB are free for models.",
                hint="Stop another model, choose a smaller one, or raise INHOUSE_MEMORY.",
            )
    if (context, slots) != first:
        why += f"; made smaller from {first[0]} x {first[1]} to fit into {_mib(memory)} MiB"
    return Fit(context, slots, need, f"{context} tokens x {slots} slots: {why}")


def _mib(size: int) -> int:
    return -(-size // 2**20)
