"""Listens to loads and to requests, and has predictions held against what came of them."""

from __future__ import annotations

import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from ..core.engine import Launch
from ..core.errors import InhouseError, NotFound
from ..core.models import Card
from ..dialects.inhouse.plan import PlanOrder
from ..fleet import Loaded
from ..ledger import Entry
from ..machine.footprint import Load
from ..planning import scoring
from ..planning.found import Found
from ..planning.places import Place
from ..planning.scoring import Apart, Heard
from .planning import Planning

log = logging.getLogger("inhouse.planning")

_REMEMBERED: Final = 256


def heard(entry: Entry) -> Heard | None:
    """The figures of a request that generated text and ended well; see ``planning.scoring.heard``."""
    if entry.outcome != "ok" or entry.task not in ("chat", "complete"):
        return None
    return scoring.heard(entry.usage, entry.timings, entry.seconds)


class Scoring:
    """``loaded`` tells what is loaded now. All that takes time is done in a thread of its own."""

    def __init__(self, planning: Planning, loaded: Callable[[], Sequence[Loaded]]) -> None:
        self._planning = planning
        self._loaded = loaded
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="scores")
        self._launches: deque[str] = deque(maxlen=_REMEMBERED)
        self._apart = Apart()

    def hearing(self, sink: Callable[[Entry], None]) -> Callable[[Entry], None]:
        """A sink that hands entries on and listens."""

        def hear(entry: Entry) -> None:
            sink(entry)
            self.note(entry)

        return hear

    def note(self, entry: Entry) -> None:
        """A request is over: what it says of speed counts if it had the machine to itself. Quick."""
        found = heard(entry)
        alone = self._apart.note(entry.opened, entry.closed or time.monotonic())
        if found is None or not alone:
            return
        now = self._loaded()
        one = next((one for one in now if str(one.card.name) == entry.model), None)
        # Its own slot was given back before the entry was closed: whoever is busy now is another.
        if one is None or any(other.busy or other.state == "loading" for other in now):
            return
        launch = (one.build, one.context_length, one.slots)
        self._soon(lambda: self._speed(found, one.card, launch))

    def measured(self, card: Card, launch: Launch, size: int) -> None:
        """A model is loaded and takes ``size`` bytes, before it answers. Later ones do not count. Quick."""
        if launch.address in self._launches or launch.engine != "llama.cpp":
            return
        self._launches.append(launch.address)
        self._soon(lambda: self._memory(card, launch, size))

    def close(self) -> None:
        """Write what waits. Idempotent."""
        self._thread.shutdown(wait=True)
        self._planning.history.close()

    def flush(self) -> None:
        """Wait until all that was heard is written."""
        with contextlib.suppress(RuntimeError):
            self._thread.submit(lambda: None).result()
        self._planning.history.flush()

    def _soon(self, work: Callable[[], None]) -> None:
        def guarded() -> None:
            try:
                work()
            except InhouseError as error:
                log.debug("a prediction could not be held against what came: %s", error.message)

        with contextlib.suppress(RuntimeError):  # closed meanwhile
            self._thread.submit(guarded)

    def _at(self, card: Card, launch: tuple[str, int, int]) -> tuple[Found, Place, Load]:
        """The model as it was loaded. Raises NotFound for what is loaded under a name for a trial only."""
        build, context, slots = launch
        planning = self._planning
        if planning.subjects.of(str(card.name)).card.digest != card.digest:
            raise NotFound("It is not the model of that name.")
        found = planning.subjects.stored(card)
        place = planning.here(card, build)
        order = PlanOrder(model=str(card.name), context=context, users=slots)
        return found, place, planning.load_of(found, place, order)

    def _memory(self, card: Card, launch: Launch, size: int) -> None:
        found, place, load = self._at(card, (launch.build, launch.context_length, launch.slots))
        where = place.where(found)
        surplus = self._planning.history.surplus(where)
        self._planning.came(where, scoring.memory(found, load, surplus, size))

    def _speed(self, one: Heard, card: Card, launch: tuple[str, int, int]) -> None:
        found, place, load = self._at(card, launch)
        for came in scoring.speeds(one, found, load, self._planning.host(found, place, load)):
            self._planning.came(place.rates(found, load), came)


__all__ = ["Scoring", "heard"]
