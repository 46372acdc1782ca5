"""A stand-in for a server of OpenAI's wire on a Unix socket: scripted streams, faults on demand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from inhouse.core.engine import Launch
from inhouse.dialects.openai.client import VLLM

Script = Callable[[dict[str, Any]], list[bytes]]


class OpenAIDouble:
    """``script`` makes the stream of a generation from its body; ``refusals`` are answered first, one a
    request, as (status, body, headers). Words are tokens of /tokenize."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.bodies: list[tuple[str, dict[str, Any]]] = []
        self.headers: list[dict[str, str]] = []
        self.script: Script = say("Hello")
        self.refusals: list[tuple[int, Any, dict[str, str]]] = []
        self.left = asyncio.Event()
        self.hang = False
        self.cut = False
        self.ready = "/health"

    def launch(self, **fields: Any) -> Launch:
        fields = {"wire": "openai", "served_as": "m", "takes": VLLM, "context_length": 64} | fields
        return Launch("double", ("x",), str(self.socket), **fields)

    async def __aenter__(self) -> OpenAIDouble:
        app = web.Application()
        app.router.add_get("/{any:.*}", self._ready)
        app.router.add_post("/{any:.*}", self._any)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.UnixSite(self._runner, str(self.socket)).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _ready(self, request: web.Request) -> web.Response:
        return web.Response(status=200 if request.path == self.ready else 404)

    async def _any(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        self.bodies.append((request.path, body))
        self.headers.append({k.lower(): v for k, v in request.headers.items()})
        if self.refusals:
            status, answer, headers = self.refusals.pop(0)
            return web.Response(status=status, body=json.dumps(answer).encode(), headers=headers)
        if request.path == "/tokenize":
            text = body.get("prompt") or " ".join(m["content"] for m in body["messages"])
            return web.json_response({"tokens": [len(word) for word in text.split()], "count": 1})
        if request.path == "/detokenize":
            return web.json_response({"prompt": " ".join("x" * n for n in body["tokens"])})
        if request.path == "/v1/embeddings":
            rows = [{"index": i, "embedding": [3.0, 4.0]} for i in range(len(body["input"]))]
            return web.json_response({"data": rows[::-1], "usage": {"prompt_tokens": 5 * len(rows)}})
        return await self._stream(request, body)

    async def _stream(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        try:
            for chunk in self.script(body):
                await response.write(chunk)
            if self.cut:
                assert request.transport is not None
                request.transport.abort()
            if self.hang:
                await asyncio.Event().wait()
        except (asyncio.CancelledError, ConnectionError):
            self.left.set()
            raise
        return response


def chunk(**fields: Any) -> bytes:
    return b"data: " + json.dumps(fields).encode() + b"\n\n"


def say(*texts: str, end: str | None = "stop", usage: bool = True, raw: bool = False) -> Script:
    """Each text as a delta of every choice; ``raw`` as a completion's."""

    def script(body: dict[str, Any]) -> list[bytes]:
        n = body.get("n", 1)
        spoken = [
            {"index": i, "text": t} if raw else {"index": i, "delta": {"content": t}}
            for t in texts
            for i in range(n)
        ]
        out = [chunk(choices=[one]) for one in spoken]
        if end:
            out += [chunk(choices=[{"index": i, "delta": {}, "finish_reason": end}]) for i in range(n)]
        if usage:
            out.append(chunk(choices=[], usage={"prompt_tokens": 9, "completion_tokens": len(texts) * n}))
        return [*out, b"data: [DONE]\n\n"] if end else out

    return script
