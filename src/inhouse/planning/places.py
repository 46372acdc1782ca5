"""What is planned for: this machine with an engine's build, or another one. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from ..core.kernels import LABEL
from ..machine import Gpu, Machine, fingerprint
from ..machine.budget import budget
from ..machine.footprint import Load
from .found import Found
from .history import Where
from .plan import Host
from .speed import GPU_DECODE_PRIOR, GPU_PREFILL_PRIOR, Range, Rate, gpu_bandwidth, prior

PLAIN: Final = frozenset(("f16", "bf16", "f32"))
"""Types of a cache that attention reads as it lies."""
_GPU_BUILDS: Final = ("cuda", "rocm", "sycl", "vulkan", "metal")


@dataclass(frozen=True, slots=True)
class Place:
    """A machine, the bytes ``free`` for models on it, whether it is this one, the engine's ``build`` there,
    the GPUs that it can compute on, and what a person should know of that. ``portable``: the build runs on
    any CPU, so it does without AVX-512."""

    machine: Machine
    free: int
    here: bool
    build: str
    gpus: tuple[Gpu, ...] = ()
    notes: tuple[str, ...] = ()
    portable: bool = False

    @property
    def features(self) -> frozenset[str]:
        """The instruction sets that the engine uses."""
        mine = self.machine.features
        return frozenset(name for name in mine if not (self.portable and name.startswith("avx512")))

    def where(self, found: Found) -> Where:
        """What predictions for a model here are kept under."""
        card = found.card
        return Where(fingerprint(self.machine), self.build, card.digest, card.quantization)

    def rates(self, found: Found, load: Load) -> Where:
        """What its speed is kept under: with a quantised cache it is another."""
        where = self.where(found)
        if {load.k_type, load.v_type} <= PLAIN:
            return where
        return replace(where, build=f"{self.build}, cache {load.k_type}/{load.v_type}")

    def host(self, decode: Rate | None, prefill: Rate | None) -> Host:
        """The place with the rates that were learnt, or else those that are usual."""
        cores, bandwidth = self.machine.physical_cores, self.machine.bandwidth.read
        cards = None if decode and prefill else _gpu_rates(self.gpus)
        if bandwidth:
            kernels = LABEL in self.build and "avx2" in self.machine.features
            used = frozenset(self.machine.features) if kernels else self.features
            usual = prior(bandwidth, cores, used, kernels=kernels)
            decode, prefill = decode or usual[0], prefill or usual[1]
        return Host(self.free, cores, decode, prefill, self.gpus, cards)


def here(machine: Machine, free: int, build: str, *, variant: str, portable: bool) -> Place:
    """This machine, with a build of the engine; ``variant`` names that with what it computes on."""
    able = any(name in variant.lower() for name in _GPU_BUILDS)
    notes: tuple[str, ...] = ()
    if machine.gpus and not able:
        notes = ("The engine in use computes on the processor; see: inhouse engine list",)
    return Place(machine, free, True, build, machine.gpus if able else (), notes, portable)


def elsewhere(machine: Machine, build: str, *, portable: bool) -> Place:
    """Another machine, of which all that is free may be had by models, with the build that is used here."""
    notes = ("It is supposed that an engine for its GPU is installed there.",) if machine.gpus else ()
    return Place(machine, budget(machine), False, build, machine.gpus, notes, portable)


def _gpu_rates(gpus: Sequence[Gpu]) -> tuple[Rate, Rate] | None:
    """Rates of the slowest GPU that is known, wide; None where none is in the table."""
    known = [bandwidth for gpu in gpus if (bandwidth := gpu_bandwidth(gpu.name))]
    if not known:
        return None
    slowest = min(known)
    decode, prefill = GPU_DECODE_PRIOR, GPU_PREFILL_PRIOR
    return (
        Rate(Range(decode[0] * slowest, decode[1] * slowest), "nothing"),
        Rate(Range(prefill[0] * slowest, prefill[1] * slowest), "nothing"),
    )


__all__ = ["Place", "elsewhere", "here"]
