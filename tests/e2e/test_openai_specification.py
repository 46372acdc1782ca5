"""Every answer of the OpenAI routes against the schemas of OpenAI's published specification.

The schemas are cut out by tools/openai_spec.py. Where ours says more (``reasoning_content``,
``warnings``) the specification allows further fields.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from support.running import Server, fake, serving

SPEC = json.loads((Path(__file__).parent.parent / "support" / "openai_answers.json").read_text("utf-8"))
SAY = fake(text="One two three.")
CALL = fake(tool_call={"name": "add", "arguments": {"a": 1}})
TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]


def holds(name: str, value: Any) -> None:
    """Fail unless ``value`` is what the specification calls ``name``."""
    inner = value.get("response", value)
    for key in (
        "user",
        "usage",
        "status_details",
    ):  # null in OpenAI's own examples, though the schema has no null there
        if inner.get(key, "") is None:
            del inner[key]
    checker = jsonschema_rs.Draft202012Validator({"$ref": f"#/$defs/{name}", **SPEC})
    wrong = [f"{'/'.join(map(str, e.instance_path))}: {e.message[:300]}" for e in checker.iter_errors(value)]
    assert not wrong, f"{name}: {wrong[:5]} in {json.dumps(value)[:1500]}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("spec"), INHOUSE_ENGINE="fake") as running:
        yield running


def ask(server: Server, path: str, body: Any = None, method: str = "POST", status: int = 200) -> Any:
    answer = server.ask(method, f"/v1/{path}", body)
    assert answer.status == status, answer.body
    return answer.events if "event-stream" in answer.headers.get("content-type", "") else answer.json


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


CHATS = {
    "plain": {"messages": user(SAY)},
    "several with logprobs": {"messages": user(SAY), "n": 2, "logprobs": True, "top_logprobs": 2},
    "cut": {"messages": user(SAY), "max_completion_tokens": 1},
    "calling": {"messages": user(CALL), "tools": TOOLS},
    "thinking": {"messages": user(fake(text="4", reasoning="two and two"))},
    "hints": {"messages": user(SAY), "service_tier": "flex", "metadata": {"a": "b"}, "user": "u"},
}


@pytest.mark.parametrize("more", CHATS.values(), ids=CHATS)
def test_chat(server: Server, more: dict[str, Any]) -> None:
    body = {"model": "fake", **more}
    holds("CreateChatCompletionResponse", ask(server, "chat/completions", body))
    chunks = ask(
        server, "chat/completions", {**body, "stream": True, "stream_options": {"include_usage": True}}
    )
    assert chunks.pop() == "[DONE]"
    for chunk in chunks:
        holds("CreateChatCompletionStreamResponse", chunk)


@pytest.mark.parametrize("more", [{}, {"logprobs": 2}, {"n": 2, "echo": True}], ids=str)
def test_completions(server: Server, more: dict[str, Any]) -> None:
    body = {"model": "fake", "prompt": SAY, **more}
    holds("CreateCompletionResponse", ask(server, "completions", body))
    for chunk in ask(server, "completions", {**body, "stream": True})[:-1]:
        for choice in chunk["choices"]:
            choice["finish_reason"] = choice["finish_reason"] or "stop"  # chunks are not specified apart
        holds("CreateCompletionResponse", chunk)


def test_embeddings(server: Server) -> None:
    holds("CreateEmbeddingResponse", ask(server, "embeddings", {"model": "fake-embed", "input": ["a", "b"]}))


def test_models(server: Server) -> None:
    listed = ask(server, "models", method="GET")
    holds("ListModelsResponse", listed)
    holds("Model", ask(server, f"models/{listed['data'][0]['id']}", method="GET"))


RESPONSES = {
    "plain": {"input": SAY},
    "with instructions": {"input": user(SAY), "instructions": "Be brief.", "metadata": {"a": "b"}},
    "calling": {
        "input": CALL,
        "tools": [{"type": "function", "name": "add", "parameters": {}, "strict": False}],
    },
    "thinking": {"input": fake(text="4", reasoning="two and two")},
    "cut": {"input": SAY, "max_output_tokens": 16, "text": {"format": {"type": "text"}}},
    "logprobs": {"input": SAY, "include": ["message.output_text.logprobs"], "top_logprobs": 2},
}


@pytest.mark.parametrize("more", RESPONSES.values(), ids=RESPONSES)
def test_responses(server: Server, more: dict[str, Any]) -> None:
    body = {"model": "fake", **more}
    answer = ask(server, "responses", body)
    holds("Response", answer)
    # What the Open Responses specification asks for beyond OpenAI's own.
    assert answer.keys() >= {
        "completed_at",
        "presence_penalty",
        "frequency_penalty",
        "top_logprobs",
        "tool_choice",
    }
    for event in ask(server, "responses", {**body, "stream": True}):
        holds("ResponseStreamEvent", event)
    holds("Response", ask(server, f"responses/{answer['id']}", method="GET"))
    holds("ResponseItemList", ask(server, f"responses/{answer['id']}/input_items", method="GET"))


def test_counting_the_tokens_of_a_response(server: Server) -> None:
    holds("TokenCountsResource", ask(server, "responses/input_tokens", {"model": "fake", "input": "hi"}))


def test_conversations(server: Server) -> None:
    made = ask(
        server, "conversations", {"metadata": {"a": "b"}, "items": [{"type": "message", **user("hi")[0]}]}
    )
    holds("ConversationResource", made)
    path = f"conversations/{made['id']}"
    ask(server, "responses", {"model": "fake", "input": SAY, "conversation": made["id"]})
    holds("ConversationResource", ask(server, path, method="GET"))
    items = ask(server, f"{path}/items", method="GET")
    holds("ConversationItemList", items)
    assert len(items["data"]) == 3
    holds("ConversationItem", ask(server, f"{path}/items/{items['data'][0]['id']}", method="GET"))
    holds("DeletedConversationResource", ask(server, path, method="DELETE"))


def test_stored_completions(server: Server) -> None:
    body = {"model": "fake", "messages": user(SAY), "store": True, "metadata": {"a": "b"}}
    kept = ask(server, "chat/completions", body)
    path = f"chat/completions/{kept['id']}"
    holds("CreateChatCompletionResponse", ask(server, path, method="GET"))
    holds("ChatCompletionList", ask(server, "chat/completions", method="GET"))
    # The schema of this list knows assistants alone; OpenAI's own example shows a user's message.
    assert [m["role"] for m in ask(server, f"{path}/messages", method="GET")["data"]] == ["user"]
    holds("CreateChatCompletionResponse", ask(server, path, {"metadata": {"c": "d"}}))
    holds("ChatCompletionDeleted", ask(server, path, method="DELETE"))


def test_files(server: Server) -> None:
    lines = ["--edge", 'content-disposition: form-data; name="purpose"', "", "batch", "--edge"]
    lines += ['content-disposition: form-data; name="file"; filename="a.jsonl"', "", "{}", "--edge--", ""]
    form = {"content-type": "multipart/form-data; boundary=edge"}
    answer = server.ask("POST", "/v1/files", "\r\n".join(lines).encode(), form)
    assert answer.status == 200, answer.body
    holds("OpenAIFile", answer.json)
    holds("ListFilesResponse", ask(server, "files", method="GET"))
    path = f"files/{answer.json['id']}"
    holds("OpenAIFile", ask(server, path, method="GET"))
    assert server.ask("GET", f"/v1/{path}/content").body == b"{}"
    holds("DeleteFileResponse", ask(server, path, method="DELETE"))


WRONG = {
    "no model": ("chat/completions", {"messages": user("hi")}, 400),
    "unknown model": ("chat/completions", {"model": "nope", "messages": user("hi")}, 404),
    "wrong type": ("completions", {"model": "fake", "prompt": 5}, 400),
    "no answer of that id": (
        "responses",
        {"model": "fake", "input": "a", "previous_response_id": "resp_x"},
        400,
    ),
    "out of range": ("responses", {"model": "fake", "input": "a", "temperature": 9}, 400),
    "nothing to embed": ("embeddings", {"model": "fake-embed", "input": []}, 400),
    "engine": (
        "chat/completions",
        {"model": "fake", "messages": user(fake(error={"status": 500, "message": "x"}))},
        500,
    ),
}


@pytest.mark.parametrize("path, body, status", WRONG.values(), ids=WRONG)
def test_errors(server: Server, path: str, body: Any, status: int) -> None:
    answer = ask(server, path, body, status=status)
    holds("ErrorResponse", answer)
    assert answer["error"]["message"]
