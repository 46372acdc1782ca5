"""What runs now, and on what."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ... import __version__
from ...dialects import ollama
from .. import answers
from ..answers import Receive, Scope, Send

if TYPE_CHECKING:
    from .services import Services


async def ps(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    await answers.whole(scope, send, ollama.render_ps(services.fleet.loaded()))


async def version(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    await answers.whole(scope, send, ollama.render_version(__version__))


async def machine(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    await answers.json(scope, send, await asyncio.to_thread(services.machine))
