"""The search of ``inhouse tune``: what wins is taken, what does not is told, nothing is lost on the way."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from inhouse.compose.measuring import Ground, Watch
from inhouse.compose.tuning import Tuner
from inhouse.core.engine import Launch
from inhouse.core.errors import Conflict, LoadFailed, ModelNotFound, OutOfMemory, Unsupported
from inhouse.core.journal import Record
from inhouse.core.models import Card, CardFile, Footprint, ModelName
from inhouse.core.requests import LoadOptions
from inhouse.dialects.inhouse.measuring import TuneBody
from inhouse.engines.recipe import Recipe, Room, Tuned
from inhouse.engines.tuned import Kept, Key
from inhouse.engines.tunings import Tunings
from inhouse.machine import Machine, fingerprint
from inhouse.measure import Plan, Round, Sample, Subject, contest
from inhouse.store import PullEvent

MACHINE = Machine("linux", "x86_64", "A CPU", 2, 2, (), 8 * 2**30, 8 * 2**30)
CARD = Card(
    ModelName.parse("m"),
    "0" * 64,
    "/models/blob",
    "1" * 64,
    100,
    Footprint(100, 1),
    capabilities=frozenset({"completion", "chat"}),
    parameters=1_500_000_000,
    vocabulary=1000,
    files=(CardFile("model", "/models/blob", "m.gguf", "1" * 64, 100),),
)
SMALL = dataclasses.replace(
    CARD,
    name=ModelName.parse("small"),
    weights_digest="2" * 64,
    parameters=500_000_000,
    files=(CardFile("model", "/models/small", "s.gguf", "2" * 64, 50),),
)
RECIPE = cast(Recipe, SimpleNamespace(build="llama.cpp b1"))


class Speeds:
    """Stands in for ``measure.rounds``: how fast a way of loading is follows from the way alone."""

    def __init__(self, tunings: Tunings, faster: Mapping[str, float]) -> None:
        self.tunings, self.faster = tunings, dict(faster)
        self.asked: list[Tuned] = []
        self.broken = ""

    def _rate(self, setup: Tuned, plan: Plan) -> float:
        rate = 100.0
        for key, times in self.faster.items():
            name, _, value = key.partition("=")
            task = "copy" if name.endswith("!copy") else "text"
            if str(getattr(setup, name.removesuffix("!copy"))) == value and (
                task == "text" or plan.task == "copy"
            ):
                rate *= times
        return rate

    async def rounds(self, subjects: Mapping[str, Subject], plan: Plan) -> AsyncGenerator[Round, None]:
        setups = {
            who: self.tunings.apply(cast(Any, subject.run).__self__.card, RECIPE, Room(1, 1))[1].tuned
            for who, subject in subjects.items()
        }
        self.asked += setups.values()
        for number in range(1, plan.rounds + 1):
            for who, setup in setups.items():
                if self.broken and self.broken in str(setup):
                    raise LoadFailed("it does not load", hint="Never mind.")
                rate = self._rate(setup, plan)
                one = Sample(1.0, 2.0, 1 + 10 / rate, (), 100, 0, 11, prefill=1 / rate)
                yield Round(who, plan.clients[0], number, 1100 / rate, (one,) * plan.clients[0])


class StubFleet:
    """Knows what was stopped, and what is said to be busy."""

    def __init__(self) -> None:
        self.stopped: list[str] = []
        self.busy: list[Any] = []

    def loaded(self) -> list[Any]:
        return self.busy

    async def stop(self, card: Card) -> bool:
        self.stopped.append(card.digest)
        return True


class World:
    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch, **faster: float) -> None:
        self.models = [CARD]
        self.home = home
        self.tunings = self.fresh()
        self.speeds = Speeds(self.tunings, {key.replace("__", "="): value for key, value in faster.items()})
        monkeypatch.setattr("inhouse.measure.rounds", self.speeds.rounds)
        monkeypatch.setattr("inhouse.compose.tuning.busy_now", lambda: 0.0)
        self.fleet = StubFleet()
        self.free = 100 * 2**30
        self.told: list[Record] = []
        engines = SimpleNamespace(of=lambda card: RECIPE)
        catalog = SimpleNamespace(resolve=self._resolve)
        ground = Ground(cast(Any, engines), cast(Any, self.fleet), cast(Any, catalog), MACHINE)
        self.tuner = Tuner(
            ground, self.tunings, plan=self._plan, free=lambda: self.free, tell=self.told.append
        )

    def fresh(self) -> Tunings:
        """What was kept, read again."""
        return Tunings(self.home, MACHINE, origins={}, models=lambda: self.models)

    def _resolve(self, name: str) -> Card:
        found = next((card for card in self.models if card.name == ModelName.parse(name)), None)
        if found is None:
            raise ModelNotFound(name)
        return found

    @staticmethod
    def _plan(card: Card, options: LoadOptions) -> Launch:
        return Launch("e", (), "/s", memory=2**30, slots=4)

    async def tune(self, **body: Any) -> dict[str, Any]:
        async with aclosing(self.tuner.tune(TuneBody("m", **body))) as events:
            last = [event async for event in events][-1]
        assert last.status == "success"
        return dict(last.result or {})


def outcomes(result: dict[str, Any]) -> dict[str, str]:
    return {trial["what"]: trial["outcome"] for trial in result["trials"]}


async def test_what_is_faster_is_taken_kept_and_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path, monkeypatch, batch__256=1.3, flash_attention__True=1.1, threads__1=0.5)
    result = await world.tune()
    assert result["tuned"] == {"batch": 256, "flash_attention": True}
    assert outcomes(result)["threads 1"] == "slower"
    assert result["gains"]["prefill"] == pytest.approx(1.43)
    _, room = world.fresh().apply(CARD, RECIPE, Room(1, 2))
    assert room.tuned == Tuned(batch=256, flash_attention=True)
    assert "tuned for this machine" in world.told[0].cause


async def test_when_nothing_is_faster_the_defaults_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, monkeypatch)
    result = await world.tune()
    assert (result["tuned"], result["gains"]) == ({}, {})
    assert set(outcomes(result).values()) == {"not faster", "offered only: it costs quality"}
    assert "Nothing beats" in world.told[0].cause


async def test_what_costs_quality_is_measured_and_never_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, monkeypatch, kv_cache_type__q4_0=3.0)
    result = await world.tune()
    assert result["tuned"] == {}
    trial = next(one for one in result["trials"] if one["what"] == "kv_cache_type q4_0")
    assert trial["gain"] == pytest.approx(3.0)
    assert trial["outcome"].startswith("offered")


class TestGuessing:
    async def test_faster_copies_win_where_ordinary_text_is_as_fast(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world = World(tmp_path, monkeypatch, **{"speculative!copy__ngram-map-k": 2.0})
        result = await world.tune()
        assert result["tuned"] == {"speculative": "ngram-map-k"}
        assert result["gains"]["copy"] == pytest.approx(2.0)

    async def test_not_where_ordinary_text_pays_for_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        faster = {"speculative!copy__ngram-map-k": 2.0, "speculative__ngram-map-k": 0.9}
        result = await World(tmp_path, monkeypatch, **faster).tune()
        assert result["tuned"] == {}
        assert outcomes(result)["speculative ngram-map-k"] == "slower on ordinary text"

    async def test_a_smaller_model_that_is_here_may_guess(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world = World(tmp_path, monkeypatch, speculative__draft=1.4)
        world.models.append(SMALL)
        result = await world.tune()
        assert result["tuned"] == {"speculative": "draft", "draft": "2" * 64}
        assert outcomes(result)["speculative draft (small:latest)"] == "taken"
        card, room = world.tunings.apply(CARD, RECIPE, Room(1, 2))
        assert [file.path for file in card.of_role("draft")] == ["/models/small"]
        world.models.remove(SMALL)
        card, room = world.tunings.apply(CARD, RECIPE, Room(1, 2))
        assert (card, room.tuned.speculative) == (CARD, "")


async def test_what_does_not_load_is_told_and_the_search_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, monkeypatch, batch__512=1.5)
    world.speeds.broken = "flash_attention=False"
    result = await world.tune()
    assert outcomes(result)["flash_attention off"] == "not possible: it does not load"
    assert result["tuned"]["batch"] == 512


async def test_a_batch_that_takes_too_long_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, monkeypatch, batch__512=1.5)
    monkeypatch.setattr(contest, "PATIENCE", 0.001)
    result = await world.tune()
    assert "wait too long" in outcomes(result)["batch 512"]
    assert result["tuned"] == {}


async def test_when_the_time_is_over_the_rest_is_not_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, monkeypatch, batch__256=2.0)
    result = await world.tune(minutes=0)
    assert set(outcomes(result).values()) == {"not tried: no time was left"}


async def test_rounds_that_others_disturbed_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, monkeypatch, batch__256=2.0)
    world.fleet.busy = [SimpleNamespace(card=SMALL, busy=1)]
    result = await world.tune(quick=True)
    assert result["disturbed"]
    assert result["tuned"] == {}
    assert all(trial["rounds"] == 0 for trial in result["trials"])


@pytest.mark.parametrize("busy, told", [(0.6, 1), (0.1, 0)])
async def test_who_tunes_beside_other_programs_is_told(
    busy: float, told: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, monkeypatch, batch__256=2.0)
    monkeypatch.setattr("inhouse.compose.tuning.busy_now", lambda: busy)
    result = await world.tune(quick=True)
    assert len(result["busy"]) == told
    assert all("60%" in reason for reason in result["busy"])
    assert result["tuned"]


async def test_every_copy_that_was_loaded_goes_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path, monkeypatch)
    await world.tune(quick=True)
    await asyncio.sleep(0)
    assert len(world.fleet.stopped) == len(set(world.fleet.stopped)) == len(world.speeds.asked)
    assert CARD.digest not in world.fleet.stopped


async def test_a_cancelled_search_keeps_nothing_and_another_may_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, monkeypatch, batch__256=2.0)
    async with aclosing(world.tuner.tune(TuneBody("m"))) as events:
        async for event in events:
            if "trying" in event.status:
                break
    assert world.tunings.all(CARD) == []
    assert (await world.tune(quick=True))["tuned"] == {"batch": 256}


class TestRefusals:
    async def run(self, world: World, model: str = "m") -> list[PullEvent]:
        async with aclosing(world.tuner.tune(TuneBody(model))) as events:
            return [event async for event in events]

    async def test_one_search_at_a_time(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        world = World(tmp_path, monkeypatch)
        async with aclosing(world.tuner.tune(TuneBody("m"))) as first:
            await anext(first)
            with pytest.raises(Conflict):
                await self.run(world)

    async def test_nothing_that_is_loaded_goes_for_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world = World(tmp_path, monkeypatch)
        world.free = 2**30
        with pytest.raises(OutOfMemory, match="2048 MiB"):
            await self.run(world)
        assert not world.speeds.asked

    async def test_models_that_generate_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world = World(tmp_path, monkeypatch)
        world.models.append(
            dataclasses.replace(CARD, name=ModelName.parse("e"), capabilities=frozenset({"embedding"}))
        )
        with pytest.raises(Unsupported):
            await self.run(world, "e")
        with pytest.raises(ModelNotFound):
            await self.run(world, "nobody")


def test_what_is_kept_is_shown_and_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path, monkeypatch)
    key = Key(CARD.weights_digest, RECIPE.build, fingerprint(MACHINE))
    world.tunings.keep(Kept(key, "m:latest", Tuned(threads=1, batch=256), 1.0))
    shown = world.tuner.shown("m")
    assert shown["tunings"][0]["tuned"] == {"threads": 1, "batch": 256}
    assert shown["tunings"][0]["used"] is True
    assert world.tuner.forget("m") == 1
    assert world.tuner.shown("m")["tunings"] == []
    assert world.tunings.apply(CARD, RECIPE, Room(1, 2))[1].tuned == Tuned()


def test_who_disturbed_is_named_once() -> None:
    fleet = StubFleet()
    fleet.busy = [SimpleNamespace(card=SMALL, busy=1), SimpleNamespace(card=CARD, busy=1)]
    watch = Watch(cast(Any, fleet), {CARD.digest.replace("0", "9")})
    own = dataclasses.replace(SMALL, digest="a" * 64)
    fleet.busy[0].card = own
    assert watch.look()
    assert watch.look()
    assert watch.reasons() == [
        "m:latest answered requests meanwhile.",
        "small:latest answered requests meanwhile.",
    ]
    fleet.busy = []
    assert not watch.look()
