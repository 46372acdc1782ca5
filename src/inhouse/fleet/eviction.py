"""Which waiting models may load now, and who has to go for them. Pure.

The model whose oldest request waits longest has the first claim. If it does not fit, idle models go:
of all sets of them that make enough room the one that is worth least, models kept for ever only where
nothing else does. If the idle are not enough, busy ones go, too, the longest resident first, those kept
for ever last. A busy
model *yields*: it still serves what was in line before the claimant's oldest request plus a patience,
then nothing more, so that steady load on one model cannot starve another. Whoever comes after the
claimant may load beside it but not into the room it claims. Where models turn out to take more than there
is, idle ones go although nobody claims their room.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from .memory import Room
from .messages import Key

TRIED: Final = 12
"""Idle models of which every combination is tried (4,096 of them); with more, the least worth go first."""

KEPT: Final = 1e12
"""What keeping a model for ever adds to its worth."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A model that is not running and has requests in line, the oldest since ``since``."""

    key: Key
    group: Hashable
    memory: int
    since: float
    device: int = 0


@dataclass(frozen=True, slots=True)
class Resident:
    """A model that takes room. ``settled``: loaded and not told to stop; only such a one can be a
    victim. ``leaving``: told to stop, its room comes back by itself. ``value`` is what losing it costs,
    in seconds that somebody is likely to wait."""

    key: Key
    group: Hashable
    memory: int
    settled: bool
    leaving: bool
    idle: bool
    kept: bool
    last_used: float
    since: float
    device: int = 0
    value: float = 0.0

    @property
    def loss(self) -> float:
        """The value, with what is kept for ever above all others."""
        return self.value + (KEPT if self.kept else 0.0)


@dataclass(slots=True)
class Plan:
    """``start`` now; ``yielding`` serve only what is in line since the given time or earlier, then go, for
    the model that ``claimants`` names; those of them that are ``crowded`` out go because of how many may be
    loaded, not for their memory. ``hopeless`` would not fit if all others were gone."""

    start: list[Key] = field(default_factory=list)
    yielding: dict[Key, float] = field(default_factory=dict)
    claimants: dict[Key, Key] = field(default_factory=dict)
    crowded: set[Key] = field(default_factory=set)
    hopeless: list[Key] = field(default_factory=list)


def _freed(room: Room, models: Iterable[Resident]) -> Room:
    for one in models:
        room = room.free(one.memory, one.device)
    return room


def _cheapest(claim: Claim, idle: Sequence[Resident], room: Room) -> list[Resident] | None:
    """The set of idle models that makes enough room and is worth least; None if all are not enough.

    Where there is room already it is quick: that is asked with every event while models go or load.
    """
    if room.fits(claim.memory, claim.device):
        return []
    idle = sorted(idle, key=lambda one: (one.loss, one.last_used))
    if not _freed(room, idle).fits(claim.memory, claim.device):
        return None
    if len(idle) > TRIED:
        return _thinned(claim, idle, room)
    sets = itertools.chain.from_iterable(itertools.combinations(idle, n) for n in range(len(idle) + 1))
    enough = (one for one in sets if _freed(room, one).fits(claim.memory, claim.device))
    best = min(enough, key=lambda one: (sum(r.loss for r in one), len(one), [r.last_used for r in one]))
    return list(best)


def _thinned(claim: Claim, candidates: Sequence[Resident], room: Room) -> list[Resident]:
    """The first candidates that make enough room, less those of them that are not needed for it."""
    chosen: list[Resident] = []
    for one in candidates:
        if _freed(room, chosen).fits(claim.memory, claim.device):
            break
        chosen.append(one)
    for one in sorted(chosen, key=lambda one: (one.idle, -one.loss)):
        rest = [other for other in chosen if other is not one]
        if _freed(room, rest).fits(claim.memory, claim.device):
            chosen = rest
    return chosen


def _victims(claim: Claim, candidates: Sequence[Resident], room: Room) -> list[Resident] | None:
    """The models of the claim's own group and as few others as it takes; None if that is not enough."""
    own = [r for r in candidates if r.group == claim.group]
    others = [r for r in candidates if r.group != claim.group]
    room = _freed(room, own)
    idle = [r for r in others if r.idle]
    chosen = _cheapest(claim, idle, room)
    if chosen is None:
        if not _freed(room, others).fits(claim.memory, claim.device):
            return None
        idle.sort(key=lambda r: (r.loss, r.last_used))
        busy = sorted((r for r in others if not r.idle), key=lambda r: (r.kept, r.since))
        chosen = _thinned(claim, [*idle, *busy], room)
    return own + chosen


def _surplus(candidates: Sequence[Resident], room: Room, staying: int) -> list[Resident]:
    """Idle models that have to go because all together take more than there is. One of the ``staying``
    models, those not told to stop, is left: alone it may take more than was planned."""
    if not room.short:
        return []
    idle = [r for r in candidates if r.idle]
    nothing = Claim("", "", 0, 0.0)
    enough = _cheapest(nothing, idle, replace(room, models=None))
    if enough is None:
        return [r for r in idle if not r.kept]
    return enough if len(enough) < staying else sorted(enough, key=lambda r: r.loss)[:-1]


def plan(
    claims: Sequence[Claim],
    residents: Sequence[Resident],
    total: Room,
    patience: float,
    loads: float = math.inf,
) -> Plan:
    """Decide for the moment; asking again after any change is cheap and gives the same victims. ``loads``
    may begin now."""
    out = Plan()
    now = later = total
    for resident in residents:
        now = now.take(resident.memory, resident.device)
        if not resident.leaving:
            later = later.take(resident.memory, resident.device)
    candidates = [r for r in residents if r.settled]
    staying = sum(not r.leaving for r in residents)
    for victim in _surplus(candidates, later, staying):
        out.yielding[victim.key] = -math.inf
        candidates.remove(victim)
        later = later.free(victim.memory, victim.device)
    taken = {r.group for r in residents}
    claimed: set[Hashable] = set()
    for claim in sorted(claims, key=lambda c: c.since):
        if claim.group in claimed:
            continue
        if not total.fits(claim.memory, claim.device):
            out.hopeless.append(claim.key)
            continue
        if len(out.start) >= loads:
            break
        claimed.add(claim.group)
        size = (claim.memory, claim.device)
        if claim.group not in taken and now.fits(*size) and later.fits(*size):
            out.start.append(claim.key)
            now, later = now.take(*size), later.take(*size)
            continue
        victims = _victims(claim, candidates, later)
        if victims is None:
            break  # a model that is loading is in the way; whoever is younger waits behind the claim
        if replace(later, models=None).fits(*size):
            out.crowded.update(victim.key for victim in victims)
        for victim in victims:
            wait = 0.0 if victim.group == claim.group else patience
            out.yielding[victim.key] = -math.inf if victim.idle else claim.since + wait
            out.claimants[victim.key] = claim.key
            candidates.remove(victim)
        later = _freed(later, victims).take(*size)
    return out
