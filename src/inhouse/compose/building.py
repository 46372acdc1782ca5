"""Getting, measuring and choosing builds of engines, for the server's routes."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..config import Config
from ..core.errors import Conflict, InhouseError, Unsupported
from ..core.journal import Record
from ..dialects.inhouse.engines import BenchOrder, InstallOrder
from ..engines import registry
from ..engines.engines import Engines
from ..engines.variants import view
from ..engines.variants.install import Choice, Installer, Report
from ..engines.variants.orders import AUTO, check_idle, check_ours, check_use
from ..engines.variants.origin import Wish
from ..engines.variants.versus import worth_measuring
from ..fleet import Fleet
from ..store import Policy, PullEvent
from ..store.pulling import Job
from ..store.sources import Watch
from .fetching import BuildNet
from .versus import Versus


class Builds:
    """``server.manage.engines.Builds``. ``versus`` measures; ``tell`` writes the journal."""

    def __init__(
        self,
        config: Config,
        engines: Engines,
        fleet: Fleet,
        versus: Versus,
        tell: Callable[[Record], None],
    ) -> None:
        self._config = config
        self._engines = engines
        self._fleet = fleet
        self._versus = versus
        self._tell = tell
        self._jobs: list[Job] = []
        self._lock = asyncio.Lock()

    # -- reading ------------------------------------------------------------------------------

    def facts(self) -> dict[str, str]:
        """What runs models that ask for nothing else, and its build."""
        default = self._engines.default
        return {"engine": default.name, "engine_build": default.build}

    async def listed(self) -> dict[str, Any]:
        """Installed builds in the order of choice, those that could be installed, and other engines."""
        used = {one.variant for one in self._fleet.loaded()}
        return await asyncio.to_thread(self._listed, used)

    def _listed(self, used: set[str]) -> dict[str, Any]:
        found = self._engines.candidates()
        config = self._config
        others = [one.find(config.engine, config.home, os.environ) for one in self._engines.others]
        chosen = self._engines.default.name
        return {
            "use": self._engines.kept.use or AUTO,
            "chosen": chosen,
            "builds": view.installed(found, chosen, used),
            "available": view.available(found, self._engines.machine),
            "engines": [asdict(one) for one in others],
        }

    # -- changing -----------------------------------------------------------------------------

    def use(self, name: str) -> dict[str, Any]:
        """Choose a build for all models that name none. Raises NotFound, Unsupported."""
        if name != AUTO:
            self._engines.forgive(name)
            check_use(name, self._engines.candidates(), self._config.engine.kind)
        self._engines.kept.choose("" if name == AUTO else name)
        self._engines.refresh()
        self._note(f"{self._engines.default.name} runs models from now on: it was chosen.")
        return {"use": name, **self.facts()}

    async def remove(self, name: str, *, force: bool) -> None:
        """Delete an installed build. Raises NotFound, Conflict, Unsupported for what we did not install."""
        check_ours(name, (one.name for one in self._engines.others))
        if not force:
            check_idle(name, (str(one.card.name) for one in self._fleet.loaded() if one.variant == name))
        await asyncio.to_thread(self._removed, name)

    def _removed(self, name: str) -> None:
        self._engines.shelf.remove(name)
        self._engines.kept.forget(name)
        self._engines.refresh()
        self._note(f"The build {name} was removed; {self._engines.default.name} runs models now.")

    def _note(self, text: str) -> None:
        self._tell(Record("engine", "", text))

    # -- jobs ---------------------------------------------------------------------------------

    async def install(self, order: InstallOrder) -> AsyncGenerator[PullEvent, None]:
        """Install a build, measure one that computes on the CPU, choose again. One at a time.

        Raises Conflict, and what ``Installer.install`` does.
        """
        async with self._alone():
            await self._jobs_ended()
            other = next(
                (one for one in self._engines.others if one.name == order.name and one.install), None
            )
            work = (
                functools.partial(self._placed, other) if other else functools.partial(self._installed, order)
            )
            async with aclosing(self._threaded(work)) as events:
                async for event in events:
                    if event.status != "success":
                        yield event
            if other:
                self._note(f"The engine {other.name} was installed.")
                result = {"installed": other.name, "chosen": True, "because": other.what, **self.facts()}
                yield PullEvent("success", result=result)
                return
            key, measured = order.name, ""
            if await asyncio.to_thread(self._worth_measuring, key):
                try:
                    async with aclosing(self._measured(BenchOrder("", (key,)))) as rounds:
                        async for event in rounds:
                            if event.status != "success":
                                yield event
                except InhouseError as error:
                    measured = f"{error.message} {error.hint}"
            outcome = await asyncio.to_thread(self._outcome, key)
            result = {"installed": key, "not_measured": measured, **outcome}
            self._note(f"The build {key} was installed; {self._engines.default.name} runs models.")
            yield PullEvent("success", result=result)

    def _worth_measuring(self, key: str) -> bool:
        """See ``versus.worth_measuring``. Blocking."""
        self._engines.forgive(key)
        self._engines.refresh()
        return worth_measuring(self._engines.candidates(), key)

    def _placed(self, other: registry.Other, watch: Watch) -> None:
        """Install an engine that is no build of llama.cpp."""
        assert other.install is not None  # noqa: S101  # asked before
        place = registry.Place(self._config.home, self._engines.machine.gpus, os.environ)
        other.install(place, lambda line: watch.say(PullEvent(line)), watch.stopped.is_set)
        watch.say(PullEvent("success"))

    def _installed(self, order: InstallOrder, watch: Watch) -> None:
        if any(one.name == order.name for one in self._engines.others):
            raise Unsupported(
                f"The engine {order.name!r} is not installed by Inhouse.", hint="See: inhouse engine list"
            )
        net = BuildNet(watch, self._config.engine.mirror)
        installer = Installer(
            self._config.home,
            self._engines.shelf,
            net,
            self._engines.machine,
            os.environ,
        )
        choice = Choice(
            order.name,
            Wish(order.version, order.sha256, net.mirror),
            tuple(Path(text) for text in order.files),
            order.anyway,
            order.jobs,
            order.with_tools,
        )

        def say(status: str, done: int, total: int) -> None:
            watch.say(PullEvent(status, "", total, done))

        installer.install(choice, Report(say, watch.stopped.is_set))
        watch.say(PullEvent("success"))

    async def _threaded(self, work: Callable[[Watch], None]) -> AsyncGenerator[PullEvent, None]:
        settings = self._config.store
        policy = Policy(hosts=settings.pull_hosts, streams=max(1, settings.pull_streams))
        job = Job(work, lambda emit: Watch(emit, policy, trusted=True))
        self._jobs = [*(one for one in self._jobs if not one.finished.is_set()), job]
        async with aclosing(job.follow()) as events:
            async for event in events:
                yield event

    async def close(self) -> None:
        """Stop what is under way and wait for its end. Idempotent."""
        for job in self._jobs:
            job.stop()
        await self._jobs_ended()

    @asynccontextmanager
    async def _alone(self) -> AsyncGenerator[None, None]:
        """One at a time: what is measured beside another measurement says little. Raises Conflict."""
        if self._lock.locked():
            raise Conflict("Another build is being installed or measured.", hint="Wait for its end.")
        async with self._lock:
            yield

    async def _jobs_ended(self) -> None:
        """Wait for what was cancelled: it may still use the same folders."""
        await asyncio.gather(*(job.finished.wait() for job in self._jobs))

    async def bench(self, order: BenchOrder) -> AsyncGenerator[PullEvent, None]:
        """Measure builds against the wheel and keep the figures. See ``Versus.run``. Raises Conflict, too."""
        async with self._alone(), aclosing(self._measured(order)) as events:
            async for event in events:
                yield event

    async def _measured(self, order: BenchOrder) -> AsyncGenerator[PullEvent, None]:
        async with aclosing(self._versus.run(order.model, order.builds, order.rounds)) as events:
            async for event in events:
                if event.status == "success":
                    await asyncio.to_thread(self._engines.refresh)
                    event = dataclasses.replace(event, result={**event.result, **self.facts()})
                yield event

    # -- telling ------------------------------------------------------------------------------

    def _outcome(self, key: str) -> dict[str, Any]:
        """Choose again; whether the build is used now, and why (not). Blocking."""
        self._engines.refresh()
        one = next((c for c in self._engines.candidates() if c.key == key), None)
        chosen = view.is_chosen(key, self._engines.default.name)
        return {"chosen": chosen, "because": one.because if one else "", **self.facts()}


__all__ = ["Builds"]
