"""Holds predictions against what came: listens to loads and to requests, and writes down both."""

from __future__ import annotations

import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from ..core.engine import Launch
from ..core.errors import InhouseError, NotFound
from ..core.models import Card
from ..dialects.inhouse.plan import PlanOrder
from ..fleet import Loaded
from ..ledger import Entry
from ..machine.footprint import Load
from ..planning import Where, Work, told
from ..planning.speed import decode_bytes, predict, prompt_operations
from .plan_view import Place
from .planning import Planning
from .subjects import Found

log = logging.getLogger("inhouse.planning")

LEAST_ANSWER: Final = 16
"""Tokens of an answer below which its rate says little."""
LEAST_PROMPT: Final = 64
GUESSED: Final = 0.1
"""Share of an answer that may be right guesses, which cost less than other tokens, for its rate to count."""
CLOCKS: Final = 0.05
"""Seconds that the engine's clock and ours may differ by over a request."""
_REMEMBERED: Final = 256


@dataclass(frozen=True, slots=True)
class Heard:
    """What a request tells of its model's speed; ``began`` and ``ended`` on the monotonic clock."""

    model: str
    fresh: int
    prompt: int
    answer: int
    prefill: float
    decode: float
    began: float
    ended: float


def heard(entry: Entry) -> Heard | None:
    """The figures of a request that ended well; without the answer where much of it was guessed.

    None for one of several choices side by side: each slows the others, and together they took more time of
    the engine than there was.
    """
    usage, timings = entry.usage, entry.timings
    if entry.outcome != "ok" or entry.task not in ("chat", "complete"):
        return None
    if timings.prefill + timings.decode > entry.seconds + CLOCKS:
        return None
    guessed = usage.accepted_tokens > GUESSED * usage.completion_tokens
    return Heard(
        entry.model,
        usage.prompt_tokens - usage.cached_tokens,
        usage.prompt_tokens,
        0 if guessed else usage.completion_tokens,
        timings.prefill,
        timings.decode,
        entry.opened,
        entry.closed,
    )


class Scoring:
    """``loaded`` tells what is loaded now. All that takes time is done in a thread of its own."""

    def __init__(self, planning: Planning, loaded: Callable[[], Sequence[Loaded]]) -> None:
        self._planning = planning
        self._loaded = loaded
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="scores")
        self._launches: deque[str] = deque(maxlen=_REMEMBERED)
        self._ends: deque[float] = deque(maxlen=_REMEMBERED)

    def hearing(self, sink: Callable[[Entry], None]) -> Callable[[Entry], None]:
        """A sink that hands entries on and listens."""

        def hear(entry: Entry) -> None:
            sink(entry)
            self.note(entry)

        return hear

    def note(self, entry: Entry) -> None:
        """A request is over: what it says of speed counts if it had the machine to itself. Quick."""
        found = heard(entry)
        alone = not self._ends or self._ends[-1] <= entry.opened
        self._ends.append(entry.closed or time.monotonic())
        if found is None or not alone:
            return
        now = self._loaded()
        one = next((one for one in now if str(one.card.name) == found.model), None)
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

    def _at(self, card: Card, launch: tuple[str, int, int]) -> tuple[Found, Place, Load, Where]:
        """The model as it was loaded. Raises NotFound for what is loaded under a name for a trial only."""
        build, context, slots = launch
        planning = self._planning
        if planning.subjects.of(str(card.name)).card.digest != card.digest:
            raise NotFound("It is not the model of that name.")
        found = planning.subjects.stored(card)
        place = planning.here(card, build)
        load = planning.load_of(found, place, PlanOrder(model=str(card.name), context=context, users=slots))
        return found, place, load, planning.where(found, place)

    def _memory(self, card: Card, launch: Launch, size: int) -> None:
        place = (launch.build, launch.context_length, launch.slots)
        found, where_at, load, where = self._at(card, place)
        expected = self._planning.expected_memory(found, where_at, load)
        plain = self._planning.formula(found, load)
        tokens = load.context * load.slots
        self._planning.history.came(where, "memory", tokens, expected, (size, size - plain))

    def _speed(self, one: Heard, card: Card, launch: tuple[str, int, int]) -> None:
        found, place, load, where = self._at(card, launch)
        history, shape = self._planning.history, found.shape
        host = self._planning.host(found, place)
        if host.decode is None or host.prefill is None:
            return
        # Half of the answer was there, on average, when a token of it was made.
        middle = one.prompt + one.answer // 2
        work = Work(shape, load, card.parameters, middle)
        if one.answer >= LEAST_ANSWER and one.decode > 0:
            rate = one.answer / one.decode
            expected = told(predict(work, host.decode, host.prefill).decode)
            coefficient = rate * decode_bytes(shape, load, middle)
            history.came(where, "decode", one.prompt, expected, (rate, coefficient))
        if one.fresh >= LEAST_PROMPT and one.prefill > 0:
            rate = one.fresh / one.prefill
            asked = Work(shape, load, card.parameters, one.fresh)
            expected = told(predict(asked, host.decode, host.prefill).prefill)
            coefficient = rate * prompt_operations(shape, card.parameters, one.fresh) / one.fresh
            history.came(where, "prefill", one.fresh, expected, (rate, coefficient))


__all__ = ["Heard", "Scoring", "heard"]
