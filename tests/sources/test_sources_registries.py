"""Models of registries: Ollama's protocol, OCI artifacts, tokens; pulled, answering, pushed and pulled back."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from support.fileserver import FileServer
from support.lora import lora
from support.registryserver import (
    CNCF,
    DOCKER_AI,
    DOCKER_MANIFEST,
    FILEPATH,
    OCI_MANIFEST,
    OLLAMA,
    Layer,
    ollama_layers,
)
from support.split_gguf import split
from support.world import SHA256, World

pytestmark = [pytest.mark.model, pytest.mark.timeout(120)]

CONFIG = {"model_format": "gguf", "model_family": "llama", "model_type": "134.5M", "file_type": "Q4_1"}
JAPAN = (
    '{{ range .Messages }}{{ if eq .Role "user" }}<|im_start|>user\n'
    "What is the capital of Japan? Answer in one word.<|im_end|>\n{{ end }}{{ end }}<|im_start|>assistant\n"
)
SYSTEM = "You are the librarian of a small town and very polite."


def test_a_model_of_the_ollama_registry_answers(world: World) -> None:
    world.registry.publish("library/smol", "135m", ollama_layers(world.data), config=CONFIG)
    steps = world.pull("ollama:smol:135m")
    assert [s["status"] for s in (steps[0], *steps[-3:])] == [
        "pulling manifest", "verifying sha256 digest", "writing manifest", "success",
    ]  # fmt: skip
    assert "Paris" in world.says("ollama:smol:135m")
    assert [blob.name for blob in world.blobs] == [f"sha256-{SHA256}"]
    before = len(world.registry.asked("GET", "/blobs/"))
    world.pull("ollama:smol:135m")
    assert len(world.registry.asked("GET", "/blobs/")) - before <= 1  # the config at most


def test_texts_of_a_model_in_a_registry_take_effect(world: World) -> None:
    texts = {
        "template": JAPAN,
        "system": SYSTEM,
        "params": {"num_predict": 7, "temperature": 0, "stop": ["<|im_end|>"]},
        "license": ("Licence one.", "Licence two."),
        "messages": [{"role": "user", "content": "Hello."}, {"role": "assistant", "content": "Good day."}],
    }
    world.registry.publish("me/smol", "v1", ollama_layers(world.data, **texts), config=CONFIG)
    name = f"{world.registry.host}/me/smol:v1"
    world.pull(name, insecure=True)
    shown = world.show(name)
    assert shown["system"] == SYSTEM
    assert "Licence one." in shown["license"]
    assert "Licence two." in shown["license"]
    assert shown["messages"] == texts["messages"]
    assert "num_predict" in shown["parameters"]
    assert "Japan" in shown["template"]
    answer = world.chat(name, num_predict=None, temperature=None)
    assert "Tokyo" in answer["message"]["content"]
    assert answer["eval_count"] <= 7


def test_the_system_message_and_the_seeds_of_a_model_are_part_of_its_prompt(world: World) -> None:
    bare = ollama_layers(world.data)
    seeds = [{"role": "user", "content": "Hello."}, {"role": "assistant", "content": "Good day."}]
    for name, more in (("bare", {}), ("polite", {"system": SYSTEM}), ("seeded", {"messages": seeds})):
        world.registry.publish(f"library/{name}", "latest", [*bare, *ollama_layers(**more)], config=CONFIG)
        world.pull(f"ollama:{name}")
    counts = {n: world.chat(f"ollama:{n}")["prompt_eval_count"] for n in ("bare", "polite", "seeded")}
    assert len(set(counts.values())) == 3
    assert counts["seeded"] > counts["bare"]


def test_an_adapter_of_a_model_in_a_registry_changes_what_it_says(world: World, tmp_path: Path) -> None:
    adapter = lora(tmp_path / "a.gguf", width=576, layers=range(30)).read_bytes()
    none = lora(tmp_path / "b.gguf", width=576, layers=range(30), strength=0.0).read_bytes()
    for name, more in (("plain", []), ("tuned", [adapter]), ("idle", [none])):
        layers = ollama_layers(world.data, adapter=tuple(more))
        world.registry.publish(f"library/{name}", "latest", layers, config=CONFIG)
        world.pull(f"ollama:{name}")
    said = {name: world.chat(f"ollama:{name}")["message"]["content"] for name in ("plain", "tuned", "idle")}
    assert "Paris" in said["plain"]
    assert said["idle"] == said["plain"]
    assert said["tuned"] != said["plain"]


def test_a_split_model_of_a_registry_answers_from_blobs(world: World, tmp_path: Path) -> None:
    parts = split(world.weights, tmp_path, "smol", 2)
    layers = ollama_layers(*(part.read_bytes() for part in parts))
    world.registry.publish("library/split", "latest", layers, config=CONFIG)
    world.pull("ollama:split")
    assert len(world.blobs) == 2
    assert "Paris" in world.says("ollama:split")


def test_a_model_packed_by_docker_answers(world: World) -> None:
    layers = [
        Layer(DOCKER_AI + "gguf.v3", world.data),
        Layer(DOCKER_AI + "license", b"Apache-2.0 says Docker"),
    ]
    config = {"config": {"format": "gguf", "quantization": "Q4_1"}}
    kind = DOCKER_AI + "model.config.v0.1+json"
    world.registry.publish("ai/smol", "v1", layers, config=config, config_type=kind, media_type=OCI_MANIFEST)
    text = f"oci://{world.registry.host}/ai/smol:v1"
    world.pull(text, insecure=True)
    assert "Paris" in world.says(text)
    assert world.show(text)["license"] == "Apache-2.0 says Docker"


def test_a_modelpack_answers(world: World) -> None:
    layers = [
        Layer(CNCF + "weight.v1.raw", world.data, {FILEPATH: "smol-Q4_1.gguf"}),
        Layer(CNCF + "doc.v1.raw", b"Licence of a pack", {FILEPATH: "LICENSE"}),
        Layer(CNCF + "doc.v1.raw", b"# Read me", {FILEPATH: "README.md"}),
    ]
    world.registry.publish(
        "packs/smol", "v1", layers, config={"config": {"format": "gguf"}},
        config_type=CNCF + "config.v1+json", media_type=OCI_MANIFEST, artifactType=CNCF + "manifest.v1+json",
    )  # fmt: skip
    text = f"oci://{world.registry.host}/packs/smol:v1"
    world.cli("pull", text)
    assert [f["file"] for f in world.show(text)["files"]] == ["smol-Q4_1.gguf"]
    assert "Paris" in world.says(text)


def test_a_registry_behind_a_token_service_answers(world: World) -> None:
    world.private.publish("team/smol", "v1", ollama_layers(world.data), config=CONFIG)
    world.private.redirect = True
    text = f"oci://{world.private.host}/team/smol:v1"
    world.pull(text, insecure=True)
    assert "Paris" in world.says(text)
    assert world.private.asked("GET", "/token")
    assert world.private.secrets_at("registry")
    assert world.private.secrets_at("cdn") == []


@pytest.mark.parametrize("stranger", ["cdn", "elsewhere"])
def test_a_login_is_never_sent_to_a_token_service_elsewhere(world: World, stranger: str) -> None:
    auth = base64.b64encode(b"user:password").decode()
    (world.user / ".docker").mkdir()
    logins = {"auths": {world.private.host: {"auth": auth}}}
    (world.user / ".docker" / "config.json").write_text(json.dumps(logins))
    world.private.publish("team/kept", "v1", ollama_layers(world.data), config=CONFIG)
    host = world.private.cdn if stranger == "cdn" else world.elsewhere.authority
    world.private.faults.realm = f"http://{host}/token"
    refused = world.ask(
        "/api/pull", {"model": f"{world.private.host}/team/kept:v1", "insecure": True, "stream": False}
    )
    assert refused.status >= 400
    assert "credentials elsewhere" in refused.json["error"]
    assert world.elsewhere.hits == []
    assert world.private.asked("GET", "/token") == []
    assert world.private.secrets_at("registry") == world.private.secrets_at("cdn") == []


@pytest.mark.parametrize("prefix", ["", "oci://"])
def test_a_model_that_was_pushed_comes_back_under_another_name(world: World, prefix: str) -> None:
    world.catalogued()
    world.pull("smollm2")
    world.job(
        "/api/create", {"model": "mine", "from": "smollm2", "system": SYSTEM, "parameters": {"top_k": 7}}
    )
    target = f"{prefix}{world.registry.host}/me/theirs:{'pack' if prefix else 'v1'}"
    world.cli("push", "mine", target)
    kind, body = world.registry.manifests[("me/theirs", "pack" if prefix else "v1")]
    assert kind == (OCI_MANIFEST if prefix else DOCKER_MANIFEST)
    types = {layer["mediaType"] for layer in json.loads(body)["layers"]}
    assert (CNCF + "weight.v1.raw" if prefix else OLLAMA + "model") in types
    world.cli("rm", "mine", "smollm2")
    assert world.models() == {}
    assert world.blobs == []
    world.cli("pull", target)
    shown = world.show(target)
    assert shown["system"] == SYSTEM
    assert shown["parameters"].split() == ["temperature", "0.2", "top_k", "7", "top_p", "0.9"]
    assert "Paris" in world.says(target)


def test_a_push_to_a_host_that_is_not_allowed_is_refused(world: World) -> None:
    with FileServer() as stranger:
        world.catalogued()
        world.pull("smollm2")
        name = f"{stranger.authority}/me/mine:v1"
        assert world.ask("/api/copy", {"source": "smollm2", "destination": name}).status == 200
        refused = world.ask("/api/push", {"model": name, "insecure": True, "stream": False})
        assert refused.status == 403
        assert stranger.hits == []
