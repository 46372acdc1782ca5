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
from typing import Any, Final

from .. import measure
from ..core.engine import Launch
from ..core.errors import Conflict, InhouseError, OutOfMemory, Unsupported
from ..core.journal import Record
from ..core.models import Card
from ..core.requests import LoadOptions
from ..dialects.inhouse.measuring import TuneBody
from ..engines import tuned
from ..engines.recipe import Tuned
from ..engines.tuned import Kept, Step, Trial, shown
from ..measure import Plan, Round, Spread, Subject
from ..measure.duel import MOST, verdict
from ..measure.versus import decode, gains, prefill, total
from ..store import PullEvent
from .measuring import Ground, Leased, Watch, copy_of, hardware
from .tunings import Tunings, changed

NEW, OLD = "new", "old"
CONTEXT: Final = 2048
"""Tokens of each slot while it is measured."""

PATIENCE: Final = 0.75
"""Seconds that a batch may take: a cancel and the other streams wait for its end."""

HARMLESS: Final = 0.98
"""Of the speed of ordinary answers, what a way of guessing must leave them."""

Rate = Callable[[Round], float]


def speed(one: Round) -> float:
    """One stream: decode counts for more, since answers are waited for longer than prompts are read."""
    return float(prefill(one) ** 0.3 * decode(one) ** 0.7)


@dataclass(slots=True)
class Search:
    """One run: what is best so far, what was tried, until when (``time.monotonic``)."""

    card: Card
    chat: bool
    until: float
    best: Tuned = field(default_factory=Tuned)
    trials: list[Trial] = field(default_factory=list)
    disturbed: bool = False

    @property
    def over(self) -> bool:
        return time.monotonic() >= self.until

    def plan(self, kind: str) -> Plan:
        """The requests that decide a step of some kind."""
        match kind:
            case "prefill":
                return Plan(prompt=512, answer=1, rounds=16)
            case "clients":
                return Plan(prompt=64, answer=48, clients=(8,), rounds=16)
            case "copy":
                return Plan(prompt=320, answer=128, rounds=16, task="copy", chat=self.chat)
            case "text":
                return Plan(prompt=96, answer=96, rounds=16, chat=self.chat)
        return Plan(prompt=256, answer=48, rounds=16)


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
        card = self._catalog.resolve(body.model)
        if card.format != "gguf" or "completion" not in card.capabilities:
            raise Unsupported("Only GGUF models that generate text are tuned.", param="model")
        if self._lock.locked():
            raise Conflict("Another model is being tuned.", hint="Wait for its end, or cancel it.")
        async with self._lock:
            search = Search(card, "chat" in card.capabilities, time.monotonic() + 60 * body.minutes)
            drafts = await asyncio.to_thread(self._tunings.drafts, card)
            await asyncio.to_thread(self._check_memory, card)
            steps = tuned.steps(
                card,
                cores=self._machine.physical_cores,
                logical=self._machine.logical_cores,
                drafts=drafts,
                settled=self._tunings.settled(card),
                quick=body.quick,
            )
            yield PullEvent(f"tuning {card.name} on {hardware(self._machine)}")
            names = {digest: name for name, digest in drafts}
            for step in steps:
                async with aclosing(self._step(search, step, names)) as events:
                    async for event in events:
                        yield event
            yield PullEvent("holding the whole against the defaults")
            kept = await self._whole(search)
            await asyncio.to_thread(self._tunings.keep, kept)
            self._record(kept)
            result = as_json(kept) | {"disturbed": search.disturbed}
            yield PullEvent("success", result=result)

    def _check_memory(self, card: Card) -> None:
        """Two workers run side by side; nothing that is loaded goes for them."""
        self._count += 1
        launch = self._plan(self._copy(card), LoadOptions())
        free = self._free()
        if 2 * launch.memory > free:
            raise OutOfMemory(
                f"Tuning loads the model twice beside what is loaded: {2 * launch.memory // 2**20} MiB,"
                f" and {free // 2**20} MiB are free.",
                hint="Stop models that are loaded (inhouse ps, inhouse stop), or raise INHOUSE_MEMORY.",
            )

    def _copy(self, card: Card) -> Card:
        tuning = replace(card.tuning, context_length=CONTEXT)
        return copy_of(card, f"tune-{self._count}", tuning)

    async def _step(
        self, search: Search, step: Step, names: Mapping[str, str]
    ) -> AsyncGenerator[PullEvent, None]:
        for value in (*step.values, *step.offered):
            what = shown(value, names)
            wanted = changed(search.best, value)
            if wanted == search.best:
                continue
            if search.over:
                search.trials.append(Trial(what, outcome="not tried: no time was left"))
                continue
            yield PullEvent(f"trying {what}")
            trial = await self._try(search, step, value, what)
            search.trials.append(trial)
            if trial.outcome == "taken":
                search.best = wanted
            yield PullEvent(f"{what}: {trial.gain:.2f} times as fast, {trial.outcome}")

    async def _try(self, search: Search, step: Step, value: Mapping[str, Any], what: str) -> Trial:
        wanted = changed(search.best, value)
        try:
            if step.kind == "guess":
                return await self._guess(search, wanted, what)
            rate: Rate = {"prefill": prefill, "clients": total}.get(step.kind, speed)
            found, rounds = await self._duel(search, wanted, search.best, (step.kind, rate))
        except InhouseError as error:
            return Trial(what, 0.0, 0.0, 0.0, 0, f"not possible: {error.message}")
        outcome = _OUTCOMES[verdict(found)]
        if value in step.offered:
            outcome = "offered only: it costs quality"
        elif outcome == "taken" and step.kind == "prefill" and _too_long(rounds, int(value["batch"])):
            outcome = "not taken: cancels and other streams would wait too long"
        return _trial(what, found, outcome)

    async def _guess(self, search: Search, wanted: Tuned, what: str) -> Trial:
        """A way of guessing is taken for faster copies if ordinary answers stay as fast, or for these."""
        texts, _ = await self._duel(search, wanted, search.best, ("text", decode))
        spread = Spread.of(texts)
        if verdict(texts) == "better":
            return _trial(what, texts, "taken")
        if spread.median < HARMLESS:
            return _trial(what, texts, "slower on ordinary text")
        copies, _ = await self._duel(search, wanted, search.best, ("copy", decode))
        return _trial(f"{what} (copies)", copies, _OUTCOMES[verdict(copies)])

    async def _whole(self, search: Search) -> Kept:
        """What was found, with its gains over the defaults."""
        found: dict[str, float] = {}
        if search.best != Tuned():
            for name, contest in _GAINS.items():
                ratios, _ = await self._duel(search, search.best, Tuned(), contest, most=4)
                found[name] = round(Spread.of(ratios).median, 3)
        key = self._tunings.key(search.card, self._engines.of(search.card))
        return Kept(key, str(search.card.name), search.best, time.time(), tuple(search.trials), found)

    async def _duel(
        self, search: Search, new: Tuned, old: Tuned, contest: tuple[str, Rate], *, most: int = MOST
    ) -> tuple[list[float], list[Round]]:
        """Gains of ``new`` over ``old``, as many as it takes to tell, and the rounds they come from.
        ``contest``: the requests, and what of them counts."""
        kind, rate = contest
        cards = {}
        for who, setup in ((NEW, new), (OLD, old)):
            self._count += 1
            cards[who] = self._copy(search.card)
            self._tunings.try_out(cards[who], setup)
        watch = Watch(self._fleet, {card.digest for card in cards.values()})
        done: list[Round] = []
        try:
            subjects = {
                who: Subject(Leased(self._fleet, card, "tune").run, "") for who, card in cards.items()
            }
            async with aclosing(measure.rounds(subjects, search.plan(kind))) as turns:
                async for one in turns:
                    if watch.look():
                        search.disturbed = True
                        continue
                    done.append(one)
                    ratios = gains(done, NEW, OLD, rate)
                    if verdict(ratios, most=most) != "more" and len(done) % 2 == 0:
                        break
        finally:
            for card in cards.values():
                self._end(card)
        return gains(done, NEW, OLD, rate), [one for one in done if one.subject == NEW]

    def _end(self, card: Card) -> None:
        """Let a copy go, without waiting: also when this is being cancelled."""
        self._tunings.tried(card)
        task = asyncio.create_task(self._fleet.stop(card))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _record(self, kept: Kept) -> None:
        gained = ", ".join(f"{name} {gain:.2f}x" for name, gain in kept.gains.items())
        text = f"It was tuned for this machine: {gained}." if gained else "Nothing beats the defaults here."
        self._tell(Record("notice", kept.model, text, f"See: inhouse tune {kept.model} --show"))


_OUTCOMES: Final = {"better": "taken", "worse": "slower", "same": "not faster", "more": "not faster"}
_GAINS: Final[dict[str, tuple[str, Rate]]] = {
    "prefill": ("prefill", prefill),
    "decode": ("text", decode),
    "copy": ("copy", decode),
    "8 clients": ("clients", total),
}


def _trial(what: str, found: list[float], outcome: str) -> Trial:
    spread = Spread.of(found)
    median, low, high = (round(value, 3) for value in (spread.median, spread.low, spread.high))
    return Trial(what, median, low, high, len(found), outcome)


def _too_long(rounds: list[Round], batch: int) -> bool:
    rate = Spread.of(prefill(one) for one in rounds).median
    return rate > 0 and batch / rate > PATIENCE


def as_json(kept: Kept) -> dict[str, Any]:
    """A tuning for clients: only what was set."""
    blank = Tuned()
    fields = {name: getattr(kept.tuned, name) for name in Tuned.__slots__}
    return {
        "model": kept.model,
        "build": kept.key.build,
        "machine": kept.key.machine,
        "at": kept.at,
        "tuned": {name: value for name, value in fields.items() if value != getattr(blank, name)},
        "gains": dict(kept.gains),
        "trials": [{name: getattr(trial, name) for name in Trial.__slots__} for trial in kept.trials],
    }


__all__ = ["Tuner", "as_json"]
