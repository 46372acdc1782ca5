"""The way of a request: metered once, cancelled by closing, errors explained by the lease."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from inhouse.core.deadlines import in_time
from inhouse.core.engine import Engine, Launch
from inhouse.core.errors import DeadlineExceeded, EngineError, ModelNotFound, Unsupported, WorkerDied
from inhouse.core.events import ChoiceEnd, Event, Finished, Started, TextDelta
from inhouse.core.messages import Message, Text
from inhouse.core.models import Card, Footprint, ModelName
from inhouse.core.requests import Ask, Caller, Chat, Complete, Request, Unload
from inhouse.core.usage import Step, Timings, Usage
from inhouse.ledger import Meter, Open
from inhouse.router import Route, route
from inhouse.runtime import Runtime

CARD = Card(ModelName.parse("m"), "d", "w", "", 1, Footprint(1, 1))
CALLER = Caller("r", "tenant", "openai", "/v1/chat/completions")
CHAT = Chat(model="m", messages=(Message("user", (Text("hi"),)),), n=3)
END = (ChoiceEnd("stop"), Finished(Usage(1, 2), Timings(prefill=0.5)))


class Script(Engine):
    """Recites events; an exception in the script is raised."""

    def __init__(self, *events: Event | Exception) -> None:
        self.events = events
        self.closed = False

    async def run(self, request: Request) -> AsyncGenerator[Event, None]:
        try:
            for event in self.events:
                await asyncio.sleep(0)
                if isinstance(event, Exception):
                    raise event
                yield event
        finally:
            self.closed = True

    async def close(self) -> None: ...


class Given:
    """A lease that remembers how it was asked for and whether it came back."""

    load, queue = 1.5, 0.25
    launch = Launch("fake", (), "", variant="v", build="b")
    steps = (Step("load", 1.5),)

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.asked: Ask | None = None
        self.back = False

    async def run(self, request: Request) -> AsyncGenerator[Event, None]:
        try:
            async with aclosing(self.engine.run(request)) as events:
                async for event in events:
                    yield event
        except EngineError as error:
            raise WorkerDied("explained") from error

    @asynccontextmanager
    async def lease(self, card: Card, ask: Ask) -> AsyncIterator[Given]:
        self.asked = ask
        try:
            yield self
        finally:
            self.back = True


async def as_it_is(request: Request, card: Card) -> Request:
    return request


async def lead(request: Request, card: Card) -> Route:
    return route(request, card)


def runtime(given: Given, meter: Meter, **more: Any) -> Runtime:
    async def resolve(name: str) -> Card:
        if name != "m":
            raise ModelNotFound(name)
        return CARD

    parts: dict[str, Any] = {
        "resolve": resolve,
        "check": lambda request, card: None,
        "dress": as_it_is,
        "prepare": as_it_is,
        "route": lead,
        "lease": given.lease,
        "unload": None,
        "open": Open(more.pop("sink", meter.record)),
        **more,
    }
    return Runtime(**parts)


async def collect(running: Runtime, request: Request = CHAT) -> list[Event]:
    return [event async for event in running.run(request, CALLER)]


async def test_events_pass_with_the_control_planes_own_times() -> None:
    meter, given = Meter(), Given(Script(Started(), TextDelta("a"), *END))
    events = await collect(runtime(given, meter))
    assert events[0] == Started(1.5, 0.25, "b")
    assert events[1] == TextDelta("a")
    last = events[-1]
    assert isinstance(last, Finished)
    assert (last.timings.load, last.timings.queue, last.timings.prefill) == (1.5, 0.25, 0.5)
    assert last.timings.total > 0
    assert given.asked is not None
    assert (given.asked.tenant, given.asked.weight, given.asked.priority) == ("tenant", 3, 0)
    assert given.asked.keep_alive is None
    assert given.back
    assert meter.requests == {("m:latest", "/v1/chat/completions", "ok"): 1}


async def test_a_stream_without_an_end_is_an_error() -> None:
    meter, given = Meter(), Given(Script(Started(), TextDelta("a")))
    with pytest.raises(EngineError):
        await collect(runtime(given, meter))
    assert meter.requests[("m:latest", "/v1/chat/completions", "error")] == 1


async def test_an_engines_failure_is_explained_by_its_lease() -> None:
    meter, given = Meter(), Given(Script(Started(), EngineError("broken pipe")))
    with pytest.raises(WorkerDied, match="explained"):
        await collect(runtime(given, meter))
    assert given.back


async def test_closing_the_generator_closes_the_engines_and_counts_as_cancelled() -> None:
    meter, engine = Meter(), Script(Started(), TextDelta("a"), TextDelta("b"), *END)
    given = Given(engine)
    async with aclosing(runtime(given, meter).run(CHAT, CALLER)) as events:
        async for event in events:
            if isinstance(event, TextDelta):
                break
    assert engine.closed
    assert given.back
    assert meter.requests == {("m:latest", "/v1/chat/completions", "cancelled"): 1}


async def test_cancelling_the_task_closes_everything() -> None:
    meter, hold = Meter(), asyncio.Event()

    class Waiting(Script):
        async def run(self, request: Request) -> AsyncGenerator[Event, None]:
            try:
                yield Started()
                hold.set()
                await asyncio.Event().wait()
            finally:
                self.closed = True

    engine = Waiting()
    given = Given(engine)
    task = asyncio.create_task(collect(runtime(given, meter)))
    await hold.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert engine.closed
    assert given.back
    assert meter.requests[("m:latest", "/v1/chat/completions", "cancelled")] == 1


async def test_what_the_model_cannot_do_is_refused_before_a_lease() -> None:
    meter, given = Meter(), Given(Script(*END))

    def check(request: Request, card: Card) -> None:
        raise Unsupported("no")

    with pytest.raises(Unsupported):
        await collect(runtime(given, meter, check=check))
    with pytest.raises(ModelNotFound):
        await collect(runtime(given, meter), Chat(model="x", messages=()))
    assert given.asked is None
    assert set(meter.requests) == {
        ("m:latest", "/v1/chat/completions", "refused"),
        ("unknown", "/v1/chat/completions", "refused"),
    }


async def test_unload_stops_the_model_without_a_lease_and_without_a_look_at_its_files() -> None:
    stopped: list[str] = []

    async def unload(name: str) -> str:
        stopped.append(name)
        return "broken:latest"

    meter, given = Meter(), Given(Script(*END))
    events = await collect(runtime(given, meter, unload=unload), Unload(model="broken"))
    assert stopped == ["broken"]
    assert events[0] == ChoiceEnd("unload")
    assert isinstance(events[-1], Finished)
    assert given.asked is None
    assert list(meter.requests) == [("broken:latest", CALLER.endpoint, "ok")]


async def test_a_refusal_before_the_runtime_is_counted_too() -> None:
    meter, given = Meter(), Given(Script(*END))
    runtime(given, meter).refuse(CALLER, Unsupported("no"))
    assert meter.requests == {("unknown", "/v1/chat/completions", "refused"): 1}


async def test_candidates_take_as_many_slots_as_answers_would() -> None:
    given = Given(Script(Started(), *END))
    await collect(runtime(given, Meter()), Complete(model="m", prompts=("a",), n=2, best_of=5))
    assert given.asked is not None
    assert given.asked.weight == 5


async def test_a_request_whose_time_is_over_while_it_is_prepared_is_not_begun() -> None:
    async def slow(request: Request, card: Card) -> Request:
        await asyncio.Event().wait()
        return request

    given = Given(Script(*END))
    metered: list[Any] = []
    caller = dataclasses.replace(CALLER, deadline=time.monotonic() + 0.02)
    with pytest.raises(DeadlineExceeded, match="not begun"):
        await anext(runtime(given, Meter(), prepare=slow, sink=metered.append).run(CHAT, caller))
    assert given.asked is None
    assert len(metered) == 1


async def test_a_time_out_of_the_work_itself_is_not_taken_for_the_requests_own() -> None:
    async def broken() -> None:
        raise TimeoutError("of its own")

    with pytest.raises(TimeoutError, match="of its own"):
        await in_time(broken(), time.monotonic() + 60)
    with pytest.raises(TimeoutError, match="of its own"):
        await in_time(broken(), None)


async def test_the_lease_is_back_when_a_request_that_ended_well_is_metered() -> None:
    """Whoever is busy then is another: by that it is told what disturbed it."""
    given, seen = Given(Script(Started(), TextDelta("a"), *END)), list[tuple[str | None, bool]]()
    await collect(runtime(given, Meter(), sink=lambda entry: seen.append((entry.outcome, given.back))))
    assert seen == [("ok", True)]
