"""How a model is loaded so that it fits: context length and slots from its shape and the memory. Pure."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Final

from ..core.errors import OutOfMemory
from ..core.models import Card
from .footprint import KV_BYTES, PAD, Load, Memory, kv, memory, padded
from .shape import Shape, shape_of_card

TARGET_CONTEXT: Final = 8192
SMALLEST_CONTEXT: Final = 512
TARGET_SLOTS: Final = 4
MOST_SLOTS: Final = 8
GENEROUS: Final = 0.02
USUAL: Final = Load(TARGET_CONTEXT, 1)
"""How a model is loaded where nothing else is said."""


@dataclass(frozen=True, slots=True)
class Fit:
    """``context_length`` tokens for each of ``slots``; ``memory`` is what must be there, in bytes, of which
    ``parts`` tells what for. ``reason`` says in words how the numbers came about."""

    context_length: int
    slots: int
    memory: int
    reason: str
    parts: Memory


def sized(shape: Shape, load: Load, context: int, slots: int) -> Memory:
    """The memory for ``slots`` of ``context`` tokens, all else as in ``load``.

    What only embeds needs its whole input in one batch.
    """
    batch = load.batch if shape.generates else max(load.batch, padded(context))
    return memory(shape, dataclasses.replace(load, context=context, slots=slots, batch=batch))


def resident(card: Card, context: int, slots: int, load: Load = USUAL) -> int:
    """Bytes that must be there for a model: weights, KV cache of all slots, buffers, the process."""
    return sized(shape_of_card(card), load, context, slots).needed


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


def _wanted_slots(shape: Shape, load: Load, context: int, room: int) -> int:
    """More slots where their KV cache is small change."""
    cache = kv(shape, dataclasses.replace(load, context=context, slots=MOST_SLOTS))
    return MOST_SLOTS if cache < GENEROUS * room else TARGET_SLOTS


def plan(
    card: Card,
    *,
    memory: int,
    wanted_context: int | None = None,
    wanted_slots: int | None = None,
    load: Load = USUAL,
    shape: Shape | None = None,
) -> Fit:
    """Choose context and slots for ``memory`` bytes. First slots shrink, then the context, by halves.

    0 and None mean "you choose". ``load`` tells batch, KV types and what comes beside the model; its context
    and slots do not count. ``shape`` where the tensors are known, else the card's header must do. Raises
    OutOfMemory with the numbers when not even one slot of the smallest context fits.
    """
    shape = shape or shape_of_card(card)
    context, why = _wanted_context(card, wanted_context)
    slots = wanted_slots or _wanted_slots(shape, load, context, memory)
    first = (context, slots)
    while (parts := sized(shape, load, context, slots)).needed > memory:
        if slots > 1:
            slots = (slots + 1) // 2
        elif context > SMALLEST_CONTEXT:
            context = _half(context)
        else:
            raise OutOfMemory(
                f"The model '{card.name}' needs {_mib(parts.needed)} MiB of memory, "
                f"{_mib(max(0, memory))} MiB are free for models.",
                hint="Stop another model, choose a smaller one, or raise INHOUSE_MEMORY.",
            )
    if (context, slots) != first:
        why += f"; made smaller from {first[0]} x {first[1]} to fit into {_mib(memory)} MiB"
    return Fit(context, slots, parts.needed, f"{context} tokens x {slots} slots: {why}", parts)


def largest_context(shape: Shape, load: Load, room: int, most: int) -> int:
    """The longest context, in whole multiples of ``PAD`` and at most ``most``, whose needs are within
    ``room`` bytes for the slots of ``load``; 0 if there is none."""
    low, high = 0, most // PAD if most >= PAD else 1
    while low < high:
        middle = (low + high + 1) // 2
        if sized(shape, load, middle * PAD, load.slots).needed <= room:
            low = middle
        else:
            high = middle - 1
    return min(low * PAD, most) if low else 0


def _mib(size: int) -> int:
    return -(-size // 2**20)


__all__ = ["KV_BYTES", "Fit", "Load", "largest_context", "plan", "resident", "sized"]
