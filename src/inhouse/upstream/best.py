"""The best of several candidates, by how likely the model itself found each of their tokens."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field

from ..core.events import ChoiceEnd, Event, TextDelta
from ..core.requests import Complete


@dataclass(slots=True)
class _Candidate:
    index: int
    deltas: list[TextDelta] = field(default_factory=list)
    end: ChoiceEnd | None = None

    @property
    def likelihood(self) -> float:
        """Mean log-probability of a token; a candidate without tokens comes last."""
        values = [one.logprob for delta in self.deltas for one in delta.logprobs]
        return sum(values) / len(values) if values else -math.inf


def widened(request: Complete) -> Complete:
    """The request that makes all candidates, with the log-probabilities to judge them by."""
    wide = max(request.n, request.best_of or request.n)
    return dataclasses.replace(request, n=wide, best_of=None, logprobs=request.logprobs or 0)


async def best(
    events: AsyncGenerator[Event, None], request: Complete, first: int
) -> AsyncGenerator[Event, None]:
    """The ``n`` likeliest of all candidates that ``events`` tell of, the best one as choice ``first``.

    They are only known at the end, so nothing is told of them before. ``events`` are those of one prompt
    of ``widened(request)``, numbered from 0.
    """
    found: dict[int, _Candidate] = {}
    async with aclosing(events):
        async for event in events:
            if isinstance(event, TextDelta):
                found.setdefault(event.index, _Candidate(event.index)).deltas.append(event)
            elif isinstance(event, ChoiceEnd):
                found.setdefault(event.index, _Candidate(event.index)).end = event
            else:
                yield event
    ranked = sorted(found.values(), key=lambda one: (-one.likelihood, one.index))
    for place, candidate in enumerate(ranked[: request.n]):
        for delta in candidate.deltas:
            logprobs = delta.logprobs if request.logprobs is not None else ()
            yield dataclasses.replace(delta, index=first + place, logprobs=logprobs)
        if candidate.end is not None:
            yield dataclasses.replace(candidate.end, index=first + place)
