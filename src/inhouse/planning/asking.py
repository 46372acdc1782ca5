"""What may be asked of a plan, and how a load is laid out as it was asked for. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from ..core.errors import BadRequest, OutOfMemory
from ..machine.footprint import KV_BYTES
from .found import Found
from .places import Place

ENDLESS: Final = 2**62
"""Bytes of memory where a load is to be laid out as it was asked for, whether it fits or not."""


def check_cache(kind: str) -> None:
    """Raise BadRequest for a type of the KV cache that is not known; "" leaves it to the engine."""
    if kind and kind not in KV_BYTES:
        known = ", ".join(KV_BYTES)
        raise BadRequest("There is no such KV type.", hint=f"Choose one of: {known}", param="kv_type")


def check_exact(found: Found, place: Place, quant: str) -> None:
    """Raise BadRequest where the engine has no file to reckon with."""
    if not found.card.weights or quant or not place.here:
        raise BadRequest(
            "The exact reckoning reads the file on this machine.",
            hint="Pull the model first, and plan it as it is.",
            param="exact",
        )


def asked_too_much(found: Found, context: int | None) -> list[str]:
    """Why the context is shorter than asked for, if it is."""
    trained = found.card.context_length
    if not context or not trained or context <= trained:
        return []
    return [f"{context:,} tokens were asked for; the model was trained for {trained:,}."]


def as_asked(
    lay: Callable[[int], Mapping[str, Any]], free: int, trained: int, wishes: tuple[int | None, int | None]
) -> Mapping[str, Any]:
    """The engine's order for a load. ``lay`` makes it for so many bytes of memory, ``wishes`` are (context,
    users): what was asked for stays as it is even where it does not fit, the rest is what does."""
    context, users = wishes
    if context and users:
        return lay(ENDLESS)
    try:
        laid = lay(free)
    except OutOfMemory:
        return lay(ENDLESS)
    if context and laid["context_length"] < min(context, trained or context):
        return lay(ENDLESS)
    return laid


__all__ = ["ENDLESS", "as_asked", "asked_too_much", "check_cache", "check_exact"]
