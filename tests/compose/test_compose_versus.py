"""Builds held against each other: in turns, each on a worker of its own, and what is kept of it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from inhouse.compose.versus import Versus
from inhouse.core.errors import Conflict, NotFound
from inhouse.core.events import ChoiceEnd, Event, Finished, Started, TextDelta
from inhouse.core.models import Card, Footprint, ModelName
from inhouse.core.requests import Ask, Request
from inhouse.core.usage import Timings, Usage
from inhouse.engines.engines import Engines
from inhouse.engines.variants.choice import Candidate
from inhouse.engines.variants.figures import Kept
from inhouse.fleet import Fleet
from inhouse.store import PullEvent


def card(name: str, size: int = 1, **more: Any) -> Card:
    return Card(ModelName.parse(name), name * 8, "/m", "1" * 64, size, Footprint(1, 1), **more)


class House:
    """A fleet whose prefill takes as long as its build says, and engines that have three builds."""

    def __init__(self, home: Path, keys: tuple[str, ...] = ("wheel", "native", "broken")) -> None:
        self.kept = Kept(home)
        self.keys = keys
        self.order: list[str] = []
        self.stopped: list[str] = []
        self.prefill = {"wheel": 2.0, "native": 1.0}

    def candidates(self) -> list[Candidate]:
        return [
            Candidate(key, "server", "shelf", version=f"{key} 1", why="no" if key == "broken" else "")
            for key in self.keys
        ]

    @contextlib.asynccontextmanager
    async def lease(self, card: Card, ask: Ask) -> AsyncIterator[Any]:
        key = card.tuning.engine

        async def run(request: Request) -> AsyncGenerator[Event, None]:
            self.order.append(key)
            yield Started()
            for _ in range(4):
                yield TextDelta("a")
            yield ChoiceEnd("length")
            yield Finished(Usage(100, 4), Timings(prefill=self.prefill[key], decode=1.0, total=3.0))

        yield SimpleNamespace(run=run, launch=None)

    async def stop(self, card: Card) -> bool:
        self.stopped.append(card.tuning.engine)
        return True

    def versus(self, *cards: Card) -> Versus:
        return Versus(cast(Engines, self), cast(Fleet, self), lambda: cards)


async def run(
    versus: Versus, model: str = "", builds: tuple[str, ...] = (), rounds: int = 3
) -> list[PullEvent]:
    return [event async for event in versus.run(model, builds, rounds)]


async def test_builds_take_turns_and_the_medians_of_their_ratios_are_kept(tmp_path: Path) -> None:
    house = House(tmp_path)
    events = await run(house.versus(card("big", 9), card("small"), card("tensors", 0, format="safetensors")))
    found = events[-1].result
    assert found["model"] == "small:latest"
    rows = {row["build"]: row for row in found["builds"]}
    assert rows["wheel"]["prefill"] == 50.0
    assert (rows["native"]["prefill"], rows["native"]["times_prefill"]) == (100.0, 2.0)
    counted = house.order[2:]  # without the first request of each
    assert sorted(counted) == ["native"] * 3 + ["wheel"] * 3
    assert counted[:4] == ["wheel", "native", "native", "wheel"]
    figure = house.kept.of("native", "native 1", "wheel 1")
    assert figure is not None
    assert figure.prefill == pytest.approx(2.0)
    assert sorted(house.stopped) == ["native", "wheel"]
    steps = [event for event in events if event.status == "measuring"]
    assert [event.completed for event in steps] == list(range(1, 7))


async def test_workers_go_when_nobody_waits_any_more(tmp_path: Path) -> None:
    house = House(tmp_path)
    events = house.versus(card("m")).run("", (), 3)
    await anext(events)
    await events.aclose()
    assert sorted(house.stopped) == ["native", "wheel"]


async def test_what_cannot_be_measured_says_so_before_anything_is_loaded(tmp_path: Path) -> None:
    house = House(tmp_path)
    with pytest.raises(Conflict, match="no model to measure with"):
        await run(house.versus())
    with pytest.raises(NotFound, match="cannot be used"):
        await run(house.versus(card("m")), "m", ("broken",))
    assert house.order == house.stopped == []
