"""Builds held against the wheel: which of them, with which model, and what is kept of it. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, Final

from ...core.errors import Conflict, NotFound
from ...core.models import Card, ModelName, Tuning
from .choice import WHEEL, Candidate
from .figures import Figure

ROUNDS: Final = 5
PROMPT, ANSWER = 384, 48
"""Tokens of each request: enough for both phases to be timed, short enough for a minute."""

CONTEXT: Final = 2048


def model_for(models: Iterable[Card], name: str) -> Card:
    """The model to measure with: the one of that name, else the smallest that talks. Raises NotFound,
    Conflict."""
    cards = [one for one in models if one.format == "gguf" and "completion" in one.capabilities]
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


def measurable(candidates: Iterable[Candidate], keys: Sequence[str]) -> list[Candidate]:
    """The wheel and what shall be held against it: ``keys``, or all that can be used. Raises NotFound,
    Conflict."""
    usable = {one.key: one for one in candidates if not one.why}
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


def worth_measuring(candidates: Iterable[Candidate], key: str) -> bool:
    """A build for a GPU is taken as it is; one for the CPU must be faster than the wheel."""
    return any(one.key == key and not one.gpu and not one.why for one in candidates)


def loaded_by(tuning: Tuning, key: str) -> Tuning:
    """A model's tuning on one build, with a single short slot."""
    return dataclasses.replace(tuning, engine=key, slots=1, context_length=CONTEXT)


def figure_of(
    one: Candidate, candidates: Iterable[Candidate], times: tuple[float, float], model: str, *, at: float
) -> Figure | None:
    """What is kept of a build that took turns with the wheel, at ``times`` its (prefill, decode); None for
    the wheel itself, and where that was not among the ``candidates``."""
    wheel = next((other for other in candidates if other.key == WHEEL), None)
    if wheel is None or one.key == WHEEL:
        return None
    return Figure(one.version, wheel.version, *times, model, at=at)


def row(key: str, rates: tuple[float, float], figure: Figure | None) -> dict[str, Any]:
    """A build's line of the result; ``rates`` are its (prefill, decode) in tokens a second."""
    found: dict[str, Any] = {"build": key, "prefill": round(rates[0], 1), "decode": round(rates[1], 1)}
    if figure is not None:
        found |= {"times_prefill": round(figure.prefill, 3), "times_decode": round(figure.decode, 3)}
        found["speed"] = round(figure.speed, 3)
    return found


__all__ = [
    "ANSWER",
    "PROMPT",
    "ROUNDS",
    "figure_of",
    "loaded_by",
    "measurable",
    "model_for",
    "row",
    "worth_measuring",
]
