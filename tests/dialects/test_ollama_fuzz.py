"""Any JSON body gives a decoded request or a BadRequest; the encoders take any events."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dialects.answers_support import FINISHED, RICH, json_leaves, json_values, rows, run
from inhouse.core.errors import BadRequest
from inhouse.core.events import Rendered, Vector
from inhouse.core.requests import Embed
from inhouse.dialects.ollama import (
    decode_chat,
    decode_copy,
    decode_embed,
    decode_embeddings,
    decode_generate,
    decode_name,
    decode_pull,
    decode_show,
)

DECODERS = {
    "POST /api/chat": decode_chat,
    "POST /api/generate": decode_generate,
    "POST /api/embed": decode_embed,
    "POST /api/embeddings": decode_embeddings,
}
BASE = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "prompt": "p", "input": "i"}
FIELDS = list(rows("api-ollama.md"))
NAMES = sorted({row.field.partition(".")[0] for row in FIELDS})
OPTIONS = sorted({row.field.partition(".")[2] for row in FIELDS} - {""})
INNER = [*OPTIONS, "type", "function", "name", "content", "role", "images", "thinking", "$ref", "enum"]
INNER += ["tool_calls", "id", "arguments", "tool_call_id", "tool_name", "parameters", "index"]
LEAVES = json_leaves(["user", "tool", "assistant", "json", "function", "5m", "-1", "#/enum"])
JSON = json_values(LEAVES, INNER)


def survives(decode, value) -> None:
    try:
        decoded = decode(json.dumps(value).encode())
    except BadRequest as error:
        assert error.message
        return
    inputs = len(decoded.request.inputs) if isinstance(decoded.request, Embed) else 0
    vectors = [Vector(i, (1.0,)) for i in range(inputs)]
    assert run(decoded.encoder, [*vectors, *RICH[:-1], Rendered("p"), FINISHED]).decode("utf-8")


@pytest.mark.parametrize("decode", DECODERS.values(), ids=["chat", "generate", "embed", "embeddings"])
@settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
@given(odd=st.dictionaries(st.sampled_from(NAMES), JSON, max_size=4))
def test_any_fields_decode_or_are_refused(decode, odd):
    survives(decode, BASE | odd)


@settings(deadline=None, max_examples=200, suppress_health_check=list(HealthCheck))
@given(options=st.dictionaries(st.sampled_from(OPTIONS), LEAVES, max_size=6))
def test_any_options_decode_or_are_refused(options):
    survives(decode_chat, BASE | {"options": options})


@settings(deadline=None, max_examples=200, suppress_health_check=list(HealthCheck))
@given(
    messages=st.lists(
        st.fixed_dictionaries(
            {"role": st.sampled_from(["user", "System", "assistant", "tool", "x"])},
            optional={"content": JSON, "tool_calls": JSON, "tool_call_id": JSON, "images": JSON},
        ),
        max_size=4,
    )
)
def test_any_messages_decode_or_are_refused(messages):
    survives(decode_chat, BASE | {"messages": messages})


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=60))
def test_any_bytes_are_refused(raw):
    for decode in (*DECODERS.values(), decode_name, decode_copy, decode_pull, decode_show):
        with pytest.raises(BadRequest):
            decode(raw)


def placed(row, value):
    for name in reversed(row.field.split(".")):
        value = {name: value}
    return value


@pytest.mark.parametrize("row", FIELDS, ids=lambda row: f"{row.section}:{row.field}")
@pytest.mark.parametrize(
    "value", [True, -1, 2**31, 2**63, 1e308, 0.5, "", "x", [], ["x"], [[]], {}, {"x": None}]
)
def test_every_field_survives_every_type(row, value):
    survives(DECODERS[row.section], BASE | placed(row, value))


@pytest.mark.parametrize("row", FIELDS, ids=lambda row: f"{row.section}:{row.field}")
def test_null_is_the_same_as_leaving_a_field_out(row):
    decode = DECODERS[row.section]
    base = {name: value for name, value in BASE.items() if name != row.field}
    sent = json.dumps(base | placed(row, None)).encode()
    if row.field == "model":
        with pytest.raises(BadRequest, match="model is required"):
            decode(sent)
    else:
        assert decode(sent).request == decode(json.dumps(base).encode()).request
