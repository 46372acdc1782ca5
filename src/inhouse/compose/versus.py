"""Builds of an engine held against each other: the same requests in turns, each on a worker of its own."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any, Final

from .. import measure
from ..core.errors import Conflict, NotFound
from ..core.models import Card, ModelName
from ..engines.engines import Engines
from ..engines.variants.choice import WHEEL, Candidate
from ..engines.variants.figures import Figure
from ..fleet import Fleet
from ..measure import Figures, Plan, Subject
from ..measure.subjects import copy_of
from ..store import PullEvent
from .measuring import Leased

ROUNDS: Final = 5
PROMPT, ANSWER = 384, 48
"""Tokens of each request: enough for both phases to be timed, short enough for a minute."""


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
        card = await asyncio.to_thread(self._model, model)
        found = await asyncio.to_thread(self._measurable, builds)
        cards = {one.key: _as(card, one.key) for one in found}
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

    def _model(self, name: str) -> Card:
        """The model to measure with: the one of that name, else the smallest that talks."""
        cards = [one for one in self._models() if one.format == "gguf" and "completion" in one.capabilities]
        if name:
            wanted = ModelName.parse(name).key
            cards = [one for one in cards if one.name.key == wanted]
        if not cards and name:
            raise NotFound(f"There is no such GGUF model here: {name[:80]}.", hint="See: inhouse list")
        if not cards:
            raise Conflict(
                "There is no model to measure with.",
                hint="Pull one, e.g. inhouse pull smollm2, then: inhouse engine bench",
            )
        return min(cards, key=lambda one: one.size)

    def _measurable(self, keys: Sequence[str]) -> list[Candidate]:
        """The wheel and what shall be held against it."""
        usable = {one.key: one for one in self._engines.candidates() if not one.why}
        for key in keys:
            if key not in usable:
                raise NotFound(f"The build {key!r} cannot be used here.", hint="See: inhouse engine list")
        chosen = [usable[key] for key in dict.fromkeys((WHEEL, *(keys or usable))) if key in usable]
        if len(chosen) < 2:
            raise Conflict(
                "There is nothing to compare: only one build can be used here.",
                hint="Make another: inhouse engine build",
            )
        return chosen

    def _keep(
        self,
        found: Sequence[Candidate],
        figures: dict[str, Figures],
        done: Sequence[measure.Round],
        model: str,
    ) -> list[dict[str, Any]]:
        """Write down how each build did against the wheel, and tell it."""
        wheel = next((one for one in found if one.key == WHEEL), None)
        out = []
        for one in found:
            level = figures[one.key].levels[0]
            row: dict[str, Any] = {
                "build": one.key,
                "prefill": round(level.prefill.median, 1),
                "decode": round(level.decode.median, 1),
            }
            if wheel is not None and one.key != WHEEL:
                prefill, decode = (_ratio(done, one.key, name) for name in ("prefill_rate", "decode_rate"))
                figure = Figure(one.version, wheel.version, prefill, decode, model, at=time.time())
                self._engines.kept.note(one.key, figure)
                row |= {"times_prefill": round(prefill, 3), "times_decode": round(decode, 3)}
                row["speed"] = round(figure.speed, 3)
            out.append(row)
        return out


def _ratio(done: Sequence[measure.Round], key: str, name: str) -> float:
    """The median of a rate over the wheel's, round by round."""
    ours, theirs = (
        [getattr(one.samples[0], name) for one in sorted(done, key=lambda r: r.number) if one.subject == who]
        for who in (key, WHEEL)
    )
    return measure.ratio(ours, theirs).median


def _as(card: Card, key: str) -> Card:
    """The same model on one build, with a single short slot."""
    return copy_of(card, key, dataclasses.replace(card.tuning, engine=key, slots=1, context_length=2048))


__all__ = ["Versus"]
