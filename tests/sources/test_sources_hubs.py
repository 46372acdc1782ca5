"""Models of Hugging Face and ModelScope, from hubs on loopback that speak their protocols."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path

import pytest

from support.split_gguf import split
from support.world import SHA256, SIZE, World, said, tree

pytestmark = [pytest.mark.model, pytest.mark.timeout(120)]

FILE = "SmolLM2-135M-Instruct-Q4_1.gguf"


def in_cache(world: World) -> list[Path]:
    return [p for p in world.hf_home.rglob("*") if p.is_file() and p.stat().st_size > 2**20]


def test_a_repository_of_hugging_face_answers_with_its_quant_chosen_aloud(world: World) -> None:
    files = {FILE: world.data, "SmolLM2-135M-Instruct-F32.gguf": b"too large to choose", "README.md": b"hi"}
    commit = world.hub.publish("org/SmolLM2-GGUF", files, card={"license": "apache-2.0"})
    steps = world.pull("hf.co/org/SmolLM2-GGUF")
    assert "Q4_1" in said(steps)
    assert "Paris" in world.says("hf.co/org/SmolLM2-GGUF")
    shown = world.show("hf.co/org/SmolLM2-GGUF")
    assert shown["origin"] == f"hf.co/org/SmolLM2-GGUF@{commit}:{FILE}"
    assert shown["in_place"]
    assert world.blobs == []
    assert len({p.resolve() for p in in_cache(world)}) == 1


def test_a_second_pull_of_the_same_repository_fetches_no_byte(world: World) -> None:
    world.hub.publish("org/Twice", {FILE: world.data})
    world.pull("hf.co/org/Twice")
    before = world.hub.fetched()
    world.pull("hf.co/org/Twice")
    world.pull(f"hf:org/Twice:{FILE}")
    assert world.hub.fetched() == before
    assert "Paris" in world.says(f"hf:org/Twice:{FILE}")


def test_a_model_whose_cache_was_cleared_is_not_listed_and_comes_back_with_a_pull(world: World) -> None:
    world.hub.publish("org/Cleared", {FILE: world.data})
    world.pull("hf.co/org/Cleared")
    shutil.rmtree(world.hf_home / "hub")
    assert world.models() == {}
    body = {"model": "hf.co/org/Cleared", "messages": [{"role": "user", "content": "x"}], "stream": False}
    gone = world.ask("/api/chat", body)
    assert "no longer where it was" in gone.json["error"]
    assert "inhouse pull hf.co/org/Cleared" in gone.json["error"]
    world.pull("hf.co/org/Cleared")
    assert "Paris" in world.says("hf.co/org/Cleared")


@pytest.mark.parametrize("wanted", [FILE, "Q4_1", "q4_1"])
def test_a_file_or_quant_of_a_repository_can_be_named(world: World, wanted: str) -> None:
    world.hub.publish("org/Named", {FILE: world.data, "other-Q8_0.gguf": b"not this one"})
    world.pull(f"hf:org/Named:{wanted}")
    assert "Paris" in world.says(f"hf:org/Named:{wanted}")
    assert not [hit for hit in world.hub.hits if "other" in hit.path and "resolve" in hit.path]


def test_a_split_model_is_used_in_place_in_the_cache_of_hugging_face(world: World, tmp_path: Path) -> None:
    parts = split(world.weights, tmp_path, "smol-Q4_1", 3)
    world.hub.publish("org/Split", {part.name: part for part in parts})
    world.pull("hf.co/org/Split")
    assert [f["file"] for f in world.show("hf.co/org/Split")["files"]] == [part.name for part in parts]
    assert world.blobs == []
    before = tree(world.hf_home)
    assert "Paris" in world.says("hf.co/org/Split")
    world.cli("rm", "hf.co/org/Split")
    world.cli("prune", "--all")
    assert tree(world.hf_home) == before


def test_a_repository_without_gguf_comes_whole_and_is_converted_before_it_answers(world: World) -> None:
    header = json.dumps({"w": {"dtype": "F32", "shape": [64, 32], "data_offsets": [0, 8192]}}).encode()
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "vocab_size": 64,
        "max_position_embeddings": 128,
    }
    files = {
        "model.safetensors": struct.pack("<Q", len(header)) + header + bytes(8192),
        "config.json": json.dumps(config).encode(),
        "tokenizer.json": b"{}",
        "tokenizer_config.json": b'{"chat_template": "{{ messages }}"}',
        "pytorch_model.bin": b"never fetched",
    }
    world.hub.publish("org/Tensors", files)
    world.pull("hf.co/org/Tensors")
    held = {f["file"] for f in world.show("hf.co/org/Tensors")["files"]}
    assert held == {"model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"}
    refused = world.ask(
        "/api/chat", {"model": "hf.co/org/Tensors", "messages": [{"role": "user", "content": "x"}]}
    )
    assert refused.status == 400
    assert "convert" in refused.json["error"]
    world.cli("convert", "hf.co/org/Tensors", "converted")
    assert "Paris" in world.says("converted")
    assert world.show("converted")["details"]["format"] == "gguf"


def test_a_model_of_modelscope_answers(world: World) -> None:
    file = {"Type": "blob", "Revision": "c" * 40, "CommittedDate": 1}
    chosen = {"Path": FILE, "Size": SIZE, "Sha256": SHA256, **file}
    other = {"Path": "SmolLM2-135M-Instruct-F32.gguf", "Size": 7, "Sha256": "0" * 64, **file}
    answer = {"Code": 200, "Success": True, "Data": {"Files": [other, chosen]}}
    world.files.files["/api/v1/models/org/smol/repo/files"] = json.dumps(answer).encode()
    world.files.files["/api/v1/models/org/smol/repo"] = world.data
    steps = world.pull("modelscope:org/smol")
    assert "Q4_1" in said(steps)
    assert "Paris" in world.says("modelscope:org/smol")
    asked = [hit for hit in world.files.hits if hit.path.startswith("/api/v1/models/org/smol/repo?")]
    assert all("c" * 40 in hit.path for hit in asked)
    assert {hit.status for hit in asked} == {206}
