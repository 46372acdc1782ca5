"""Models on disk: list, show, pull, copy, delete."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from ...core.errors import InhouseError, InvalidName, ModelNotFound
from ...core.models import ModelName
from ...dialects import ollama, openai
from ...dialects.codec import ErrorAnswer
from ...store import PullEvent, modelfile
from .. import answers
from ..answers import Info, Receive, Scope, Send
from ..stream import Pump, respond

if TYPE_CHECKING:
    from .services import Services


async def _answered(
    scope: Scope, send: Send, work: Awaitable[bytes], render: Callable[[InhouseError], ErrorAnswer]
) -> None:
    """Send what ``work`` gives, or its error in the dialect's shape."""
    info: Info = scope["inhouse"]
    try:
        data = await work
    except InhouseError as error:
        info.outcome = error.code
        await answers.error(scope, send, render(error))
        return
    info.outcome = "ok"
    await answers.whole(scope, send, data)


class _Progress:
    """Ollama's pull lines as an encoder of the store's events."""

    def __init__(self, *, stream: bool) -> None:
        self._lines = ollama.PullEncoder(stream=stream)
        self.streaming = stream
        self.media_type = self._lines.media_type

    def feed(self, event: PullEvent) -> bytes:
        sizes = {"total": event.total, "completed": event.completed} if event.total else {}
        line = self._lines.feed(event.status, event.digest or None, **sizes)
        return line or (self._lines.finish() if event.status == "success" else b"")

    def fail(self, error: InhouseError) -> bytes:
        return self._lines.fail(error)

    def keepalive(self) -> bytes:
        return b""


async def openai_list(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    async def work() -> bytes:
        return openai.render_models(await asyncio.to_thread(services.catalog.cards))

    await _answered(scope, send, work(), openai.render_error)


async def openai_one(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    asked = unquote_to_bytes(scope["raw_path"])[len("/v1/models/") :].decode("utf-8", "replace")

    async def work() -> bytes:
        try:
            card = await asyncio.to_thread(services.catalog.resolve, asked)
        except InvalidName as error:
            raise ModelNotFound(asked[:80].encode("ascii", "backslashreplace").decode()) from error
        return openai.render_model(card)

    await _answered(scope, send, work(), openai.render_error)


async def tags(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    async def work() -> bytes:
        return ollama.render_tags(await asyncio.to_thread(services.catalog.cards))

    await _answered(scope, send, work(), ollama.render_error)


async def show(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    body = await answers.body(scope, receive, services.config.server.max_body)

    async def work() -> bytes:
        asked = ollama.decode_show(body)
        card = await asyncio.to_thread(services.catalog.resolve, asked.model)
        return ollama.render_show(
            card,
            verbose=asked.verbose,
            modelfile=modelfile.render(card),
            parameters=modelfile.parameters(card),
        )

    await _answered(scope, send, work(), ollama.render_error)


async def copy(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    body = await answers.body(scope, receive, services.config.server.max_body)

    async def work() -> bytes:
        source, destination = ollama.decode_copy(body)
        card = services.catalog.resolve(source)
        await asyncio.to_thread(services.store.copy, card.name, ModelName.parse(destination))
        return b""

    await _answered(scope, send, work(), partial(ollama.render_error, route="copy"))


async def delete(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    body = await answers.body(scope, receive, services.config.server.max_body)

    async def work() -> bytes:
        card = services.catalog.resolve(ollama.decode_name(body))
        await services.fleet.stop(card)
        await asyncio.to_thread(services.store.remove, card.name)
        return b""

    await _answered(scope, send, work(), ollama.render_error)


async def pull(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    settings = services.config.server
    body = await answers.body(scope, receive, settings.max_body)
    try:
        asked = ollama.decode_pull(body)
    except InhouseError as error:
        await answers.error(scope, send, ollama.render_error(error))
        return
    encoder = _Progress(stream=asked.stream)
    pump = Pump(scope, send, encoder, silence=settings.keepalive_interval, stall=settings.stall_timeout)
    events = services.store.pull(asked.model)
    await respond(scope, receive, lambda: pump.run(events, ollama.render_error))
