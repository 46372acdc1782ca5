"""Tokens, exact counts and text completions on real models."""

from __future__ import annotations

from typing import Any

import pytest

from support.running import Server

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]

SMOL, QWEN = "smollm2", "qwen2.5-coder:0.5b"
TEXTS = [
    "Hello, world!",
    " Grüße, 世界 😀👍🏽\n",
    "def f(x):\n\treturn x  # é",
    "",
    "नमस्ते",
    "a\u0301 \U0001f469\u200d\U0001f680",
]
TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": "add",
            "description": "Adds <|im_end|> numbers",
            "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
        },
    }
]
HI = {"role": "user", "content": "Say hi, 世界 😀 <|im_end|>"}
CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
CHATS: dict[str, dict[str, Any]] = {
    "plain": {"messages": [HI]},
    "system": {"messages": [{"role": "system", "content": "Be brief."}, HI]},
    "turns": {"messages": [HI, {"role": "assistant", "content": "Hi"}, HI]},
    "prefill": {"messages": [HI, {"role": "assistant", "content": "Well, I"}]},
    "tools": {"messages": [HI], "tools": TOOLS},
    "no tools": {"messages": [HI], "tools": TOOLS, "tool_choice": "none"},
    "forced": {"messages": [HI], "tools": TOOLS, "tool_choice": "required"},
    "results": {
        "messages": [
            HI,
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "c1", "content": "2"},
        ],
        "tools": TOOLS,
    },
    "format": {"messages": [HI], "response_format": {"type": "json_object"}},
    "logprobs": {"messages": [HI], "logprobs": True},
}


def post(server: Server, path: str, **body: Any) -> Any:
    answer = server.ask("POST", path, body, timeout=200)
    assert answer.status == 200, answer.body
    return answer.json


@pytest.mark.parametrize("model", [SMOL, QWEN])
@pytest.mark.parametrize("case", CHATS)
def test_a_count_is_what_the_answer_reports(server: Server, model: str, case: str) -> None:
    chat = {"model": model, **CHATS[case]}
    counted = post(server, "/apply-template", **chat)["count"]
    told = {"stream": True, "stream_options": {"include_usage": True}, "temperature": 0, "max_tokens": 8}
    answer = server.ask("POST", "/v1/chat/completions", chat | told, timeout=200)
    used = [one["usage"]["prompt_tokens"] for one in answer.events if one != "[DONE]" and one.get("usage")]
    assert used == [counted]
    assert post(server, "/tokenize", **chat)["count"] == counted


@pytest.mark.parametrize("model", [SMOL, QWEN])
@pytest.mark.parametrize("text", TEXTS)
def test_text_goes_to_tokens_and_back(server: Server, model: str, text: str) -> None:
    told = post(server, "/tokenize", model=model, content=text, with_pieces=True)
    pieces = [one["piece"] for one in told["tokens"]]
    raw = b"".join(piece.encode() if isinstance(piece, str) else bytes(piece) for piece in pieces)
    assert raw.decode() == text
    ids = [one["id"] for one in told["tokens"]]
    assert post(server, "/detokenize", model=model, tokens=ids)["content"] == text


def test_the_text_of_a_control_token_is_one_only_where_that_is_wanted(server: Server) -> None:
    as_token = post(server, "/tokenize", model=SMOL, content="<|im_end|>")["count"]
    as_text = post(server, "/tokenize", model=SMOL, content="<|im_end|>", parse_special=False)["count"]
    assert as_token == 1 < as_text


def test_an_id_outside_the_vocabulary_is_refused(server: Server) -> None:
    for tokens in ([10**6], [2**31 - 1]):
        answer = server.ask("POST", "/detokenize", {"model": SMOL, "tokens": tokens})
        assert (answer.status, answer.json["error"]["param"]) == (400, "tokens")


def test_the_best_of_several_is_the_likeliest(server: Server) -> None:
    body = {"model": SMOL, "prompt": "The capital of France is", "max_tokens": 6, "seed": 3, "logprobs": 0}
    best = post(server, "/v1/completions", **body, best_of=6, n=2)
    means = []
    for choice in best["choices"]:
        values = choice["logprobs"]["token_logprobs"]
        means.append(sum(values) / len(values))
    assert means == sorted(means, reverse=True)
    assert 12 < best["usage"]["completion_tokens"] <= 36
    every = post(server, "/v1/completions", **body, n=6)
    likeliest = max(
        sum(c["logprobs"]["token_logprobs"]) / len(c["logprobs"]["token_logprobs"]) for c in every["choices"]
    )
    assert means[0] >= likeliest - 0.05


def test_a_prompt_of_ids_is_the_prompt_of_their_text(server: Server) -> None:
    text = "The quick brown fox"
    ids = post(server, "/tokenize", model=SMOL, prompt=text)["tokens"]
    body = {"model": SMOL, "max_tokens": 8, "temperature": 0}
    by_text, by_ids = (post(server, "/v1/completions", **body, prompt=prompt) for prompt in (text, [ids]))
    assert by_text["choices"][0]["text"] == by_ids["choices"][0]["text"]
    assert by_text["usage"]["prompt_tokens"] == by_ids["usage"]["prompt_tokens"] == len(ids)


def test_ids_before_a_gap_fill_it_as_their_text_does(server: Server) -> None:
    prefix, suffix = "def add(a, b):\n    ", "\n\nprint(add(1, 2))\n"
    ids = post(server, "/tokenize", model=QWEN, content=prefix, parse_special=False)["tokens"]
    body = {"model": QWEN, "max_tokens": 12, "temperature": 0, "suffix": suffix}
    by_text, by_ids = (post(server, "/v1/completions", **body, prompt=prompt) for prompt in (prefix, ids))
    assert "return a + b" in by_text["choices"][0]["text"]
    assert by_text["choices"][0]["text"] == by_ids["choices"][0]["text"]


def test_a_streamed_completion_is_the_whole_one(server: Server) -> None:
    body = {"model": SMOL, "prompt": ["One, two,", "Red, green,"], "n": 2, "max_tokens": 9, "seed": 5}
    body |= {"stop": ["\n"], "echo": True}
    whole = post(server, "/v1/completions", **body)
    answer = server.ask(
        "POST",
        "/v1/completions",
        body | {"stream": True, "stream_options": {"include_usage": True}},
        timeout=200,
    )
    texts, reasons = dict.fromkeys(range(4), ""), {}
    for chunk in answer.events[:-1]:
        for choice in chunk["choices"]:
            texts[choice["index"]] += choice["text"]
            reasons[choice["index"]] = choice["finish_reason"] or reasons.get(choice["index"])
    assert texts == {choice["index"]: choice["text"] for choice in whole["choices"]}
    assert reasons == {choice["index"]: choice["finish_reason"] for choice in whole["choices"]}
    usage = answer.events[-2]["usage"]
    assert {k: usage[k] for k in ("prompt_tokens", "completion_tokens")} == {
        k: whole["usage"][k] for k in ("prompt_tokens", "completion_tokens")
    }
    assert texts[0].startswith("One, two,")
    assert texts[2].startswith("Red, green,")
