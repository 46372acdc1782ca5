"""Who hears what the fleet says: the meter counts it, the journal writes it down."""

from __future__ import annotations

from ..core.journal import Record
from ..journal import Journal
from ..ledger import Meter


class Ears:
    """The fleet's observer."""

    def __init__(self, meter: Meter, journal: Journal) -> None:
        self._meter = meter
        self._journal = journal

    def loaded(self, name: str, seconds: float) -> None:
        self._meter.loaded(name, seconds)

    def evicted(self, name: str, why: str) -> None:
        self._meter.evicted(name, why)

    def restarted(self, name: str) -> None:
        self._meter.restarted(name)

    def record(self, record: Record) -> None:
        self._journal.write(record)
