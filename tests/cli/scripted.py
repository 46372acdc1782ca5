"""A scripted server of the API on loopback."""

from __future__ import annotations

import contextlib
import io
import json
import select
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from support.loopback import Loopback

DIGEST = "0123456789abcdef" * 4
CARD = {
    "name": "tiny:latest",
    "model": "tiny:latest",
    "modified_at": "2020-01-01T00:00:00.123456789Z",
    "size": 98_362_432,
    "digest": DIGEST,
    "details": {"family": "llama", "parameter_size": "134.52M", "quantization_level": "Q4_1"},
}
FINAL = {
    "done": True,
    "done_reason": "stop",
    "total_duration": 2_000_000_000,
    "load_duration": 500_000_000,
    "prompt_eval_count": 12,
    "prompt_eval_duration": 60_000_000,
    "eval_count": 30,
    "eval_duration": 500_000_000,
}


@dataclass
class Asked:
    """One request as it came in."""

    method: str
    path: str
    body: Any
    headers: dict[str, str]


@dataclass
class Refusal:
    """A scripted error status."""

    status: int
    body: Any


@dataclass
class Api:
    """Routes by path; a value is JSON, a list is an NDJSON stream, a Refusal an error, a function any of these.

    In a stream a string is sent as it is, ``...`` waits for the client to hang up and sets ``left``,
    None cuts the connection.
    """

    routes: dict[str, Any]
    asked: list[Asked] = field(default_factory=list)
    left: threading.Event = field(default_factory=threading.Event)
    waiting: threading.Event = field(default_factory=threading.Event)
    address: str = ""

    def bodies(self, path: str) -> list[Any]:
        """The bodies of the requests to ``path``."""
        return [a.body for a in self.asked if a.path == path]


def says(*words: str, thinking: str = "", **final: Any) -> list[Any]:
    """The stream of one answer."""
    begin = [{"message": {"role": "assistant", "content": "", "thinking": thinking}, "done": False}]
    return [
        *(begin if thinking else []),
        *({"message": {"role": "assistant", "content": w}, "done": False} for w in words),
        {"message": {"role": "assistant", "content": ""}, **FINAL, **final},
    ]


def _handler(api: Api) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            return

        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            text = self.rfile.read(length)
            asked = Asked(self.command, self.path, json.loads(text) if text else None, dict(self.headers))
            api.asked.append(asked)
            route = api.routes.get(self.path, Refusal(404, {"error": "no such route"}))
            answer = route(asked) if callable(route) else route
            if isinstance(answer, list):
                self._stream(answer)
            elif isinstance(answer, Refusal):
                self._whole(answer.status, answer.body)
            else:
                self._whole(200, answer)

        do_GET = do_POST = do_DELETE = _answer

        def _whole(self, status: int, body: Any) -> None:
            raw = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def _stream(self, items: list[Any]) -> None:
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            with contextlib.suppress(ConnectionError):
                for item in items:
                    if item is ...:
                        api.waiting.set()
                        select.select([self.connection], [], [], 30)
                        if self.connection.recv(1) == b"":
                            api.left.set()
                        self.close_connection = True
                        return
                    if item is None:
                        self.close_connection = True
                        return
                    line = item.encode() if isinstance(item, str) else json.dumps(item).encode() + b"\n"
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
                self.wfile.write(b"0\r\n\r\n")

    return Handler


@contextlib.contextmanager
def serving(api: Api) -> Iterator[Api]:
    """``api`` on a free port of loopback."""
    with Loopback(_handler(api)) as server:
        api.address = server.authority
        yield api


@dataclass
class Result:
    code: int
    out: str
    err: str


Invoke = Callable[..., Result]


class Input:
    """A stdin: a terminal (None), or piped bytes."""

    def __init__(self, piped: bytes | None) -> None:
        self.closed = False
        self.buffer = io.BytesIO(piped or b"")
        self._terminal = piped is None

    def isatty(self) -> bool:
        return self._terminal
