"""From events to bytes on the wire: headers after the first event, keep-alives in silence, a
client that leaves or stops reading cancels the work.

The life of an answer: ``respond`` races a pump (events -> encoder -> send) against the
disconnect. Errors before the first byte become real statuses; later ones go in-stream.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Any, Protocol

from ..core.errors import InhouseError
from ..core.events import Notice, Progress, Started
from ..dialects.codec import ErrorAnswer
from . import answers
from .answers import Info, Receive, Scope, Send

log = logging.getLogger("inhouse.server")

_QUIET = (Started, Progress, Notice)
_STREAM_HEADERS = [(b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")]


class AnyEncoder(Protocol):
    """What ``respond`` needs of an encoder; the events may be of any kind."""

    media_type: str
    streaming: bool

    def feed(self, event: Any) -> bytes: ...
    def fail(self, error: InhouseError) -> bytes: ...
    def keepalive(self) -> bytes: ...


class Pump:
    """Sends one answer. ``silence`` seconds without a byte bring a keep-alive, ``stall`` seconds
    in which the client takes nothing end the answer."""

    def __init__(
        self, scope: Scope, send: Send, encoder: AnyEncoder, *, silence: float, stall: float
    ) -> None:
        self._scope = scope
        self._send = send
        self._encoder = encoder
        self._silence = silence
        self._stall = stall
        self._loop = asyncio.get_running_loop()
        self._held: list[bytes] = []
        self._notes: list[tuple[bytes, bytes]] = []
        self._started = False
        self._sending: float | None = None
        self._last = self._loop.time()
        self._task: asyncio.Task[None] | None = None
        self._extra: asyncio.Task[None] | None = None

    async def run(
        self, events: AsyncGenerator[Any, None], render: Callable[[InhouseError], ErrorAnswer]
    ) -> None:
        """Send everything. InhouseErrors are answered; others pass through."""
        info: Info = self._scope["inhouse"]
        self._task = asyncio.current_task()
        timer = self._loop.call_later(self._silence, self._tick)
        self._timer = timer
        try:
            async with aclosing(events):
                await self._events(events)
            info.outcome = "ok"
        except InhouseError as error:
            info.outcome = error.code
            log.warning("%s: %s%s", error.code, error.message, f" | {error.detail}" if error.detail else "")
            if self._started:
                await self._write(self._encoder.fail(error))
            else:
                await answers.error(self._scope, self._send, render(error))
                return
        finally:
            self._timer.cancel()
            if self._extra is not None:
                self._extra.cancel()
        await self._finish()

    async def _events(self, events: AsyncGenerator[Any, None]) -> None:
        feed, streaming = self._encoder.feed, self._encoder.streaming
        async for event in events:
            data = feed(event)
            if self._started:
                if data:
                    await self._write(data)
                continue
            if isinstance(event, Notice):
                text = f"{event.code}: {event.text}".encode("ascii", "replace").replace(b"\n", b" ")
                self._notes.append((b"x-inhouse-warning", text[:500]))
            self._held.append(data)
            if streaming and not isinstance(event, _QUIET):
                await self._begin()

    async def _begin(self, extra: bytes = b"") -> None:
        """Commit to 200 and send what was held back."""
        self._started = True
        held = b"".join(self._held) + extra
        self._held.clear()
        headers = [*_STREAM_HEADERS, *self._notes]
        await answers.start(self._scope, self._send, 200, self._encoder.media_type, headers)
        if held:
            await self._write(held)

    async def _write(self, data: bytes) -> None:
        self._last = self._sending = self._loop.time()
        await self._send({"type": "http.response.body", "body": data, "more_body": True})
        self._sending = None

    async def _keepalive(self, data: bytes) -> None:
        # Decided here, not where the task was made: an event may have begun the answer since.
        await (self._write(data) if self._started else self._begin(data))

    async def _finish(self) -> None:
        if self._started:
            await self._send({"type": "http.response.body", "body": b""})
        else:
            body = b"".join(self._held)
            kind = self._encoder.media_type
            await answers.whole(self._scope, self._send, body, media_type=kind, headers=self._notes)

    def _tick(self) -> None:
        now = self._loop.time()
        if self._sending is not None and now - self._sending > self._stall and self._task:
            self._task.cancel("the client reads nothing")
            return
        idle = self._encoder.streaming and self._sending is None and now - self._last >= self._silence
        if idle and (data := self._encoder.keepalive()):
            self._extra = self._loop.create_task(self._keepalive(data))
        self._timer = self._loop.call_later(self._silence, self._tick)


async def gone(receive: Receive) -> None:
    """Return when the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def respond(scope: Scope, receive: Receive, pumping: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a pump until it is done or the client leaves; then nothing of it is left running."""
    pump = asyncio.ensure_future(pumping())
    left = asyncio.ensure_future(gone(receive))
    try:
        await asyncio.wait({pump, left}, return_when=asyncio.FIRST_COMPLETED)
        if not pump.done():
            info: Info = scope["inhouse"]
            info.outcome = "cancelled"
    finally:
        left.cancel()
        if not pump.done():
            pump.cancel()
        await asyncio.wait({pump, left})
    if not pump.cancelled() and (failure := pump.exception()) is not None:
        raise failure
