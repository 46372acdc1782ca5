"""What runs now, and on what."""

from __future__ import annotations

import asyncio
import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from ... import __version__
from ...dialects import ollama
from ...fleet import Loaded
from .. import answers
from ..answers import Receive, Scope, Send

if TYPE_CHECKING:
    from .services import Services


async def ps(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    now = datetime.now(UTC)
    shown = [_shown(one, now) for one in services.fleet.loaded()]
    await answers.whole(scope, send, ollama.render_ps(shown))


def _shown(one: Loaded, now: datetime) -> ollama.Loaded:
    return ollama.Loaded(
        card=one.card,
        expires_at=None if math.isinf(one.expires_in) else now + timedelta(seconds=one.expires_in),
        size=one.memory,
        size_vram=0,
        context_length=one.context_length,
        extra={
            "slots": one.slots,
            "busy": one.busy,
            "waiting": one.waiting,
            "state": one.state,
            "engine": one.engine,
            "build": one.build,
        },
    )


async def version(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    await answers.whole(scope, send, ollama.render_version(__version__))


async def machine(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    await answers.json(scope, send, await asyncio.to_thread(services.machine))
