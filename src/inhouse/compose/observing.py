"""Who hears what happens: the meter counts it, the journal and the traces write it down."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence

from .. import __version__
from ..config import Config
from ..core.engine import Launch
from ..core.journal import Record
from ..core.models import Card
from ..journal import Book, Journal, Trace, Traces, Trouble
from ..ledger import Entry, Meter

_SHARE = 4  # of the space, events get one part and traces, which are more, the others


class Ears:
    """The fleet's observer, and the sink of the runtime's entries. Who else wants to hear how much memory
    a model takes is in ``measuring``; it must not block."""

    def __init__(self, meter: Meter, journal: Journal, traces: Traces) -> None:
        self._meter = meter
        self._journal = journal
        self._traces = traces
        self.measuring: list[Callable[[Card, Launch, int], None]] = []

    def loaded(self, name: str, seconds: float) -> None:
        self._meter.loaded(name, seconds)

    def evicted(self, name: str, why: str) -> None:
        self._meter.evicted(name, why)

    def restarted(self, name: str) -> None:
        self._meter.restarted(name)

    def record(self, record: Record) -> None:
        """Something that an operator may ask about later."""
        self._journal.write(record)

    def measured(self, card: Card, launch: Launch, size: int) -> None:
        """What a loaded model takes, in bytes of main memory."""
        for hear in self.measuring:
            hear(card, launch, size)

    def closed(self, entry: Entry) -> None:
        """A request is over."""
        self._meter.record(entry)
        self._traces.write(traced(entry))


def traced(entry: Entry) -> Trace:
    """The way of a request that is over."""
    error = entry.error
    return Trace(
        id=entry.caller.request_id,
        at=entry.at,
        tenant=entry.caller.tenant,
        dialect=entry.caller.dialect,
        endpoint=entry.caller.endpoint,
        task=entry.task,
        asked=entry.asked[:200],
        model=entry.model,
        route=entry.route,
        engine=entry.engine,
        variant=entry.variant,
        build=entry.build,
        outcome=entry.outcome or "",
        seconds=entry.seconds,
        ttft=entry.ttft,
        pause=entry.pause,
        steps=entry.steps,
        usage=entry.usage,
        timings=entry.timings,
        trouble=Trouble(error.code, error.message, error.hint) if error is not None else None,
    )


def kept(config: Config, hear: Callable[[Record], None]) -> tuple[Journal, Traces]:
    """The journal and the traces of a home; of an earlier server's, the newest are read. Blocking. ``hear``
    is told of every record."""
    settings, folder = config.journal, config.home / "journal"
    if not settings.size:
        return Journal(hear=hear), Traces()
    events = settings.size // _SHARE
    return (
        Journal(Book(folder, "events", size=events, days=settings.days), hear=hear),
        Traces(Book(folder, "traces", size=settings.size - events, days=settings.days)),
    )


class Diary:
    """What the server writes of itself: its start, with what an earlier one left behind, and its end."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._began = time.monotonic()

    def begin(self, settings: Sequence[str], left: Sequence[str]) -> None:
        """The server starts with ``settings`` set by hand (their names); ``left`` is what was found of one
        that did not end by itself."""
        last = next((one for one in reversed(self._journal.lines()) if one.record.kind == "server"), None)
        broken = bool(left) or (last is not None and last.record.facts.get("state") == "started")
        cause, remedy = "The server started.", ""
        if broken:
            cause = "The server started; the one before it did not end by itself."
            remedy = (
                "It was killed or the machine stopped: look at the end of its log, and whether the system's"
                " log tells of the out-of-memory killer. What it left behind was put in order."
            )
        facts = {
            "state": "started",
            "version": __version__,
            "pid": os.getpid(),
            "settings": list(settings),
            "after": "broken" if broken else "clean",
            "left": list(left),
        }
        self._journal.write(Record("server", "", cause, remedy, facts=facts))

    def end(self) -> None:
        """The server is about to end by itself."""
        lived = round(time.monotonic() - self._began, 1)
        self._journal.write(
            Record("server", "", "The server stopped.", facts={"state": "stopped", "seconds": lived})
        )
