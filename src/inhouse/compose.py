"""The composition root: wires everything, knows everybody, decides nothing."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import json
import logging
import os
import secrets
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import filelock

from . import __version__, catalog, machine, router, server, store
from .archive import Archive
from .attachments import Attachments
from .config import Config, listen
from .core.engine import Launch
from .core.errors import Conflict, Forbidden
from .core.models import Card
from .core.requests import LoadOptions
from .engines import registry
from .engines.recipe import Room
from .fleet import Fleet, FleetSettings
from .ledger import Meter
from .prepare import Prepare
from .runtime import Runtime
from .server import logs
from .server.guard import Guard
from .server.manage.templating import render_template
from .upstream import WorkerEngine
from .workshop import Workshop

log = logging.getLogger("inhouse.server")

BUSY_HOME = 75
"""Exit code when another server already uses the home (EX_TEMPFAIL of sysexits.h)."""


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
        self.meter = Meter()
        self.stopping = False
        self._sockets = sockets
        self._machine = machine.detect()
        self.recipe = registry.choose(config.engine, state=config.home)
        self.token = secrets.token_hex(32)
        converter = {"INHOUSE_CONVERTER": config.engine.converter}
        self.workshop = Workshop(config.engine, config.home, _environ(converter))
        self.store = store.Store(
            config.home,
            policy=self._policy(),
            workshop=self.workshop,
            build=self.recipe.build,
        )
        self.catalog = catalog.Catalog(self.store, self.recipe.cards())
        self.archive = Archive(config.home / "kept", days=config.keep.days, most=config.keep.max)
        fleet = config.fleet
        self.fleet = Fleet(
            launch=self._launch,
            connect=self._connect,
            settings=FleetSettings(
                keep_alive=fleet.keep_alive,
                max_loaded=fleet.max_loaded,
                memory=self._memory(),
                max_queue=fleet.max_queue,
                queue_timeout=fleet.queue_timeout,
                load_timeout=fleet.load_timeout,
                hang_timeout=fleet.hang_timeout,
                log_dir=config.home / "logs",
            ),
            observer=self.meter,
        )
        fetch = config.fetch
        self.attachments = Attachments(hosts=fetch.hosts, size=fetch.size, timeout=fetch.timeout)
        self.runtime = Runtime(
            resolve=self.catalog.resolve,
            check=catalog.check,
            dress=functools.partial(catalog.dress, keep_alive=fleet.keep_alive),
            prepare=Prepare(self.attachments.bring, render_template, self.recipe.grammars),
            route=router.route,
            lease=self.fleet.lease,
            stop=self.fleet.stop,
            sink=self.meter.record,
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
        return self.config.fleet.memory or int(self._machine.memory_available * 0.8)

    def _launch(self, card: Card, options: LoadOptions) -> Launch:
        """How to start a worker for ``card``; called in a thread."""
        if card.files:
            self.store.check(card)
        room = Room(memory=self._memory(), cores=self._machine.physical_cores)
        address, secret = self._address()
        return self.recipe.launch(card, options, room=room, address=address, secret=secret)

    def _address(self) -> tuple[str, str]:
        if sys.platform == "win32":
            with contextlib.closing(server.bind("127.0.0.1", 0)) as probe:
                return f"127.0.0.1:{probe.getsockname()[1]}", secrets.token_hex(32)
        return str(self._sockets / f"{secrets.token_hex(6)}.sock"), ""

    def _connect(self, card: Card, launch: Launch) -> WorkerEngine:
        return WorkerEngine(card, launch)

    def report(self) -> dict[str, Any]:
        """Hardware, engines and findings, for ``inhouse doctor``. Blocking."""
        now = machine.detect()
        available = registry.available(self.config.engine, state=self.config.home)
        found = machine.findings(
            now,
            engines=[asdict(one) for one in available],
            tools=[asdict(one) for one in self.workshop.tools()],
            home=self.config.home,
            models=len(self.catalog.cards()),
        )
        return {
            "version": __version__,
            "machine": asdict(now),
            "engines": [asdict(one) for one in available],
            "engine": self.recipe.name,
            "findings": [asdict(one) for one in found],
        }

    def app(self, *, loopback: bool, activity: Activity) -> Guard:
        """The guarded ASGI application."""
        services = server.Services(
            config=self.config,
            runtime=self.runtime,
            catalog=self.catalog,
            store=self.store,
            fleet=self.fleet,
            meter=self.meter,
            archive=self.archive,
            background=server.Background(touch=activity.touch),
            machine=self.report,
            draining=lambda: self.stopping,
            build={"engine": self.recipe.name, "engine_build": self.recipe.build},
            token=self.token,
        )
        return Guard(server.App(services), self.config.server, loopback=loopback, touch=activity.touch)


def private_folder(home: Path) -> Path:
    """A folder for sockets that only we can enter; leftovers of an earlier server are removed.

    A socket path may have about 100 bytes, so it does not lie under the home.
    """
    if sys.platform == "win32":
        return home
    base = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    name = hashlib.sha256(str(home).encode()).hexdigest()[:12]
    folder = Path(base) / f"inhouse-{os.getuid()}-{name}"
    with contextlib.suppress(FileExistsError, OSError):
        folder.mkdir(mode=0o700)
    try:
        facts = folder.lstat()
        ours = folder.is_dir() and not folder.is_symlink() and facts.st_uid == os.getuid()
        if not ours or facts.st_mode & 0o077:
            raise OSError("not ours")
        for old in folder.glob("*.sock"):
            old.unlink(missing_ok=True)
    except OSError:
        return Path(tempfile.mkdtemp(prefix="inhouse-"))
    return folder


def _check_public(config: Config, host: str) -> None:
    if server.is_loopback(host) or config.server.api_key or config.server.allow_public:
        return
    raise Forbidden(
        f"listening on {host} without a key would let anyone on the network use this server",
        hint="Set INHOUSE_API_KEY, or INHOUSE_ALLOW_PUBLIC=1 if that is what you want.",
    )


@contextlib.asynccontextmanager
async def _announced(config: Config, address: tuple[str, int], token: str) -> AsyncGenerator[None, None]:
    """Tell the command line where this server is, while it runs, and how to prove that it may read this."""
    path = config.home / "server.json"
    facts = {"host": address[0], "port": address[1], "pid": os.getpid(), "version": __version__}
    aside = path.with_suffix(".tmp")
    aside.unlink(missing_ok=True)
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(json.dumps({**facts, "token": token}))
    aside.replace(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


async def _end_when_idle(limit: float, activity: Activity, stop: Any) -> None:
    while activity.idle() < limit:
        await asyncio.sleep(min(1.0, limit / 4))
    log.info("no request for %.0f s: ending", limit)
    stop()


async def _serve(config: Config, house: House, sock: Any) -> None:
    activity = Activity()
    host, port = sock.getsockname()[:2]

    def stopping() -> None:
        house.stopping = True

    app = house.app(loopback=server.is_loopback(host), activity=activity)
    running = server.make_server(app, drain_timeout=config.server.drain_timeout, stopping=stopping)
    tasks = []
    if config.server.idle_exit:
        tasks.append(asyncio.create_task(_end_when_idle(config.server.idle_exit, activity, running.stop)))
    async with _announced(config, (host, port), house.token):
        log.info(
            "Inhouse %s listens on http://%s:%d", __version__, host if ":" not in host else f"[{host}]", port
        )
        try:
            await running.serve(sockets=[sock])
        finally:
            for task in tasks:
                task.cancel()
            await house.fleet.close()
            await house.store.close()
            await house.archive.close()
            house.attachments.close()


def serve(config: Config, *, background: bool = False) -> int:
    """Run the server until it is told to stop; returns the exit code. Raises InhouseError.

    With ``background`` a taken port is replaced by a free one.
    """
    logs.setup(config.log)
    host, port = listen(config.server.host)
    _check_public(config, host)
    try:
        config.home.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(config.home / "server.lock", blocking=False)
        lock.acquire()
    except filelock.Timeout:
        log.error("another Inhouse server already uses this home")
        return BUSY_HOME
    except OSError as error:
        raise Conflict(
            f"cannot use the home folder: {error.strerror}", hint="Set INHOUSE_HOME to a folder of yours."
        ) from error
    with lock:
        sock = server.bind(host, port, fall_back=background)
        house = House(config, private_folder(config.home))
        loop: Any = None
        if sys.platform != "win32":
            import uvloop

            loop = uvloop.new_event_loop
        with asyncio.Runner(loop_factory=loop) as runner:
            runner.run(_serve(config, house, sock))
    return 0


__all__ = ["Activity", "House", "serve"]
