"""The plan of a load: whether it fits, and what would help where it does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from inhouse.machine import Gpu
from inhouse.machine.fit import sized
from inhouse.machine.footprint import Load
from inhouse.machine.shape import Layer, Shape
from inhouse.planning import Host, Planned, Range, Rate, Subject, make, told
from inhouse.planning import plan as room

MIB, GIB = 2**20, 2**30
SHAPE = Shape(
    "llama",
    tuple(Layer(100 * MIB, k=1024, v=1024) for _ in range(32)),
    embedding=200 * MIB,
    output=200 * MIB,
    width=4096,
    feed_forward=14336,
    vocabulary=32_000,
)
MODEL = Subject("big", SHAPE, 7_000_000_000, 3600 * MIB, "Q4_K_M", 131_072)
RATES = (Rate(Range(1e10, 2e10), "this model", 5), Rate(Range(5e10, 9e10), "this model", 5))


def host(free: int, *gpus: Gpu) -> Host:
    return Host(free, 8, *RATES, gpus)


def planned(free: int, load: Load | None = None, *gpus: Gpu, smaller=()) -> Planned:
    return make(MODEL, host(free, *gpus), load or Load(8192, 4), prompt=512, smaller=smaller)


def test_what_fits_needs_no_advice():
    plan = planned(64 * GIB)
    assert plan.fits
    assert plan.advice == ()
    assert plan.memory == sized(SHAPE, Load(8192, 4), 8192, 4)


def test_the_largest_context_fits_and_is_within_what_the_model_was_trained_for():
    plan = planned(12 * GIB)
    assert sized(SHAPE, Load(0, 4), plan.largest_context, 4).needed <= 12 * GIB
    assert planned(600 * GIB).largest_context == 131_072


def test_the_speed_is_told_for_all_users():
    assert (
        planned(64 * GIB, Load(8192, 4)).speed.together.low
        > planned(64 * GIB, Load(8192, 1)).speed.decode.low
    )


def test_without_rates_no_speed_is_told():
    plan = make(MODEL, Host(64 * GIB, 8, None, None), Load(8192, 1), prompt=512)
    assert plan.speed is None
    assert plan.fits


def test_every_remedy_that_is_named_makes_it_fit():
    plan = planned(6 * GIB, Load(8192, 4), smaller=[("Q3_K_M", 5), ("Q2_K", -5)])
    assert not plan.fits
    said = "\n".join(plan.advice)
    assert "--context" in said
    assert "--kv-type" in said
    assert "--users" in said
    assert "--quant Q2_K" in said
    context = int(said.split("--context ")[1].split()[0])
    kind = said.split("--kv-type ")[1].split()[0]
    users = int(said.split("--users ")[1].split()[0])
    for remedy in (
        Load(context, 4),
        Load(8192, 4, k_type=kind, v_type=kind),
        Load(8192, users),
    ):
        assert planned(6 * GIB, remedy).fits, remedy


def test_the_best_cache_that_fits_is_named():
    load = Load(8192, 2)
    free = sized(SHAPE, replace(load, k_type="q8_0", v_type="q8_0"), 8192, 2).needed + MIB
    assert any("--kv-type q8_0" in text for text in planned(free, load).advice)
    assert any("--kv-type q4_0" in text for text in planned(free - 64 * MIB, load).advice)


def test_a_very_short_context_is_the_last_thing_to_try():
    free = sized(SHAPE, Load(0, 1), 512, 1).needed + MIB
    plan = planned(free, Load(8192, 1), smaller=[("Q2_K", -1)])
    assert "--quant" in plan.advice[0]
    assert plan.advice[-1].startswith("Only a context of")


def test_what_cannot_fit_in_any_way_says_what_it_takes():
    plan = planned(GIB, Load(8192, 1))
    assert plan.largest_context == 0
    (text,) = plan.advice
    assert f"{sized(SHAPE, Load(0, 1), 512, 1).needed // MIB:,} MiB" in text


def test_a_gpu_makes_room():
    card = Gpu("nvidia", "card", memory=24 * GIB, free=24 * GIB)
    assert not planned(2 * GIB, Load(8192, 1)).fits
    plan = planned(2 * GIB, Load(8192, 1), card)
    assert plan.fits
    assert plan.placement.gpu_layers == 33
    assert plan.largest_context > 8192


def test_a_prediction_is_its_middle_and_its_bounds():
    assert told(Range(10, 40)) == (pytest.approx(20), 10, 40)


def test_layers_on_a_slow_processor_slow_the_whole_model() -> None:
    card = Gpu("nvidia", "card", memory=24 * GIB, free=24 * GIB)
    half = Gpu("nvidia", "card", memory=4 * GIB, free=4 * GIB)
    fast = (Rate(Range(1e12, 1e12), "nothing"), Rate(Range(5e13, 5e13), "nothing"))
    speeds = []
    for gpus in ((card,), (half,), ()):
        place = Host(64 * GIB, 8, *RATES, gpus, fast if gpus else None)
        speeds.append(make(MODEL, place, Load(8192, 1), prompt=512).speed)
    all_there, some, none = (speed.decode.low for speed in speeds)
    assert all_there > 50 * none
    assert none < some < 4 * none


def test_without_a_rate_of_the_processor_only_what_is_all_on_gpus_has_a_speed() -> None:
    fast = (Rate(Range(1e12, 1e12), "nothing"), Rate(Range(5e13, 5e13), "nothing"))
    for size, known in ((24 * GIB, True), (4 * GIB, False)):
        place = Host(64 * GIB, 8, None, None, (Gpu("nvidia", "card", memory=size, free=size),), fast)
        assert bool(make(MODEL, place, Load(8192, 1), prompt=512).speed) is known


def test_fewer_users_are_looked_for_in_a_few_steps(monkeypatch: pytest.MonkeyPatch):
    asked: list[int] = []
    fits = room._fits

    def counting(subject: Subject, host: Host, load: Load) -> bool:
        asked.append(load.slots)
        return fits(subject, host, load)

    monkeypatch.setattr(room, "_fits", counting)
    free = sized(SHAPE, Load(8192, 7), 8192, 7).needed
    assert "7 at a time instead of 1024 fit: --users 7" in planned(free, Load(8192, 1024)).advice
    assert len(asked) < 40
