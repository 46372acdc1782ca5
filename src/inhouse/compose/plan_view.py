"""A plan as JSON. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from .. import machine as machines
from ..core.models import Card
from ..dialects.inhouse.plan import PlanOrder
from ..machine import Gpu, Machine
from ..planning import Planned
from .subjects import Found


@dataclass(frozen=True, slots=True)
class Place:
    """What is planned for: a machine, the bytes ``free`` for models on it, whether it is this one, the
    engine's ``build`` there, the GPUs that it can compute on, and what a person should know of that."""

    machine: Machine
    free: int
    here: bool
    build: str
    gpus: tuple[Gpu, ...] = ()
    notes: tuple[str, ...] = ()


def asked_too_much(card: Card, order: PlanOrder) -> list[str]:
    """Why the context is shorter than asked for, if it is."""
    trained = card.context_length
    if not order.context or not trained or order.context <= trained:
        return []
    return [f"{order.context:,} tokens were asked for; the model was trained for {trained:,}."]


def shown(found: Found, place: Place, planned: Planned, *, learnt: int) -> dict[str, Any]:
    """The plan; ``learnt`` bytes are what the formula was found to lack."""
    card, load, parts, machine = found.card, planned.load, planned.memory, place.machine
    return {
        "source": found.source,
        "quantization": card.quantization,
        "parameters": card.parameters,
        "size": card.size,
        "download": found.download,
        "engine_build": place.build,
        "machine": {
            "here": place.here,
            "fingerprint": machines.fingerprint(machine),
            "cpu": machine.cpu,
            "cores": machine.physical_cores,
            "bandwidth": machine.bandwidth.read,
            "gpus": [gpu.name for gpu in machine.gpus],
        },
        "context": load.context,
        "users": load.slots,
        "kv_type": load.k_type,
        "batch": load.batch,
        "fits": planned.fits,
        "largest_context": planned.largest_context,
        "memory": asdict(parts)
        | {
            "needed": parts.needed,
            "resident": parts.resident + learnt,
            "learnt": learnt,
            "free": place.free,
        },
        "devices": [asdict(one) | {"total": one.total} for one in planned.placement.devices],
        "gpu_layers": planned.placement.gpu_layers,
        "speed": asdict(planned.speed) if planned.speed else None,
        "advice": list(planned.advice),
    }


__all__ = ["Place", "asked_too_much", "shown"]
