"""Files of this machine and models of other programs: used where they lie, never copied, changed or pruned."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from support.registryserver import DOCKER_MANIFEST, Layer, ollama_layers, sha256
from support.split_gguf import split
from support.world import FRANCE, SHA256, SIZE, World, tree

pytestmark = [pytest.mark.model, pytest.mark.timeout(120)]

QUIET = ("--option", "temperature=0", "--option", "num_predict=12")
MAPPED = (*QUIET, "--option", "use_mmap=true")
"""The file itself is seen in the worker's memory."""
COMMIT = "5" * 40


def opened(world: World) -> set[str]:
    """The weights that the loaded model's worker has mapped into its memory, by path."""
    import psutil

    worker = psutil.Process(world.server.worker())
    maps = {one.path for one in worker.memory_maps(grouped=True)}
    return {path for path in maps if os.path.isfile(path) and os.stat(path).st_size == SIZE}


def leaves_alone(world: World, *tops: Path) -> None:
    """Remove and prune everything; the files of others must not change."""
    before = tree(*tops)
    assert before
    for name in world.models():
        world.cli("rm", name)
    world.cli("prune", "--all")
    world.cli("verify")
    assert tree(*tops) == before


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at mapped files")
def test_a_path_is_run_in_place(world: World, tmp_path: Path) -> None:
    path = world.link(tmp_path / "my models" / "smol.gguf")
    before = tree(tmp_path)
    ran = world.cli("run", "./smol.gguf", *MAPPED, stdin=FRANCE, cwd=path.parent)
    assert "Paris" in ran.out
    assert opened(world) == {str(path)}
    assert world.blobs == []
    [model] = world.models().values()
    assert (model["in_place"], model["size"]) == (True, SIZE)
    assert str(tmp_path) not in json.dumps(model)  # who may not name paths is told none
    assert tree(tmp_path) == before
    leaves_alone(world, tmp_path)


def test_a_split_model_is_run_in_place_by_the_path_of_a_part(world: World, tmp_path: Path) -> None:
    parts = split(world.weights, tmp_path, "smol", 2)
    assert "Paris" in world.cli("run", str(parts[0]), *QUIET, stdin=FRANCE).out
    assert world.blobs == []
    leaves_alone(world, tmp_path)


def test_a_client_without_a_right_to_paths_may_not_name_one(world: World, tmp_path: Path) -> None:
    there = world.link(tmp_path / "smol.gguf")
    answers = [
        world.ask("/api/pull", {"model": str(path), "stream": False})
        for path in (there, tmp_path / "absent.gguf")
    ]
    assert [answer.status for answer in answers] == [403, 403]
    assert answers[0].body == answers[1].body
    created = world.ask("/api/create", {"model": "x", "paths": {"files": [str(there)]}, "stream": False})
    assert created.status == 403


def test_a_file_that_went_away_is_named_and_can_come_back(world: World, tmp_path: Path) -> None:
    path = world.link(tmp_path / "smol.gguf")
    world.cli("pull", str(path))
    [name] = world.models()
    path.rename(tmp_path / "moved.gguf")
    assert "no longer where it was" in world.cli("run", name, *QUIET, stdin=FRANCE, fails=True).err
    assert world.models() == {}
    (tmp_path / "moved.gguf").rename(path)
    assert "Paris" in world.says(name)


def test_weights_of_our_own_go_even_if_the_same_are_used_in_place(world: World, tmp_path: Path) -> None:
    world.cli("pull", str(world.link(tmp_path / "smol.gguf")))
    [in_place] = world.models()
    world.registry.publish(
        "library/smol", "latest", ollama_layers(world.data), config={"model_format": "gguf"}
    )
    world.pull("ollama:smol")
    assert [blob.name for blob in world.blobs] == [f"sha256-{SHA256}"]
    world.cli("rm", "ollama:smol")
    assert world.blobs == []
    assert "Paris" in world.says(in_place)


def an_ollama_store(world: World) -> str:
    """llama:tiny as Ollama has it. Returns its source text."""
    layers = ollama_layers(b"", system="Answer briefly.", params={"num_predict": 9, "temperature": 0})[1:]
    config = json.dumps({"model_format": "gguf", "model_family": "llama"}).encode()
    blobs = world.ollama_store / "blobs"
    world.link(blobs / f"sha256-{SHA256}")
    for data in (config, *(layer.data for layer in layers)):
        (blobs / sha256(data).replace(":", "-")).write_bytes(data)
    made = Layer("application/vnd.docker.container.image.v1+json", config)
    model = {"mediaType": "application/vnd.ollama.image.model", "digest": f"sha256:{SHA256}", "size": SIZE}
    manifest = {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST,
        "config": made.descriptor(),
        "layers": [model, *(layer.descriptor() for layer in layers)],
    }
    path = world.ollama_store / "manifests" / "registry.ollama.ai" / "library" / "smol" / "tiny"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(manifest))
    return "ollama:smol:tiny"


def a_hub_cache(world: World) -> str:
    top = world.hf_home / "hub" / "models--org--Cached"
    world.link(top / "blobs" / SHA256)
    snapshot = top / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    try:
        (snapshot / "smol-Q4_1.gguf").symlink_to(Path("..", "..", "blobs", SHA256))
    except OSError:
        world.link(snapshot / "smol-Q4_1.gguf")
    (top / "refs").mkdir()
    (top / "refs" / "main").write_text(COMMIT)
    return "hf.co/org/Cached:smol-Q4_1.gguf"


def a_llama_cpp_cache(world: World) -> str:
    return str(world.link(world.llama_cache / "org_repo_smol-Q4_1.gguf"))


def an_lmstudio_folder(world: World) -> str:
    return str(world.link(world.lmstudio / "publisher" / "repository" / "smol-Q4_1.gguf"))


PROGRAMS = {
    "ollama": an_ollama_store,
    "huggingface": a_hub_cache,
    "llama.cpp": a_llama_cpp_cache,
    "lmstudio": an_lmstudio_folder,
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_model_of_another_program_is_listed_with_its_origin_and_run_in_place(
    world: World, program: str
) -> None:
    text = PROGRAMS[program](world)
    tops = (world.ollama_store, world.hf_home, world.llama_cache, world.user)
    before = tree(*tops)
    listed = json.loads(world.cli("list", "--all", "--json").out)
    assert [(one["program"], one["name"], one["size"]) for one in listed] == [(program, text, SIZE)]
    assert program in world.cli("list", "--all").out.lower().replace(" ", "")
    assert "Paris" in world.cli("run", text, *MAPPED, stdin=FRANCE).out
    assert world.blobs == []
    if sys.platform.startswith("linux"):
        [mapped] = opened(world)
        assert Path(mapped).samefile(world.weights)
        assert any(Path(mapped).resolve().is_relative_to(top) for top in tops)
    [model] = world.models().values()
    assert model["in_place"]
    assert tree(*tops) == before
    leaves_alone(world, *tops)


def test_a_model_of_the_ollama_store_brings_its_texts_and_no_request_is_made(world: World) -> None:
    text = an_ollama_store(world)
    world.pull(text)
    assert world.registry.requests == []
    shown = world.show(text)
    assert shown["system"] == "Answer briefly."
    assert world.chat(text, num_predict=None)["eval_count"] <= 9


@pytest.mark.skipif(os.name == "nt", reason="one link to another folder")
def test_a_folder_with_one_model_is_run_in_place(world: World, tmp_path: Path) -> None:
    world.link(tmp_path / "model" / "smol.gguf")
    (tmp_path / "short").symlink_to(tmp_path / "model")
    assert "Paris" in world.cli("run", "./short/", *QUIET, stdin=FRANCE, cwd=tmp_path).out
    assert world.blobs == []
    leaves_alone(world, tmp_path)
