"""No body, however odd, is anybody's fault but the sender's: each codec answers or refuses with 4xx.

Faults, rows 17 to 28. Whole valid bodies are changed in one place at a time, in every place.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dialects.conversations_support import DIALECTS, GOLDEN, from_responses
from inhouse.core.errors import InhouseError
from inhouse.dialects import anthropic, ollama, openai, tasks
from inhouse.dialects.codec import ErrorAnswer
from inhouse.dialects.openai import responses

CHAT = openai.decode_chat
SAMPLING = {"temperature": 0.5, "top_p": 0.5, "stop": ["END"], "seed": 1}
OPENAI = {
    **DIALECTS["openai"].write(GOLDEN),
    "n": 2,
    "stream": True,
    "stream_options": {"include_usage": True},
    "logprobs": True,
    "top_logprobs": 3,
    "logit_bias": {"5": 1.5},
    "presence_penalty": 0.5,
    "metadata": {"a": "b"},
    "service_tier": "flex",
    "reasoning_effort": "low",
}
RESPONSES = {
    **DIALECTS["responses"].write(GOLDEN),
    "stream": True,
    "store": False,
    "include": ["reasoning.encrypted_content"],
    "reasoning": {"effort": "low", "summary": "auto"},
    "metadata": {"a": "b"},
    "truncation": "auto",
    "previous_response_id": "resp_1",
    "top_logprobs": 2,
}
ANTHROPIC = {
    **DIALECTS["anthropic"].write(GOLDEN),
    "stream": True,
    "top_k": 5,
    "system": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "5m"}}],
    "metadata": {"user_id": "u"},
    "service_tier": "auto",
    "thinking": {"type": "disabled"},
}
COUNT = {
    name: ANTHROPIC[name] for name in ("model", "messages", "system", "tools", "tool_choice", "thinking")
}
OLLAMA = {
    **DIALECTS["ollama"].write(GOLDEN),
    "stream": True,
    "think": False,
    "keep_alive": "5m",
    "logprobs": True,
    "top_logprobs": 2,
}
GENERATE = {
    "model": "m",
    "prompt": "p",
    "system": "s",
    "options": OLLAMA["options"] | {"num_ctx": 512, "top_k": 3, "repeat_penalty": 1.1},
    "images": OLLAMA["messages"][-1]["images"],
    "keep_alive": 5,
    "raw": False,
    "stream": False,
}
COMPLETION = {"model": "m", "prompt": ["a", "b"], "max_tokens": 5, "echo": True, "logprobs": 2, **SAMPLING}
EMBEDDING = {"model": "m", "input": ["a", "b"], "dimensions": 4, "encoding_format": "base64"}


@dataclass(frozen=True)
class Codec:
    """``read`` raises or gives something; ``render`` shapes an error."""

    read: Callable[[bytes], Any]
    render: Callable[[InhouseError], ErrorAnswer]
    body: dict[str, Any]


RERANK = {"model": "m", "query": "q", "documents": ["a", {"text": "b"}], "top_n": 1}
CODECS = {
    "openai chat": Codec(CHAT, openai.render_error, OPENAI),
    "openai completions": Codec(openai.decode_completions, openai.render_error, COMPLETION),
    "openai embeddings": Codec(openai.decode_embeddings, openai.render_error, EMBEDDING),
    "responses": Codec(from_responses, responses.render_error, RESPONSES),
    "responses input_tokens": Codec(responses.decode_count, responses.render_error, RESPONSES),
    "conversations": Codec(
        responses.decode_conversation,
        responses.render_error,
        {"items": RESPONSES["input"], "metadata": {"a": "b"}},
    ),
    "anthropic messages": Codec(anthropic.decode_messages, anthropic.render_error, ANTHROPIC),
    "anthropic count_tokens": Codec(anthropic.decode_count_tokens, anthropic.render_error, COUNT),
    "ollama chat": Codec(ollama.decode_chat, ollama.render_error, OLLAMA),
    "ollama generate": Codec(ollama.decode_generate, ollama.render_error, GENERATE),
    "ollama embed": Codec(
        ollama.decode_embed,
        ollama.render_error,
        {"model": "m", "input": ["a"], "dimensions": 4, "truncate": True},
    ),
    "ollama create": Codec(
        ollama.decode_create,
        ollama.render_error,
        {
            "model": "m",
            "from": "b",
            "system": "s",
            "parameters": {"num_ctx": 5, "stop": ["x"]},
            "license": ["l"],
        },
    ),
    "rerank": Codec(tasks.decode_rerank, openai.render_error, RERANK),
    "rerank v2": Codec(tasks.decode_rerank_v2, openai.render_error, RERANK),
    "score": Codec(tasks.decode_score, openai.render_error, {"model": "m", "text_1": "a", "text_2": ["b"]}),
    "tokenize": Codec(
        partial(tasks.decode_tokenize, read_chat=CHAT), openai.render_error, {"model": "m", "content": "x"}
    ),
    "detokenize": Codec(tasks.decode_detokenize, openai.render_error, {"model": "m", "tokens": [1, 2]}),
    "apply-template": Codec(
        partial(tasks.decode_apply_template, read_chat=CHAT),
        openai.render_error,
        {"model": "m", "messages": OPENAI["messages"], "tools": OPENAI["tools"]},
    ),
}

Path = tuple[str | int, ...]
ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63) - 1, 10**30, 0.5, 1e308, -1e308, "", "x", " ", "\x00",
    "a" * 5000, "../../etc/passwd", "<|im_end|>", "file:///etc/passwd", "data:image/png;base64,AAAA",
    [], [None], [[]], [{}], ["x"] * 40, {}, {"x": None}, {"type": "x"}, {"$ref": "#"}, {"$ref": "file:///etc/passwd"},
    {"type": "object", "properties": {"a": {"$ref": "#"}}}, {"enum": list(range(2000))},
)  # fmt: skip


def places(value: Any, path: Path = ()) -> Iterator[Path]:
    """Paths of everything inside."""
    if path:
        yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, one in inner:
        yield from places(one, (*path, name))


def changed(body: dict[str, Any], path: Path, odd: Any) -> dict[str, Any]:
    out = deepcopy(body)
    inner: Any = out
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = odd
    return out


def survives(codec: Codec, raw: bytes) -> InhouseError | None:
    """Read, or refused with a status of 4xx in a body that is JSON."""
    try:
        codec.read(raw)
    except InhouseError as error:
        answer = codec.render(error)
        assert 400 <= answer.status < 500, (error, raw[:2000])
        text = answer.body.decode("utf-8")
        assert json.loads(text)
        assert "Traceback" not in text
        assert len(text) < 4000, "it echoes what was sent"
        return error
    except Exception as error:
        raise AssertionError(f"{error!r} for {raw[:2000]!r}") from error
    return None


@pytest.mark.parametrize("name", CODECS)
def test_the_whole_body_is_good(name):
    """Else all that follows would only see the first refusal."""
    assert survives(CODECS[name], json.dumps(CODECS[name].body).encode()) is None


@pytest.mark.parametrize("name", CODECS)
def test_any_value_in_any_place_is_read_or_refused(name):
    codec = CODECS[name]
    refused = 0
    for path in places(codec.body):
        for odd in ODD:
            refused += survives(codec, json.dumps(changed(codec.body, path, odd)).encode()) is not None
    assert refused


@pytest.mark.parametrize("name", CODECS)
def test_whatever_is_refused_names_a_field_that_was_sent(name):
    codec = CODECS[name]
    for path in places(codec.body):
        error = survives(codec, json.dumps(changed(codec.body, path, {"x": [None]})).encode())
        assert error is None or error.param, (path, error)


@pytest.mark.parametrize("name", CODECS)
def test_anything_may_be_missing(name):
    codec = CODECS[name]
    for path in places(codec.body):
        body = deepcopy(codec.body)
        inner: Any = body
        for step in path[:-1]:
            inner = inner[step]
        del inner[path[-1]]
        survives(codec, json.dumps(body).encode())


@pytest.mark.parametrize("name", CODECS)
@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_several_changes_at_once_are_read_or_refused(name, data):
    codec = CODECS[name]
    body = codec.body
    for _ in range(data.draw(st.integers(2, 5))):
        found = list(places(body))
        if not found:
            break
        path = data.draw(st.sampled_from(found))
        other = data.draw(st.sampled_from(found))
        value: Any = body
        for step in other:
            value = value[step]
        body = changed(body, path, data.draw(st.sampled_from([*ODD, deepcopy(value)])))
    survives(codec, json.dumps(body).encode())


def raw_bodies() -> dict[str, bytes]:
    pairs = ",".join(f'"{n}":1' for n in range(100_000))
    return {
        "nothing": b"",
        "no object": b"[]",
        "text": b"hello",
        "cut off": b'{"model": "m", "messages": [',
        "invalid UTF-8": b'{"model": "\xff\xfe"}',
        "lone surrogate": b'{"model": "\\ud800", "messages": [], "prompt": "\\udfff", "input": "\\ud83d"}',
        "byte order mark": b'\xef\xbb\xbf{"model": "m"}',
        "UTF-16": '{"model": "m"}'.encode("utf-16"),
        "NUL": b'{"model": "m\x00"}',
        "NaN": b'{"model": "m", "temperature": NaN}',
        "Infinity": b'{"model": "m", "temperature": -Infinity}',
        "beyond a double": b'{"model": "m", "temperature": 1e400}',
        "same key twice": b'{"model": "m", "model": "n"}',
        "long number": b'{"model": "m", "seed": ' + b"9" * 100_000 + b"}",
        "deep arrays": b'{"model": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        "deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        "many keys": ("{" + pairs + "}").encode(),
        "trailing text": b'{"model": "m"} x',
        "comment": b'{"model": "m" /* x */}',
    }


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("kind", raw_bodies())
def test_bodies_that_are_no_json_object_are_refused_at_once(name, kind):
    """Faults, rows 17 and 18."""
    raw = raw_bodies()[kind]
    began = time.perf_counter()
    error = survives(CODECS[name], raw)
    assert error is not None or (name, kind) == ("conversations", "nothing")  # which asks for an empty one
    assert time.perf_counter() - began < 5.0


DEEP: Any = {"type": "string"}
for _ in range(300):
    DEEP = {"type": "object", "properties": {"a": DEEP}}
SCHEMAS = {
    "deep": DEEP,
    "recursive": {"$ref": "#"},
    "mutually recursive": {
        "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}},
        "$ref": "#/$defs/a",
    },
    "remote": {"$ref": "http://127.0.0.1:9/schema.json"},
    "of a file": {"$ref": "file:///etc/passwd"},
    "enormous": {"enum": [f"value {n}" for n in range(100_000)]},
    "wide": {"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(9_000)}},
    "a bad pattern": {"type": "string", "pattern": "(a+)+$" * 50 + "("},
}
SCHEMA_PLACES: tuple[tuple[str, Path], ...] = (
    ("openai chat", ("response_format", "json_schema", "schema")),
    ("openai chat", ("tools", 0, "function", "parameters")),
    ("responses", ("text", "format", "schema")),
    ("responses", ("tools", 0, "parameters")),
    ("anthropic messages", ("output_config", "format", "schema")),
    ("anthropic messages", ("tools", 0, "input_schema")),
    ("ollama chat", ("format",)),
    ("ollama chat", ("tools", 0, "function", "parameters")),
)


@pytest.mark.parametrize(("name", "path"), SCHEMA_PLACES)
@pytest.mark.parametrize("kind", SCHEMAS)
def test_schemas_that_would_cost_too_much_are_read_or_refused_at_once(name, path, kind):
    """Faults, row 25; what an engine cannot enforce is refused later, by name."""
    codec = CODECS[name]
    raw = json.dumps(changed(codec.body, path, SCHEMAS[kind])).encode()
    began = time.perf_counter()
    error = survives(codec, raw)
    assert time.perf_counter() - began < 5.0
    if kind in ("remote", "of a file", "enormous"):
        assert error is not None


COUNTS: tuple[tuple[str, Path, Any], ...] = (
    ("openai chat", ("n",), 10**9),
    ("openai chat", ("stop",), ["x"] * 10_000),
    ("openai chat", ("stop",), "x" * 2**20),
    ("openai chat", ("logit_bias",), {str(n): 1 for n in range(9_999)}),
    ("openai chat", ("logit_bias",), {"x": 1}),
    ("openai chat", ("logit_bias",), {"-1": 1}),
    ("openai chat", ("logit_bias",), {"9" * 40: 1}),
    ("openai chat", ("messages",), []),
    ("openai chat", ("temperature",), 2.1),
    ("openai chat", ("top_p",), -0.1),
    ("openai chat", ("top_logprobs",), 21),
    ("openai completions", ("best_of",), 10**9),
    ("openai completions", ("prompt",), ["x"] * 100_000),
    ("openai completions", ("prompt",), []),
    ("openai embeddings", ("input",), ["x"] * 100_000),
    ("openai embeddings", ("input",), []),
    ("responses", ("max_output_tokens",), -1),
    ("responses", ("input",), []),
    ("anthropic messages", ("messages",), []),
    ("anthropic messages", ("max_tokens",), -1),
    ("anthropic messages", ("stop_sequences",), ["x" * 2**20] * 9),
    ("ollama chat", ("options", "stop"), ["x"] * 10_000),
    ("rerank", ("documents",), ["x"] * 100_000),
    ("detokenize", ("tokens",), [-1]),
    ("detokenize", ("tokens",), ["x"]),
)


@pytest.mark.parametrize(("name", "path", "value"), COUNTS, ids=lambda value: str(value)[:40])
def test_what_is_out_of_bounds_is_refused_by_name(name, path, value):
    """Faults, rows 20 to 23."""
    codec = CODECS[name]
    body = deepcopy(codec.body)
    if name == "responses":
        del body["previous_response_id"]
    error = survives(
        codec, json.dumps(changed(body, path, value) if path[0] in body else body | {path[0]: value}).encode()
    )
    assert error is not None
    assert error.param
    assert error.param.startswith(str(path[0]))
