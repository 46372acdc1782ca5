"""What a model would take and how fast it would be, before it is here or loaded."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from ...core.errors import Forbidden
from ...dialects import ollama
from ...dialects.inhouse.plan import decode_plan
from .. import answers
from ..answers import Receive, Scope, Send
from .models import answered

if TYPE_CHECKING:
    from .services import Services


async def plan(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    """A file's path, and the engine's own reckoning, are for this machine's own user."""
    body = await answers.body(scope, receive, services.config.server.max_body)
    trusted = services.trusts(scope)

    def work() -> bytes:
        order = decode_plan(body)
        if (order.path or order.exact) and not trusted:
            raise Forbidden(
                "Files are read, and engines started for a plan, only for this machine's own command line.",
                hint="Plan a stored model by its name, without exact.",
            )
        return msgspec.json.encode(services.plan(order))

    await answered(scope, send, asyncio.to_thread(work), ollama.render_error)
