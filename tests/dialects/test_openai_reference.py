"""The reference page of the OpenAI API is true, and no field of the official client is missing."""

from __future__ import annotations

import pytest
from openai.types import completion_create_params, embedding_create_params
from openai.types.chat import completion_create_params as chat_create_params

from dialects.answers_support import check_row, rows
from inhouse.dialects.openai import decode_chat, decode_completions, decode_embeddings

PAGE = "api-openai.md"
ROUTES = {
    "POST /v1/chat/completions": (
        decode_chat,
        {"model": "m", "messages": [{"role": "user", "content": "x"}]},
        chat_create_params.CompletionCreateParamsBase,
    ),
    "POST /v1/completions": (
        decode_completions,
        {"model": "m", "prompt": "x"},
        completion_create_params.CompletionCreateParamsBase,
    ),
    "POST /v1/embeddings": (
        decode_embeddings,
        {"model": "m", "input": "x"},
        embedding_create_params.EmbeddingCreateParams,
    ),
}


@pytest.mark.parametrize("row", list(rows(PAGE)), ids=lambda row: f"{row.section}:{row.field}")
def test_each_field_is_what_the_page_says(row):
    decode, base, _ = ROUTES[row.section]
    check_row(decode, base, row)


@pytest.mark.parametrize("route", ROUTES)
def test_every_documented_field_is_on_the_page(route):
    told = {row.field.partition(".")[0] for row in rows(PAGE) if row.section == route}
    assert set(ROUTES[route][2].__annotations__) <= told
    assert route.endswith("embeddings") or "stream" in told
