"""A plan as JSON values. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ..machine import fingerprint
from ..machine.footprint import Memory
from .found import Found
from .places import Place
from .plan import Planned


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
            "fingerprint": fingerprint(machine),
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


def reckoned(build: str, parts: Sequence[Mapping[str, Any]], formula: Memory) -> dict[str, Any]:
    """The engine's own reckoning, ``parts`` by kind of memory with a ``total`` each, beside the formula."""
    mine = formula.weights + formula.kv + formula.compute
    total = sum(part["total"] for part in parts)
    return {
        "build": build,
        "parts": [dict(part) for part in parts],
        "total": total,
        "formula": mine,
        "off": (mine - total) / total if total else 0.0,
    }


__all__ = ["reckoned", "shown"]
