"""Choosing context and slots so that a model fits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inhouse.core.errors import OutOfMemory
from inhouse.core.models import Card, Footprint, ModelName
from inhouse.machine.fit import COMPUTE, KV_BYTES, plan, resident

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
        (SMALL, 900 * MIB, 8192, 2),
        (SMALL, 500 * MIB, 8192, 1),
        (SMALL, 360 * MIB, 4096, 1),
        (SMALL, 270 * MIB, 512, 1),
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
    fit = plan(SMALL, memory=360 * MIB, wanted_context=5000, wanted_slots=3)
    assert (fit.context_length, fit.slots) == (4096, 1)
    assert "made smaller from 5000 x 3" in fit.reason


def test_zero_means_choose():
    assert plan(SMALL, memory=8 * GIB, wanted_context=0, wanted_slots=0) == plan(SMALL, memory=8 * GIB)


def test_a_small_wish_is_not_raised():
    assert plan(SMALL, memory=8 * GIB, wanted_context=100).context_length == 100


def test_a_quantised_cache_makes_room():
    plain = plan(BIG, memory=16 * GIB, wanted_context=65_536)
    quantised = plan(BIG, memory=16 * GIB, wanted_context=65_536, kv_bytes=KV_BYTES["q4_0"])
    assert quantised.context_length > plain.context_length


def test_what_cannot_fit_is_refused_with_both_numbers():
    with pytest.raises(OutOfMemory) as caught:
        plan(BIG, memory=4 * GIB)
    assert f"{-(-resident(BIG, 512, 1) // MIB)} MiB" in caught.value.message
    assert "4096 MiB" in caught.value.message
    assert caught.value.hint


def test_the_estimate_counts_weights_cache_and_compute():
    assert resident(card(1000, 10), 100, 2) == int((1000 + 2000) * 1.05) + COMPUTE
    assert resident(card(1000, 32), 100, 2, KV_BYTES["q8_0"]) == int((1000 + 17 * 200) * 1.05) + COMPUTE


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
