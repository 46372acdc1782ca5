"""What this machine is, and how fast its memory."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from ...core.errors import Conflict, Forbidden
from ...dialects import ollama
from ...machine import Measure
from ..answers import Receive, Scope, Send
from .models import answered
from .places import for_asker

if TYPE_CHECKING:
    from .services import Services


def _quiet(services: Services) -> bool:
    """Whether no model works now: beside one the memory would seem slower than it is."""
    return not any(one.busy for one in services.fleet.loaded())


async def _told(services: Services, scope: Scope, measure: Measure) -> bytes:
    report = await asyncio.to_thread(services.machine, measure)
    return msgspec.json.encode(for_asker(services, scope, report))


async def machine(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    """Everything known; the memory's speed is measured the first time, if it is quiet."""
    measure: Measure = "once" if services.trusts(scope) and _quiet(services) else "no"
    await answered(scope, send, _told(services, scope, measure), ollama.render_error)


async def measure(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    """The same with the memory's speed measured now."""

    async def work() -> bytes:
        if not services.trusts(scope):
            raise Forbidden(
                "This machine is only measured for its own command line.",
                hint="Run there: inhouse doctor --measure",
            )
        if not _quiet(services):
            raise Conflict(
                "A model works now: beside it the memory would seem slower than it is.",
                hint="Try again when none is busy: inhouse ps",
            )
        return await _told(services, scope, "again")

    await answered(scope, send, work(), ollama.render_error)
