"""Which way of loading a model serves which wish."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import itertools
from collections import deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Final, cast

from ..core.engine import Launch
from ..core.errors import InhouseError
from ..core.models import Card
from ..core.requests import LoadOptions
from .lease import own
from .story import Chapter
from .wishes import Wishes, grown
from .worker import Worker

CHAPTERS: Final = 32
"""What happened to a variant, as far as requests that wait may still ask for it."""

_KEPT: Final = (
    "The model was loaded anew several times in the last minute for other load options (threads, batch,"
    " GPU layers, memory mapping); this request runs with the options that it has now."
)


@dataclass(frozen=True, slots=True)
class VariantKey:
    """A model (by digest) and the options it is loaded with."""

    digest: str
    wish: LoadOptions


def normal(load: LoadOptions) -> LoadOptions:
    """The same wish in one spelling: automatic GPU layers are no wish, nor is a context of 0."""
    layers = None if load.gpu_layers == -1 else load.gpu_layers
    return dataclasses.replace(load, gpu_layers=layers, context_length=load.context_length or None)


@dataclass(slots=True, eq=False)
class Variant:
    """A planned or running way of loading a model. ``covers`` remembers wishes found to be served, ``story``
    what happened to it lately. ``called``: it is to be loaded in the place of another; of several the one
    with the greatest number last."""

    key: VariantKey
    card: Card
    launch: Launch
    worker: Worker | None = None
    covers: set[LoadOptions] = field(default_factory=set)
    story: deque[Chapter] = field(default_factory=lambda: deque(maxlen=CHAPTERS))
    called: int = 0

    def agrees(self, wish: LoadOptions) -> bool:
        """Do the options other than the context length allow this wish? No opinion agrees with all."""
        own = self.key.wish
        pairs = (
            (wish.batch, own.batch),
            (wish.gpu_layers, own.gpu_layers),
            (wish.threads, own.threads),
            (wish.use_mmap, own.use_mmap),
        )
        return self.enforces(wish) and all(wanted is None or wanted == given for wanted, given in pairs)

    def enforces(self, wish: LoadOptions) -> bool:
        """Has its engine the grammar that the wish needs, and leaves it be what the wish rules out?"""
        if wish.unguessed and self.launch.speculative:
            return False
        return not wish.grammar or wish.grammar in self.launch.grammars

    def serves(self, wish: LoadOptions, planned: Launch | None = None) -> bool:
        """Can a request with this (normal) wish run here without a reload?

        ``planned`` is what the engine would make of the wish; it settles what the wish alone does
        not, e.g. whether a default or an over-long context is more than there already is.
        """
        if wish == self.key.wish or wish in self.covers:
            return True
        if not self.agrees(wish):
            return False
        wanted = wish.context_length
        enough = wanted is not None and wanted <= self.launch.context_length
        if planned is not None and planned.context_length <= self.launch.context_length:
            enough = True
        if enough and len(self.covers) < 256:
            self.covers.add(wish)
        return enough


class Variants:
    """All variants of a fleet, and what is being planned. ``launch`` is called in a thread."""

    def __init__(self, launch: Callable[[Card, LoadOptions], Launch]) -> None:
        self._launch = launch
        self._variants: dict[VariantKey, Variant] = {}
        self._plans: dict[VariantKey, asyncio.Task[Launch]] = {}
        self._wishes = Wishes()
        self._calls = itertools.count(1)

    def __getitem__(self, key: object) -> Variant:
        return self._variants[cast(VariantKey, key)]

    def __iter__(self) -> Iterator[Variant]:
        return iter(list(self._variants.values()))

    @property
    def planning(self) -> Collection[asyncio.Task[Launch]]:
        """Plans under way."""
        return self._plans.values()

    def get(self, key: object) -> Variant | None:
        return self._variants.get(cast(VariantKey, key))

    def drop(self, key: VariantKey) -> None:
        """Forget one that nobody runs or waits for; a new one may be planned differently."""
        del self._variants[key]

    async def find(self, card: Card, wish: LoadOptions, now: float) -> tuple[Variant, str]:
        """The variant that serves this wish: one there is, else a new one. The text says what of the wish
        it does not heed, "" nothing. Raises what ``launch`` raises."""
        self._wishes.note(card.digest, wish.context_length, now)
        if (found := self._match(card, wish, None)) is not None:
            return self._or_rather(found, wish, now)
        launch = await self._plan(card, wish)
        if not wish.context_length:
            self._wishes.note(card.digest, launch.context_length, now)
        if (found := self._match(card, wish, launch)) is not None:
            return self._or_rather(found, wish, now)
        present = self._last(card.digest)
        growing = present is not None and launch.context_length > present.launch.context_length
        if present is not None and not growing and not self._may_replace(present, wish, now):
            return present, _KEPT
        wish, launch = await self._largest(card, wish, launch, growing=growing)
        if (found := self._match(card, wish, launch)) is not None:
            return found, ""
        key = VariantKey(card.digest, wish)
        variant = self._variants[key] = Variant(key, card, launch, called=next(self._calls))
        return variant, ""

    def _or_rather(self, found: Variant, wish: LoadOptions, now: float) -> tuple[Variant, str]:
        """``found``, or what is there in its place if coming back to it was one reload too many."""
        last = self._last(found.key.digest)
        if last is None or last is found or found.called:
            return found, ""
        growing = (wish.context_length or found.launch.context_length) > last.launch.context_length
        if not growing and not self._may_replace(last, wish, now):
            return last, _KEPT
        found.called = next(self._calls)
        return found, ""

    def _may_replace(self, present: Variant, wish: LoadOptions, now: float) -> bool:
        """May another variant be loaded for this wish, now that there is one? Counts it if that matters."""
        return not present.enforces(wish) or self._wishes.may_reload(present.key.digest, now)

    def _last(self, digest: str) -> Variant | None:
        """Which variant of a model runs when all those are served that wait now."""
        own = [v for v in self._variants.values() if v.key.digest == digest]
        loaded = next((v for v in own if v.worker is not None), None)
        return max((v for v in own if v.called), key=lambda v: v.called, default=loaded)

    async def _largest(
        self, card: Card, wish: LoadOptions, launch: Launch, *, growing: bool
    ) -> tuple[LoadOptions, Launch]:
        """The same with the largest context that was wished for lately, if there is room for one."""
        wanted = self._wishes.largest(card.digest)
        if growing and wish.context_length:
            wanted = max(wanted, grown(wish.context_length))
        wanted = min(wanted, card.context_length or wanted)
        if wanted <= launch.context_length:
            return wish, launch
        larger = dataclasses.replace(wish, context_length=wanted)
        try:
            planned = await self._plan(card, larger)
        except InhouseError:
            return wish, launch  # what was asked for does fit
        better = planned.context_length > launch.context_length
        return (larger, planned) if better else (wish, launch)

    async def _plan(self, card: Card, wish: LoadOptions) -> Launch:
        """One plan at a time for all who ask for the same."""
        key = VariantKey(card.digest, wish)
        plan = self._plans.get(key)
        if plan is None:
            plan = asyncio.create_task(asyncio.to_thread(self._launch, card, wish))
            self._plans[key] = plan
            plan.add_done_callback(functools.partial(self._planned, key))
        try:
            return await asyncio.shield(plan)
        except InhouseError as error:
            raise own(error) from error

    def _planned(self, key: VariantKey, plan: asyncio.Task[Launch]) -> None:
        del self._plans[key]
        if not plan.cancelled():
            plan.exception()  # looked at, for the case that everybody left meanwhile

    def _match(self, card: Card, wish: LoadOptions, planned: Launch | None) -> Variant | None:
        """The newest variant that would do: a reload under way is better than what it replaces."""
        return next(
            (
                variant
                for variant in reversed(self._variants.values())
                if variant.key.digest == card.digest and variant.serves(wish, planned)
            ),
            None,
        )
