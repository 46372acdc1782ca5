"""How the fake engine performs a script: slots, pace, and the accidents it is told to have."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import Protocol

from .fake_script import Script
from .fake_wire import Count, Wire, sse

_BATCH = 512  # tokens in one write when nobody asks for a pace
_STEPS = 5  # progress chunks of one prefill
_TICK = 0.001  # the timers of uvloop are no finer: a shorter wait is none, and would spin
_FLUSH = 0.02  # seconds for bytes to leave before an accident


class Sink(Protocol):
    """Where a stream is written; ``writable`` is set unless the reader is too slow."""

    writable: asyncio.Event

    def chunk(self, data: bytes) -> None: ...


class Slots:
    """At most ``total`` choices run at once; the others wait in order of arrival."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.running: dict[int, int] = {}
        self._line: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._task = 0

    async def take(self, number: int) -> list[int]:
        """Wait for ``number`` free slots and hold them. Cancel-safe."""
        if self._line or self.total - len(self.running) < number:
            turn = asyncio.get_running_loop().create_future()
            entry = (number, turn)
            self._line.append(entry)
            try:
                await turn
            except asyncio.CancelledError:
                if entry in self._line:
                    self._line.remove(entry)
                self._call_next()
                raise
            self._line.popleft()
        free = [i for i in range(self.total) if i not in self.running][:number]
        self._task += 1
        self.running.update(dict.fromkeys(free, self._task))
        self._call_next()
        return free

    def release(self, held: list[int]) -> None:
        for slot in held:
            del self.running[slot]
        self._call_next()

    def _call_next(self) -> None:
        if self._line:
            number, turn = self._line[0]
            if self.total - len(self.running) >= number and not turn.done():
                turn.set_result(None)


async def perform(script: Script, wire: Wire, count: Count, choices: int, sink: Sink) -> None:
    """Write one answer, from the first progress to the last chunk. The caller holds the slots."""
    if script.freeze and script.hang_after is None:
        await _freeze()
    await _prefill(script, wire, count, sink)
    if script.error_after == 0:
        sink.chunk(_accident())
        return
    sink.chunk(wire.opening())
    cuts = [c for c in (script.die_after, script.hang_after, script.error_after) if c is not None]
    frames = wire.tokens() if not cuts else islice(wire.tokens(), min(cuts) * choices)
    began = time.perf_counter()
    written = await _emit(frames, script.rate, choices, sink)
    count.decode, count.per_choice = time.perf_counter() - began, written // choices
    if script.die_after is not None:
        await _die()
    if script.hang_after is not None:
        if script.freeze:
            await _freeze()
        await asyncio.Event().wait()
    if script.error_after is not None:
        sink.chunk(_accident())
        return
    sink.chunk(wire.closing(count))


async def _prefill(script: Script, wire: Wire, count: Count, sink: Sink) -> None:
    count.prefill = script.prefill
    if script.prefill or script.die_in:
        for step in range(_STEPS):
            sink.chunk(wire.progress(count.progress(step / _STEPS)))
            if script.die_in == "prefill" and step == _STEPS // 2:
                await _die()
            await asyncio.sleep(script.prefill / _STEPS)
    sink.chunk(wire.progress(count.progress(1.0)))


async def _emit(frames: Iterator[bytes], rate: float, choices: int, sink: Sink) -> int:
    """Write all frames and say how many: each on its own at its time, or in batches if ``rate`` is 0."""
    if rate > 0:
        return await _Pacer(frames, rate, choices, sink).done
    written = 0
    while batch := list(islice(frames, _BATCH)):
        await sink.writable.wait()
        sink.chunk(b"".join(batch))
        written += len(batch)
        await asyncio.sleep(0)
    return written


class _Pacer:
    """Writes each frame when it is due. Callbacks, not a task: a task switch for each token of many
    streams costs more than the token. A frame that comes late is written at once; a reader that
    does not read gets none until it does."""

    def __init__(self, frames: Iterator[bytes], rate: float, choices: int, sink: Sink) -> None:
        self._frames, self._choices, self._sink = frames, choices, sink
        self._gap = 1.0 / rate
        self._loop = asyncio.get_running_loop()
        self._due = time.perf_counter()
        self._written = 0
        self.done: asyncio.Future[int] = self._loop.create_future()
        self._step()

    def _step(self) -> None:
        if self.done.done():  # the reader left
            return
        now = time.perf_counter()
        if not self._sink.writable.is_set():
            self._due = now + self._gap
        while self._due <= now:
            for _ in range(self._choices):
                frame = next(self._frames, None)
                if frame is None:
                    self.done.set_result(self._written)
                    return
                self._sink.chunk(frame)
                self._written += 1
            self._due += self._gap
        self._loop.call_later(max(_TICK, self._due - now), self._step)


def _accident() -> bytes:
    error = {"code": 500, "message": "the fake engine was told to fail", "type": "server_error"}
    return sse({"error": error})


async def _die() -> None:
    await asyncio.sleep(_FLUSH)
    print("fake engine: dying as told", file=sys.stderr, flush=True)  # noqa: T201
    os._exit(3)


async def _freeze() -> None:
    await asyncio.sleep(_FLUSH)
    if sys.platform == "win32":
        time.sleep(1e6)  # noqa: ASYNC251 - stopping everything is the point
    else:
        os.kill(os.getpid(), signal.SIGSTOP)
