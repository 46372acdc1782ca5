"""Who hears what happens: the meter counts it, the journal and the traces write it down."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from ..core.engine import Launch
from ..core.journal import Record
from ..core.models import Card
from ..core.usage import Step
from ..journal import RUNNING, Journal, Trace, Traces, Trouble
from ..ledger import Entry, Meter, Open


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


class Running:
    """The ways of requests that are not over yet."""

    def __init__(self, entries: Open, waited: Callable[[str, str], tuple[Step, ...]]) -> None:
        self._entries, self._waited = entries, waited

    def __call__(self, id: str, tenant: str | None) -> list[Trace]:
        """Those of that id, the latest first; ``tenant`` None: whoever asks."""
        found = [one for one in self._entries.named(id) if tenant in (None, one.caller.tenant)]
        return [self._so_far(one) for one in found]

    def _so_far(self, entry: Entry) -> Trace:
        steps = entry.steps or self._waited(entry.caller.request_id, entry.caller.tenant)
        return dataclasses.replace(traced(entry), outcome=RUNNING, steps=steps)


def traced(entry: Entry) -> Trace:
    """The way of a request so far."""
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
