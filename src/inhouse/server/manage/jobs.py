"""Long work on models, with progress as NDJSON: pull, push, create, verify, look for updates."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...core.errors import Forbidden, InhouseError
from ...core.models import DEFAULT_HOST
from ...dialects import inhouse, ollama
from ...store import PullEvent
from .. import answers
from ..answers import Info, Receive, Scope, Send
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
        self._last = b""

    def feed(self, event: PullEvent) -> bytes:
        sizes = {"total": event.total, "completed": event.completed} if event.total else {}
        line = self._lines.feed(event.status, event.digest or None, result=event.result, **sizes)
        line = line or (self._lines.finish() if event.status == "success" else b"")
        self._last = line if event.status != "success" else b""
        return line

    def fail(self, error: InhouseError) -> bytes:
        return self._lines.fail(error)

    def keepalive(self) -> bytes:
        """The last step once more: only a write can tell that the client of a silent job has left."""
        return self._last


@dataclass(frozen=True, slots=True)
class Begun:
    """A job that waits to be followed; ``stream`` False: only its last step is answered."""

    events: AsyncGenerator[PullEvent, None]
    stream: bool = True


class Work:
    """An endpoint whose body begins a job; ``begin`` runs in a thread and may refuse."""

    def __init__(self, begin: Callable[[Services, bytes, bool], Begun]) -> None:
        self._begin = begin

    async def __call__(self, services: Services, scope: Scope, receive: Receive, send: Send) -> None:
        settings = services.config.server
        body = await answers.body(scope, receive, settings.max_body)
        try:
            begun = await asyncio.to_thread(self._begin, services, body, services.trusts(scope))
        except InhouseError as error:
            info: Info = scope["inhouse"]
            info.outcome = error.code
            await answers.error(scope, send, ollama.render_error(error))
            return
        pump = Pump(
            scope,
            send,
            Progress(stream=begun.stream),
            silence=settings.keepalive_interval,
            stall=settings.stall_timeout,
        )
        await respond(scope, receive, lambda: pump.run(begun.events, ollama.render_error))


def _pull(services: Services, body: bytes, trusted: bool) -> Begun:
    asked = ollama.decode_pull(body)
    events = services.store.pull(
        asked.model,
        trusted=trusted,
        insecure=asked.insecure,
        fresh=asked.fresh,
        own_template=not asked.embedded_template,
    )
    return Begun(events, asked.stream)


def _push(services: Services, body: bytes, trusted: bool) -> Begun:
    asked = ollama.decode_push(body)
    name = services.catalog.resolve(asked.model).name
    # As with Ollama a name says where to: without a host it means the Ollama registry.
    target = asked.target or (f"ollama:{name}" if name.host == DEFAULT_HOST else str(name))
    events = services.store.push(name, target, trusted=trusted, insecure=asked.insecure)
    return Begun(events, asked.stream)


def _create(services: Services, body: bytes, trusted: bool) -> Begun:
    order = ollama.decode_create(body)
    if order.noted:
        log.info("create: fields without effect: %s", ", ".join(order.noted))
    return Begun(services.store.create(order.create, trusted=trusted), order.stream)


def _verify(services: Services, body: bytes, trusted: bool) -> Begun:
    return Begun(services.store.verify(repair=inhouse.decode_verify(body), trusted=trusted))


def _install(services: Services, body: bytes, trusted: bool) -> Begun:
    if not trusted:
        raise Forbidden(
            "Programs are only installed from this machine's own command line.",
            hint="Run there: inhouse convert --install",
        )
    return Begun(services.store.install())


def _outdated(services: Services, body: bytes, trusted: bool) -> Begun:
    names = [services.catalog.resolve(text).name for text in inhouse.decode_models(body)]
    return Begun(services.store.outdated(names, trusted=trusted))


pull, push, create = Work(_pull), Work(_push), Work(_create)
verify, install, outdated = Work(_verify), Work(_install), Work(_outdated)
