"""Sizes in other quantisations, held against what llama-quantize itself says (--dry-run, b11434)."""

from __future__ import annotations

import pytest

from inhouse.machine.shape import Tensor
from inhouse.planning import known
from inhouse.planning.mixes import BASES, COMPARED, Facts, bytes_of, quantised

MIB = 2**20

SMOLLM2 = {
    "F16": 256.63, "Q8_0": 136.40, "Q6_K": 130.27, "Q5_K_M": 105.21, "Q5_K_S": 103.18, "Q4_K_M": 98.87,
    "Q4_K_S": 95.61, "IQ4_XS": 85.38, "Q4_0": 85.77, "Q3_K_L": 91.31, "Q3_K_M": 87.48, "Q3_K_S": 82.41,
    "Q2_K": 82.41,
}  # fmt: skip
CODER = {
    "F16": 1202.09, "Q8_0": 638.74, "Q6_K": 614.58, "Q5_K_M": 492.32, "Q5_K_S": 485.29, "Q4_K_M": 462.96,
    "Q4_K_S": 451.20, "IQ4_XS": 402.52, "Q4_0": 403.20, "Q3_K_L": 419.60, "Q3_K_M": 406.35, "Q3_K_S": 389.95,
    "Q2_K": 390.28,
}  # fmt: skip


def model(parameters: int) -> known.Known:
    found = known.find(parameters)
    assert found is not None
    return found


def size(tensors: list[Tensor]) -> float:
    return sum(tensor.size for tensor in tensors) / MIB


@pytest.mark.parametrize("kind, expected", SMOLLM2.items())
def test_rows_that_no_block_divides_get_the_type_that_llama_quantize_gives_them(kind, expected):
    smol = model(134_515_008)  # 576 wide
    assert size(quantised(smol.tensors, kind, smol.facts)) == pytest.approx(expected, abs=0.006)


@pytest.mark.parametrize("kind, expected", CODER.items())
def test_an_output_beside_the_embedding_is_counted_as_llama_quantize_does(kind, expected):
    coder = model(494_032_768)
    first = coder.tensors[0]
    output = Tensor("output.weight", first.shape, "F16", first.size)
    facts = Facts(coder.facts.groups, 0, coder.facts.layers, tied=False)
    assert size(quantised((*coder.tensors, output), kind, facts)) == pytest.approx(expected, abs=0.006)


def types(kind: str, facts: Facts, *names: str, width: int = 4096) -> list[str]:
    tensors = [Tensor(name, (width, 4096), "F16", 0) for name in names]
    found = {tensor.name: tensor.type for tensor in quantised(tensors, kind, facts)}
    return [found[name] for name in names]


def test_vectors_routers_and_norms_stay_as_they_are():
    tensors = [
        Tensor("blk.0.attn_norm.weight", (4096,), "F32", 16_384),
        Tensor("blk.0.ffn_gate_inp.weight", (4096, 8), "F32", 131_072),
        Tensor("blk.0.attn_q.bias", (4096,), "F32", 16_384),
    ]
    assert sorted(quantised(tensors, "Q4_K_M", Facts()), key=lambda t: t.name) == sorted(
        tensors, key=lambda t: t.name
    )


def test_eight_experts_get_larger_keys_values_and_outputs():
    names = ("blk.0.attn_k.weight", "blk.0.attn_v.weight", "blk.0.attn_output.weight")
    assert types("Q4_K_M", Facts(4, 8, 32), *names) == ["Q8_0", "Q8_0", "Q5_K"]


def test_very_deep_models_get_more_bits_for_shared_values():
    names = [f"blk.{n}.attn_v.weight" for n in range(80)]
    assert set(types("Q4_K_M", Facts(8, 0, 80), *names)) == {"Q5_K", "Q6_K"}
    assert "Q4_K" in types("Q4_K_M", Facts(8, 0, 60), *names)


def test_fused_attention_gets_more_bits():
    assert types("Q4_K_M", Facts(1, 0, 32), "blk.9.attn_qkv.weight") == ["Q5_K"]
    assert types("Q5_K_M", Facts(1, 0, 32), "blk.9.attn_qkv.weight") == ["Q6_K"]


def test_rows_that_not_even_32_divides_stay_in_16_bits():
    assert types("Q4_K_M", Facts(1, 0, 32), "blk.0.attn_q.weight", width=100) == ["F16"]


def test_what_is_compared_goes_from_large_to_small_without_what_nobody_takes():
    assert set(COMPARED) < set(BASES)
    sizes = [bytes_of((4096, 4096), BASES[kind]) for kind in ("F16", "Q8_0", "Q6_K", "Q4_K_M", "Q2_K")]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("name", ["blk", "blk.weight", "ffn_down.weight", "blk.x.ffn_down.weight"])
def test_tensors_with_names_of_their_own_are_quantised_like_the_rest(name: str):
    own = Tensor(name if name.endswith("weight") else f"{name}.weight", (256, 256), "F16", 2 * 256 * 256)
    bare = Tensor(name, (256, 256), "F16", 2 * 256 * 256)
    for facts in (Facts(layers=2), Facts(experts=8, layers=2)):
        assert quantised([own], "Q4_K_M", facts)[0].size < own.size
        assert len(quantised([bare], "Q4_K_M", facts)) == 1
