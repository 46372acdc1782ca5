"""The fake engine reranks by shared words."""

from __future__ import annotations

import pytest

from inhouse.engines.workers.fake_http import Refused
from inhouse.engines.workers.fake_tasks import MARKS, rank, score


def encode(text: str) -> list[int]:
    return list(range(len(text.split())))


def room(ids: list[int]) -> None:
    if len(ids) > 10:
        raise Refused(400, "too long")


def test_shared_words_make_a_score():
    assert [score("a b", text) for text in ("c", "a", "b a c")] == [-5.0, 0.0, 5.0]


def test_the_best_comes_first_and_all_tokens_count():
    told = rank({"query": "a b", "documents": ["c", "a b", "a"]}, encode, room)
    assert [row["index"] for row in told["results"]] == [1, 2, 0]
    assert told["usage"]["prompt_tokens"] == 3 * (2 + MARKS) + 4


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"query": "a"},
        {"query": "", "documents": ["a"]},
        {"query": "a", "documents": []},
        {"query": "a", "documents": [1]},
        {"query": "a", "documents": {"a": 1}},
        {"query": "a", "documents": ["w " * 20]},
    ],
)
def test_what_cannot_be_ranked_is_refused(raw):
    with pytest.raises(Refused):
        rank(raw, encode, room)
