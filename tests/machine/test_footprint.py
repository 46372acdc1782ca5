"""What a model takes, held against llama.cpp's own reckoning and against measured sizes of its workers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from inhouse.machine.footprint import KV_BYTES, Load, compute, kv, memory, padded, rearranged_types
from inhouse.machine.shape import Layer, Shape

MIB = 2**20
AVX2 = frozenset({"avx", "avx2", "fma"})

SMOLLM2 = Shape(
    "llama",
    tuple(Layer(2_000_000, k=192, v=192) for _ in range(30)),
    embedding=int(92.10 * MIB) - 60_000_000,
    width=576,
    feed_forward=1536,
    vocabulary=49_152,
    matrices={"Q4_1": 66_355_200, "Q8_0": 30_081_024},
)
QWEN = Shape(
    "qwen2",
    tuple(Layer(10_000_000, k=128, v=128) for _ in range(24)),
    embedding=int(462.96 * MIB) - 240_000_000,
    width=896,
    feed_forward=4864,
    vocabulary=151_936,
    matrices={"Q8_0": 146_105_344, "Q6_K": 42_900_480, "Q5_0": 173_150_208, "Q4_K": 29_417_472},
)


def load(context: int, slots: int, batch: int, kind: str = "f16") -> Load:
    return Load(context, slots, batch, kind, kind, features=AVX2)


@pytest.mark.parametrize(
    "shape, how, cache, buffers",
    [  # as the xllamacpp wheel 2026.10.11549 reports when it loads without allocating
        (SMOLLM2, load(512, 1, 32), 11.25, 6.38 + 0.19),
        (SMOLLM2, load(2048, 1, 64), 45.0, 12.96 + 0.19),
        (SMOLLM2, load(2048, 4, 256), 180.0, 51.82 + 0.76),
        (SMOLLM2, load(8192, 4, 256), 720.0, 54.82 + 0.76),
        (SMOLLM2, load(8192, 1, 128, "q8_0"), 95.62, 27.44 + 0.19),
        (SMOLLM2, load(2048, 1, 64, "q4_0"), 12.66, 12.99 + 0.19),
        (SMOLLM2, load(32768, 1, 512), 720.0, 133.64 + 0.19),
        (QWEN, load(512, 1, 32), 6.0, 19.13 + 0.58),
        (QWEN, load(8192, 4, 256), 384.0, 156.76 + 2.33),
        (QWEN, load(8192, 1, 128, "q8_0"), 51.0, 78.41 + 0.58),
        (QWEN, load(512, 8, 512), 48.0, 306.02 + 4.66),
        (QWEN, load(32768, 1, 512), 384.0, 337.52 + 0.58),
    ],
)
def test_cache_and_buffers_are_those_that_the_engine_reckons(shape, how, cache, buffers):
    assert kv(shape, how) / MIB == pytest.approx(cache, abs=0.01)
    assert compute(shape, how)[0] / MIB == pytest.approx(buffers, abs=0.1)


@pytest.mark.parametrize(
    "shape, how, measured",
    [  # resident MiB of a worker of the wheel after a prompt of up to 1,200 tokens and 32 of an answer
        (SMOLLM2, load(512, 1, 32), 161.5),
        (SMOLLM2, load(2048, 1, 256), 202.4),
        (SMOLLM2, load(2048, 4, 256), 337.7),
        (SMOLLM2, load(8192, 4, 256), 878.6),
        (SMOLLM2, load(8192, 1, 128, "q8_0"), 249.5),
        (SMOLLM2, load(2048, 1, 64, "q4_0"), 164.8),
        (SMOLLM2, load(512, 8, 512), 251.0),
        (QWEN, load(512, 1, 32), 598.8),
    ],
)
def test_resident_sizes_are_met_within_one_percent(shape, how, measured):
    assert memory(shape, how).resident / MIB == pytest.approx(measured, rel=0.01)


def test_rearranged_weights_are_resident_twice_but_needed_once():
    found = memory(QWEN, load(2048, 1, 256))
    assert found.rearranged == 29_417_472
    assert found.needed == found.weights + found.kv + found.compute + found.runtime
    plain = memory(QWEN, replace(load(2048, 1, 256), features=frozenset()))
    assert found.resident - plain.resident == 29_417_472


def test_a_file_that_is_read_is_not_there_twice():
    assert memory(QWEN, replace(load(2048, 1, 256), mmap=False)).rearranged == 0


def test_processors_differ_in_what_they_rearrange():
    assert rearranged_types(frozenset({"sse4_2"})) == frozenset()
    assert "Q8_0" not in rearranged_types(AVX2)
    assert {"Q4_K", "Q6_K", "Q8_0"} <= rearranged_types(frozenset({"dotprod"}))


def test_a_window_is_kept_with_one_batch_and_padding():
    shape = Shape("gemma3", (Layer(k=256, v=256, window=512), Layer(k=256, v=256)))
    how = load(8192, 2, 256)
    assert kv(shape, how) == (768 + 8192) * 2 * 512 * 2  # cells x bytes of an element x elements x slots


def test_a_window_longer_than_the_context_is_cut():
    shape = Shape("gemma3", (Layer(k=256, v=256, window=4096),))
    assert kv(shape, load(1024, 1, 256)) == 1024 * 2 * 512


def test_a_state_is_kept_for_each_slot_whatever_the_context():
    shape = Shape("mamba", (Layer(state=1000), Layer(state=1000)))
    assert kv(shape, load(512, 4, 64)) == kv(shape, load(65_536, 4, 64)) == 8000


def test_keys_and_values_may_have_types_of_their_own():
    shape = Shape("llama", (Layer(k=320, v=320),))
    mixed = replace(load(256, 1, 64), k_type="q8_0", v_type="f16")
    assert kv(shape, mixed) == int(256 * (320 * KV_BYTES["q8_0"] + 320 * 2))


def test_what_only_embeds_makes_no_scores():
    silent = replace(QWEN, generates=False)
    assert compute(silent, load(512, 1, 512))[0] < compute(QWEN, load(512, 1, 512))[0] / 4


@pytest.mark.parametrize("tokens, cells", [(0, 256), (1, 256), (256, 256), (257, 512), (8192, 8192)])
def test_contexts_are_whole_blocks(tokens, cells):
    assert padded(tokens) == cells


def test_a_batch_is_never_larger_than_the_context():
    assert compute(QWEN, load(256, 1, 4096)) == compute(QWEN, load(256, 1, 256))
