"""Getting and measuring builds: one at a time, never on the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from inhouse.compose.building import Builds
from inhouse.config import Config, load
from inhouse.core.errors import Conflict, Unsupported
from inhouse.dialects.inhouse.engines import BenchOrder, InstallOrder
from inhouse.engines.engines import Engines
from inhouse.engines.registry import Other, Place
from inhouse.engines.variants.choice import Candidate
from inhouse.fleet import Fleet
from inhouse.store import PullEvent


class Known:
    """Engines with one build and another engine, which remember the threads that asked them."""

    def __init__(self, install: Callable[..., None] | None = None) -> None:
        self.asked: list[threading.Thread] = []
        self.forgiven: list[str] = []
        self.machine = SimpleNamespace(gpus=())
        self.default = SimpleNamespace(name="llama.cpp (wheel)", build="1")
        self.kept = SimpleNamespace(use="", choose=lambda key: None)
        self.others = (
            Other("other", cast(Any, None), cast(Any, None), install=install),
            Other("foreign", cast(Any, None), cast(Any, None)),
        )

    def forgive(self, key: str) -> None:
        self.forgiven.append(key)

    def refresh(self) -> None:
        self.asked.append(threading.current_thread())

    def candidates(self) -> list[Candidate]:
        self.asked.append(threading.current_thread())
        return [Candidate("native", "server", "shelf")]


class Measuring:
    """Stands for ``Versus``: a measurement that lasts until ``go``."""

    def __init__(self) -> None:
        self.go = asyncio.Event()

    async def run(self, *order: Any) -> AsyncGenerator[PullEvent, None]:
        yield PullEvent("measuring")
        await self.go.wait()
        yield PullEvent("success", result={})


def builds(home: Path, known: Known, versus: Any = None, **env: str) -> Builds:
    config: Config = load({"INHOUSE_HOME": str(home), **env})
    return Builds(config, cast(Engines, known), cast(Fleet, None), versus, lambda record: None)


async def test_only_one_measures_at_a_time(tmp_path: Path) -> None:
    measuring = Measuring()
    there = builds(tmp_path, Known(), measuring)
    async with aclosing(there.bench(BenchOrder())) as first:
        assert (await anext(first)).status == "measuring"
        for other in (there.bench(BenchOrder()), there.install(InstallOrder("native"))):
            with pytest.raises(Conflict):
                await anext(other)
        measuring.go.set()
        assert [event.status async for event in first] == ["success"]
    assert [event.status async for event in there.bench(BenchOrder())] == ["measuring", "success"]


async def test_what_was_cancelled_ends_before_the_next_begins(tmp_path: Path) -> None:
    """A cancelled install still cleans up in its thread, in folders that the next one uses, too."""
    stopping, ended = threading.Event(), threading.Event()
    order: list[str] = []

    def install(place: Place, say: Callable[[str], None], stopped: Callable[[], bool]) -> None:
        order.append("begins")
        say("working")
        while not stopped() and len(order) < 2:
            ended.wait(0.01)
        stopping.set()
        if len(order) == 1:
            ended.wait(10)
            order.append("ended")

    there = builds(tmp_path, Known(install))
    first = there.install(InstallOrder("other"))
    assert (await anext(first)).status == "working"
    await first.aclose()
    assert await asyncio.to_thread(stopping.wait, 10)
    second = asyncio.ensure_future(_all(there.install(InstallOrder("other"))))
    await asyncio.to_thread(lambda: None)
    ended.set()
    await second
    assert order == ["begins", "ended", "begins"]
    await there.close()


async def _all(events: AsyncGenerator[PullEvent, None]) -> list[PullEvent]:
    return [event async for event in events]


async def test_builds_are_looked_at_in_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known, measuring = Known(), Measuring()
    measuring.go.set()
    there = builds(tmp_path, known, measuring)
    monkeypatch.setattr(there, "_installed", lambda order, watch: watch.say(PullEvent("success")))
    events = await _all(there.install(InstallOrder("native")))
    assert events[-1].status == "success"
    assert known.forgiven == ["native"]
    assert known.asked
    assert threading.current_thread() not in known.asked


async def test_an_engine_that_we_cannot_install_says_so(tmp_path: Path) -> None:
    there = builds(tmp_path, Known())
    with pytest.raises(Unsupported, match="not installed by Inhouse"):
        await _all(there.install(InstallOrder("foreign")))


def test_what_a_setting_forbids_is_not_chosen(tmp_path: Path) -> None:
    """Else the answer would be that another build runs models from now on."""
    known = Known()
    with pytest.raises(Unsupported, match="INHOUSE_ENGINE=wheel"):
        builds(tmp_path, known, INHOUSE_ENGINE="wheel").use("native")
    assert known.kept.use == ""
    assert builds(tmp_path, known, INHOUSE_ENGINE="native").use("native")["use"] == "native"


@pytest.mark.parametrize("name", ["wheel", "path", "other"])
async def test_only_builds_that_were_installed_are_removed(tmp_path: Path, name: str) -> None:
    with pytest.raises(Unsupported, match="not removed"):
        await builds(tmp_path, Known()).remove(name, force=True)
