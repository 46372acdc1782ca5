"""The reference page of Anthropic's API is true, and no field of the official client is missing."""

from __future__ import annotations

from typing import Any, get_args, get_type_hints

import pytest
from anthropic.types import (
    content_block_param,
    message_count_tokens_params,
    message_create_params,
    tool_param,
)
from anthropic.types.beta import message_create_params as beta_params

from dialects.answers_support import Row, body, rows, without
from inhouse.core.errors import BadRequest
from inhouse.dialects.anthropic import decode_count_tokens, decode_messages

PAGE = "api-anthropic.md"
ASK = {"role": "user", "content": "hi"}
CALL = {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_0", "name": "f", "input": {}}]}
TOOL = {"name": "f", "input_schema": {"type": "object"}}
ROUTES: dict[str, tuple[Any, dict[str, Any]]] = {
    "POST /v1/messages": (decode_messages, {"model": "m", "max_tokens": 9, "messages": [ASK]}),
    "POST /v1/messages/count_tokens": (decode_count_tokens, {"model": "m", "messages": [ASK]}),
}
FIELDS = [row for row in rows(PAGE) if row.section in ROUTES]
TOOLS = [row for row in rows(PAGE) if row.section == "Tools"]
BLOCKS = [row for row in rows(PAGE) if row.section == "Content blocks"]
ASSISTANT = {"tool_use", "thinking", "redacted_thinking", "server_tool_use", "mcp_tool_use"}
HEADERS = {"betas", "user_profile_id", "workspace_id"}


def effect(decoded: Any) -> tuple[Any, ...]:
    head = getattr(decoded.encoder, "head", None)
    told = head and (head.max_tokens, head.stops, head.pin, head.hidden, head.edits, head.diagnosed)
    return decoded.request, type(decoded.encoder), told, getattr(decoded.encoder, "edits", None)


def check(decode: Any, sent: bytes, plain: bytes, row: Row, param: str) -> None:
    if row.status == "refused":
        with pytest.raises(BadRequest) as caught:
            decode(sent)
        assert caught.value.param == param
        return
    decoded = decode(sent)
    assert (effect(decoded) == effect(decode(plain))) == (row.status == "noted")
    assert (param in decoded.noted) == (row.status == "noted")


@pytest.mark.parametrize("row", FIELDS, ids=lambda row: f"{row.section}:{row.field}")
def test_each_field_is_what_the_page_says(row):
    decode, base = ROUTES[row.section]
    needed = row.field == "thinking.budget_tokens"  # an object that is not whole without it
    plain = without(row.example, "thinking" if needed else row.field)
    check(decode, body(base, row.example), body(base, plain), row, row.field)


@pytest.mark.parametrize("row", TOOLS, ids=lambda row: row.field)
def test_each_field_of_a_tool_is_what_the_page_says(row):
    base = ROUTES["POST /v1/messages"][1]
    other = {"name": "other", "input_schema": {"type": "object"}}
    sent = body(base, {"tools": [TOOL | row.example, other]})
    check(decode_messages, sent, body(base, {"tools": [TOOL, other]}), row, f"tools[0].{row.field}")


@pytest.mark.parametrize("row", BLOCKS, ids=lambda row: row.field)
def test_each_block_is_what_the_page_says(row):
    base = ROUTES["POST /v1/messages"][1]
    said = {"type": "text", "text": "before"}
    if row.field in ASSISTANT:
        after = [{"type": "tool_result", "tool_use_id": "toolu_1"}] if row.field == "tool_use" else []
        turns = [ASK, {"role": "assistant", "content": [said]}, {"role": "user", "content": [*after, said]}]
        place = 1
    else:
        result = [] if row.field == "tool_result" else [{"type": "tool_result", "tool_use_id": "toolu_0"}]
        turns = [ASK, CALL, {"role": "user", "content": [*result, said]}]
        place = 2
    with_block = [dict(turn) for turn in turns]
    at = len(turns[place]["content"])
    with_block[place]["content"] = [*turns[place]["content"], row.example]
    sent = body(base, {"messages": with_block})
    param = f"messages[{place}].content[{at}]"
    if row.status == "refused":
        with pytest.raises(BadRequest) as caught:
            decode_messages(sent)
        assert caught.value.param == f"{param}.type"
        return
    parts = [p for m in decode_messages(sent).request.messages for p in m.parts]
    plain = turns
    if row.field in ("tool_use", "tool_result"):
        assert len(parts) >= len(turns)
        return
    before = [p for m in decode_messages(body(base, {"messages": plain})).request.messages for p in m.parts]
    assert (parts == before) == (row.status == "noted")


@pytest.mark.parametrize(
    ("route", "params"),
    [
        ("POST /v1/messages", message_create_params.MessageCreateParamsBase),
        ("POST /v1/messages", beta_params.MessageCreateParamsBase),
        ("POST /v1/messages/count_tokens", message_count_tokens_params.MessageCountTokensParams),
    ],
)
def test_every_documented_field_is_on_the_page(route, params):
    told = {row.field.partition(".")[0] for row in FIELDS if row.section == route}
    assert set(params.__annotations__) - HEADERS <= told


def test_every_field_of_a_tool_is_on_the_page():
    assert set(tool_param.ToolParam.__annotations__) <= {row.field for row in TOOLS}


def test_every_content_block_is_on_the_page_or_a_result_that_is_refused():
    told = {row.field for row in BLOCKS}
    for block in content_block_param.ContentBlockParam.__args__:
        (kind,) = get_args(get_type_hints(block)["type"])
        assert kind in told or kind.endswith("_tool_result"), kind
