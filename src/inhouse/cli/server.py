"""Find the server, or start one in the background that goes away by itself when idle.

A running server writes ``<home>/server.json`` with its host, port, pid and version. One that was
started here logs to ``<home>/logs/server.log``. Two callers that start one at once are settled by
the lock the server holds: the loser exits with 0 or 75 and its caller uses the winner.
"""

from __future__ import annotations

import enum
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from ..config import Config, listen
from ..config.keys import api_keys
from ..core.errors import BadRequest, Busy, InhouseError, ServerUnreachable
from .client import Client, unreachable

IDLE_EXIT = "10m"
START_TIMEOUT = 60.0
_ALREADY_RUNS = (0, 75)  # EX_TEMPFAIL: another server holds this home
_RETRY = 0.5
_LOG_LIMIT = 5 * 2**20
_TAIL = 10

Tick = Callable[[], None]


class Place(enum.Enum):
    """What stands at an address."""

    OURS = "an Inhouse server that takes requests"
    EMPTY = "nothing listens"
    STOPPING = "an Inhouse server that is going away"
    STRANGE = "something else answers"


def connect(config: Config, tick: Tick | None = None) -> Client:
    """The server that the settings mean, started if need be. Raises ServerUnreachable."""
    client = _named(config) or _recorded(config)
    place = probe(client) if client is not None else Place.EMPTY
    if client is not None and place is Place.OURS:
        return client
    if client is not None and _is_named(config):
        if place is Place.STRANGE:
            raise ServerUnreachable(
                "what listens there is no Inhouse server", detail=client.address, hint="Check INHOUSE_HOST."
            )
        if not _is_loopback(client.host):
            raise unreachable(client.address, ConnectionRefusedError())
    return _start(config, tick)


def find(config: Config, *, timeout: float = 5.0) -> Client | None:
    """The running server or None; starts nothing. Raises ServerUnreachable for one that hangs."""
    client = _named(config) or _recorded(config)
    return client if client is not None and probe(client, timeout) is Place.OURS else None


def stop(config: Config, *, timeout: float = 60.0) -> bool:
    """Ask the server of this home to drain and end, and wait for it; False when none runs.

    Raises ServerUnreachable when it does not end in time.
    """
    record, client = record_of(config.home), _recorded(config)
    if record is None or client is None or probe(client) is not Place.OURS:
        return False  # a pid without a server that answers may be anybody's by now
    import psutil  # dear to import, and only wanted here

    pid, deadline = record.get("pid"), time.monotonic() + timeout
    if not isinstance(pid, int) or pid <= 1:  # 0 and below would mean whole groups
        return False
    os.kill(pid, signal.SIGTERM)
    while record_of(config.home) == record and psutil.pid_exists(pid):
        if time.monotonic() > deadline:
            raise ServerUnreachable("the server does not end", hint="Its requests may be long; try again.")
        time.sleep(0.05)
    return True


def _is_named(config: Config) -> bool:
    """Whether the address was set, by whatever means: then the server is there and nowhere else."""
    return config.origins.get("server.host", "default") != "default"


def _named(config: Config) -> Client | None:
    """The server at the address that was set."""
    if not _is_named(config):
        return None
    text = config.server.host
    host, port = listen(text)
    return _client(config, host, port, tls=text.startswith("https://"))


def _recorded(config: Config) -> Client | None:
    """The server that wrote itself down in the home."""
    record = record_of(config.home)
    try:
        return _client(config, str(record["host"]), int(record["port"])) if record else None
    except (KeyError, TypeError, ValueError):
        return None


def record_of(home: Path) -> dict[str, Any] | None:
    """What ``server.json`` says, None where there is none or it is being written."""
    try:
        record = json.loads((home / "server.json").read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def _client(config: Config, host: str, port: int, *, tls: bool = False) -> Client:
    everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 (not bound here)
    host = everywhere.get(host, host)
    token = _token(config.home, port) if _is_loopback(host) and not tls else ""
    return Client(host, port, key=_key(config), tls=tls, token=token)


def _key(config: Config) -> str:
    """The first of the keys, if they can be read here."""
    try:
        return next((key.secret for key in api_keys(config.server)), "")
    except BadRequest:
        return ""


def _token(home: Path, port: int) -> str:
    """What the server of this home wrote down for its own user, if that is the one meant."""
    record = record_of(home) or {}
    return str(record.get("token") or "") if record.get("port") == port else ""


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


def probe(client: Client, timeout: float = 5.0) -> Place:
    """What is at a client's address. Raises ServerUnreachable for what is silent or far away."""
    try:
        answer = client.get("/health", timeout=timeout)
    except ServerUnreachable as error:
        if isinstance(error.__cause__, ConnectionError):
            return Place.EMPTY
        if isinstance(error.__cause__, http.client.HTTPException):
            return Place.STRANGE
        raise
    except Busy:
        return Place.STOPPING
    except InhouseError:
        return Place.STRANGE
    ours = isinstance(answer, dict) and answer.get("status") == "ok" and "version" in answer
    return Place.OURS if ours else Place.STRANGE


def _start(config: Config, tick: Tick | None) -> Client:
    """Start a server and wait until it answers; whoever else starts one at the same time is welcome."""
    log = _log_file(config.home)
    began = log.stat().st_size if log.exists() else 0
    deadline = time.monotonic() + START_TIMEOUT
    child: subprocess.Popen[bytes] | None = None
    spawn_at = 0.0
    while (now := time.monotonic()) < deadline:
        client = _named(config) or _recorded(config)
        if client is not None and probe(client) is Place.OURS:
            return _named(config) or _recorded(config) or client  # its token may have come only now
        if child is None and now >= spawn_at:
            child = _spawn(config, log)
        code = child.poll() if child else None
        if code in _ALREADY_RUNS:
            # The winner is starting, or an old one is leaving: then the place is free in a moment.
            child, spawn_at = None, now + _RETRY
        elif code is not None:
            raise _failed(f"the server ended at once with exit code {code}", log, began)
        if tick:
            tick()
        time.sleep(0.03)
    if child is not None:
        child.terminate()
    raise _failed(f"the server did not answer within {START_TIMEOUT:.0f} seconds", log, began)


def _spawn(config: Config, log: Path) -> subprocess.Popen[bytes]:
    """One server process of its own session, so that no Ctrl-C of this terminal reaches it."""
    # -P: the working folder must not be searched for modules.
    command = [sys.executable, "-P", "-m", "inhouse", "serve"]
    if not _is_named(config):
        command.append("--background")  # any free port will do: the server writes down which
    if config.origins.get("server.idle_exit", "default") == "default":
        command += ["--idle-exit", IDLE_EXIT]
    with _open_log(log) as out:
        if sys.platform == "win32":
            flags = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=config.home,
                creationflags=flags,
            )
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=config.home, start_new_session=True
        )


def _log_file(home: Path) -> Path:
    """The log's path, with its folder; a large old log steps aside."""
    log = home / "logs" / "server.log"
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        log.parent.mkdir(mode=0o700, exist_ok=True)
        if log.exists() and log.stat().st_size > _LOG_LIMIT:
            log.replace(log.with_suffix(".log.1"))
    except OSError as error:
        raise _no_home(error) from error
    return log


def _open_log(log: Path) -> IO[bytes]:
    try:
        return open(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab")
    except OSError as error:
        raise _no_home(error) from error


def _no_home(error: OSError) -> ServerUnreachable:
    return ServerUnreachable(
        "no server runs and none can be started: the home folder cannot be written",
        detail=str(error),
        hint="Set INHOUSE_HOME to a folder of yours.",
    )


def _failed(cause: str, log: Path, began: int) -> ServerUnreachable:
    """The error with what the server said before it ended."""
    try:
        text = log.read_bytes()[began:].decode("utf-8", "replace")
    except OSError:
        text = ""
    lines = [line for line in text.splitlines() if line.strip()]
    return ServerUnreachable(cause, detail="\n".join(lines[-_TAIL:]), hint=f"The whole log: {log}")
