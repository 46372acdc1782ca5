"""The quantisations of one model beside each other. Pure."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ..machine.fit import sized
from ..machine.footprint import Load
from .found import Found, requantised
from .mixes import BASES, COMPARED, quantised
from .plan import Host, make

Quality = Mapping[str, float]
"""By quantisation: how far from the original, measured here with this very model."""

_MIB = 2**20


def _bits(kind: str, found: Found) -> int:
    return sum(tensor.size for tensor in quantised(found.tensors, kind, found.facts))


def smaller(found: Found, host: Host, load: Load) -> list[tuple[str, int]]:
    """Quantisations of fewer bytes with the bytes that they would lack on the processor, largest first."""
    if not found.tensors:
        return []
    sizes = {kind: _bits(kind, found) for kind in COMPARED}
    shape = found.shape
    below = {kind: size for kind, size in sizes.items() if size < shape.weights}
    needed = sized(shape, load, load.context, load.slots).needed - shape.weights
    return [
        (kind, needed + size - host.free) for kind, size in sorted(below.items(), key=lambda one: -one[1])
    ]


def compared(
    found: Found, host: Host, load: Load, prompt: int, quality: Quality | None = None
) -> list[dict[str, Any]]:
    """A row for each quantisation, most bits first, the model's own among them."""
    if not found.tensors:
        return []
    card = found.card
    own = card.quantization.upper()
    kinds = list(COMPARED)
    if own in BASES and own not in kinds:
        kinds.append(own)
    rows = []
    for kind in kinds:
        other = requantised(found, kind)
        size = sum(tensor.size for tensor in other.tensors)
        subject = dataclasses.replace(other.subject, size=size, quantization=kind)
        plan = make(subject, host, load, prompt=prompt)
        rows.append(
            {
                "quantization": kind,
                "stored": kind == own and found.source == "stored",
                "size": size,
                "bits": size * 8 / card.parameters if card.parameters else 0.0,
                "needed": plan.memory.needed,
                "fits": plan.fits,
                "largest_context": plan.largest_context,
                "decode": [plan.speed.decode.low, plan.speed.decode.high] if plan.speed else None,
                "quality": (quality or {}).get(kind),
            }
        )
    return sorted(rows, key=lambda row: -row["size"])


def bars_of(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], dict[str, list[float]]]:
    """(Labels, series in MiB) to draw: what each quantisation takes."""
    labels = [f"{row['quantization']}{'' if row['fits'] else ' (does not fit)'}" for row in rows]
    return labels, {
        "weights": [row["size"] / _MIB for row in rows],
        "needed in all": [row["needed"] / _MIB for row in rows],
    }


def parts_of(plan: Mapping[str, Any]) -> tuple[list[str], dict[str, list[float]]]:
    """(Labels, series in MiB) to draw: what a single plan takes its memory for, on each device."""
    names = Counter(device["name"] for device in plan["devices"])
    series = {
        device["name"] if names[device["name"]] == 1 else f"{device['name']} ({number})": [
            device[part] / _MIB for part in ("weights", "kv", "compute", "runtime")
        ]
        for number, device in enumerate(plan["devices"])
    }
    return ["weights", "KV cache", "buffers", "process"], series


__all__ = ["Quality", "bars_of", "compared", "parts_of", "smaller"]
