"""Saves the beginnings of prompts that are asked for again, and reads them in before they are computed.

Nothing that goes wrong here may fail a request: the prompt is computed then, and what was at fault is
deleted.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from ..core.engine import Launch
from ..core.errors import InhouseError, WorkerDied
from ..core.usage import Step
from ..dialects.llamaserver import Tally
from ..dialects.llamaserver.saved import decode_moved, held_tokens
from ..dialects.llamaserver.saved import path as slot_path
from .hot import Rules, Seen, hot, pays
from .marks import Marks, extent
from .seat import Seat, Terms
from .shelf import Saved, Shelf, checksum
from .slots import Slots

_log = logging.getLogger(__name__)

RESTORE: Final = 20.0
"""Seconds that a restore may take; then the prompt is computed."""

FAILURES: Final = 3
"""Saves or restores in a row that were of no use before no more are tried on a worker: some models (with
a sliding window, or recurrent ones) can go on from the very end of what was saved only."""

AGAIN: Final = 600.0
"""Seconds until a prompt is written again after one no longer than it found no room on the shelf."""

RATE: Final = 64
"""Computed tokens from which a prefill tells how fast prefills are."""


class Call(Protocol):
    def __call__(self, path: str, body: Mapping[str, Any], *, param: str) -> Awaitable[bytes]: ...


class Keeper:
    """One worker's; ``slots`` are its slots, ``call`` a small call of its engine."""

    def __init__(self, launch: Launch, call: Call, shelf: Shelf, rules: Rules, slots: Slots) -> None:
        self._launch = launch
        self._call = call
        self._shelf = shelf
        self._rules = rules
        self._slots = slots
        self._layout = Path(launch.prefixes).name
        self._seen = Seen()
        self._failures = 0
        self._rate = 0.0
        self._refused = (0, -AGAIN)
        self._opened = False
        self._saving = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

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

    async def restore(self, seat: Seat, known: int) -> bool:
        """Read the saved prompt that knows most of this one into its slot, if that is worth it; the slot
        itself knows the first ``known`` blocks. Raises WorkerDied."""
        shelf = self._shelf
        if self._failures >= FAILURES or not seat.marks.plain:
            return False
        if not self._opened:
            await asyncio.to_thread(shelf.open, self._layout)
            self._opened = True
        found = shelf.find(self._layout, self._owner(seat.terms), seat.marks.chain)
        if found is None:
            return False
        saved, blocks = found
        there = saved.tokens / extent(len(saved.marks))
        gain = there * (extent(blocks) - extent(known))
        fits = saved.held <= self._launch.context_length or not self._launch.context_length
        if gain < self._rules.minimum or not fits:
            return False
        began = time.monotonic()
        try:
            async with asyncio.timeout(RESTORE):
                done = await self._read(seat, saved)
        except (InhouseError, TimeoutError) as error:
            _log.warning("a saved prompt could not be read: %s", error)
            self._failures += 1
            if isinstance(error, TimeoutError):  # the engine may have been busy with others
                await asyncio.to_thread(shelf.touch, saved, hit=False)
            else:
                await asyncio.to_thread(shelf.drop, saved)
            if isinstance(error, WorkerDied):
                raise
            return False
        if done:
            seat.saved, seat.expected = saved, there * extent(blocks)
            self._rate = self._rate or saved.seconds / saved.tokens
            self._tell(seat, saved, time.monotonic() - began)
        return done

    async def _read(self, seat: Seat, saved: Saved) -> bool:
        if seat.slot is None or not await asyncio.to_thread(self._shelf.intact, saved):
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

    def learn(self, seat: Seat, tally: Tally) -> None:
        """What a finished generation tells: whether a restore was of use, and whether a save would be."""
        usage = tally.usage()
        total, computed = usage.prompt_tokens, usage.prompt_tokens - usage.cached_tokens
        if computed >= RATE:
            self._rate = tally.timings().prefill / computed
        if seat.saved is not None:
            hit = usage.cached_tokens >= seat.expected / 2
            self._failures = 0 if hit else self._failures + 1
            touch = functools.partial(asyncio.to_thread, self._shelf.touch, seat.saved, hit=hit)
            self._start(touch)
        owner = self._owner(seat.terms)
        before = self._seen.note(owner, seat.marks, seat.terms.number)
        unproven = self._shelf.unproven(self._layout, owner)
        blocks = hot(seat.marks, before, total, pinned=seat.terms.pinned, unproven=unproven)
        wanted = round(total * seat.marks.share(blocks))
        savable = blocks and seat.marks.plain and self._failures < FAILURES
        if savable and self._wanted(seat.marks, owner, blocks, wanted):
            self._start(functools.partial(self._save, seat, owner, blocks, wanted))

    def _wanted(self, found: Marks, owner: str, blocks: int, wanted: int) -> bool:
        refused, when = self._refused
        if wanted >= refused and time.monotonic() - when < AGAIN:
            return False
        there = self._shelf.find(self._layout, owner, found.chain[:blocks])
        return pays(wanted, round(wanted * extent(there[1]) / extent(blocks)) if there else 0, self._rules)

    def _start(self, work: Callable[[], Awaitable[Any]]) -> None:
        async def carry_out() -> None:
            try:
                await work()
            except WorkerDied:
                pass  # it was stopped meanwhile
            except (InhouseError, OSError, ValueError) as error:
                _log.warning("a prompt could not be saved: %s", error)
                self._failures += 1

        task = asyncio.create_task(carry_out())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _save(self, seat: Seat, owner: str, blocks: int, wanted: int) -> None:
        """Save the prompt's beginning when the worker is idle, or its slot at least."""
        slot = seat.slot
        async with self._saving:
            await self._quiet()
            stolen = slot is None or slot.busy or slot.marks is not seat.marks
            if slot is None or stolen or not self._wanted(seat.marks, owner, blocks, wanted):
                return
            part = Path(self._launch.prefixes) / f"{secrets.token_hex(8)}.part"
            self._slots.hold(slot)
            try:
                held = await self._written(slot.number, part, wanted, seat)
                if held and slot.marks is seat.marks:
                    slot.marks = seat.marks.cut(blocks) if held <= wanted else seat.marks
                    saved = await asyncio.to_thread(self._entry, seat, owner, blocks, part)
                    saved.tokens, saved.held, saved.seconds = wanted, held, wanted * self._rate
                    if not await asyncio.to_thread(self._shelf.add, saved, part):
                        self._refused = (wanted, time.monotonic())
            finally:
                self._slots.give(slot)
                part.unlink(missing_ok=True)

    def _entry(self, seat: Seat, owner: str, blocks: int, part: Path) -> Saved:
        """What is known of a file that was just written. Blocking."""
        return Saved(
            name=part.stem,
            layout=self._layout,
            owner=owner,
            marks=[mark.hex() for mark in seat.marks.chain[:blocks]],
            size=part.stat().st_size,
            crc=checksum(part),
            used=time.time(),
        )

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
        return moved.n_saved
