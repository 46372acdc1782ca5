"""What the server shows: routes, reference, metrics, ids; bad names and bad bodies: rows 16 to 24."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from inhouse.server.documents import shown_path
from inhouse.server.routes import ROUTES
from support.running import Server, fake, serving, until


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("home"), INHOUSE_ENGINE="fake") as running:
        yield running


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("home")
    with serving(home, INHOUSE_ENGINE="fake", INHOUSE_API_KEY="s3cret") as running:
        yield running


def concrete(path: str) -> str:
    return path.replace("{model}", "fake").replace("{id}", "x").replace("{item}", "y")


def methods(path: str) -> set[str]:
    return {method for row in ROUTES if row.path == path for method in row.methods}


@pytest.mark.parametrize("row", ROUTES, ids=lambda r: r.path)
def test_every_route_asks_for_the_key_but_liveness(keyed: Server, row: Any) -> None:
    for method in row.methods:
        for headers in ({}, {"authorization": "Bearer wrong"}):
            answer = keyed.ask(
                method, concrete(row.path), {} if method in ("POST", "DELETE") else None, headers
            )
            if row.path == "/health":
                assert answer.status == 200
            else:
                assert answer.status == 401
                assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("row", ROUTES, ids=lambda r: r.path)
def test_every_route_answers_its_methods_and_no_others(server: Server, row: Any) -> None:
    for method in ("GET", "POST", "PUT", "DELETE", "PATCH"):
        answer = server.ask(method, concrete(row.path), {} if method != "GET" else None)
        assert (answer.status == 405) == (method not in methods(row.path)), (method, answer)
        assert answer.status < 500
        assert answer.headers["x-request-id"]
        if answer.status == 405:
            assert set(answer.headers["allow"].split(", ")) == methods(row.path)


@pytest.mark.parametrize(
    "path", ["/", "/api/tags", "/api/version", "/health", "/v1/models", "/metrics", "/docs"]
)
def test_head_answers_without_a_body(server: Server, path: str) -> None:
    answer = server.ask("HEAD", path)
    assert answer.status == 200
    assert answer.body == b""


@pytest.mark.parametrize(
    "path",
    [
        "/nope",
        "/v1/nope",
        "//v1/models",
        "/v1/../admin",
        "/v1/%2e%2e/x",
        "/api/tags/",
        "/v1/models/",
        "/V1/models",
    ],
)
def test_unknown_paths_are_404_in_the_shape_of_their_api(server: Server, path: str) -> None:
    answer = server.ask("GET", path)
    assert answer.status == 404
    error = answer.json["error"]
    assert error["message"] if path.startswith("/v1") else isinstance(error, str)


NAMES = [
    "nope", "../x", "a\x00b", "x" * 300, "\N{GRINNING FACE}", "a:b:c", "@sha256:" + "0" * 64, "/etc/passwd", "",
    "fake/../fake", "C:\\x", "a b",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_unknown_and_impossible_models_are_refused_alike_everywhere(server: Server, name: str) -> None:
    for path, more in (
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}]}),
        ("/v1/completions", {"prompt": "x"}),
        ("/v1/embeddings", {"input": "x"}),
        ("/api/chat", {"messages": []}),
        ("/api/generate", {"prompt": "x"}),
        ("/api/embed", {"input": "x"}),
        ("/api/show", {}),
        ("/api/copy", {"source": name, "destination": "y"}),
    ):
        answer = server.ask("POST", path, {"model": name, **more})
        assert answer.status in (400, 404), (path, answer)
        assert "error" in answer.json
        assert str(server.home) not in answer.body.decode()
    assert server.ask("DELETE", "/api/delete", {"model": name}).status in (400, 404)


def test_names_are_found_in_any_case(server: Server) -> None:
    assert server.chat(fake(tokens=1), "FAKE:Latest").status == 200


@pytest.mark.parametrize(
    "path",
    ["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/api/chat", "/api/generate", "/api/embed",
     "/api/show", "/api/pull", "/api/copy"],
)  # fmt: skip
@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"\xff\xfe", b'{"model":NaN}', b"[" * 100_000],
    ids=["empty", "cut", "list", "bytes", "nan", "deep"],
)
def test_bodies_that_are_not_json_objects_are_400(server: Server, path: str, body: bytes) -> None:
    answer = server.ask("POST", path, body)
    assert answer.status == 400
    assert answer.json["error"]


def test_a_body_that_is_too_large_is_413_before_it_is_read(tmp_path_factory: pytest.TempPathFactory) -> None:
    with serving(tmp_path_factory.mktemp("h"), INHOUSE_ENGINE="fake", INHOUSE_MAX_BODY="1MiB") as small:
        connection = small.connect()
        connection.putrequest("POST", "/v1/chat/completions")
        connection.putheader("content-type", "application/json")
        connection.putheader("content-length", str(2**30))
        connection.endheaders()
        response = connection.getresponse()
        assert response.status == 413
        connection.close()
        compressed = small.ask("POST", "/api/chat", b"x", {"content-encoding": "gzip"})
        assert compressed.status == 415


def test_the_reference_is_the_route_table(server: Server) -> None:
    document = server.ask("GET", "/openapi.json").json
    assert document["openapi"].startswith("3.")
    told = {(p, m.upper()) for p, operations in document["paths"].items() for m in operations}
    assert told == {(shown_path(row.path), method) for row in ROUTES for method in row.methods}
    page = server.ask("GET", "/docs").body.decode()
    for row in ROUTES:
        assert f"<code>{shown_path(row.path)}</code>" in page
    assert "http://" not in page
    assert "<script" not in page


def test_the_examples_of_the_reference_work(server: Server) -> None:
    document = server.ask("GET", "/openapi.json").json
    tried = 0
    for path, operations in document["paths"].items():
        content = (
            operations.get("post", {}).get("requestBody", {}).get("content", {}).get("application/json", {})
        )
        if "example" in content and path != "/api/pull":
            model = "fake-embed" if path.endswith(("rerank", "score")) else "fake"
            answer = server.ask("POST", path, {**content["example"], "model": model})
            assert answer.status == 200, (path, answer.body)
            tried += 1
    assert tried >= 6


def test_every_field_of_the_reference_is_read(server: Server) -> None:
    """A field of the wrong type is refused by its name, so it is not accepted and ignored."""
    local = {"x-inhouse-local": json.loads((server.home / "server.json").read_text())["token"]}
    document = server.ask("GET", "/openapi.json").json
    for path, operations in document["paths"].items():
        content = operations.get("post", {}).get("requestBody", {}).get("content", {}).get("application/json")
        if not content:
            continue
        schema = document["components"]["schemas"][content["schema"]["$ref"].rsplit("/", 1)[1]]
        example = {**content.get("example", {"source": "fake", "destination": "x"}), "model": "fake"}
        for field in schema["properties"]:
            wrong: Any = {"wrong": ["type"]} if schema["properties"][field]["type"] != "object" else 7
            if field in ("format", "tool_choice") or "object" in schema["properties"][field]["type"]:
                wrong = 7
            answer = server.ask("POST", path, {**example, field: wrong}, local)
            assert answer.status in (400, 404), (path, field, answer.status, answer.body)


def test_metrics_are_a_prometheus_page(server: Server) -> None:
    server.chat(fake(tokens=3), stream=True)
    text = server.ask("GET", "/metrics").body.decode()
    families = {f.name: f for f in text_string_to_metric_families(text)}
    for name in (
        "inhouse_requests", "inhouse_queue_seconds", "inhouse_time_to_first_token_seconds",
        "inhouse_inter_token_seconds", "inhouse_request_seconds", "inhouse_prompt_tokens",
        "inhouse_completion_tokens", "inhouse_cached_tokens", "inhouse_models_loaded",
        "inhouse_model_memory_bytes", "inhouse_model_loads", "inhouse_model_evictions", "inhouse_worker_restarts",
    ):  # fmt: skip
        assert name in families, name
    assert families["inhouse_models_loaded"].samples[0].value >= 1
    assert server.metric("inhouse_model_memory_bytes", model="fake:latest") > 1_000_000
    assert server.metric("inhouse_completion_tokens_total", model="fake:latest") >= 3


def test_the_log_has_the_request_id_and_no_prompt(server: Server) -> None:
    secret = "the merger is on friday"
    server.ask(
        "POST", "/v1/chat/completions",
        {"model": "fake", "messages": [{"role": "user", "content": secret}]}, {"x-request-id": "find-me-1"},
    )  # fmt: skip
    until(lambda: "find-me-1" in server.log.read_text(), 5, "the log line")
    assert secret not in server.log.read_text()


def test_the_front_door(server: Server) -> None:
    assert server.ask("GET", "/").body == b"Ollama is running"
    page = server.ask("GET", "/", headers={"accept": "text/html,*/*"})
    assert page.status == 307
    assert page.headers["location"] == "/docs"
    version = server.ask("GET", "/api/version").json["inhouse"]
    assert server.ask("GET", "/health").json == {"status": "ok", "version": version, "name": "inhouse"}


def test_a_long_prefill_keeps_the_connection_alive(tmp_path_factory: pytest.TempPathFactory) -> None:
    with serving(
        tmp_path_factory.mktemp("h"), INHOUSE_ENGINE="fake", INHOUSE_KEEPALIVE_INTERVAL="200ms"
    ) as quick:
        answer = quick.chat(fake(tokens=2, prefill=1.5), stream=True)
        text = answer.body.decode()
        assert text.index(": ") < text.index("data: ")
        assert answer.events[-1] == "[DONE]"
        whole = quick.chat(fake(tokens=2, prefill=1.0))
        assert whole.json["choices"][0]["finish_reason"]


def test_streams_say_that_nobody_may_buffer_them(server: Server) -> None:
    answer = server.chat(fake(tokens=2), stream=True)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-accel-buffering"] == "no"
    lines = server.ask("POST", "/api/generate", {"model": "fake", "prompt": fake(tokens=2)})
    assert lines.headers["content-type"].startswith("application/x-ndjson")
    assert lines.lines[-1]["done"] is True
    assert json.dumps(lines.lines[-1]["total_duration"]).isdigit()
