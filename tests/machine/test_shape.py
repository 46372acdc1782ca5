"""The shape of a model from its header, by the rules of llama.cpp."""

from __future__ import annotations

import pytest

from inhouse.core.models import Card, Footprint, ModelName
from inhouse.machine.shape import Tensor, shape_of, shape_of_card


def header(arch: str, **values: object) -> dict[str, object]:
    named = {"block_count": 12, "embedding_length": 1024, "attention.head_count": 16, **values}
    return {"general.architecture": arch} | {f"{arch}.{key}": value for key, value in named.items()}


def shape(arch: str, **values: object):
    return shape_of(header(arch, **values), ())


def windows(arch: str, **values: object) -> list[int]:
    return [layer.window for layer in shape(arch, **values).layers]


def test_every_layer_keeps_the_keys_and_values_of_its_groups():
    found = shape("llama", **{"attention.head_count_kv": 4})
    assert len(found.layers) == 12
    assert {(layer.k, layer.v) for layer in found.layers} == {(256, 256)}


def test_heads_without_groups_keep_everything():
    assert shape("llama").layers[0].k == 1024


def test_heads_may_differ_by_layer():
    kv = [4, 0, 2] + [1] * 9
    found = shape("deci", **{"attention.head_count_kv": kv})
    assert [layer.k for layer in found.layers[:3]] == [256, 0, 128]


def test_lengths_of_keys_and_values_may_be_named():
    lengths = {"attention.head_count_kv": 1, "attention.key_length": 256, "attention.value_length": 128}
    found = shape("gemma3", **lengths)
    assert (found.layers[0].k, found.layers[0].v) == (256, 128)


@pytest.mark.parametrize(
    "arch, full",
    [
        ("gemma3", {5, 11}),
        ("gemma2", {1, 3, 5, 7, 9, 11}),
        ("gpt-oss", {1, 3, 5, 7, 9, 11}),
        ("cohere2", {3, 7, 11}),
    ],
)
def test_an_architecture_knows_which_layers_see_the_whole_context(arch, full):
    found = windows(arch, **{"attention.sliding_window": 512})
    assert {n for n, window in enumerate(found) if not window} == full
    assert set(found) == {0, 512}


def test_some_see_all_in_the_first_layer_of_a_group():
    found = windows("smallthinker", **{"attention.sliding_window": 512})
    assert [n for n, window in enumerate(found) if not window] == [0, 4, 8]


def test_a_header_may_name_the_layers_with_a_window():
    named = [True, False] * 6
    found = windows("gemma3", **{"attention.sliding_window": 512, "attention.sliding_window_pattern": named})
    assert found == [512, 0] * 6


def test_a_header_may_name_every_how_many_layers():
    pattern = {"attention.sliding_window": 512, "attention.sliding_window_pattern": 3}
    assert windows("olmo2", **pattern) == [512, 512, 0] * 4


@pytest.mark.parametrize("arch", ["phi3", "llama"])
def test_a_window_that_the_engine_does_not_use_is_none(arch):
    assert set(windows(arch, **{"attention.sliding_window": 512})) == {0}


def test_windowed_layers_may_have_smaller_heads():
    found = shape(
        "gemma3",
        **{
            "attention.head_count_kv": 1,
            "attention.key_length": 512,
            "attention.value_length": 512,
            "attention.key_length_swa": 256,
            "attention.value_length_swa": 256,
            "attention.sliding_window": 1024,
        },
    )
    assert (found.layers[0].k, found.layers[5].k) == (256, 512)


def test_layers_that_share_a_cache_keep_none_of_their_own():
    found = shape("gemma4", **{"attention.shared_kv_layers": 4})
    assert [bool(layer.k) for layer in found.layers] == [True] * 8 + [False] * 4


def test_a_latent_cache_has_keys_only():
    found = shape(
        "deepseek2",
        **{
            "attention.head_count_kv": 1,
            "attention.key_length": 576,
            "attention.value_length": 512,
            "attention.key_length_mla": 192,
            "attention.value_length_mla": 128,
            "attention.kv_lora_rank": 512,
        },
    )
    assert (found.layers[0].k, found.layers[0].v) == (576, 0)


def test_a_recurrent_model_keeps_a_state_and_no_tokens():
    ssm = {"ssm.conv_kernel": 4, "ssm.inner_size": 2048, "ssm.state_size": 16}
    found = shape("mamba", **ssm)
    assert {layer.k for layer in found.layers} == {0}
    assert found.layers[0].state == 4 * (3 * (2048 + 0) + 16 * 2048)


def test_a_hybrid_keeps_a_state_where_it_does_not_attend():
    ssm = {"ssm.conv_kernel": 4, "ssm.inner_size": 2048, "ssm.state_size": 128, "ssm.group_count": 2}
    found = shape("granitehybrid", **ssm, **{"attention.head_count_kv": [0, 0, 4] * 4})
    assert [bool(layer.state) for layer in found.layers[:3]] == [True, True, False]
    assert [layer.k for layer in found.layers[:3]] == [0, 0, 256]


def test_every_fourth_layer_of_qwen3next_attends():
    ssm = {"ssm.conv_kernel": 4, "ssm.inner_size": 2048, "ssm.state_size": 128}
    found = shape("qwen3next", **ssm, **{"attention.head_count_kv": 2})
    assert [n for n, layer in enumerate(found.layers) if layer.k] == [3, 7, 11]
    assert [n for n, layer in enumerate(found.layers) if layer.state] == [0, 1, 2, 4, 5, 6, 8, 9, 10]


def test_a_layer_that_predicts_further_tokens_keeps_nothing():
    found = shape("glm4moe", **{"nextn_predict_layers": 1})
    assert [bool(layer.k) for layer in found.layers] == [True] * 11 + [False]


def test_what_reads_both_ways_keeps_nothing():
    assert {layer.k for layer in shape("bert", **{"attention.causal": False}).layers} == {0}


TENSORS = (
    Tensor("token_embd.weight", (1024, 32_000), "Q6_K", 26_880_000),
    Tensor("output_norm.weight", (1024,), "F32", 4096),
    Tensor("blk.0.attn_q.weight", (1024, 1024), "Q4_K", 589_824),
    Tensor("blk.0.attn_norm.weight", (1024,), "F32", 4096),
    Tensor("blk.1.ffn_up_exps.weight", (1024, 512, 8), "Q4_K", 2_359_296),
    Tensor("blk.1.odd.weight", (1024, 9), "Q4_K", 5184),
)


def test_tensors_are_counted_by_what_they_are_for():
    found = shape_of(header("llama", expert_count=8, expert_used_count=2), TENSORS)
    assert found.weights == sum(tensor.size for tensor in TENSORS)
    assert found.layers[0].weights == 589_824 + 4096
    assert found.layers[1].experts == 2_359_296
    assert found.vocabulary == 32_000
    read = found.weights - 2_359_296 * 6 // 8
    assert found.read_per_token == read


def test_matrices_are_what_is_multiplied_with_in_rows_of_eight():
    found = shape_of(header("llama"), TENSORS)
    assert found.matrices == {"Q4_K": 589_824 + 2_359_296, "Q6_K": 26_880_000}  # the embedding is tied


def test_an_embedding_with_an_output_beside_it_is_only_looked_up():
    output = Tensor("output.weight", (1024, 32_000), "Q8_0", 34_816_000)
    found = shape_of(header("llama"), (*TENSORS, output))
    assert "Q6_K" not in found.matrices
    assert found.matrices["Q8_0"] == 34_816_000
    assert found.read_per_token == found.weights - found.embedding


def card(**more: object) -> Card:
    return Card(ModelName.parse("m"), "", "", "", 1, Footprint(1200, 400), **more)  # type: ignore[arg-type]


def test_a_card_without_a_header_has_what_its_footprint_says():
    found = shape_of_card(card())
    assert not found.known
    assert found.weights == 1200
    assert sum(layer.k + layer.v for layer in found.layers) * 2 == 400


def test_a_card_without_tensors_has_its_weights_spread_over_its_layers():
    found = shape_of_card(card(metadata=header("llama")))
    assert found.known
    assert found.weights == 1200
    assert {layer.weights for layer in found.layers} == {100}


@pytest.mark.parametrize("bad", [-1, "many", None, 2.5, [], ["x"], True])
def test_odd_values_do_not_break_the_shape(bad):
    keys = ("attention.head_count_kv", "attention.sliding_window", "ssm.inner_size", "nextn_predict_layers")
    found = shape("gemma3", **dict.fromkeys(keys, bad))
    assert len(found.layers) == 12
