"""The fleet: carries out what the scheduler decides, and hands out leases.

The life of a lease: *find* a variant that serves the wish, or plan one · *arrive* at the scheduler ·
wait for its grant · run · *leave*. Leaving is one synchronous call, so no cancel, wherever it
strikes, can lose a slot.
"""

from __future__ import annotations

import asyncio
import functools
import math
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import cast

from ..core.engine import Launch
from ..core.errors import InhouseError, LoadFailed
from ..core.models import Card
from ..core.requests import Ask, LoadOptions
from . import messages as m
from .lease import Lease, own
from .limits import Limits
from .process import Process
from .report import FleetSettings, Loaded, Observer, Silence, loaded
from .scheduler import Scheduler
from .variants import Variant, VariantKey, normal
from .worker import Checkable, Worker, log_path


class Fleet:
    """All workers of one server. Make and use it inside one event loop.

    ``launch`` is called in a thread and may raise OutOfMemory, LoadFailed or BadRequest; ``relaunch``,
    too, says what to try after a load that failed; ``connect`` makes the engine that talks to a started
    worker.
    """

    def __init__(
        self,
        *,
        launch: Callable[[Card, LoadOptions], Launch],
        relaunch: Callable[[Card, LoadOptions, Launch, LoadFailed], Launch | None] = lambda *_: None,
        connect: Callable[[Card, Launch], Checkable],
        settings: FleetSettings,
        observer: Observer | None = None,
    ) -> None:
        self._launch, self._relaunch = launch, relaunch
        self._connect, self._settings = connect, settings
        self._observer = observer or Silence()
        self._scheduler = Scheduler(
            Limits(
                memory=settings.memory,
                max_loaded=settings.max_loaded,
                max_queue=settings.max_queue,
                queue_timeout=settings.queue_timeout,
                keep_alive=settings.keep_alive,
                patience=settings.patience,
            )
        )
        self._variants: dict[VariantKey, Variant] = {}
        self._grants: dict[object, asyncio.Future[Worker]] = {}
        self._plans: dict[VariantKey, asyncio.Task[Launch]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._failed: set[str] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._changed = asyncio.Event()

    # leases

    def lease(self, card: Card, ask: Ask) -> AbstractAsyncContextManager[Lease]:
        """Wait for slots of a worker that runs ``card`` as asked, loading it if need be.

        Raises QueueFull, OutOfMemory, DeadlineExceeded, Draining, LoadFailed or CrashLoop on entry.
        """
        return self._lease(card, ask)

    @asynccontextmanager
    async def _lease(self, card: Card, ask: Ask) -> AsyncGenerator[Lease, None]:
        arrived = self._now()
        variant = await self._find(card, normal(ask.load))
        ticket = object()
        grant: asyncio.Future[Worker] = asyncio.get_running_loop().create_future()
        self._grants[ticket] = grant
        ok = False
        try:
            self._feed(
                m.Arrive(
                    ticket,
                    variant.key,
                    card.digest,
                    ask.tenant,
                    variant.launch.memory,
                    ask.weight,
                    ask.keep_alive,
                    ask.priority,
                )
            )
            worker = await grant
            yield Lease.of(worker, arrived, self._now())
            ok = True
        finally:
            del self._grants[ticket]
            self._feed(m.Leave(ticket, ok))

    async def _find(self, card: Card, wish: LoadOptions) -> Variant:
        """The variant that serves this wish: one there is, else a new one."""
        if (found := self._match(card, wish, None)) is not None:
            return found
        key = VariantKey(card.digest, wish)
        plan = self._plans.get(key)
        if plan is None:
            plan = asyncio.create_task(asyncio.to_thread(self._launch, card, wish))
            self._plans[key] = plan
            plan.add_done_callback(functools.partial(self._planned, key))
        try:
            launch = await asyncio.shield(plan)
        except InhouseError as error:
            raise own(error) from error
        found = self._match(card, wish, launch)
        if found is None:
            found = self._variants[key] = Variant(key, card, launch)
        return found

    def _planned(self, key: VariantKey, plan: asyncio.Task[Launch]) -> None:
        del self._plans[key]
        if not plan.cancelled():
            plan.exception()  # looked at, for the case that everybody left meanwhile

    def _match(self, card: Card, wish: LoadOptions, planned: Launch | None) -> Variant | None:
        """The newest variant that would do: a reload under way is better than what it replaces."""
        return next(
            (
                variant
                for variant in reversed(self._variants.values())
                if variant.key.digest == card.digest and variant.serves(wish, planned)
            ),
            None,
        )

    # state

    def loaded(self) -> list[Loaded]:
        """Every model that has a worker now."""
        now = self._now()
        return [
            loaded(variant, variant.worker, self._scheduler.model(variant.key), now)
            for variant in self._variants.values()
            if variant.worker is not None
        ]

    async def stop(self, card: Card, *, wait: float = 5.0) -> bool:
        """Unload a model once its running requests end; False if it was not loaded.

        Returns when it is gone, or after ``wait`` seconds while requests still run.
        """
        workers = [
            (variant.key, variant.worker)
            for variant in list(self._variants.values())
            if variant.key.digest == card.digest and variant.worker is not None
        ]
        for key, _ in workers:
            self._feed(m.StopWanted(key))
        gone = {worker for _, worker in workers}
        await self._until(lambda: not gone & {v.worker for v in self._variants.values()}, wait)
        return bool(workers)

    async def drain(self, timeout: float) -> None:
        """Refuse new requests with Draining and let the others end, for ``timeout`` seconds at most."""
        self._feed(m.Drain())
        await self._until(lambda: not self._scheduler.tickets, timeout)

    async def close(self) -> None:
        """Refuse who waits, cut who runs, end every worker. Returns when all processes are gone."""
        self._feed(m.Close())
        while self._tasks or self._plans:
            await asyncio.wait([*self._tasks, *self._plans.values()])
        if self._timer is not None:
            self._timer.cancel()

    async def _until(self, done: Callable[[], bool], timeout: float) -> None:
        try:
            async with asyncio.timeout(None if math.isinf(timeout) else timeout):
                while not done():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return

    # events and commands

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    def _feed(self, event: m.Event) -> None:
        """Tell the scheduler and do what it says. Synchronous: nothing comes between."""
        for command in self._scheduler.step(event, self._now()):
            match command:
                case m.Grant(ticket, key):
                    self._settle(ticket, self._variants[cast(VariantKey, key)].worker)
                case m.Refuse(ticket, error):
                    self._settle(ticket, error)
                case m.Start(key):
                    self._start(self._variants[cast(VariantKey, key)])
                case m.Stop(key, why):
                    self._stop(self._variants[cast(VariantKey, key)], why)
        self._forget()
        self._arm()
        self._changed.set()

    def _settle(self, ticket: object, answer: Worker | InhouseError | None) -> None:
        """Wake who waits. If it is being cancelled in this very moment, its Leave follows."""
        grant = self._grants.get(ticket)
        if grant is None or grant.done():
            return
        if isinstance(answer, Worker):
            grant.set_result(answer)
        elif answer is not None:
            grant.set_exception(own(answer))

    def _start(self, variant: Variant) -> None:
        name = str(variant.card.name)
        if name in self._failed:
            self._failed.discard(name)
            self._observer.restarted(name)
        process = Process(variant.launch, log=log_path(self._settings.log_dir, variant.card))
        engine = self._connect(variant.card, variant.launch)
        variant.worker = Worker(variant.launch, engine, process, self._settings.hang_timeout)
        task = asyncio.create_task(self._run(variant, variant.worker))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, variant: Variant, worker: Worker) -> None:
        """One worker's whole life. Tells the scheduler of each turn of it."""
        key, name = variant.key, str(variant.card.name)
        timeout = min(self._settings.load_timeout, worker.launch.ready_timeout)
        news: m.Event = m.Stopped(key)
        try:
            seconds = await worker.load(timeout)
            self._observer.loaded(name, seconds)
            self._feed(m.Ready(key, worker.launch.slots))
            error = await worker.life()
            if not worker.stopping:
                news = m.Died(key, error)
        except InhouseError as error:
            if not worker.stopping:
                news = m.LoadFailed(key, error)
        except asyncio.CancelledError:  # the loop is closing under us: start nothing any more
            self._feed(m.Close())
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it must count as a failure, or it repeats
            news = m.LoadFailed(key, _surprise(error))
        finally:
            await worker.end()
            variant.worker = None
            if not isinstance(news, m.Stopped):
                self._failed.add(name)
            self._feed(news)
            await worker.engine.close()

    def _stop(self, variant: Variant, why: m.Why) -> None:
        self._observer.evicted(str(variant.card.name), why)
        if variant.worker is not None:
            variant.worker.stop(self._settings.stop_grace)

    def _forget(self) -> None:
        """Drop variants that nobody runs or waits for; a new one may be planned differently."""
        for key in [k for k in self._variants if self._scheduler.model(k) is None]:
            if self._variants[key].worker is None:
                del self._variants[key]

    def _arm(self) -> None:
        """Set the timer to the scheduler's next wish."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        wake = self._scheduler.next_wake()
        if wake < math.inf:
            self._timer = asyncio.get_running_loop().call_at(wake, self._feed, m.Tick())


def _surprise(error: Exception) -> LoadFailed:
    return LoadFailed(
        "The model could not be loaded: its worker could not be watched.",
        hint="Look into the server's log.",
        detail=repr(error),
    )
