"""Reranking and scoring: bodies to requests, scores to answers in everybody's shape."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dialects.answers_support import TIMINGS, body, run
from inhouse.core.errors import BadRequest, EngineError
from inhouse.core.events import Event, Finished, Notice, Ranked, Started
from inhouse.core.usage import Usage
from inhouse.dialects.tasks import decode_rerank, decode_rerank_v2, decode_score

BASE = {"model": "m", "query": "q", "documents": ["a", "b", "c"]}
PAIRS = {"model": "m", "text_1": "q", "text_2": ["a", "b", "c"]}


def said(*scores: tuple[float, float], extra: tuple[Event, ...] = ()) -> list[Event]:
    """An answer whose pairs come in reverse order."""
    ranks = [Ranked(i, score, relevance) for i, (score, relevance) in enumerate(scores)]
    return [Started(), *extra, *reversed(ranks), Finished(Usage(12), TIMINGS)]


THREE = said((-2.0, 0.1), (3.0, 0.9), (0.0, 0.5))


def answered(decode: Any, sent: dict[str, Any], events: list[Event] = THREE) -> Any:
    return json.loads(run(decode(json.dumps(sent).encode()).encoder, events))


def refused(decode: Any, sent: dict[str, Any]) -> str | None:
    with pytest.raises(BadRequest) as caught:
        decode(json.dumps(sent).encode())
    return caught.value.param


# rerank


def test_the_answer_holds_what_jina_and_cohere_promise():
    told = answered(decode_rerank, BASE)
    assert told["results"] == [
        {"index": 1, "relevance_score": 0.9, "document": {"text": "b"}},
        {"index": 2, "relevance_score": 0.5, "document": {"text": "c"}},
        {"index": 0, "relevance_score": 0.1, "document": {"text": "a"}},
    ]
    assert told["model"] == "m"
    assert told["id"].startswith("rerank-")
    assert told["usage"] == {"prompt_tokens": 12, "total_tokens": 12}
    assert told["meta"]["api_version"] == {"version": "1"}
    assert told["meta"]["billed_units"] == {"search_units": 1}
    assert "warnings" not in told


def test_only_the_best_come_back_when_asked():
    told = answered(decode_rerank, BASE | {"top_n": 2, "return_documents": False})
    assert told["results"] == [
        {"index": 1, "relevance_score": 0.9},
        {"index": 2, "relevance_score": 0.5},
    ]
    assert len(answered(decode_rerank, BASE | {"top_n": 99})["results"]) == 3


def test_equals_keep_their_order():
    told = answered(decode_rerank, BASE, said((1, 0.5), (1, 0.5), (1, 0.5)))
    assert [result["index"] for result in told["results"]] == [0, 1, 2]


@pytest.mark.parametrize("wish", [{"raw_scores": True}, {"use_activation": False}])
def test_the_models_own_figures_can_be_had(wish):
    told = answered(decode_rerank, BASE | wish)
    assert [result["relevance_score"] for result in told["results"]] == [3.0, 0.0, -2.0]


def test_teis_shape_is_a_list():
    sent = {"model": "m", "query": "q", "texts": ["a", "b", "c"], "return_text": True}
    told = answered(decode_rerank, sent)
    assert told[0] == {"index": 1, "score": 0.9, "text": "b"}
    assert answered(decode_rerank, sent | {"return_text": False})[0] == {"index": 1, "score": 0.9}


def test_coheres_second_version_cuts_and_hides_documents():
    decoded = decode_rerank_v2(body(BASE))
    assert decoded.request.truncate
    assert decoded.request.longest == 4096
    told = answered(decode_rerank_v2, BASE)
    assert told["results"][0] == {"index": 1, "relevance_score": 0.9}
    assert told["meta"]["api_version"] == {"version": "2"}


def test_a_search_unit_is_a_hundred_documents():
    many = {**BASE, "documents": ["x"] * 101}
    told = answered(decode_rerank, many, said(*[(0.0, 0.5)] * 101))
    assert told["meta"]["billed_units"] == {"search_units": 2}


def test_objects_with_text_are_documents():
    request = decode_rerank(body(BASE, {"query": {"text": "q"}, "documents": [{"text": "a"}, "b"]})).request
    assert request.pairs == (("q", "a"), ("q", "b"))
    assert request.params == ("query", "documents")


def test_what_was_cut_is_told():
    told = answered(decode_rerank, BASE, said(*[(0.0, 0.5)] * 3, extra=(Notice("cut", "One was cut."),)))
    assert told["warnings"] == [{"code": "cut", "message": "One was cut."}]


@pytest.mark.parametrize(
    "wrong, param",
    [
        ({"model": None}, "model"),
        ({"query": None}, "query"),
        ({"query": ""}, "query"),
        ({"query": 5}, "query"),
        ({"query": {"image": "x"}}, "query.image"),
        ({"documents": None}, "documents"),
        ({"documents": []}, "documents"),
        ({"documents": "a"}, "documents"),
        ({"documents": ["a", ""]}, "documents[1]"),
        ({"documents": ["a", 5]}, "documents[1]"),
        ({"documents": ["a", {"title": "x"}]}, "documents[1].text"),
        ({"documents": [{"image": "data:"}]}, "documents[0].image"),
        ({"documents": ["a"] * 2049}, "documents"),
        ({"texts": ["a"]}, "texts"),
        ({"top_n": 0}, "top_n"),
        ({"top_n": 1.5}, "top_n"),
        ({"rank_fields": ["title"]}, "rank_fields"),
        ({"raw_scores": True, "use_activation": True}, "use_activation"),
        ({"truncate": True, "truncation": False}, "truncate"),
        ({"truncate_prompt_tokens": 100}, "truncate_prompt_tokens"),
        ({"truncation_direction": "left"}, "truncation_direction"),
        ({"max_tokens_per_doc": 0}, "max_tokens_per_doc"),
        ({"priority": -1}, "priority"),
        ({"keep_alive": "soon"}, "keep_alive"),
    ],
)
def test_a_wrong_field_of_reranking_is_named(wrong, param):
    assert refused(decode_rerank, BASE | wrong) == param


@pytest.mark.parametrize(
    "wish, expected",
    [
        ({}, False),
        ({"truncate": True}, True),
        ({"truncation": True}, True),
        ({"truncate_prompt_tokens": -1}, True),
        ({"truncate": True, "truncation": True, "truncation_direction": "Right"}, True),
    ],
)
def test_cutting_is_a_matter_of_asking(wish, expected):
    assert decode_rerank(body(BASE, wish)).request.truncate is expected


@pytest.mark.parametrize("given, expected", [(None, 0), (0, 0), (1, -1), (999, -1)])
def test_what_may_wait_waits(given, expected):
    assert decode_rerank(body(BASE, {"priority": given})).request.priority == expected


def test_a_score_that_is_missing_is_an_error_and_no_short_list():
    events = said((1, 0.5), (1, 0.5))
    for decode, base in ((decode_rerank, BASE), (decode_score, PAIRS)):
        with pytest.raises(EngineError):
            answered(decode, base, events)


# score


def test_scores_stand_in_the_order_of_the_pairs():
    told = answered(decode_score, PAIRS)
    assert told["data"] == [
        {"index": 0, "object": "score", "score": 0.1},
        {"index": 1, "object": "score", "score": 0.9},
        {"index": 2, "object": "score", "score": 0.5},
    ]
    assert told["object"] == "list"
    assert told["usage"] == {"prompt_tokens": 12, "total_tokens": 12, "completion_tokens": 0}
    raw = answered(decode_score, PAIRS | {"use_activation": False})
    assert [one["score"] for one in raw["data"]] == [-2.0, 3.0, 0.0]


@pytest.mark.parametrize(
    "first, second, pairs",
    [
        ("q", "a", (("q", "a"),)),
        ("q", ["a", "b"], (("q", "a"), ("q", "b"))),
        (["q"], ["a", "b"], (("q", "a"), ("q", "b"))),
        (["p", "q"], ["a", "b"], (("p", "a"), ("q", "b"))),
        ({"text": "q"}, [{"text": "a"}], (("q", "a"),)),
    ],
)
@pytest.mark.parametrize("names", [("text_1", "text_2"), ("queries", "documents")])
def test_one_goes_with_many_and_many_with_as_many(first, second, pairs, names):
    request = decode_score(body({"model": "m", names[0]: first, names[1]: second})).request
    assert request.pairs == pairs
    assert request.params == names


@pytest.mark.parametrize(
    "wrong, param",
    [
        ({"text_1": None}, "text_1"),
        ({"text_2": None}, "text_2"),
        ({"text_1": ["p", "q"]}, "text_2"),
        ({"text_2": []}, "text_2"),
        ({"text_1": ["p", 5, "r"]}, "text_1[1]"),
        ({"queries": "x"}, "text_1"),
        ({"documents": "x"}, "documents"),
        ({"text_2": ["a"] * 2049}, "text_2"),
    ],
)
def test_a_wrong_field_of_scoring_is_named(wrong, param):
    assert refused(decode_score, PAIRS | wrong) == param
