"""Long work on models, with progress as NDJSON: pull, push, create, verify, look for updates."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from ...core.errors import Forbidden, InhouseError
from ...core.models import DEFAULT_HOST
from ...dialects import inhouse, ollama
from ...store import PullEvent
from .. import answers
from ..answers import Receive, Scope, Send
from ..stream import Pump, respond

if TYPE_CHECKING:
    from .services import Services

log = logging.getLogger("inhouse.server")


class Progress:
    """A job's steps as Ollama's lines; a result rides along in the last one."""

    def __init__(self, *, stream: bool) -> None:
        self._lines = ollama.PullEncoder(stream=stream)
        self.streaming = stream
        self.media_type = self._lines.media_type

    def feed(self, event: PullEvent) -> bytes:
        sizes = {"total": event.total, "completed": event.completed} if event.total else {}
        line = self._lines.feed(event.status, event.digest or None, result=event.result, **sizes)
        return line or (self._lines.finish() if event.status == "success" else b"")

    def fail(self, error: InhouseError) -> bytes:
        return self._lines.fail(error)

    def keepalive(self) -> bytes:
        return b""


async def _run(
    services: Services,
    scope: Scope,
    receive: Receive,
    send: Send,
    events: AsyncGenerator[PullEvent, None],
    *,
    stream: bool = True,
) -> None:
    settings = services.config.server
    encoder = Progress(stream=stream)
    pump = Pump(scope, send, encoder, silence=settings.keepalive_interval, stall=settings.stall_timeout)
    await respond(scope, receive, lambda: pump.run(events, ollama.render_error))


async def pull(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    body = await answers.body(scope, receive, services.config.server.max_body)
    try:
        asked = ollama.decode_pull(body)
        events = services.store.pull(
            asked.model,
            trusted=services.trusts(scope),
            insecure=asked.insecure,
            fresh=asked.fresh,
            own_template=not asked.embedded_template,
        )
    except InhouseError as error:
        await answers.error(scope, send, ollama.render_error(error))
        return
    await _run(services, scope, receive, send, events, stream=asked.stream)


async def push(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    body = await answers.body(scope, receive, services.config.server.max_body)
    try:
        asked = ollama.decode_push(body)
        name = services.catalog.resolve(asked.model).name
    except InhouseError as error:
        await answers.error(scope, send, ollama.render_error(error))
        return
    # As with Ollama a name says where to: without a host it means the Ollama registry.
    target = asked.target or (f"ollama:{name}" if name.host == DEFAULT_HOST else str(name))
    events = services.store.push(name, target, trusted=services.trusts(scope), insecure=asked.insecure)
    await _run(services, scope, receive, send, events, stream=asked.stream)


async def create(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    body = await answers.body(scope, receive, services.config.server.max_body)
    try:
        order = ollama.decode_create(body)
    except InhouseError as error:
        await answers.error(scope, send, ollama.render_error(error))
        return
    if order.noted:
        log.info("create: fields without effect: %s", ", ".join(order.noted))
    events = services.store.create(order.create, trusted=services.trusts(scope))
    await _run(services, scope, receive, send, events, stream=order.stream)


async def verify(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    body = await answers.body(scope, receive, services.config.server.max_body)
    try:
        repair = inhouse.decode_verify(body)
    except InhouseError as error:
        await answers.error(scope, send, ollama.render_error(error))
        return
    events = services.store.verify(repair=repair, trusted=services.trusts(scope))
    await _run(services, scope, receive, send, events)


async def install(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    """Install the converter; only for the user's own command line on this machine."""
    await answers.body(scope, receive, services.config.server.max_body)
    if not services.trusts(scope):
        refusal = Forbidden(
            "Programs are only installed from this machine's own command line.",
            hint="Run there: inhouse convert --install",
        )
        await answers.error(scope, send, ollama.render_error(refusal))
        return
    await _run(services, scope, receive, send, services.store.install())


async def outdated(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    body = await answers.body(scope, receive, services.config.server.max_body)
    try:
        names = [services.catalog.resolve(text).name for text in inhouse.decode_models(body)]
    except InhouseError as error:
        await answers.error(scope, send, ollama.render_error(error))
        return
    await _run(services, scope, receive, send, services.store.outdated(names, trusted=services.trusts(scope)))


__all__ = ["Progress", "create", "install", "outdated", "pull", "push", "verify"]
