"""Any JSON body gives a decoded request or a BadRequest that renders; the encoders take any events."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dialects.answers_support import RICH, json_leaves, json_values, rows, run
from inhouse.core.errors import BadRequest
from inhouse.dialects.anthropic import decode_count_tokens, decode_messages, render_error

DECODERS = [decode_messages, decode_count_tokens]
BASE: dict[str, Any] = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
FIELDS = [row for row in rows("api-anthropic.md") if "/v1/messages" in row.section]
NAMES = sorted({row.field.partition(".")[0] for row in FIELDS})
INNER = [
    *NAMES,
    "type",
    "text",
    "source",
    "data",
    "media_type",
    "url",
    "content",
    "role",
    "id",
    "name",
    "input",
]
INNER += [
    "tool_use_id",
    "is_error",
    "thinking",
    "signature",
    "schema",
    "format",
    "effort",
    "edits",
    "keep",
    "ttl",
]
INNER += ["budget_tokens", "input_schema", "title", "citations", "grammar", "kind", "tool_name", "$ref"]
WORDS = ["user", "assistant", "system", "text", "image", "document", "tool_use", "tool_result", "thinking"]
WORDS += ["base64", "url", "content", "ephemeral", "enabled", "adaptive", "json_schema", "tool", "any", "#/a"]
JSON = json_values(json_leaves(WORDS), INNER)


def survives(decode: Any, value: Any) -> None:
    try:
        decoded = decode(json.dumps(value).encode())
    except BadRequest as error:
        assert error.message
        told = json.loads(render_error(error).body)["error"]
        assert told["message"]
        return
    run(decoded.encoder, RICH).decode("utf-8")


@pytest.mark.parametrize("decode", DECODERS)
@settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
@given(odd=st.dictionaries(st.sampled_from(NAMES), JSON, max_size=4))
def test_any_fields_decode_or_are_refused(decode, odd):
    survives(decode, BASE | odd)


@settings(deadline=None, max_examples=300, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.fixed_dictionaries(
            {"role": st.sampled_from(["user", "assistant", "system", "x"])},
            optional={"content": JSON | st.lists(st.dictionaries(st.sampled_from(INNER), JSON, max_size=4))},
        ),
        max_size=4,
    )
)
def test_any_messages_decode_or_are_refused(messages):
    survives(decode_messages, BASE | {"messages": messages})


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=60))
def test_any_bytes_decode_or_are_refused(raw):
    for decode in DECODERS:
        with pytest.raises(BadRequest):
            decode(raw)


def nested(path: str, value: Any) -> Any:
    for name in reversed(path.split(".")):
        value = {name: value}
    return value


@pytest.mark.parametrize("row", FIELDS, ids=lambda row: f"{row.section}:{row.field}")
@pytest.mark.parametrize(
    "value", [True, -1, 2**31, 2**63, 1e308, 0.5, "", "x", [], ["x"], [[]], {}, {"x": None}]
)
def test_every_field_survives_every_type(row, value):
    decode = DECODERS["count_tokens" in row.section]
    survives(decode, BASE | nested(row.field, value))


@pytest.mark.parametrize("row", [row for row in FIELDS if "." not in row.field], ids=lambda row: row.field)
def test_null_is_the_same_as_leaving_a_field_out(row):
    decode = DECODERS["count_tokens" in row.section]
    sent = json.dumps(BASE | {row.field: None}).encode()
    if row.field in ("model", "max_tokens", "messages"):
        with pytest.raises(BadRequest) as caught:
            decode(sent)
        assert caught.value.param == row.field
    else:
        assert decode(sent).request == decode(json.dumps(BASE).encode()).request
