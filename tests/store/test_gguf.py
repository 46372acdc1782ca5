"""Reading GGUF headers: what a good file says, and how every bad one is refused (faults 49 to 52, 54)."""

from __future__ import annotations

import math
import random
import struct
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inhouse.core.errors import BadRequest, StoreError, Unsupported
from inhouse.store.gguf import read_header
from inhouse.store.gguf_facts import Facts, inspect
from support import tiny_gguf as tiny
from support.tiny_gguf import ARRAY, I32, STRING, U8, U32, Tensor, array, f32, flag, llama, string, u32, u64


@pytest.fixture
def facts_of(tmp_path):
    def read(file: tiny.Tiny | bytes) -> Facts:
        path = tmp_path / "model.gguf"
        path.write_bytes(file if isinstance(file, bytes) else file.build())
        return inspect(path)

    return read


def test_facts_of_a_valid_model(facts_of):
    facts = facts_of(llama())
    assert facts.architecture == "llama"
    assert facts.parameters == 32 * 16 + 2 * 32 * 32 + 32
    assert facts.quantization == "Q4_1"
    assert (facts.context_length, facts.embedding_length, facts.block_count) == (256, 32, 2)
    assert facts.kv_per_token == 2 * 2 * (2 + 2) * 8  # f16, K and V, KV heads of both layers, head size
    assert facts.vocabulary == 16
    assert facts.template == tiny.CHATML
    assert facts.control_tokens == ("<|im_start|>", "<|im_end|>")
    assert facts.licence == "mit"
    assert facts.capabilities == ("completion", "chat")


def test_metadata_is_fit_for_showing(facts_of):
    many = array(U32, range(100))
    shown = facts_of(
        llama({"llama.numbers": many, "llama.few": array(U8, [1, 2]), "x.nan": f32(math.nan)})
    ).metadata
    assert shown["general.parameter_count"] == 32 * 16 + 2 * 32 * 32 + 32
    assert shown["llama.numbers"] is None
    assert shown["llama.few"] == [1, 2]
    assert shown["x.nan"] is None
    assert shown["tokenizer.ggml.merges"] == ["t 1", "t 2"]
    assert shown["tokenizer.ggml.add_bos_token"] is False
    assert "general.name" not in shown
    assert "tokenizer.chat_template" not in shown


def test_version_2_is_read(facts_of):
    assert facts_of(llama(version=2)).architecture == "llama"


def test_another_alignment_is_followed(tmp_path):
    path = llama({"general.alignment": u32(64)}, alignment=64).write(tmp_path / "m")
    header = read_header(path)
    assert header.data_offset % 64 == 0
    assert [t.offset % 64 for t in header.tensors] == [0, 0, 0, 0]


@pytest.mark.parametrize(
    "changes, capabilities",
    [
        ({"tokenizer.chat_template": None}, {"completion"}),
        ({"tokenizer.chat_template": string("{% if tools %}{% endif %}")}, {"completion", "chat", "tools"}),
        ({"tokenizer.chat_template": string("my toolset")}, {"completion", "chat"}),
        ({"tokenizer.chat_template": string("<think>")}, {"completion", "chat", "thinking"}),
        ({"tokenizer.chat_template": string("{{ enable_thinking }}")}, {"completion", "chat", "thinking"}),
        ({"tokenizer.ggml.fim_pre_token_id": u32(3)}, {"completion", "chat", "insert"}),
        (
            {"tokenizer.ggml.tokens": array(STRING, ["<|fim_prefix|>", *tiny.TOKENS[1:]])},
            {"completion", "chat", "insert"},
        ),
        (
            {"tokenizer.ggml.tokens": array(STRING, ["x<|fim_prefix|>", *tiny.TOKENS[1:]])},
            {"completion", "chat"},
        ),
        ({"llama.pooling_type": u32(1)}, {"embedding"}),
    ],
)
def test_capabilities_follow_template_and_vocabulary(facts_of, changes, capabilities):
    assert set(facts_of(llama(changes)).capabilities) == capabilities


@pytest.mark.parametrize(
    "changes, per_token",
    [
        ({"llama.attention.head_count_kv": None}, 2 * 2 * (4 + 4) * 8),
        ({"llama.attention.head_count_kv": array(U32, [2, 0])}, 2 * 2 * 2 * 8),
        ({"llama.attention.key_length": u32(16)}, 2 * (2 + 2) * (16 + 8)),
        ({"llama.attention.key_length": u32(16), "llama.attention.value_length": u32(4)}, 2 * 4 * 20),
        ({"llama.attention.causal": flag(0)}, 0),
    ],
)
def test_kv_bytes_per_token(facts_of, changes, per_token):
    assert facts_of(llama(changes)).kv_per_token == per_token


def test_recurrent_models_have_no_kv_cache(facts_of):
    keys = {"general.architecture": string("mamba")}
    for name in ("block_count", "context_length", "embedding_length"):
        keys |= {f"llama.{name}": None, f"mamba.{name}": u32(8)}
    assert facts_of(llama(keys)).kv_per_token == 0


@pytest.mark.parametrize(
    "file_type, name", [(u32(15), "Q4_K_M"), (u32(15 + 1024), "Q4_K_M"), (None, "F32"), (u32(999), "F32")]
)
def test_quantization_is_named_by_file_type_or_by_the_bytes(facts_of, file_type, name):
    assert facts_of(llama({"general.file_type": file_type})).quantization == name


def test_a_large_vocabulary_is_read_in_well_under_a_second(facts_of):
    tokens = [f"token{i}" for i in range(150_000)]
    big = llama(
        {
            "tokenizer.ggml.tokens": array(STRING, tokens),
            "tokenizer.ggml.token_type": array(I32, [1] * 149_999 + [3]),
            "tokenizer.ggml.merges": array(STRING, tokens),
        },
        tensors=(Tensor("output_norm.weight", (32,)),),
    ).build()
    began = time.perf_counter()
    facts = facts_of(big)
    assert time.perf_counter() - began < 1.0
    assert facts.vocabulary == 150_000
    assert facts.control_tokens == ("token149999",)
    assert facts.metadata["tokenizer.ggml.tokens"] is None


def test_tokens_that_are_not_utf8_are_repaired(facts_of):
    tokens = [b"\xff", *(t.encode() for t in tiny.TOKENS[1:])]
    facts = facts_of(
        llama(
            {
                "tokenizer.ggml.tokens": array(STRING, tokens),
                "tokenizer.ggml.token_type": array(I32, [3] * 16),
            }
        )
    )
    assert facts.control_tokens[0] == "\ufffd"


# -- refusals ---------------------------------------------------------------------------------


def refusal(facts_of, file: tiny.Tiny | bytes) -> str:
    with pytest.raises(BadRequest) as caught:
        facts_of(file)
    assert caught.value.hint
    return caught.value.message


def test_every_truncation_is_refused_with_the_byte(facts_of):
    whole = llama().build()
    for length in (*range(0, 2048), *(2**n for n in range(11, 20))):
        if length < len(whole) - 32:  # the padding behind the last tensor may be missing
            assert "at byte" in refusal(facts_of, whole[:length])


@pytest.mark.parametrize(
    "file, reason",
    [
        (b"ggml" + bytes(100), "older or foreign"),
        (b"PK\x03\x04" + bytes(100), "magic number"),
        (llama(version=0), "version 0 "),
        (llama(version=1), "version 1 "),
        (llama(version=99), "version 99 "),
        (llama(order=">"), "big-endian"),
        (llama(pair_count=0), "0 keys"),
        (llama(pair_count=2**31), "2147483648 keys"),
        (llama(pair_count=21), "a tensor name"),
        (llama(tensor_count=0), "0 tensors"),
        (llama(tensor_count=2**64 - 1), "18446744073709551615 tensors"),
        (llama(tensor_count=5), "a tensor name"),
    ],
)
def test_bad_preambles_are_refused(facts_of, file, reason):
    message = refusal(facts_of, file)
    assert reason in message
    assert "at byte" in message


LIES = (2**31, 2**32 - 1, 2**63, 2**64 - 1)


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize(
    "value",
    [
        lambda n: tiny.typed(STRING, struct.pack("<Q", n)),
        lambda n: array(STRING, [], count=n),
        lambda n: array(U8, [], count=n),
        lambda n: array(U32, [1], count=n),
        lambda n: tiny.typed(ARRAY, struct.pack("<IQQ", STRING, 1, n)),
    ],
    ids=["string", "strings", "bytes", "numbers", "string in array"],
)
def test_lengths_that_lie_are_refused_at_once(facts_of, value, lie):
    began = time.perf_counter()
    assert "at byte" in refusal(facts_of, llama({"x.lie": value(lie)}))
    assert time.perf_counter() - began < 1.0


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("where", ["key", "tensor name"])
def test_names_that_claim_to_be_long_are_refused(facts_of, where, lie):
    prefix = struct.pack("<Q", lie)
    if where == "key":
        file = llama(extra=prefix, pair_count=21)
    else:
        plain = llama(tensors=()).pairs
        file = tiny.Tiny(plain, (), tensor_count=1, tail=prefix)
    assert "claims" in refusal(facts_of, file) or where == "tensor name"


@pytest.mark.parametrize(
    "value, reason",
    [
        (tiny.typed(255, bytes(8)), "unknown type 255"),
        (tiny.typed(ARRAY, struct.pack("<IQ", 255, 1) + bytes(8)), "unknown type 255"),
        (tiny.typed(ARRAY, struct.pack("<IQ", ARRAY, 1) * 10_000), "holds arrays"),
        (flag(2), "neither true nor false"),
    ],
)
def test_bad_values_are_refused(facts_of, value, reason):
    assert reason in refusal(facts_of, llama({"x.bad": value}))


@pytest.mark.parametrize("key", ["", "a\0b", "../../etc", "new\nline", "\udcff"])
def test_bad_keys_are_refused(facts_of, key):
    raw = tiny.text(key.encode("utf-8", "surrogateescape")) + u32(1)
    assert "forbidden characters" in refusal(facts_of, llama(extra=raw, pair_count=21))


def test_a_key_that_stands_twice_is_refused(facts_of):
    raw = tiny.text("general.name") + string("again")
    assert "'general.name' stands twice" in refusal(facts_of, llama(extra=raw, pair_count=21))


@pytest.mark.parametrize("alignment", [u32(0), u32(3), u32(4), u32(2**31), f32(32.0), flag(1)])
def test_bad_alignments_are_refused(facts_of, alignment):
    assert "'general.alignment'" in refusal(facts_of, llama({"general.alignment": alignment}))


EMBEDDING = Tensor("token_embd.weight", (32, 16))


@pytest.mark.parametrize(
    "tensors, reason",
    [
        ([Tensor("x", (32,), offset=2**40)], "lies at"),
        ([Tensor("x", (32,), offset=7)], "lies at 7"),
        ([EMBEDDING, Tensor("y", (32,), offset=0)], "'y' lies at 0"),
        ([EMBEDDING, EMBEDDING], "stands twice"),
        ([Tensor("x", (2**40,), data=b"")], "past the end"),
        ([Tensor("x", (32, 1024), data=bytes(64))], "past the end"),
        ([Tensor("x", (2**32, 2**32), data=b"")], "impossible shape"),
        ([Tensor("x", (2**63, 2), data=b"")], "impossible shape"),
        ([Tensor("x", (0,))], "impossible shape"),
        ([Tensor("x", ())], "0 dimensions"),
        ([Tensor("x", (1, 1, 1, 1, 1))], "5 dimensions"),
        ([Tensor("x", (32,), type=4, data=bytes(64))], "unknown type 4"),
        ([Tensor("x", (32,), type=255, data=bytes(64))], "unknown type 255"),
        ([Tensor("x", (33,), type=3, data=bytes(64))], "multiple of 32"),
        ([Tensor("../x", (32,))], "forbidden characters"),
        ([Tensor("a\0b", (32,))], "forbidden characters"),
        ([Tensor("x" * 200, (32,))], "claims 200 bytes"),
    ],
)
def test_bad_tensors_are_refused(facts_of, tensors, reason):
    message = refusal(facts_of, llama(tensors=tensors))
    assert reason in message
    assert "at byte" in message


@pytest.mark.parametrize(
    "key, value",
    [
        ("general.architecture", None),
        ("general.architecture", string("")),
        ("general.architecture", string("../x")),
        ("general.architecture", u32(1)),
        ("llama.block_count", None),
        ("llama.block_count", u32(0)),
        ("llama.block_count", u32(2**31)),
        ("llama.block_count", f32(2.0)),
        ("llama.embedding_length", u32(0)),
        ("llama.embedding_length", flag(1)),
        ("llama.context_length", u32(0)),
        ("llama.context_length", u64(2**63)),
        ("llama.attention.head_count", None),
        ("llama.attention.head_count", u32(0)),
        ("llama.attention.head_count", u32(5)),
        ("llama.attention.head_count", array(U32, [4])),
        ("llama.attention.head_count", array(U32, [0, 0])),
        ("llama.attention.head_count_kv", u32(0)),
        ("llama.attention.head_count_kv", u32(3)),
        ("llama.attention.head_count_kv", u32(8)),
        ("llama.attention.head_count_kv", array(I32, [-1, 2])),
        ("llama.attention.key_length", u32(0)),
        ("llama.rope.freq_base", f32(math.nan)),
        ("llama.rope.freq_base", f32(0.0)),
        ("llama.rope.scaling.factor", f32(math.inf)),
        ("llama.rope.freq_base", string("high")),
        ("tokenizer.ggml.tokens", None),
        ("tokenizer.ggml.tokens", array(STRING, [])),
        ("tokenizer.ggml.tokens", array(U32, [1] * 16)),
        ("tokenizer.ggml.tokens", array(STRING, [*tiny.TOKENS, "more"])),
        ("tokenizer.ggml.token_type", array(I32, [1] * 15)),
        ("tokenizer.ggml.eos_token_id", u32(16)),
        ("tokenizer.ggml.bos_token_id", string("1")),
        ("tokenizer.chat_template", u32(1)),
        ("general.license", array(STRING, ["mit"])),
    ],
)
def test_bad_hyper_parameters_are_refused_naming_the_field(facts_of, key, value):
    message = refusal(facts_of, llama({key: value}))
    named = "tokenizer.ggml.token" if key == "tokenizer.ggml.tokens" else key
    assert f"'{named}" in message
    assert "at byte" in message


def test_embedding_rows_must_be_as_many_as_tokens(facts_of):
    file = llama(tensors=(Tensor("token_embd.weight", (32, 17)),))
    assert "17 embedding rows" in refusal(facts_of, file)


def test_a_missing_special_token_is_allowed(facts_of):
    assert facts_of(llama({"tokenizer.ggml.bos_token_id": u32(2**32 - 1)})).vocabulary == 16


@pytest.mark.parametrize(
    "changes, what",
    [
        ({"general.architecture": string("clip")}, "projector"),
        ({"general.type": string("adapter")}, "adapter"),
        ({"split.count": tiny.typed(tiny.U16, struct.pack("<H", 3))}, "split"),
    ],
)
def test_files_that_are_no_whole_model_are_named(facts_of, changes, what):
    with pytest.raises(Unsupported, match=what):
        facts_of(llama(changes))


def test_too_many_control_tokens_are_refused(facts_of):
    count = 20_000
    file = llama(
        {
            "tokenizer.ggml.tokens": array(STRING, ["x"] * count),
            "tokenizer.ggml.token_type": array(I32, [3] * count),
        },
        tensors=(Tensor("output_norm.weight", (32,)),),
    )
    assert "too many control tokens" in refusal(facts_of, file)


def test_a_file_that_cannot_be_opened_is_a_store_error(tmp_path):
    with pytest.raises(StoreError):
        inspect(tmp_path / "nothing.gguf")


def test_a_huge_header_costs_little_memory_and_time(tmp_path):
    path = tmp_path / "sparse.gguf"
    head = llama({"x.big": array(U8, [], count=2**33)}).build()
    with path.open("wb") as file:
        file.write(head)
        file.truncate(2**34)  # sparse: the claimed array is really there
    tracemalloc.start()
    began = time.perf_counter()
    with pytest.raises(BadRequest, match="header is larger"):
        inspect(path)
    assert time.perf_counter() - began < 1.0
    assert tracemalloc.get_traced_memory()[1] < 64 * 2**20
    tracemalloc.stop()


def test_millions_of_empty_strings_are_refused_at_once(tmp_path):
    path = tmp_path / "sparse.gguf"
    head = llama({"x.big": array(STRING, [], count=3_000_000)}).build()
    with path.open("wb") as file:
        file.write(head)
        file.truncate(2**28)
    with pytest.raises(BadRequest, match="too many"):
        inspect(path)


def survives(path: Path, data: bytes) -> bool:
    """Whether a file loads; anything but a clean refusal fails the test."""
    path.write_bytes(data)
    began = time.perf_counter()
    try:
        inspect(path)
    except (BadRequest, StoreError):
        return False
    finally:
        assert time.perf_counter() - began < 1.0
    return True


def test_a_thousand_bit_flips_load_or_are_refused(tmp_path):
    whole = llama().build()
    dice = random.Random(54)
    outcomes = set()
    for _ in range(1000):
        data = bytearray(whole)
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        outcomes.add(survives(tmp_path / "m", bytes(data)))
    assert outcomes == {True, False}


WHOLE = llama().build()


@settings(max_examples=300, deadline=None)
@given(
    start=st.integers(0, len(WHOLE) - 1),
    length=st.integers(0, 64),
    patch=st.binary(max_size=64),
    wide=st.sampled_from([b"", *(struct.pack("<Q", lie) for lie in (*LIES, 0, 1))]),
)
def test_any_patch_of_a_file_loads_or_is_refused(tmp_path_factory, start, length, patch, wide):
    data = WHOLE[:start] + (wide or patch) + WHOLE[start + length :]
    survives(tmp_path_factory.getbasetemp() / "patched.gguf", data)


@settings(max_examples=100, deadline=None)
@given(junk=st.binary(max_size=400))
def test_any_bytes_after_the_preamble_load_or_are_refused(tmp_path_factory, junk):
    survives(tmp_path_factory.getbasetemp() / "junk.gguf", WHOLE[:24] + junk)
