"""Safetensors: headers that must add up, and the facts of a model folder read as data only."""

from __future__ import annotations

import json
import struct
import time
import tracemalloc
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inhouse.core.errors import BadRequest, StoreError, Unsupported
from inhouse.store import safetensors_header
from inhouse.store.safetensors import inspect_folder
from inhouse.store.safetensors_header import read_header, read_shards


def file(header: Any, data: int, *, length: int | None = None) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + bytes(data)


def entry(begin: int, end: int, shape: tuple[int, ...], dtype: str = "BF16") -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


WEIGHTS = {
    "__metadata__": {"format": "pt"},
    "model.embed_tokens.weight": entry(0, 1024, (16, 32)),
    "model.norm.weight": entry(1024, 1152, (32,), "F32"),
}
GOOD = file(WEIGHTS, 1152)
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "vocab_size": 16,
    "rope_theta": 10000.0,
}
SPOKEN = {
    "tokenizer_class": "Qwen2Tokenizer",
    "chat_template": "{{ messages }}{% if tools %}{% endif %}",
    "added_tokens_decoder": {
        "1": {"content": "<|im_start|>", "special": True},
        "2": {"content": "<|im_end|>", "special": True},
        "3": {"content": "<think>", "special": False},
    },
}


@pytest.fixture
def read(tmp_path):
    def one(data: bytes):
        path = tmp_path / "x.safetensors"
        path.write_bytes(data)
        return read_header(path)

    return one


@pytest.fixture
def folder(tmp_path):
    """Facts of a folder of files; None leaves one out."""

    def make(config: Any = CONFIG, **more: bytes | None):
        names = {
            "config.json": json.dumps(config).encode(),
            "model.safetensors": GOOD,
            "tokenizer_config.json": json.dumps(SPOKEN).encode(),
            "tokenizer.json": b"{}",
        }
        names |= {name.replace("__", "."): data for name, data in more.items()}  # type: ignore[misc]
        files = {}
        for name, data in names.items():
            if data is not None:
                files[name] = tmp_path / name.replace("/", "+")
                files[name].write_bytes(data)
        return inspect_folder(files)

    return make


# -- headers ----------------------------------------------------------------------------------


def test_a_header_gives_its_tensors_in_the_order_of_their_data(read):
    embed, norm = read(GOOD)
    assert (embed.name, embed.dtype, embed.shape, embed.size) == (
        "model.embed_tokens.weight",
        "BF16",
        (16, 32),
        1024,
    )
    assert (norm.begin, norm.end, norm.elements) == (1024, 1152, 32)


def test_scalars_and_empty_tensors_are_tensors(read):
    found = read(file({"a": entry(0, 0, (0, 4)), "b": entry(0, 2, ())}, 2))
    assert [tensor.elements for tensor in found] == [0, 1]


def test_sub_byte_types_are_known(read):
    assert read(file({"a": entry(0, 16, (32,), "F4")}, 16))[0].elements == 32


def header_with(**changes: Any) -> dict[str, Any]:
    return {"a": {**entry(0, 64, (32,)), **changes}}


@pytest.mark.parametrize(
    "data, reason",
    [
        (b"", "ends in its header"),
        (b"\x08\0\0", "ends in its header"),
        (file(WEIGHTS, 0, length=0), "claims 0 bytes"),
        (file(WEIGHTS, 0, length=2**31), "claims 2147483648 bytes"),
        (file(WEIGHTS, 0, length=2**63), "claims 9223372036854775808 bytes"),
        (file(WEIGHTS, 0, length=2**64 - 1), "claims 18446744073709551615 bytes"),
        (file(WEIGHTS, 0, length=5000), "claims 5000 bytes"),
        (GOOD[:-1], "lies at 1024..1152 of 1151"),
        (GOOD + b"x", "1 bytes belong to no tensor"),
        (file(b"[1,2]", 0), "not a JSON object"),
        (file(b'{"a":1}', 0), "not valid"),
        (file(b'{"a":NaN}', 0), "not valid"),
        (file(b"{" + b'"a":{' * 5000, 0), "not valid"),
        (file(b'{"a":{"x":' + b"[" * 100_000, 0), "not valid"),
        (file(b'{"\xff":{}}', 0), "not valid"),
        (file(b"{}", 0), "no tensors"),
        (file({"__metadata__": {}}, 0), "no tensors"),
        (file({"a": {"dtype": "F16", "shape": [1]}}, 2), "no offsets"),
        (file(b'{"a":%s,"a":%s}' % ((json.dumps(entry(0, 64, (32,))).encode(),) * 2), 64), "stands twice"),
        (file(header_with(dtype="F17"), 64), "unknown dtype 'F17'"),
        (file(header_with(dtype=None), 64), "not valid"),
        (file(header_with(shape=[-32]), 64), "impossible shape"),
        (file(header_with(shape=[2**62, 4]), 64), "impossible shape"),
        (file(header_with(shape=[2**70]), 64), "impossible shape"),
        (file(header_with(shape=[1.5]), 64), "impossible shape"),
        (file(header_with(shape=["x"]), 64), "impossible shape"),
        (file(header_with(shape=[1] * 1000), 64), "impossible shape"),
        (file(header_with(shape=[31]), 64), "has 64 bytes for its shape"),
        (file(header_with(data_offsets=[0, 65]), 64), "lies at 0..65"),
        (file(header_with(data_offsets=[64, 0]), 64), "lies at 64..0"),
        (file(header_with(data_offsets=[-64, 0]), 64), "lies at -64..0"),
        (file(header_with(data_offsets=[0, 2**64]), 64), "lies at 0.."),
        (file(header_with(data_offsets=[0, 1, 2]), 64), "not valid"),
        (file({"a": entry(8, 72, (32,))}, 72), "lies at 8, not at 0"),
        (file({"a": entry(0, 64, (32,)), "b": entry(32, 96, (32,))}, 96), "'b' lies at 32, not at 64"),
        (file({"a": entry(0, 64, (32,)), "b": entry(72, 136, (32,))}, 136), "'b' lies at 72, not at 64"),
        (file({"../x": entry(0, 64, (32,))}, 64), "forbidden characters"),
        (file({"a\0": entry(0, 64, (32,))}, 64), "forbidden characters"),
        (file({"": entry(0, 64, (32,))}, 64), "forbidden characters"),
        (b"\x80\x04\x95\x10\0\0\0\0\0\0\0\x8c\x05posix", "bytes"),
    ],
)
def test_headers_that_lie_are_refused_with_the_byte(read, data, reason):
    with pytest.raises(BadRequest, match=r"not a usable safetensors file: .* \(at byte \d+\)$") as caught:
        read(data)
    assert reason in caught.value.message
    assert caught.value.hint


def test_every_cut_is_refused(read):
    for length in range(len(GOOD)):
        with pytest.raises(BadRequest, match="at byte"):
            read(GOOD[:length])


def test_metadata_of_any_content_costs_nothing(read):
    notes = {f"key{number}": "{}, [" for number in range(5000)}
    assert len(read(file({"__metadata__": notes, **header_with()}, 64))) == 1


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":[' + b"{}," * (4 * 2**20) + b"{}]}",
        b'{"a":{"dtype":"F16","shape":[' + b"7," * (4 * 2**20) + b"7]}}",
        b"{" + b",".join(b'"%d":0' % n for n in range(600_000)) + b"}",
        b'{"a":{"b":[' + b"[],[" * 2**20 + b"]}}",
    ],
    ids=["objects", "numbers", "names", "lists"],
)
def test_a_huge_header_costs_little_memory_and_time(read, raw):
    data = file(raw, 0)
    tracemalloc.start()
    began = time.process_time()
    with pytest.raises(BadRequest, match="at byte"):
        read(data)
    spent, peak = time.process_time() - began, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert spent < 1.0
    assert peak < 64 * 2**20


def test_a_header_over_its_ceiling_is_refused(read):
    with pytest.raises(BadRequest, match="claims 16777218 bytes"):
        read(file(b"{" + b" " * 2**24 + b"}", 0))


@settings(max_examples=300, deadline=None)
@given(at=st.integers(0, len(GOOD) - 1), patch=st.binary(min_size=1, max_size=12), cut=st.integers(0, 12))
def test_any_patch_is_refused_or_adds_up(tmp_path_factory, at, patch, cut):
    path = tmp_path_factory.getbasetemp() / "patched.safetensors"
    data = GOOD[:at] + patch + GOOD[at + cut :]
    path.write_bytes(data)
    try:
        found = read_header(path)
    except BadRequest as error:
        assert "at byte" in error.message
    else:
        assert sum(tensor.size for tensor in found) < len(data)


def test_a_file_that_is_missing_is_a_store_error(tmp_path):
    with pytest.raises(StoreError):
        read_header(tmp_path / "nothing.safetensors")


# -- several files ----------------------------------------------------------------------------


def shards(folder: Path, *numbers: int) -> dict[str, Path]:
    out = {}
    for number in numbers:
        name = f"model-{number:05d}-of-00003.safetensors"
        out[name] = folder / name
        out[name].write_bytes(file({f"t{number}": entry(0, 64, (32,))}, 64))
    return out


def test_shards_are_one_model(tmp_path):
    assert [tensor.name for tensor in read_shards(shards(tmp_path, 1, 2, 3))] == ["t1", "t2", "t3"]


def test_missing_shards_are_named(tmp_path):
    with pytest.raises(Unsupported, match=r"lacks model-00002-of-00003\.safetensors\.") as caught:
        read_shards(shards(tmp_path, 1, 3))
    assert caught.value.hint


def test_many_missing_shards_are_counted(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(GOOD)
    with pytest.raises(Unsupported, match="and 96 more"):
        read_shards({"model-00001-of-00100.safetensors": path})
    with pytest.raises(BadRequest, match="claims 99999 parts"):
        read_shards({"model-00001-of-99999.safetensors": path})


def test_a_tensor_in_two_files_is_refused(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(GOOD)
    with pytest.raises(BadRequest, match="in two files"):
        read_shards({"a.safetensors": path, "b.safetensors": path})


def test_all_files_together_have_a_ceiling(tmp_path, monkeypatch):
    monkeypatch.setattr(safetensors_header, "TENSORS_CEILING", 2)
    with pytest.raises(BadRequest, match="more than 2 tensors"):
        read_shards(shards(tmp_path, 1, 2, 3))


# -- folders ----------------------------------------------------------------------------------


def test_facts_of_a_folder(folder):
    facts = folder()
    assert facts.architecture == "llama"
    assert facts.parameters == 16 * 32 + 32
    assert facts.quantization == "BF16"
    assert facts.mix == {"BF16": 1024, "F32": 128}
    assert (facts.context_length, facts.embedding_length, facts.block_count) == (256, 32, 2)
    assert facts.kv_per_token == 2 * 2 * 8 * 2 * 2  # layers, KV heads, head size, K and V, f16
    assert facts.vocabulary == 16
    assert facts.template == SPOKEN["chat_template"]
    assert facts.control_tokens == ("<|im_start|>", "<|im_end|>")
    assert facts.capabilities == ("completion", "chat", "tools")
    assert facts.tokenizer == "Qwen2Tokenizer"
    assert facts.metadata["rope_theta"] == 10000.0
    assert len(facts.template_sha256) == len(facts.tokenizer_sha256) == 64


def test_a_template_file_comes_before_the_settings(folder):
    assert folder(chat_template__jinja=b"{{ own }}").template == "{{ own }}"


def test_named_templates_give_the_default_one(folder):
    named = {"chat_template": [{"name": "default", "template": "D"}, {"name": "rag", "template": "R"}]}
    assert folder(tokenizer_config__json=json.dumps(named).encode()).template == "D"


def test_a_processors_template_is_the_last_resort(folder):
    facts = folder(tokenizer_config__json=b"{}", chat_template__json=b'{"chat_template": "P"}')
    assert facts.template == "P"
    assert folder(tokenizer_config__json=None).template == ""


@pytest.mark.parametrize(
    "changes, more, capabilities",
    [
        ({}, {"tokenizer_config__json": None}, {"completion"}),
        ({"architectures": ["GPT2LMHeadModel"]}, {}, {"completion", "chat", "tools"}),
        ({"architectures": ["BertModel"]}, {}, {"embedding"}),
        ({"architectures": None}, {}, {"embedding"}),
        ({}, {"modules__json": b"[]"}, {"embedding"}),
        ({"architectures": ["XLMRobertaForSequenceClassification"]}, {}, {"rerank"}),
        (
            {"architectures": ["Gemma3ForConditionalGeneration"], "vision_config": {}, "audio_config": {}},
            {},
            {"completion", "chat", "tools", "vision", "audio"},
        ),
    ],
)
def test_capabilities_follow_the_architecture(folder, changes, more, capabilities):
    assert set(folder({**CONFIG, **changes}, **more).capabilities) == capabilities


def test_the_text_part_of_a_model_of_several_kinds_counts(folder):
    inner = {key: CONFIG[key] for key in CONFIG if key not in ("architectures", "model_type")}
    config = {"architectures": CONFIG["architectures"], "model_type": "gemma3", "text_config": inner}
    assert folder(config).context_length == 256


def test_other_families_name_their_numbers_otherwise(folder):
    config = {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "n_embd": 32, "n_layer": 3}
    config |= {"n_head": 4, "n_positions": 512, "vocab_size": 16}
    facts = folder(config)
    assert (facts.context_length, facts.block_count, facts.kv_per_token) == (512, 3, 3 * 4 * 8 * 2 * 2)


@pytest.mark.parametrize("length, context", [(4096, 4096), (10**30, 2048), (None, 2048), (True, 2048)])
def test_without_a_length_in_the_model_the_tokenizers_counts(folder, length, context):
    config = {key: value for key, value in CONFIG.items() if key != "max_position_embeddings"}
    spoken = json.dumps({"model_max_length": length}).encode()
    assert folder(config, tokenizer_config__json=spoken).context_length == context


def test_packed_weights_are_counted_unpacked(folder):
    config = {**CONFIG, "quantization_config": {"quant_method": "awq", "bits": 4}}
    packed = file({"q": entry(0, 128, (32,), "I32"), "s": entry(128, 132, (2,), "F16")}, 132)
    facts = folder(config, model__safetensors=packed)
    assert facts.quantization == "AWQ"
    assert facts.parameters == 32 * 8 + 2


def test_the_tokenizers_digest_follows_its_files(folder):
    first = folder().tokenizer_sha256
    assert folder(tokenizer__json=b'{"x": 1}').tokenizer_sha256 != first
    assert folder(chat_template__jinja=b"x").tokenizer_sha256 == first
    assert folder(tokenizer__json=None).tokenizer_sha256 == ""


@pytest.mark.parametrize(
    "key, value",
    [
        ("model_type", None),
        ("model_type", ""),
        ("model_type", "x" * 100),
        ("model_type", "a\nb"),
        ("architectures", "LlamaForCausalLM"),
        ("architectures", [1]),
        ("hidden_size", 0),
        ("hidden_size", None),
        ("hidden_size", "32"),
        ("num_hidden_layers", 2**31),
        ("num_hidden_layers", True),
        ("num_attention_heads", 0),
        ("num_attention_heads", 5),
        ("num_key_value_heads", 3),
        ("num_key_value_heads", 8),
        ("head_dim", 0),
        ("head_dim", 2**63),
        ("max_position_embeddings", -1),
        ("vocab_size", 2**64),
    ],
)
def test_bad_settings_are_refused_naming_the_field(folder, key, value):
    with pytest.raises(BadRequest, match=f"'{key}' in config.json") as caught:
        folder({**CONFIG, key: value})
    assert caught.value.hint


@pytest.mark.parametrize(
    "raw, reason",
    [
        (b"{", "config.json"),
        (b"[]", "must be a JSON object"),
        (b'{"a": 1, "a": 2}', "same key twice"),
        (b'{"a": ' + b"[" * 100_000, "nested too deeply"),
        (b'{"a": NaN}', "NaN"),
        (b" " * (2 * 2**20 + 1), "larger than 2048 KiB"),
    ],
)
def test_bad_json_is_refused_naming_the_file(folder, raw, reason):
    with pytest.raises(BadRequest, match=r"config\.json") as caught:
        folder(config__json=raw)
    assert reason in caught.value.message


def test_numbers_too_wide_for_a_manifest_are_not_shown(folder):
    facts = folder({**CONFIG, "big": 2**100, "note": "x" * 5000, **{f"k{n}": n for n in range(300)}})
    assert "big" not in facts.metadata
    assert len(facts.metadata["note"]) == 1000
    assert len(facts.metadata) == 200
    assert msgspec.json.decode(msgspec.json.encode(facts), type=type(facts)) == facts


def test_a_template_too_long_is_refused(folder):
    spoken = json.dumps({"chat_template": "x" * (2**20 + 1)}).encode()
    with pytest.raises(BadRequest, match="too long"):
        folder(tokenizer_config__json=spoken)
    with pytest.raises(BadRequest, match=r"chat_template\.jinja is larger"):
        folder(chat_template__jinja=b"x" * (2**20 + 1))


def test_too_many_control_tokens_are_refused(folder, monkeypatch):
    monkeypatch.setattr("inhouse.store.safetensors.MAX_CONTROL_TOKENS", 1)
    with pytest.raises(BadRequest, match="too many control tokens"):
        folder()


def test_a_folder_without_settings_or_weights_says_what_it_lacks(folder):
    with pytest.raises(Unsupported, match=r"no config\.json"):
        folder(config__json=None)
    with pytest.raises(Unsupported, match="no safetensors file"):
        folder(model__safetensors=None)


def test_pickles_are_no_weights(folder):
    with pytest.raises(Unsupported) as caught:
        folder(model__safetensors=None, pytorch_model__bin=b"\x80\x04K\x01.")
    assert "never read" in caught.value.hint


def test_of_two_sets_of_weights_the_usual_one_counts(folder):
    facts = folder(consolidated__safetensors=GOOD)
    assert facts.parameters == 16 * 32 + 32
    assert folder(model__safetensors=None, consolidated__safetensors=GOOD) == facts


def test_a_settings_file_that_went_away_is_a_store_error(tmp_path):
    (tmp_path / "w").write_bytes(GOOD)
    with pytest.raises(StoreError, match=r"config\.json cannot be read"):
        inspect_folder({"config.json": tmp_path / "gone", "model.safetensors": tmp_path / "w"})
