"""Builds of engines: which there are, getting and measuring them, choosing one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from ...core.errors import Forbidden
from ...dialects import ollama
from ...dialects.inhouse.engines import (
    BenchOrder,
    InstallOrder,
    decode_engine_bench,
    decode_engine_install,
    decode_engine_name,
)
from ...store import PullEvent
from .. import answers
from ..answers import Receive, Scope, Send
from .jobs import Begun, Work
from .models import answered
from .places import for_asker

if TYPE_CHECKING:
    from .services import Services


class Builds(Protocol):
    """What the composition root hands in. Those that are not async block."""

    async def listed(self) -> dict[str, Any]:
        """Every build and engine, as JSON values."""
        ...

    def facts(self) -> dict[str, str]:
        """``engine`` and ``engine_build`` in use now."""
        ...

    def install(self, order: InstallOrder) -> AsyncGenerator[PullEvent, None]: ...

    def bench(self, order: BenchOrder) -> AsyncGenerator[PullEvent, None]: ...

    def use(self, name: str) -> dict[str, Any]:
        """Choose a build, ``auto`` for the best. Raises NotFound, Unsupported."""
        ...

    async def remove(self, name: str, *, force: bool) -> None:
        """Raises NotFound, Conflict while it is in use."""
        ...


def _ours(trusted: bool) -> None:
    if not trusted:
        raise Forbidden(
            "Which programs run here is only changed from this machine's own command line.",
            hint="Run there: inhouse engine",
        )


async def listed(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    await answers.json(scope, send, for_asker(services, scope, await services.builds.listed()))


def _install(services: Services, body: bytes, trusted: bool) -> Begun:
    _ours(trusted)
    return Begun(services.builds.install(decode_engine_install(body)))


def _build(services: Services, body: bytes, trusted: bool) -> Begun:
    _ours(trusted)
    order = decode_engine_install(body if body.strip() else b'{"name": "native"}')
    return Begun(services.builds.install(order))


def _bench(services: Services, body: bytes, trusted: bool) -> Begun:
    _ours(trusted)  # its figures decide which build runs models
    return Begun(services.builds.bench(decode_engine_bench(body)))


install, build, bench = Work(_install), Work(_build), Work(_bench)


async def use(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    body = await answers.body(scope, receive, services.config.server.max_body)

    def work() -> bytes:
        _ours(services.trusts(scope))
        return msgspec.json.encode(services.builds.use(decode_engine_name(body)[0]))

    await answered(scope, send, asyncio.to_thread(work), ollama.render_error)


async def remove(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    body = await answers.body(scope, receive, services.config.server.max_body)

    async def work() -> bytes:
        _ours(services.trusts(scope))
        name, force = decode_engine_name(body)
        await services.builds.remove(name, force=force)
        return b"{}"

    await answered(scope, send, work(), ollama.render_error)
