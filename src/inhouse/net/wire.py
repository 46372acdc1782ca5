"""One request and its answer over HTTP/1.1, on connections that are kept for the next."""

from __future__ import annotations

import http.client
import ssl
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.message import Message
from typing import Final

from ..core.errors import BadRequest
from . import line as lines
from .gate import Hop
from .line import Broken, Line

IDLE: Final = 8
SAFE: Final = frozenset({"GET", "HEAD"})
AGENT: Final = "inhouse"

HARMLESS: Final = frozenset(
    {"accept", "accept-encoding", "content-type", "content-length", "content-range", "if-none-match"}
    | {"if-range", "range", "user-agent"}
)
"""Headers that may go to another origin; whatever else there is may be a key."""

Key = tuple[str, str, int, bool]


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked. ``send`` writes the body (its length is in the headers), None without one.

    ``patience``: seconds after which the whole answer must be there even if bytes trickle in; 0: any.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    send: Callable[[Line], None] | None = None
    patience: float = 0.0


class Answer:
    """The status and headers of an answer, and its body as it comes.

    ``headers`` have lower-case names, repeated ones joined with a comma. ``length`` is the number of
    body bytes announced, None if it was not. The body is never decoded.
    """

    def __init__(self, hop: Hop, line: Line, response: http.client.HTTPResponse, keep: Callable[[], None]):
        self.hop = hop
        self.status = response.status
        self.headers = _headers(response.msg)
        self.length = response.length
        self._line: Line | None = line
        self._response = response
        self._left = response.length
        self._keep = keep

    def readinto(self, view: memoryview) -> int:
        """Some bytes of the body into ``view``; 0 at its end. Raises Broken when it ends too early."""
        try:
            if self._left is None:
                data = self._response.read1(len(view))
                view[: len(data)] = data
                count = len(data)
            elif self._left == 0:
                count = 0
            else:
                count = self._response.fp.readinto1(view[: self._left])
                self._left -= count
                if not count:
                    raise Broken("the answer ended too early")
        except (http.client.HTTPException, ValueError) as error:
            raise Broken(f"the answer ended too early: {type(error).__name__}") from error
        if not count:
            self.close(whole=True)
        return count

    def close(self, *, whole: bool = False) -> None:
        """Give the connection back, or away when the body was not read to its end."""
        line, self._line = self._line, None
        if line is None:
            return
        if (whole or self._left == 0) and not self._response.will_close:
            self._keep()
        else:
            line.close()


class Wire:
    """Sends requests along admitted hops. Thread-safe; idle connections end with it, or with ``close``."""

    def __init__(self, stall: float) -> None:
        self.stall = stall
        self._context: ssl.SSLContext | None = None
        self._idle: list[tuple[Key, Line]] = []
        self._lock = threading.Lock()
        weakref.finalize(self, _close, self._idle)

    def exchange(self, hop: Hop, request: Request, tick: Callable[[], None]) -> Answer:
        """Ask and return once the headers are here. Raises Broken, SourceFailed."""
        # what must not be sent twice gets a connection that the server cannot have closed meanwhile
        while request.method in SAFE and (line := self._idle_line((*hop.url.origin, hop.private))):
            try:
                return self._ask(line, hop, request, tick)
            except Broken:
                continue
        line = lines.connect(hop, self._tls(), tick, self.stall)
        return self._ask(line, hop, request, tick)

    def close(self) -> None:
        with self._lock:
            _close(self._idle)

    def _ask(self, line: Line, hop: Hop, request: Request, tick: Callable[[], None]) -> Answer:
        now = time.monotonic()
        line.tick, line.until = tick, 0.0
        try:
            line.send(_head(hop, request))
            early: Broken | None = None
            if request.send:
                try:
                    request.send(line)
                except Broken as error:  # a server that refuses early has often said why
                    early = error
            line.until = time.monotonic() + 2 * self.stall
            response = _begin(line, request.method, early)
            line.until = now + request.patience if request.patience else 0.0
        except BaseException:
            line.close()
            raise

        def keep() -> None:
            with self._lock:
                self._idle.append(((*hop.url.origin, hop.private), line))
                spare = self._idle.pop(0) if len(self._idle) > IDLE else None
            if spare:
                spare[1].close()

        return Answer(hop, line, response, line.close if early else keep)

    def _idle_line(self, key: Key) -> Line | None:
        with self._lock:
            for i in reversed(range(len(self._idle))):
                if self._idle[i][0] == key:
                    return self._idle.pop(i)[1]
        return None

    def _tls(self) -> ssl.SSLContext:
        with self._lock:
            if self._context is None:
                self._context = ssl.create_default_context()
            return self._context


def _close(idle: list[tuple[Key, Line]]) -> None:
    while idle:
        idle.pop()[1].close()


def _head(hop: Hop, request: Request) -> bytes:
    """The request's first lines. Raises BadRequest when a header would break out of its line."""
    url = hop.url
    plain_proxy = hop.proxy if url.scheme == "http" else None
    fields = {"Host": url.authority, "User-Agent": AGENT, "Accept": "*/*", "Accept-Encoding": "identity"}
    if plain_proxy and plain_proxy.secret:
        fields["Proxy-Authorization"] = lines.basic(plain_proxy.secret)
    given = {name.lower() for name in request.headers}
    fields = {name: value for name, value in fields.items() if name.lower() not in given}
    fields.update(request.headers)
    if any(c in text for pair in fields.items() for text in pair for c in "\r\n\0"):
        raise BadRequest("A header holds a line break.", hint="Check the token or key of this source.")
    first = f"{request.method} {url if plain_proxy else url.target} HTTP/1.1"
    text = "\r\n".join([first, *(f"{name}: {value}" for name, value in fields.items())]) + "\r\n\r\n"
    return text.encode("latin-1", "replace")


def _begin(line: Line, method: str, early: Broken | None) -> http.client.HTTPResponse:
    """Read status and headers. Raises Broken; the send's failure where there is no answer."""
    response = http.client.HTTPResponse(line, method=method)  # type: ignore[arg-type]
    try:
        response.begin()
    except Broken as error:
        raise early or error from error
    except (http.client.HTTPException, ValueError) as error:
        # no status line at all: an idle connection that the server has closed
        raise early or Broken(f"no HTTP answer: {type(error).__name__}") from error
    return response


def _headers(message: Message) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in message.items():
        key = name.lower()
        found[key] = f"{found[key]}, {value}" if key in found else value
    return found
