"""A server of OpenAI's wire that the config file names is an engine like any other, seen over HTTP."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import tiny_gguf
from support.lifecycle import sha256
from support.running import Server, serving

TINY = Path(__file__).parent.parent / "support" / "tiny_openai.py"
MODEL = tiny_gguf.model(1)
SECTION = """
[engines.mine]
command = [{python!r}, {script!r}, "--socket", "{{socket}}", "--model", "{{model}}", "--name", "{{name}}",
           "--context", "{{context}}", "--slots", "{{slots}}"]
models = ["mine*"]
context_length = 64
slots = 2
"""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the engine listens on a socket")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("home")
    (home / "config.toml").write_text(SECTION.format(python=sys.executable, script=str(TINY)))
    with serving(home, INHOUSE_ENGINE="fake") as running:
        make(running, "mine")
        yield running


def make(server: Server, name: str) -> None:
    digest = sha256(MODEL)
    sent = server.ask(
        "POST", f"/api/blobs/{digest}", MODEL, {"content-type": "application/octet-stream"}
    ).status
    assert sent in (200, 201)
    body = {"model": name, "files": {"m.gguf": digest}, "stream": False}
    assert server.ask("POST", "/api/create", body).json["status"] == "success"


def test_it_chats(server: Server) -> None:
    answer = server.chat("say something", "mine", temperature=0, max_tokens=5)
    assert answer.status == 200, answer.body
    [choice] = answer.json["choices"]
    assert len(choice["message"]["content"].split()) == 5
    assert choice["finish_reason"] == "length"
    assert answer.json["usage"] == answer.json["usage"] | {"prompt_tokens": 6, "completion_tokens": 5}
    [loaded] = server.loaded()
    assert (loaded["name"], loaded["engine"], loaded["slots"]) == ("mine:latest", "mine", 2)
    assert loaded["context_length"] == 64


def test_it_streams_the_same(server: Server) -> None:
    whole = server.chat("again", "mine", temperature=0, max_tokens=8).json
    events = server.chat("again", "mine", temperature=0, max_tokens=8, stream=True).events
    assert events[-1] == "[DONE]"
    pieces = [choice["delta"].get("content") or "" for event in events[:-1] for choice in event["choices"]]
    assert len([piece for piece in pieces if piece]) > 1
    assert "".join(pieces) == whole["choices"][0]["message"]["content"]


def test_ollamas_clients_are_answered_too(server: Server) -> None:
    body = {
        "model": "mine",
        "messages": [{"role": "user", "content": "say something"}],
        "options": {"temperature": 0, "num_predict": 5},
    }
    lines = server.ask("POST", "/api/chat", body).lines
    assert lines[-1]["done_reason"] == "length"
    assert lines[-1]["eval_count"] == 5
    assert len("".join(line["message"]["content"] for line in lines).split()) == 5


def test_it_makes_embeddings(server: Server) -> None:
    answer = server.ask("POST", "/v1/embeddings", {"model": "mine", "input": ["a", "b"]})
    assert answer.status == 200, answer.body
    vectors = [one["embedding"] for one in answer.json["data"]]
    assert len(vectors) == 2
    assert vectors[0] == vectors[1] == pytest.approx([0.2**0.5, 0.8**0.5])


@pytest.mark.parametrize(
    ("path", "more", "named"),
    [
        ("/v1/chat/completions", {"top_k": 5}, "top_k"),
        ("/v1/chat/completions", {"min_p": 0.5}, "min_p"),
        ("/api/chat", {"options": {"top_k": 5}}, "top_k"),
    ],
)
def test_what_its_wire_has_not_is_refused_by_its_name(
    server: Server, path: str, more: dict[str, object], named: str
) -> None:
    body = {"model": "mine", "messages": [{"role": "user", "content": "x"}], **more}
    answer = server.ask("POST", path, body)
    assert answer.status == 400
    assert named in answer.body.decode()


def test_a_prompt_that_is_longer_than_its_context_is_refused(server: Server) -> None:
    answer = server.chat("word " * 100, "mine")
    assert answer.status == 400
    assert answer.json["error"]["code"] == "context_length_exceeded"


def test_ollamas_clients_lose_their_oldest_messages_instead(server: Server) -> None:
    said = [("user", "old " * 50), ("assistant", "older " * 20), ("user", "and now?")]
    body = {"model": "mine", "messages": [{"role": role, "content": text} for role, text in said]}
    options = {"temperature": 0, "num_predict": 3}
    lines = server.ask("POST", "/api/chat", body | {"options": options}).lines
    assert lines[-1]["done"] is True
    assert lines[-1]["prompt_eval_count"] < 64
    kept = server.ask("POST", "/api/chat", body | {"options": options, "truncate": False})
    assert kept.status == 400


def test_token_ids_of_an_earlier_answer_are_refused_by_their_name(server: Server) -> None:
    answer = server.ask("POST", "/api/generate", {"model": "mine", "prompt": "x", "context": [1, 2]})
    assert answer.status == 400
    assert "token ids of an earlier answer" in answer.body.decode()


def test_an_adapter_of_an_unknown_name_is_told_by_its_field(server: Server) -> None:
    answer = server.chat("x", "mine", adapters=[{"name": "nobody"}])
    assert answer.status == 404
    assert answer.json["error"]["param"] == "adapters[0].name"


def test_an_engine_that_does_not_start_is_told_with_its_last_words(tmp_path: Path) -> None:
    section = SECTION.format(python=sys.executable, script=str(TINY)).replace("--slots", "--no-such-flag")
    (tmp_path / "config.toml").write_text(section)
    with serving(tmp_path, INHOUSE_ENGINE="fake") as server:
        make(server, "mine")
        answer = server.chat("x", "mine")
        assert answer.status == 503
        assert answer.json["error"]["code"] == "load_failed"
        assert "--no-such-flag" in answer.body.decode()


# a model whose files are broken


@pytest.fixture
def blob(server: Server) -> Path:
    path = server.home / "models/blobs" / sha256(MODEL).replace(":", "-")
    path.chmod(0o600)
    return path


@pytest.fixture
def loaded(server: Server, blob: Path) -> Iterator[Server]:
    """The server with its model loaded and the weights cut short."""
    assert server.chat("x", "mine", max_tokens=1).status == 200
    blob.write_bytes(MODEL[:-1])
    yield server
    blob.write_bytes(MODEL)


def test_a_loaded_model_whose_weights_broke_can_be_unloaded(loaded: Server) -> None:
    assert loaded.chat("x", "mine").status == 500
    assert [one["name"] for one in loaded.loaded()] == ["mine:latest"]
    answer = loaded.ask("POST", "/api/generate", {"model": "mine", "keep_alive": 0, "stream": False})
    assert (answer.status, answer.json["done_reason"]) == (200, "unload")
    assert loaded.loaded() == []
    again = loaded.ask("POST", "/api/generate", {"model": "mine", "keep_alive": 0, "stream": False})
    assert again.status == 500
    assert "missing or cut short" in again.body.decode()


def test_a_loaded_model_whose_manifest_is_gone_can_be_unloaded(server: Server) -> None:
    assert server.chat("x", "mine", max_tokens=1).status == 200
    [manifest] = (server.home / "models/manifests").rglob("*.json")
    text = manifest.read_text()
    try:
        manifest.unlink()
        body = {"model": "mine", "keep_alive": 0, "stream": False}
        assert server.ask("POST", "/api/chat", body | {"messages": []}).status == 200
        assert server.loaded() == []
        assert server.ask("POST", "/api/chat", body | {"messages": []}).status == 404
    finally:
        manifest.write_text(text)


def test_a_model_whose_weights_broke_can_be_deleted_and_is_unloaded(loaded: Server) -> None:
    assert loaded.ask("DELETE", "/api/delete", {"model": "mine"}).status == 200
    assert loaded.loaded() == []
    assert loaded.chat("x", "mine").status == 404
    make(loaded, "mine")
    assert loaded.chat("x", "mine").status == 200
