"""Cases of the integration suite of Ollama's own repository, in our words, over small real models.

The name of each test begins with the case that it follows. Left out are those that need models or hardware
that are not here: vision, sound, thinking models, quantising, the sweep of the library.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ollama
import pytest

from inhouse.server.routes import ROUTES
from support.models import borrowed_home
from support.running import Answer, Server, serving

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]

SMOL, QWEN = "smollm2", "qwen2.5-coder:0.5b"
SKY = "Why is the sky blue?"
SKY_WORDS = ("rayleigh", "scatter", "atmosphere", "nitrogen", "oxygen", "wavelength", "interact", "light")
GREEDY = {"temperature": 0, "seed": 123, "num_predict": 60}
SHORT = {"temperature": 0, "seed": 123, "num_predict": 12}
FIGURES = ("total_duration", "load_duration", "prompt_eval_duration", "eval_count", "eval_duration")
PATHS = {row.path for row in ROUTES}
NAME_ME = [
    {"role": "user", "content": "My name is Ada. Remember it."},
    {"role": "assistant", "content": "Hello Ada, I will."},
    {"role": "user", "content": "What is my name? One word."},
]


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[ollama.Client]:
    with ollama.Client(host=f"http://127.0.0.1:{server.port}") as made:
        yield made


def blue(text: str) -> bool:
    return any(word in text.lower() for word in SKY_WORDS)


# -- api_test ------------------------------------------------------------------------------------


def test_api_generate(client: ollama.Client) -> None:
    parts = list(client.generate(model=QWEN, prompt=SKY, options=GREEDY, stream=True))
    whole = client.generate(model=QWEN, prompt=SKY, options=GREEDY)
    assert all(part.model == QWEN for part in (*parts, whole))
    assert blue(whole.response)
    assert "".join(part.response for part in parts) == whole.response
    for last in (parts[-1], whole):
        assert all(last[name] > 0 for name in FIGURES)
        assert last.context
        assert last.done_reason in ("stop", "length")
    (running,) = (model for model in client.ps().models if model.name == QWEN)
    assert running.model == QWEN
    assert running.size
    assert running.digest
    assert running.expires_at
    assert running.details
    assert running.details.format == "gguf"


def test_api_chat(client: ollama.Client) -> None:
    asked = [{"role": "user", "content": SKY}]
    parts = list(client.chat(model=QWEN, messages=asked, options=GREEDY, stream=True))
    whole = client.chat(model=QWEN, messages=asked, options=GREEDY)
    assert blue(whole.message.content or "")
    assert "".join(part.message.content or "" for part in parts) == whole.message.content
    for last in (parts[-1], whole):
        assert all(last[name] > 0 for name in FIGURES)
        assert last.created_at
        assert last.done_reason


def test_api_list_models(client: ollama.Client) -> None:
    for model in client.list().models:
        assert model.model
        assert model.modified_at
        assert model.size
        assert model.digest
        assert model.details
        details = model.details
        assert all((details.format, details.family, details.parameter_size, details.quantization_level))


def test_api_show_model(client: ollama.Client) -> None:
    client.create(model="shown", from_=SMOL, license="MIT", parameters={"top_k": 3})
    try:
        shown = client.show("shown")
        assert shown.license
        assert shown.modelfile
        assert shown.modelfile.startswith("# ")
        assert "\nFROM " in shown.modelfile
        assert shown.parameters
        assert shown.template
        assert shown.modelinfo
        assert shown.modified_at
        assert shown.details
    finally:
        client.delete("shown")


def checked(tokens: Any, text: str, top: int) -> None:
    assert tokens
    for token in tokens:
        assert token["logprob"] <= 0
        assert bytes(token["bytes"]).decode("utf-8", "replace") == token["token"]
        others = token.get("top_logprobs", [])
        assert len(others) == top
        assert [o["logprob"] for o in others] == sorted((o["logprob"] for o in others), reverse=True)
    assert b"".join(bytes(token["bytes"]) for token in tokens).decode("utf-8", "replace").startswith(text)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("path", ["/api/generate", "/api/chat"])
def test_logprobs(server: Server, path: str, stream: bool) -> None:
    for more, top in (({}, None), ({"logprobs": True}, 0), ({"logprobs": True, "top_logprobs": 5}, 5)):
        body = {"model": QWEN, "prompt": SKY, "stream": stream, "options": SHORT, **more}
        if path == "/api/chat":
            body["messages"] = [{"role": "user", "content": body.pop("prompt")}]
        answer = server.ask("POST", path, body, timeout=120)
        lines = answer.lines if stream else [answer.json]
        text = "".join(line.get("response") or line.get("message", {}).get("content", "") for line in lines)
        tokens = [token for line in lines for token in line.get("logprobs", ())]
        if top is None:
            assert tokens == []
        else:
            checked(tokens, text, top)


# -- basic_test ----------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [SMOL, QWEN])
def test_num_predict(server: Server, model: str) -> None:
    body = {
        "model": model,
        "prompt": "Write a long story.",
        "stream": False,
        "logprobs": True,
        "options": {"num_predict": 10, "temperature": 0, "seed": 123},
    }
    answer = server.ask("POST", "/api/generate", body, timeout=120).json
    assert len(answer["logprobs"]) == answer["eval_count"] == 10
    assert answer["done_reason"] == "length"


def test_unicode_input_and_output(client: ollama.Client) -> None:
    asked = [{"role": "user", "content": "用中文说你好。Then add the emoji 🙂."}]
    parts = list(client.chat(model=QWEN, messages=asked, options=GREEDY, stream=True))
    text = "".join(part.message.content or "" for part in parts)
    assert re.search(r"[\u4e00-\u9fff]", text)
    assert all("\ufffd" not in (part.message.content or "") for part in parts)


def test_unicode_model_dir(tmp_path: Path) -> None:
    home = borrowed_home(tmp_path / "模型 ünï", SMOL)
    with serving(home, INHOUSE_ENGINE="wheel", INHOUSE_CONTEXT_LENGTH="512") as here:
        body = {"model": SMOL, "prompt": "Hi", "stream": False, "options": {"num_predict": 3}}
        answer = here.ask("POST", "/api/generate", body, timeout=120)
        assert answer.status == 200, answer.body
        assert answer.json["eval_count"] == 3


# -- context_test, concurrency_test --------------------------------------------------------------


def test_chat_history(client: ollama.Client) -> None:
    assert "Ada" in (client.chat(model=QWEN, messages=NAME_ME, options=SHORT).message.content or "")


def test_parallel_generate_history(server: Server) -> None:
    def converse(name: str) -> bool:
        with ollama.Client(host=f"http://127.0.0.1:{server.port}") as own:
            first = own.generate(model=QWEN, prompt=f"My name is {name}. Remember it.", options=SHORT)
            second = own.generate(
                model=QWEN, prompt="What is my name? One word.", context=first.context, options=SHORT
            )
        return name in second.response

    names = ["Ada", "Bob", "Carl"]
    with ThreadPoolExecutor(len(names)) as pool:
        assert list(pool.map(converse, names)) == [True] * len(names)


def test_parallel_chat_history(server: Server) -> None:
    def converse(name: str) -> bool:
        told = [{**message, "content": message["content"].replace("Ada", name)} for message in NAME_ME]
        with ollama.Client(host=f"http://127.0.0.1:{server.port}") as own:
            return name in (own.chat(model=QWEN, messages=told, options=SHORT).message.content or "")

    names = ["Ada", "Bob", "Carl"]
    with ThreadPoolExecutor(len(names)) as pool:
        assert list(pool.map(converse, names)) == [True] * len(names)


def test_context_long_input(server: Server) -> None:
    passage = "Russia alone must save Europe. Austria is betraying us; England will not understand. " * 25
    body = {
        "model": QWEN,
        "messages": [{"role": "user", "content": f"What is this about?\n{passage}"}],
        "stream": False,
        "options": {**GREEDY, "num_ctx": 128},
    }
    answer = server.ask("POST", "/api/chat", body, timeout=120)
    assert answer.status == 200, answer.body
    text = answer.json["message"]["content"].lower()
    assert any(word in text for word in ("russia", "europe", "austria", "england", "war"))
    assert answer.json["warnings"]
    refused = server.ask("POST", "/api/chat", {**body, "truncate": False})
    assert refused.status == 400
    assert re.search(
        "context.*(exceed|longer|too l)|(exceed|longer|too l).*context", refused.json["error"]
    ) or ("maximum context length" in refused.json["error"])


def test_context_exhaustion(client: ollama.Client) -> None:
    text = "Write the numbers from one to two hundred in words, with an emoji after each."
    asked = [{"role": "user", "content": text}]
    options = {"temperature": 0, "seed": 123, "num_ctx": 128}
    answer = client.chat(model=QWEN, messages=asked, think=False, options=options)
    assert answer.done_reason in ("stop", "length")
    assert (answer.prompt_eval_count or 0) + (answer.eval_count or 0) <= 128
    assert len((answer.message.content or "").split()) > 10
    assert "\ufffd" not in (answer.message.content or "")


def test_concurrent_chat_over_several_models(server: Server) -> None:
    def ask(number: int) -> str:
        model = (SMOL, QWEN)[number % 2]
        with ollama.Client(host=f"http://127.0.0.1:{server.port}") as own:
            asked = [{"role": "user", "content": f"Say hello to number {number}."}]
            return own.chat(model=model, messages=asked, options=SHORT).message.content or ""

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(ask, range(12)))


# -- embed_test ----------------------------------------------------------------------------------


def embed(server: Server, given: Any, **more: Any) -> Answer:
    return server.ask("POST", "/api/embed", {"model": SMOL, "input": given, **more}, timeout=120)


def cosine(first: list[float], second: list[float]) -> float:
    return sum(a * b for a, b in zip(first, second, strict=True))


def test_embed_api_truncate(server: Server) -> None:
    question = "why is the sky blue?"
    (why,) = embed(server, "why").json["embeddings"]
    for more in ({}, {"truncate": True}):
        cut = embed(server, question, options={"num_ctx": 1}, **more)
        assert cut.status == 200, cut.body
        assert cosine(cut.json["embeddings"][0], why) > 0.999
        assert cut.json["prompt_eval_count"] == 1
    whole = embed(server, question).json
    assert cosine(whole["embeddings"][0], why) < 0.999
    for more in ({"options": {"num_ctx": 3}}, {"options": {"num_ctx": 1}}):
        refused = embed(server, question, truncate=False, **more)
        assert refused.status == 400
        assert "exceeds the context length" in refused.json["error"] or (
            "exceeds maximum context length" in refused.json["error"]
        )
    nothing = embed(server, question, options={"num_ctx": 0})
    assert nothing.json == {"error": "input after truncation exceeds maximum context length"}
    sixteen = embed(server, f"{question} Why is the sky blue? hi there my", options={"num_ctx": 16})
    assert sixteen.status == 200


def test_embed_truncation_of_one_in_a_batch_and_exact_counts(server: Server) -> None:
    given = ["short", "long " * 100, "medium text"]
    cut = embed(server, given, truncate=True, options={"num_ctx": 30}).json
    assert len(cut["embeddings"]) == 3
    assert cut["prompt_eval_count"] <= 90
    assert embed(server, given, truncate=False, options={"num_ctx": 30}).status == 400
    one = embed(server, "test").json["prompt_eval_count"]
    assert embed(server, ["test"] * 3).json["prompt_eval_count"] == 3 * one


@pytest.mark.parametrize("words", [256, 512, 800])
def test_embed_large_input(server: Server, words: int) -> None:
    answer = embed(server, " ".join(["word"] * words))
    assert answer.status == 200
    assert len(answer.json["embeddings"][0]) == 576
    assert answer.json["prompt_eval_count"] >= words


# -- tools_test, tools_routes_test, generate_jinja_test ------------------------------------------

PARAMETERS = {
    "type": "object",
    "properties": {"location": {"type": "string", "description": "The city name"}},
    "required": ["location"],
}
FUNCTION = {
    "name": "get_weather",
    "description": "Get the current weather for a location",
    "parameters": PARAMETERS,
}
SYSTEM = "Use get_weather for questions about the weather."
ASK, CITY = "Call get_weather for Boston.", "Boston"
LEAKED = re.compile(r"<\|?/?(tool|im_|think)")


def ollama_route(server: Server) -> tuple[str, dict[str, Any]]:
    call = {"id": "call_previous", "function": {"name": "get_weather", "arguments": {"location": "Paris"}}}
    body = {
        "model": QWEN,
        "messages": [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": "Call get_weather for Paris."},
            {"role": "assistant", "tool_calls": [call]},
            {
                "role": "tool",
                "content": '{"condition":"sunny"}',
                "tool_name": "get_weather",
                "tool_call_id": "call_previous",
            },
            {"role": "user", "content": ASK},
        ],
        "tools": [{"type": "function", "function": FUNCTION}],
        "stream": True,
        "think": False,
        "options": {"temperature": 0, "num_predict": 120},
    }
    lines = server.ask("POST", "/api/chat", body, timeout=120).lines
    assert not LEAKED.search("".join(line["message"]["content"] for line in lines))
    calls = [one for line in lines for one in line["message"].get("tool_calls", ())]
    return calls[-1]["function"]["name"], calls[-1]["function"]["arguments"]


def openai_route(server: Server) -> tuple[str, dict[str, Any]]:
    call = {
        "id": "call_previous",
        "type": "function",
        "function": {"name": "get_weather", "arguments": '{"location":"Paris"}'},
    }
    body = {
        "model": QWEN,
        "messages": [
            {"role": "system", "content": "Tool protocol compatibility test."},
            {"role": "developer", "content": SYSTEM},
            {"role": "user", "content": [{"type": "text", "text": "Call get_weather for Paris."}]},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {
                "role": "tool",
                "tool_call_id": "call_previous",
                "content": [{"type": "text", "text": '{"condition":"sunny"}'}],
            },
            {"role": "user", "content": ASK},
        ],
        "tools": [{"type": "function", "function": FUNCTION}],
        "stream": True,
        "temperature": 0,
        "max_tokens": 120,
        "reasoning_effort": "none",
    }
    name = arguments = ""
    for event in server.ask("POST", "/v1/chat/completions", body, timeout=120).events:
        for choice in [] if event == "[DONE]" else event["choices"]:
            for one in choice["delta"].get("tool_calls", ()):
                name += one["function"].get("name") or ""
                arguments += one["function"].get("arguments") or ""
    return name, json.loads(arguments)


def responses_route(server: Server) -> tuple[str, dict[str, Any]]:
    call = {"call_id": "call_previous", "name": "get_weather", "arguments": '{"location":"Paris"}'}
    given = [{"type": "input_text", "text": '{"condition":"sunny"}'}]
    body = {
        "model": QWEN,
        "instructions": "Tool protocol compatibility test.",
        "input": [
            {"type": "message", "role": "developer", "content": SYSTEM},
            {"type": "message", "role": "user", "content": "Call get_weather for Paris."},
            {"type": "function_call", **call},
            {"type": "function_call_output", "call_id": "call_previous", "output": given},
            {"type": "message", "role": "user", "content": ASK},
        ],
        "tools": [{"type": "function", "strict": False, **FUNCTION}],
        "stream": True,
        "temperature": 0,
        "max_output_tokens": 120,
        "reasoning": {"effort": "none"},
    }
    events = server.ask("POST", "/v1/responses", body, timeout=120).events
    items = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    (item,) = (one for one in items if one["type"] == "function_call")
    return item["name"], json.loads(item["arguments"])


def anthropic_route(server: Server) -> tuple[str, dict[str, Any]]:
    body = {
        "model": QWEN,
        "max_tokens": 120,
        "system": [{"type": "text", "text": SYSTEM, "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {"role": "user", "content": "Call get_weather for Paris."},
            {
                "role": "assistant",
                "content": [
                    {
                        "type": "tool_use",
                        "id": "call_previous",
                        "name": "get_weather",
                        "input": {"location": "Paris"},
                    }
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "call_previous",
                        "content": [{"type": "text", "text": '{"condition":"sunny"}'}],
                    },
                    {"type": "text", "text": ASK},
                ],
            },
        ],
        "tools": [
            {
                "name": "get_weather",
                "description": FUNCTION["description"],
                "input_schema": PARAMETERS,
            }
        ],
        "stream": True,
        "temperature": 0,
        "thinking": {"type": "disabled"},
    }
    answer = server.ask("POST", "/v1/messages", body, {"anthropic-version": "2023-06-01"}, timeout=120)
    name, arguments = "", ""
    for event in answer.events:
        if event["type"] == "content_block_start" and event["content_block"]["type"] == "tool_use":
            name = event["content_block"]["name"]
        if event["type"] == "content_block_delta":
            arguments += event["delta"].get("partial_json", "")
    return name, json.loads(arguments)


TOOL_ROUTES: dict[str, Callable[[Server], tuple[str, dict[str, Any]]]] = {
    "/api/chat": ollama_route,
    "/v1/chat/completions": openai_route,
    "/v1/responses": responses_route,
    "/v1/messages": anthropic_route,
}


@pytest.mark.parametrize("path", [path for path in TOOL_ROUTES if path in PATHS])
def test_tools_routes(server: Server, path: str) -> None:
    name, arguments = TOOL_ROUTES[path](server)
    assert name == "get_weather"
    assert CITY in arguments["location"]


def debug(server: Server, path: str, **more: Any) -> str:
    body = {"model": QWEN, "_debug_render_only": True, **more}
    answer = server.ask("POST", path, body, timeout=120)
    assert answer.status == 200, answer.body
    return str(answer.json["_debug_info"]["rendered_template"])


def test_generate_jinja_debug_render(server: Server) -> None:
    prompt = "Reply with one short sentence about blue skies."
    shown = debug(server, "/api/generate", prompt=prompt)
    assert prompt in shown
    assert shown == debug(server, "/api/chat", messages=[{"role": "user", "content": prompt}])
