"""What a granted request holds."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final, TypeVar

from ..core.engine import Engine, Launch
from ..core.errors import DeadlineExceeded, EngineError, InhouseError
from ..core.events import Event, Finished, Notice, ReasoningDelta, TextDelta, ToolCallDelta
from ..core.models import Card
from ..core.requests import Ask, Request
from ..core.usage import Step
from ..core.work import DEAR, spent
from .story import Ahead, Chapter, told
from .worker import Worker

EXPLAIN = 1.5  # seconds that a broken request waits for its worker's verdict

_PIECES: Final = frozenset({TextDelta, ReasoningDelta, ToolCallDelta})

_Error = TypeVar("_Error", bound=InhouseError)


def own(error: _Error) -> _Error:
    """A copy to raise: one exception raised in several tasks would mix up their tracebacks."""
    return copy.copy(error)


@dataclass(slots=True, eq=False)
class Place:
    """A request's ticket: who asks for what since when, what it found in line, and its grant to come.
    ``deadline``: as the loop's clock counts, None never; ``heed``: what of its wish is not heeded."""

    card: Card
    ask: Ask
    arrived: float
    deadline: float | None
    grant: asyncio.Future[Worker]
    ahead: Ahead = field(default_factory=Ahead)
    heed: str = ""


@dataclass(slots=True)
class Lease:
    """The right to run one request. ``load`` and ``queue`` are the seconds spent on each, ``steps`` what
    they were spent on; ``launch`` is how the model was loaded that runs it."""

    engine: Engine
    load: float
    queue: float
    context_length: int
    slots: int
    worker: Worker
    steps: tuple[Step, ...] = ()
    place: Place | None = None
    _pieces: int = 0
    _work: int | None = None

    @classmethod
    def of(cls, worker: Worker, place: Place, story: Iterable[Chapter], now: float) -> Lease:
        """A lease on ``worker``, granted ``now``; ``story``: what happened to the model meanwhile."""
        cause = place.ahead.cause(str(place.card.name))
        load, steps = told(story, place.arrived, now, cause, place.ahead.remedy())
        return cls(
            engine=worker.engine,
            load=load,
            queue=max(0.0, now - place.arrived - load),
            context_length=worker.launch.context_length,
            slots=worker.launch.slots,
            worker=worker,
            steps=steps,
            place=place,
        )

    @property
    def launch(self) -> Launch:
        """Engine, variant and build that answer."""
        return self.worker.launch

    @property
    def work(self) -> int | None:
        """Tokens of work that it took: as the engine counted, else at least what was seen of it."""
        if self._work is not None or self.place is None:
            return self._work
        return max(self.place.ask.work, DEAR * self._pieces)

    async def run(self, request: Request) -> AsyncGenerator[Event, None]:
        """Run the request on the model; closing it is the cancel. Raises what the engine raises, explained,
        and DeadlineExceeded when the request's time is over."""
        place = self.place
        deadline = place.deadline if place is not None else None
        try:
            async with aclosing(self.engine.run(request)) as events:
                async for event in events if deadline is None else _within(events, deadline):
                    self._note(event)
                    yield event
                    if place is not None and place.heed:
                        yield Notice("load_options", place.heed)
                        place.heed = ""
        except EngineError as error:
            raise await self.explain(error) from error

    def _note(self, event: Event) -> None:
        if type(event) in _PIECES:
            self._pieces += 1
            self.worker.rate.add()
        elif isinstance(event, Finished):
            self._work = spent(event.usage)

    async def explain(self, error: EngineError) -> EngineError:
        """What a request should report that broke with ``error``: WorkerDied or WorkerHung when the
        worker is found to be gone (waits up to 1.5 s), else the error itself."""
        return own(await self.worker.explain(error, EXPLAIN))


async def _within(events: AsyncGenerator[Event, None], deadline: float) -> AsyncGenerator[Event, None]:
    """The same events until ``deadline``, then DeadlineExceeded; each wait for one is cut short, never the
    reader's own work in between."""
    while True:
        try:
            async with asyncio.timeout_at(deadline) as limit:
                event = await anext(events)
        except StopAsyncIteration:
            return
        except TimeoutError:
            if not limit.expired():
                raise
            raise DeadlineExceeded(
                "The request's deadline passed before the answer was complete.",
                hint="Give it more time (x-request-timeout), or ask for a shorter answer.",
            ) from None
        yield event
