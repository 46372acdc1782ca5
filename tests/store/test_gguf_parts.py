"""Split models: all parts together are one model, and nothing less is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from inhouse.core.errors import BadRequest, StoreError, Unsupported
from inhouse.store import gguf_parts
from inhouse.store.gguf_facts import inspect, inspect_parts, tensors
from support import tiny_gguf as tiny
from support.tiny_gguf import TENSORS, Tensor, llama, split, u16, u32


@pytest.fixture
def write(tmp_path):
    def put(files: list[tiny.Tiny]) -> list[Path]:
        return [file.write(tmp_path / f"part{number}.gguf") for number, file in enumerate(files)]

    return put


def test_a_split_model_has_the_facts_of_the_whole_one(write, tmp_path):
    whole = inspect(llama().write(tmp_path / "whole.gguf"))
    parts = inspect_parts(write(split()))
    shown = {key: value for key, value in parts.metadata.items() if not key.startswith("split.")}
    assert shown == whole.metadata
    for name in ("parameters", "mix", "quantization", "vocabulary", "tokenizer_sha256", "template"):
        assert getattr(parts, name) == getattr(whole, name)


def test_one_file_is_a_model_of_one_part(write):
    paths = write([llama()])
    assert inspect_parts(paths) == inspect(paths[0])


def test_a_split_of_one_part_is_whole(write):
    assert inspect_parts(write(split([TENSORS]))).parameters == 32 * 16 + 2 * 32 * 32 + 32


@pytest.mark.parametrize(
    "given, missing", [([0], "part 2, 3"), ([1], "part 1, 3"), ([0, 2], "part 2"), ([1, 1], "part 1, 3")]
)
def test_missing_parts_are_named(write, given, missing):
    paths = write(split())
    with pytest.raises(
        Unsupported, match=rf"split into 3 GGUF files; missing: {re.escape(missing)}\."
    ) as caught:
        inspect_parts([paths[number] for number in given])
    assert "folder" in caught.value.hint


def test_a_long_list_of_missing_parts_is_cut(write):
    path = write([llama({"split.count": u16(4000), "split.no": u16(0)})])
    with pytest.raises(Unsupported, match=r"missing: part 2, 3, .*, 11 \.\.\."):
        inspect_parts(path)


@pytest.mark.parametrize(
    "order, reason",
    [
        ([0, 2, 1], "'split.no' of file 2 says part 3 of 3"),
        ([0, 1, 2, 2], "'split.no' of file 4 says part 3 of 3"),
    ],
)
def test_parts_out_of_order_or_twice_are_refused(write, order, reason):
    paths = write(split())
    with pytest.raises(BadRequest, match=re.escape(reason)):
        inspect_parts([paths[number] for number in order])


def test_two_whole_models_are_not_one(write):
    with pytest.raises(BadRequest, match=re.escape("'split.no' of file 2 says part 1 of 1")):
        inspect_parts(write([llama(), llama()]))


def changed(number: int, **keys: bytes) -> list[tiny.Tiny]:
    files = split()
    names = {name.replace("_", "."): value for name, value in keys.items()}
    files[number] = tiny.Tiny({**files[number].pairs, **names}, files[number].tensors)
    return files


@pytest.mark.parametrize(
    "files, reason",
    [
        (changed(1, split_count=u16(4)), "'split.count' of file 2 differs"),
        (changed(1, split_count=u32(2**31)), "'split.count' is 2147483648"),
        (changed(1, split_no=u16(7)), "'split.no' is 7 of 3 parts"),
        (changed(1, split_no=u32(2**32 - 1)), "'split.no' is 4294967295"),
        (changed(2, split_tensors_count=u32(9)), "'split.tensors.count' is 9, but there are 4 tensors"),
        (split([TENSORS[:2], TENSORS[1:]]), "part 2 has tensor 'blk.0.attn_q.weight' once more"),
        (split([(), ()]), "0 tensors"),
    ],
)
def test_parts_that_do_not_fit_are_refused_with_the_byte(write, files, reason):
    with pytest.raises(BadRequest, match=re.escape(reason)) as caught:
        inspect_parts(write(files))
    assert "at byte" in caught.value.message


def test_a_malformed_part_is_named(write):
    paths = write(split())
    paths[1].write_bytes(paths[1].read_bytes()[:100])
    with pytest.raises(BadRequest, match=r"part 2 of 3: not a usable GGUF file: .* \(at byte") as caught:
        inspect_parts(paths)
    assert caught.value.hint


def test_no_file_is_no_model():
    with pytest.raises(BadRequest, match="at least one"):
        inspect_parts([])


def test_all_parts_together_have_a_ceiling(write, monkeypatch):
    monkeypatch.setattr(gguf_parts, "TENSORS_CEILING", 3)
    with pytest.raises(BadRequest, match="more than 3 tensors"):
        inspect_parts(write(split()))


def test_a_part_that_went_away_is_a_store_error(write):
    paths = write(split())
    paths[2].unlink()
    with pytest.raises(StoreError):
        inspect_parts(paths)


def test_the_table_shows_each_tensor_as_stored(write):
    table = tensors(write([llama()]))
    assert table[0] == ("token_embd.weight", [32, 16], "F32", 32 * 16 * 4, 1)
    assert table[1] == ("blk.0.attn_q.weight", [32, 32], "Q4_1", 32 * 32 // 32 * 20, 1)
    assert [row.name for row in table] == [tensor.name for tensor in TENSORS]


def test_the_table_says_in_which_part_a_tensor_lies(write):
    assert [row.part for row in tensors(write(split()))] == [2, 2, 3, 3]


def test_any_kind_of_file_has_a_table(write):
    assert [row.name for row in tensors(write([tiny.projector()]))] == ["v.blk.0.attn_q.weight"]


def test_tensors_of_another_part_count_for_the_vocabulary(write):
    files = split([TENSORS[1:], [Tensor("token_embd.weight", (32, 17))]])
    with pytest.raises(BadRequest, match="17 embedding rows"):
        inspect_parts(write(files))
