"""The official Ollama client on models themselves: pull, create, copy, delete, show, list and push; and the raw
API under it, against reference texts of Ollama."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ollama
import pytest

from support import tiny_gguf
from support import world as worlds
from support.lora import lora
from support.registryserver import OLLAMA, ollama_layers
from support.world import FRANCE, SHA256, SIZE, World

pytestmark = [pytest.mark.model, pytest.mark.timeout(120)]

ASK = [{"role": "user", "content": FRANCE}]
GREEDY = {"temperature": 0, "num_predict": 12}
FILE = "SmolLM2-135M-Instruct-Q4_1.gguf"
SYSTEM = "You are a librarian."
TEMPLATE = (
    "{{ if .System }}<|im_start|>system\n{{ .System }}<|im_end|>\n{{ end }}{{ range .Messages }}"
    '{{ if ne .Role "system" }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}{{ end }}'
    "<|im_start|>assistant\n"
)
CONFIG = {"model_format": "gguf", "model_family": "llama"}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with worlds.world(tmp_path_factory.mktemp("sdk-store")) as made:
        yield made


@pytest.fixture
def world(running: World) -> Iterator[World]:
    """A store with nothing in it."""
    yield running
    running.clean()


@pytest.fixture
def smol(world: World) -> World:
    """A store with smollm2."""
    world.catalogued()
    world.pull("smollm2")
    return world


@pytest.fixture
def client(running: World) -> Iterator[ollama.Client]:
    with ollama.Client(host=f"http://127.0.0.1:{running.server.port}") as made:
        yield made


def answer(client: ollama.Client, model: str) -> str:
    return str(client.chat(model=model, messages=ASK, options=GREEDY).message.content)


def names(client: ollama.Client) -> set[str]:
    return {str(model.model) for model in client.list().models}


def refused(world: World, path: str, body: Any, method: str = "POST") -> tuple[int, str]:
    """Status and text of an answer that is an error and nothing else."""
    got = world.ask(path, body, method)
    assert list(got.json) == ["error"]
    return got.status, got.json["error"]


# pull ----------------------------------------------------------------------------------------------------


def test_a_pull_of_a_catalogued_name_whole(world: World, client: ollama.Client) -> None:
    world.catalogued()
    assert client.pull("smollm2").status == "success"
    assert names(client) == {"smollm2:latest"}
    assert "Paris" in answer(client, "smollm2")


def test_a_pull_streams_its_steps(world: World, client: ollama.Client) -> None:
    world.registry.publish("library/smol", "135m", ollama_layers(world.data, license="MIT"), config=CONFIG)
    steps = list(client.pull("ollama:smol:135m", stream=True))
    statuses = [step.status for step in steps]
    assert statuses[0] == "pulling manifest"
    assert statuses[-3:] == ["verifying sha256 digest", "writing manifest", "success"]
    layer = [step for step in steps if step.status == f"pulling {SHA256[:12]}"]
    assert {(step.digest, step.total) for step in layer} == {(f"sha256:{SHA256}", SIZE)}
    done = [step.completed or 0 for step in layer]
    assert done == sorted(done)
    assert done[-1] == SIZE
    assert "Paris" in answer(client, "ollama:smol:135m")


def test_a_pull_from_hugging_face(world: World, client: ollama.Client) -> None:
    world.hub.publish("org/Smol-GGUF", {FILE: world.data})
    assert client.pull("hf.co/org/Smol-GGUF:Q4_1").status == "success"
    assert names(client) == {"hf.co/org/Smol-GGUF:Q4_1"}
    assert "Paris" in answer(client, "hf.co/org/Smol-GGUF:Q4_1")


def test_a_pull_from_a_registry_without_tls(world: World, client: ollama.Client) -> None:
    world.registry.publish("me/smol", "latest", ollama_layers(world.data, system=SYSTEM), config=CONFIG)
    name = f"{world.registry.host}/me/smol"
    assert client.pull(name, insecure=True).status == "success"
    assert client.show(name).model_dump()["details"]["format"] == "gguf"
    assert "Paris" in answer(client, name)


@pytest.mark.parametrize("stream", [False, True])
def test_a_pull_that_fails_raises(world: World, client: ollama.Client, stream: bool) -> None:
    for model in ("nosuchmodel", "ollama:nosuch", "hf.co/no/such"):
        with pytest.raises(ollama.ResponseError) as caught:
            list(client.pull(model, stream=stream))
        assert "not found" in caught.value.error or "no such" in caught.value.error.lower()
        assert caught.value.status_code == (404 if not stream or model == "nosuchmodel" else -1)


def test_a_pull_of_what_was_made_here_is_refused(smol: World, client: ollama.Client) -> None:
    client.create("made", from_="smollm2", system=SYSTEM)
    with pytest.raises(ollama.ResponseError) as caught:
        client.pull("made")
    assert caught.value.status_code == 400


def test_a_pull_replaces_what_was_made_here_under_the_same_name(smol: World, client: ollama.Client) -> None:
    original = client.list().models[0].digest
    client.create("smollm2", from_="smollm2", system=SYSTEM)
    assert smol.show("smollm2")["system"] == SYSTEM
    assert client.pull("smollm2").status == "success"
    assert smol.show("smollm2")["system"] == ""
    assert client.list().models[0].digest == original


def test_pull_takes_the_old_field_name_and_streams_unless_told_otherwise(smol: World) -> None:
    streamed = smol.ask("/api/pull", {"name": "smollm2"})
    assert streamed.headers["content-type"] == "application/x-ndjson"
    assert [line["status"] for line in streamed.lines][-1] == "success"
    whole = smol.ask("/api/pull", {"name": "smollm2", "stream": False})
    assert whole.headers["content-type"].startswith("application/json")
    assert whole.json["status"] == "success"


# create --------------------------------------------------------------------------------------------------


def create_all(client: ollama.Client, **more: Any) -> Any:
    return client.create(
        "librarian",
        from_="smollm2",
        system=SYSTEM,
        template=TEMPLATE,
        parameters={"temperature": 0, "num_predict": 7, "stop": ["<|im_end|>", "\n\n"], "num_ctx": 512},
        messages=[ollama.Message(role="user", content="Hi."), {"role": "assistant", "content": "Good day."}],
        license=["First licence.", "Second licence."],
        **more,
    )


def test_create_from_a_model_with_all_texts(smol: World, client: ollama.Client) -> None:
    assert create_all(client).status == "success"
    shown = client.show("librarian").model_dump()
    assert shown["license"].endswith("First licence.\nSecond licence.")
    assert {line[:30].rstrip(): line[30:].strip() for line in shown["parameters"].splitlines()} == {
        "num_ctx": "512", "num_predict": "7", "stop": '"\\n\\n"', "temperature": "0", "top_p": "0.9",
    }  # fmt: skip
    assert shown["details"]["parent_model"] == "smollm2"
    for part in ('SYSTEM """You are a librarian."""', 'MESSAGE assistant """Good day."""', "FROM librarian"):
        assert part in shown["modelfile"]
    raw = smol.show("librarian")
    assert raw["system"] == SYSTEM
    assert raw["messages"] == [
        {"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Good day."},
    ]  # fmt: skip
    got = client.chat(model="librarian", messages=ASK)
    assert "Paris" in (got.message.content or "")
    assert (got.eval_count or 0) <= 7
    assert (got.prompt_eval_count or 0) > (client.chat("smollm2", ASK, options=GREEDY).prompt_eval_count or 0)


def test_create_streams_its_steps(smol: World, client: ollama.Client) -> None:
    statuses = [step.status for step in create_all(client, stream=True)]
    assert f"using existing layer sha256:{SHA256}" in statuses
    assert statuses[-2:] == ["writing manifest", "success"]


def test_create_from_what_is_not_here_pulls_it(world: World, client: ollama.Client) -> None:
    world.catalogued()
    assert client.create("mine", from_="smollm2", system=SYSTEM).status == "success"
    assert names(client) == {"mine:latest", "smollm2:latest"}
    assert "Paris" in answer(client, "mine")


def test_create_from_an_uploaded_file(world: World, client: ollama.Client) -> None:
    digest = client.create_blob(world.weights)
    assert digest == f"sha256:{SHA256}"
    assert client.create_blob(world.weights) == digest
    assert client.create("uploaded", files={"smol.gguf": digest}).status == "success"
    assert "Paris" in answer(client, "uploaded")


def test_create_with_an_adapter_that_changes_what_is_said(
    smol: World, client: ollama.Client, tmp_path: Path
) -> None:
    strong = client.create_blob(lora(tmp_path / "strong.gguf", width=576, layers=range(30)))
    idle = client.create_blob(lora(tmp_path / "idle.gguf", width=576, layers=range(30), strength=0.0))
    client.create("tuned", from_="smollm2", adapters={"strong.gguf": strong})
    client.create("idle", from_="smollm2", adapters={"idle.gguf": idle})
    plain = answer(client, "smollm2")
    assert answer(client, "idle") == plain
    assert answer(client, "tuned") != plain


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({}, "neither 'from' or 'files' was specified"),
    ({"from": "smollm2", "parameters": {"nosuch": 1}}, "unknown parameter 'nosuch'"),
    (
        {"from": "smollm2", "parameters": {"temperature": "hot"}},
        'option "temperature" must be of type float32',
    ),
    ({"from": "smollm2", "template": "{{ if }}"}, "template"),
    ({"from": "smollm2", "template": "{{ .Nosuch }}"}, "template"),
    ({"files": {"x.gguf": "sha256:12"}}, "invalid digest format"),
    ({"files": {"x.gguf": f"sha256:{'0' * 64}"}}, "was not uploaded"),
    ({"files": {"../x.gguf": f"sha256:{'0' * 64}"}}, "file path must be relative"),
    ({"from": "smollm2", "files": {"x.gguf": f"sha256:{'0' * 64}"}}, "both specified"),
    ({"from": "smollm2", "messages": [{"role": "ghost", "content": "x"}]}, "messages[0].role"),
    ({"from": "smollm2", "quantize": "Q4_NOSUCH"}, "no such quantisation type"),
    ({"from": "smol lm", "system": "x"}, "smol lm"),
]


def test_create_refuses_with_400_and_makes_nothing(smol: World) -> None:
    for body, text in REFUSED:
        status, error = refused(smol, "/api/create", {"model": "bad", "stream": False, **body})
        assert (status, text in error) == (400, True), (body, error)
    assert set(smol.models()) == {"smollm2:latest"}


def test_create_from_a_damaged_file_is_refused_with_the_byte(
    world: World, client: ollama.Client, tmp_path: Path
) -> None:
    (tmp_path / "cut.gguf").write_bytes(tiny_gguf.model(1)[:500])
    digest = client.create_blob(tmp_path / "cut.gguf")
    with pytest.raises(ollama.ResponseError, match="at byte") as caught:
        client.create("bad", files={"cut.gguf": digest})
    assert caught.value.status_code == 400
    assert names(client) == set()


def test_create_takes_the_old_field_names(smol: World) -> None:
    whole = smol.ask("/api/create", {"name": "old", "from": "smollm2", "system": SYSTEM, "stream": False})
    assert (whole.status, whole.json["status"]) == (200, "success")
    assert "Paris" in smol.says("old")


def test_blobs_are_asked_for_and_sent(world: World) -> None:
    data = tiny_gguf.model(1)
    digest = hashlib.sha256(data).hexdigest()
    wrong = hashlib.sha256(b"other").hexdigest()
    for mark in (":", "-"):
        assert world.ask(f"/api/blobs/sha256{mark}{digest}", None, "HEAD").status == 404
    assert world.ask(f"/api/blobs/sha256:{digest}", data).status == 201
    for mark in (":", "-"):
        assert world.ask(f"/api/blobs/sha256{mark}{digest}", None, "HEAD").status == 200
    assert world.ask(f"/api/blobs/sha256-{digest}", data).status == 200
    mismatch = world.ask(f"/api/blobs/sha256:{wrong}", data)
    assert mismatch.status == 400
    assert "digest mismatch" in mismatch.json["error"]
    assert world.ask(f"/api/blobs/sha256:{wrong}", None, "HEAD").status == 404
    assert world.ask("/api/blobs/sha256:12", data).status == 400


# show, list, copy, delete --------------------------------------------------------------------------------


def test_show_says_all_of_a_model(smol: World, client: ollama.Client) -> None:
    shown = client.show("smollm2")
    assert shown.details is not None
    assert (shown.details.format, shown.details.family, shown.details.families) == (
        "gguf",
        "llama",
        ["llama"],
    )
    assert (shown.details.parameter_size, shown.details.quantization_level) == ("134.52M", "Q4_1")
    assert shown.capabilities is not None
    assert "completion" in shown.capabilities
    assert shown.modelinfo is not None
    assert shown.modelinfo["general.architecture"] == "llama"
    assert shown.modelinfo["llama.context_length"] == 8192
    assert shown.modelinfo["tokenizer.ggml.tokens"] is None
    assert "tokenizer.chat_template" not in shown.modelinfo
    assert "im_start" in (shown.template or "")
    assert "FROM smollm2" in (shown.modelfile or "")
    assert shown.license
    assert shown.modified_at is not None
    raw = smol.show("smollm2")
    assert {"name", "type", "shape"} <= set(raw["tensors"][0])
    assert smol.ask("/api/show", {"name": "SmolLM2:Latest"}).status == 200
    verbose = smol.ask("/api/show", {"model": "smollm2", "verbose": True}).json
    assert len(verbose["model_info"]["tokenizer.ggml.tokens"]) == 49152


def test_copies_share_their_weights_and_are_deleted_apart(smol: World, client: ollama.Client) -> None:
    assert client.copy("smollm2", "team/copy:v2").status == "success"
    listed = {model.model: model for model in client.list().models}
    assert set(listed) == {"smollm2:latest", "team/copy:v2"}
    assert listed["team/copy:v2"].digest == listed["smollm2:latest"].digest
    assert {model.size for model in listed.values()} == {SIZE}
    assert client.delete("smollm2").status == "success"
    assert len(smol.blobs) == 1
    assert "Paris" in answer(client, "team/copy:v2")
    assert client.delete("team/copy:v2").status == "success"
    assert smol.blobs == []
    assert client.list().models == []


def test_names_that_are_not_here_are_404_in_the_words_of_ollama(world: World, client: ollama.Client) -> None:
    for call in (client.show, client.delete):
        with pytest.raises(ollama.ResponseError) as caught:
            call("nope")
        assert (caught.value.status_code, caught.value.error) == (404, "model 'nope' not found")
    with pytest.raises(ollama.ResponseError) as caught:
        client.copy("nope", "other")
    assert (caught.value.status_code, caught.value.error) == (404, 'model "nope" not found')
    with pytest.raises(ollama.ResponseError) as caught:
        client.push("nope")
    assert caught.value.status_code == 404


@pytest.mark.parametrize(
    "path", ["/api/show", "/api/pull", "/api/push", "/api/create", "/api/copy", "/api/delete"]
)
@pytest.mark.parametrize("body", [None, b"", b"{", b"[]", b'{"model": 7}', b'{"model": "a b/../c"}', b"{}"])
def test_bodies_that_make_no_sense_are_400(running: World, path: str, body: bytes | None) -> None:
    got = running.ask(path, body, "DELETE" if path == "/api/delete" else "POST")
    assert got.status == 400
    assert got.json["error"]


# push ----------------------------------------------------------------------------------------------------


def test_push_to_a_registry_and_back(smol: World, client: ollama.Client) -> None:
    name = f"{smol.registry.host}/me/pushed:v1"
    client.create(name, from_="smollm2", system=SYSTEM, parameters={"top_k": 5})
    steps = list(client.push(name, insecure=True, stream=True))
    statuses = [step.status for step in steps]
    assert statuses[0] == "retrieving manifest"
    assert statuses[-2:] == ["pushing manifest", "success"]
    layer = [step for step in steps if step.status == f"pushing {SHA256[:12]}"]
    assert (layer[-1].digest, layer[-1].total, layer[-1].completed) == (f"sha256:{SHA256}", SIZE, SIZE)
    assert client.push(name, insecure=True).status == "success"
    for model in names(client):
        client.delete(model)
    assert client.pull(name, insecure=True).status == "success"
    assert smol.show(name)["system"] == SYSTEM
    assert "top_k" in smol.show(name)["parameters"]
    assert "Paris" in answer(client, name)
    assert OLLAMA.encode() in smol.registry.manifests[("me/pushed", "v1")][1]


def test_a_push_that_the_registry_refuses_raises(smol: World, client: ollama.Client) -> None:
    name = f"{smol.private.host}/me/closed:v1"
    client.copy("smollm2", name)
    with pytest.raises(ollama.ResponseError) as caught:
        client.push(name, insecure=True)
    assert caught.value.status_code >= 400
    assert smol.private.manifests.get(("me/closed", "v1")) is None
