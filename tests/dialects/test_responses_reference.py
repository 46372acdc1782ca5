"""The reference page of the Responses API is true, and no field of the official client is missing."""

from __future__ import annotations

import re
from typing import get_args

import pytest
from openai.types.responses import ResponseStreamEvent, input_token_count_params, response_create_params

from dialects.answers_support import DOCS, check_row, rows
from dialects.responses_support import BASE, as_decoded
from inhouse.dialects.openai.responses import decode_count, decode_create

PAGE = "api-responses.md"
ROUTES = {
    "POST /v1/responses": (decode_create, response_create_params.ResponseCreateParamsBase),
    "POST /v1/responses/input_tokens": (decode_count, input_token_count_params.InputTokenCountParams),
}
# Events of tools that only OpenAI runs, of sound, and of its WebSocket.
OTHERS = re.compile(
    r"response\.(audio|code_interpreter|file_search|web_search|image_generation|mcp|shell|computer|refusal"
    r"|steer|compaction|output_text\.annotation|apply_patch|inject)"
)


@pytest.mark.parametrize("row", list(rows(PAGE)), ids=lambda row: f"{row.section}:{row.field}")
def test_each_field_is_what_the_page_says(row):
    decode, _ = ROUTES[row.section]
    check_row(lambda body: as_decoded(decode(body)), BASE, row)


@pytest.mark.parametrize("route", ROUTES)
def test_every_documented_field_is_on_the_page(route):
    told = {row.field.partition(".")[0] for row in rows(PAGE) if row.section == route}
    assert set(ROUTES[route][1].__annotations__) <= told


def test_every_event_that_can_be_is_on_the_page():
    page = (DOCS / PAGE).read_text("utf-8")
    known = {
        get_args(kind.model_fields["type"].annotation)[0]
        for kind in get_args(get_args(ResponseStreamEvent)[0])
    }
    missing = {name for name in known if f"`{name}`" not in page and not OTHERS.match(name)}
    assert not missing
