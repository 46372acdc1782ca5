"""The fake engine's wire, served inside the test's own loop."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from inhouse.engines.workers.fake import FakeServer
from inhouse.engines.workers.fake_script import Order


class Client:
    """Talks to one fake worker over its socket."""

    def __init__(self, path: str, secret: str = "") -> None:
        headers = {"authorization": f"Bearer {secret}"} if secret else {}
        self.http = aiohttp.ClientSession(
            "http://worker", connector=aiohttp.UnixConnector(path, limit=0), headers=headers
        )

    async def get(self, path: str) -> tuple[int, Any]:
        async with self.http.get(path) as answer:
            return answer.status, await answer.json()

    async def post(self, path: str, body: Any) -> tuple[int, Any]:
        async with self.http.post(path, json=body) as answer:
            return answer.status, await answer.json()

    async def stream(self, path: str, body: dict[str, Any]) -> list[Any]:
        """All chunks; the last one is the text DONE where the stream says so."""
        async with self.http.post(path, json=body) as answer:
            assert answer.status == 200, await answer.text()
            assert answer.content_type == "text/event-stream"
            lines = (await answer.read()).decode().split("\n\n")
        assert lines.pop() == ""
        out = []
        for line in lines:
            assert line.startswith("data: ")
            out.append("DONE" if line == "data: [DONE]" else json.loads(line[6:]))
        return out

    async def chat(self, text: str, **more: Any) -> list[Any]:
        body = {"messages": [{"role": "user", "content": text}], "stream": True, **more}
        return await self.stream("/v1/chat/completions", body)

    async def busy(self) -> int:
        _, slots = await self.get("/slots")
        return sum(slot["is_processing"] for slot in slots)


def said(chunks: list[Any], index: int = 0, field: str = "content") -> str:
    return "".join(
        choice["delta"].get(field) or ""
        for chunk in chunks
        if chunk != "DONE"
        for choice in chunk["choices"]
        if choice["index"] == index
    )


Serve = Callable[..., Any]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    folder = Path(tempfile.mkdtemp(prefix="ih-"))
    opened: list[tuple[asyncio.Server, Client]] = []

    async def start(secret: str = "", client_secret: str | None = None, **options: Any) -> Client:
        path = str(folder / f"{len(opened)}.sock")
        fake = FakeServer(Order.of({"address": path, "secret": secret, **options}))
        server = await asyncio.get_running_loop().create_unix_server(fake.connection, path)
        client = Client(path, secret if client_secret is None else client_secret)
        opened.append((server, client))
        return client

    yield start
    for server, client in opened:
        await client.http.close()
        server.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    async with asyncio.timeout(5):
        while [t for t in others if not t.done() and "_serve" in repr(t)]:
            await asyncio.sleep(0.01)
    shutil.rmtree(folder)


# chat


async def test_a_chat_streams_role_tokens_end_usage_and_done(serve: Serve) -> None:
    client = await serve(text="Hello big world")
    chunks = await client.chat("hi", stream_options={"include_usage": True})
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": None}
    assert said(chunks) == "Hello big world"
    end, usage, done = chunks[-3:]
    assert end["choices"] == [{"finish_reason": "stop", "index": 0, "delta": {}}]
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] == 3
    assert usage["usage"]["prompt_tokens"] > 0
    assert usage["timings"]["predicted_n"] == 3
    assert done == "DONE"


async def test_without_a_script_prose_is_recited(serve: Serve) -> None:
    client = await serve()
    chunks = await client.chat("hi", stream_options={"include_usage": True})
    assert said(chunks).startswith("The quick brown fox")
    assert chunks[-2]["usage"]["completion_tokens"] == 32


async def test_a_prompt_can_direct_its_own_answer(serve: Serve) -> None:
    client = await serve(text="launch")
    assert said(await client.chat('/fake {"text": "mine"} and some more words')) == "mine"
    assert said(await client.chat("no directive /fake {}")) == "launch"
    parts = [{"type": "text", "text": '/fake {"tokens": 2}'}]
    chunks = await client.stream("/v1/chat/completions", {"messages": [{"role": "user", "content": parts}]})
    assert len(chunks[1:-2]) == 2


@pytest.mark.parametrize("text", ["/fake nonsense", "/fake [1]", '/fake {"no_such": 1}'])
async def test_a_wrong_directive_is_refused(serve: Serve, text: str) -> None:
    client = await serve()
    body = {"messages": [{"role": "user", "content": text}]}
    status, answer = await client.post("/v1/chat/completions", body)
    assert status == 400
    assert answer["error"]["type"] == "invalid_request_error"


async def test_max_tokens_and_stop_strings_end_the_answer(serve: Serve) -> None:
    client = await serve(text="one two three four")
    chunks = await client.chat("hi", max_tokens=2)
    assert said(chunks) == "one two"
    assert chunks[-2]["choices"][0]["finish_reason"] == "length"
    chunks = await client.chat("hi", stop=["three", "four"])
    assert said(chunks) == "one two "
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert said(await client.chat("hi", stop="tw")) == "one "


async def test_several_choices_interleave_and_each_ends_with_its_timings(serve: Serve) -> None:
    client = await serve(text="a b")
    chunks = await client.chat("hi", n=2)
    assert said(chunks, 0) == said(chunks, 1) == "a b"
    ends = [c for c in chunks[:-1] if c["choices"] and c["choices"][0]["finish_reason"]]
    assert [e["choices"][0]["index"] for e in ends] == [0, 1]
    assert sum(e["timings"]["predicted_n"] for e in ends) == 4
    status, answer = await client.post("/v1/chat/completions", {"messages": [], "n": 5})
    assert status == 400
    assert "slots" in answer["error"]["message"]


async def test_logprobs_carry_the_token_and_its_rivals(serve: Serve) -> None:
    client = await serve(text="hi you")
    chunks = await client.chat("x", logprobs=True, top_logprobs=2)
    [entry] = chunks[1]["choices"][0]["logprobs"]["content"]
    assert entry["token"] == "hi"
    assert entry["bytes"] == [104, 105]
    assert entry["top_logprobs"][0]["token"] == "hi"
    assert len(entry["top_logprobs"]) == 2
    assert entry["logprob"] < 0
    plain = await client.chat("x")
    assert "logprobs" not in plain[1]["choices"][0]


async def test_reasoning_and_a_tool_call_are_recited(serve: Serve) -> None:
    client = await serve(text="", reasoning="let me think", tool_call={"name": "f", "arguments": {"a": 1}})
    chunks = await client.chat("x", tools=[{"type": "function", "function": {"name": "f"}}])
    assert said(chunks, field="reasoning_content") == "let me think"
    calls = [
        c["choices"][0]["delta"]["tool_calls"][0]
        for c in chunks[:-2]
        if "tool_calls" in c["choices"][0]["delta"]
    ]
    assert calls[0]["id"]
    assert calls[0]["function"] == {"name": "f", "arguments": ""}
    assert json.loads("".join(c["function"]["arguments"] for c in calls)) == {"a": 1}
    assert chunks[-2]["choices"][0]["finish_reason"] == "tool_calls"


async def test_echo_recites_the_rendered_prompt(serve: Serve) -> None:
    client = await serve(echo=True)
    _, applied = await client.post("/apply-template", {"messages": [{"role": "user", "content": "hi"}]})
    assert said(await client.chat("hi")) == applied["prompt"]
    assert applied["prompt"] == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"


async def test_prefill_takes_time_and_reports_progress_when_asked(serve: Serve) -> None:
    client = await serve(prefill=0.1)
    began = time.monotonic()
    chunks = await client.chat("one two three four five six", return_progress=True)
    assert time.monotonic() - began >= 0.1
    states = [c["prompt_progress"] for c in chunks if c != "DONE" and "prompt_progress" in c]
    assert [s["processed"] for s in states] == sorted(s["processed"] for s in states)
    assert states[-1]["processed"] == states[-1]["total"]
    assert not any("prompt_progress" in c for c in await client.chat("one") if c != "DONE")


async def test_a_prompt_seen_before_is_cached_up_to_its_last_token(serve: Serve) -> None:
    client = await serve()
    options = {"stream_options": {"include_usage": True}}
    first = (await client.chat("one two three", **options))[-2]["usage"]
    again = (await client.chat("one two three", **options))[-2]["usage"]
    other = (await client.chat("one two four", **options))[-2]["usage"]
    assert first["prompt_tokens_details"]["cached_tokens"] == 0
    assert again["prompt_tokens_details"]["cached_tokens"] == again["prompt_tokens"] - 1
    assert 0 < other["prompt_tokens_details"]["cached_tokens"] < again["prompt_tokens"] - 1


async def test_a_prompt_longer_than_the_context_is_refused_with_both_numbers(serve: Serve) -> None:
    client = await serve(context_length=16)
    body = {"messages": [{"role": "user", "content": "word " * 50}]}
    status, answer = await client.post("/v1/chat/completions", body)
    assert status == 400
    assert answer["error"]["type"] == "exceed_context_size_error"
    assert answer["error"]["n_ctx"] == 16
    assert answer["error"]["n_prompt_tokens"] > 16
    chunks = await client.stream("/completion", {"prompt": "x" * 12 + " y" * 14, "n_predict": 9})
    assert chunks[-1]["tokens_predicted"] == 1
    assert chunks[-1]["stop_type"] == "limit"


# the native stream


async def test_completion_streams_tokens_and_ends_without_done(serve: Serve) -> None:
    client = await serve(text="a b c")
    chunks = await client.stream(
        "/completion", {"prompt": "x y", "return_tokens": True, "n_probs": 1, "return_progress": True}
    )
    assert chunks[0]["prompt_progress"]["total"] == 2
    words = chunks[1:-1]
    assert "".join(c["content"] for c in words) == "a b c"
    assert all(len(c["tokens"]) == 1 and not c["stop"] for c in words)
    assert words[0]["completion_probabilities"][0]["token"] == "a"
    end = chunks[-1]
    assert (end["stop"], end["stop_type"], end["tokens_evaluated"], end["tokens_predicted"]) == (
        True,
        "eos",
        2,
        3,
    )
    _, back = await client.post("/detokenize", {"tokens": [t for c in words for t in c["tokens"]]})
    assert back["content"] == "a b c"


async def test_completion_takes_ids_and_mixtures_and_says_which_word_stopped_it(serve: Serve) -> None:
    client = await serve(echo=True)
    _, ids = await client.post("/tokenize", {"content": "hello world"})
    chunks = await client.stream("/completion", {"prompt": [*ids["tokens"], "!"], "stop": ["!"]})
    assert "".join(c["content"] for c in chunks) == "hello world"
    assert chunks[-1]["stop_type"] == "word"
    assert chunks[-1]["stopping_word"] == "!"
    status, _ = await client.post("/completion", {"prompt": None})
    assert status == 400


async def test_infill_and_several_native_choices(serve: Serve) -> None:
    client = await serve(echo=True)
    chunks = await client.stream("/infill", {"input_prefix": "a ", "input_suffix": " b", "n_cmpl": 2})
    for index in (0, 1):
        assert "".join(c["content"] for c in chunks if c["index"] == index) == "a  b"
    assert [c["index"] for c in chunks if c["stop"]] == [0, 1]


# the small calls


async def test_tokens_are_words_and_turn_back_into_the_same_text(serve: Serve) -> None:
    client = await serve()
    text = "Hello,  wörld of supercalifragilistic tests\n\té中"
    _, plain = await client.post("/tokenize", {"content": text})
    _, pieces = await client.post("/tokenize", {"content": text, "with_pieces": True})
    assert [t["id"] for t in pieces["tokens"]] == plain["tokens"]
    assert "".join(t["piece"] for t in pieces["tokens"]) == text
    _, back = await client.post("/detokenize", plain)
    assert back["content"] == text
    _, unknown = await client.post("/detokenize", {"tokens": [2**40, -1, 97, 0xD800]})
    assert unknown["content"] == "\ufffd\ufffda\ufffd"


async def test_embeddings_are_unit_vectors_that_depend_on_the_text_alone(serve: Serve) -> None:
    client = await serve(embedding_length=8)
    _, answer = await client.post("/v1/embeddings", {"input": ["a", "b", "a"]})
    first, second, third = (d["embedding"] for d in answer["data"])
    assert first == third != second
    assert len(first) == 8
    assert sum(v * v for v in first) == pytest.approx(1)
    assert answer["usage"]["prompt_tokens"] == 3
    _, one = await client.post("/v1/embeddings", {"input": [97]})
    assert one["data"][0]["embedding"] == first
    status, _ = await client.post("/v1/embeddings", {"input": '/fake {"error": {"status": 503}}'})
    assert status == 503


async def test_health_props_and_slots_tell_the_state(serve: Serve) -> None:
    client = await serve(slots=2, context_length=128)
    assert await client.get("/health") == (200, {"status": "ok"})
    _, props = await client.get("/props")
    assert props["total_slots"] == 2
    assert props["n_ctx"] == props["default_generation_settings"]["n_ctx"] == 128
    assert props["chat_template_caps"]["supports_tools"]
    _, slots = await client.get("/slots")
    assert [s["is_processing"] for s in slots] == [False, False]


async def test_a_model_that_still_loads_answers_503(serve: Serve) -> None:
    client = await serve(never_ready=True)
    for status, answer in (await client.get("/health"), await client.post("/tokenize", {"content": "x"})):
        assert status == 503
        assert answer["error"]["type"] == "unavailable_error"
    later = await serve(load_seconds=0.05)
    async with asyncio.timeout(5):
        while (await later.get("/health"))[0] != 200:
            await asyncio.sleep(0.01)


async def test_the_secret_is_needed_everywhere_but_for_health(serve: Serve) -> None:
    client = await serve(secret="s3cret", client_secret="wrong")
    assert (await client.get("/health"))[0] == 200
    assert (await client.get("/props"))[0] == 401
    right = await serve(secret="s3cret")
    assert (await right.get("/props"))[0] == 200


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"messages": "x"}', b'{"messages": [1]}', b"\xff"])
async def test_what_cannot_be_read_is_a_400_and_the_connection_lives(serve: Serve, body: bytes) -> None:
    client = await serve()
    async with client.http.post("/v1/chat/completions", data=body) as answer:
        assert answer.status == 400
    assert (await client.get("/nowhere"))[0] == 404
    assert (await client.get("/health"))[0] == 200


# accidents


async def test_an_error_can_come_instead_of_a_stream_or_inside_it(serve: Serve) -> None:
    client = await serve()
    body = {"messages": [{"role": "user", "content": '/fake {"error": {"status": 503, "message": "no"}}'}]}
    status, answer = await client.post("/v1/chat/completions", body)
    assert (status, answer["error"]["message"]) == (503, "no")
    for after in (0, 2):
        async with client.http.post(
            "/v1/chat/completions",
            json={"messages": [{"role": "user", "content": f'/fake {{"error_after": {after}}}'}]},
        ) as stream:
            chunks = [json.loads(x[6:]) for x in (await stream.text()).split("\n\n") if x]
        assert chunks[-1]["error"]["code"] == 500
        assert len(chunks[1:-1]) == after


async def test_a_hang_falls_silent_and_keeps_its_slot_until_the_client_leaves(serve: Serve) -> None:
    client = await serve(slots=1)
    body = {"messages": [{"role": "user", "content": '/fake {"hang_after": 2}'}]}
    answer = await client.http.post("/v1/chat/completions", json=body)
    got = b""
    while got.count(b"data: ") < 3:
        got += await answer.content.readany()
    assert await client.busy() == 1
    answer.close()
    async with asyncio.timeout(2):
        while await client.busy():
            await asyncio.sleep(0.005)


# slots and pace


async def test_no_more_run_than_slots_and_the_others_follow_in_order(serve: Serve) -> None:
    client = await serve(slots=2, text="a b c", rate=100)
    tasks = [asyncio.create_task(client.chat("x")) for _ in range(5)]
    most = 0
    while not all(t.done() for t in tasks):
        most = max(most, await client.busy())
        await asyncio.sleep(0.002)
    assert most == 2
    assert await client.busy() == 0


async def test_who_leaves_the_line_does_not_hold_up_the_next(serve: Serve) -> None:
    client = await serve(slots=2, text="a")
    hold = '/fake {"hang_after": 1}'
    body = {"messages": [{"role": "user", "content": hold}]}
    first = await client.http.post("/v1/chat/completions", json=body)
    wide = asyncio.create_task(client.chat("x", n=2))
    narrow = asyncio.create_task(client.chat("x"))
    while await client.busy() != 1:
        await asyncio.sleep(0.005)
    wide.cancel()
    async with asyncio.timeout(2):
        assert said(await narrow) == "a"
    first.close()
    with pytest.raises(asyncio.CancelledError):
        await wide


@pytest.mark.parametrize("hold", ['/fake {"tokens": 100000, "rate": 50}', '/fake {"prefill": 60}'])
async def test_a_client_that_leaves_frees_the_slot(serve: Serve, hold: str) -> None:
    client = await serve(slots=1)
    task = asyncio.create_task(client.chat(hold))
    while await client.busy() != 1:
        await asyncio.sleep(0.005)
    task.cancel()
    async with asyncio.timeout(2):
        while await client.busy():
            await asyncio.sleep(0.005)


async def test_tokens_come_one_by_one_at_the_rate(serve: Serve) -> None:
    client = await serve(tokens=20, rate=200)
    began, arrivals = time.monotonic(), 0
    body = {"messages": [{"role": "user", "content": "x"}]}
    async with client.http.post("/v1/chat/completions", json=body) as answer:
        async for _, end in answer.content.iter_chunks():
            arrivals += end
    assert time.monotonic() - began >= 19 / 200
    assert arrivals == 22  # role, 20 tokens, the end


async def test_a_slow_reader_is_not_flooded(serve: Serve) -> None:
    client = await serve(tokens=1_000_000, context_length=2_000_000)
    body = {"messages": [{"role": "user", "content": "x"}]}
    answer = await client.http.post("/v1/chat/completions", json=body)
    for _ in range(50):
        await asyncio.sleep(0)
    assert (await client.get("/health"))[0] == 200  # the worker is not busy writing into the void
    assert await client.busy() == 1
    answer.close()


async def test_pipelined_requests_are_answered_in_order(serve: Serve) -> None:
    client = await serve()
    path = client.http.connector.path  # type: ignore[union-attr]
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\nGET /nowhere HTTP/1.1\r\nhost: x\r\n\r\n")
    first = await reader.readuntil(b"}")
    second = await reader.readuntil(b"}}")
    assert b"200 OK" in first
    assert b"404 Not Found" in second
    writer.write(b"nonsense\r\n\r\n")
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()
