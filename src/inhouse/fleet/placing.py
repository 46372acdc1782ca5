"""The scheduler's models as the claims and residents that eviction decides about. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection

from .eviction import Claim, Plan, Resident, plan
from .history import History
from .limits import Limits
from .memory import Room
from .model import Model, State


def free_for_all(models: Collection[Model], free: int | None) -> int | None:
    """Bytes that models could have if none was loaded: what the machine has left (None: unknown) and
    what their workers hold."""
    return None if free is None else free + sum(model.resident for model in models)


def decide(models: Collection[Model], limits: Limits, free: int | None, history: History, now: float) -> Plan:
    """Who may load now, and who has to go for it."""
    room = Room.of(limits.memory, limits.max_loaded, limits.device)
    if (there := free_for_all(models, free)) is not None:
        room = room.within(there)
    claims = [
        Claim(model.key, model.group, _claimed(model, room), oldest.since, model.device)
        for model in models
        if model.state is State.ABSENT and (oldest := model.queue.oldest()) is not None
    ]
    residents = [_resident(model, history, now) for model in models if model.state is not State.ABSENT]
    loading = sum(model.state is State.LOADING for model in models)
    loads = limits.max_loads - loading if limits.max_loads else math.inf
    return plan(claims, residents, room, limits.patience, loads)


def _claimed(model: Model, room: Room) -> int:
    """The bytes that it needs; all there are, if it took more than that but its plan does fit."""
    return model.memory if room.bytes is None else max(model.least, min(model.memory, room.bytes))


def _resident(model: Model, history: History, now: float) -> Resident:
    return Resident(
        key=model.key,
        group=model.group,
        memory=max(model.memory, model.resident),
        settled=model.state is State.READY,
        leaving=model.state is State.STOPPING,
        idle=model.idle,
        kept=model.keep_alive == math.inf,
        last_used=model.last_used,
        since=model.since,
        device=model.device,
        value=history.value(model.key, model.memory, now),
    )
