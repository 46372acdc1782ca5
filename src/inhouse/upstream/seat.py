"""The place that a generation has at its worker, and the terms of the request that it belongs to."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..core.usage import Step
from .marks import NOTHING, Marks
from .shelf import Saved
from .slots import Slot

_numbers = itertools.count(1)


@dataclass(slots=True)
class Terms:
    """What a request brings to all its generations: whose it is, the scales of the worker's adapters, and
    whether its prompt is pinned. ``steps`` tell what was done for it: ``restored`` tokens were ``read``
    from so many bytes."""

    tenant: str = ""
    scales: tuple[float, ...] = ()
    pinned: bool = False
    number: int = field(default_factory=lambda: next(_numbers))
    steps: list[Step] = field(default_factory=list)
    restored: int = 0
    read: int = 0


@dataclass(slots=True)
class Seat:
    """``body`` is what to send; ``slot`` None leaves the choice to the engine. ``saved`` was read in, of
    which ``expected`` tokens are of use."""

    body: Mapping[str, Any]
    terms: Terms
    slot: Slot | None = None
    marks: Marks = NOTHING
    astray: bool = False
    saved: Saved | None = None
    expected: float = 0.0
