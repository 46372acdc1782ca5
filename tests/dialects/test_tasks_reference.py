"""The reference page of the tasks is true."""

from __future__ import annotations

from functools import partial

import pytest

from dialects.answers_support import body, check_row, rows, without
from inhouse.core.errors import BadRequest
from inhouse.dialects.openai import decode_chat
from inhouse.dialects.tasks import (
    decode_apply_template,
    decode_detokenize,
    decode_rerank,
    decode_rerank_v2,
    decode_score,
    decode_tokenize,
)

PAGE = "api-tasks.md"
MESSAGES = [{"role": "user", "content": "hi"}]
ROUTES = {
    "POST /rerank": (decode_rerank, {"model": "m", "query": "q", "documents": ["a b c", "d"]}),
    "POST /v2/rerank": (decode_rerank_v2, {"model": "m", "query": "q", "documents": ["a b c", "d"]}),
    "POST /score": (decode_score, {"model": "m", "text_1": ["p", "q"], "text_2": ["a", "b"]}),
    "POST /tokenize": (partial(decode_tokenize, read_chat=decode_chat), {"model": "m", "content": "x"}),
    "POST /detokenize": (decode_detokenize, {"model": "m", "tokens": [1]}),
    "POST /apply-template": (
        partial(decode_apply_template, read_chat=decode_chat),
        {"model": "m", "messages": MESSAGES},
    ),
}
# The name of a field's other half: without it, the base holds no text at all.
ALTERNATIVES = {"texts", "queries", "documents", "prompt", "messages"}


@pytest.mark.parametrize("row", list(rows(PAGE)), ids=lambda row: f"{row.section}:{row.field}")
def test_each_field_is_what_the_page_says(row):
    decode, base = ROUTES[row.section]
    if row.field in ALTERNATIVES and None in row.example.values():
        decoded = decode(body(base, row.example))
        assert row.field not in decoded.noted
        with pytest.raises(BadRequest):
            decode(body(base, without(row.example, row.field)))
        with pytest.raises(BadRequest):
            decode(body(base, {row.field: row.example[row.field]}))
        return
    check_row(decode, base, row)


def test_every_route_is_on_the_page():
    assert {row.section for row in rows(PAGE)} == set(ROUTES)
