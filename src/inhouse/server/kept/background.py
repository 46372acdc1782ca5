"""Responses that run on when nobody listens, and who is at work on which conversation.

A job collects the events that its encoder says; whoever follows it reads them from any place on. What
ends a job: its answer, a failure, a cancel, or the end of the server, after which it shows as failed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any

from ...core.errors import Conflict, EngineError, InhouseError, QueueFull
from ...core.events import Event
from .turn import Turn

log = logging.getLogger("inhouse.server")
MAX_JOBS = 64
_COMMENT = b":"


class Job:
    """One background response. ``said`` are its server-sent events by their sequence number."""

    def __init__(self, turn: Turn) -> None:
        self.turn = turn
        self.said: list[bytes] = []
        self.ended = False
        self._status = "queued"
        self._cancelled = False
        self._response: dict[str, Any] | None = None
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def response(self) -> dict[str, Any]:
        """The response object as it is now."""
        return self._response or self.turn.encoder.response(self._status)

    def start(self, events: AsyncGenerator[Event, None]) -> asyncio.Task[None]:
        self._task = asyncio.get_running_loop().create_task(self._run(events))
        return self._task

    async def cancel(self) -> dict[str, Any]:
        """Stop it and give the response; one that has ended is given as it is."""
        if not self.ended and self._task is not None:
            self._cancelled = True
            self._task.cancel("cancelled by the client")
            await asyncio.wait({self._task})
            if not self.ended:  # it had not begun
                await self._end()
        return self.response

    async def follow(self, after: int) -> AsyncGenerator[bytes, None]:
        """What was said after this sequence number, then what is said from now on."""
        at = after + 1
        while True:
            changed = self._changed
            while at < len(self.said):
                yield self.said[at]
                at += 1
            if self.ended:
                return
            await changed.wait()

    def _add(self, data: bytes) -> None:
        if self.turn.order.stream:
            events = (event for event in data.split(b"\n\n") if event and not event.startswith(_COMMENT))
            self.said += [event + b"\n\n" for event in events]
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _run(self, events: AsyncGenerator[Event, None]) -> None:
        encoder = self.turn.encoder
        try:
            async with contextlib.aclosing(self.turn.events(events)) as stream:
                async for event in stream:
                    self._add(encoder.feed(event))
                    self._status = "in_progress"
            self._response = encoder.final
        except InhouseError as error:
            log.warning("%s: %s%s", error.code, error.message, f" | {error.detail}" if error.detail else "")
            self._fail(error)
        except asyncio.CancelledError:
            if not self._cancelled:
                self._fail(EngineError("The server stopped while it worked on this response."))
        except Exception:
            log.exception("a background response failed")
            self._fail(EngineError("The response failed.", hint="Try again."))
        await self._end()

    def _fail(self, error: InhouseError) -> None:
        self._add(self.turn.encoder.fail(error))
        self._response = self.turn.encoder.failed(error)

    async def _end(self) -> None:
        """Keep what there is; the followers learn that nothing more comes."""
        if self._cancelled and self._response is None:
            self._add(self.turn.encoder.stop())
            self._response = self.turn.encoder.response("cancelled")
        said = tuple(event.decode() for event in self.said)
        try:
            await self.turn.keep(self.response, said)
        except (InhouseError, RuntimeError) as error:  # RuntimeError: the archive is closed already
            log.warning("a background response was not kept: %s", error)
        finally:
            self.ended = True
            self._wake()


class Background:
    """The jobs of one server, by tenant and id, and the conversations that are in use. ``touch`` hears 1
    when a job begins and -1 when it ends, as for requests: a server with jobs is not idle."""

    def __init__(self, most: int = MAX_JOBS, touch: Callable[[int], None] = lambda change: None) -> None:
        self._most = most
        self._touch = touch
        self._jobs: dict[tuple[str, str], Job] = {}
        self._places = 0
        self._claimed: set[tuple[str, str]] = set()

    def live(self, tenant: str) -> list[str]:
        """Ids of this tenant's responses that run."""
        return [ident for owner, ident in self._jobs if owner == tenant]

    def job(self, tenant: str, ident: str) -> Job | None:
        """The job of a response that has not ended."""
        job = self._jobs.get((tenant, ident))
        return None if job is None or job.ended else job

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """Hold the place of one job, from before it is prepared until it has ended. Raises QueueFull."""
        if self._places >= self._most:
            raise QueueFull(
                "Too many responses run in the background.", hint="Wait for one of them.", retry_after=5
            )
        self._places += 1
        try:
            yield
        finally:
            self._places -= 1

    def start(
        self, tenant: str, turn: Turn, events: AsyncGenerator[Event, None], held: contextlib.ExitStack
    ) -> Job:
        """Run a turn that is kept already; ``held`` is closed when it ends."""
        job = self._jobs[tenant, turn.id] = Job(turn)

        def ended(_: asyncio.Task[None]) -> None:
            del self._jobs[tenant, turn.id]
            held.close()
            self._touch(-1)

        self._touch(1)
        job.start(events).add_done_callback(ended)
        return job

    @contextlib.contextmanager
    def claim(self, tenant: str, conversation: str | None) -> Iterator[None]:
        """Hold a conversation while something is added to it. Raises Conflict."""
        if conversation is None:
            yield
            return
        key = (tenant, conversation)
        if key in self._claimed:
            raise Conflict(
                "Another process is currently operating on this conversation.",
                hint="Please retry in a few seconds.",
                param="conversation",
            )
        self._claimed.add(key)
        try:
            yield
        finally:
            self._claimed.discard(key)
