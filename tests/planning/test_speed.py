"""Speed as ranges: what bounds it, how measurements narrow it, what several users cost."""

from __future__ import annotations

import pytest

from inhouse.machine.footprint import Load
from inhouse.machine.shape import Layer, Shape
from inhouse.planning import speed
from inhouse.planning.speed import Range, Rate, Work, decode_bytes, fold, predict, prior, with_quantised_cache

SHAPE = Shape(
    "llama",
    tuple(Layer(100_000_000, k=1024, v=1024) for _ in range(10)),
    embedding=50_000_000,
    output=50_000_000,
    width=2048,
)
LOAD = Load(8192, 1)
DECODE, PREFILL = Rate(Range(10e9, 20e9), "this model", 3), Rate(Range(50e9, 100e9), "this model", 3)


def work(prompt: int = 512, users: int = 1) -> Work:
    return Work(SHAPE, LOAD, 2_000_000_000, prompt, users)


def test_a_token_reads_all_weights_but_the_embedding_and_the_whole_cache():
    per_token = 10 * 2048 * 2  # layers x elements x bytes
    assert decode_bytes(SHAPE, LOAD, 0) == 1_050_000_000
    assert decode_bytes(SHAPE, LOAD, 1000) == 1_050_000_000 + 1000 * per_token


def test_a_window_bounds_what_is_read():
    windowed = Shape("g", (Layer(k=512, v=512, window=100),))
    assert decode_bytes(windowed, LOAD, 5000) == decode_bytes(windowed, LOAD, 100) == 100 * 2048


def test_decoding_is_bandwidth_over_bytes():
    found = predict(work(prompt=1), DECODE, PREFILL).decode
    assert found.low == pytest.approx(10e9 / 1.05e9, rel=0.001)
    assert found.high == pytest.approx(20e9 / 1.05e9, rel=0.001)


def test_long_prompts_slow_the_answer_and_the_prompt_itself():
    short, long = (predict(work(prompt), DECODE, PREFILL) for prompt in (128, 8000))
    assert long.decode.middle < short.decode.middle
    assert long.prefill.middle < short.prefill.middle
    assert long.ttft.low > 60 * short.ttft.low


def test_users_share_the_weights_but_not_the_arithmetic():
    one, four, many = (predict(work(users=n), DECODE, PREFILL) for n in (1, 4, 200))
    assert one.together.middle < four.together.middle
    assert four.decode.middle < one.decode.middle
    assert many.together.high <= four.prefill.high * 1.01  # no faster than a prompt is computed


def test_the_first_token_comes_after_the_prompt_and_one_step():
    found = predict(work(), DECODE, PREFILL)
    assert found.ttft.low == pytest.approx(512 / found.prefill.high + 1 / found.decode.high)
    assert found.ttft.high == pytest.approx(512 / found.prefill.low + 1 / found.decode.low)


def test_the_weaker_basis_is_told():
    assert predict(work(), DECODE, Rate(Range(1e9, 9e9), "nothing")).basis == "nothing"
    assert predict(work(), DECODE, PREFILL).basis == "this model"


def test_nothing_measured_makes_no_rate():
    assert fold([], "this model") is None
    assert fold([0.0, -1.0], "this model") is None


def test_one_measurement_makes_a_range_around_it():
    rate = fold([100.0], "this model")
    assert rate is not None
    assert rate.values.low == pytest.approx(100 / 1.1)
    assert rate.values.high == pytest.approx(110)


def test_a_range_is_wider_the_further_away_it_was_measured():
    widths = []
    for basis in ("this model", "this quantisation", "this machine"):
        rate = fold([100.0] * 5, basis)
        assert rate is not None
        widths.append(rate.values.high / rate.values.low)
    assert widths == sorted(widths)
    assert widths[0] < widths[2]


def test_what_scatters_makes_a_wide_range_and_one_stray_value_does_not():
    scattered = fold([50, 75, 100, 150, 200], "this model")
    stray = fold([100] * 20 + [1], "this model")
    assert scattered is not None
    assert stray is not None
    assert scattered.values.low <= 75
    assert scattered.values.high >= 150
    assert stray.values.low > 80


def test_without_measurements_the_range_is_wide_and_within_the_bandwidth():
    decode, prefill = prior(40e9, 8)
    assert decode.basis == prefill.basis == "nothing"
    assert decode.values.high < 40e9
    assert decode.values.high / decode.values.low > 3
    assert prior(40e9, 16)[1].values.low == 2 * prefill.values.low


@pytest.mark.parametrize("features", [{"avx2"}, {"avx2", "avx_vnni"}, {"avx2", "avx512f", "avx512_vnni"}])
def test_our_kernels_and_wider_instructions_are_expected_to_be_faster(features: set[str]) -> None:
    plain, sets = prior(40e9, 8)[1].values, frozenset(features)
    stock, ours = (prior(40e9, 8, sets, kernels=kernels) for kernels in (False, True))
    assert plain.middle < stock[1].values.middle < ours[1].values.middle
    assert stock[0].values.middle < ours[0].values.middle <= 40e9
    assert prior(40e9, 8, frozenset({"avx2"}))[1].values.middle <= stock[1].values.middle


def test_a_quantised_cache_is_expected_to_slow_prompts_until_it_was_measured() -> None:
    learnt = Rate(Range(90.0, 110.0), "this model", 5)
    expected = with_quantised_cache(learnt)
    assert expected.values.low < 50 < expected.values.high <= 110
    assert (expected.basis, expected.count) == ("this machine", 5)
    assert with_quantised_cache(Rate(Range(1.0, 2.0), "nothing")).basis == "nothing"


@pytest.mark.parametrize(
    "name, bandwidth",
    [
        ("NVIDIA H100 80GB HBM3", 3.35e12),
        ("NVIDIA H100 PCIe", 2.0e12),
        ("NVIDIA GeForce RTX 4090", 1.008e12),
        ("Apple M2 Max", 0.4e12),
        ("Apple M2", 0.1e12),
        ("NVIDIA L40S", 0.864e12),
        ("A card of tomorrow", 0.0),
    ],
)
def test_gpus_are_known_by_name(name, bandwidth):
    assert speed.gpu_bandwidth(name) == bandwidth


def test_the_middle_of_a_range_of_rates_is_geometric():
    assert Range(10, 40).middle == pytest.approx(20)
    assert Range(0, 40).middle == 20
    assert Range(10, 40).over(400) == Range(10, 40)


def test_experts_that_are_not_asked_are_not_read():
    layer = Layer(100, experts=80, k=1, v=1)
    mixture = Shape("m", (layer,), output=10, experts=8, experts_used=2)
    assert mixture.read_per_token == 20 + 20 + 10
