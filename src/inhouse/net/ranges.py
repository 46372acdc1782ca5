"""Parallel ranges of one file: threads that take segments of a plan until there is nothing left."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from ..core.disk import guarded
from ..core.errors import Cancelled
from . import retry
from .follow import Hasher
from .journal import Journal
from .line import Broken, NoRanges
from .plan import Plan, Segment
from .reader import Changed, Facts, Part, Reader, Tick
from .watch import Rules

TRIES: Final = 6
"""Failures in a row, none of them with progress, after which a stream gives up."""
PROGRESS: Final = 4096
BUFFER: Final = 2**20
BUFFER_LEAST: Final = 2**14
IDLE: Final = 0.1
LINGER: Final = 2.0


class Taken(Exception):
    """Another stream has taken over this range."""


@dataclass(frozen=True, slots=True)
class Begun:
    """An answer that comes already: bytes from ``start`` to ``end``, its waits ticking ``relay``."""

    start: int
    end: int
    part: Part
    relay: Relay


class Relay:
    """A tick that can be exchanged while an answer is under way."""

    def __init__(self, tick: Tick) -> None:
        self.tick = tick

    def __call__(self) -> None:
        self.tick()


@dataclass(frozen=True, slots=True)
class Target:
    """Where the bytes go, and who is told."""

    path: Path
    journal: Journal
    hasher: Hasher


class Ranges:
    """Fetches what a plan lacks.

    ``run`` starts the threads, ``poll`` says whether all is here and raises what ended them: Changed,
    StoreErrors and other errors of ours. ``stop`` must be called in the end.
    """

    def __init__(self, reader: Reader, facts: Facts, plan: Plan, target: Target, policy: Rules) -> None:
        self._reader = reader
        self._facts = facts
        self._plan = plan
        self._target = target
        self._policy = policy
        self._lock = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._alive = 0
        self._begun: Begun | None = None
        self._failed: BaseException | None = None
        self._halt = threading.Event()
        self.pause = 0.5
        target.hasher.ready(plan.prefix)

    def run(self, streams: int, begun: Begun | None) -> None:
        """Start the threads. ``begun`` is used where it fits, else closed."""
        if begun and (self._plan.finished or begun.start != self._plan.first()[0]):
            begun.part.close()
            begun = None
        self._begun = begun
        self._alive = streams
        for number in range(streams):
            thread = threading.Thread(target=self._stream, name=f"range-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def poll(self, wait: float) -> bool:
        """Whether all is here, after at most ``wait`` seconds. Raises what a stream died of."""
        with self._lock:
            if not self._plan.finished and not self._failed:
                self._lock.wait(wait)
            if self._failed:
                raise self._failed
            return self._plan.finished

    def observe(self) -> None:
        """Measure the streams; about once a second."""
        with self._lock:
            self._plan.observe(time.monotonic())

    @property
    def completed(self) -> int:
        with self._lock:
            return self._plan.completed

    def synced(self, count: int) -> None:
        """Note that the first ``count`` pieces of the journal are durable."""
        with self._lock:
            self._target.journal.synced(count)

    def stop(self) -> None:
        """End all threads; a read that cannot be interrupted is left behind and writes no more."""
        self._halt.set()
        deadline = time.monotonic() + LINGER
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        if self._begun:
            self._begun.part.close()

    def _tick(self) -> None:
        if self._halt.is_set():
            raise Cancelled("The pull was cancelled.")

    def _stream(self) -> None:
        try:
            with guarded("writing a model"), Writer(self._target.path, self._policy.rate.rate) as writer:
                while (segment := self._next()) and self._fetch(segment, writer):
                    pass
        except BaseException as error:  # noqa: BLE001  (raised by poll)
            with self._lock:
                if not self._halt.is_set():
                    self._failed = error
                self._halt.set()
                self._lock.notify_all()

    def _next(self) -> Segment | None:
        """The next segment; waits while there may be one. None at the end of all work."""
        while not self._halt.is_set():
            with self._lock:
                if self._plan.finished:
                    return None
                if segment := self._plan.take(time.monotonic()):
                    return segment
            self._halt.wait(IDLE)
        return None

    def _fetch(self, segment: Segment, writer: Writer) -> bool:
        """Read a segment to its end, with further tries; whether this stream should go on after it."""
        failures, seen, useful = 0, 0, True
        while segment.left and useful:
            before = segment.pos
            try:
                self._read(segment, writer)
                failures = 0
            except Taken:
                break
            except Broken as error:
                if segment.pos - before >= PROGRESS:
                    failures = 0
                failures += 1
                seen = self.completed if failures == 1 else seen
                if failures >= TRIES:
                    useful = self._others_get_on(seen, error)
                elif failures > 1 or segment.pos - before < PROGRESS:
                    self._wait(error, failures)
        with self._lock:
            self._plan.leave(segment)
        return useful

    def _others_get_on(self, seen: int, error: Broken) -> Literal[False]:
        """This stream ends: some sources allow but a few. Raises when it is not only this one."""
        with self._lock:
            if self._alive > 1 and self._plan.completed > seen:
                self._alive -= 1
                return False
        if isinstance(error, NoRanges):
            raise Changed from error
        raise retry.gave_up(error) from error

    def _wait(self, error: Broken, failures: int) -> None:
        seconds = retry.delay(error, failures, self.pause)
        self._halt.wait(seconds)
        self._tick()

    def _read(self, segment: Segment, writer: Writer) -> None:
        """One request: up to the segment's end, or to that of the answer that had begun."""

        def tick() -> None:
            self._tick()
            if not segment.left:
                raise Taken

        end, part = self._open(segment, tick)
        marked, mark = time.monotonic(), segment.pos
        with contextlib.closing(part):
            while (left := min(segment.end, end) - segment.pos) > 0:
                count = part.readinto(writer.view[:left])
                tick()
                if not count:
                    raise Broken("the range ended too early")
                writer.write(segment.pos, count)
                self._written(segment, count)
                self._policy.rate.take(count, self._halt)
                if (now := time.monotonic()) - marked > self._policy.stall:
                    if segment.pos - mark < PROGRESS and not self._policy.rate.rate:
                        raise Broken("hardly any bytes came")
                    marked, mark = now, segment.pos

    def _open(self, segment: Segment, tick: Tick) -> tuple[int, Part]:
        """The answer that had begun where it fits, else a new one; and the offset where it ends."""
        with self._lock:
            if (begun := self._begun) and begun.start == segment.pos:
                self._begun = None
                begun.relay.tick = tick
                return begun.end, begun.part
            end = segment.end
        return end, self._reader.open(segment.pos, end, self._facts, tick)

    def _written(self, segment: Segment, count: int) -> None:
        with self._lock:
            if pieces := self._plan.advance(segment, count):
                self._target.journal.add(pieces)
                self._target.hasher.ready(self._plan.prefix)
                if self._plan.finished:
                    self._lock.notify_all()


class Writer:
    """A handle of its own for one stream, with the buffer that it reads into."""

    def __init__(self, path: Path, rate: int) -> None:
        self._file = path.open("rb+", buffering=0)
        self.view = buffer_for(rate)

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def write(self, offset: int, count: int) -> None:
        """Write the first ``count`` bytes of ``view``. Raises OSError."""
        self._file.seek(offset)
        done = 0
        while done < count:
            done += self._file.write(self.view[done:count])


def buffer_for(rate: int) -> memoryview:
    """A buffer; a small one where bandwidth is limited, so that no wait for it is long."""
    return memoryview(bytearray(max(BUFFER_LEAST, min(BUFFER, rate // 16)) if rate else BUFFER))
