"""Projectors, LoRA adapters and drafts: what they are, and whether they fit the model."""

from __future__ import annotations

import math
import re
import struct

import pytest

from inhouse.core.errors import BadRequest, StoreError, Unsupported
from inhouse.store.gguf_facts import (
    inspect,
    inspect_adapter,
    inspect_draft,
    inspect_projector,
    kind_of,
    tensors,
)
from support import tiny_gguf as tiny
from support.tiny_gguf import (
    F32,
    LORA,
    STRING,
    U32,
    Tensor,
    adapter,
    array,
    f32,
    flag,
    llama,
    projector,
    string,
    u32,
)


@pytest.fixture
def put(tmp_path):
    def write(file: tiny.Tiny, name: str = "file.gguf"):
        return file.write(tmp_path / name)

    return write


@pytest.fixture
def base(put):
    return inspect(put(llama(), "base.gguf"))


@pytest.mark.parametrize(
    "file, kind",
    [
        (llama(), "model"),
        (tiny.split()[0], "model"),
        (tiny.split()[2], "model"),
        (projector(), "projector"),
        (projector({"general.type": None}), "projector"),
        (adapter(), "adapter"),
        (llama({"general.type": string("imatrix")}), "imatrix"),
        (tiny.Tiny({"imatrix.datasets": array(STRING, ["x"])}, LORA), "imatrix"),
        (llama(tensors=()), "vocab"),
        (tiny.Tiny({"general.architecture": string("flux")}, LORA), "other"),
        (tiny.Tiny({"general.architecture": string("flux")}), "other"),
        (llama({"general.type": string("dataset")}), "other"),
    ],
)
def test_a_file_says_what_it_is_for(put, file, kind):
    assert kind_of(put(file)) == kind


@pytest.mark.parametrize("data", [b"", b"GGUF", b"\x80\x04K\x01.", b"PK\x03\x04" + bytes(60)])
def test_what_is_no_gguf_file_has_no_kind(tmp_path, data):
    path = tmp_path / "x.gguf"
    path.write_bytes(data)
    with pytest.raises(BadRequest, match="at byte"):
        kind_of(path)


def test_a_missing_file_has_no_kind(tmp_path):
    with pytest.raises(StoreError):
        kind_of(tmp_path / "nothing.gguf")


# -- projectors -------------------------------------------------------------------------------


def test_a_vision_projector_is_shown(put):
    metadata, capabilities = inspect_projector(put(projector()))
    assert capabilities == ("vision",)
    assert metadata["clip.projector_type"] == "gemma3"
    assert metadata["clip.vision.image_mean"] == [0.5, 0.5, 0.5]
    assert metadata["general.parameter_count"] == 32 * 32


@pytest.mark.parametrize(
    "changes, capabilities",
    [
        ({"clip.has_vision_encoder": None}, ("vision",)),
        ({"clip.has_audio_encoder": flag(1)}, ("vision", "audio")),
        ({"clip.has_vision_encoder": flag(0), "clip.has_audio_encoder": flag(1)}, ("audio",)),
        ({"clip.audio.block_count": u32(1), "clip.audio.num_mel_bins": u32(128)}, ("vision", "audio")),
    ],
)
def test_a_projector_says_what_it_lets_a_model_take_in(put, changes, capabilities):
    assert inspect_projector(put(projector(changes))).capabilities == capabilities


@pytest.mark.parametrize(
    "key, value",
    [
        ("clip.has_vision_encoder", flag(0)),
        ("clip.has_vision_encoder", u32(1)),
        ("clip.vision.patch_size", u32(0)),
        ("clip.vision.patch_size", u32(2**31)),
        ("clip.vision.image_size", u32(0)),
        ("clip.vision.image_size", u32(2**32 - 1)),
        ("clip.vision.block_count", u32(2**31)),
        ("clip.vision.embedding_length", u32(0)),
        ("clip.vision.attention.head_count", u32(0)),
        ("clip.vision.attention.head_count", u32(5)),
        ("clip.vision.attention.layer_norm_epsilon", f32(math.nan)),
        ("clip.vision.image_std", array(F32, [0.5, 0.0, 0.5])),
        ("clip.vision.image_mean", array(F32, [math.inf] * 3)),
        ("clip.vision.image_mean", string("grey")),
        ("clip.vision.image_mean", array(F32, [0.5] * 70_000)),
    ],
)
def test_bad_projectors_are_refused_naming_the_field(put, key, value):
    with pytest.raises(BadRequest, match=re.escape(f"'{key}'")) as caught:
        inspect_projector(put(projector({key: value})))
    assert "at byte" in caught.value.message


def test_a_projector_without_tensors_is_refused(put):
    with pytest.raises(BadRequest, match="0 tensors"):
        inspect_projector(put(projector(tensors=())))


def test_a_model_is_no_projector(put):
    with pytest.raises(Unsupported, match="not a projector"):
        inspect_projector(put(llama()))


# -- adapters ---------------------------------------------------------------------------------


def test_an_adapter_is_shown(put, base):
    facts = inspect_adapter(put(adapter()), base)
    assert (facts.architecture, facts.rank, facts.alpha, facts.pairs) == ("llama", 4, 8.0, 2)
    assert facts.parameters == 32 * 4 + 4 * 32 + 4 * 16 + 4 * 32
    assert facts.metadata["adapter.type"] == "lora"


def test_an_adapter_without_alpha_has_none(put, base):
    assert inspect_adapter(put(adapter({"adapter.lora.alpha": None})), base).alpha == 0.0


def test_an_adapter_is_held_against_the_tensors_of_the_model(put, base):
    rows = tensors([put(llama(), "base.gguf")])
    assert inspect_adapter(put(adapter()), base, rows).pairs == 2


@pytest.mark.parametrize(
    "pair, reason",
    [
        (("blk.9.attn_q.weight", (32, 4), (4, 32)), "no tensor 'blk.9.attn_q.weight'"),
        (("blk.0.attn_q.weight", (64, 4), (4, 32)), "is [32, 32], the adapter is for [64, 32]"),
        (("blk.0.attn_q.weight", (32, 4), (4, 64)), "is [32, 32], the adapter is for [32, 64]"),
        (("token_embd.weight", (4, 17), (4, 32)), "is [32, 16], the adapter is for [32, 17]"),
    ],
)
def test_an_adapter_of_another_model_is_refused(put, base, pair, reason):
    name, a, b = pair
    rows = tensors([put(llama(), "base.gguf")])
    file = adapter(tensors=(Tensor(f"{name}.lora_a", a), Tensor(f"{name}.lora_b", b)))
    with pytest.raises(Unsupported, match=re.escape(reason)):
        inspect_adapter(put(file), base, rows)


@pytest.mark.parametrize(
    "tensor_list, reason",
    [
        (LORA[:1], "only one of"),
        ((), "no LoRA tensors"),
        ((Tensor("output_norm.weight", (32,)),), "no LoRA tensors"),
        ((*LORA, Tensor("blk.0.attn_q.weight", (32, 32))), "not of a LoRA adapter"),
        ((Tensor("x.lora_a", (32, 4)), Tensor("x.lora_b", (5, 32))), "do not fit each other"),
        ((Tensor("x.lora_a", (32, 4, 2)), Tensor("x.lora_b", (4, 32, 3))), "do not fit each other"),
        ((Tensor("x.lora_a", (32,)), Tensor("x.lora_b", (4, 32))), "not two matrices"),
    ],
)
def test_pairs_that_do_not_fit_are_refused(put, base, tensor_list, reason):
    with pytest.raises(BadRequest, match=reason) as caught:
        inspect_adapter(put(adapter(tensors=tensor_list)), base)
    assert "at byte" in caught.value.message


def test_norms_beside_the_pairs_are_let_pass(put, base):
    file = adapter(tensors=(*LORA, Tensor("blk.0.attn_norm.weight", (32,))))
    assert inspect_adapter(put(file), base).pairs == 2


@pytest.mark.parametrize(
    "alpha", [f32(math.nan), f32(math.inf), f32(-1.0), string("8"), array(F32, [1.0, 2.0])]
)
def test_a_bad_alpha_is_refused(put, base, alpha):
    with pytest.raises(BadRequest, match=re.escape("'adapter.lora.alpha'")):
        inspect_adapter(put(adapter({"adapter.lora.alpha": alpha})), base)


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"general.architecture": string("qwen2")}, "made for qwen2, the model is llama"),
        ({"general.type": string("model")}, "not a LoRA adapter"),
        ({"adapter.type": string("control_vector")}, "not a LoRA adapter"),
    ],
)
def test_what_is_no_adapter_for_the_model_is_refused(put, base, changes, reason):
    with pytest.raises(Unsupported, match=reason):
        inspect_adapter(put(adapter(changes)), base)


# -- drafts -----------------------------------------------------------------------------------


def words(count: int) -> dict[str, bytes]:
    return {
        "tokenizer.ggml.tokens": array(STRING, [*tiny.TOKENS, *(f"w{n}" for n in range(count - 16))]),
        "tokenizer.ggml.token_type": None,
    }


NORM = (Tensor("output_norm.weight", (32,)),)


def test_a_model_of_the_same_tokens_can_draft(put, base):
    assert inspect_draft(put(llama({"llama.block_count": u32(1)})), base).block_count == 1


def test_padding_of_the_vocabulary_does_not_matter(put, base):
    assert inspect_draft(put(llama(words(16 + 128), tensors=NORM)), base).vocabulary == 144


@pytest.mark.parametrize(
    "file, reason",
    [
        (llama({"tokenizer.ggml.model": string("llama")}), "its tokenizer is llama, that of the model gpt2"),
        (llama({"tokenizer.ggml.pre": string("qwen2")}), "its tokenizer is gpt2/qwen2"),
        (llama(words(16 + 129), tensors=NORM), "it knows 145 tokens, the model 16"),
        (llama({"llama.pooling_type": u32(1)}), "does not generate"),
    ],
)
def test_a_model_of_other_tokens_cannot_draft(put, base, file, reason):
    with pytest.raises(Unsupported, match=reason):
        inspect_draft(put(file), base)


def test_a_hostile_draft_is_refused(put, base):
    file = llama({"x.lie": tiny.typed(tiny.ARRAY, struct.pack("<IQ", U32, 2**63))})
    with pytest.raises(BadRequest, match="at byte"):
        inspect_draft(put(file), base)
