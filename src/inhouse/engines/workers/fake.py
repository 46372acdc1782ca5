"""The fake engine: a real worker program that recites scripts on llama-server's wire.

``python -m inhouse.engines.workers.fake`` reads one line of JSON (``fake_script.Order``) and serves.
It never loads a model and starts in a tenth of a second; the suite and the benchmarks stand on it.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import math
import os
import signal
import stat
import sys
import time
from collections.abc import Callable
from typing import Any

from . import guard
from .fake_http import Connection, Handler, Refused
from .fake_raw import raw as as_raw
from .fake_raw import turn
from .fake_script import BadScript, Order, Script, recite
from .fake_stream import Slots, perform
from .fake_tasks import rank
from .fake_text import TEMPLATE, Vocabulary, render, vector
from .fake_wire import Asked, ChatWire, CompletionWire, Count, Wire


class FakeServer:
    """All routes of one fake worker. Runs in the loop it is made in."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._vocabulary = Vocabulary()
        self._slots = Slots(order.slots)
        self._ready_at = math.inf if order.never_ready else time.monotonic() + order.load_seconds
        self._last_prompt: list[int] = []
        self._routes: dict[tuple[str, str], Handler] = {
            ("GET", "/health"): self._health,
            ("GET", "/props"): self._props,
            ("GET", "/slots"): self._list_slots,
            ("POST", "/v1/chat/completions"): self._chat,
            ("POST", "/completion"): self._completion,
            ("POST", "/infill"): self._infill,
            ("POST", "/tokenize"): self._tokenize,
            ("POST", "/detokenize"): self._detokenize,
            ("POST", "/apply-template"): self._apply_template,
            ("POST", "/v1/embeddings"): self._embeddings,
            ("POST", "/rerank"): self._rerank,
        }

    def connection(self) -> Connection:
        """A protocol for one accepted connection."""
        return Connection(self._routes, self._order.secret)

    # facts

    async def _health(self, connection: Connection, body: bytes) -> dict[str, Any]:
        self._need_ready()
        return {"status": "ok"}

    async def _props(self, connection: Connection, body: bytes) -> dict[str, Any]:
        self._need_ready()
        return {
            "default_generation_settings": {"params": {}, "n_ctx": self._order.context_length},
            "n_ctx": self._order.context_length,
            "total_slots": self._order.slots,
            "model_alias": self._order.model,
            "modalities": {"vision": False, "audio": False, "video": False},
            "chat_template": TEMPLATE,
            "chat_template_caps": {
                "supports_tools": True,
                "supports_tool_calls": True,
                "supports_parallel_tool_calls": True,
                "supports_system_role": True,
            },
            "bos_token": "<|im_start|>",
            "eos_token": "<|im_end|>",
            "build_info": "fake",
            "is_sleeping": False,
        }

    async def _list_slots(self, connection: Connection, body: bytes) -> list[Any]:
        running = self._slots.running
        return [
            {
                "id": i,
                "n_ctx": self._order.context_length,
                "is_processing": i in running,
                "id_task": running.get(i, -1),
            }
            for i in range(self._order.slots)
        ]

    def _need_ready(self) -> None:
        if time.monotonic() < self._ready_at:
            raise Refused(503, "Loading model", "unavailable_error")

    # generation

    async def _chat(self, connection: Connection, body: bytes) -> None:
        raw = self._parse(body)
        prompt, spoken = render(raw)
        asked = Asked(
            choices=_whole(raw, "n", 1),
            logprobs=int(raw.get("top_logprobs") or 0) if raw.get("logprobs") else None,
            progress=bool(raw.get("return_progress")),
            usage=bool((raw.get("stream_options") or {}).get("include_usage")),
            model=str(raw.get("model") or self._order.model),
            timings=bool(raw.get("timings_per_token")),
        )
        limit = raw.get("n_predict", raw.get("max_completion_tokens", raw.get("max_tokens")))
        await self._stream(connection, raw | {"n_predict": limit}, (prompt, spoken), asked)

    async def _completion(self, connection: Connection, body: bytes) -> None:
        raw = self._parse(body)
        prompt = self._prompt(raw.get("prompt"))
        await self._native(connection, raw, prompt)

    async def _infill(self, connection: Connection, body: bytes) -> None:
        raw = self._parse(body)
        before, after = str(raw.get("input_prefix", "")), str(raw.get("input_suffix", ""))
        await self._native(connection, raw, before + str(raw.get("prompt") or "") + after)

    async def _native(self, connection: Connection, raw: dict[str, Any], prompt: str) -> None:
        asked = Asked(
            choices=_whole(raw, "n_cmpl", 1),
            logprobs=int(raw.get("n_probs") or 0),
            progress=bool(raw.get("return_progress")),
            tokens=bool(raw.get("return_tokens")),
            model=self._order.model,
        )
        spoken, written = turn(prompt) or (prompt, "")
        schema = raw.get("json_schema")
        texts = prompt, spoken
        await self._stream(connection, raw, texts, asked, told=lambda script: as_raw(script, written, schema))

    async def _stream(
        self,
        connection: Connection,
        raw: dict[str, Any],
        texts: tuple[str, str],
        asked: Asked,
        *,
        told: Callable[[Script], Script] | None = None,
    ) -> None:
        """Answer with a stream. ``texts``: the rendered prompt, and the words that may direct us;
        ``told`` makes raw text of a script, for llama.cpp's own stream."""
        prompt, spoken = texts
        script = self._script(spoken)
        if told is not None:
            script = told(script)
        limit = raw.get("n_predict")
        if asked.choices > self._order.slots:
            raise Refused(400, f"n must not be greater than the number of slots ({self._order.slots})")
        ids = self._vocabulary.encode(prompt)
        self._need_room(ids)
        room = self._order.context_length - len(ids)
        wanted = limit if isinstance(limit, int) and limit >= 0 else room
        stops = raw.get("stop") or []
        said = recite(
            script,
            prompt,
            self._vocabulary,
            limit=min(wanted, room),
            stops=[stops] if isinstance(stops, str) else stops,
        )
        wire: Wire
        asked = dataclasses.replace(asked, prompt=len(ids))
        if told is not None:
            wire = CompletionWire(said, self._vocabulary, asked)
        else:
            wire = ChatWire(script, said, self._vocabulary, asked)
        held = await self._slots.take(asked.choices)
        try:
            if script.error:
                status = int(script.error.get("status", 500))
                raise Refused(status, str(script.error.get("message", "told to fail")), "server_error")
            count = Count(len(ids), self._reuse(ids))
            await perform(script, wire, count, asked.choices, connection)
        finally:
            self._slots.release(held)

    def _script(self, spoken: str) -> Script:
        try:
            return self._order.script.heard(spoken)
        except BadScript as error:
            raise Refused(400, str(error)) from error

    def _need_room(self, ids: list[int]) -> None:
        limit = self._order.context_length
        if len(ids) >= limit:
            raise Refused(
                400,
                f"request ({len(ids)} tokens) exceeds the available context size ({limit} tokens)",
                "exceed_context_size_error",
                n_prompt_tokens=len(ids),
                n_ctx=limit,
            )

    def _reuse(self, ids: list[int]) -> int:
        """Tokens shared with the prompt before, as a prompt cache would; the last one is never cached."""
        pairs = zip(ids[:-1], self._last_prompt, strict=False)
        same = next((i for i, (a, b) in enumerate(pairs) if a != b), None)
        shared = min(len(ids[:-1]), len(self._last_prompt)) if same is None else same
        self._last_prompt = ids
        return shared

    # text and vectors

    async def _tokenize(self, connection: Connection, body: bytes) -> dict[str, Any]:
        raw = self._parse(body)
        pieces = self._vocabulary.pieces(str(raw.get("content", "")))
        if raw.get("with_pieces"):
            return {"tokens": [{"id": self._vocabulary.id(p), "piece": p} for p in pieces]}
        return {"tokens": [self._vocabulary.id(p) for p in pieces]}

    async def _detokenize(self, connection: Connection, body: bytes) -> dict[str, Any]:
        return {"content": self._prompt(self._parse(body).get("tokens"))}

    async def _apply_template(self, connection: Connection, body: bytes) -> dict[str, Any]:
        return {"prompt": render(self._parse(body))[0]}

    async def _rerank(self, connection: Connection, body: bytes) -> dict[str, Any]:
        return rank(self._parse(body), self._vocabulary.encode, self._need_room)

    async def _embeddings(self, connection: Connection, body: bytes) -> dict[str, Any]:
        raw = self._parse(body)
        given = raw.get("input")
        several = isinstance(given, list) and not all(isinstance(x, int) for x in given)
        texts = [self._prompt(one) for one in (given if several else [given])]  # type: ignore[union-attr]
        script = self._script(texts[0] if texts else "")
        if script.error:
            raise Refused(int(script.error.get("status", 500)), str(script.error.get("message", "")))
        ids = [self._vocabulary.encode(text) for text in texts]
        for one in ids:
            self._need_room(one)
        total = sum(map(len, ids))
        held = await self._slots.take(1)
        try:
            await asyncio.sleep(script.prefill)
        finally:
            self._slots.release(held)
        data = [
            {"object": "embedding", "index": i, "embedding": vector(text, self._order.embedding_length)}
            for i, text in enumerate(texts)
        ]
        usage = {"prompt_tokens": total, "total_tokens": total}
        return {"object": "list", "model": self._order.model, "data": data, "usage": usage}

    def _prompt(self, value: Any) -> str:
        """Text of a prompt that is text, token ids, or a mixture."""
        if isinstance(value, str):
            return value
        if isinstance(value, list) and all(isinstance(x, str | int) for x in value):
            return "".join(x if isinstance(x, str) else self._vocabulary.piece(x) for x in value)
        raise Refused(400, "the prompt must be a string or a list of token ids")

    def _parse(self, body: bytes) -> dict[str, Any]:
        self._need_ready()
        try:
            value = json.loads(body)
        except ValueError:
            raise Refused(400, "the body is not JSON") from None
        if not isinstance(value, dict):
            raise Refused(400, "the body is not a JSON object")
        return value


def _whole(raw: dict[str, Any], name: str, default: int) -> int:
    value = raw.get(name)
    return value if isinstance(value, int) and value > 0 else default


async def serve(order: Order) -> None:
    """Listen until SIGTERM or SIGINT."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()
    fake = FakeServer(order)
    host, colon, port = order.address.rpartition(":")
    if colon and port.isdigit():
        server = await loop.create_server(fake.connection, host, int(port))
    else:
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISSOCK(os.stat(order.address).st_mode):
                os.unlink(order.address)
        before = os.umask(0o177)
        try:
            server = await loop.create_unix_server(fake.connection, order.address)
        finally:
            os.umask(before)
    if order.ignore_sigterm:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    elif sys.platform != "win32":
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, done.set)
    print(f"fake engine: {order.slots} slots of {order.context_length} tokens", file=sys.stderr, flush=True)  # noqa: T201
    await done.wait()
    server.close()


def main() -> None:
    """Read the order, tie our life to the parent's, serve."""
    try:
        order = Order.of(guard.read_order())
    except BadScript as error:
        raise SystemExit(f"fake engine: {error}") from None
    guard.die_with_parent()
    if order.crash_at_start:
        raise SystemExit(order.crash_at_start)
    try:
        import uvloop
    except ImportError:
        asyncio.run(serve(order))
    else:
        uvloop.run(serve(order))


if __name__ == "__main__":
    main()
