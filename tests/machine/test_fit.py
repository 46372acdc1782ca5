"""Choosing context and slots so that a model fits."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inhouse.core.errors import OutOfMemory
from inhouse.core.models import Card, Footprint, ModelName
from inhouse.machine.fit import USUAL, Load, largest_context, plan, resident
from inhouse.machine.footprint import memory
from inhouse.machine.shape import Layer, Shape, shape_of_card

MIB = 2**20
GIB = 2**30


def card(weights: int = 100 * MIB, kv: int = 23_040, trained: int = 8192) -> Card:
    name = ModelName.parse("m")
    return Card(name, "", "", "", weights, Footprint(weights, kv), context_length=trained)


SMALL = card()
BIG = card(8 * GIB, 131_072, 131_072)


@pytest.mark.parametrize(
    "model, memory, context, slots",
    [
        (SMALL, 128 * GIB, 8192, 8),  # KV of 8 slots is small change
        (SMALL, 8 * GIB, 8192, 4),
        (SMALL, 850 * MIB, 8192, 2),
        (SMALL, 400 * MIB, 8192, 1),
        (SMALL, 300 * MIB, 4096, 1),
        (SMALL, 150 * MIB, 512, 1),
        (BIG, 64 * GIB, 8192, 4),
        (BIG, 10 * GIB, 8192, 1),
        (card(trained=2048), 8 * GIB, 2048, 4),
        (card(trained=512), 8 * GIB, 512, 8),
        (card(trained=0), 8 * GIB, 8192, 4),
    ],
)
def test_slots_shrink_first_then_the_context(model, memory, context, slots):
    fit = plan(model, memory=memory)
    assert (fit.context_length, fit.slots) == (context, slots)
    assert fit.memory == resident(model, context, slots) <= memory


def test_a_wish_is_followed_where_it_fits():
    fit = plan(BIG, memory=64 * GIB, wanted_context=32_768, wanted_slots=2)
    assert (fit.context_length, fit.slots) == (32_768, 2)
    assert "as asked for" in fit.reason


def test_a_context_beyond_the_trained_length_is_capped_and_said():
    fit = plan(SMALL, memory=64 * GIB, wanted_context=100_000)
    assert fit.context_length == 8192
    assert "100000 was asked for" in fit.reason
    assert "trained for 8192" in fit.reason


def test_an_odd_wish_shrinks_in_powers_of_two():
    fit = plan(SMALL, memory=240 * MIB, wanted_context=5000, wanted_slots=3)
    assert (fit.context_length, fit.slots) == (4096, 1)
    assert "made smaller from 5000 x 3" in fit.reason


def test_zero_means_choose():
    assert plan(SMALL, memory=8 * GIB, wanted_context=0, wanted_slots=0) == plan(SMALL, memory=8 * GIB)


def test_a_small_wish_is_not_raised():
    assert plan(SMALL, memory=8 * GIB, wanted_context=100).context_length == 100


def test_a_quantised_cache_makes_room():
    plain = plan(BIG, memory=16 * GIB, wanted_context=65_536)
    small = Load(0, 0, k_type="q4_0", v_type="q4_0")
    quantised = plan(BIG, memory=16 * GIB, wanted_context=65_536, load=small)
    assert quantised.context_length > plain.context_length


def test_what_cannot_fit_is_refused_with_both_numbers():
    with pytest.raises(OutOfMemory) as caught:
        plan(BIG, memory=4 * GIB)
    assert f"{-(-resident(BIG, 512, 1) // MIB)} MiB" in caught.value.message
    assert "4096 MiB" in caught.value.message
    assert caught.value.hint


def test_the_plan_tells_what_the_memory_is_for():
    fit = plan(SMALL, memory=8 * GIB, wanted_context=2048, wanted_slots=2)
    assert fit.parts.weights == 100 * MIB
    assert fit.parts.kv == 2 * 2048 * 23_040
    assert fit.memory == fit.parts.needed


def test_what_comes_beside_the_model_counts():
    beside = replace(USUAL, extra=50 * MIB, extra_cache=0.5)
    more = resident(SMALL, 2048, 1, beside) - resident(SMALL, 2048, 1)
    assert more == 50 * MIB + 2048 * 23_040 // 2


def test_a_batch_takes_its_scores():
    wide = replace(SMALL, vocabulary=150_000)
    small, large = (resident(wide, 2048, 1, Load(0, 0, batch=batch)) for batch in (64, 512))
    assert large - small > 448 * 150_000 * 4


def test_what_embeds_takes_its_whole_input_in_one_batch():
    reader = replace(SMALL, capabilities=frozenset({"embedding"}), embedding_length=1024)
    batches = (resident(reader, 2048, 1, Load(0, 0, batch=batch)) for batch in (64, 2048))
    assert len(set(batches)) == 1


def test_a_smaller_room_makes_a_smaller_plan_of_the_same_model():
    first = plan(SMALL, memory=8 * GIB)
    second = plan(SMALL, memory=first.memory // 2)
    assert second.memory <= first.memory // 2
    assert second.context_length * second.slots < first.context_length * first.slots


@settings(deadline=None)
@given(room=st.integers(0, 2**37), most=st.integers(1, 2**20), slots=st.integers(1, 8))
def test_the_largest_context_fits_and_the_next_does_not(room, most, slots):
    shape, load = shape_of_card(BIG), Load(0, slots)
    found = largest_context(shape, load, room, most)
    assert found <= most
    if found:
        assert memory(shape, replace(load, context=found)).needed <= room
    if found + 256 <= most:
        assert memory(shape, replace(load, context=found + 256)).needed > room


def test_windows_leave_room_for_a_longer_context():
    plain = Shape("a", tuple(Layer(1000, k=1024, v=1024) for _ in range(12)))
    windowed = Shape("a", tuple(Layer(1000, k=1024, v=1024, window=512 * (n % 6 < 5)) for n in range(12)))
    load = Load(0, 1)
    assert largest_context(windowed, load, GIB, 2**20) > 4 * largest_context(plain, load, GIB, 2**20)


@settings(deadline=None)
@given(
    weights=st.integers(0, 2**40),
    kv=st.integers(0, 2**22),
    trained=st.integers(0, 2**21),
    memory=st.integers(0, 2**41),
    context=st.none() | st.integers(0, 2**21),
    slots=st.none() | st.integers(0, 64),
)
def test_a_plan_always_fits_or_is_refused(weights, kv, trained, memory, context, slots):
    model = card(weights, kv, trained)
    try:
        fit = plan(model, memory=memory, wanted_context=context, wanted_slots=slots)
    except OutOfMemory:
        assert resident(model, min(512, trained or 512, context or 512), 1) > memory
        return
    assert fit.memory <= memory
    assert fit.slots >= 1
    assert 0 < fit.context_length <= (trained or max(8192, context or 0))
