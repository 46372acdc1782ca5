"""One loaded model: its process, the engine that talks to it, and the watchdog between them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Protocol

from ..core.engine import Engine, Launch
from ..core.errors import EngineError, InhouseError, WorkerDied, WorkerHung
from ..core.models import Card
from .output import last_words
from .process import Process
from .rate import Rate
from .watch import until_hung


class Checkable(Engine, Protocol):
    """An engine that can say whether its worker answers."""

    async def healthy(self, timeout: float) -> bool:
        """Does the worker answer, ready for requests, within ``timeout`` seconds?"""
        ...


class Worker:
    """Lives once: ``load``, then ``life`` until the process is gone, then ``end``.

    ``rate``: tokens per second that it makes; ``resident``, ``peak``, ``settled``: bytes of memory as seen
    last, at most, and just after its load.
    """

    def __init__(self, launch: Launch, engine: Checkable, process: Process, hang_timeout: float) -> None:
        self.launch = launch
        self.engine = engine
        self._process = process
        self._hang_timeout = hang_timeout
        self._stopping = False
        self._hung = False
        self.started = asyncio.get_running_loop().time()
        self.ready: float | None = None
        self.rate = Rate()
        self.resident = 0
        self.peak = 0
        self.settled = 0
        self.ended: asyncio.Future[EngineError] = asyncio.get_running_loop().create_future()

    @property
    def pid(self) -> int | None:
        """Of the process, while it runs."""
        return self._process.pid if self._process.running else None

    @property
    def stopping(self) -> bool:
        """Was it told to stop?"""
        return self._stopping

    async def load(self, timeout: float) -> float:
        """Start it; seconds until it was ready. Raises LoadFailed."""
        await self._process.start(lambda: self._healthy(1.0), timeout)
        self.ready = asyncio.get_running_loop().time()
        return self.ready - self.started

    async def life(self) -> EngineError:
        """Wait for the end and say what to tell those who were being served."""
        watchdog = asyncio.ensure_future(until_hung(self._healthy, self._hang_timeout))
        end = asyncio.ensure_future(self._process.wait())
        try:
            await asyncio.wait({watchdog, end}, return_when=asyncio.FIRST_COMPLETED)
            if not end.done() and not self._stopping:
                self._hung = True
                self._process.kill()
            await end
        finally:
            watchdog.cancel()
            end.cancel()
        error = self._verdict()
        self.ended.set_result(error)
        return error

    def _verdict(self) -> EngineError:
        detail = self._process.tail()
        if self._stopping:
            return EngineError(
                "The model was stopped before the answer was complete.", hint="Try again.", detail=detail
            )
        if self._hung:
            return WorkerHung(
                f"The model's worker did not answer for {self._hang_timeout:g} s and was ended.",
                hint="Try again; it starts anew with the next request.",
                detail=detail,
            )
        words = last_words(detail)
        return WorkerDied(
            f"The model's worker ended unexpectedly: {self._process.obituary()}.",
            hint="Try again; it starts anew with the next request." + (f" It said: {words}" if words else ""),
            detail=detail,
        )

    def stop(self, grace: float) -> None:
        """End it, by force after ``grace`` seconds; while it loads there is nothing to be kind to."""
        self._stopping = True
        if self.ready is None:
            self._process.kill()
        else:
            self._process.stop(grace)

    async def end(self) -> None:
        """Make sure that the process is gone; does not wait if it already is."""
        self._process.kill()
        await self._process.wait()

    async def explain(self, error: EngineError, patience: float) -> EngineError:
        """Why a request broke: the process' end if there is one within ``patience``, else ``error``.

        A worker that answers a probe is alive, so then the error is the request's own.
        """
        alive = asyncio.ensure_future(self._healthy(patience))
        either: set[asyncio.Future[Any]] = {alive, self.ended}
        try:
            async with asyncio.timeout(patience):
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                if not self.ended.done() and not alive.result():
                    await asyncio.wait({self.ended})
        except TimeoutError:
            pass
        finally:
            alive.cancel()
        return self.ended.result() if self.ended.done() else error

    async def _healthy(self, timeout: float) -> bool:
        try:
            return await self.engine.healthy(timeout)
        except InhouseError:
            return False


def log_path(folder: Path | None, card: Card) -> Path | None:
    """Where the worker of a model writes its log."""
    return folder / ("_".join(card.name.path_parts()) + ".log") if folder else None
