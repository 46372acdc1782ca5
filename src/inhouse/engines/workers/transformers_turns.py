"""Who computes when: a turn for each, one after the other.

One thread computes. A job is a token of an answer at a time, or a piece of a prompt: so a long answer
does not keep a short one waiting, whoever comes is served next, and who leaves is gone with the turn.
Of many jobs ``slots`` are under way, the others wait in the order they came.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Protocol


class Job(Protocol):
    """Something to compute in turns."""

    def turn(self) -> tuple[list[Any], bool]:
        """Compute a little: what there is to tell, and whether it is all done. In the computing thread."""
        ...

    def end(self) -> None:
        """Give back what it holds. In the computing thread; called once, however it ended."""
        ...


class Ticket:
    """A job's place in line and the way back to who waits for it."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.left = False
        self._loop = asyncio.get_running_loop()
        self._news: asyncio.Queue[tuple[list[Any], bool, BaseException | None]] = asyncio.Queue()

    def tell(self, news: list[Any], done: bool, error: BaseException | None = None) -> None:
        """From the computing thread."""
        self._loop.call_soon_threadsafe(self._news.put_nowait, (news, done, error))

    async def heard(self) -> AsyncGenerator[Any, None]:
        """All that the job tells. Raises what it raised."""
        while True:
            news, done, error = await self._news.get()
            for one in news:
                yield one
            if error is not None:
                raise error
            if done:
                return


class Turns:
    """The line and the thread that serves it."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._change = threading.Condition()
        self._waiting: deque[Ticket] = deque()
        self._running: deque[Ticket] = deque()

    def start(self) -> None:
        """Begin to compute; the thread ends with the process."""
        threading.Thread(target=self._serve, name="compute", daemon=True).start()

    async def run(self, job: Job) -> AsyncGenerator[Any, None]:
        """What a job tells, as it is computed. Leaving ends the job with its present turn."""
        ticket = Ticket(job)
        with self._change:
            self._waiting.append(ticket)
            self._change.notify()
        try:
            async with aclosing(ticket.heard()) as news:
                async for one in news:
                    yield one
        finally:
            ticket.left = True

    def _serve(self) -> None:
        while True:
            self.once()

    def once(self) -> None:
        """One turn of the job whose turn it is; waits for one if there is none."""
        with self._change:
            while not (self._waiting or self._running):
                self._change.wait()
            while self._waiting and len(self._running) < self._slots:
                self._running.append(self._waiting.popleft())
            ticket = self._running.popleft()
        if ticket.left:
            ticket.job.end()
            return
        try:
            news, done = ticket.job.turn()
        except BaseException as error:  # noqa: BLE001 - who waits must hear of it, whatever it is
            ticket.job.end()
            ticket.tell([], True, error)
            return
        if done:
            ticket.job.end()
        else:
            with self._change:
                self._running.append(ticket)
        ticket.tell(news, done)
