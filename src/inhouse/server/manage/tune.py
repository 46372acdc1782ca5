"""What a model is run best with here: searched, shown, forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from ...core.errors import Forbidden
from ...dialects import ollama
from ...dialects.inhouse.measuring import TuneBody, decode_tune, decode_tuned
from ...store import PullEvent
from .. import answers
from ..answers import Receive, Scope, Send
from .jobs import Begun, Work
from .models import answered

if TYPE_CHECKING:
    from .services import Services


class Tuner(Protocol):
    """What the composition root hands in; ``shown`` and ``forget`` block."""

    def tune(self, body: TuneBody) -> AsyncGenerator[PullEvent, None]: ...

    def shown(self, model: str) -> dict[str, Any]: ...

    def forget(self, model: str) -> int: ...


def _ours(trusted: bool) -> None:
    if not trusted:
        raise Forbidden(
            "How models are run here is only changed from this machine's own command line.",
            hint="Run there: inhouse tune",
        )


def _tune(services: Services, body: bytes, trusted: bool) -> Begun:
    _ours(trusted)
    return Begun(services.tuner.tune(decode_tune(body)))


tune = Work(_tune)


async def shown(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    """POST /api/tune/show: every tuning of a model."""
    body = await answers.body(scope, receive, services.config.server.max_body)

    def work() -> bytes:
        return msgspec.json.encode(services.tuner.shown(decode_tuned(body)))

    await answered(scope, send, asyncio.to_thread(work), ollama.render_error)


async def forget(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    """POST /api/tune/forget: back to the defaults."""
    body = await answers.body(scope, receive, services.config.server.max_body)

    def work() -> bytes:
        _ours(services.trusts(scope))
        return msgspec.json.encode({"forgotten": services.tuner.forget(decode_tuned(body))})

    await answered(scope, send, asyncio.to_thread(work), ollama.render_error)
