"""Listening, serving and stopping: uvicorn with our protocol and our signals."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import math
import signal
import socket
import sys
from collections.abc import Callable, Generator
from types import FrameType
from typing import Any

import uvicorn

from ..config import Server as Settings
from ..config.keys import api_keys
from ..core.errors import Conflict, Forbidden
from .protocol import HalfCloseProtocol


def is_loopback(host: str) -> bool:
    """Whether listening on ``host`` reaches loopback only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_public(settings: Settings, host: str) -> None:
    """Raise Forbidden where anyone on the network could use the server and nobody said so."""
    if is_loopback(host) or api_keys(settings) or settings.allow_public:
        return
    raise Forbidden(
        f"listening on {host} without a key would let anyone on the network use this server",
        hint="Set INHOUSE_API_KEY, or INHOUSE_ALLOW_PUBLIC=1 if that is what you want.",
    )


def bind(host: str, port: int, *, fall_back: bool = False) -> socket.socket:
    """A listening socket; with ``fall_back`` any free port when ``port`` is taken. Raises Conflict."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for candidate in (port, 0) if fall_back else (port,):
        sock = socket.socket(family, socket.SOCK_STREAM)
        if sys.platform != "win32":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((host, candidate))
            sock.listen(1024)
        except OSError as error:
            sock.close()
            reason = error.strerror or str(error)
            if candidate == port and fall_back:
                continue
            raise Conflict(
                f"cannot listen on {host}:{port}: {reason}",
                hint="Stop what uses the port, or choose another with --port or INHOUSE_HOST.",
            ) from error
        sock.setblocking(False)
        return sock
    raise AssertionError("unreachable")


class Server(uvicorn.Server):
    """Signals: the first asks to drain, the second means now. The exit code stays 0."""

    def __init__(self, config: uvicorn.Config, stopping: Callable[[], None]) -> None:
        super().__init__(config)
        self._stopping = stopping

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        kinds = [signal.SIGINT, signal.SIGTERM]
        before = {kind: signal.signal(kind, self.handle_exit) for kind in kinds}
        try:
            yield
        finally:
            for kind, handler in before.items():
                signal.signal(kind, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit:
            self.force_exit = True
        self.stop()

    def stop(self) -> None:
        self._stopping()
        self.should_exit = True


def make_server(app: Any, *, drain_timeout: float, stopping: Callable[[], None]) -> Server:
    """A configured server; run it with ``await server.serve(sockets=[sock])``.

    ``stopping`` is called when a signal asks to stop; running answers then have ``drain_timeout`` seconds.
    """
    config = uvicorn.Config(
        app,
        http=HalfCloseProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=None if math.isinf(drain_timeout) else math.ceil(drain_timeout),
        backlog=1024,
    )
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    return Server(config, stopping)
