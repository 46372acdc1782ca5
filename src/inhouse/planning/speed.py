"""How fast a model will be: ranges from what bounds it, narrowed by what was measured. Pure.

A token that is generated reads every weight that takes part and the whole cache once, so decoding is bound
by memory bandwidth; a prompt is computed many tokens at a time, so it is bound by arithmetic. How near to
these bounds an engine comes is its *efficiency*, which is measured; without a measurement the range is wide.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from ..machine.footprint import KV_BYTES, Load
from ..machine.shape import Shape

Basis = Literal["this model", "this quantisation", "this machine", "nothing"]

DECODE_PRIOR: Final = (0.25, 0.85)
"""Share of the bandwidth that decoding reached on processors of all kinds, small models least."""
KERNELS_DECODE_PRIOR: Final = (0.5, 1.0)
"""The same with our own kernels, which read weights in the order in which they lie."""
PREFILL_PRIORS: Final = (
    ("avx512_vnni", (40e9, 170e9), (90e9, 330e9)),
    ("avx_vnni", (30e9, 150e9), (60e9, 250e9)),
    ("avx2", (20e9, 120e9), (40e9, 200e9)),
    ("i8mm", (20e9, 150e9), (20e9, 150e9)),
    ("asimddp", (15e9, 80e9), (15e9, 80e9)),
)
"""Operations a second and core on quantised weights, the engine's own and with our kernels, by the best
instruction set; bench/kernels.py prints them."""
PREFILL_PRIOR: Final = (8e9, 60e9)
"""Without any of these sets."""
CACHE_COSTS: Final = 0.4
"""Share of the speed on prompts that is left, at least, where the cache is quantised: attention reads it by
rows then (0.57 with q8_0 and a 0.5B)."""
GPU_DECODE_PRIOR: Final = (0.35, 0.8)
GPU_PREFILL_PRIOR: Final = (12.0, 150.0)
"""Operations for each byte of bandwidth: what the makers of cards sell together, from integrated to large."""
FLOORS: Final[dict[Basis, float]] = {"this model": 0.10, "this quantisation": 0.3, "this machine": 0.5}
"""How far, at least, a range reaches to either side, by what it was measured on."""
_GPU_BANDWIDTH: Final = (
    ("h200", 4.8e12),
    ("h100 nvl", 3.9e12),
    ("h100 pcie", 2.0e12),
    ("h100", 3.35e12),
    ("a100 80", 2.0e12),
    ("a100", 1.555e12),
    ("l40", 0.864e12),
    ("l4", 0.3e12),
    ("a10", 0.6e12),
    ("t4", 0.32e12),
    ("v100", 0.9e12),
    ("rtx 5090", 1.79e12),
    ("rtx 5080", 0.96e12),
    ("rtx 4090", 1.008e12),
    ("rtx 4080", 0.717e12),
    ("rtx 4070", 0.504e12),
    ("rtx 4060", 0.272e12),
    ("rtx 3090", 0.936e12),
    ("rtx 3080", 0.76e12),
    ("rtx 3070", 0.448e12),
    ("rtx 3060", 0.36e12),
    ("mi300x", 5.3e12),
    ("mi250", 3.2e12),
    ("7900 xtx", 0.96e12),
    ("7900 xt", 0.8e12),
    ("arc a770", 0.56e12),
    ("m1 ultra", 0.8e12),
    ("m2 ultra", 0.8e12),
    ("m1 max", 0.4e12),
    ("m2 max", 0.4e12),
    ("m3 max", 0.4e12),
    ("m4 max", 0.546e12),
    ("m1 pro", 0.2e12),
    ("m2 pro", 0.2e12),
    ("m3 pro", 0.15e12),
    ("m4 pro", 0.273e12),
    ("apple m1", 0.068e12),
    ("apple m2", 0.1e12),
    ("apple m3", 0.1e12),
    ("apple m4", 0.12e12),
)
"""Bytes a second as the makers state them, by a part of the name; the first that fits counts."""


_ORDER: Final[tuple[Basis, ...]] = ("this model", "this quantisation", "this machine", "nothing")


@dataclass(frozen=True, slots=True)
class Range:
    """From ``low`` to ``high``."""

    low: float
    high: float

    @property
    def middle(self) -> float:
        """The geometric mean: a range of rates reaches as many times up as down."""
        return math.sqrt(self.low * self.high) if self.low > 0 else self.high / 2

    def __mul__(self, factor: float) -> Range:
        return Range(self.low * factor, self.high * factor)

    def over(self, amount: float) -> Range:
        """What ``amount`` takes at these rates: the low rate takes longest."""
        return Range(amount / self.high, amount / self.low)


@dataclass(frozen=True, slots=True)
class Rate:
    """Coefficients as measured: bytes a second when decoding, operations a second on prompts."""

    values: Range
    basis: Basis
    count: int = 0


@dataclass(frozen=True, slots=True)
class Speed:
    """``decode`` tokens a second of one answer, ``together`` of all users, ``prefill`` tokens a second of a
    prompt, ``ttft`` seconds until the first token. ``basis`` says what it rests on, the weaker of both."""

    decode: Range
    together: Range
    prefill: Range
    ttft: Range
    basis: Basis


def fold(values: Iterable[float], basis: Basis) -> Rate | None:
    """A rate from measured coefficients, newest last; None without any.

    The middle is their median, the width their spread (the middle 80 %), at least as wide as ``FLOORS``.
    """
    ordered = sorted(value for value in values if value > 0)
    if not ordered:
        return None
    last = len(ordered) - 1
    middle = ordered[last // 2] if last % 2 == 0 else math.sqrt(ordered[last // 2] * ordered[last // 2 + 1])
    low, high = ordered[round(0.1 * last)], ordered[round(0.9 * last)]
    floor = 1 + FLOORS[basis]
    return Rate(Range(min(low, middle / floor), max(high, middle * floor)), basis, len(ordered))


def cache_bytes(shape: Shape, load: Load, tokens: int) -> float:
    """Bytes of the cache that are read to make one token after ``tokens`` others."""
    read = 0.0
    for layer in shape.layers:
        seen = min(tokens, layer.window) if layer.window else tokens
        read += seen * (layer.k * KV_BYTES[load.k_type] + layer.v * KV_BYTES[load.v_type]) + layer.state
    return read


def decode_bytes(shape: Shape, load: Load, tokens: int) -> float:
    """Bytes that are read to make one token after ``tokens`` others."""
    return shape.read_per_token + cache_bytes(shape, load, tokens)


def prompt_operations(shape: Shape, parameters: int, tokens: int) -> float:
    """Multiplications and additions to compute a prompt of ``tokens``: two for each parameter that takes
    part, four for each pair of tokens and element of width in every layer that attends (half the pairs)."""
    output = shape.output or shape.embedding
    taking_part = parameters * max(0, shape.read_per_token - output) / max(1, shape.weights)
    attending = sum(1 for layer in shape.layers if layer.k)
    return 2.0 * taking_part * tokens + 2.0 * attending * shape.width * float(tokens) ** 2


def gpu_bandwidth(name: str) -> float:
    """Bytes a second of a GPU by its name, 0 where it is not in the table."""
    lower = name.lower()
    return next((value for part, value in _GPU_BANDWIDTH if part in lower), 0.0)


def blended(first: Rate, second: Rate, share: float) -> Rate:
    """The rate of two devices that work one after another, ``share`` of it on the second."""

    def both(one: float, other: float) -> float:
        return 1 / ((1 - share) / one + share / other)

    values = Range(both(first.values.low, second.values.low), both(first.values.high, second.values.high))
    return Rate(values, max(first.basis, second.basis, key=_ORDER.index))


def prior(
    bandwidth: float, cores: int, features: frozenset[str] = frozenset(), *, kernels: bool = False
) -> tuple[Rate, Rate]:
    """(decode, prefill) rates of a machine on which nothing was measured yet; ``features`` are the
    instruction sets that are used, ``kernels`` whether our own take part."""
    share = KERNELS_DECODE_PRIOR if kernels else DECODE_PRIOR
    fits = (rates[kernels] for name, *rates in PREFILL_PRIORS if name in features)
    low, high = next(fits, PREFILL_PRIOR)
    decode = Range(bandwidth * share[0], bandwidth * share[1])
    return Rate(decode, "nothing"), Rate(Range(low * cores, high * cores), "nothing")


def with_quantised_cache(prefill: Rate) -> Rate:
    """What a rate on prompts that was learnt with a plain cache says of a quantised one."""
    basis: Basis = prefill.basis if prefill.basis == "nothing" else "this machine"
    return Rate(Range(prefill.values.low * CACHE_COSTS, prefill.values.high), basis, prefill.count)


@dataclass(frozen=True, slots=True)
class Work:
    """What is asked of the model: a prompt of so many tokens from each of ``users`` at once."""

    shape: Shape
    load: Load
    parameters: int
    prompt: int
    users: int = 1


def predict(work: Work, decode: Rate, prefill: Rate) -> Speed:
    """The ranges for ``work`` at the given rates.

    With several users one pass over the weights makes a token for each of them; it takes as long as reading
    weights and all caches, or as computing all tokens, whichever is longer.
    """
    shape, load, users = work.shape, work.load, max(1, work.users)
    operations = prompt_operations(shape, work.parameters, work.prompt) / max(1, work.prompt)
    read = shape.read_per_token + users * cache_bytes(shape, load, work.prompt)
    steps = [
        max(read / bytes_rate, users * operations / flops)
        for bytes_rate, flops in (
            (decode.values.high, prefill.values.high),
            (decode.values.low, prefill.values.low),
        )
    ]
    if users == 1:
        steps = [read / decode.values.high, read / decode.values.low]
    single = Range(1 / steps[1], 1 / steps[0])
    rate = Range(prefill.values.low / operations, prefill.values.high / operations)
    first = rate.over(max(1, work.prompt))
    basis = max(decode.basis, prefill.basis, key=_ORDER.index)
    return Speed(
        decode=single,
        together=single * users,
        prefill=rate,
        ttft=Range(first.low + steps[0], first.high + steps[1]),
        basis=basis,
    )


__all__ = [
    "Basis",
    "Range",
    "Rate",
    "Speed",
    "Work",
    "blended",
    "decode_bytes",
    "fold",
    "gpu_bandwidth",
    "predict",
    "prior",
    "prompt_operations",
    "with_quantised_cache",
]
