"""The quantisations of one model beside each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from .. import charts
from ..machine.fit import sized
from ..machine.footprint import Load
from ..planning import Host, Subject, make
from ..planning.mixes import BASES, COMPARED, quantised
from .subjects import Found, requantised

Quality = Mapping[str, float]
"""By quantisation: how far from the original, measured here with this very model."""


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
        shaped = Subject(str(card.name), other.shape, card.parameters, size, kind, card.context_length)
        plan = make(shaped, host, load, prompt=prompt)
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


def drawn(name: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Bars of what each takes (or, for a single plan, what for), in MiB."""
    mib = 2**20
    if rows and "bits" in rows[0]:
        labels = [f"{row['quantization']}{'' if row['fits'] else ' (does not fit)'}" for row in rows]
        needed = [row["needed"] / mib for row in rows]
        weights = [row["size"] / mib for row in rows]
        return charts.bars(
            f"{name}: quantisations", "MiB", labels, {"weights": weights, "needed in all": needed}
        )
    parts = ("weights", "kv", "compute", "runtime")
    devices = [device for row in rows for device in row["devices"]]
    names = Counter(device["name"] for device in devices)
    series = {
        device["name"] if names[device["name"]] == 1 else f"{device['name']} ({number})": [
            device[part] / mib for part in parts
        ]
        for number, device in enumerate(devices)
    }
    return charts.bars(f"{name}: memory", "MiB", ("weights", "KV cache", "buffers", "process"), series)


__all__ = ["Quality", "compared", "drawn", "smaller"]
