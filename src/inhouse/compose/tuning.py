"""``inhouse tune``: what this model is run best with here, found by measuring.

One setting after the other is tried against the best so far, each on a worker of its own, with the same
requests in turns; what wins beyond chance is taken. In the end the whole is held against the defaults.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

from .. import measure
from ..core.engine import Launch
from ..core.errors import Conflict, InhouseError
from ..core.journal import Record
from ..core.models import Card
from ..core.requests import LoadOptions
from ..dialects.inhouse.measuring import TuneBody
from ..engines.recipe import Tuned
from ..engines.tuned import Kept, Trial, as_json, record
from ..engines.tuned_steps import CONTEXT, Search, Step, changed, check, check_room, shown, steps
from ..engines.tunings import Tunings
from ..machine import summary
from ..measure import Round, Spread, Subject, contest
from ..measure.duel import MOST
from ..measure.quiet import disturbances
from ..measure.subjects import copy_of
from ..measure.versus import gains
from ..store import PullEvent
from .measuring import Ground, Leased, Watch, busy_now

NEW, OLD = "new", "old"


@dataclass(slots=True)
class Run:
    """A search under way: for which model, until when (``time.monotonic``)."""

    card: Card
    until: float
    search: Search = field(default_factory=Search)

    @property
    def over(self) -> bool:
        return time.monotonic() >= self.until


class Tuner:
    """``server.manage.tune.Tuner``. ``plan`` says how a card would be launched, ``free`` how many bytes
    models may take beside those that are loaded; both block."""

    def __init__(
        self,
        ground: Ground,
        tunings: Tunings,
        *,
        plan: Callable[[Card, LoadOptions], Launch],
        free: Callable[[], int],
        tell: Callable[[Record], None],
    ) -> None:
        self._fleet, self._catalog = ground.fleet, ground.catalog
        self._engines, self._machine = ground.engines, ground.machine
        self._tunings = tunings
        self._plan, self._free, self._tell = plan, free, tell
        self._lock = asyncio.Lock()
        self._count = 0
        self._tasks: set[asyncio.Task[bool]] = set()

    # what is kept

    def shown(self, model: str) -> dict[str, Any]:
        """Every tuning of a model, with the one in use marked. Blocking. Raises ModelNotFound."""
        card = self._catalog.resolve(model)
        key = self._tunings.key(card, self._engines.of(card))
        found = [as_json(kept) | {"used": kept.key == key} for kept in self._tunings.all(card)]
        return {"model": str(card.name), "tunings": found, "settled": sorted(self._tunings.settled(card))}

    def forget(self, model: str) -> int:
        """Forget what was measured of a model. Blocking. Raises ModelNotFound."""
        return self._tunings.forget(self._catalog.resolve(model))

    # the search

    async def tune(self, body: TuneBody) -> AsyncGenerator[PullEvent, None]:
        """Search, keep and use the best; the last event tells it. Closing it ends the search and keeps
        nothing. Raises ModelNotFound, Unsupported, Conflict, OutOfMemory, LoadFailed."""
        card = await asyncio.to_thread(self._catalog.resolve, body.model)
        check(card)
        if self._lock.locked():
            raise Conflict("Another model is being tuned.", hint="Wait for its end, or cancel it.")
        async with self._lock:
            run = Run(card, time.monotonic() + 60 * body.minutes)
            drafts = await asyncio.to_thread(self._tunings.drafts, card)
            await asyncio.to_thread(self._check_memory, card)
            todo = steps(
                card,
                cores=self._machine.engine_cores,
                more=(self._machine.physical_cores, self._machine.logical_cores),
                drafts=drafts,
                settled=self._tunings.settled(card),
                quick=body.quick,
            )
            yield PullEvent(f"tuning {card.name} on {summary(self._machine)}")
            # What is best beside other work is not what is best without it: a thread fewer, for one.
            others = disturbances((), await asyncio.to_thread(busy_now))
            names = {digest: name for name, digest in drafts}
            for step in todo:
                async with aclosing(self._step(run, step, names)) as events:
                    async for event in events:
                        yield event
            yield PullEvent("holding the whole against the defaults")
            kept = await self._whole(run)
            await asyncio.to_thread(self._tunings.keep, kept)
            self._tell(record(kept))
            result = as_json(kept) | {"disturbed": run.search.disturbed, "busy": others}
            yield PullEvent("success", result=result)

    def _check_memory(self, card: Card) -> None:
        self._count += 1
        launch = self._plan(self._copy(card), LoadOptions())
        check_room(launch.memory, self._free())

    def _copy(self, card: Card) -> Card:
        tuning = replace(card.tuning, context_length=CONTEXT)
        return copy_of(card, f"tune-{self._count}", tuning)

    async def _step(self, run: Run, step: Step, names: Mapping[str, str]) -> AsyncGenerator[PullEvent, None]:
        search = run.search
        for value in (*step.values, *step.offered):
            what, wanted = shown(value, names), search.wanted(value)
            if wanted is None:
                continue
            if run.over:
                search.skip(what)
                continue
            yield PullEvent(f"trying {what}")
            trial = await self._try(run, step, value, what)
            search.note(trial, wanted, taken=trial.outcome == contest.TAKEN)
            yield PullEvent(f"{what}: {trial.gain:.2f} times as fast, {trial.outcome}")

    async def _try(self, run: Run, step: Step, value: Mapping[str, Any], what: str) -> Trial:
        best, wanted = run.search.best, changed(run.search.best, value)
        try:
            if step.kind == "guess":
                return await self._guess(run, wanted, what)
            found, rounds = await self._duel(run, wanted, best, step.kind)
        except InhouseError as error:
            return Trial(what, 0.0, 0.0, 0.0, 0, f"not possible: {error.message}")
        if value in step.offered:
            return _trial(what, found, "offered only: it costs quality")
        if step.kind == "prefill":
            return _trial(what, found, contest.outcome_of_batch(found, rounds, int(value["batch"])))
        return _trial(what, found, contest.outcome(found))

    async def _guess(self, run: Run, wanted: Tuned, what: str) -> Trial:
        texts, _ = await self._duel(run, wanted, run.search.best, "text")
        if outcome := contest.outcome_of_guesses(texts):
            return _trial(what, texts, outcome)
        copies, _ = await self._duel(run, wanted, run.search.best, "copy")
        return _trial(f"{what} (copies)", copies, contest.outcome(copies))

    async def _whole(self, run: Run) -> Kept:
        """What was found, with its gains over the defaults."""
        found: dict[str, float] = {}
        search, card = run.search, run.card
        if search.best != Tuned():
            for name, kind in contest.GAINS.items():
                ratios, _ = await self._duel(run, search.best, Tuned(), kind, most=contest.BRIEFLY)
                found[name] = round(Spread.of(ratios).median, 3)
        key = self._tunings.key(card, self._engines.of(card))
        return Kept(key, str(card.name), search.best, time.time(), tuple(search.trials), found)

    async def _duel(
        self, run: Run, new: Tuned, old: Tuned, kind: str, *, most: int = MOST
    ) -> tuple[list[float], list[Round]]:
        """Gains of ``new`` over ``old`` in a contest of that ``kind``, as many as it takes to tell, and the
        rounds of the new one."""
        asked = contest.contest(kind, chat="chat" in run.card.capabilities)
        cards = {}
        for who, setup in ((NEW, new), (OLD, old)):
            self._count += 1
            cards[who] = self._copy(run.card)
            self._tunings.try_out(cards[who], setup)
        watch = Watch(self._fleet, {card.digest for card in cards.values()})
        done: list[Round] = []
        try:
            subjects = {
                who: Subject(Leased(self._fleet, card, "tune").run, "") for who, card in cards.items()
            }
            async with aclosing(measure.rounds(subjects, asked.plan)) as turns:
                async for one in turns:
                    if watch.look():
                        run.search.disturbed = True
                        continue
                    done.append(one)
                    if contest.decided(gains(done, NEW, OLD, asked.rate), len(done), most=most):
                        break
        finally:
            for card in cards.values():
                self._end(card)
        return gains(done, NEW, OLD, asked.rate), [one for one in done if one.subject == NEW]

    def _end(self, card: Card) -> None:
        """Let a copy go, without waiting: also when this is being cancelled."""
        self._tunings.tried(card)
        task = asyncio.create_task(self._fleet.stop(card))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _trial(what: str, found: list[float], outcome: str) -> Trial:
    spread = Spread.of(found)
    median, low, high = (round(value, 3) for value in (spread.median, spread.low, spread.high))
    return Trial(what, median, low, high, len(found), outcome)


__all__ = ["Tuner"]
