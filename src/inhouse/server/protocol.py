"""uvicorn's HTTP protocol, taught that half of a connection may close.

A client may shut down its writing side after the request and still wait for the answer (row 36 of
the fault table). TCP cannot tell that from a client that has gone, until something is written: so
while the answer has not begun, interim ``100 Continue`` lines (RFC 9110 §15.2: a client skips
them) are written now and then; a client that is gone answers with a reset, which ends the request.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_PROBE = b"HTTP/1.1 100 Continue\r\n\r\n"
_EVERY = 0.4


class HalfCloseProtocol(HttpToolsProtocol):
    """Keeps the connection when the client's writing side closes while an answer is due."""

    _probe: asyncio.TimerHandle | None = None

    def eof_received(self) -> bool | None:  # type: ignore[override]
        cycle = self.cycle
        if cycle is None or cycle.response_complete or cycle.more_body:
            return None
        if self.scope["http_version"] != "1.1":  # older clients know no interim answers
            return None
        cycle.keep_alive = False
        self._ask()
        return True

    def _ask(self) -> None:
        cycle = self.cycle
        if self.transport.is_closing() or cycle.response_complete:
            return
        if not cycle.response_started:
            self.transport.write(_PROBE)
        self._probe = self.loop.call_later(_EVERY, self._ask)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._probe is not None:
            self._probe.cancel()
        super().connection_lost(exc)
