"""One file, from a reader into a folder: in parallel ranges where the source has them, resumed where an
earlier try was killed, hashed while it comes, and visible only when it is what was promised."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ..core.disk import guarded
from ..core.errors import DigestMismatch, NoSpace, SourceFailed
from . import journal, retry
from .follow import Follower, Hasher, syncer
from .journal import DATA, JOURNAL, PART, Journal, Past
from .line import Broken
from .plan import SHARE_LEAST, Plan, piece_size
from .ranges import TRIES, Begun, Ranges, Relay, Target, Writer
from .reader import Changed, Facts, Part, Reader
from .watch import Got, PullEvent, Wanted, Watch

RESTARTS: Final = 4
PARALLEL_FROM: Final = 2**25
"""Bytes from which on a file is worth several connections."""

POLL: Final = 0.1
WRITING: Final = "writing a model"


def transfer(reader: Reader, asset: Wanted, folder: Path, watch: Watch, *, pause: float = 0.5) -> Got:
    """Bring a file to ``folder/data``; a killed call is resumed by the next with the same folder.

    ``asset.size`` (where known) is what the source must have, ``asset.sha256`` what the file must be.
    ``pause``: the first back-off in seconds. Progress goes to ``watch``, at most ten times a second.
    Raises SourceFailed, DigestMismatch (nothing is kept), NoSpace (what came is kept), Forbidden,
    Cancelled, StoreError.
    """
    job = _Job(reader, asset, folder, watch, pause)
    for attempt in range(RESTARTS):
        try:
            return job.run(alone=attempt == RESTARTS - 1)
        except Changed:
            job.discard()
    raise SourceFailed("The file changes while it is fetched.", hint="Try again later.")


def remaining(folder: Path, asset: Wanted) -> int:
    """Bytes of an asset still to be written below a folder; 0 when its size is unknown."""
    try:
        past = journal.read(folder)
    except OSError:
        past = None
    if past and past.size == asset.size and past.sha256 == asset.sha256:
        return asset.size - past.here
    return asset.size


class Meter:
    """Says how far a file is, at most ten times a second and never backwards."""

    def __init__(self, watch: Watch, asset: Wanted, total: int) -> None:
        self._watch = watch
        self._status = f"pulling {asset.sha256[:12] or asset.file.rpartition('/')[2]}"
        self._digest = f"sha256:{asset.sha256}" if asset.sha256 else ""
        self._total = total
        self._shown = -1
        self._next = 0.0

    def at(self, completed: int, *, last: bool = False) -> None:
        now = time.monotonic()
        if last or (now >= self._next and completed > self._shown):
            self._next = now + POLL
            self._shown = max(self._shown, completed)
            self._watch.say(PullEvent(self._status, self._digest, self._total or self._shown, self._shown))


class _Job:
    def __init__(self, reader: Reader, asset: Wanted, folder: Path, watch: Watch, pause: float) -> None:
        self._reader = reader
        self._asset = asset
        self._folder = folder
        self._watch = watch
        self._pause = pause
        self._part = folder / PART

    def run(self, *, alone: bool) -> Got:
        """One try from what is here to the end. ``alone``: in one stream, without ranges. Raises Changed."""
        with guarded(WRITING):
            past = None if alone else journal.read(self._folder)
        if past and not past.is_of(self._asset.sha256, self._asset.size) and not past.validator:
            past = None
        if past and past.here == past.size and past.is_of(self._asset.sha256, self._asset.size):
            return self._complete(past)
        first = self._gap(past)
        relay = Relay(self._watch.check)
        facts, part = self._patiently(
            lambda: self._reader.whole(relay) if alone else self._reader.begin(*first, relay)
        )
        with contextlib.ExitStack() as stack:
            stack.callback(part.close)
            self._check_size(facts, past)
            if past and not (
                past.is_of(self._asset.sha256, facts.size or -1)
                or past.same_version(facts.size, facts.validator)
            ):
                past = None
            if past and past.here == past.size:
                return self._complete(past)
            if facts.ranges and facts.size and (facts.validator or self._asset.sha256):
                return self._ranged(facts, past, Begun(*first, part, relay))
            if not facts.ranges:
                return self._plain(facts, part)
        return self._plain(*self._patiently(lambda: self._reader.whole(self._watch.check)))

    def discard(self) -> None:
        """Forget what came."""
        with guarded(WRITING):
            for name in (JOURNAL, PART, DATA):  # the journal first: it vouches for the others
                (self._folder / name).unlink(missing_ok=True)

    def _gap(self, past: Past | None) -> tuple[int, int]:
        """The range to ask for first."""
        size = past.size if past else self._asset.size
        if not size:
            return 0, SHARE_LEAST
        done = past.done if past else ()
        piece = past.piece if past else piece_size(size)
        start, end = Plan(size, piece, done, streams=self._streams(size)).first()
        return (start, end) if start < end else (0, 1)

    def _streams(self, size: int) -> int:
        return max(1, self._watch.policy.streams) if size > PARALLEL_FROM else 1

    def _check_size(self, facts: Facts, past: Past | None = None) -> None:
        if self._asset.size and facts.size is not None and facts.size != self._asset.size:
            raise SourceFailed(
                f"The file at the source has {facts.size} bytes, {self._asset.size} were expected.",
                hint="It is not what was promised; nothing was kept.",
            )
        if not self._asset.size and facts.size:
            with guarded(WRITING):
                free = shutil.disk_usage(self._folder).free
            needed = facts.size - (past.here if past else 0)
            if needed > free:
                raise NoSpace(
                    f"The file needs {needed} bytes of disk, {free} are free.",
                    hint="Free some space, e.g. with: inhouse rm MODEL",
                )

    def _patiently(self, ask: Callable[[], tuple[Facts, Part]]) -> tuple[Facts, Part]:
        failures = 0
        while True:
            self._watch.check()
            try:
                return ask()
            except Broken as error:
                failures += 1
                if failures >= TRIES:
                    raise retry.gave_up(error) from error
                self._watch.stopped.wait(retry.delay(error, failures, self._pause))

    def _ranged(self, facts: Facts, past: Past | None, begun: Begun) -> Got:
        size = facts.size or 0
        past = past or Past(size, piece_size(size), facts.validator, self._asset.sha256)
        # what is here is of the source's version now, whichever way that was found out
        past = Past(size, past.piece, facts.validator, self._asset.sha256, done=past.done)
        streams = self._streams(size)
        with guarded(WRITING), contextlib.ExitStack() as stack:
            if not past.done:
                (self._folder / JOURNAL).unlink(missing_ok=True)
            with self._part.open("rb+" if past.done else "wb") as file:
                file.truncate(size)
            book = Journal(self._folder, past)
            stack.callback(book.close)
            hasher = Hasher(self._part)
            stack.callback(hasher.stop)
            plan = Plan(size, past.piece, past.done, streams=streams)
            ranges = Ranges(self._reader, facts, plan, Target(self._part, book, hasher), self._watch.policy)
            ranges.pause = self._pause
            stack.callback(ranges.stop)
            sync = syncer(self._part, lambda: _then(ranges, book.count))
            stack.callback(sync.stop)
            ranges.run(streams, begun)
            meter = Meter(self._watch, self._asset, size)
            self._supervise(ranges, sync, meter)
            meter.at(size, last=True)
            return self._finish(hasher, size, resumed=bool(past.done))

    def _supervise(self, ranges: Ranges, sync: Follower, meter: Meter) -> None:
        observed = time.monotonic()
        while not ranges.poll(POLL):
            self._watch.check()
            completed = ranges.completed
            meter.at(completed)
            sync.ready(completed)
            if time.monotonic() - observed >= 1.0:
                observed = time.monotonic()
                ranges.observe()

    def _complete(self, past: Past) -> Got:
        """All was here already: hash it."""
        with guarded(WRITING), contextlib.ExitStack() as stack:
            hasher = Hasher(self._part)
            stack.callback(hasher.stop)
            hasher.ready(past.size)
            Meter(self._watch, self._asset, past.size).at(past.size, last=True)
            return self._finish(hasher, past.size, resumed=True)

    def _plain(self, facts: Facts, part: Part) -> Got:
        """The whole file in one answer; what breaks off begins again."""
        failures = 0
        while True:
            with contextlib.closing(part):
                try:
                    return self._pour(facts, part)
                except Broken as error:
                    failures += 1
                    if failures >= TRIES:
                        raise retry.gave_up(error) from error
                    self._watch.stopped.wait(retry.delay(error, failures, self._pause))
            facts, part = self._patiently(lambda: self._reader.whole(self._watch.check))
            self._check_size(facts)

    def _pour(self, facts: Facts, part: Part) -> Got:
        self.discard()
        policy, done = self._watch.policy, 0
        most = self._asset.size or facts.size
        meter = Meter(self._watch, self._asset, most or 0)
        with guarded(WRITING), contextlib.ExitStack() as stack:
            self._part.touch()
            writer = stack.enter_context(Writer(self._part, policy.rate.rate))
            hasher = Hasher(self._part)
            stack.callback(hasher.stop)
            while count := part.readinto(writer.view):
                self._watch.check()
                if most and done + count > most:
                    raise SourceFailed("The file is longer than was promised.", hint="Nothing was kept.")
                writer.write(done, count)
                done += count
                hasher.ready(done)
                meter.at(done)
                policy.rate.take(count, self._watch.stopped)
            if most and done < most:
                raise Broken("the file ended too early")
            meter.at(done, last=True)
            got = self._finish(hasher, done, resumed=False)
            if facts.validator and done:
                past = Past(done, done, facts.validator, self._asset.sha256, done=frozenset({0}))
                Journal(self._folder, past).close()
            return got

    def _finish(self, hasher: Hasher, size: int, *, resumed: bool) -> Got:
        """Hash to the end, sync, compare, rename. Raises Changed where a fresh start may mend it."""
        self._watch.say(PullEvent("verifying sha256 digest"))
        with self._part.open("rb+") as file:
            os.fsync(file.fileno())
        while not hasher.ended(POLL):
            self._watch.check()
        found, wanted = hasher.hexdigest(), self._asset.sha256
        if wanted and found != wanted:
            self.discard()
            if resumed:
                raise Changed
            raise DigestMismatch(
                f"The file has the digest sha256:{found}, sha256:{wanted} was expected.",
                hint="Nothing was kept. Try again; if it stays so, the source is not what it was.",
            )
        self._part.replace(self._folder / DATA)
        return Got(self._folder / DATA, found, size)


def _then(ranges: Ranges, count: int) -> Callable[[], None]:
    return lambda: ranges.synced(count)
