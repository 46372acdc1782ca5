"""A web server on loopback, in a thread, that can be told to misbehave.

``with FileServer({"/m.gguf": data}) as server: server.faults.append(Fault(truncate=1000, times=1))``.
It speaks HTTP/1.1 with ranges, If-Range, ETag and Last-Modified, keeps connections, and remembers
every request (``hits``) with the headers that came and the bytes that went.
"""

from __future__ import annotations

import hashlib
import http.server
import re
import socket
import ssl
import struct
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trustme

from .loopback import Loopback

CHUNK = 2**18
_AUTHORITY = trustme.CA()
_FOLDER = tempfile.TemporaryDirectory(prefix="inhouse-authority-")
CERTIFICATE = Path(_FOLDER.name) / "authority.pem"
"""An authority of this run that vouches for the name localhost; SSL_CERT_FILE may point here."""
_AUTHORITY.cert_pem.write_to_path(str(CERTIFICATE))
MODIFIED = "Tue, 06 Jan 2026 10:00:00 GMT"


@dataclass
class Hit:
    """One request: ``headers`` by lower-case name, ``status`` answered, body bytes ``sent`` and ``received``."""

    method: str
    path: str
    headers: dict[str, str]
    status: int = 0
    sent: int = 0
    received: bytes = b""

    @property
    def span(self) -> tuple[int, int | None] | None:
        """First and last byte asked for, None without a Range."""
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("range", ""))
        return (int(match[1]), int(match[2]) if match[2] else None) if match else None


@dataclass
class Fault:
    """What to do wrong, ``times`` times (None: always), to requests of ``path`` that ``when`` agrees to.

    ``status`` with ``body`` and ``headers`` replaces the answer; ``redirect`` is its Location. Otherwise
    the file is sent, but: ``stall`` after so many bytes silent until the server ends; ``trickle`` after
    so many bytes one byte a ``pace`` seconds; ``truncate`` closes and ``reset`` resets after so many;
    ``length`` is the Content-Length claimed; ``extra`` bytes follow; ``no_ranges`` answers 200 with
    all; ``content_range`` replaces that header; ``etag`` and ``modified`` replace those ("" drops).
    ``endless`` sends chunks without an end. ``pace`` seconds per CHUNK slow down a normal answer.
    """

    path: str = ""
    times: int | None = None
    when: Callable[[Hit], bool] = lambda hit: True
    status: int = 0
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    redirect: str = ""
    stall: int | None = None
    trickle: int | None = None
    truncate: int | None = None
    reset: int | None = None
    length: int | None = None
    extra: bytes = b""
    no_ranges: bool = False
    content_range: str = ""
    etag: str | None = None
    modified: str | None = None
    endless: bool = False
    pace: float = 0.0
    silent: bool = False


class FileServer:
    """``files`` map paths (without query) to bytes or to a file. ``token``: bearer token that is needed.

    ``digests``: whether answers name the file's sha256 in X-Linked-Etag. ``put`` is what was uploaded.
    """

    def __init__(
        self, files: Mapping[str, bytes | Path] | None = None, *, tls: bool = False, host: str = "127.0.0.1"
    ) -> None:
        self.files: dict[str, bytes | Path] = dict(files or {})
        self.faults: list[Fault] = []
        self.hits: list[Hit] = []
        self.token = ""
        self.digests = False
        self.ended = threading.Event()
        self.host = host
        self.scheme = "https" if tls else "http"
        self._lock = threading.Lock()
        self._server = _Server(_Handler, host)
        self._server.owner = self
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            _AUTHORITY.issue_cert("localhost").configure_cert(context)
            self._server.context = context

    @property
    def port(self) -> int:
        return self._server.port

    @property
    def authority(self) -> str:
        return f"{self.host}:{self.port}"

    def url(self, path: str = "/", host: str = "") -> str:
        return f"{self.scheme}://{host or self.host}:{self.port}{path}"

    def __enter__(self) -> FileServer:
        self._server.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.ended.set()
        self._server.__exit__(*error)

    def sent(self, method: str = "GET") -> int:
        """Body bytes of all answers so far."""
        return sum(hit.sent for hit in self.hits if hit.method == method)

    def etag(self, path: str) -> str:
        """The ETag of a file as it is now (a hash of its own process, quick because Python keeps it)."""
        return f'"{hash(self.read(path)) % 2**64:016x}"'

    def read(self, path: str) -> bytes:
        data = self.files[path]
        return data if isinstance(data, bytes) else data.read_bytes()

    def fault_for(self, hit: Hit) -> Fault:
        """The first fault that fits; it counts as used."""
        with self._lock:
            self.hits.append(hit)
            for fault in self.faults:
                if fault.path in ("", hit.path.partition("?")[0]) and fault.times != 0 and fault.when(hit):
                    if fault.times is not None:
                        fault.times -= 1
                    return fault
        return Fault()


class _Server(Loopback):
    owner: FileServer


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        owner = self.server.owner
        path = re.sub(r"https?://[^/]+", "", self.path)  # a proxy is sent the whole address
        hit = Hit(self.command, path, {k.lower(): v for k, v in self.headers.items()})
        hit.received = self.rfile.read(int(hit.headers.get("content-length", 0)))
        fault = owner.fault_for(hit)
        if fault.silent:
            owner.ended.wait(60)
            self.close_connection = True
        elif owner.token and hit.headers.get("authorization") != f"Bearer {owner.token}":
            self._short(hit, 401, b"who are you?", {})
        elif fault.redirect:
            self._short(hit, fault.status or 302, fault.body, {"Location": fault.redirect, **fault.headers})
        elif fault.status:
            self._short(hit, fault.status, fault.body, fault.headers)
        elif fault.endless:
            self._endless(hit)
        elif hit.path.partition("?")[0] not in owner.files:
            self._short(hit, 404, b"no such file", {})
        else:
            self._file(hit, fault)

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def _start(self, hit: Hit, status: int, headers: Mapping[str, str]) -> None:
        hit.status = status
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _short(self, hit: Hit, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self._start(hit, status, {"Content-Length": str(len(body)), **headers})
        if self.command != "HEAD":
            hit.sent += self.wfile.write(body)

    def _endless(self, hit: Hit) -> None:
        self._start(hit, 200, {"Transfer-Encoding": "chunked"})
        while not self.server.owner.ended.is_set():
            self.wfile.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
            hit.sent += 0x10000

    def _file(self, hit: Hit, fault: Fault) -> None:
        owner, path = self.server.owner, hit.path.partition("?")[0]
        data = owner.read(path)
        etag = owner.etag(path) if fault.etag is None else fault.etag
        modified = MODIFIED if fault.modified is None else fault.modified
        headers = {"ETag": etag, "Last-Modified": modified, "Accept-Ranges": "bytes"}
        if owner.digests:
            headers["X-Linked-Etag"] = f'"{hashlib.sha256(data).hexdigest()}"'
        status, start, end = 200, 0, len(data)
        span = hit.span
        condition = hit.headers.get("if-range", "")
        if span and not fault.no_ranges and condition in ("", etag, modified):
            start, end = span[0], len(data) if span[1] is None else min(len(data), span[1] + 1)
            if start >= len(data):
                self._short(hit, 416, b"", {"Content-Range": f"bytes */{len(data)}"})
                return
            status = 206
            headers["Content-Range"] = fault.content_range or f"bytes {start}-{end - 1}/{len(data)}"
        if fault.no_ranges:
            del headers["Accept-Ranges"]
        headers["Content-Length"] = str(end - start if fault.length is None else fault.length)
        self._start(hit, status, {k: v for k, v in {**headers, **fault.headers}.items() if v})
        if self.command != "HEAD":
            self._body(hit, fault, data[start:end] + fault.extra)

    def _body(self, hit: Hit, fault: Fault, data: bytes) -> None:
        limits = [n for n in (fault.stall, fault.trickle, fault.truncate, fault.reset) if n is not None]
        view = memoryview(data)[: min(limits, default=len(data))]
        while view:
            count = self.request.send(view[:CHUNK])
            hit.sent += count
            view = view[count:]
            if fault.pace and self.server.owner.ended.wait(fault.pace):
                return
        self.close_connection = bool(limits) or bool(fault.extra) or fault.length is not None
        if fault.stall is not None:
            self.server.owner.ended.wait(60)
        elif fault.reset is not None:
            self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.request.close()
        elif fault.trickle is not None:
            for byte in data[fault.trickle :]:
                hit.sent += self.request.send(bytes([byte]))
                if self.server.owner.ended.wait(fault.pace or 1.0):
                    return
