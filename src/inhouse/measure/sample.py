"""One request, watched: when its first token came, how fast the others followed, what the engine says."""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass

from ..core.errors import EngineError
from ..core.events import Event, Finished, ReasoningDelta, Started, TextDelta
from ..core.requests import Request

Run = Callable[[Request], AsyncGenerator[Event, None]]


@dataclass(frozen=True, slots=True)
class Sample:
    """What one request took. Seconds by our clock: ``ttft`` until the first text, ``seconds`` until the end,
    ``last`` until the last text, ``gaps`` between texts (a text may be several tokens, when guessed).

    ``prefill`` and ``decode`` are the engine's own seconds, 0 where it does not tell; ``load`` and
    ``queue`` what the request waited for, none of which is in the other times where the stream says so.
    """

    ttft: float
    seconds: float
    last: float
    gaps: tuple[float, ...] = ()
    prompt_tokens: int = 0
    cached_tokens: int = 0
    answer_tokens: int = 0
    drafted_tokens: int = 0
    accepted_tokens: int = 0
    prefill: float = 0.0
    decode: float = 0.0
    load: float = 0.0
    queue: float = 0.0

    @property
    def prefill_rate(self) -> float:
        """Prompt tokens a second: by the engine's clock, else by the time to the first token."""
        fresh = self.prompt_tokens - self.cached_tokens
        spent = self.prefill or self.ttft
        return fresh / spent if fresh > 0 and spent > 0 else 0.0

    @property
    def decode_rate(self) -> float:
        """Tokens a second once the first is there, as the client sees them; 0 for a single token."""
        spent = self.last - self.ttft
        if self.answer_tokens > 1 and spent > 0:
            return (self.answer_tokens - 1) / spent
        return 0.0


async def sample(run: Run, request: Request, clock: Callable[[], float] = time.perf_counter) -> Sample:
    """Run ``request`` and watch it. Raises what ``run`` raises, EngineError for an answer without an end."""
    began = clock()
    stamps: list[float] = []
    waited = Started()
    async with aclosing(run(request)) as events:
        async for event in events:
            match event:
                case Started():
                    waited = event
                case TextDelta(text=text) | ReasoningDelta(text=text) if text:
                    stamps.append(clock())
                case Finished():
                    return _sample(event, stamps, began + waited.load + waited.queue, clock(), waited)
    raise EngineError("The engine ended the answer early.", hint="Try again.")


def _sample(end: Finished, stamps: list[float], began: float, now: float, waited: Started) -> Sample:
    first, last = (stamps[0], stamps[-1]) if stamps else (now, now)
    usage, timings = end.usage, end.timings
    return Sample(
        ttft=max(0.0, first - began),
        seconds=max(0.0, now - began),
        last=max(0.0, last - began),
        gaps=tuple(b - a for a, b in itertools.pairwise(stamps)),
        prompt_tokens=usage.prompt_tokens,
        cached_tokens=usage.cached_tokens,
        answer_tokens=usage.completion_tokens,
        drafted_tokens=usage.drafted_tokens,
        accepted_tokens=usage.accepted_tokens,
        prefill=timings.prefill,
        decode=timings.decode,
        load=waited.load,
        queue=waited.queue,
    )
