"""A socket whose every wait is short, so that a stop is noticed and a silent peer is given up."""

from __future__ import annotations

import http.client
import io
import selectors
import socket
import ssl
import time
from base64 import b64encode
from collections.abc import Callable
from typing import Final
from urllib.parse import unquote_to_bytes

from ..core.errors import SourceFailed
from .gate import Hop, Proxy

SLICE: Final = 0.2
CONNECT_TIMEOUT: Final = 10.0
SEND: Final = 2**18
READ: Final = 2**16


class Broken(Exception):
    """A connection failed in a way that another try may mend.

    ``sent``: the request may have reached the other side. ``retry_after``: seconds it asked for.
    """

    def __init__(self, reason: str, *, sent: bool = True, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.sent = sent
        self.retry_after = retry_after


class NoRanges(Broken):
    """The whole file came where a range of it was asked for."""


class Line:
    """A connection. ``tick`` is called at least five times a second during every wait; what it raises
    ends the wait. ``stall``: seconds without a byte after which Broken is raised. ``until``: the time
    (monotonic) at which patience ends altogether, 0 for never."""

    def __init__(self, sock: socket.socket, tick: Callable[[], None], stall: float) -> None:
        self.sock = sock
        self.tick = tick
        self.stall = stall
        self.until = 0.0
        sock.settimeout(SLICE)

    def makefile(self, mode: str) -> io.BufferedReader:
        """What ``http.client`` reads an answer from; closing it leaves the connection open."""
        return io.BufferedReader(_Raw(self), READ)

    def receive(self, view: memoryview) -> int:
        """Read some bytes, 0 at the end of the stream. Raises Broken."""
        began = time.monotonic()
        while True:
            self.tick()
            try:
                count = self.sock.recv_into(view)
            except TimeoutError:
                self._patience(began)
                continue
            except OSError as error:
                raise Broken(f"connection lost: {error}") from error
            if self.until:
                self._patience(began)
            return count

    def send(self, data: bytes | memoryview) -> None:
        """Write all of it. Raises Broken."""
        view = memoryview(data)
        began = time.monotonic()
        while view:
            self.tick()
            try:
                count = self.sock.send(view[:SEND])
                view, began = view[count:], time.monotonic()
            except TimeoutError:
                self._patience(began)
            except OSError as error:
                raise Broken(f"connection lost: {error}") from error

    def secure(self, context: ssl.SSLContext, host: str) -> None:
        """Begin TLS and check that the certificate is ``host``'s. Raises Broken, SourceFailed."""
        self.sock = context.wrap_socket(self.sock, server_hostname=host, do_handshake_on_connect=False)
        self.sock.settimeout(SLICE)
        began = time.monotonic()
        while True:
            self.tick()
            try:
                self.sock.do_handshake()
                return
            except TimeoutError:
                self._patience(began)
            except ssl.SSLCertVerificationError as error:
                raise SourceFailed(
                    "The certificate of this source is not trusted.",
                    hint="For a company's own authority set SSL_CERT_FILE; otherwise somebody is in between.",
                    detail=f"{host}: {error.verify_message}",
                ) from error
            except OSError as error:
                raise Broken(f"no TLS: {error}", sent=False) from error

    def close(self) -> None:
        self.sock.close()

    def _patience(self, began: float) -> None:
        now = time.monotonic()
        if now - began > self.stall or (self.until and now > self.until):
            raise Broken("no bytes came")


class _Raw(io.RawIOBase):
    def __init__(self, line: Line) -> None:
        self._line = line

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        return self._line.receive(buffer)


def connect(hop: Hop, context: ssl.SSLContext, tick: Callable[[], None], stall: float) -> Line:
    """Connect to exactly the addresses of a hop, in turn. Raises Broken, SourceFailed."""
    if hop.proxy:
        host, port = hop.proxy.url.host, hop.proxy.url.port
        places = _lookup(host, port)
    else:
        places = [(address, hop.url.port) for address in hop.addresses]
    failed: Broken | None = None
    for place in places:
        try:
            line = Line(_dial(*place, tick), tick, stall)
        except Broken as error:
            failed = error
            continue
        try:
            if hop.proxy and hop.url.scheme == "https":
                _tunnel(line, hop, hop.proxy)
            if hop.url.scheme == "https":
                line.secure(context, hop.url.host)
        except BaseException:
            line.close()
            raise
        return line
    raise failed or Broken("no address", sent=False)


def _lookup(host: str, port: int) -> list[tuple[str, int]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise Broken(f"the proxy was not found: {error}", sent=False) from error
    return [(str(place[0]), port) for *_, place in found]


def _dial(host: str, port: int, tick: Callable[[], None]) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.connect_ex((host, port))
        deadline = time.monotonic() + CONNECT_TIMEOUT
        with selectors.DefaultSelector() as waits:
            waits.register(sock, selectors.EVENT_WRITE)
            while not waits.select(SLICE):
                tick()
                if time.monotonic() > deadline:
                    raise TimeoutError("timed out")
        if code := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(code, f"error {code}")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:
        sock.close()
        raise Broken(f"no connection: {error}", sent=False) from error
    except BaseException:
        sock.close()
        raise
    return sock


def _tunnel(line: Line, hop: Hop, proxy: Proxy) -> None:
    """Ask an HTTP proxy for a way through (RFC 9110, 9.3.6)."""
    host = f"[{hop.url.host}]" if ":" in hop.url.host else hop.url.host
    place = f"{host}:{hop.url.port}"
    lines = [f"CONNECT {place} HTTP/1.1", f"Host: {place}"]
    if proxy.secret:
        lines.append(f"Proxy-Authorization: {basic(proxy.secret)}")
    line.send(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
    answer = http.client.HTTPResponse(line, method="CONNECT")  # type: ignore[arg-type]
    try:
        answer.begin()
    except http.client.HTTPException as error:
        raise Broken(f"the proxy broke: {type(error).__name__}", sent=False) from error
    if answer.status != http.client.OK:
        raise SourceFailed(
            f"The proxy refused the connection (HTTP {answer.status}).",
            hint="Check HTTPS_PROXY, or except the host with NO_PROXY.",
            detail=place,
        )


def basic(secret: str) -> str:
    """The credentials ``user:password`` of a proxy's address as a header's value."""
    return "Basic " + b64encode(unquote_to_bytes(secret)).decode("ascii")
