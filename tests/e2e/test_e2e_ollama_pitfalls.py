"""What clones of Ollama's API get wrong: one test for each, against a server with the fake engine.

The numbers are those of the list of pitfalls that this follows.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from support.running import Answer, Server, fake, serving

pytestmark = pytest.mark.timeout(60)

HI = [{"role": "user", "content": "hi"}]
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("ollama-pitfalls"), INHOUSE_ENGINE="fake") as running:
        yield running


def chat(server: Server, text: str = "hi", **more: Any) -> Answer:
    body = {"model": "fake", "messages": [{"role": "user", "content": text}], **more}
    return server.ask("POST", "/api/chat", body)


def generate(server: Server, prompt: str = "hi", **more: Any) -> Answer:
    return server.ask("POST", "/api/generate", {"model": "fake", "prompt": prompt, **more})


@pytest.mark.parametrize("ask", [chat, generate])
def test_1_answers_stream_by_default_as_lines_of_json_each_ended(server: Server, ask: Any) -> None:
    answer = ask(server)
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.body.endswith(b"}\n")
    assert b"data:" not in answer.body
    assert [line["done"] for line in answer.lines] == [False] * (len(answer.lines) - 1) + [True]
    whole = ask(server, stream=False)
    assert whole.headers["content-type"] == "application/json"
    assert whole.json["done"]


@pytest.mark.parametrize(
    "path, empty, piece",
    [("/api/chat", {"messages": []}, "message"), ("/api/generate", {"prompt": ""}, "response")],
)
def test_2_an_empty_prompt_loads_and_with_no_keep_alive_unloads(
    server: Server, path: str, empty: dict[str, Any], piece: str
) -> None:
    for keep, reason in (({}, "load"), ({"keep_alive": "5m"}, "load"), ({"keep_alive": 0}, "unload")):
        answer = server.ask("POST", path, {"model": "fake", **empty, **keep})
        assert answer.status == 200
        assert (answer.json["done"], answer.json["done_reason"]) == (True, reason)
        assert answer.json[piece] in ("", {"role": "assistant", "content": ""})


def test_3_durations_are_whole_nanoseconds(server: Server) -> None:
    last = chat(server, fake(tokens=3)).lines[-1]
    durations = [last[name] for name in last if name.endswith("_duration")]
    assert len(durations) == 4
    assert all(isinstance(each, int) for each in durations)
    assert last["total_duration"] >= last["load_duration"] > 0
    assert last["total_duration"] > 10_000


def test_4_digests_in_lists_have_no_prefix(server: Server) -> None:
    chat(server)
    for path in ("/api/tags", "/api/ps"):
        models = server.ask("GET", path).json["models"]
        assert models
        assert all(re.fullmatch("[0-9a-f]{64}", model["digest"]) for model in models)


def test_5_show_always_has_model_info(server: Server) -> None:
    assert server.ask("POST", "/api/show", {"model": "fake"}).json["model_info"] == {}


@pytest.mark.parametrize("name", ["fake", "FAKE", "Fake:Latest", "fake:latest"])
def test_6_names_are_the_same_in_any_case_and_latest_is_implied(server: Server, name: str) -> None:
    body = {"messages": HI, "stream": False}
    assert server.ask("POST", "/api/chat", {"model": name, **body}).json["model"] == name
    assert server.ask("POST", "/api/show", {"name": name}).status == 200


@pytest.mark.parametrize(
    "options", [{"nonsense": 1}, {"num_ctx": 0}, {"mirostat": 2, "low_vram": True}, {"num_keep": 24}]
)
def test_7_unknown_and_old_options_are_no_error_and_0_is_automatic(
    server: Server, options: dict[str, Any]
) -> None:
    assert chat(server, options=options, stream=False).status == 200


def test_7_a_context_has_at_least_four_tokens(server: Server) -> None:
    answer = generate(server, raw=True, options={"num_ctx": 1}, stream=False)
    assert answer.status == 200
    assert answer.json["done_reason"] == "length"


@pytest.mark.parametrize(
    "keep_alive, seconds",
    [(300, 300), ("10m", 600), ("1h30m", 5400), ("1500ms", 1.5), (-1, math.inf), ("-1m", math.inf)],
)
def test_8_keep_alive_is_seconds_or_a_duration_and_negative_is_for_ever(
    server: Server, keep_alive: Any, seconds: float
) -> None:
    server.ask("POST", "/api/generate", {"model": "fake-b", "keep_alive": keep_alive})
    (model,) = (m for m in server.loaded() if m["name"] == "fake-b:latest")
    expires = datetime.fromisoformat(model["expires_at"][:19] + "+00:00")
    left = (expires - datetime.now(expires.tzinfo)).total_seconds()
    assert left > 1e9 if math.isinf(seconds) else abs(left - seconds) < 5


def test_9_arguments_are_an_object_here_and_text_at_openai(server: Server) -> None:
    told = fake(tool_call={"name": "weather", "arguments": {"city": "Köln"}})
    for lines in (
        chat(server, told, tools=[WEATHER]).lines,
        [chat(server, told, tools=[WEATHER], stream=False).json],
    ):
        (call,) = (call for line in lines for call in line["message"].get("tool_calls", ()))
        assert call["function"]["arguments"] == {"city": "Köln"}
        assert re.fullmatch(r"call_\w{8}", call["id"])
        assert lines[-1]["done_reason"] == "stop"
    (choice,) = server.chat(told, tools=[WEATHER]).json["choices"]
    assert json.loads(choice["message"]["tool_calls"][0]["function"]["arguments"]) == {"city": "Köln"}


def test_11_thinking_is_apart_and_refused_where_a_model_does_not_think(server: Server) -> None:
    answer = chat(server, fake(reasoning="hm", text="so"), stream=False)
    assert answer.json["message"]["thinking"].strip() == "hm"
    assert answer.json["message"]["content"] == "so"
    body = {"model": "Fake-Embed", "messages": HI, "think": True}
    refused = server.ask("POST", "/api/chat", body)
    assert refused.status == 400


def test_12_embeddings_have_length_1(server: Server) -> None:
    answer = server.ask("POST", "/api/embed", {"model": "fake-embed", "input": ["a", "b"]}).json
    assert len(answer["embeddings"]) == 2
    old = server.ask("POST", "/api/embeddings", {"model": "fake-embed", "prompt": "a"}).json
    assert old == {"embedding": answer["embeddings"][0]}
    cut = server.ask("POST", "/api/embed", {"model": "fake-embed", "input": "a", "dimensions": 8}).json
    for vector in (*answer["embeddings"], *cut["embeddings"]):
        assert math.isclose(sum(x * x for x in vector), 1, rel_tol=1e-6)
    assert len(cut["embeddings"][0]) == 8


@pytest.mark.parametrize("path", ["/", "/api/tags", "/api/version"])
def test_13_heads_are_answered(server: Server, path: str) -> None:
    answer = server.ask("HEAD", path)
    assert (answer.status, answer.body) == (200, b"")


@pytest.mark.parametrize(
    "digest, status", [("sha256:" + "0" * 64, 404), ("sha256-" + "0" * 64, 404), ("x", 400)]
)
def test_13_blobs_too(server: Server, digest: str, status: int) -> None:
    assert server.ask("HEAD", f"/api/blobs/{digest}").status == status


@pytest.mark.parametrize("host, status", [("evil.example", 403), ("localhost:1", 200), ("10.1.2.3", 200)])
def test_14_the_host_must_be_of_this_machine(server: Server, host: str, status: int) -> None:
    assert server.ask("GET", "/api/tags", headers={"host": host}).status == status


@pytest.mark.parametrize(
    "origin, status",
    [
        ("http://localhost:3000", 204),
        ("https://127.0.0.1", 204),
        ("app://obsidian.md", 204),
        ("tauri://localhost", 204),
        ("vscode-webview://abc", 204),
        ("https://evil.example", 403),
    ],
)
def test_14_preflights(server: Server, origin: str, status: int) -> None:
    headers = {"origin": origin, "access-control-request-method": "POST"}
    answer = server.ask("OPTIONS", "/api/chat", headers=headers)
    assert answer.status == status
    assert answer.headers.get("access-control-allow-origin") == (origin if status == 204 else None)


TEXTS = [
    ("POST", "/api/chat", b"", 400, "missing request body"),
    ("POST", "/api/generate", b" ", 400, "missing request body"),
    ("POST", "/api/embed", b"", 400, "missing request body"),
    ("POST", "/api/chat", {"model": "x", "messages": HI}, 404, "model 'x' not found"),
    ("POST", "/api/generate", {"model": "x", "prompt": "y"}, 404, "model 'x' not found"),
    ("POST", "/api/show", {"model": "x"}, 404, "model 'x' not found"),
    ("DELETE", "/api/delete", {"model": "x"}, 404, "model 'x' not found"),
    ("POST", "/api/embed", {"model": "x", "input": "y"}, 404, 'model "x" not found, try pulling it first'),
    (
        "POST",
        "/api/embeddings",
        {"model": "x", "prompt": "y"},
        404,
        'model "x" not found, try pulling it first',
    ),
    ("POST", "/api/copy", {"source": "x", "destination": "y"}, 404, 'model "x" not found'),
    ("POST", "/api/copy", {"source": "", "destination": "y"}, 400, 'source "" is invalid'),
    ("POST", "/api/chat", {"model": "fake-embed", "messages": HI}, 400, '"fake-embed" does not support chat'),
    (
        "POST",
        "/api/generate",
        {"model": "fake-embed", "prompt": "x", "raw": True},
        400,
        '"fake-embed" does not support generate',
    ),
    (
        "POST",
        "/api/chat",
        {"model": "fake", "messages": HI, "options": {"top_k": "x"}},
        400,
        'option "top_k" must be of type integer',
    ),
    (
        "POST",
        "/api/chat",
        {"model": "fake", "messages": HI, "top_logprobs": 21},
        400,
        "top_logprobs must be between 0 and 20",
    ),
    (
        "POST",
        "/api/generate",
        {"model": "fake", "prompt": "x", "raw": True, "system": "y"},
        400,
        "raw mode does not support template, system, or context",
    ),
    ("POST", "/api/embed", {"model": "fake-embed", "input": [1]}, 400, "invalid input type"),
    (
        "POST",
        "/api/embed",
        {"model": "fake-embed", "input": "a b c", "options": {"num_ctx": 0}},
        400,
        "input after truncation exceeds maximum context length",
    ),
    ("POST", "/api/me", b"", 401, "unauthorized"),
    ("POST", "/api/signout", b"", 401, "you are not currently signed in"),
    ("DELETE", "/api/user/keys/abc", None, 401, "you are not currently signed in"),
    (
        "POST",
        "/api/experimental/web_search",
        {"query": "x"},
        403,
        "ollama cloud is disabled: web search is unavailable",
    ),
    (
        "POST",
        "/api/experimental/web_fetch",
        {"url": "http://x"},
        403,
        "ollama cloud is disabled: web fetch is unavailable",
    ),
]


@pytest.mark.parametrize("method, path, body, status, text", TEXTS, ids=lambda value: str(value)[:40])
def test_16_errors_have_the_texts_that_clients_match_on(
    server: Server, method: str, path: str, body: Any, status: int, text: str
) -> None:
    headers = {"content-type": "application/json"}
    answer = server.ask(method, path, body, headers=headers)
    assert (answer.status, answer.json) == (status, {"error": text})


def test_16_paths_and_methods_that_are_not_there(server: Server) -> None:
    assert server.ask("GET", "/api/nothing").status == 404
    wrong = server.ask("GET", "/api/chat")
    assert (wrong.status, wrong.headers["allow"]) == (405, "POST")
    assert wrong.json["error"]


def test_16_a_failure_amid_a_stream_is_its_last_line(server: Server) -> None:
    answer = chat(server, fake(tokens=9, error_after=3, rate=50))
    assert answer.status == 200
    assert set(answer.lines[-1]) == {"error"}
    assert not any(line.get("done") for line in answer.lines)


def test_there_is_no_cloud(server: Server) -> None:
    status = server.ask("GET", "/api/status")
    assert status.json == {"cloud": {"disabled": True, "source": "config"}}
    recommended = server.ask("GET", "/api/experimental/model-recommendations")
    assert recommended.json == {"recommendations": []}


@pytest.mark.parametrize("ask", [chat, generate])
def test_a_prompt_is_shown_instead_of_answered(server: Server, ask: Any) -> None:
    answer = ask(server, "Why?", _debug_render_only=True)
    assert answer.headers["content-type"] == "application/json"
    shown = answer.json["_debug_info"]["rendered_template"]
    assert shown == "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n"


def test_a_raw_prompt_is_shown_as_it_is(server: Server) -> None:
    answer = generate(server, "Why?", raw=True, _debug_render_only=True)
    assert answer.json["_debug_info"] == {"rendered_template": "Why?"}


@pytest.mark.parametrize("agent, name", [("GitHubCopilotChat/0.41.1", "Fake"), ("other", None)])
def test_copilot_is_told_the_name_that_it_asked_for(server: Server, agent: str, name: str | None) -> None:
    answer = server.ask("POST", "/api/show", {"model": "Fake"}, headers={"user-agent": agent})
    assert answer.json["model_info"].get("general.basename") == name


def test_show_takes_a_system_message_and_options_as_if_they_were_the_models(server: Server) -> None:
    body = {"model": "fake", "system": "Be brief.", "options": {"top_k": 3, "stop": ["x"]}}
    shown = server.ask("POST", "/api/show", body).json
    assert shown["system"] == "Be brief."
    assert shown["parameters"].split() == ["stop", '"x"', "top_k", "3"]


def test_a_template_that_cannot_be_rendered_is_refused_before_a_model_is_asked(server: Server) -> None:
    answer = generate(server, template="{{ .Prompt")
    assert answer.status == 400
    assert "template" in answer.json["error"]


def test_a_schema_that_is_none_is_refused_with_its_field(server: Server) -> None:
    answer = chat(server, format={"type": "strin"})
    assert answer.status == 400
    assert "format" in answer.json["error"]


def test_a_choice_of_no_tool_gives_text(server: Server) -> None:
    told = fake(text="so")
    answer = chat(server, told, tools=[WEATHER], tool_choice="none", stream=False)
    assert answer.json["message"] == {"role": "assistant", "content": "so"}
