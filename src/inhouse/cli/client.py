"""The server's HTTP API from here: whole JSON answers and NDJSON streams, on the standard library.

Foreign errors become ours at this border. A stream is read in a thread, so that Ctrl-C works on
every system (a blocked ``recv`` does not hear it on Windows) and a spinner can turn meanwhile.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import queue
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from .. import __version__
from ..core.errors import (
    BadRequest,
    Busy,
    Conflict,
    Forbidden,
    InhouseError,
    NotFound,
    ServerUnreachable,
    Unauthorized,
)

_TICK = 0.1  # seconds between turns of a spinner
_HINTS = {
    401: "Set INHOUSE_API_KEY to the server's key.",
    403: "Call the server by an address it knows; see INHOUSE_ALLOWED_HOSTS.",
    429: "Try again later.",
    503: "Try again later, or see what runs: inhouse ps",
}
_KINDS: dict[int, type[InhouseError]] = {
    400: BadRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    413: BadRequest,
    429: Busy,
    503: Busy,
}


class Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


class Client:
    """One server. Each call is a connection of its own: a command makes two or three.

    ``token`` is what the server of this user on this machine wrote down: with it paths may be named.
    """

    def __init__(self, host: str, port: int, *, key: str = "", tls: bool = False, token: str = "") -> None:
        if not key.isascii() or any(c in key for c in "\r\n"):
            raise BadRequest("the API key has characters that no key has", hint="Check INHOUSE_API_KEY.")
        self.host, self.port, self.tls = host, port, tls
        self._headers = {"User-Agent": f"inhouse/{__version__}", "Accept": "application/json"}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"
        self.is_local = bool(token)
        if token:
            self._headers["X-Inhouse-Local"] = token

    @property
    def address(self) -> str:
        """``host:port`` for people."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def get(self, path: str, *, timeout: float = 30.0) -> Any:
        """The JSON of a GET. Raises ServerUnreachable or what the server answered."""
        return self.call("GET", path, timeout=timeout)

    def call(self, method: str, path: str, body: Any = None, *, timeout: float | None = None) -> Any:
        """The JSON of a whole answer, None where it is empty; ``timeout`` seconds of silence at most."""
        sock, answer = self._send(method, path, body, timeout)
        with contextlib.closing(sock), contextlib.closing(answer), self._translated():
            text = answer.read()
        return _json(text) if text.strip() else None

    def stream(self, path: str, body: Any) -> Stream:
        """POST and read the answer line by line. Close the stream to cancel."""
        return Stream(self.address, *self._send("POST", path, body, None))

    def follow(self, path: str) -> Stream:
        """GET and read the answer line by line, for as long as it goes on."""
        return Stream(self.address, *self._send("GET", path, None, None))

    def upload(self, path: str, file: Readable, size: int) -> Any:
        """POST a file as it is; the JSON of the answer, None where it is empty."""
        with self._translated(), contextlib.closing(self._connection(None)) as connection:
            headers = self._headers | {
                "Content-Type": "application/octet-stream",
                "Content-Length": str(size),
            }
            # A refusal may come before the end of the body: what it says matters, not the broken pipe.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.request("POST", path, file, headers)
            answer = connection.getresponse()
            text = answer.read(2**20)
            if answer.status >= 300:
                raise _refusal(answer.status, text, None)
            return _json(text) if text.strip() else None

    @contextlib.contextmanager
    def download(self, path: str, body: Any) -> Iterator[http.client.HTTPResponse]:
        """POST and hand out the answer to be read in pieces."""
        sock, answer = self._send("POST", path, body, None)
        with contextlib.closing(sock), contextlib.closing(answer), self._translated():
            yield answer

    def has(self, path: str) -> bool:
        """Whether a HEAD finds something."""
        with self._translated(), contextlib.closing(self._connection(30.0)) as connection:
            connection.request("HEAD", path, headers=self._headers)
            return connection.getresponse().status < 300

    def _connection(self, timeout: float | None) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self.tls else http.client.HTTPConnection
        connection = kind(self.host, self.port, timeout=min(timeout or 10.0, 10.0))
        connection.connect()
        connection.sock.settimeout(timeout)
        return connection

    def _send(
        self, method: str, path: str, body: Any, timeout: float | None
    ) -> tuple[socket.socket, http.client.HTTPResponse]:
        with self._translated(), contextlib.ExitStack() as stack:
            connection = self._connection(timeout)
            stack.callback(connection.close)
            # Kept by ourselves: http.client forgets its socket when the server wants to close.
            sock: socket.socket = connection.sock
            payload = None if body is None else json.dumps(body).encode()
            headers = self._headers | ({"Content-Type": "application/json"} if payload else {})
            connection.request(method, path, payload, headers)
            answer = connection.getresponse()
            if answer.status >= 300:
                advice = answer.headers.get("x-inhouse-hint", "")
                raise _refusal(answer.status, answer.read(2**20), body, advice)
            stack.pop_all()
        return sock, answer

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (OSError, UnicodeError, http.client.HTTPException) as error:
            raise unreachable(self.address, error) from error


class Stream:
    """The lines of one NDJSON answer. Not for two threads at once."""

    def __init__(self, address: str, sock: socket.socket, answer: http.client.HTTPResponse) -> None:
        self._address, self._socket, self._answer = address, sock, answer
        # The answer of one request at the most, so the queue needs no bound.
        self._lines: queue.SimpleQueue[bytes | BaseException] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        try:
            while line := self._answer.readline():
                self._lines.put(line)
            self._lines.put(b"")
        except (OSError, ValueError, AttributeError, http.client.HTTPException) as error:
            # ValueError and AttributeError are how http.client reports being closed under a read.
            self._lines.put(error)

    def events(self, tick: Callable[[], None] | None = None) -> Iterator[dict[str, Any]]:
        """Objects as they come; ``tick`` is called in silent times. Raises what the server reports."""
        while True:
            try:
                line = self._lines.get(timeout=_TICK)
            except queue.Empty:
                if tick:
                    tick()
                continue
            if isinstance(line, BaseException):
                raise unreachable(self._address, line) from line
            if not line:
                return
            if not line.strip():
                continue
            event = _json(line)
            if not isinstance(event, dict):
                raise InhouseError("the server's answer is not understood", hint=_OTHER)
            if "error" in event:
                message, hint = _texts(event)
                missing = "not found" in message or "does not exist" in message
                raise (NotFound if missing else InhouseError)(message, hint=hint)
            yield event

    def close(self) -> None:
        """Hang up; the server takes that as a cancel. Harmless when the answer is over."""
        # Shut down first: closing a buffered reader would wait for the thread that reads it.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._answer.close()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_OTHER = "Is it an Inhouse server? See: inhouse doctor"


def unreachable(address: str, error: BaseException) -> ServerUnreachable:
    """What a broken connection means to the one who types."""
    hint = "Start one with: inhouse serve"
    if isinstance(error, ConnectionRefusedError):
        cause = "no server listens there"
    elif isinstance(error, TimeoutError):
        cause, hint = "it does not answer in time", "It may be busy or stuck; stop it and start another."
    elif isinstance(error, socket.gaierror):
        cause = "there is no such host"
    else:
        cause = "the connection broke"
    return ServerUnreachable(
        f"the server cannot be reached: {cause}",
        detail=f"{address}: {error or type(error).__name__}",
        hint=hint,
    )


def _json(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InhouseError("the server's answer is not understood", hint=_OTHER) from error


def _texts(answer: dict[str, Any]) -> tuple[str, str]:
    """Cause and hint of ``{"error": "text"}``, or of the same with an object inside."""
    error = answer["error"]
    text = error.get("message") if isinstance(error, dict) else error
    return str(text), str(answer.get("hint") or "")


def _refusal(status: int, text: bytes, body: Any, advice: str = "") -> InhouseError:
    """Our error of a refusal: its text as the server wrote it, its kind by the status."""
    try:
        message, hint = _texts(json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError):
        message, hint = f"the server answered with status {status}", _OTHER
    hint = hint or advice
    if status == 404 and not hint and (message.startswith("model ") or ". " not in message):
        model = (body.get("model") or body.get("source")) if isinstance(body, dict) else None
        pull = f"; or get it: inhouse pull {model}" if model else ""
        hint = f"See what is here: inhouse list{pull}" if message.startswith("model ") else _OTHER
    if not hint and ". " not in message:  # a text of two sentences brought its own advice
        hint = _HINTS.get(status, "")
    return _KINDS.get(status, InhouseError)(message, hint=hint)
