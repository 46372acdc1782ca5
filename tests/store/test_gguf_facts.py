"""What a manifest keeps of a model: quantisation mix, tokenizer, template, pooling; and its ceilings."""

from __future__ import annotations

import hashlib
import math
import os
import re
import struct
from pathlib import Path

import msgspec
import pytest

from inhouse.core.errors import BadRequest
from inhouse.store import gguf, gguf_model
from inhouse.store.gguf_facts import Facts, inspect
from support import tiny_gguf as tiny
from support.tiny_gguf import (
    ARRAY,
    F32,
    I32,
    STRING,
    U8,
    U32,
    Tensor,
    array,
    f32,
    flag,
    llama,
    string,
    u32,
    u64,
)


@pytest.fixture
def facts_of(tmp_path):
    def read(changes: dict[str, bytes | None] | None = None, **parts) -> Facts:
        return inspect(llama(changes, **parts).write(tmp_path / "model.gguf"))

    return read


@pytest.fixture
def refusal(facts_of):
    def read(changes: dict[str, bytes | None], **parts) -> str:
        with pytest.raises(BadRequest) as caught:
            facts_of(changes, **parts)
        assert caught.value.hint
        assert re.search(r"\(at byte \d+\)$", caught.value.message)
        return caught.value.message

    return read


def test_the_mix_is_bytes_by_type_the_largest_first(facts_of):
    mix = facts_of().mix
    assert mix == {"F32": 32 * 16 * 4 + 32 * 4, "Q4_1": 2 * 32 * 32 // 32 * 20}
    assert list(mix) == ["F32", "Q4_1"]
    more = (Tensor("a", (32, 1024), type=8), Tensor("output_norm.weight", (32,)))
    assert list(facts_of(tensors=more).mix) == ["Q8_0", "F32"]


def test_the_tokenizer_is_named_with_its_pre_tokenizer(facts_of):
    assert facts_of().tokenizer == "gpt2"
    assert facts_of({"tokenizer.ggml.pre": string("qwen2")}).tokenizer == "gpt2/qwen2"


@pytest.mark.parametrize(
    "changes",
    [
        {"tokenizer.ggml.tokens": array(STRING, ["<pad>", *tiny.TOKENS[1:]])},
        {"tokenizer.ggml.merges": array(STRING, ["t 1", "t 3"])},
        {"tokenizer.ggml.merges": None},
        {"tokenizer.ggml.token_type": array(I32, [3] * 16)},
        {"tokenizer.ggml.scores": array(F32, [0.0] * 16)},
        {"tokenizer.ggml.eos_token_id": u32(3)},
        {"tokenizer.ggml.pre": string("qwen2")},
    ],
)
def test_another_tokenizer_has_another_digest(facts_of, changes):
    assert facts_of(changes).tokenizer_sha256 != facts_of().tokenizer_sha256


def test_the_tokenizers_digest_does_not_depend_on_anything_else(facts_of, tmp_path):
    turned = llama(version=2, tensors=(Tensor("token_embd.weight", (32, 16)),))
    turned = tiny.Tiny(dict(reversed(turned.pairs.items())), turned.tensors)
    other = inspect(turned.write(tmp_path / "turned.gguf"))
    assert other.tokenizer_sha256 == facts_of({"llama.context_length": u32(512)}).tokenizer_sha256
    assert re.fullmatch("[0-9a-f]{64}", other.tokenizer_sha256)


def test_the_template_has_a_digest(facts_of):
    assert facts_of().template_sha256 == hashlib.sha256(tiny.CHATML.encode()).hexdigest()
    assert facts_of({"tokenizer.chat_template": None}).template_sha256 == ""


@pytest.mark.parametrize(
    "code, pooling, capability",
    [
        (0, "none", "embedding"),
        (1, "mean", "embedding"),
        (2, "cls", "embedding"),
        (3, "last", "embedding"),
        (4, "rank", "rerank"),
    ],
)
def test_a_model_that_pools_embeds_or_ranks(facts_of, code, pooling, capability):
    facts = facts_of({"llama.pooling_type": u32(code)})
    assert (facts.pooling, facts.capabilities) == (pooling, (capability,))


def test_a_model_that_does_not_pool_says_so(facts_of):
    assert facts_of().pooling == ""


def test_manifests_from_before_the_newer_facts_still_decode():
    old = {"architecture": "llama", "parameters": 1, "quantization": "F16", "context_length": 1}
    old |= {"embedding_length": 1, "block_count": 1, "kv_per_token": 1, "vocabulary": 1}
    facts = msgspec.convert(old, Facts)
    assert (facts.mix, facts.tokenizer, facts.pooling) == ({}, "", "")


# -- what an engine reads by index ------------------------------------------------------------


@pytest.mark.parametrize(
    "key, value, reason",
    [
        ("tokenizer.ggml.scores", array(F32, [0.0] * 15), "has 15 entries for 16 tokens"),
        ("tokenizer.ggml.scores", array(U8, [0] * 16), "right type"),
        ("tokenizer.ggml.scores", string("high"), "right type"),
        ("tokenizer.ggml.scores", array(STRING, ["x"] * 16), "right type"),
        ("tokenizer.ggml.token_type", array(U8, [1] * 16), "right type"),
        ("tokenizer.ggml.token_type", array(STRING, ["x"] * 16), "right type"),
        ("tokenizer.ggml.token_type", u32(1), "right type"),
        ("tokenizer.ggml.merges", array(U32, [1]), "array of texts"),
        ("tokenizer.ggml.merges", string("t 1"), "array of texts"),
        ("tokenizer.ggml.precompiled_charsmap", array(U32, [1]), "array of bytes"),
        ("tokenizer.ggml.precompiled_charsmap", string("x"), "array of bytes"),
        ("tokenizer.ggml.model", None, "no tokenizer"),
        ("tokenizer.ggml.model", u32(1), "not a text"),
    ],
)
def test_arrays_beside_the_tokens_must_fit(refusal, key, value, reason):
    message = refusal({key: value})
    assert f"'{key}'" in message
    assert reason in message


def test_arrays_that_fit_are_let_pass(facts_of):
    facts = facts_of(
        {
            "tokenizer.ggml.scores": array(F32, [0.0] * 16),
            "tokenizer.ggml.token_type": array(U32, tiny.TYPES),
            "tokenizer.ggml.precompiled_charsmap": array(U8, [1, 2, 3]),
        }
    )
    assert facts.control_tokens == ("<|im_start|>", "<|im_end|>")


def test_control_tokens_are_found_at_whole_numbers_only(facts_of):
    types = [1, 3, 3 << 8, 3 << 16, 3 << 24, *([1] * 10), 3]
    facts = facts_of({"tokenizer.ggml.token_type": array(U32, types)})
    assert facts.control_tokens == ("<|im_start|>", tiny.TOKENS[15])


# -- hyper-parameters -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key, value",
    [
        ("attention.layer_norm_rms_epsilon", f32(math.nan)),
        ("attention.layer_norm_rms_epsilon", f32(-1.0)),
        ("attention.sliding_window", u32(2**32 - 1)),
        ("expert_count", u32(2**31)),
        ("expert_count", array(U32, [8, 2**31])),
        ("expert_used_count", u32(9)),
        ("expert_group_count", u32(3)),
        ("feed_forward_length", u32(2**31)),
        ("feed_forward_length", f32(64.0)),
        ("feed_forward_length", array(F32, [64.0, 64.0])),
        ("pooling_type", u32(5)),
        ("rope.dimension_count", u32(2**31)),
        ("rope.freq_base_swa", f32(math.inf)),
        ("rope.freq_base", array(STRING, ["x"])),
        ("rope.scaling.yarn_ext_factor", f32(math.nan)),
        ("attention.max_alibi_bias", tiny.typed(tiny.F64, tiny.number(tiny.F64, -math.inf))),
        ("shortconv.l_cache", u32(0)),
        ("ssm.conv_kernel", u32(0)),
        ("ssm.inner_size", u32(0)),
        ("ssm.state_size", u32(2**32 - 1)),
        ("ssm.time_step_rank", u32(0)),
        ("wkv.head_size", u32(0)),
        ("anything.else", u64(2**32)),
        ("anything.more", u64(2**64 - 1)),
        ("attention.key_length", u32(2**31)),
        ("attention.head_count", array(U32, [4] * 70_000)),
    ],
)
def test_numbers_that_break_engines_are_refused_naming_the_field(refusal, key, value):
    changes = {"llama.expert_count": u32(8)} if key.startswith("expert_") else {}
    assert f"'llama.{key}'" in refusal({**changes, f"llama.{key}": value})


@pytest.mark.parametrize(
    "changes",
    [
        {"llama.expert_count": u32(8), "llama.expert_used_count": u32(8), "llama.expert_group_count": u32(4)},
        {"llama.feed_forward_length": array(U32, [64, 0])},
        {"llama.ssm.group_count": u32(0)},
        {"llama.rope.scaling.factor": f32(8.0)},
        {"llama.attention.sliding_window": u32(0)},
        {"llama.attention.layer_norm_rms_epsilon": f32(0.0)},
        {"qwen2.expert_count": u64(2**63)},
    ],
)
def test_sound_numbers_and_those_of_other_architectures_are_let_pass(facts_of, changes):
    assert facts_of(changes).architecture == "llama"


# -- ceilings of texts ------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["tokenizer.chat_template", "general.license"])
def test_texts_that_are_kept_whole_have_a_ceiling(facts_of, refusal, key):
    assert facts_of({key: string("x" * 2**20)}).architecture == "llama"
    message = refusal({key: string("x" * (2**20 + 1))})
    assert f"'{key}' claims 1048577 bytes, at most 1048576" in message


def test_other_texts_are_cut_for_showing(facts_of):
    metadata = facts_of({"x.long": string("é" * 2**20), "x.fits": string("x" * 2**16)}).metadata
    assert metadata["x.long"] == "é" * 2**15 + "…"
    assert metadata["x.fits"] == "x" * 2**16


def test_a_cut_inside_a_character_leaves_no_half(facts_of):
    assert facts_of({"x.long": string("x" + "é" * 2**16)}).metadata["x.long"].endswith("é…")


def test_all_texts_together_have_a_ceiling(refusal):
    assert "'x.63': all texts together exceed 4 MiB" in refusal(
        {f"x.{number}": string("x" * 2**16) for number in range(65)}
    )


def test_arrays_that_are_shown_have_a_ceiling_together(facts_of):
    metadata = facts_of({f"x.{number}": array(STRING, ["x" * 2**14] * 32) for number in range(4)}).metadata
    shown = [metadata[f"x.{number}"] is not None for number in range(4)]
    assert shown == [True, False, False, False]


def test_numbers_that_json_does_not_know_are_not_shown(facts_of):
    metadata = facts_of({"x.array": array(F32, [1.0, math.nan]), "x.number": f32(math.inf)}).metadata
    assert metadata["x.array"] == [1.0, None]
    assert metadata["x.number"] is None


def test_strings_in_arrays_have_a_ceiling(refusal):
    assert "has a string of 65537 bytes" in refusal({"x.tags": array(STRING, ["x", "y" * (2**16 + 1)])})


def test_a_token_of_a_million_characters_is_refused(refusal):
    tokens = array(STRING, [*tiny.TOKENS[:15], "x" * 2**20])
    assert "'tokenizer.ggml.tokens' has a string of 1048576 bytes" in refusal(
        {"tokenizer.ggml.tokens": tokens}
    )


def test_a_string_that_leaves_the_file_is_refused_at_its_own_place(refusal, tmp_path):
    whole = llama({"x.tags": tiny.typed(ARRAY, struct.pack("<IQQ", STRING, 2, 2**15))}, tensors=()).build()
    message = refusal({"x.tags": tiny.typed(ARRAY, struct.pack("<IQQ", STRING, 2, 2**15))}, tensors=())
    at = int(re.search(r"at byte (\d+)", message)[1])
    assert "has a string that runs past the end of the file" in message
    assert whole[at : at + 8] == struct.pack("<Q", 2**15)


def test_a_vocabulary_has_a_ceiling(refusal, monkeypatch):
    monkeypatch.setattr("inhouse.store.gguf_vocabulary.VOCABULARY_CEILING", 15)
    assert "has 16 tokens, at most 15" in refusal({})


def test_control_tokens_have_a_ceiling_of_bytes(refusal):
    tokens = array(STRING, ["x" * 2**16] * 17)
    types = array(I32, [3] * 17)
    changes = {"tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": types}
    message = refusal(changes, tensors=(Tensor("output_norm.weight", (32,)),))
    assert "marks too many control tokens" in message


def test_keys_are_plain_ascii(refusal):
    raw = tiny.text("gèneral.name") + u32(1)
    assert "a key is empty or has forbidden characters" in refusal({}, extra=raw, pair_count=21)


def test_tensor_names_are_plain_ascii(refusal):
    assert "forbidden characters" in refusal({}, tensors=(Tensor("ténsor", (32,)),))


def test_the_ceilings_leave_room_for_every_model_known():
    """Gemma 3 has 262,144 tokens and 514,906 merges; DeepSeek V3 has 1,100 tensors."""
    assert gguf.TENSORS_CEILING > 10_000
    assert gguf.PAIRS_CEILING > 1_000
    assert gguf_model.TEMPLATE_CEILING > 2**18


def test_a_tensor_whose_data_leaves_the_file_is_named(refusal):
    tensors = [Tensor("a", (32,)), Tensor("b", (32, 2**20), data=b""), Tensor("c", (32,), offset=128 + 2**27)]
    assert "the data of tensor 'b' runs past the end" in refusal({}, tensors=tensors)


def test_version_1_in_the_other_byte_order_is_big_endian(tmp_path):
    path = llama(version=1, order=">").write(tmp_path / "x")
    with pytest.raises(BadRequest, match="big-endian"):
        inspect(path)


@pytest.mark.parametrize("key", ["tokenizer.ggml.add_bos_token", "llama.attention.causal"])
@pytest.mark.parametrize("value", [u32(1), string("yes"), f32(1.0)])
def test_flags_must_be_flags(refusal, key, value):
    assert f"'{key}' is neither true nor false" in refusal({key: value})


def test_a_flag_of_255_is_no_flag(refusal):
    assert "'x.flag' is neither true nor false" in refusal({"x.flag": flag(255)})


# -- what is no file --------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_named_pipe_is_refused_without_waiting(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(BadRequest, match="regular file"):
        inspect(path)


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="no such devices here")
@pytest.mark.parametrize("device", ["/dev/zero", "/dev/random", "/dev/null"])
def test_a_device_is_refused(device):
    with pytest.raises(BadRequest, match="regular file"):
        inspect(Path(device))
