"""Any JSON body gives a decoded request or a BadRequest; the encoders take any events."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dialects.answers_support import RICH, json_leaves, json_values, rows, run
from inhouse.core.errors import BadRequest, EngineError
from inhouse.dialects.openai import decode_chat, decode_completions, decode_embeddings

DECODERS = {
    "POST /v1/chat/completions": decode_chat,
    "POST /v1/completions": decode_completions,
    "POST /v1/embeddings": decode_embeddings,
}
BASE = {
    "model": "m",
    "messages": [{"role": "user", "content": "hi"}],
    "prompt": "p",
    "input": "i",
}
NAMES = sorted({row.field.partition(".")[0] for row in rows("api-openai.md")})
INNER = [*NAMES, "type", "function", "name", "content", "role", "text", "image_url", "url", "json_schema"]
INNER += ["schema", "tool_calls", "id", "arguments", "tool_call_id", "include_usage", "parameters", "$ref"]
LEAVES = json_leaves(["user", "tool", "assistant", "function", "text", "image_url", "json_schema", "#/a"])
JSON = json_values(LEAVES, INNER)


def survives(decode, value) -> None:
    try:
        decoded = decode(json.dumps(value).encode())
    except BadRequest as error:
        assert error.message
        return
    with contextlib.suppress(EngineError):  # more choices or vectors may be asked for than the script has
        run(decoded.encoder, RICH).decode("utf-8")


@pytest.mark.parametrize("decode", DECODERS.values(), ids=["chat", "completions", "embeddings"])
@settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
@given(odd=st.dictionaries(st.sampled_from(NAMES), JSON, max_size=4))
def test_any_fields_decode_or_are_refused(decode, odd):
    survives(decode, BASE | odd)


@settings(deadline=None, max_examples=200, suppress_health_check=list(HealthCheck))
@given(
    messages=st.lists(
        st.fixed_dictionaries(
            {"role": st.sampled_from(["user", "system", "assistant", "tool", "developer", "x"])},
            optional={"content": JSON, "tool_calls": JSON, "tool_call_id": JSON, "name": JSON},
        ),
        max_size=4,
    )
)
def test_any_messages_decode_or_are_refused(messages):
    survives(decode_chat, BASE | {"messages": messages})


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=60))
def test_any_bytes_decode_or_are_refused(raw):
    for decode in DECODERS.values():
        with pytest.raises(BadRequest):
            decode(raw)


@pytest.mark.parametrize("row", list(rows("api-openai.md")), ids=lambda row: f"{row.section}:{row.field}")
@pytest.mark.parametrize(
    "value", [True, -1, 2**31, 2**63, 1e308, 0.5, "", "x", [], ["x"], [[]], {}, {"x": None}]
)
def test_every_field_survives_every_type(row, value):
    base = {name: v for name, v in BASE.items() if name in ("model", "messages", "prompt", "input")}
    odd = value
    for name in reversed(row.field.split(".")):
        odd = {name: odd}
    survives(DECODERS[row.section], base | odd)


@pytest.mark.parametrize("row", list(rows("api-openai.md")), ids=lambda row: f"{row.section}:{row.field}")
def test_null_is_the_same_as_leaving_a_field_out(row):
    odd = None
    for name in reversed(row.field.split(".")):
        odd = {name: odd}
    decode = DECODERS[row.section]
    if row.field in ("model", "messages", "prompt", "input"):
        with pytest.raises(BadRequest) as caught:
            decode(json.dumps(BASE | odd).encode())
        assert caught.value.param == row.field
    elif row.field.startswith("stream_options"):
        base = BASE | {"stream": True}
        assert decode(json.dumps(base | odd).encode()).request == decode(json.dumps(base).encode()).request
    else:
        assert decode(json.dumps(BASE | odd).encode()).request == decode(json.dumps(BASE).encode()).request
