"""The way of a request: resolve, route, lease, run, meter. Whoever reads this page knows the product."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Protocol

from .core.deadlines import in_time
from .core.engine import Launch
from .core.errors import EngineError, InhouseError
from .core.events import ChoiceEnd, Event, Finished, Started
from .core.models import Card
from .core.requests import Ask, Caller, Request, Unload
from .core.usage import Step, Timings, Usage
from .core.work import estimate
from .ledger import Entry
from .router import Route


class Lease(Protocol):
    """The right to run one request on a loaded model; ``load`` and ``queue`` in seconds. ``run`` raises
    errors that say what happened to the model, and DeadlineExceeded."""

    load: float
    queue: float
    steps: tuple[Step, ...]

    @property
    def launch(self) -> Launch: ...

    def run(self, request: Request) -> AsyncGenerator[Event, None]: ...


class Leaser(Protocol):
    def __call__(self, card: Card, ask: Ask) -> AbstractAsyncContextManager[Lease]: ...


@dataclasses.dataclass(frozen=True, slots=True)
class Runtime:
    """All that a request meets on its way, handed in by the composition root. ``prepare`` brings what a
    request only names, and refuses before a model is loaded what no engine here can enforce. ``unload`` ends
    the worker of a model by its name and says which model that is."""

    resolve: Callable[[str], Awaitable[Card]]
    check: Callable[[Request, Card], None]
    dress: Callable[[Request, Card], Awaitable[Request]]
    prepare: Callable[[Request, Card], Awaitable[Request]]
    route: Callable[[Request, Card], Awaitable[Route]]
    lease: Leaser
    unload: Callable[[str], Awaitable[str]]
    open: Callable[[Caller, str, str], Entry]

    def refuse(self, caller: Caller, error: InhouseError) -> None:
        """Meter a request that was refused before it could be run."""
        self.open(caller, "", "").close(error)

    async def run(self, request: Request, caller: Caller) -> AsyncGenerator[Event, None]:
        """Stream the events of ``request``. Closing the generator cancels it; every end is metered."""
        entry = self.open(caller, request.model, type(request).__name__.lower())
        try:
            steps = self._unload if isinstance(request, Unload) else self._answer
            async with aclosing(steps(request, caller, entry)) as events:
                async for event in events:
                    entry.note(event)
                    yield event
        except BaseException as error:
            entry.close(error)
            raise
        entry.close()

    async def _answer(self, request: Request, caller: Caller, entry: Entry) -> AsyncGenerator[Event, None]:
        """Run on one target; the control plane's own times are stamped into the events."""
        card = await in_time(self.resolve(request.model), caller.deadline)
        entry.model = str(card.name)
        self.check(request, card)
        request = dataclasses.replace(await self.dress(request, card), tenant=caller.tenant)
        request = await in_time(self.prepare(request, card), caller.deadline)
        plan = await in_time(self.route(request, card), caller.deadline)
        entry.route = plan.reason
        async with self.lease(plan.targets[0], _ask(request, caller)) as lease:
            entry.steps += lease.steps
            entry.by(lease.launch)
            finished = False
            async with aclosing(lease.run(request)) as events:
                async for event in events:
                    if isinstance(event, Started):
                        event = Started(lease.load, lease.queue, lease.launch.build)
                    elif isinstance(event, Finished):
                        finished = True
                        entry.steps += event.steps
                        total = time.monotonic() - entry.opened
                        own = {"queue": lease.queue, "load": lease.load, "total": total}
                        event = dataclasses.replace(event, timings=dataclasses.replace(event.timings, **own))
                    yield event
            if not finished:
                raise EngineError("The engine ended the answer early.", hint="Try again.")

    async def _unload(self, request: Request, caller: Caller, entry: Entry) -> AsyncGenerator[Event, None]:
        entry.model = await self.unload(request.model)
        yield ChoiceEnd("unload")
        yield Finished(Usage(), Timings(total=time.monotonic() - entry.opened))


def _ask(request: Request, caller: Caller) -> Ask:
    return Ask(
        load=request.load,
        tenant=caller.tenant,
        weight=request.width,
        work=estimate(request),
        keep_alive=request.keep_alive,
        priority=request.priority,
        deadline=caller.deadline,
        request_id=caller.request_id,
    )


__all__ = ["Lease", "Leaser", "Runtime"]
