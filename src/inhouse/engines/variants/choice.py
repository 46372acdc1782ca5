"""Which build runs the models: candidates, what is known of each, and their order.

The order: what the user chose · what a setting names · GPU builds that fit · the rest by speed. Speed is how
a build was measured against the wheel on this machine (``figures``); what was not measured is not assumed to
be faster, but for a llama-server that somebody put on PATH: builds for this very machine are (measured: 1.3
to 1.5 times the prefill of the wheel).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from ...machine import Machine
from .. import llamacpp, native
from ..kernels import Kernels
from ..recipe import Settings
from . import catalogue
from .compile import cpu_of
from .figures import Kept
from .install import OWN, look
from .shelf import Installed, Shelf

Origin = Literal["setting", "path", "shelf", "package"]

ON_PATH: Final = 1.2
UNMEASURED: Final = 0.9
MARGIN: Final = 1.03
"""A build must be faster by more than a measurement errs: the wheel can all that any other can."""

WHEEL: Final = "wheel"
NATIVE: Final = ("native", "path")
"""What a wish for the engine ``native`` may mean, best first."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A build that might be used. ``key`` is what people call it; ``why`` says why it cannot be used, "" if
    nothing is known against it. ``speed`` is in times of the wheel's, None if not measured; ``measured`` says
    with what. ``kernels``: whether it runs with ours, which its ``version`` then tells."""

    key: str
    runs: str
    origin: Origin
    backend: str = "cpu"
    version: str = ""
    path: str = ""
    why: str = ""
    fix: str = ""
    loses: tuple[str, ...] = ()
    speed: float | None = None
    measured: str = ""
    installed: Installed | None = None
    kernels: Kernels = field(default_factory=Kernels)

    @property
    def gpu(self) -> bool:
        return self.backend != "cpu"

    @property
    def grammars(self) -> frozenset[str]:
        """As in ``Launch.grammars``."""
        return frozenset({"gbnf", "lark"}) - frozenset(self.loses)

    @property
    def kind(self) -> str:
        """What the setting ``engine.kind`` calls it."""
        return "wheel" if self.runs == "wheel" else "native"

    @property
    def because(self) -> str:
        """Why it is where it is in the order, in a few words."""
        if self.key == WHEEL:
            return "it comes with Inhouse"
        if self.origin == "setting":
            return "INHOUSE_LLAMA_SERVER names it"
        if self.gpu:
            return f"it computes on {self.backend}"
        if self.speed is not None:
            return f"it measured {self.speed:.2f} times the wheel's speed ({self.measured})"
        if self.origin == "path":
            return "a llama-server on PATH was put there for this machine"
        return "it was not measured against the wheel yet: inhouse engine bench"


def gather(
    settings: Settings,
    shelf: Shelf,
    machine: Machine,
    kept: Kept,
    environ: Mapping[str, str],
    *,
    kernels: Callable[[Candidate], Kernels],
) -> list[Candidate]:
    """All that is here, in no order. Runs a llama-server of PATH or the settings once, unless the setting
    ``engine.kind`` is the wheel; blocking. ``kernels`` says of a build whether it runs with ours."""
    wheel = llamacpp.wheel()
    found = [
        *([] if settings.kind == WHEEL else [_outside(settings, environ)]),
        Candidate(WHEEL, "wheel", "package", version=wheel.version, why=wheel.why, fix=wheel.fix, speed=1.0),
    ]
    found += [_shelved(one, shelf, machine) for one in shelf.all()]
    found = [one if one.why else _with_kernels(one, kernels(one)) for one in found]
    reference = next(one.version for one in found if one.key == WHEEL)
    return [_with_speed(one, kept, reference) for one in found]


def _with_kernels(one: Candidate, kernels: Kernels) -> Candidate:
    return replace(one, kernels=kernels, version=one.version + kernels.label)


def _outside(settings: Settings, environ: Mapping[str, str]) -> Candidate:
    seen = native.find(settings.llama_server, environ)
    origin: Origin = "setting" if settings.llama_server else "path"
    return Candidate(
        "path", "server", origin, "cpu", seen.version, seen.path, seen.why, seen.fix, loses=("lark",)
    )


def _shelved(one: Installed, shelf: Shelf, machine: Machine) -> Candidate:
    record = one.record
    why, fix = shelf.damage(one), f"Install it again: inhouse engine install {record.name}"
    if not why and record.cpu and record.cpu != cpu_of(machine):
        why, fix = "it was compiled for another CPU", "Build it again: inhouse engine build"
    backend = record.backend
    if backend == OWN:
        backend = "gpu" if record.made.get("devices") else "cpu"
    elif not why:
        why = next((b.misfit(machine) for b in catalogue.builds() if b.name == record.name), "")
        fix = "Remove it, or see what fits: inhouse engine list"
    return Candidate(
        record.name,
        record.runs,
        "shelf",
        backend,
        f"{record.version} {record.name} {record.program_sha256[:8]}",
        str(one.program),
        why,
        fix if why else "",
        record.loses,
        installed=one,
    )


def _with_speed(one: Candidate, kept: Kept, wheel: str) -> Candidate:
    if one.key == WHEEL:
        return one
    figure = kept.of(one.key, one.version, wheel)
    return one if figure is None else replace(one, speed=figure.speed, measured=figure.told)


def ranked(candidates: Sequence[Candidate], kind: str, use: str) -> list[Candidate]:
    """Those that the setting ``engine.kind`` allows, best first. ``use``: the key that the user chose, ""
    for none."""
    known = [one.name for one in catalogue.builds()]
    helped = any(one.key == WHEEL and one.kernels.on for one in candidates)

    def order(one: Candidate) -> tuple[int, float, int]:
        place = known.index(one.key) if one.key in known else len(known)
        if one.key == use:
            return 0, 0.0, place
        if one.origin == "setting":
            return 1, 0.0, place
        if one.gpu:
            return 2, -(one.speed or 1.0), place
        return 3, -_pace(one, helped), place

    allowed = [one for one in candidates if kind in ("auto", one.kind)]
    return sorted(allowed, key=order)


def _pace(one: Candidate, helped: bool) -> float:
    """The speed that counts where builds are held against each other. ``helped``: the wheel has our kernels,
    then one without them is not taken for the faster one unseen."""
    if one.key == WHEEL:
        return 1.0
    if one.speed is None:
        return ON_PATH if one.origin == "path" and (one.kernels.on or not helped) else UNMEASURED
    return one.speed if one.speed >= MARGIN else min(one.speed, UNMEASURED)


def meant(name: str, candidates: Sequence[Candidate]) -> list[Candidate]:
    """The candidates that a model's wish for an engine names, best first."""
    if name == "native":
        return sorted((c for c in candidates if c.key in NATIVE), key=lambda c: NATIVE.index(c.key))
    return [one for one in candidates if one.key == name]


def tried(one: Candidate, environ: Mapping[str, str]) -> Candidate:
    """The candidate after it was seen to start here (a build off the shelf; the others are known)."""
    if one.why or one.installed is None:
        return one
    record = one.installed.record
    seen = look(one.installed, environ, gpu=one.gpu and record.backend != OWN)
    fix = "See: inhouse engine list" if seen.why else ""
    return replace(one, why=seen.why, fix=fix)


__all__ = ["WHEEL", "Candidate", "gather", "meant", "ranked", "tried"]
