"""Reranking on a worker: batches, order, scores as 0..1, what is too long."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from inhouse.core.errors import ContextExceeded, EngineError, WorkerDied
from inhouse.core.events import Event, Finished, Ranked, Started
from inhouse.core.models import Card, Footprint, ModelName
from inhouse.core.requests import Rerank
from inhouse.dialects.llamaserver.rank import TEMPLATE, decode_rank, encode_rank, relevance
from inhouse.upstream import WorkerEngine
from upstream.llama_double import LlamaDouble


def card(kind: str = "rerank", **fields: Any) -> Card:
    fields = {"capabilities": frozenset({kind})} | fields
    return Card(ModelName.parse("m"), "d", "w", "d", 1, Footprint(1, 1), **fields)


async def ranked(double: LlamaDouble, of: Card, request: Rerank) -> tuple[list[Ranked], Finished]:
    engine = WorkerEngine(of, double.launch())
    try:
        events: list[Event] = [event async for event in engine.run(request)]
    finally:
        await engine.close()
    first, *ranks, last = events
    assert isinstance(first, Started)
    assert isinstance(last, Finished)
    assert all(isinstance(rank, Ranked) for rank in ranks)
    return ranks, last  # type: ignore[return-value]


def ask(*documents: str, query: str = "a b", **more: Any) -> Rerank:
    return Rerank(model="m", pairs=tuple((query, document) for document in documents), **more)


# a reranking model


async def test_each_pair_has_the_score_of_its_own_place(double):
    ranks, end = await ranked(double, card(), ask("x", "a b", "b y"))
    assert sorted((r.index, r.score) for r in ranks) == [(0, -1.0), (1, 1.0), (2, 0.0)]
    by_index = {r.index: r.relevance for r in ranks}
    assert by_index[2] == 0.5
    assert by_index[1] == pytest.approx(1 / (1 + math.exp(-1)))
    assert by_index[0] == pytest.approx(1 - by_index[1])
    assert end.usage.prompt_tokens == 15
    assert end.usage.completion_tokens == 0


async def test_many_documents_go_in_batches_and_no_place_is_lost(double):
    ranks, end = await ranked(double, card(), ask(*(f"a w{i}" for i in range(70))))
    assert sorted(r.index for r in ranks) == list(range(70))
    assert [len(body["documents"]) for body in double.sent("/rerank")] == [32, 32, 6]
    assert end.usage.prompt_tokens == 350


async def test_pairs_with_different_queries_are_asked_query_by_query(double):
    pairs = (("a", "a"), ("a", "z"), ("b", "a"), ("b", "b"))
    ranks, _ = await ranked(double, card(), Rerank(model="m", pairs=pairs))
    assert {r.index: r.score for r in ranks} == {0: 0.0, 1: -1.0, 2: -1.0, 3: 0.0}
    assert [body["query"] for body in double.sent("/rerank")] == ["a", "b"]


async def test_a_document_that_is_too_long_is_named(double):
    with pytest.raises(ContextExceeded) as caught:
        await ranked(double, card(), ask("a", "w " * 300))
    assert caught.value.param == "documents[1]"
    assert caught.value.prompt_tokens == 306
    assert caught.value.context_length == 256
    assert not double.sent("/rerank"), "nothing is computed when one is refused"


async def test_a_long_document_is_cut_at_its_end_when_asked(double):
    document = " ".join(f"w{i}" for i in range(300))
    await ranked(double, card(), ask("a", document, truncate=True))
    (body,) = double.sent("/rerank")
    cut = body["documents"][1]
    assert document.startswith(cut)
    assert len(cut.split()) == 256 - 4 - 2


async def test_every_document_is_cut_to_the_length_asked_for(double):
    await ranked(double, card(), ask("a b c d", "a", longest=2))
    (body,) = double.sent("/rerank")
    assert [len(text.split()) for text in body["documents"]] == [2, 1]


async def test_a_wish_for_length_beyond_the_context_does_not_allow_cutting(double):
    with pytest.raises(ContextExceeded) as caught:
        await ranked(double, card(), ask("w " * 400, longest=300))
    assert caught.value.param == "documents[0]"
    assert caught.value.prompt_tokens == 306


@pytest.mark.parametrize(
    "pairs, param",
    [((("q " * 300, "d"),), "query"), ((("q", "d"), ("q " * 300, "d")), "query[1]")],
)
@pytest.mark.parametrize("kind", ["rerank", "embedding"])
async def test_a_query_that_is_too_long_is_named(double, pairs, param, kind):
    with pytest.raises(ContextExceeded) as caught:
        await ranked(double, card(kind), Rerank(model="m", pairs=pairs, truncate=True))
    assert caught.value.param == param


async def test_fields_are_named_as_the_request_calls_them(double):
    request = ask("w " * 300, params=("text_1", "text_2"))
    with pytest.raises(ContextExceeded) as caught:
        await ranked(double, card(), request)
    assert caught.value.param == "text_2[0]"


async def test_an_engine_that_cannot_rerank_is_an_error_of_ours(double):
    refusal = {"error": {"message": "This server does not support reranking.", "type": "not_supported_error"}}
    double.refuse = (501, json.dumps(refusal).encode())
    with pytest.raises(Exception, match="cannot do that") as caught:
        await ranked(double, card(), ask("a"))
    assert caught.value.code == "unsupported"


async def test_a_worker_that_is_gone_is_told(double, folder):
    engine = WorkerEngine(card(), double.launch())
    await double.__aexit__()
    with pytest.raises(WorkerDied):
        [event async for event in engine.run(ask("a"))]
    await engine.close()
    await double.__aenter__()


# an embedding model: the double's vectors are [3, 4, length of the text]


async def test_an_embedding_model_gives_cosines(double):
    ranks, end = await ranked(double, card("embedding"), ask("abc", "abcdefgh", query="abc"))
    expected = (25 + 3 * 8) / math.sqrt((25 + 9) * (25 + 64))
    assert {r.index: r.score for r in ranks} == {0: pytest.approx(1.0), 1: pytest.approx(expected)}
    assert all(r.relevance == min(max(r.score, 0), 1) for r in ranks)
    assert end.usage.prompt_tokens == 4, "the query and the one other text"


async def test_each_text_is_embedded_once(double):
    pairs = (("q", "x"), ("q", "x"), ("q", "q"), ("r", "x"))
    ranks, _ = await ranked(double, card("embedding"), Rerank(model="m", pairs=pairs))
    assert sorted(r.index for r in ranks) == [0, 1, 2, 3]
    assert [body["input"] for body in double.sent("/v1/embeddings")] == [["q", "r"], ["x"]]


async def test_an_embedding_model_refuses_or_cuts_long_documents_too(double):
    document = " ".join(f"w{i}" for i in range(300))
    with pytest.raises(ContextExceeded) as caught:
        await ranked(double, card("embedding"), ask("a", document))
    assert caught.value.param == "documents[1]"
    await ranked(double, card("embedding"), ask("a", document, truncate=True))
    cut = double.sent("/v1/embeddings")[-1]["input"][1]
    assert document.startswith(cut)
    assert len(cut.split()) == 255, "with the one mark that the model puts around it"


# the wire


@pytest.mark.parametrize("score", [-800.0, -20.0, 0.0, 20.0, 800.0])
def test_a_logit_of_any_size_becomes_a_relevance(score):
    value = relevance(score, card())
    assert 0.0 <= value <= 1.0
    assert (value > 0.5) == (score > 0)


def test_a_model_that_gives_probabilities_keeps_them():
    model = card(metadata={"general.architecture": "qwen3"})
    assert [relevance(score, model) for score in (0.0, 0.3, 1.0000001)] == [0.0, 0.3, 1.0]


def test_texts_in_a_template_cannot_become_its_places_or_control_tokens():
    model = card(metadata={TEMPLATE: "<|q|>{query}<|d|>{document}"}, control_tokens=("<|d|>",))
    body = encode_rank("what {document} <|d|>", ["{query} x"], model)
    assert "{document}" not in body["query"]
    assert "<|d|>" not in body["query"]
    assert "{query}" not in body["documents"][0]
    plain = encode_rank("what {document} <|d|>", ["{query} x"], card(control_tokens=("<|d|>",)))
    assert plain == {"query": "what {document} <|d|>", "documents": ["{query} x"]}


@pytest.mark.parametrize(
    "rows",
    [
        [{"index": 0, "relevance_score": None}],
        [{"index": 0, "relevance_score": -1e6}],
        [{"index": 1, "relevance_score": 0.5}],
        [],
        "no",
    ],
)
def test_an_answer_that_is_not_one_is_an_engine_error(rows):
    with pytest.raises(EngineError):
        decode_rank(json.dumps({"results": rows}).encode(), 1)
