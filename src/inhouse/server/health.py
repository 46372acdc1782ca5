"""Liveness, metrics and the front door."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from .. import __version__
from . import answers
from .answers import Receive, Scope, Send, header
from .manage.metrics import exposition

if TYPE_CHECKING:
    from .manage.services import Services


async def health(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    """200 while requests are taken, 503 once the server is stopping."""
    stopping = services.draining()
    body = {"status": "stopping" if stopping else "ok", "version": __version__, "name": "inhouse"}
    await answers.json(scope, send, body, status=503 if stopping else 200)


async def metrics(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    data, media_type = await asyncio.to_thread(
        exposition,
        services.meter,
        services.fleet.loaded(),
        services.builds.facts(),
        {"events": services.journal.dropped, "traces": services.traces.dropped},
    )
    await answers.whole(scope, send, data, media_type=media_type)


async def root(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    """Clients that look for Ollama match this text; a browser is sent to the reference."""
    if "text/html" in (header(scope, b"accept") or ""):
        await answers.whole(scope, send, b"", status=307, headers=[(b"location", b"/docs")])
        return
    await answers.whole(scope, send, b"Ollama is running", media_type="text/plain; charset=utf-8")
