"""The composition root: wires everything, knows everybody, decides nothing."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Mapping
from pathlib import Path

from .. import catalog, machine, server, store
from ..archive import Archive
from ..attachments import Attachments
from ..config import Config
from ..engines import command, registry
from ..engines.engines import Engines
from ..engines.tunings import Tunings
from ..fleet import Fleet
from ..journal import opened
from ..ledger import Meter, Open
from ..planning import History
from ..prepare import Prepare
from ..runtime import Runtime
from ..server.guard import Guard
from ..server.manage.templating import render_template
from ..workshop import Workshop
from .building import Builds
from .connecting import Connecting
from .hardware import Hardware
from .launching import Launching
from .measuring import Ground, Measuring
from .observing import Ears, Running
from .planning import Planning
from .scoring import Scoring
from .sharing import Sharing
from .tuning import Tuner
from .unloading import Unloading
from .versus import Versus


class Activity:
    """Counts requests under way, so that an idle server can end itself."""

    def __init__(self) -> None:
        self.active = 0
        self.last = time.monotonic()

    def touch(self, change: int) -> None:
        self.active += change
        self.last = time.monotonic()

    def idle(self) -> float:
        """Seconds without a request."""
        return 0.0 if self.active else time.monotonic() - self.last


def _environ(settings: Mapping[str, str]) -> dict[str, str]:
    """This process's environment with settings in it that may have come from a file."""
    return os.environ | {name: value for name, value in settings.items() if value}


class House:
    """All rooms, wired for one configuration. ``sockets`` is a private folder for workers."""

    def __init__(self, config: Config, sockets: Path) -> None:
        self.config = config
        self.stopping = False
        self.token = secrets.token_hex(32)
        self._machine = machine.known(machine.detect(config.home), config.home)
        self._write_down()
        self._find_engines()
        self._open_store()
        self._run_workers(sockets)
        self._measure()
        self._plan()
        self._answer()

    def _write_down(self) -> None:
        """Who hears what happens."""
        self.meter = Meter()
        settings, folder = self.config.journal, self.config.home / "journal"
        self.journal, self.traces = opened(
            folder, size=settings.size, days=settings.days, hear=self.meter.recorded
        )
        self.ears = Ears(self.meter, self.journal, self.traces)

    def _find_engines(self) -> None:
        """What can run models here, and what can make them."""
        config = self.config
        self.engines = Engines(
            config.engine,
            state=config.home,
            machine=self._machine,
            tell=self.journal.write,
            others=(*command.others(config.programs.values()), *registry.OTHERS),
        )
        converter = {"INHOUSE_CONVERTER": config.engine.converter}
        self.workshop = Workshop(config.engine, config.home, _environ(converter))

    def _open_store(self) -> None:
        """Models on disk, what is known of them, and answers that are kept."""
        config = self.config
        self.store = store.Store(
            config.home,
            policy=self._policy(),
            workshop=self.workshop,
            build=self.engines.default.build,
        )
        self.catalog = catalog.Catalog(self.store, self.engines.cards())
        self.looks = catalog.Looks(self.catalog)
        self.archive = Archive(config.home / "kept", days=config.keep.days, most=config.keep.max)

    def _run_workers(self, sockets: Path) -> None:
        """The fleet, how it starts a worker, and who talks to it."""
        config = self.config
        self.tunings = Tunings(config.home, self._machine, origins=config.origins, models=self.store.cards)
        self.connecting = Connecting(config, self.store)
        self.launching = Launching(config, self._machine, self.engines, self.store, sockets)
        self.launching.prefixes = self.connecting.root
        self.launching.tune = self.tunings.apply
        self.fleet = Fleet(
            launch=self.connecting.launching(self.launching.launch),
            relaunch=self.launching.relaunch,
            connect=self.connecting.connect,
            settings=self.launching.settings(),
            observer=self.ears,
            available=self.launching.available,
        )
        self.launching.taken = lambda: self.fleet.taken

    def _measure(self) -> None:
        """Benchmarks, the search for the best settings, builds held against each other."""
        ground = Ground(self.engines, self.fleet, self.catalog, self._machine)
        tell = self.journal.write
        self.measuring = Measuring(ground)
        self.tuner = Tuner(
            ground, self.tunings, plan=self.launching.launch, free=self.launching.beside, tell=tell
        )
        versus = Versus(self.engines, self.fleet, self.store.cards)
        self.builds = Builds(self.config, self.engines, self.fleet, versus, tell)

    def _plan(self) -> None:
        """What models will take, and how right that was."""
        self.planning = Planning(
            self.config,
            rooms=(self.store, self.catalog, self.engines),
            machine=self._machine,
            free=self.launching.room,
            history=History(self.config.home),
            tune=self.tunings.apply,
        )
        self.scoring = Scoring(self.planning, self.fleet.loaded)
        self.ears.measuring.append(self.scoring.measured)

    def _answer(self) -> None:
        """The way of a request."""
        fetch, keep_alive = self.config.fetch, self.config.fleet.keep_alive
        self.attachments = Attachments(hosts=fetch.hosts, size=fetch.size, timeout=fetch.timeout)
        self.sharing = Sharing(
            self.looks, keep_alive=keep_alive, tell=self.journal.write, apart=self.engines.claimed
        )
        bring, engines = self.attachments.bring, self.engines
        entries = Open(self.scoring.hearing(self.ears.closed))
        self.running = Running(entries, self.fleet.waited)
        self.runtime = Runtime(
            resolve=self.looks.resolve,
            check=catalog.check,
            dress=self.sharing.dress,
            prepare=Prepare(bring, render_template, engines.grammars, engines.reachable),
            route=self.sharing.route,
            lease=self.fleet.lease,
            unload=Unloading(self.catalog, self.fleet, self.sharing.host),
            open=entries,
        )

    def _policy(self) -> store.Policy:
        """What the configuration lets pulls do."""
        settings = self.config.store
        return store.Policy(
            hosts=settings.pull_hosts,
            rate=store.Throttle(settings.pull_rate),
            streams=max(1, settings.pull_streams),
            stall=settings.pull_stall,
            room=self._memory,
            folders=tuple(Path(folder).expanduser() for folder in settings.model_folders),
            environ=_environ(
                {
                    "INHOUSE_OLLAMA_REGISTRY": settings.ollama_registry,
                    "INHOUSE_REGISTRY_TOKEN": settings.registry_token,
                    "INHOUSE_REGISTRY_REALMS": settings.registry_realms,
                }
            ),
        )

    def _memory(self) -> int:
        return self.launching.memory()

    def app(self, *, loopback: bool, activity: Activity) -> Guard:
        """The guarded ASGI application."""
        keys = server.Keys.of(self.config.server)
        services = server.Services(
            config=self.config,
            runtime=self.runtime,
            catalog=self.catalog,
            store=self.store,
            fleet=self.fleet,
            meter=self.meter,
            archive=self.archive,
            background=server.Background(touch=activity.touch),
            measuring=self.measuring,
            tuner=self.tuner,
            machine=Hardware(
                self.config, self.engines, self.workshop, lambda: len(self.catalog.cards())
            ).report,
            draining=lambda: self.stopping,
            builds=self.builds,
            journal=self.journal,
            traces=self.traces,
            running=self.running,
            plan=self.planning.answer,
            prompts=self.connecting,
            token=self.token,
            keys=keys,
        )
        app = server.App(services)
        return Guard(app, self.config.server, loopback=loopback, touch=activity.touch, keys=keys)
