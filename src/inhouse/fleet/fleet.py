"""The fleet: carries out what the scheduler decides, and hands out leases.

The life of a lease: *find* a variant that serves the wish, or plan one · *arrive* at the scheduler ·
wait for its grant · run · *leave*. Leaving is one synchronous call, so no cancel, wherever it
strikes, can lose a slot.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

from ..core.deadlines import in_time
from ..core.engine import Launch
from ..core.errors import BadRequest, InhouseError
from ..core.models import Card
from ..core.requests import Ask, LoadOptions
from ..core.usage import Step
from . import messages as m
from . import telling
from .footprint import Size
from .keeper import Keeper
from .lease import Lease, Place, own
from .report import FleetSettings, Loaded, Observer, Silence, loaded
from .scheduler import Scheduler
from .story import Ahead, Chapter, told
from .variants import Variant, VariantKey, Variants, normal
from .worker import Checkable, Worker

STALE = 0.25
"""Seconds for which what the machine had free is believed."""


@dataclass(frozen=True, slots=True)
class _Going:
    """Told to stop ``since`` then for ``claimant``; ``crowded``: for how many may be loaded."""

    claimant: Variant
    since: float
    crowded: bool


class Fleet:
    """All workers of one server. Make and use it inside one event loop.

    ``launch`` is called in a thread and may raise OutOfMemory, LoadFailed or BadRequest; ``relaunch``,
    too, says what to try after a load that failed (LoadFailed; None: nothing) or the death of a worker that
    was ready (None: the same again); ``connect`` makes the engine that talks to a started
    worker. ``available`` says how many bytes the machine has left if so many bytes of mapped files stay in
    memory; it must be quick. None: the settings' memory is all there is to know.
    """

    def __init__(
        self,
        *,
        launch: Callable[[Card, LoadOptions], Launch],
        relaunch: Callable[[Card, LoadOptions, Launch, InhouseError], Launch | None] = lambda *_: None,
        connect: Callable[[Card, Launch], Checkable],
        settings: FleetSettings,
        observer: Observer | None = None,
        available: Callable[[int], int] | None = None,
    ) -> None:
        self._settings, self._available = settings, available
        self._observer = observer or Silence()
        self._scheduler = Scheduler(settings.limits())
        self._variants = Variants(launch)
        self._keeper = Keeper(
            settings, self._observer, connect=connect, relaunch=relaunch, tell=self._feed, asker=self._asker
        )
        self._places: dict[Place, Variant] = {}
        self._going: dict[VariantKey, _Going] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._changed = asyncio.Event()
        self._asked_at = -math.inf

    # leases

    def lease(self, card: Card, ask: Ask) -> AbstractAsyncContextManager[Lease]:
        """Wait for slots of a worker that runs ``card`` as asked, loading it if need be.

        Raises QueueFull, RateLimited, OutOfMemory, DeadlineExceeded, Draining, LoadFailed or CrashLoop on
        entry.
        """
        return self._lease(card, ask)

    @asynccontextmanager
    async def _lease(self, card: Card, ask: Ask) -> AsyncGenerator[Lease, None]:
        arrived = self._now()
        deadline = None if ask.deadline is None else ask.deadline - time.monotonic() + arrived
        grant: asyncio.Future[Worker] = asyncio.get_running_loop().create_future()
        place = Place(card, ask, arrived, deadline, grant)
        variant = await self._find(place)
        lease: Lease | None = None
        ok = False
        self._places[place] = variant
        try:
            self._arrive(place, variant)
            worker = await place.grant
            lease = Lease.of(worker, place, variant.story, self._now())
            yield lease
            ok = True
        finally:
            del self._places[place]
            self._feed(m.Leave(place, ok, lease.work if lease is not None else None))

    async def _find(self, place: Place) -> Variant:
        try:
            finding = self._variants.find(place.card, normal(place.ask.load), place.arrived)
            variant, place.heed = await in_time(finding, place.ask.deadline)
        except InhouseError as error:
            if not isinstance(error, BadRequest):
                self._note_refusal(place, error)
            raise
        if place.heed:
            name = str(place.card.name)
            self._observer.record(telling.notice(name, place.heed, place.ask.request_id))
        return variant

    def _arrive(self, place: Place, variant: Variant) -> None:
        ask, launch = place.ask, variant.launch
        most = self._settings.key_concurrency
        limited = bool(most) and self._scheduler.running(ask.tenant) >= most
        place.ahead = Ahead.of(self._scheduler.model(variant.key), ask.tenant, limited=limited)
        self._feed(
            m.Arrive(
                place,
                variant.key,
                place.card.digest,
                ask.tenant,
                self._keeper.footprints.expected(place.card, launch),
                ask.weight,
                ask.keep_alive,
                ask.priority,
                ask.work,
                math.inf if place.deadline is None else place.deadline,
                launch.device_memory,
                max(0, launch.memory - launch.device_memory),
            )
        )

    # state

    def loaded(self) -> list[Loaded]:
        """Every model that has a worker now."""
        now = self._now()
        return [
            loaded(variant, variant.worker, self._scheduler.model(variant.key), now)
            for variant in self._variants
            if variant.worker is not None
        ]

    def waited(self, request_id: str, tenant: str) -> tuple[Step, ...]:
        """What a request of that id and tenant that is not granted yet has waited for until now; the last is
        what it waits for still."""
        now = self._now()
        for place, variant in self._places.items():
            if (place.ask.request_id, place.ask.tenant) == (request_id, tenant) and not place.grant.done():
                cause = place.ahead.cause(str(place.card.name))
                under_way = tuple(self._under_way(variant, now))
                chapters = (*variant.story, *under_way)
                steps = told(chapters, place.arrived, now, cause, place.ahead.remedy())[1]
                queued = bool(steps) and steps[0].name == "queue" and not under_way
                return (*steps[1:], steps[0]) if queued else steps
        return ()

    def _under_way(self, variant: Variant, now: float) -> Iterator[Chapter]:
        """What happens to a model just now, as chapters that end now."""
        for key, going in self._going.items():
            if going.claimant is variant:
                what, same = str(self._variants[key].card.name), key.digest == variant.key.digest
                cause, remedy = telling.made_room(what, same=same, crowded=going.crowded)
                yield Chapter("evict", going.since, now, cause, remedy)
        if variant.worker is not None and variant.worker.ready is None:
            yield Chapter("load", variant.worker.started, now, "It is being loaded.")

    @property
    def taken(self) -> Size:
        """Main memory that all workers have, as measured last."""
        return self._keeper.taken

    async def stop(self, card: Card, *, wait: float = 5.0) -> bool:
        """Unload a model once its running requests end; False if it was not loaded.

        Returns when it is gone, or after ``wait`` seconds while requests still run.
        """
        workers = [
            (variant.key, variant.worker)
            for variant in self._variants
            if variant.key.digest == card.digest and variant.worker is not None
        ]
        for key, _ in workers:
            self._feed(m.StopWanted(key))
        gone = {worker for _, worker in workers}
        await self._until(lambda: not gone & {v.worker for v in self._variants}, wait)
        return bool(workers)

    async def drain(self, timeout: float) -> None:
        """Refuse new requests with Draining and let the others end, for ``timeout`` seconds at most."""
        self._feed(m.Drain())
        await self._until(lambda: not self._scheduler.tickets, timeout)

    async def close(self) -> None:
        """Refuse who waits, cut who runs, end every worker. Returns when all processes are gone."""
        self._feed(m.Close())
        while self._keeper.tasks or self._variants.planning:
            await asyncio.wait([*self._keeper.tasks, *self._variants.planning])
        await self._keeper.close()
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
        now = self._now()
        self._ask_machine(event, now)
        self._chronicle(event, now)
        for command in self._scheduler.step(event, now):
            self._obey(command, now)
        self._forget()
        self._arm()
        self._changed.set()

    def _obey(self, command: m.Command, now: float) -> None:
        match command:
            case m.Grant(place, key):
                self._settle(place, self._variants[key].worker)
            case m.Refuse(place, error):
                if isinstance(place, Place):
                    self._note_refusal(place, error)
                self._settle(place, error)
            case m.Start(key):
                self._variants[key].called = 0
                self._keeper.start(self._variants[key])
            case m.Stop(key, why, claimant, crowded):
                other = self._variants.get(claimant)
                if other is not None:
                    self._going[self._variants[key].key] = _Going(other, now, crowded)
                self._keeper.stop(self._variants[key], why, other, crowded=crowded)

    def _settle(self, place: object, answer: Worker | InhouseError | None) -> None:
        """Wake who waits. If it is being cancelled in this very moment, its Leave follows."""
        if not isinstance(place, Place) or place not in self._places or place.grant.done():
            return
        if isinstance(answer, Worker):
            place.grant.set_result(answer)
        elif answer is not None:
            place.grant.set_exception(own(answer))

    def _ask_machine(self, event: m.Event, now: float) -> None:
        """Tell the scheduler what the machine has free, where that may have changed and matters."""
        if self._available is None:
            return
        gone = isinstance(event, m.Stopped | m.Died | m.LoadFailed)
        matters = isinstance(event, m.Measured) or self._scheduler.wants_room(event)
        if gone or (matters and now - self._asked_at > STALE):
            self._asked_at = now
            with contextlib.suppress(OSError):  # no descriptor to ask with: what was known last has to do
                self._scheduler.step(m.Free(self._available(self.taken.mapped)), now)

    def _chronicle(self, event: m.Event, now: float) -> None:
        """Who had to go is gone: part of the story of the model it went for."""
        if not isinstance(event, m.Stopped | m.Died):
            return
        key = event.key
        going = self._going.pop(key, None) if isinstance(key, VariantKey) else None
        if going is not None and isinstance(key, VariantKey):
            what, same = str(self._variants[key].card.name), key.digest == going.claimant.key.digest
            cause, remedy = telling.made_room(what, same=same, crowded=going.crowded)
            going.claimant.story.append(Chapter("evict", going.since, now, cause, remedy))

    def _asker(self, variant: Variant) -> str:
        """The id of the request that a variant is loaded for: the one that waits longest."""
        model = self._scheduler.model(variant.key)
        oldest = model.queue.oldest() if model is not None else None
        ticket = oldest.ticket if oldest is not None else None
        return ticket.ask.request_id if isinstance(ticket, Place) else ""

    def _note_refusal(self, place: Place, error: InhouseError) -> None:
        name = str(place.card.name)
        self._observer.record(telling.refused(name, error, place.ask.request_id))

    def _forget(self) -> None:
        """Drop variants that nobody runs or waits for; a new one may be planned differently."""
        for variant in self._variants:
            if variant.worker is None and self._scheduler.model(variant.key) is None:
                self._variants.drop(variant.key)

    def _arm(self) -> None:
        """Set the timer to the scheduler's next wish."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        wake = self._scheduler.next_wake()
        if wake < math.inf:
            self._timer = asyncio.get_running_loop().call_at(wake, self._feed, m.Tick())
