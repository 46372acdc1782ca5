"""Which layers go where."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from inhouse.machine import Gpu
from inhouse.machine.footprint import GPU_RUNTIME, Load, compute, kv, memory
from inhouse.machine.shape import Layer, Shape
from inhouse.planning.placement import MARGIN, place

MIB, GIB = 2**20, 2**30
SHAPE = Shape(
    "llama",
    tuple(Layer(200 * MIB, k=1024, v=1024) for _ in range(32)),
    embedding=300 * MIB,
    output=400 * MIB,
    width=4096,
    feed_forward=14336,
    vocabulary=128_256,
)
LOAD = Load(8192, 1, batch=256)


def gpu(free: int, name: str = "card") -> Gpu:
    return Gpu("nvidia", name, memory=free, free=free)


def test_without_a_gpu_everything_is_on_the_processor():
    placed = place(SHAPE, LOAD, (), 64 * GIB)
    (cpu,) = placed.devices
    assert cpu.layers == (0, 31)
    assert cpu.total == memory(SHAPE, LOAD).needed
    assert placed.gpu_layers == 0
    assert placed.fits
    assert not place(SHAPE, LOAD, (), GIB).fits


def test_a_large_gpu_takes_all_layers_and_the_output_but_not_the_embedding():
    placed = place(SHAPE, LOAD, (gpu(80 * GIB),), 64 * GIB)
    cpu, card = placed.devices
    assert placed.gpu_layers == 33
    assert card.layers == (0, 31)
    assert card.weights == 32 * 200 * MIB + 400 * MIB
    assert card.kv == kv(SHAPE, LOAD)
    assert card.runtime == GPU_RUNTIME
    assert cpu.layers is None
    assert cpu.weights == 300 * MIB
    assert cpu.kv == 0


def test_a_small_gpu_takes_the_last_layers():
    placed = place(SHAPE, LOAD, (gpu(5 * GIB),), 64 * GIB)
    cpu, card = placed.devices
    assert card.layers is not None
    assert cpu.layers == (0, card.layers[0] - 1)
    assert card.layers[1] == 31
    assert card.total <= 5 * GIB - MARGIN
    assert cpu.weights + card.weights == SHAPE.weights


def test_two_gpus_share_by_their_free_memory():
    placed = place(SHAPE, LOAD, (gpu(24 * GIB, "a"), gpu(12 * GIB, "b")), 64 * GIB)
    _, a, b = placed.devices
    assert a.layers is not None
    assert b.layers is not None
    assert a.layers[1] + 1 == b.layers[0]
    assert a.layers[1] - a.layers[0] > b.layers[1] - b.layers[0]


def test_a_gpu_that_is_full_takes_nothing():
    placed = place(SHAPE, LOAD, (gpu(GIB),), 64 * GIB)
    assert placed.gpu_layers == 0
    assert placed.devices[1].total == 0
    assert placed.devices[0].layers == (0, 31)


def test_a_gpu_of_unknown_size_is_left_alone():
    assert len(place(SHAPE, LOAD, (Gpu("amd", "?"),), GIB).devices) == 1


def test_a_tied_embedding_lies_on_both():
    tied = Shape("llama", SHAPE.layers, embedding=300 * MIB, width=4096)
    cpu, card = place(tied, LOAD, (gpu(80 * GIB),), 64 * GIB).devices
    assert cpu.weights == 300 * MIB
    assert card.weights == 32 * 200 * MIB + 300 * MIB


@settings(deadline=None)
@given(frees=st.lists(st.integers(0, 40 * GIB), max_size=4))
def test_no_layer_is_lost_and_no_gpu_overfilled(frees):
    gpus = tuple(gpu(max(1, free)) for free in frees)
    placed = place(SHAPE, LOAD, gpus, 64 * GIB)
    host, *cards = placed.devices
    counted = sum(one.layers[1] - one.layers[0] + 1 for one in placed.devices if one.layers)
    assert counted == 32
    assert sum(one.kv for one in placed.devices) == kv(SHAPE, LOAD)
    for one in cards:
        if one.layers:
            assert one.weights + one.kv + compute(SHAPE, LOAD)[0] + GPU_RUNTIME + MARGIN <= one.free
    assert host.weights >= 0
