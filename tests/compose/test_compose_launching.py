"""How much room a plan gets, and what is tried after a load that failed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from inhouse import machine
from inhouse.compose import launching as module
from inhouse.compose.launching import Launching
from inhouse.config import Config, Fleet
from inhouse.core.engine import Launch
from inhouse.core.errors import InhouseError, LoadFailed, OutOfMemory, WorkerDied
from inhouse.core.models import Card, Footprint, ModelName
from inhouse.core.requests import LoadOptions
from inhouse.fleet import Size
from inhouse.fleet.shortage import CAPPED, SMALLER
from inhouse.machine.budget import RESERVE

CARD = Card(ModelName.parse("m"), "d", "w", "", 1, Footprint(1, 1))
GIB = 2**30


class Recipe:
    """Takes all the room it gets, up to what it wants; not less than ``least``."""

    def __init__(self) -> None:
        self.rooms: list[int] = []
        self.cores = 0
        self.wants, self.least, self.variant = 4 * GIB, GIB, "cuda"

    def launch(self, card: Card, options: LoadOptions, *, room: Any, address: str, secret: str) -> Launch:
        self.rooms.append(room.memory)
        self.cores = room.cores
        if room.memory < self.least:
            raise OutOfMemory("too small", hint="x")
        memory = min(self.wants, room.memory)
        return Launch(
            "llama.cpp",
            (),
            address,
            slots=max(1, memory // GIB),
            context_length=8192,
            memory=memory,
            variant=self.variant,
            notices=("it runs",),
        )


class Engines:
    def __init__(self) -> None:
        self.recipe = Recipe()
        self.next: str | None = None
        self.guilty = False

    def blame(self, died: Launch, error: InhouseError) -> bool:
        return self.guilty

    def of(self, card: Card, options: LoadOptions | None = None) -> Recipe:
        return self.recipe

    def fall_back(self, card: Card, failed: Launch, error: LoadFailed) -> Recipe | None:
        if self.next is None:
            return None
        self.recipe.variant = self.next
        return self.recipe


class Bench:
    """A Launching on a machine of our making."""

    def __init__(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, memory: int = 0, **here_is: int
    ) -> None:
        self.left, self.now = 8 * GIB, 1000.0
        self.engines = Engines()
        here = dataclasses.replace(machine.detect(), memory_available=10 * GIB, gpus=(), **here_is)
        self.here = here
        config = Config(home=tmp_path, fleet=Fleet(memory=memory))
        self.launching = Launching(config, here, self.engines, None, tmp_path)  # type: ignore[arg-type]
        self.counted = 8 * GIB
        monkeypatch.setattr(module, "machine", SimpleNamespace(available=self._available))
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: self.now))

    def _available(self, *, mapped: int = 0) -> int:
        return min(self.left, self.counted - mapped)

    def launch(self) -> Launch:
        return self.launching.launch(CARD, LoadOptions())

    def again(self, failed: Launch, error: LoadFailed) -> Launch | None:
        return self.launching.relaunch(CARD, LoadOptions(), failed, error)

    @property
    def room(self) -> int:
        return self.engines.recipe.rooms[-1]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


def killed(detail: str = "") -> LoadFailed:
    return LoadFailed("its process was killed (SIGKILL)", detail=detail)


def test_a_plan_gets_the_budget_or_what_is_there_if_that_is_less(bench: Bench) -> None:
    bench.launch()
    assert bench.room == 8 * GIB - RESERVE
    bench.left = 20 * GIB
    bench.counted = 20 * GIB
    bench.launch()
    assert bench.room == 8 * GIB  # 80 % of the ten that were there at the start
    bench.left = 3 * GIB
    bench.launch()
    assert bench.room == 3 * GIB - RESERVE


def test_where_cores_are_of_two_kinds_threads_are_for_the_fast_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path, monkeypatch, physical_cores=14, performance_cores=6, efficiency_cores=8)
    bench.launch()
    assert bench.engines.recipe.cores == 6


def test_memory_that_models_have_counts_for_the_next_one_once(bench: Bench) -> None:
    bench.left = bench.counted = 5 * GIB
    bench.launching.taken = lambda: Size(2 * GIB, 0)
    bench.launch()
    assert bench.room == 7 * GIB - RESERVE
    bench.launching.taken = lambda: Size(2 * GIB, 2 * GIB)  # mapped pages are counted as available already
    bench.launch()
    assert bench.room == 5 * GIB - RESERVE


def test_a_container_that_counts_mapped_files_as_used_is_not_charged_for_them_twice(bench: Bench) -> None:
    bench.left, bench.counted = 3 * GIB, 30 * GIB
    bench.launching.taken = lambda: Size(4 * GIB, 4 * GIB)
    bench.launch()
    assert bench.room == 7 * GIB - RESERVE


def test_the_setting_does_not_make_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path, monkeypatch, memory=64 * GIB)
    bench.launch()
    assert bench.room == 8 * GIB - RESERVE
    assert bench.launching.memory() == 64 * GIB


def test_what_ran_out_of_memory_is_planned_smaller_and_says_so(bench: Bench) -> None:
    failed = bench.launch()
    again = bench.again(failed, killed())
    assert again is not None
    assert bench.room == int(failed.memory * SMALLER)
    assert again.memory == bench.room
    assert again.notices[0] == "it runs"
    assert "4 slots of 8192" in again.notices[1]
    assert "2 of 8192" in again.notices[1]


def test_the_next_load_begins_with_the_smaller_plan_for_a_while(bench: Bench) -> None:
    failed = bench.launch()
    bench.again(failed, killed())
    later = bench.launch()
    assert bench.room == int(failed.memory * SMALLER)
    assert "planned smaller than usual" in later.notices[-1]
    bench.now += CAPPED + 1
    assert bench.launch().memory == failed.memory


def test_where_nothing_smaller_fits_the_error_has_the_numbers_and_what_to_do(bench: Bench) -> None:
    bench.engines.recipe.least = 4 * GIB
    failed = bench.launch()
    with pytest.raises(OutOfMemory) as caught:
        bench.again(failed, killed())
    assert "4096 MiB were planned" in caught.value.message
    assert "8192 MiB are available" in caught.value.message
    assert "inhouse plan m" in caught.value.hint


def test_a_plan_that_does_not_get_smaller_is_not_tried_again(bench: Bench) -> None:
    failed = dataclasses.replace(bench.launch(), memory=GIB)
    bench.engines.recipe.least = 0
    bench.engines.recipe.launch = lambda *_, **__: failed  # type: ignore[method-assign, assignment]
    with pytest.raises(OutOfMemory):
        bench.again(failed, killed())


def test_a_broken_build_is_left_for_the_next_one_and_the_reason_told(bench: Bench) -> None:
    failed = bench.launch()
    bench.engines.next = "cpu"
    again = bench.again(failed, LoadFailed("libcuda.so is missing"))
    assert again is not None
    assert again.variant == "cpu"
    assert again.notices[-1] == "llama.cpp cuda could not load it, llama.cpp cpu does: libcuda.so is missing"


def test_for_any_other_failure_nothing_is_tried(bench: Bench) -> None:
    assert bench.again(bench.launch(), LoadFailed("bad magic")) is None


def test_a_worker_that_died_is_run_again_as_it_was_unless_its_kernels_are_blamed(bench: Bench) -> None:
    died = dataclasses.replace(bench.launch(), kernels="/report.json")
    error = WorkerDied("its process was killed (SIGSEGV)")
    assert bench.launching.relaunch(CARD, LoadOptions(), died, error) is None
    bench.engines.guilty = True
    again = bench.launching.relaunch(CARD, LoadOptions(), died, error)
    assert again is not None
    assert "with Inhouse's kernels crashed again and again" in again.notices[-1]
    assert error.message in again.notices[-1]
