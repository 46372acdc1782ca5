"""Reranking, scores, tokens and templates over HTTP, on the fake engine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from support.running import Server, serving

DOCUMENTS = ["a fox", "the red fox jumps", "nothing alike"]
RED_FOX = "red fox"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(
        tmp_path_factory.mktemp("home"), INHOUSE_ENGINE="fake", INHOUSE_CONTEXT_LENGTH="512"
    ) as running:
        yield running


def post(server: Server, path: str, **body: Any) -> Any:
    answer = server.ask("POST", path, body)
    assert answer.status == 200, answer.body
    assert answer.headers["content-type"] == "application/json"
    return answer.json


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank"])
def test_documents_are_ranked(server: Server, path: str) -> None:
    told = post(server, path, model="fake-rerank", query=RED_FOX, documents=DOCUMENTS, top_n=2)
    assert [result["index"] for result in told["results"]] == [1, 0]
    assert [round(result["relevance_score"], 4) for result in told["results"]] == [0.9933, 0.5]
    assert told["usage"]["total_tokens"] == told["meta"]["tokens"]["input_tokens"] == 6 + 9 + 8
    assert ("document" in told["results"][0]) == (path != "/v2/rerank")


def test_an_embedding_model_ranks_too(server: Server) -> None:
    told = post(server, "/rerank", model="fake-embed", query="a fox", documents=DOCUMENTS)
    assert told["results"][0]["index"] == 0
    assert told["results"][0]["relevance_score"] == pytest.approx(1)
    assert all(0 <= result["relevance_score"] <= 1 for result in told["results"])


def test_a_model_that_talks_ranks_nothing(server: Server) -> None:
    answer = server.ask("POST", "/rerank", {"model": "fake", "query": "q", "documents": ["a"]})
    assert (answer.status, answer.json["error"]["code"]) == (400, "unsupported")
    assert answer.json["error"]["param"] == "model"


@pytest.mark.parametrize("path", ["/score", "/v1/score"])
def test_pairs_are_scored_in_their_order(server: Server, path: str) -> None:
    told = post(server, path, model="fake-rerank", text_1=RED_FOX, text_2=DOCUMENTS, raw_scores=True)
    assert [one["score"] for one in told["data"]] == [0.0, 5.0, -5.0]
    told = post(server, path, model="fake-rerank", text_1=["a", "b"], text_2=["a", "a"], raw_scores=True)
    assert [one["score"] for one in told["data"]] == [5.0, -5.0]


def test_a_document_that_is_too_long_is_named_or_cut(server: Server) -> None:
    body = {"model": "fake-rerank", "query": RED_FOX, "documents": ["fox", "fox " * 600]}
    answer = server.ask("POST", "/rerank", body)
    assert answer.status == 400
    assert answer.json["error"]["param"] == "documents[1]"
    assert answer.json["error"]["code"] == "context_length_exceeded"
    assert len(post(server, "/rerank", **body, truncate=True)["results"]) == 2
    assert len(post(server, "/v2/rerank", **body)["results"]) == 2


@pytest.mark.parametrize("prefix", ["", "/v1"])
def test_text_goes_to_tokens_and_back(server: Server, prefix: str) -> None:
    text = "hello wide world €"
    told = post(server, f"{prefix}/tokenize", model="fake", content=text, with_pieces=True)
    assert "".join(one["piece"] for one in told["tokens"]) == text
    assert told["max_model_len"] == 512
    plain = post(server, f"{prefix}/tokenize", model="fake", prompt=text)
    assert plain["tokens"] == [one["id"] for one in told["tokens"]]
    assert plain["count"] == len(plain["tokens"])
    back = post(server, f"{prefix}/detokenize", model="fake", tokens=plain["tokens"])
    assert back == {"content": text, "prompt": text}


def test_a_conversation_is_rendered_and_counted_as_its_answer_reports(server: Server) -> None:
    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "hi there"}]
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    for more in ({}, {"tools": tools}, {"response_format": {"type": "json_object"}}):
        chat = {"model": "fake", "messages": messages, **more}
        rendered = post(server, "/apply-template", **chat)
        assert "Be kind." in rendered["prompt"]
        counted = post(server, "/tokenize", **chat, return_token_strs=True)
        assert counted["count"] == rendered["count"] == len(counted["token_strs"])
        assert "".join(counted["token_strs"]) == rendered["prompt"]
        if "response_format" in more:
            continue  # the fake engine's prose satisfies no format
        answer = server.ask("POST", "/v1/chat/completions", chat | {"max_tokens": 3})
        assert answer.json["usage"]["prompt_tokens"] == rendered["count"]


@pytest.mark.parametrize(
    "path", ["/rerank", "/v2/rerank", "/score", "/tokenize", "/detokenize", "/apply-template"]
)
def test_errors_have_openais_shape(server: Server, path: str) -> None:
    for body in ({}, [], {"model": 5}):
        answer = server.ask("POST", path, body)
        assert answer.status == 400
        assert set(answer.json["error"]) == {"message", "type", "param", "code"}
    texts = {"query": "q", "documents": ["a"], "content": "x", "tokens": [1]}
    if path == "/score":
        texts = {"text_1": "a", "text_2": "b"}
    messages = [{"role": "user", "content": "x"}]
    if path == "/apply-template":
        texts = {"messages": messages}
    answer = server.ask("POST", path, {"model": "nobody", **texts})
    assert (answer.status, answer.json["error"]["code"]) == (404, "model_not_found")


def test_two_thousand_texts_are_ranked_and_embedded(server: Server) -> None:
    texts = [f"text {i}" for i in range(2048)]
    told = post(server, "/rerank", model="fake-rerank", query="text 7", documents=texts, top_n=1)
    assert told["results"][0]["index"] == 7
    vectors = post(server, "/v1/embeddings", model="fake-embed", input=texts)["data"]
    assert [one["index"] for one in vectors] == list(range(2048))
    answer = server.ask("POST", "/v1/embeddings", {"model": "fake-embed", "input": ["x"] * 20_000})
    assert (answer.status, answer.json["error"]["param"]) == (400, "input")


@pytest.mark.parametrize("path", ["/rerank", "/v2/rerank", "/score", "/tokenize", "/apply-template"])
def test_what_the_server_itself_refuses_has_the_same_shape(server: Server, path: str) -> None:
    answer = server.ask("POST", path, b"{}", {"content-type": "text/plain"})
    assert answer.status == 415
    assert answer.json["error"]["type"] == "invalid_request_error"
    assert answer.json["error"]["message"]
