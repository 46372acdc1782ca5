"""The plan of a load: what it takes, whether it fits, how fast it will be, and what would help. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ..machine import Gpu
from ..machine.fit import largest_context, sized
from ..machine.footprint import Load, Memory
from ..machine.shape import Shape
from .placement import Placement, place
from .speed import Range, Rate, Speed, Work, blended, predict

_MIB: Final = 2**20
SMALLER_CACHES: Final = ("q8_0", "q4_0")
"""KV types to advise, best quality first."""
SHORT: Final = 2048
"""A context below which an answer is of little use: then another remedy is named first."""


@dataclass(frozen=True, slots=True)
class Subject:
    """The model: ``size`` of its files in bytes, ``trained`` its longest context, 0 where it is not known."""

    name: str
    shape: Shape
    parameters: int
    size: int
    quantization: str
    trained: int


@dataclass(frozen=True, slots=True)
class Host:
    """Where it is to run: bytes ``free`` for models, rates as learnt or supposed. ``gpus`` only where the
    engine in use can compute on them; ``on_gpus`` are the (decode, prefill) rates there, None where those of
    the processor were learnt with the GPUs at work, or nothing is known."""

    free: int
    cores: int
    decode: Rate | None
    prefill: Rate | None
    gpus: tuple[Gpu, ...] = ()
    on_gpus: tuple[Rate, Rate] | None = None

    def rates(self, placement: Placement) -> tuple[Rate, Rate] | None:
        """(decode, prefill) for a placement: each device takes its share of the bytes, one after another."""
        if self.decode is None or self.prefill is None:
            return self.on_gpus if placement.share == 1.0 else None
        if self.on_gpus is None:
            return self.decode, self.prefill
        share = placement.share
        decode, prefill = self.on_gpus
        return blended(self.decode, decode, share), blended(self.prefill, prefill, share)


@dataclass(frozen=True, slots=True)
class Planned:
    """``memory`` for all of it on the processor, ``placement`` where it goes; ``largest_context`` for the
    users that were asked for; ``smallest`` bytes with one slot and the shortest context. ``speed`` is None
    where nothing is known to tell it by. ``advice``: what to change, most useful first."""

    load: Load
    memory: Memory
    placement: Placement
    fits: bool
    largest_context: int
    speed: Speed | None
    advice: tuple[str, ...]


def _fits(subject: Subject, host: Host, load: Load) -> bool:
    if host.gpus:
        return place(subject.shape, load, host.gpus, host.free).fits
    return sized(subject.shape, load, load.context, load.slots).needed <= host.free


def _largest(subject: Subject, host: Host, load: Load) -> int:
    """The longest context that fits for the slots of ``load``."""
    most = subject.trained or 131_072
    if not host.gpus:
        return largest_context(subject.shape, load, host.free, most)
    low, high = 0, max(1, most // 256)
    while low < high:
        middle = (low + high + 1) // 2
        fits = _fits(subject, host, dataclasses.replace(load, context=middle * 256))
        low, high = (middle, high) if fits else (low, middle - 1)
    return min(low * 256, most)


def _fewer(subject: Subject, host: Host, load: Load) -> int:
    """The most slots, fewer than those of ``load``, that fit; 0 if there are none."""
    low, high = 0, load.slots - 1
    while low < high:
        middle = (low + high + 1) // 2
        fits = _fits(subject, host, dataclasses.replace(load, slots=middle))
        low, high = (middle, high) if fits else (low, middle - 1)
    return low


def _advice(subject: Subject, host: Host, load: Load, smaller: Sequence[tuple[str, int]]) -> list[str]:
    """What would make it fit; each remedy was tried by the formula."""
    out = []
    longest = _largest(subject, host, load)
    if longest >= min(SHORT, load.context):
        out.append(f"A context of {longest:,} tokens fits: --context {longest}")
    for kind in SMALLER_CACHES:
        if kind in (load.k_type, "q4_0" if load.k_type == "q4_0" else ""):
            continue
        cached = dataclasses.replace(load, k_type=kind, v_type=kind)
        if _fits(subject, host, cached):
            out.append(f"A KV cache of {kind} makes it fit: --kv-type {kind}")
            break
    if users := _fewer(subject, host, load):
        out.append(f"{users} at a time instead of {load.slots} fit: --users {users}")
    for kind, lacking in smaller:
        if lacking <= 0:
            out.append(f"The quantisation {kind} fits: --quant {kind}")
            break
    if 0 < longest < SHORT <= load.context:
        out.append(f"Only a context of {longest:,} tokens fits: --context {longest}")
    if not out:
        least = sized(subject.shape, load, 512, 1).needed
        out.append(
            f"Even with 512 tokens it takes {least // _MIB:,} MiB: take a smaller model or a larger machine."
        )
    return out


def make(
    subject: Subject, host: Host, load: Load, *, prompt: int, smaller: Sequence[tuple[str, int]] = ()
) -> Planned:
    """Plan a load. ``prompt``: tokens of the prompt that the speed is told for; ``smaller``: quantisations
    of fewer bits with the bytes that they would lack here, best first."""
    parts = sized(subject.shape, load, load.context, load.slots)
    placed = place(subject.shape, load, host.gpus, host.free)
    fits = placed.fits if host.gpus else parts.needed <= host.free
    speed = None
    if rates := host.rates(placed):
        speed = predict(Work(subject.shape, load, subject.parameters, prompt, load.slots), *rates)
    advice = [] if fits else _advice(subject, host, load, smaller)
    return Planned(load, parts, placed, fits, _largest(subject, host, load), speed, tuple(advice))


def told(value: Range) -> tuple[float, float, float]:
    """A range as a prediction: (middle, low, high)."""
    return (value.middle, value.low, value.high)


__all__ = ["Host", "Planned", "Subject", "make", "told"]
