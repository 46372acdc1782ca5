"""Servers on loopback, in threads of this process, that leave nothing behind.

``with Loopback(Handler) as server:`` serves on a free port; each connection has a thread. At the end all
connections are cut, whatever their threads wait for, and all threads are joined: no later test finds a
socket of an earlier one, and a handler that hangs fails the test that it belongs to.
"""

from __future__ import annotations

import contextlib
import select
import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any, Self

LEAVING = 20.0
"""Seconds that all handlers together have to end once they were cut off."""


class Loopback(socketserver.ThreadingTCPServer):
    """``handler`` is a class as ``socketserver`` wants it, or a function that is given each connection.

    With ``context`` set, connections begin with TLS.
    """

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64
    context: ssl.SSLContext | None = None

    def __init__(
        self,
        handler: type[socketserver.BaseRequestHandler] | Callable[[socket.socket], None],
        host: str = "127.0.0.1",
    ) -> None:
        super().__init__((host, 0), handler if isinstance(handler, type) else _plain(handler))
        self._guests: dict[threading.Thread, socket.socket] = {}
        self._gate = threading.Lock()
        self._leaving = False
        self._serving = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @property
    def authority(self) -> str:
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._serving.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._serving.join()
        self.server_close()
        with self._gate:
            self._leaving = True
            guests = dict(self._guests)
            for guest in guests.values():
                with contextlib.suppress(OSError):  # gone already
                    socket.socket.shutdown(guest, socket.SHUT_RDWR)
        deadline = time.monotonic() + LEAVING
        for thread in guests:
            thread.join(max(0.0, deadline - time.monotonic()))
        stuck = [thread.name for thread in guests if thread.is_alive()]
        assert not stuck, f"handlers do not end: {stuck}"

    def process_request(self, request: Any, client_address: Any) -> None:
        thread = threading.Thread(
            target=self.process_request_thread, args=(request, client_address), daemon=True
        )
        with self._gate:
            self._guests = {guest: sock for guest, sock in self._guests.items() if guest.is_alive()}
            thread.start()
            self._guests[thread] = request

    def finish_request(self, request: Any, client_address: Any) -> None:
        if not self.context:
            super().finish_request(request, client_address)
            return
        with self.context.wrap_socket(request, server_side=True, do_handshake_on_connect=False) as secure:
            with self._gate:  # the plain one is an empty shell now
                self._guests[threading.current_thread()] = secure
                if self._leaving:
                    return
            secure.do_handshake()
            super().finish_request(secure, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that leave are no news."""


def _plain(answer: Callable[[socket.socket], None]) -> type[socketserver.BaseRequestHandler]:
    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            answer(self.request)

    return Handler


def relay(one: socket.socket, other: socket.socket) -> None:
    """Hand on what either says until one of them ends."""
    while True:
        for ready in select.select([one, other], [], [])[0]:
            data = ready.recv(65536)
            if not data:
                return
            (other if ready is one else one).sendall(data)
