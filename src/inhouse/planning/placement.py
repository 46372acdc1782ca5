"""Which layers go where: as llama.cpp does, as many as fit from the last one on, by free memory. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ..machine import Gpu
from ..machine.footprint import GPU_RUNTIME, Load, compute, kv_of_layer, memory
from ..machine.shape import Shape

MARGIN: Final = 2**30
"""Bytes that llama.cpp's fit leaves free on each GPU (``fit_params_target``)."""


@dataclass(frozen=True, slots=True)
class Device:
    """What lies on one device. ``layers`` are the first and last of a run, None for none; bytes otherwise.
    ``free``: what is there for models."""

    name: str
    kind: str
    layers: tuple[int, int] | None
    weights: int
    kv: int
    compute: int
    runtime: int
    free: int

    @property
    def total(self) -> int:
        return self.weights + self.kv + self.compute + self.runtime


@dataclass(frozen=True, slots=True)
class Placement:
    """The devices, the processor first; how many of the layers (the output counts as one) are on GPUs."""

    devices: tuple[Device, ...]
    gpu_layers: int
    fits: bool

    @property
    def share(self) -> float:
        """The part of the weights in layers and output that is on GPUs, 0 to 1."""
        moved = sum(one.weights for one in self.devices[1:])
        return 1.0 if self.devices[0].layers is None else moved / max(1, moved + self.devices[0].weights)


def _cost(shape: Shape, load: Load, number: int) -> int:
    """Bytes of a layer with its cache; the one past the last is the output."""
    if number == len(shape.layers):
        return (shape.output or shape.embedding) + shape.other
    return shape.layers[number].weights + kv_of_layer(shape, number, load)


def _shares(room: Sequence[int], count: int) -> list[int]:
    """How many of ``count`` layers each device gets, by its room, the first ones first."""
    whole = sum(room) or 1
    edges, reached = [], 0
    for free in room:
        reached += free
        edges.append(round(count * reached / whole))
    return [edge - before for edge, before in zip(edges, [0, *edges[:-1]], strict=True)]


def _fits(shape: Shape, load: Load, room: Sequence[int], count: int) -> list[int] | None:
    """The layers of each device when the last ``count`` are on GPUs; None where one is too small."""
    at = len(shape.layers) + 1 - count
    shares = _shares(room, count)
    for free, share in zip(room, shares, strict=True):
        if sum(_cost(shape, load, n) for n in range(at, at + share)) > free:
            return None
        at += share
    return shares


def place(shape: Shape, load: Load, gpus: Sequence[Gpu], free: int) -> Placement:
    """Layers on ``gpus`` as far as they fit, the others in ``free`` bytes of main memory."""
    buffers = compute(shape, load)[0]
    able = [gpu for gpu in gpus if gpu.memory]
    room = [max(0, (gpu.free or gpu.memory) - MARGIN - GPU_RUNTIME - buffers) for gpu in able]
    count, shares = 0, [0] * len(able)
    for wanted in range(len(shape.layers) + 1, 0, -1):
        if any(room) and (found := _fits(shape, load, room, wanted)) is not None:
            count, shares = wanted, found
            break
    return _placed(shape, load, tuple(zip(able, shares, strict=True)), (count, free))


def _placed(shape: Shape, load: Load, shares: Sequence[tuple[Gpu, int]], rest: tuple[int, int]) -> Placement:
    count, free = rest
    last = len(shape.layers)
    at = last + 1 - count
    parts = memory(shape, load)
    buffers = compute(shape, load)[0]
    devices = []
    for gpu, share in shares:
        run = range(at, at + share)
        layers = [n for n in run if n < last]
        weights = sum(shape.layers[n].weights for n in layers)
        if last in run:
            weights += (shape.output or shape.embedding) + shape.other
        devices.append(
            Device(
                gpu.name,
                gpu.vendor,
                (layers[0], layers[-1]) if layers else None,
                weights,
                sum(kv_of_layer(shape, n, load) for n in layers),
                buffers if share else 0,
                GPU_RUNTIME if share else 0,
                gpu.free or gpu.memory,
            )
        )
        at += share
    moved = sum(device.weights for device in devices)
    if count and not shape.output:
        moved -= shape.embedding  # a tied embedding stays on the processor, too
    host = Device(
        "CPU",
        "cpu",
        (0, min(last, last + 1 - count) - 1) if count <= last else None,
        max(0, parts.weights - moved),
        parts.kv - sum(device.kv for device in devices),
        parts.compute,
        parts.runtime,
        free,
    )
    return Placement((host, *devices), count, host.total <= free)


__all__ = ["Device", "Placement", "place"]
