"""all-MiniLM-L6-v2 on the real engine agrees with sentence-transformers; a head makes it a reranker.

``minilm_reference.json`` was recorded by ``support/record_minilm.py``.
"""

from __future__ import annotations

import base64
import json
import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support import minilm
from support.running import Answer, Server, serving

pytestmark = [pytest.mark.model, pytest.mark.timeout(900)]

REFERENCE: dict[str, Any] = json.loads((Path(__file__).parent / "minilm_reference.json").read_text("utf-8"))
HINDI = "नई दिल्ली"
"""llama.cpp's WordPiece drops spacing marks, which Indic scripts write vowels with; the model's own keeps
them. A text in these scripts is near what it should be (0.95), not the same."""
TEXTS = [one for one in REFERENCE["embeddings"] if HINDI not in one["text"]]
RANKS = REFERENCE["ranks"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    files = {"minilm": minilm.gguf(), "ranker": minilm.gguf(rank=True)}
    folders = str(files["minilm"].parent)
    home = tmp_path_factory.mktemp("home")
    with serving(home, INHOUSE_ENGINE="wheel", INHOUSE_SLOTS="2", INHOUSE_MODEL_FOLDERS=folders) as running:
        for name, path in files.items():
            assert running.ask("POST", "/api/pull", {"model": str(path)}).status == 200
            (pulled,) = [one for one in names(running) if path.stem.lower() in one.lower()]
            told = running.ask("POST", "/api/copy", {"source": pulled, "destination": name})
            assert told.status == 200, told.body
        yield running


def names(server: Server) -> list[str]:
    return [model["name"] for model in server.ask("GET", "/api/tags").json["models"]]


def post(server: Server, path: str, **body: Any) -> Any:
    answer: Answer = server.ask("POST", path, body, timeout=300)
    assert answer.status == 200, answer.body
    return answer.json


def test_the_recording_is_of_many_kinds_of_text() -> None:
    assert len(TEXTS) >= 20
    assert max(one["tokens"] for one in TEXTS) > 256


def unpacked(text: str) -> list[float]:
    data = base64.b64decode(text)
    return list(struct.unpack(f"<{len(data) // 2}e", data))


def cosine(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)


def test_every_vector_is_that_of_sentence_transformers(server: Server) -> None:
    told = post(server, "/v1/embeddings", model="minilm", input=[one["text"] for one in TEXTS])
    assert [one["index"] for one in told["data"]] == list(range(len(TEXTS)))
    off = {
        ours["text"]: agreement
        for ours, row in zip(TEXTS, told["data"], strict=True)
        if (agreement := cosine(row["embedding"], unpacked(ours["vector"]))) < 0.999
    }
    assert not off
    assert all(math.hypot(*row["embedding"]) == pytest.approx(1, abs=1e-5) for row in told["data"])
    assert told["usage"]["prompt_tokens"] == sum(one["tokens"] for one in TEXTS)


def test_the_scripts_that_the_engine_reads_otherwise_are_still_those(server: Server) -> None:
    (one,) = (one for one in REFERENCE["embeddings"] if HINDI in one["text"])
    told = post(server, "/v1/embeddings", model="minilm", input=one["text"])
    assert 0.9 < cosine(told["data"][0]["embedding"], unpacked(one["vector"])) < 0.999


def test_a_text_is_cut_into_the_same_tokens(server: Server) -> None:
    for one in TEXTS:
        told = post(server, "/tokenize", model="minilm", prompt=one["text"])
        assert told["count"] == one["tokens"], one["text"]


def test_token_ids_give_the_vector_of_their_text(server: Server) -> None:
    text = TEXTS[0]["text"]
    ids = post(server, "/tokenize", model="minilm", prompt=text)["tokens"]
    told = post(server, "/v1/embeddings", model="minilm", input=[ids])
    assert cosine(told["data"][0]["embedding"], unpacked(TEXTS[0]["vector"])) > 0.999


def test_fewer_dimensions_are_the_first_ones_at_length_one(server: Server) -> None:
    text = TEXTS[0]["text"]
    (whole,) = post(server, "/v1/embeddings", model="minilm", input=text)["data"]
    (part,) = post(server, "/v1/embeddings", model="minilm", input=text, dimensions=64)["data"]
    assert len(part["embedding"]) == 64
    assert cosine(part["embedding"], whole["embedding"][:64]) == pytest.approx(1, abs=1e-4)
    assert math.hypot(*part["embedding"]) == pytest.approx(1, abs=1e-5)


def test_a_text_beyond_the_context_is_refused_by_its_place(server: Server) -> None:
    body = {"model": "minilm", "input": ["short", "word " * 600]}
    answer = server.ask("POST", "/v1/embeddings", body)
    assert answer.status == 400
    assert answer.json["error"]["param"] == "input[1]"
    assert answer.json["error"]["code"] == "context_length_exceeded"


def test_an_embedding_model_ranks_by_cosine(server: Server) -> None:
    vectors = {one["text"]: unpacked(one["vector"]) for one in TEXTS}
    query, documents = RANKS["query"], RANKS["documents"]
    told = post(server, "/v1/rerank", model="minilm", query=query, documents=documents)
    assert told["results"][0]["document"]["text"] == "Paris is the capital and largest city of France."
    for result in told["results"]:
        expected = cosine(vectors[query], vectors[documents[result["index"]]])
        assert result["relevance_score"] == pytest.approx(max(expected, 0), abs=0.005)


def test_a_reranking_model_scores_as_its_head_does(server: Server) -> None:
    query, documents = RANKS["query"], RANKS["documents"]
    told = post(server, "/score", model="ranker", text_1=query, text_2=documents, raw_scores=True)
    assert [one["score"] for one in told["data"]] == pytest.approx(RANKS["scores"], abs=0.01)
    ranked = post(server, "/rerank", model="ranker", query=query, documents=documents)
    order = sorted(range(len(documents)), key=lambda index: -RANKS["scores"][index])
    assert [result["index"] for result in ranked["results"]] == order
    for result in ranked["results"]:
        expected = 1 / (1 + math.exp(-RANKS["scores"][result["index"]]))
        assert result["relevance_score"] == pytest.approx(expected, abs=0.005)
    assert ranked["usage"]["total_tokens"] > 400, "the long document is among them"


def test_a_reranking_model_refuses_or_cuts_what_is_too_long(server: Server) -> None:
    body = {"model": "ranker", "query": RANKS["query"], "documents": ["short", "word " * 600]}
    answer = server.ask("POST", "/rerank", body)
    assert answer.status == 400
    assert answer.json["error"]["param"] == "documents[1]"
    told = post(server, "/rerank", **body, truncate=True)
    assert 500 < told["usage"]["total_tokens"] <= 512 + 20
    assert post(server, "/v2/rerank", **body)["results"]


def test_a_reranking_model_neither_talks_nor_takes_other_ids(server: Server) -> None:
    answer = server.chat("hi", model="ranker")
    assert answer.status == 400
    answer = server.ask("POST", "/detokenize", {"model": "minilm", "tokens": [30521, 30522]})
    assert (answer.status, answer.json["error"]["param"]) == (400, "tokens")
