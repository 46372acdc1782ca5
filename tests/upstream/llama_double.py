"""A stand-in for llama-server on a Unix socket: word tokens, scripted streams, faults on demand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from inhouse.core.engine import Launch

Script = Callable[[dict[str, Any]], list[bytes]]


class LlamaDouble:
    """Tokens are words; the id of a word is its place in a growing list; ids 0 is the beginning.

    ``script`` makes the stream of a generation from its body. ``context`` is enforced like the
    engine does: prompts of that many tokens or more are refused.
    """

    def __init__(self, socket: Path, *, context: int = 256, slots: int = 2, bos: bool = True) -> None:
        self.socket = socket
        self.context = context
        self.slots = slots
        self.bos = bos
        self.words = ["<s>"]
        self.bodies: list[tuple[str, dict[str, Any]]] = []
        self.headers: list[dict[str, str]] = []
        self.left = asyncio.Event()
        self.script: Script = say("Hello")
        self.hang = False
        self.cut: int | None = None
        self.refuse: tuple[int, bytes] | None = None
        self.template: Callable[[list[dict[str, Any]]], str] = render
        self.healthy = True

    def launch(self, **fields: Any) -> Launch:
        fields = {"slots": self.slots, "context_length": self.context} | fields
        return Launch("double", ("x",), str(self.socket), **fields)

    async def __aenter__(self) -> LlamaDouble:
        app = web.Application()
        app.router.add_get("/health", self._health)
        app.router.add_post("/tokenize", self._tokenize)
        app.router.add_post("/detokenize", self._detokenize)
        app.router.add_post("/apply-template", self._render)
        app.router.add_post("/v1/embeddings", self._embed)
        app.router.add_post("/rerank", self._rerank)
        app.router.add_post("/slots/{slot}", self._slot)
        for path in ("/v1/chat/completions", "/completion", "/infill"):
            app.router.add_post(path, self._generate)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.UnixSite(self._runner, str(self.socket)).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    def ids(self, text: str, *, special: bool) -> list[int]:
        out = [0] if special and self.bos else []
        for word in text.split():
            if word not in self.words:
                self.words.append(word)
            out.append(self.words.index(word))
        return out

    def text(self, ids: list[int]) -> str:
        return " ".join(self.words[i] for i in ids)

    def piece(self, token: int) -> str | list[int]:
        """A word; one that begins with ``0x`` stands for bytes that are no text by themselves."""
        word = self.words[token]
        return list(bytes.fromhex(word[2:])) if word.startswith("0x") else word

    async def _body(self, request: web.Request) -> dict[str, Any]:
        body = json.loads(await request.read())
        self.bodies.append((request.path, body))
        self.headers.append(dict(request.headers))
        return body

    def sent(self, path: str) -> list[dict[str, Any]]:
        """The bodies that came to ``path``."""
        return [body for where, body in self.bodies if where == path]

    async def _health(self, request: web.Request) -> web.Response:
        return web.json_response({}, status=200 if self.healthy else 503)

    async def _tokenize(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        ids = self.ids(body["content"], special=body["add_special"])
        if body.get("with_pieces"):
            return web.json_response({"tokens": [{"id": i, "piece": self.piece(i)} for i in ids]})
        return web.json_response({"tokens": ids})

    async def _detokenize(self, request: web.Request) -> web.Response:
        return web.json_response({"content": self.text((await self._body(request))["tokens"])})

    async def _render(self, request: web.Request) -> web.Response:
        try:
            return web.json_response({"prompt": self.template((await self._body(request))["messages"])})
        except ValueError as error:
            return _error(400, str(error))

    async def _slot(self, request: web.Request) -> web.Response:
        return _error(501, "This server does not support slots action.", "not_supported_error")

    async def _embed(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        if self.refuse:
            return web.Response(status=self.refuse[0], body=self.refuse[1])
        rows = [
            {"index": i, "embedding": [3.0, 4.0, float(len(text) if isinstance(text, str) else sum(text))]}
            for i, text in enumerate(body["input"])
        ]
        return web.json_response({"data": rows[::-1], "usage": {"prompt_tokens": 2 * len(rows)}})

    async def _rerank(self, request: web.Request) -> web.Response:
        """The score is the number of words that query and document share, less one; best first."""
        body = await self._body(request)
        if self.refuse:
            return web.Response(status=self.refuse[0], body=self.refuse[1])
        query = set(body["query"].split())
        rows = [
            {"index": i, "relevance_score": len(query & set(text.split())) - 1.0}
            for i, text in enumerate(body["documents"])
        ]
        rows.sort(key=lambda row: -row["relevance_score"])
        return web.json_response({"results": rows, "usage": {"prompt_tokens": 5 * len(rows)}})

    def _prompt_tokens(self, path: str, body: dict[str, Any]) -> int:
        if path == "/v1/chat/completions":
            return len(self.ids(self.template(body["messages"]), special=True))
        prompt = body.get("prompt", "")
        return len(self.ids(prompt, special=True)) if isinstance(prompt, str) else len(prompt)

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        body = await self._body(request)
        if self.refuse:
            return web.Response(status=self.refuse[0], body=self.refuse[1])
        used = self._prompt_tokens(request.path, body)
        if used >= self.context:
            return _error(
                400, "too long", "exceed_context_size_error", n_prompt_tokens=used, n_ctx=self.context
            )
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        try:
            await response.prepare(request)
            for number, part in enumerate(self.script(body | {"_used": used, "_path": request.path})):
                if number == self.cut:
                    assert request.transport is not None
                    request.transport.abort()
                    return response
                await response.write(part)
            if self.hang:
                await asyncio.Event().wait()
        except (asyncio.CancelledError, ConnectionError):
            self.left.set()
            raise
        return response


def render(messages: list[dict[str, Any]]) -> str:
    """A template of two words around each message."""
    return " ".join(f"<{m['role']}> {m['content']} </>" for m in messages)


def _error(status: int, message: str, kind: str = "invalid_request_error", **more: Any) -> web.Response:
    return web.json_response(
        {"error": {"code": status, "message": message, "type": kind} | more}, status=status
    )


def event(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"


def say(*texts: str, finish: str = "stop") -> Script:
    """Every choice says ``texts``, on whichever endpoint."""

    def chat(body: dict[str, Any], used: int) -> list[bytes]:
        out = [
            event(
                {
                    "choices": [{"index": 0, "delta": {}}],
                    "prompt_progress": {"total": used, "processed": used, "cache": 1},
                }
            )
        ]
        for index in range(body["n"]):
            out += [event({"choices": [{"index": index, "delta": {"content": text}}]}) for text in texts]
            out.append(event({"choices": [{"index": index, "delta": {}, "finish_reason": finish}]}))
            timings = {
                "cache_n": 1,
                "prompt_n": used - 1,
                "prompt_ms": 10.0,
                "predicted_n": len(texts),
                "predicted_ms": 20.0,
            }
            out.append(
                event(
                    {
                        "choices": [],
                        "usage": {"prompt_tokens": used, "completion_tokens": len(texts)},
                        "timings": timings,
                    }
                )
            )
        return [*out, b"data: [DONE]\n\n"]

    def raw(body: dict[str, Any], used: int) -> list[bytes]:
        out = [
            event(
                {
                    "index": 0,
                    "content": "",
                    "tokens": [0],
                    "prompt_progress": {"total": used, "processed": used},
                }
            )
        ]
        for index in range(body["n_cmpl"]):
            out += [
                event({"index": index, "content": text, "tokens": [40 + i]}) for i, text in enumerate(texts)
            ]
            timings = {
                "cache_n": 0,
                "prompt_n": used,
                "prompt_ms": 10.0,
                "predicted_n": len(texts),
                "predicted_ms": 20.0,
            }
            kind = "limit" if finish == "length" else "eos"
            out.append(
                event(
                    {
                        "index": index,
                        "content": "",
                        "stop": True,
                        "stop_type": kind,
                        "tokens_evaluated": used,
                        "timings": timings,
                    }
                )
            )
        return out

    def script(body: dict[str, Any]) -> list[bytes]:
        return (chat if body["_path"].startswith("/v1/chat") else raw)(body, body["_used"])

    return script
