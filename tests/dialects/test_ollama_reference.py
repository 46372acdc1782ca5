"""The reference page of the Ollama API is true, and no field of the official client is missing."""

from __future__ import annotations

import pytest
from ollama import _types as client

from dialects.answers_support import check_row, rows
from inhouse.dialects.ollama import decode_chat, decode_embed, decode_embeddings, decode_generate

PAGE = "api-ollama.md"
ROUTES = {
    "POST /api/chat": (
        decode_chat,
        {"model": "m", "messages": [{"role": "user", "content": "x"}]},
        client.ChatRequest,
    ),
    "POST /api/generate": (decode_generate, {"model": "m", "prompt": "x"}, client.GenerateRequest),
    "POST /api/embed": (decode_embed, {"model": "m", "input": "x"}, client.EmbedRequest),
    "POST /api/embeddings": (decode_embeddings, {"model": "m", "prompt": "x"}, client.EmbeddingsRequest),
}


@pytest.mark.parametrize("row", list(rows(PAGE)), ids=lambda row: f"{row.section}:{row.field}")
def test_each_field_is_what_the_page_says(row):
    decode, base, _ = ROUTES[row.section]
    check_row(decode, base, row)


@pytest.mark.parametrize("route", ROUTES)
def test_every_field_of_the_client_is_on_the_page(route):
    told = {row.field.partition(".")[0] for row in rows(PAGE) if row.section == route}
    assert set(ROUTES[route][2].model_fields) <= told


def test_every_option_of_the_client_is_on_the_page():
    told = {row.field for row in rows(PAGE)}
    assert {f"options.{name}" for name in client.Options.model_fields} <= told
