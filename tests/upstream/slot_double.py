"""A double of llama-server whose slots remember prompts, and can be saved and restored."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from inhouse.core.engine import Launch
from inhouse.dialects.llamaserver.saved import MAGIC, held_tokens
from inhouse.upstream import WorkerEngine
from upstream.llama_double import LlamaDouble, event

PADDING = b"kv" * 50


class SlotDouble(LlamaDouble):
    """Tokens are words. ``memory`` is what each slot holds, ``adapters`` what it was computed with.

    ``status`` other than 200 is how saves and restores end; ``stuck`` lets restores hang; ``windowed``
    models can only go on from the very end of what was saved.
    """

    def __init__(self, socket: Path, *, context: int = 4096, slots: int = 2) -> None:
        super().__init__(socket, context=context, slots=slots)
        self.folder = socket.parent / "model-double-1-k"
        self.folder.mkdir(exist_ok=True)
        self.memory: dict[int, list[int]] = {number: [] for number in range(slots)}
        self.adapters: dict[int, Any] = {}
        self.restored: set[int] = set()
        self.moves: list[str] = []
        self.status = 200
        self.stuck = False
        self.dies = False
        self.windowed = False
        self.on_restore: Callable[[], object] = lambda: None
        self.answer = 1
        self.script = self._say
        self.engines: list[WorkerEngine] = []

    async def __aexit__(self, *error: object) -> None:
        for engine in self.engines:
            await engine.close()
        await super().__aexit__(*error)

    def launch(self, **fields: Any) -> Launch:
        return super().launch(**{"prefixes": str(self.folder)} | fields)

    def saved(self) -> list[Path]:
        return sorted(self.folder.glob("*.kv"))

    def _tokens(self, body: dict[str, Any]) -> list[int]:
        prompt = body["prompt"]
        return self.ids(prompt, special=True) if isinstance(prompt, str) else list(prompt)

    def _say(self, body: dict[str, Any]) -> list[bytes]:
        ids, slot = self._tokens(body), body.get("id_slot", 0)
        held = self.memory[slot]
        same = 0
        while body.get("cache_prompt") and same < min(len(ids), len(held)) and ids[same] == held[same]:
            same += 1
        if self.adapters.get(slot) != body.get("lora"):
            same = 0
        if self.windowed and slot in self.restored and same < len(held):
            same = 0
        self.adapters[slot] = body.get("lora")
        self.restored.discard(slot)
        same = min(same, len(ids) - 1)
        written = [900 + i for i in range(self.answer if body.get("n_predict") != 0 else 0)]
        self.memory[slot] = ids + written
        timings = {"cache_n": same, "prompt_n": len(ids) - same, "prompt_ms": 1.0 * (len(ids) - same)}
        out = [event({"index": 0, "content": "w", "tokens": [one]}) for one in written]
        end = {"index": 0, "stop": True, "stop_type": "eos", "tokens_evaluated": len(ids)}
        timings |= {"predicted_n": len(written)}
        return [*out, event(end | {"timings": timings})]

    async def _slot(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        slot, action = int(request.match_info["slot"]), request.query["action"]
        self.moves.append(f"{action} {slot}")
        if self.stuck and action == "restore":
            await asyncio.Event().wait()
        if self.dies and action == "restore":
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if self.status != 200:
            return web.json_response({"error": {"code": self.status, "message": "no"}}, status=self.status)
        path = self.folder / body["filename"]
        if action == "save":
            ids = self.memory[slot]
            path.write_bytes(struct.pack(f"<III{len(ids)}i", MAGIC, 4, len(ids), *ids) + PADDING)
            return web.json_response({"n_saved": len(ids), "n_written": path.stat().st_size})
        self.on_restore()
        self.memory[slot] = held_tokens(path)
        self.restored.add(slot)
        return web.json_response({"n_restored": len(self.memory[slot]), "n_read": path.stat().st_size})
