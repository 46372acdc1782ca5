"""What runs now, and on what."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from ... import __version__
from ...core import kernels
from ...dialects import ollama
from ...fleet import Loaded
from .. import answers
from ..answers import Receive, Scope, Send
from ..keys import Keys

_FAR: Final = 1e9
"""Seconds, 30 years: whatever stays so long stays for ever. Dates end with the year 9999."""

if TYPE_CHECKING:
    from .services import Services


async def ps(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    now = datetime.now(UTC)
    loaded = services.fleet.loaded()
    told = await asyncio.to_thread(lambda: [kernels.read(one.kernels) for one in loaded])
    shown = [_shown(one, now, services.keys, by) for one, by in zip(loaded, told, strict=True)]
    await answers.whole(scope, send, ollama.render_ps(shown))


def _shown(one: Loaded, now: datetime, keys: Keys, told: kernels.Report | None = None) -> ollama.Loaded:
    """As Ollama tells it, ``size`` with what lies on GPUs, and ours: ``tokens_per_second`` over the last
    five seconds, ``waiting_by`` the names of the keys that have names, ``kernels`` what its worker
    ``told`` of ours, null where it runs without."""
    waiting_by: Counter[str] = Counter()
    for tenant, count in one.queued.items():
        waiting_by[keys.name(tenant) or "others"] += count
    return ollama.Loaded(
        card=one.card,
        expires_at=None if one.expires_in > _FAR else now + timedelta(seconds=one.expires_in),
        size=one.memory + one.device_memory,
        size_vram=one.device_memory,
        context_length=one.context_length,
        extra={
            "slots": one.slots,
            "busy": one.busy,
            "waiting": one.waiting,
            "waiting_by": dict(waiting_by),
            "tokens_per_second": round(one.rate, 1),
            "state": one.state,
            "engine": one.engine,
            "variant": one.variant,
            "build": one.build,
            "speculative": one.speculative,
            "planned_memory": one.planned_memory,
            "load_seconds": None if one.load_seconds is None else round(one.load_seconds, 3),
            "notices": list(one.notices),
            "kernels": told.facts() if told else None,
        },
    )


async def version(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    await answers.whole(scope, send, ollama.render_version(__version__, services.builds.facts()))
