"""Builds of an engine held against each other: the same requests in turns, each on a worker of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any

from .. import measure
from ..core.models import Card
from ..engines.engines import Engines
from ..engines.variants.choice import WHEEL, Candidate
from ..engines.variants.versus import (
    ANSWER,
    PROMPT,
    ROUNDS,
    figure_of,
    loaded_by,
    measurable,
    model_for,
    row,
)
from ..fleet import Fleet
from ..measure import Figures, Plan, Subject, versus
from ..measure.subjects import copy_of
from ..store import PullEvent
from .measuring import Leased


class Versus:
    """``models`` lists what is here to measure with."""

    def __init__(self, engines: Engines, fleet: Fleet, models: Callable[[], Sequence[Card]]) -> None:
        self._engines = engines
        self._fleet = fleet
        self._models = models

    async def run(self, model: str, builds: Sequence[str], rounds: int) -> AsyncGenerator[PullEvent, None]:
        """Measure ``builds`` (none: all that can be used) in turns on one model, and keep the figures.

        Each build is loaded for it beside the others. Raises NotFound, Conflict, OutOfMemory,
        LoadFailed.
        """
        card = model_for(await asyncio.to_thread(self._models), model)
        found = measurable(await asyncio.to_thread(self._engines.candidates), builds)
        cards = {one.key: copy_of(card, one.key, loaded_by(card.tuning, one.key)) for one in found}
        subjects = {
            key: Subject(Leased(self._fleet, own, "engine bench").run, str(own.name))
            for key, own in cards.items()
        }
        plan = Plan(PROMPT, ANSWER, rounds=rounds or ROUNDS)
        done: list[measure.Round] = []
        try:
            yield PullEvent(f"loading {card.name} with {', '.join(cards)}")
            async with aclosing(measure.rounds(subjects, plan)) as turns:
                async for one in turns:
                    done.append(one)
                    yield PullEvent("measuring", "", plan.rounds * len(subjects), len(done))
        finally:
            for own in cards.values():
                await self._fleet.stop(own)
        figures = measure.fold(subjects, plan, done)
        compared = self._keep(found, figures, done, str(card.name))
        yield PullEvent("success", result={"model": str(card.name), "builds": compared})

    def _keep(
        self,
        found: Sequence[Candidate],
        figures: dict[str, Figures],
        done: Sequence[measure.Round],
        model: str,
    ) -> list[dict[str, Any]]:
        """Write down how each build did against the wheel, and tell it."""
        out = []
        for one in found:
            level = figures[one.key].levels[0]
            prefill, decode = (
                versus.times(done, one.key, WHEEL, rate).median for rate in (versus.prefill, versus.decode)
            )
            figure = figure_of(one, found, (prefill, decode), model, at=time.time())
            if figure is not None:
                self._engines.kept.note(one.key, figure)
            out.append(row(one.key, (level.prefill.median, level.decode.median), figure))
        return out


__all__ = ["Versus"]
