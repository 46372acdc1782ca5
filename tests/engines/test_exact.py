"""The engine's own reckoning: what its log says, and that the wheel still says it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from inhouse import config
from inhouse.core.errors import LoadFailed, Unsupported
from inhouse.core.requests import LoadOptions
from inhouse.engines import exact, llamacpp
from inhouse.engines.recipe import Availability, Room
from inhouse.engines.workers import fit as worker
from inhouse.machine.fit import sized
from inhouse.machine.shape import Tensor, shape_of
from inhouse.store.store import Store
from support.models import SMALL, model_home

MIB = 2**20

CPU_LOG = """
0.00.004.992 I common_params_fit_impl: getting device memory data for initial parameters:
0.00.556.793 I common_memory_breakdown_print: | memory breakdown [MiB] | total   free    self   model   context   compute    unaccounted |
0.00.556.826 I common_memory_breakdown_print: |   - Host               |                  975 =   434 +     384 +     156                |
0.00.556.826 I common_memory_breakdown_print: |   - CPU_REPACK         |                   28 =    28 +       0 +       0                |
0.00.636.011 I common_fit_params: successfully fit params to free device memory
""".splitlines()
GPU_LOG = """
x I common_memory_breakdown_print: | memory breakdown [MiB] | total   free     self   model   context   compute    unaccounted |
x I common_memory_breakdown_print: |   - CUDA0 (H100)       | 81079 = 80000 + (9000 =  8000 +     600 +     400) +       1079 |
x I common_memory_breakdown_print: | memory breakdown [MiB] | total   free     self   model   context   compute    unaccounted |
x I common_memory_breakdown_print: |   - CUDA0 (H100)       | 81079 = 80000 + (5000 =  4400 +     300 +     300) +       1079 |
x I common_memory_breakdown_print: |   - Host               |                   700 =   600 +       0 +     100                |
""".splitlines()


def test_every_kind_of_memory_is_read() -> None:
    host, copies = exact.parts_of(CPU_LOG)
    assert (host.name, host.model, host.context, host.compute) == ("Host", 434 * MIB, 384 * MIB, 156 * MIB)
    assert (copies.name, copies.total) == ("CPU_REPACK", 28 * MIB)


def test_of_several_tries_the_last_counts() -> None:
    card, host = exact.parts_of(GPU_LOG)
    assert (card.name, card.model, card.total) == ("CUDA0 (H100)", 4400 * MIB, 5000 * MIB)
    assert host.context == 0


def test_a_log_without_a_table_tells_nothing() -> None:
    assert exact.parts_of(["load_tensors: CPU model buffer size = 92 MiB", ""]) == ()


def test_without_the_wheel_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact, "wheel", lambda: Availability("wheel", False, fix="Install it."))
    with pytest.raises(Unsupported, match="wheel") as caught:
        exact.reckon({}, os.environ)
    assert caught.value.hint == "Install it."


def test_a_child_that_tells_nothing_is_a_failed_load() -> None:
    with pytest.raises(LoadFailed) as caught:
        exact.reckon({"model": "/no/such/file"}, os.environ)
    assert "--exact" in caught.value.hint
    assert caught.value.detail


def test_a_child_that_is_dead_before_it_is_told_is_a_failed_load(monkeypatch: pytest.MonkeyPatch) -> None:
    begin = subprocess.Popen

    def dead(command: object, **more: Any) -> subprocess.Popen[str]:
        child = begin((sys.executable, "-c", "print('died early', file=__import__('sys').stderr)"), **more)
        child.wait()
        return child

    monkeypatch.setattr(exact.subprocess, "Popen", dead)
    monkeypatch.setattr(exact, "wheel", lambda: Availability("wheel", True, "1"))
    with pytest.raises(LoadFailed) as caught:
        exact.reckon({"model": "/m.gguf"}, os.environ)
    assert caught.value.detail == "died early"


def test_the_layout_allocates_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    params = SimpleNamespace()
    monkeypatch.setattr(worker, "parameters", lambda order, engine: params)
    engine: Any = SimpleNamespace(llama_load_mode=SimpleNamespace(LLAMA_LOAD_MODE_NONE="none"))
    worker.laid_out({}, engine)
    assert params.no_alloc is True
    assert params.fit_params is True
    assert (params.load_mode, params.warmup) == ("none", False)


def test_the_program_refuses_what_is_no_order() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "inhouse.engines.workers.fit"],
        input=b"nonsense\n",
        capture_output=True,
        check=False,
    )
    assert done.returncode == 1
    assert b"JSON" in done.stderr


@pytest.mark.model
def test_the_formula_says_what_the_engine_reckons() -> None:
    home = model_home(SMALL)
    store = Store(home)
    card = next(card for card in store.cards() if card.name.model == SMALL)
    settings = config.load({"INHOUSE_HOME": str(home)}).engine
    recipe = llamacpp.LlamaCpp(settings, llamacpp.wheel(), os.environ)
    options, room = LoadOptions(context_length=2048), Room(2**40, 2)
    order = json.loads(recipe.launch(card, options, room=room, address="127.0.0.1:1", secret="").stdin)
    parts = exact.reckon(order, os.environ)
    rows = [Tensor(r["name"], tuple(r["shape"]), r["type"], r["size"]) for r in store.tensors(card)]
    shape = shape_of(card.metadata, rows, vocabulary=card.vocabulary)
    load = llamacpp.load_of(card, order["kv_cache_type"], order["batch"])
    mine = sized(shape, load, order["context_length"], order["slots"])
    total = sum(part.total for part in parts) / MIB
    assert (mine.weights + mine.kv + mine.compute) / MIB == pytest.approx(total, abs=4)  # they round down
    assert sum(part.context for part in parts) // MIB == mine.kv // MIB
