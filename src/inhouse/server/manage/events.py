"""What happened: the lines of the journal, as a list or as they come."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, get_args

import msgspec

from ...config import duration
from ...core.errors import BadRequest, InhouseError
from ...core.journal import Kind
from ...core.models import ModelName
from ...dialects import ollama
from ...journal import Line
from ..answers import Receive, Scope, Send, header
from ..kept.query import Query
from ..stream import Pump, respond
from .models import answered
from .watching import seen_by

if TYPE_CHECKING:
    from .services import Services

KINDS: tuple[str, ...] = get_args(Kind)
USUAL, MOST = 200, 10_000

_DATE = re.compile(r"\d{4}-\d\d-\d\dT")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which lines: since a time, of a model, of some kinds, numbered above ``after``; ``limit`` at most."""

    since: float = 0.0
    model: str = ""
    kinds: frozenset[str] = frozenset()
    after: int | None = None
    limit: int = USUAL
    follow: bool = False

    @classmethod
    def of(cls, query: Query, now: float) -> Wanted:
        """Read a query. Raises BadRequest."""
        model = query.text("model")
        return cls(
            since=_since(query.text("since"), now),
            model=str(ModelName.parse(model)).lower() if model else "",
            kinds=_kinds(query.many("kind")),
            after=query.whole("after", 0, 2**53),
            limit=query.whole("limit", 1, MOST) or USUAL,
            follow=query.flag("follow"),
        )

    def takes(self, line: Line) -> bool:
        """Whether a line is one of these, whatever the limit."""
        record = line.record
        return (
            line.at >= self.since
            and line.number > (self.after or 0)
            and (not self.model or record.model.lower() == self.model)
            and (not self.kinds or record.kind in self.kinds)
        )

    def of_all(self, lines: list[Line]) -> list[Line]:
        """The lines wanted: the last ones, or with ``after`` the next ones; who follows on gets all those."""
        found = [line for line in lines if self.takes(line)]
        if self.follow and self.after is not None:
            return found
        return found[-self.limit :] if self.after is None else found[: self.limit]


def _since(text: str | None, now: float) -> float:
    if text is None:
        return 0.0
    try:
        if not _DATE.match(text):
            return now - duration(text)
        at = datetime.fromisoformat(text.replace(" ", "+"))  # a + that nobody escaped
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise BadRequest(
            "'since' is neither a duration nor a date.",
            hint="Like 90s, 1h or 2026-01-31T12:00:00Z.",
            param="since",
        ) from None


def _kinds(texts: list[str]) -> frozenset[str]:
    kinds = frozenset(kind.strip() for text in texts for kind in text.split(",") if kind.strip())
    if wrong := sorted(kinds - set(KINDS)):
        raise BadRequest(
            f"There are no records of kind {wrong[0][:40]!r}.",
            hint=f"One of: {', '.join(KINDS)}",
            param="kind",
        )
    return kinds


def shown(line: Line, *, whole: bool = True) -> dict[str, Any]:
    """A line as JSON; without ``whole`` it does not name the request, which may be another caller's."""
    record = line.record
    return {
        "number": line.number,
        "time": datetime.fromtimestamp(line.at, UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z"),
        "kind": record.kind,
        "model": record.model,
        "cause": record.cause,
        "remedy": record.remedy,
        "request_id": record.request_id if whole else "",
        "facts": dict(record.facts),
    }


class _Feed:
    """Lines on the wire, as NDJSON or as server-sent events. None only begins the answer."""

    streaming = True

    def __init__(self, *, sse: bool, whole: bool) -> None:
        self.media_type = "text/event-stream" if sse else "application/x-ndjson"
        self._sse, self._whole = sse, whole

    def feed(self, event: Line | None) -> bytes:
        if event is None:
            return b""
        data = msgspec.json.encode(shown(event, whole=self._whole))
        return b"id: %d\ndata: %b\n\n" % (event.number, data) if self._sse else data + b"\n"

    def fail(self, error: InhouseError) -> bytes:
        return ollama.render_error(error).body + b"\n"

    def keepalive(self) -> bytes:
        return b": keep-alive\n\n" if self._sse else b"\n"


@dataclass(frozen=True, slots=True)
class _Found:
    """The lines that a query wants; ``last`` is the highest number of all."""

    wanted: Wanted
    lines: list[Line]
    last: int
    whole: bool


def _found(services: Services, scope: Scope) -> _Found:
    """Blocking. Raises BadRequest."""
    wanted = Wanted.of(Query.of(scope), time.time())
    lines = services.journal.everything()
    last = lines[-1].number if lines else 0
    return _Found(wanted, wanted.of_all(lines), last, seen_by(services, scope) is None)


async def events(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    looking = asyncio.create_task(asyncio.to_thread(_found, services, scope))
    await asyncio.wait({looking})
    if looking.exception() is None and looking.result().wanted.follow and scope["method"] == "GET":
        await _follow(services, scope, receive, send, looking.result())
        return

    async def work() -> bytes:
        found = await looking
        shown_lines = [shown(line, whole=found.whole) for line in found.lines]
        body = {"events": shown_lines, "last": found.last, "dropped": services.journal.dropped}
        return msgspec.json.encode(body)

    await answered(scope, send, work(), ollama.render_error)


async def _follow(services: Services, scope: Scope, receive: Receive, send: Send, found: _Found) -> None:
    feed = _Feed(sse="text/event-stream" in (header(scope, b"accept") or ""), whole=found.whole)
    settings = services.config.server
    pump = Pump(scope, send, feed, silence=settings.keepalive_interval, stall=settings.stall_timeout)
    await respond(scope, receive, lambda: pump.run(_following(services, found), ollama.render_error))


async def _following(services: Services, found: _Found) -> AsyncGenerator[Line | None, None]:
    """What there is, then what comes; it ends when the server stops."""
    yield None
    for line in found.lines:
        yield line
    async with aclosing(services.journal.follow(found.last, services.draining)) as news:
        async for line in news:
            if found.wanted.takes(line):
                yield line
