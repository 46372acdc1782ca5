"""Keeps the workers: starts them, tries another plan when a load fails, measures them, buries them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

from ..core.engine import Launch
from ..core.errors import EngineError, InhouseError, LoadFailed
from ..core.models import Card
from ..core.requests import LoadOptions
from . import messages as m
from . import telling
from .footprint import Footprints, Size, measure
from .process import Process
from .report import FleetSettings, Observer
from .story import Chapter
from .variants import Variant
from .worker import Checkable, Worker, log_path

TRIES: Final = 3
"""Other plans that are tried after a load that failed."""

GROWTH: Final = 1.05
"""A worker that grew by more than this after its load is reported again at its end."""

SOON, LATER = 1.0, 5.0
"""Seconds between two looks at the workers' memory: while one loads, and else."""

Connect = Callable[[Card, Launch], Checkable]
Relaunch = Callable[[Card, LoadOptions, Launch, InhouseError], Launch | None]


class Keeper:
    """``tell`` hands an event to the scheduler; ``asker`` says for whose request a variant loads."""

    def __init__(
        self,
        settings: FleetSettings,
        observer: Observer,
        *,
        connect: Connect,
        relaunch: Relaunch,
        tell: Callable[[m.Event], None],
        asker: Callable[[Variant], str],
    ) -> None:
        self.connect, self._relaunch = connect, relaunch
        self._settings, self._observer = settings, observer
        self._tell, self._asker = tell, asker
        self.footprints = Footprints()
        self.taken = Size()
        self.tasks: set[asyncio.Task[None]] = set()
        self._lives: dict[Worker, Variant] = {}
        self._failed: dict[str, InhouseError] = {}
        self._watch: asyncio.Task[None] | None = None
        self._look = asyncio.Event()

    def start(self, variant: Variant) -> None:
        """Begin to load."""
        name = str(variant.card.name)
        cause = "A request asked for it."
        if (before := self._failed.pop(name, None)) is not None:
            cause = f"Again, after: {before.message}"
            self._observer.restarted(name)
            self._observer.record(telling.restarted(name, before, self._asker(variant)))
        try:
            self._hire(variant, variant.launch)
        except Exception as error:  # noqa: BLE001 - the scheduler waits for an answer, whatever happened
            failed = m.LoadFailed(variant.key, _surprise(error))
            asyncio.get_running_loop().call_soon(self._tell, failed)
            return
        died = None if isinstance(before, LoadFailed) else before
        task = asyncio.create_task(self._run(variant, cause, died))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        if self._watch is None or self._watch.done():
            self._watch = asyncio.create_task(self._keep_measuring())
        self._look.set()

    def stop(self, variant: Variant, why: m.Why, claimant: Variant | None, *, crowded: bool) -> None:
        """End the worker; its task tells when it is gone."""
        name = str(variant.card.name)
        self._observer.evicted(name, why)
        if why != "closing":
            other = str(claimant.card.name) if claimant is not None and why == "evicted" else ""
            asker = self._asker(claimant) if claimant is not None else ""
            self._observer.record(telling.gone(name, why, other, asker, crowded=crowded))
        if variant.worker is not None:
            variant.worker.stop(self._settings.stop_grace)

    async def close(self) -> None:
        """Give up measuring, once all workers are gone."""
        if self._watch is not None:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch

    def _hire(self, variant: Variant, launch: Launch) -> Worker:
        process = Process(launch, log=log_path(self._settings.log_dir, variant.card))
        engine = self.connect(variant.card, launch)
        worker = Worker(launch, engine, process, self._settings.hang_timeout)
        variant.launch, variant.worker = launch, worker
        self._lives[worker] = variant
        return worker

    # one worker's life

    async def _run(self, variant: Variant, cause: str, died: InhouseError | None) -> None:
        """From the load to the end. Tells the scheduler of each turn of it. ``died``: of what the one before
        it did, once it was ready."""
        key, name = variant.key, str(variant.card.name)
        news: m.Event = m.Stopped(key)
        try:
            if died is not None:
                await self._otherwise(variant, died)
            cause = await self._load(variant, cause)
            worker = _of(variant)
            seconds = (worker.ready or 0.0) - worker.started
            self._observer.loaded(name, seconds)
            self._observer.record(telling.loaded(name, worker.launch, seconds, cause, self._asker(variant)))
            for notice in worker.launch.notices:
                if notice != cause:  # which tells it already
                    self._observer.record(telling.notice(name, notice, self._asker(variant)))
            self._tell(m.Ready(key, worker.launch.slots))
            self._look.set()
            error = await worker.life()
            if not worker.stopping:
                news = m.Died(key, error)
        except InhouseError as error:
            if not _of(variant).stopping:
                news = m.LoadFailed(key, error)
        except asyncio.CancelledError:  # the loop is closing under us: start nothing any more
            self._tell(m.Close())
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it must count as a failure, or it repeats
            news = m.LoadFailed(key, _surprise(error))
        finally:
            await self._bury(variant, news)

    async def _bury(self, variant: Variant, news: m.Event) -> None:
        """The worker is gone, or will be in a moment: say so."""
        worker = _of(variant)
        await worker.end()
        variant.worker = None
        del self._lives[worker]
        if worker.settled and worker.peak > GROWTH * worker.settled:
            self._observer.measured(variant.card, worker.launch, worker.peak)
        if isinstance(news, m.Died | m.LoadFailed):
            name = str(variant.card.name)
            self._failed[name] = news.error
            if isinstance(news, m.LoadFailed):
                record = telling.load_failed(name, worker.launch, news.error, self._asker(variant))
                self._observer.record(record)
        self._tell(news)
        await worker.engine.close()

    async def _otherwise(self, variant: Variant, error: InhouseError) -> None:
        """Put another plan in the place of the one whose worker died, if there is one."""
        worker, card = _of(variant), variant.card
        try:
            launch = await asyncio.to_thread(self._relaunch, card, variant.key.wish, worker.launch, error)
        except InhouseError:
            return  # the load tells what is wrong
        if launch is None or worker.stopping:
            return
        record = telling.retried(str(card.name), worker.launch, launch, error, self._asker(variant))
        self._observer.record(record)
        await self._replace(variant, worker, launch)

    async def _replace(self, variant: Variant, worker: Worker, launch: Launch) -> None:
        """``worker``, whose process is not there, gives way to one of another plan."""
        self._hire(variant, launch)
        del self._lives[worker]
        await worker.engine.close()
        expected = self.footprints.expected(variant.card, launch)
        self._tell(m.Replanned(variant.key, expected, launch.device_memory))

    async def _load(self, variant: Variant, cause: str) -> str:
        """Load, with other plans if there are any for what fails; why the one that worked was taken."""
        for tries in range(TRIES + 1):
            worker = _of(variant)
            timeout = min(self._settings.load_timeout, worker.launch.ready_timeout)
            try:
                await worker.load(timeout)
            except LoadFailed as error:
                if worker.stopping or tries == TRIES:
                    raise
                cause = await self._again(variant, worker, error)
                continue
            remedy = "Keep it loaded longer (keep_alive), or load it at the start (INHOUSE_PRELOAD)."
            ready = worker.ready or worker.started
            variant.story.append(Chapter("load", worker.started, ready, cause, remedy))
            return cause
        raise AssertionError("unreachable")

    async def _again(self, variant: Variant, worker: Worker, error: LoadFailed) -> str:
        """Put another plan in the place of the one that failed. Raises the error if there is none, or
        OutOfMemory if no smaller one fits."""
        await worker.end()
        launch = await asyncio.to_thread(self._relaunch, variant.card, variant.key.wish, worker.launch, error)
        if launch is None or worker.stopping:
            raise error
        remedy = telling.tried(worker.launch, launch)
        now = asyncio.get_running_loop().time()
        variant.story.append(Chapter("retry", worker.started, now, telling.why(error), remedy))
        name = str(variant.card.name)
        self._observer.record(telling.retried(name, worker.launch, launch, error, self._asker(variant)))
        await self._replace(variant, worker, launch)
        if _of(variant).stopping:
            raise error
        return remedy

    # memory

    async def _keep_measuring(self) -> None:
        """Look at the workers' memory as long as there are any."""
        while self._lives:
            self._look.clear()
            pids = {worker.pid: worker for worker in self._lives if worker.pid is not None}
            sizes = await asyncio.to_thread(measure, list(pids))
            self.taken = sum(sizes.values(), Size())
            for pid, size in sizes.items():
                if pids[pid] in self._lives:
                    self._seen(pids[pid], self._lives[pids[pid]], size)
            pause = SOON if any(worker.ready is None for worker in self._lives) else LATER
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._look.wait()
        self.taken = Size()

    def _seen(self, worker: Worker, variant: Variant, size: Size) -> None:
        """A worker's memory, and what it needs in all: the most it ever had, or what it still may take."""
        worker.resident, worker.peak = size.resident, max(worker.peak, size.resident)
        needs = 0
        if worker.ready is not None:
            if not worker.settled:
                worker.settled = size.resident
                self._observer.measured(variant.card, worker.launch, size.resident)
            needs = max(worker.peak, worker.settled + worker.launch.growth)
            self.footprints.learn(variant.card, worker.launch, needs)
        self._tell(m.Measured(variant.key, needs, size.resident))


def _of(variant: Variant) -> Worker:
    """The worker of a variant that has one."""
    if variant.worker is None:
        raise EngineError("The model has no worker.", hint="Try again.")
    return variant.worker


def _surprise(error: Exception) -> LoadFailed:
    return LoadFailed(
        "The model could not be loaded: its worker could not be watched.",
        hint="Look into the server's log.",
        detail=repr(error),
    )
