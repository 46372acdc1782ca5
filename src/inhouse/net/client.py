"""The HTTP client of all sources: guarded, patient, and never in the way of a stop."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..core.disk import guarded
from ..core.errors import SourceFailed
from . import retry
from .fetch import HttpReader
from .gate import Gate
from .hops import follow
from .line import Broken, Line
from .transfer import transfer
from .watch import Got, Wanted, Watch
from .wire import Answer, Request, Wire

LIMIT: Final = 4 * 2**20
ANSWER_TIME: Final = 120.0
"""Seconds within which a small answer must be complete."""

CHUNK: Final = 2**18


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer as it came in the end: ``headers`` with lower-case keys, ``url`` after redirects."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str


class Client:
    """HTTP for one pull or push. Thread-safe.

    ``own_hosts`` (``host`` or ``host:port``) were set by the operator, a mirror say: they may be private
    and may speak plain HTTP. ``pause`` is the first back-off in seconds.
    All methods raise BadRequest (no usable URL), Forbidden (an address that policy refuses),
    SourceFailed and Cancelled.
    """

    def __init__(self, watch: Watch, *, own_hosts: Iterable[str] = (), pause: float = 0.5) -> None:
        self.watch = watch
        self.pause = pause
        self.gate = Gate(watch, own_hosts)
        self.wire = Wire(watch.policy.stall)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End idle connections; the client stays usable."""
        self.wire.close()

    def ask(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] = {},
        body: bytes | None = None,
        limit: int = LIMIT,
    ) -> Reply:
        """Ask for something small; any status that is not worth another try is returned.

        Redirects are followed, credentials stay with their origin. ``limit``: bytes of body, after
        decoding. SourceFailed when there are more.
        """
        fields = dict(headers)
        if body is not None:
            fields["Content-Length"] = str(len(body))
        send = None if body is None else lambda line: line.send(body)
        return self._patiently(Request(method, url, fields, send, ANSWER_TIME), limit)

    def download(
        self,
        url: str,
        asset: Wanted,
        folder: Path,
        *,
        headers: Mapping[str, str] = {},
    ) -> Got:
        """Bring a file into ``folder``; see ``transfer``. Also raises NoSpace, DigestMismatch."""
        return transfer(HttpReader(self, url, headers), asset, folder, self.watch, pause=self.pause)

    def upload(
        self,
        method: str,
        url: str,
        path: Path,
        *,
        span: tuple[int, int] | None = None,
        headers: Mapping[str, str] = {},
        say: Callable[[int], None] = lambda done: None,
    ) -> Reply:
        """Send a file as the body, or its ``span``: an offset and how many bytes from there.

        ``say`` hears how many bytes are out; after another try it begins anew. Raises StoreError too.
        """
        offset = span[0] if span else 0
        with guarded("reading a model"):
            rest = max(0, path.stat().st_size - offset)
        size = min(span[1], rest) if span else rest

        def send(line: Line) -> None:
            with guarded("reading a model"), path.open("rb") as file:
                file.seek(offset)
                done = 0
                while chunk := file.read(min(CHUNK, size - done)):
                    self.watch.policy.rate.take(len(chunk), self.watch.stopped)
                    line.send(chunk)
                    done += len(chunk)
                    say(done)
            if done < size:
                raise SourceFailed("The file became shorter while it was sent.", hint="Try again.")

        fields = {**headers, "Content-Length": str(size)}
        return self._patiently(Request(method, url, fields, send), LIMIT)

    def open(self, request: Request, tick: Callable[[], None]) -> Answer:
        """Ask once, through all redirects; the body is still to be read. Raises Broken."""
        return follow(self.gate, self.wire, request, tick)

    def _patiently(self, request: Request, limit: int) -> Reply:
        for failures in range(1, retry.TRIES + 1):
            self.watch.check()
            try:
                answer = self.open(request, self.watch.check)
                reply = self._read(answer, limit)
            except Broken as error:
                may = not error.sent or request.method in retry.IDEMPOTENT
                if failures == retry.TRIES or not may:
                    raise retry.gave_up(error) from error
                wait = retry.delay(error, failures, self.pause)
            else:
                if not retry.should_retry(request.method, reply.status):
                    return reply
                wait = self._wait(reply, failures)
            self.watch.stopped.wait(wait)
        raise AssertionError("the last try returns or raises")

    def _wait(self, reply: Reply, failures: int) -> float:
        asked = retry.retry_after(reply.headers)
        if asked is not None and asked > retry.PATIENCE:
            raise retry.too_long(asked)
        if failures == retry.TRIES:
            raise SourceFailed(
                f"The source keeps answering HTTP {reply.status}.",
                hint="Try again later.",
                detail=f"{reply.url.partition('?')[0]}: {reply.body[:300]!r}",
            )
        return retry.backoff(failures, self.pause) if asked is None else asked

    def _read(self, answer: Answer, limit: int) -> Reply:
        try:
            body = _body(answer, limit)
        except BaseException:
            answer.close()
            raise
        return Reply(answer.status, answer.headers, body, str(answer.hop.url))


def _body(answer: Answer, limit: int) -> bytes:
    """The decoded body. Raises SourceFailed (too long, unknown coding), Broken."""
    coding = answer.headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("identity", "", "gzip", "x-gzip"):
        raise SourceFailed("The source answers in a coding that nobody asked for.", hint="Tell its operator.")
    unpack = zlib.decompressobj(31) if "gzip" in coding else None
    view = memoryview(bytearray(2**16))
    body = bytearray()
    raw = 0
    while count := answer.readinto(view):
        raw += count
        try:
            body += unpack.decompress(view[:count], limit + 1 - len(body)) if unpack else view[:count]
        except zlib.error as error:
            raise Broken("the answer is not gzip") from error
        if len(body) > limit or raw > limit:
            raise SourceFailed(
                f"The source's answer is larger than {limit} bytes.", hint="This is no model source."
            )
    return bytes(body)
