"""``inhouse bench``: a model measured through the fleet, alone or in turns with another engine."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

import psutil

from .. import charts, measure
from ..catalog import Catalog
from ..core.engine import Launch
from ..core.events import Event
from ..core.models import Card
from ..core.requests import Ask, LoadOptions, Request
from ..dialects.inhouse.measuring import BenchBody
from ..engines.engines import Engines
from ..fleet import Fleet
from ..machine import Machine, fingerprint, summary
from ..measure import Figures, Plan, Round, Subject
from ..measure.quiet import disturbances
from ..measure.report import OURS, Report
from ..measure.run import told
from ..measure.subjects import copy_of, local
from ..store import PullEvent
from ..upstream.openai import OpenAIEngine

_COMMON: Final = frozenset({"chat", "completions", "stream_options"})
"""What any server of OpenAI's wire that can be measured understands."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What everything that is measured stands on."""

    engines: Engines
    fleet: Fleet
    catalog: Catalog
    machine: Machine


class Measuring:
    """``server.manage.bench.Measuring``."""

    def __init__(self, ground: Ground) -> None:
        self._engines, self._fleet = ground.engines, ground.fleet
        self._catalog, self._machine = ground.catalog, ground.machine

    async def bench(self, body: BenchBody) -> AsyncGenerator[PullEvent, None]:
        """Measure as ``body`` says; the last event holds the figures.

        Raises ModelNotFound, BadRequest, NotFound and what the fleet raises.
        """
        card = await asyncio.to_thread(self._catalog.resolve, body.model)
        plan = plan_of(body)
        before = Figures.from_json(body.before) if body.before is not None else None
        ours = Leased(self._fleet, card)
        others: dict[str, Subject] = {}
        async with aclosing(_Other(self._fleet, self._engines, card, body)) as other:
            if body.against:
                others[body.against] = await other.subject()
            about = {"machine": summary(self._machine), "fingerprint": fingerprint(self._machine)}
            subjects = {OURS: Subject(ours.run, str(card.name), about), **others}
            watch = Watch(self._fleet, {card.digest, *other.digests})
            await watch.begin()
            yield PullEvent(f"loading {card.name}")
            done: list[Round] = []
            async with aclosing(measure.rounds(subjects, plan)) as turns:
                async for one in turns:
                    watch.look()
                    done.append(one)
                    yield PullEvent(told(one, plan, several=bool(others)))
        figures = measure.fold(subjects, plan, done)
        mine = dataclasses.replace(
            figures[OURS], about={**about, **ours.facts(), "at": str(int(time.time()))}
        )
        against = (body.against, figures[body.against]) if body.against else None
        report = Report(mine, done, against, before)
        result = report.to_json() | {"disturbed": watch.reasons()}
        if body.plot:
            result["svg"] = charts.lines("Tokens a second", "clients", "tokens/s", report.lines())
        yield PullEvent("success", result=result)


def plan_of(body: BenchBody) -> Plan:
    """What a request to measure asks for."""
    return Plan(
        prompt=body.prompt,
        answer=body.tokens,
        clients=body.clients,
        rounds=body.rounds,
        task="copy" if body.task == "copy" else "text",
        chat=body.chat,
        shared=body.shared,
    )


class Leased:
    """Runs requests of measurements on a model, each with a lease of its own, and knows how it was loaded."""

    def __init__(self, fleet: Fleet, card: Card, who: str = "bench") -> None:
        self.card = card
        self._fleet, self._who = fleet, who
        self.launch: Launch | None = None

    async def run(self, request: Request) -> AsyncGenerator[Event, None]:
        """As ``Engine.run``; what the lease waited for is told in no event: warm up first."""
        ask = Ask(load=LoadOptions(), tenant=self._who, keep_alive=60.0)
        async with self._fleet.lease(self.card, ask) as lease:
            self.launch = lease.launch
            async with aclosing(lease.run(request)) as events:
                async for event in events:
                    yield event

    def facts(self) -> dict[str, str]:
        """Engine, build and how tokens are guessed."""
        launch = self.launch
        if launch is None:
            return {}
        return {
            "engine": launch.engine,
            "build": launch.build,
            "variant": launch.variant,
            "speculative": launch.speculative or "none",
            "slots": str(launch.slots),
        }


class _Other:
    """What a model is held against; ``aclose`` ends what was begun for it."""

    def __init__(self, fleet: Fleet, engines: Engines, card: Card, body: BenchBody) -> None:
        self._fleet, self._engines, self._card, self._body = fleet, engines, card, body
        self._remote: OpenAIEngine | None = None
        self._copy: Card | None = None

    @property
    def digests(self) -> set[str]:
        return {self._copy.digest} if self._copy else set()

    async def subject(self) -> Subject:
        """The other engine. Raises BadRequest, NotFound."""
        against = self._body.against
        if "/" in against:
            launch = Launch("another server", (), local(against), wire="openai", takes=_COMMON)
            launch = dataclasses.replace(launch, served_as=self._body.there or str(self._card.name))
            self._remote = OpenAIEngine(self._card, launch)
            return Subject(self._remote.run, launch.served_as, {"engine": against})
        await asyncio.to_thread(self._engines.variant, against)
        tuning = dataclasses.replace(self._card.tuning, engine=against)
        self._copy = copy_of(self._card, against, tuning)
        return Subject(Leased(self._fleet, self._copy).run, str(self._card.name), {"engine": against})

    async def aclose(self) -> None:
        if self._remote is not None:
            await self._remote.close()
        if self._copy is not None:
            await self._fleet.stop(self._copy)


class Watch:
    """Notices what else was computed meanwhile; ``own`` are the digests of what is measured."""

    def __init__(self, fleet: Fleet, own: Iterable[str]) -> None:
        self._fleet, self._own = fleet, set(own)
        self._others: set[str] = set()
        self._busy = 0.0

    async def begin(self) -> None:
        """Look at what the machine does before anything is measured; takes half a second."""
        self._busy = await asyncio.to_thread(busy_now)

    def look(self) -> bool:
        """Look once; True if another model was busy."""
        busy = {
            str(one.card.name)
            for one in self._fleet.loaded()
            if one.busy and one.card.digest not in self._own
        }
        self._others |= busy
        return bool(busy)

    def reasons(self) -> list[str]:
        """Why the figures may be too low, in sentences."""
        return disturbances(self._others, self._busy)


def busy_now(interval: float = 0.5) -> float:
    """Share of all CPUs in use, 0..1, over ``interval`` seconds. Blocking."""
    return float(psutil.cpu_percent(interval)) / 100


__all__ = ["Ground", "Leased", "Measuring", "Watch", "busy_now"]
