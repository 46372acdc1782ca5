"""Gives every request of a worker its slot, and brings back what was computed before.

The life of a generation: *sit* (choose a slot; if a saved prompt knows more of this one than the slot
does, read it in) · run · *rise* (free the slot; if the prompt's beginning is wanted again, save it when
the worker has nothing else to do). Nothing that goes wrong here may fail a request: it is computed then.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import logging
import secrets
import time
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from ..core.engine import Launch
from ..core.errors import EngineError, InhouseError, WorkerDied
from ..core.requests import Common
from ..core.usage import Step
from ..dialects.llamaserver import Tally
from ..dialects.llamaserver.saved import decode_moved, held_tokens
from ..dialects.llamaserver.saved import path as slot_path
from .hot import Rules, Seen, hot, pays
from .marks import NOTHING, Marks, marks
from .shelf import Saved, Shelf, checksum
from .slots import Slot, Slots

_log = logging.getLogger(__name__)
_numbers = itertools.count(1)

RESTORE: Final = 20.0
"""Seconds that a restore may take; then the prompt is computed."""

FAILURES: Final = 3
"""Saves or restores in a row that were of no use before no more are tried on a worker: some models (with
a sliding window, or recurrent ones) can go on from the very end of what was saved only."""

RATE: Final = 64
"""Computed tokens from which a prefill tells how fast prefills are."""


class Call(Protocol):
    def __call__(self, path: str, body: Mapping[str, Any], *, param: str) -> Awaitable[bytes]: ...


@dataclass(slots=True)
class Terms:
    """What a request brings to all its generations: whose it is, the scales of the worker's adapters, and
    whether its prompt is pinned. ``steps`` and the counts are what was done for it."""

    tenant: str = ""
    scales: tuple[float, ...] = ()
    pinned: bool = False
    number: int = field(default_factory=lambda: next(_numbers))
    steps: list[Step] = field(default_factory=list)
    restored: int = 0
    read: int = 0


@dataclass(slots=True)
class Seat:
    """One generation's place: ``body`` is what to send; ``slot`` None leaves the choice to the engine."""

    body: Mapping[str, Any]
    terms: Terms
    slot: Slot | None = None
    marks: Marks = NOTHING
    astray: bool = False
    saved: Saved | None = None
    expected: float = 0.0


class Desk:
    """One worker's. ``shelf`` None, or a launch without a folder: nothing is saved."""

    def __init__(self, launch: Launch, call: Call, shelf: Shelf | None, rules: Rules) -> None:
        self._launch = launch
        self._call = call
        self._rules = rules
        self._shelf = shelf if launch.prefixes else None
        self._layout = Path(launch.prefixes).name
        self._apart = rules.sharing == "none"
        self._slots = Slots(launch.slots, apart=self._apart)
        self._managed = bool(launch.prefixes or launch.adapters or self._apart)
        self._seen = Seen()
        self._failures = 0
        self._rate = 0.0
        self._opened = False
        self._saving = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    def terms(self, request: Common) -> Terms:
        """The terms of a request. Raises EngineError if the worker lacks one of its adapters."""
        wanted = dict(request.adapters)
        if not wanted.keys() <= set(self._launch.adapters):
            raise EngineError(
                "The model's worker does not have the adapter that is asked for.",
                hint="Stop the model and try again: it is loaded with all adapters that there are.",
            )
        scales = tuple(wanted.get(digest, 0.0) for digest in self._launch.adapters)
        return Terms(request.tenant, scales, request.pin is not None)

    async def sit(self, terms: Terms, body: Mapping[str, Any]) -> Seat:
        """A place for a generation. Always ``rise`` from it."""
        if terms.scales:  # without the field, the engine would keep what other adapters computed
            body = {**body, "lora": [{"id": i, "scale": scale} for i, scale in enumerate(terms.scales)]}
        if not self._managed:
            return Seat(body, terms)
        found = marks(body)
        slot = None
        if (body.get("n") or body.get("n_cmpl") or 1) == 1:
            slot = self._slots.take(found, terms.tenant, terms.scales)
        if slot is None:
            self._slots.stray(1)
            if self._apart:
                body = {**body, "cache_prompt": False}
            return Seat(body, terms, astray=True)
        try:
            return await self._seated(slot, Seat(body, terms, slot, found))
        except BaseException:
            slot.forget()
            self._slots.give(slot)
            raise

    async def _seated(self, slot: Slot, seat: Seat) -> Seat:
        terms = seat.terms
        alike = slot.adapters == terms.scales and (slot.tenant == terms.tenant or not self._apart)
        known = seat.marks.common(slot.marks.chain) if alike else 0
        foreign = slot.tenant != terms.tenant
        fresh = seat.body.get("cache_prompt") and await self._restored(seat, known)
        slot.marks, slot.tenant, slot.adapters = seat.marks, terms.tenant, terms.scales
        seat.body = {**seat.body, "id_slot": slot.number}
        if self._apart and foreign and not fresh:
            seat.body["cache_prompt"] = False
        return seat

    def rise(self, seat: Seat, tally: Tally | None) -> None:
        """Give the place back; ``tally`` is that of a generation that came to its end."""
        if seat.astray:
            self._slots.stray(-1)
        if seat.slot is None:
            return
        self._slots.give(seat.slot)
        if tally is not None and self._shelf is not None:
            self._learn(seat, tally, self._shelf)

    def stray(self, change: int) -> None:
        """A call begins (1) or ends (-1) for which the engine chooses slots."""
        if self._managed:
            self._slots.stray(change)

    async def close(self) -> None:
        """Give up what is being saved."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # restoring

    def _owner(self, terms: Terms) -> str:
        """Whose saved prompts are looked at: the tenant's own, and those of the same adapters."""
        who = "" if self._rules.sharing == "all" else terms.tenant
        mixed = dict(zip(self._launch.adapters, terms.scales, strict=True))
        used = sorted((digest, scale) for digest, scale in mixed.items() if scale)
        return hashlib.blake2b(repr((who, used)).encode(), digest_size=12).hexdigest()

    async def _restored(self, seat: Seat, known: int) -> bool:
        """Read in the saved prompt that knows most of this one, if that is worth it."""
        shelf = self._shelf
        if shelf is None or self._failures >= FAILURES or not seat.marks.plain:
            return False
        if not self._opened:
            await asyncio.to_thread(shelf.open, self._layout)
            self._opened = True
        found = shelf.find(self._layout, self._owner(seat.terms), seat.marks.chain)
        if found is None:
            return False
        saved, blocks = found
        gain = saved.tokens * (blocks - known) / len(saved.marks)
        if gain < self._rules.minimum:
            return False
        began = time.monotonic()
        try:
            async with asyncio.timeout(RESTORE):
                done = await self._read(seat, saved, shelf)
        except (InhouseError, TimeoutError) as error:
            _log.warning("a saved prompt could not be read: %s", error)
            self._failures += 1
            await asyncio.to_thread(shelf.drop, saved)
            if isinstance(error, WorkerDied):
                raise
            return False
        if done:
            seat.saved, seat.expected = saved, saved.tokens * blocks / len(saved.marks)
            self._rate = self._rate or saved.seconds / saved.tokens
            self._tell(seat, saved, time.monotonic() - began)
        return done

    async def _read(self, seat: Seat, saved: Saved, shelf: Shelf) -> bool:
        if seat.slot is None or not await asyncio.to_thread(shelf.intact, saved):
            return False
        number = seat.slot.number
        if seat.terms.scales:  # a slot forgets its prompt when its adapters change: change them first
            lora = seat.body["lora"]
            await self._compute([0], number, {"lora": lora, "cache_prompt": False})
        answer = await self._call(
            slot_path(number, "restore"), {"filename": f"{saved.name}.kv"}, param="prompt"
        )
        return decode_moved(answer).n_restored > 0

    @staticmethod
    def _tell(seat: Seat, saved: Saved, seconds: float) -> None:
        terms, tokens = seat.terms, round(seat.expected)
        terms.restored, terms.read = tokens, saved.size
        terms.steps.append(
            Step("restore", seconds, f"About {tokens} tokens of the prompt were read from disk.")
        )

    async def _compute(self, tokens: list[int], slot: int, more: Mapping[str, Any]) -> None:
        """Read a prompt and say nothing."""
        body = {"prompt": tokens, "n_predict": 0, "id_slot": slot, "cache_prompt": True, **more}
        await self._call("/completion", body, param="prompt")

    # saving

    def _learn(self, seat: Seat, tally: Tally, shelf: Shelf) -> None:
        """What a finished generation tells: whether a restore was of use, and whether a save would be."""
        usage = tally.usage()
        total, computed = usage.prompt_tokens, usage.prompt_tokens - usage.cached_tokens
        if computed >= RATE:
            self._rate = tally.timings().prefill / computed
        if seat.saved is not None:
            hit = usage.cached_tokens >= seat.expected / 2
            self._failures = 0 if hit else self._failures + 1
            self._start(asyncio.to_thread(shelf.touch, seat.saved, hit=hit))
        owner = self._owner(seat.terms)
        before = self._seen.note(owner, seat.marks, seat.terms.number)
        blocks = hot(seat.marks, before, total, pinned=seat.terms.pinned)
        wanted = round(total * seat.marks.share(blocks))
        if (
            blocks
            and seat.marks.plain
            and self._failures < FAILURES
            and self._wanted(seat.marks, owner, blocks, wanted, shelf)
        ):
            self._start(self._save(seat, owner, blocks, wanted, shelf))

    def _wanted(self, found: Marks, owner: str, blocks: int, wanted: int, shelf: Shelf) -> bool:
        there = shelf.find(self._layout, owner, found.chain[:blocks])
        return pays(wanted, round(wanted * there[1] / blocks) if there else 0, self._rules)

    def _start(self, work: Awaitable[Any]) -> None:
        async def carry_out() -> None:
            try:
                await work
            except (InhouseError, OSError, ValueError) as error:
                _log.warning("a prompt could not be saved: %s", error)
                self._failures += 1

        task = asyncio.create_task(carry_out())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _save(self, seat: Seat, owner: str, blocks: int, wanted: int, shelf: Shelf) -> None:
        """Save the prompt's beginning when the worker is idle, or its slot at least."""
        slot = seat.slot
        async with self._saving:
            await self._quiet()
            stolen = slot is None or slot.busy or slot.marks is not seat.marks
            if slot is None or stolen or not self._wanted(seat.marks, owner, blocks, wanted, shelf):
                return
            slot.busy = True
            name = secrets.token_hex(8)
            part = Path(self._launch.prefixes) / f"{name}.part"
            try:
                held = await self._written(slot.number, part, wanted, seat)
                if not held:
                    return
                size, crc = part.stat().st_size, await asyncio.to_thread(checksum, part)
                chain = [mark.hex() for mark in seat.marks.chain[:blocks]]
                saved = Saved(
                    name,
                    self._layout,
                    owner,
                    chain,
                    wanted,
                    held,
                    size,
                    crc,
                    wanted * self._rate,
                    time.time(),
                )
                await asyncio.to_thread(shelf.add, saved, part)
            finally:
                self._slots.give(slot)
                part.unlink(missing_ok=True)

    async def _quiet(self) -> None:
        waited = 0.0
        while waited < self._rules.patience:
            await asyncio.sleep(self._rules.quiet)
            waited += self._rules.quiet or self._rules.patience
            if not self._slots.busy:
                return

    async def _written(self, slot: int, part: Path, wanted: int, seat: Seat) -> int:
        """Let the engine write a slot; what is much longer than the wanted beginning is cut off first
        (the engine keeps what a slot loses in its memory). Returns the number of tokens, 0 where the slot
        does not hold the prompt any more."""
        body = {"filename": part.name}
        moved = decode_moved(await self._call(slot_path(slot, "save"), body, param="prompt"))
        tokens = await asyncio.to_thread(held_tokens, part)
        if len(tokens) != moved.n_saved or len(tokens) < wanted * 0.9:
            return 0
        if len(tokens) <= 2 * wanted:
            return len(tokens)
        lora = {"lora": seat.body["lora"]} if seat.terms.scales else {}
        await self._compute(tokens[:wanted], slot, lora)
        moved = decode_moved(await self._call(slot_path(slot, "save"), body, param="prompt"))
        if seat.slot is not None:
            seat.slot.marks = Marks(seat.marks.chain[: int(len(seat.marks.chain) * wanted / len(tokens))])
        return moved.n_saved
