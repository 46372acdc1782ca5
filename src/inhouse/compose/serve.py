"""Runs a house as a server: the lock, the socket, the loop, the end."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import os
import sys
import tempfile
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import filelock

from .. import __version__, server
from ..config import Config, listen
from ..core.errors import Conflict
from ..journal import Diary
from ..server import logs
from .house import Activity, House
from .preload import preload

log = logging.getLogger("inhouse.server")

BUSY_HOME = 75
"""Exit code when another server already uses the home (EX_TEMPFAIL of sysexits.h)."""


def _socket_folder(home: Path) -> Path:
    """Where sockets of this home lie. A path may have about 100 bytes, so it is not under the home."""
    if sys.platform == "win32":
        return home
    base = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    name = hashlib.sha256(str(home).encode()).hexdigest()[:12]
    return Path(base) / f"inhouse-{os.getuid()}-{name}"


def leftovers(home: Path) -> list[str]:
    """What a server that did not end by itself left behind, for people."""
    sockets = len(list(_socket_folder(home).glob("*.sock")))
    left = ["server.json"] if (home / "server.json").exists() else []
    return left + ([f"{sockets} worker sockets"] if sockets else [])


def private_folder(home: Path) -> Path:
    """A folder for sockets that only we can enter; leftovers of an earlier server are removed."""
    folder = _socket_folder(home)
    if sys.platform == "win32":
        return folder
    with contextlib.suppress(FileExistsError, OSError):
        folder.mkdir(mode=0o700)
    try:
        facts = folder.lstat()
        ours = folder.is_dir() and not folder.is_symlink() and facts.st_uid == os.getuid()
        if not ours or facts.st_mode & 0o077:
            raise OSError("not ours")
        for old in (*folder.glob("*.sock"), *folder.glob("*.kernels.json*")):
            old.unlink(missing_ok=True)
    except OSError:
        return Path(tempfile.mkdtemp(prefix="inhouse-"))
    return folder


def _unusable(error: OSError) -> Conflict:
    reason = error.strerror or type(error).__name__
    return Conflict(
        f"cannot use the home folder: {reason}",
        hint="Set INHOUSE_HOME to a folder of yours with free space, or mend this one.",
    )


@contextlib.asynccontextmanager
async def _announced(config: Config, address: tuple[str, int], token: str) -> AsyncGenerator[None, None]:
    """Tell the command line where this server is, while it runs, and how to prove that it may read this."""
    path = config.home / "server.json"
    facts = {"host": address[0], "port": address[1], "pid": os.getpid(), "version": __version__}
    aside = path.with_suffix(".tmp")
    try:
        aside.unlink(missing_ok=True)
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(json.dumps({**facts, "token": token}))
        aside.replace(path)
    except OSError as error:
        raise _unusable(error) from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


async def _end_when_idle(limit: float, activity: Activity, stop: Any) -> None:
    while activity.idle() < limit:
        await asyncio.sleep(min(1.0, limit / 4))
    log.info("no request for %.0f s: ending", limit)
    stop()


async def _serve(config: Config, house: House, sock: Any, left: list[str]) -> None:
    activity = Activity()
    diary = Diary(house.journal)
    diary.begin([name for name, origin in config.origins.items() if origin != "default"], left)
    host, port = sock.getsockname()[:2]

    def stopping() -> None:
        house.stopping = True

    app = house.app(loopback=server.is_loopback(host), activity=activity)
    running = server.make_server(app, drain_timeout=config.server.drain_timeout, stopping=stopping)
    tasks = []
    if config.server.idle_exit:
        tasks.append(asyncio.create_task(_end_when_idle(config.server.idle_exit, activity, running.stop)))
    if config.fleet.preload:
        loading = preload(house.runtime, house.journal, config.fleet.preload)
        tasks.append(asyncio.create_task(loading))
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
            await house.builds.close()
            house.scoring.close()
            await house.archive.close()
            house.attachments.close()
            diary.end()
            for kept in (house.journal, house.traces):
                await asyncio.to_thread(kept.close)


def serve(config: Config, *, background: bool = False) -> int:
    """Run the server until it is told to stop; returns the exit code. Raises InhouseError.

    With ``background`` a taken port is replaced by a free one.
    """
    logs.setup(config.log)
    host, port = listen(config.server.host)
    server.check_public(config.server, host)
    try:
        config.home.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(config.home / "server.lock", blocking=False)
        lock.acquire()
    except filelock.Timeout:
        log.error("another Inhouse server already uses this home")
        return BUSY_HOME
    except OSError as error:
        raise _unusable(error) from error
    with lock:
        sock = server.bind(host, port, fall_back=background)
        left = leftovers(config.home)
        house = House(config, private_folder(config.home))
        loop: Any = None
        if sys.platform != "win32":
            import uvloop

            loop = uvloop.new_event_loop
        with asyncio.Runner(loop_factory=loop) as runner:
            runner.run(_serve(config, house, sock, left))
    return 0
