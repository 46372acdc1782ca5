"""What every engine keeps to, whatever it is: one class of tests, run over each of them.

A subclass says how its engine is started (``bench``); the tests run real processes through the fleet.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from inhouse.core.engine import Engine, Launch
from inhouse.core.errors import BadRequest, Busy, EngineError, WorkerDied
from inhouse.core.events import ChoiceEnd, Event, Finished, Started, TextDelta
from inhouse.core.messages import Message, Sampling, Text
from inhouse.core.models import Card
from inhouse.core.requests import Ask, Chat, LoadOptions
from inhouse.engines.recipe import Recipe, Room
from inhouse.fleet import Fleet, FleetSettings
from inhouse.machine import Gpu
from inhouse.upstream import WorkerEngine
from inhouse.upstream.openai import OpenAIEngine

GIB = 2**30
ROOM = Room(6 * GIB, 2)
GPU_ROOM = Room(64 * GIB, 8, (Gpu("nvidia", "H100", 80 * GIB, 79 * GIB),))
GREEDY = Sampling(temperature=0.0, max_tokens=24)
WAIT = 150


@dataclass
class Bench:
    """An engine under test. ``slots`` and ``context`` are asked for, the launch says what there is."""

    recipe: Recipe
    card: Card
    room: Room = ROOM
    options: LoadOptions = field(default_factory=lambda: LoadOptions(context_length=512))
    counts: bool = True
    """Whether its usage counts every generated token (an end of turn is one)."""


def connect(card: Card, launch: Launch) -> WorkerEngine | OpenAIEngine:
    """As the server does, without what it keeps on disk."""
    return OpenAIEngine(card, launch) if launch.wire == "openai" else WorkerEngine(card, launch)


class Yard:
    """A fleet of one engine."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.folder = Path(tempfile.mkdtemp(prefix="ih-"))
        self.launched: list[Launch] = []
        settings = FleetSettings(
            memory=256 * GIB, log_dir=self.folder / "logs", stop_grace=2.0, load_timeout=WAIT, patience=1.0
        )
        self.fleet = Fleet(launch=self._launch, connect=connect, settings=settings)

    def _launch(self, card: Card, options: LoadOptions) -> Launch:
        address = str(self.folder / f"{secrets.token_hex(4)}.sock")
        bench = self.bench
        made = bench.recipe.launch(card, bench.options, room=bench.room, address=address, secret="")
        self.launched.append(made)
        return made

    def lease(self) -> Any:
        return self.fleet.lease(self.bench.card, Ask(load=LoadOptions(), tenant="t"))

    async def run(self, request: Chat) -> list[Event]:
        """One whole request, as the runtime makes it."""
        async with aclosing(self.stream(request)) as events:
            return [event async for event in events]

    async def stream(self, request: Chat) -> AsyncGenerator[Event, None]:
        async with self.lease() as lease:
            try:
                async with aclosing(lease.engine.run(request)) as events:
                    async for event in events:
                        yield event
            except EngineError as error:
                raise await lease.explain(error) from error

    @property
    def pid(self) -> int:
        [loaded] = self.fleet.loaded()
        assert loaded.pid is not None
        return loaded.pid

    async def close(self) -> None:
        await self.fleet.close()
        shutil.rmtree(self.folder)


def chat(text: str, **more: Any) -> Chat:
    return Chat(model="m", messages=(Message("user", (Text(text),)),), **more)


def text_of(events: list[Event], index: int = 0) -> str:
    return "".join(e.text for e in events if isinstance(e, TextDelta) and e.index == index)


def ends(events: list[Event]) -> list[ChoiceEnd]:
    return [event for event in events if isinstance(event, ChoiceEnd)]


def usage(events: list[Event]) -> Any:
    assert isinstance(events[-1], Finished)
    return events[-1].usage


LONG = chat("Tell a very long story about the sea.", sampling=Sampling(temperature=0.0, max_tokens=300))
SHORT = chat("Say hello.", sampling=replace(GREEDY, max_tokens=3))


@pytest.mark.asyncio(loop_scope="class")
@pytest.mark.timeout(300)
class EngineContract:
    """Subclass it and give the fixture ``bench`` (scope class)."""

    @pytest_asyncio.fixture(scope="class", loop_scope="class")
    @classmethod
    async def yard(cls, bench: Bench) -> AsyncIterator[Yard]:
        made = Yard(bench)
        try:
            yield made
        finally:
            await made.close()

    async def test_a_stream_has_its_grammar(self, yard: Yard) -> None:
        events = await yard.run(chat("Tell me about cats.", sampling=GREEDY))
        assert isinstance(events[0], Started)
        kinds = [type(event) for event in events]
        assert kinds.count(Started) == kinds.count(ChoiceEnd) == kinds.count(Finished) == 1
        assert kinds[-2:] == [ChoiceEnd, Finished]
        assert text_of(events)

    async def test_a_limit_of_tokens_ends_an_answer_by_length(self, yard: Yard) -> None:
        events = await yard.run(replace(LONG, sampling=replace(GREEDY, max_tokens=5)))
        assert [end.reason for end in ends(events)] == ["length"]
        assert usage(events).completion_tokens == 5

    async def test_a_stop_string_ends_an_answer_and_is_no_part_of_it(self, yard: Yard) -> None:
        whole = text_of(await yard.run(replace(LONG, sampling=GREEDY)))
        stop = whole[len(whole) // 2 :][:4]
        events = await yard.run(replace(LONG, sampling=replace(GREEDY, stop=(stop,))))
        assert text_of(events) == whole[: whole.index(stop)]
        assert [end.reason for end in ends(events)] == ["stop"]

    async def test_the_counts_of_several_answers_add_up(self, yard: Yard) -> None:
        few = replace(GREEDY, max_tokens=5)
        one = await yard.run(replace(LONG, sampling=few))
        two = await yard.run(replace(LONG, n=2, sampling=few))
        assert sorted(end.index for end in ends(two)) == [0, 1]
        assert usage(two).prompt_tokens == usage(one).prompt_tokens > 0
        assert usage(two).completion_tokens == 10

    async def test_the_same_seed_says_the_same(self, yard: Yard) -> None:
        dice = Sampling(temperature=0.8, seed=11, max_tokens=12)
        first, second = [text_of(await yard.run(replace(LONG, sampling=dice))) for _ in range(2)]
        assert first
        assert first == second

    async def test_two_answers_come_side_by_side(self, yard: Yard) -> None:
        await yard.run(SHORT)
        order: list[tuple[str, str]] = []

        async def one(name: str) -> None:
            async for event in yard.stream(replace(LONG, sampling=replace(GREEDY, max_tokens=40))):
                if isinstance(event, TextDelta):
                    order.append((name, "says"))
                elif isinstance(event, Finished):
                    order.append((name, "ends"))

        await asyncio.gather(one("a"), one("b"))
        first_end = next(i for i, (_, what) in enumerate(order) if what == "ends")
        assert {name for name, what in order[:first_end] if what == "says"} == {"a", "b"}

    async def test_who_leaves_frees_the_slot_within_two_seconds(self, yard: Yard) -> None:
        await yard.run(SHORT)
        streams = [yard.stream(LONG) for _ in range(yard.launched[-1].slots)]
        for stream in streams:
            async for event in stream:
                if isinstance(event, TextDelta):
                    break
        await asyncio.gather(*(stream.aclose() for stream in streams))
        begun = time.monotonic()
        async with aclosing(yard.stream(SHORT)) as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    break
        assert time.monotonic() - begun < 2

    async def test_more_requests_than_slots_wait_or_are_refused_clearly(self, yard: Yard) -> None:
        await yard.run(SHORT)
        async with yard.lease() as lease:
            engine: Engine = lease.engine

            async def one() -> str:
                async with aclosing(engine.run(SHORT)) as events:
                    return text_of([event async for event in events])

            many = yard.launched[-1].slots + 2
            answers = await asyncio.gather(*(one() for _ in range(many)), return_exceptions=True)
        wrong = [a for a in answers if not isinstance(a, str | Busy)]
        assert not wrong
        assert any(answers)

    async def test_a_bad_request_is_refused_and_harms_nobody(self, yard: Yard) -> None:
        with pytest.raises(BadRequest):
            await yard.run(Chat(model="m", messages=()))
        with pytest.raises(BadRequest) as caught:
            await yard.run(chat("word " * 3000, sampling=GREEDY))
        assert caught.value.code == "context_length_exceeded"
        assert text_of(await yard.run(SHORT))

    async def test_a_death_under_a_request_is_told_at_once_and_the_next_one_works(self, yard: Yard) -> None:
        await yard.run(SHORT)
        killed: list[float] = []

        async def one() -> None:
            async for event in yard.stream(LONG):
                if isinstance(event, TextDelta) and not killed:
                    os.kill(yard.pid, signal.SIGKILL)
                    killed.append(time.monotonic())

        with pytest.raises(WorkerDied):
            await one()
        assert time.monotonic() - killed[0] < 2
        assert text_of(await yard.run(SHORT))
