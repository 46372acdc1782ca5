"""Refusing what a server does not take, by name."""

from __future__ import annotations

from ....core.errors import Unsupported


def need(takes: frozenset[str], feature: str, param: str, *, hint: str = "") -> None:
    """Raise Unsupported, naming ``param``, if the server does not take ``feature``."""
    if feature not in takes:
        raise Unsupported(
            f"The engine that runs this model does not support '{param}'.",
            hint=hint or "Leave it out, or run the model with another engine.",
            param=param,
        )
