"""One pull under way: a thread that works, and any number of listeners on the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from typing import Final

from ..core.errors import InhouseError, StoreError
from .layout import failure
from .sources import PullEvent, Watch

END: Final = None


class Job:
    """Runs ``work`` in a thread of its own, so that slow pulls cannot starve the loop's pool.

    Its events are kept with progress merged: a listener that joins late, or reads slowly, gets
    every status once and the newest numbers. When the last listener leaves, the work is stopped.
    """

    def __init__(
        self,
        work: Callable[[Watch], None],
        watcher: Callable[[Callable[[PullEvent], None]], Watch] = Watch,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._work = work
        self._watch = watcher(self._from_thread)
        self._log: list[PullEvent] = []
        self._changed = asyncio.Event()
        self._listeners = 0
        self._error: InhouseError | None = None
        self.finished = asyncio.Event()
        threading.Thread(target=self._run, name="pull", daemon=True).start()

    @property
    def stopping(self) -> bool:
        """Nobody wants it any more, or it has ended: do not join."""
        return self._watch.stopped.is_set() or self.finished.is_set()

    def stop(self) -> None:
        self._watch.stopped.set()

    def _run(self) -> None:
        error: InhouseError | None = None
        try:
            self._work(self._watch)
        except InhouseError as caught:
            error = caught
        except OSError as caught:
            error = failure(caught, "working on a model")
            error.__cause__ = caught
        except Exception as caught:  # noqa: BLE001 - the thread's border: whatever it is, listeners must hear of it
            error = StoreError("The pull failed.", hint="See the log.", detail=repr(caught))
            error.__cause__ = caught
        self._from_thread(END, error)

    def _from_thread(self, event: PullEvent | None, error: InhouseError | None = None) -> None:
        try:
            self._loop.call_soon_threadsafe(self._note, event, error)
        except RuntimeError:  # the loop is closed: nobody listens, so stop
            self._watch.stopped.set()

    def _note(self, event: PullEvent | None, error: InhouseError | None) -> None:
        if event is END:
            self._error = error
            self.finished.set()
        elif self._log and self._log[-1].status == event.status:
            self._log[-1] = event
        else:
            self._log.append(event)
        self._changed.set()
        self._changed = asyncio.Event()

    async def follow(self) -> AsyncGenerator[PullEvent, None]:
        """All events from the start. Raises the work's error. Closing it may stop the work."""
        self._listeners += 1
        last: PullEvent | None = None
        at = 0
        try:
            while True:
                changed = self._changed
                while at < len(self._log):
                    if self._log[at] is not last:
                        last = self._log[at]
                        yield last
                    elif at + 1 < len(self._log):
                        at += 1
                    else:
                        break
                if self.finished.is_set() and (not self._log or self._log[-1] is last):
                    break
                if changed is self._changed:
                    await changed.wait()
            if self._error is not None:
                raise self._error
        finally:
            self._listeners -= 1
            if not self._listeners and not self.finished.is_set():
                self.stop()
