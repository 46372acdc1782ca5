"""Which waiting models may load now, and who has to go for them. Pure.

The model whose oldest request waits longest has the first claim. If it does not fit, idle models go
first, the least recently used before the others and those kept for ever last; then busy ones, the
longest resident first. A busy model *yields*: it still serves what was in line before the
claimant's oldest request plus a patience, then nothing more, so that steady load on one model cannot
starve another. Whoever comes after the claimant may load beside it but not into the room it claims.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

from .memory import Room
from .messages import Key


@dataclass(frozen=True, slots=True)
class Claim:
    """A model that is not running and has requests in line, the oldest since ``since``."""

    key: Key
    group: Hashable
    memory: int
    since: float


@dataclass(frozen=True, slots=True)
class Resident:
    """A model that takes room. ``settled``: loaded and not told to stop; only such a one can be a
    victim. ``leaving``: told to stop, its room comes back by itself."""

    key: Key
    group: Hashable
    memory: int
    settled: bool
    leaving: bool
    idle: bool
    kept: bool
    last_used: float
    since: float


@dataclass(slots=True)
class Plan:
    """``start`` now; ``yielding`` serve only what is in line since the given time or earlier, then go."""

    start: list[Key] = field(default_factory=list)
    yielding: dict[Key, float] = field(default_factory=dict)


def _order(resident: Resident) -> tuple[bool, bool, float]:
    return (
        not resident.idle,
        resident.kept and resident.idle,
        resident.last_used if resident.idle else resident.since,
    )


def _victims(claim: Claim, candidates: Sequence[Resident], room: Room) -> list[Resident] | None:
    """The models of the claim's own group and as many others as it takes; None if that is not enough."""
    chosen = [r for r in candidates if r.group == claim.group]
    for resident in chosen:
        room = room.free(resident.memory)
    for resident in sorted((r for r in candidates if r.group != claim.group), key=_order):
        if room.fits(claim.memory):
            break
        chosen.append(resident)
        room = room.free(resident.memory)
    return chosen if room.fits(claim.memory) else None


def plan(claims: Sequence[Claim], residents: Sequence[Resident], total: Room, patience: float) -> Plan:
    """Decide for the moment; asking again after any change is cheap and gives the same victims."""
    out = Plan()
    now = later = total
    for resident in residents:
        now = now.take(resident.memory)
        if not resident.leaving:
            later = later.take(resident.memory)
    candidates = [r for r in residents if r.settled]
    taken = {r.group for r in residents}
    claimed: set[Hashable] = set()
    for claim in sorted(claims, key=lambda c: c.since):
        if claim.group in claimed:
            continue
        claimed.add(claim.group)
        if claim.group not in taken and now.fits(claim.memory) and later.fits(claim.memory):
            out.start.append(claim.key)
            now, later = now.take(claim.memory), later.take(claim.memory)
            continue
        victims = _victims(claim, candidates, later)
        if victims is None:
            break  # a model that is loading is in the way; whoever is younger waits behind the claim
        for victim in victims:
            wait = 0.0 if victim.group == claim.group else patience
            out.yielding[victim.key] = -math.inf if victim.idle else claim.since + wait
            candidates.remove(victim)
            later = later.free(victim.memory)
        later = later.take(claim.memory)
    return out
