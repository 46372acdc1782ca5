"""LoRA adapters that a request attaches itself: an extension that all dialects have alike."""

from __future__ import annotations

from typing import Final

from .fields import Fields, missing

MOST: Final = 16
STRONGEST: Final = 100.0


def read_adapters(fields: Fields) -> tuple[tuple[str, float], ...]:
    """``adapters``: objects with the ``name`` of a model whose adapter is meant and its ``scale``, 1 where
    none is given. Raises BadRequest."""
    found = []
    for one in fields.objects("adapters", MOST):
        name = one.text("name")
        if not name:
            missing(one.at("name"), "the name of a model that has an adapter")
        scale = one.number("scale", -STRONGEST, STRONGEST)
        found.append((name, 1.0 if scale is None else scale))
    return tuple(found)
