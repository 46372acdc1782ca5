"""Any JSON body gives an order and a conversation, or a BadRequest."""

from __future__ import annotations

import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dialects.answers_support import RICH, json_leaves, json_values, rows
from dialects.responses_support import BASE, stream, whole
from inhouse.core.errors import BadRequest, NotFound
from inhouse.dialects.openai.responses import REFERENCE, decode_conversation, decode_create

NAMES = sorted({row.field.partition(".")[0] for row in rows("api-responses.md")})
INNER = ["type", "id", "role", "content", "text", "call_id", "name", "arguments", "output", "input", "status"]
INNER += ["summary", "encrypted_content", "image_url", "file_data", "file_id", "format", "schema", "effort"]
INNER += ["parameters", "namespace", "tools", "mode", "syntax", "definition", "$ref"]
WORDS = ["user", "assistant", "message", "reasoning", "function", "custom", "namespace", "function_call"]
WORDS += [
    "function_call_output",
    "custom_tool_call",
    "item_reference",
    "input_text",
    "input_image",
    "input_file",
]
WORDS += ["allowed_tools", "json_schema", "grammar", "regex", "auto", "required", "data:,x"]
JSON = json_values(json_leaves(WORDS), INNER)
TYPES = st.sampled_from(WORDS)


def survives(value) -> None:
    try:
        asked = decode_create(json.dumps(value).encode())
    except BadRequest as error:
        assert error.message
        return
    json.dumps(whole(RICH, asked))
    stream(RICH, asked)
    items = [item for item in asked.items if item["type"] != REFERENCE]
    try:
        asked.compose([(f"input[{i}]", item) for i, item in enumerate(items)], {})
    except (BadRequest, NotFound) as error:
        assert error.param


@settings(deadline=None, max_examples=200, suppress_health_check=list(HealthCheck))
@given(odd=st.dictionaries(st.sampled_from(NAMES), JSON, max_size=4))
def test_any_fields_decode_or_are_refused(odd):
    survives(BASE | odd)


@settings(deadline=None, max_examples=300, suppress_health_check=list(HealthCheck))
@given(
    items=st.lists(
        st.fixed_dictionaries(
            {}, optional={"type": TYPES, "role": TYPES, **dict.fromkeys(INNER[3:15], JSON)}
        ),
        max_size=5,
    )
)
def test_any_items_are_read_or_refused(items):
    survives(BASE | {"input": items})


@settings(deadline=None, max_examples=200, suppress_health_check=list(HealthCheck))
@given(tools=st.lists(st.dictionaries(st.sampled_from(INNER), JSON, max_size=5), max_size=3), choice=JSON)
def test_any_tools_are_read_or_refused(tools, choice):
    survives(BASE | {"tools": tools, "tool_choice": choice})


@settings(deadline=None, max_examples=100, suppress_health_check=list(HealthCheck))
@given(body=JSON)
def test_any_conversation_is_read_or_refused(body):
    try:
        decode_conversation(json.dumps({"items": body, "metadata": body}).encode())
    except BadRequest as error:
        assert error.message
