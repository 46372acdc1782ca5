"""Builds as JSON values. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict
from typing import Any

from ...machine import Machine
from . import catalogue
from .catalogue import Build
from .choice import Candidate


def installed(candidates: Sequence[Candidate], chosen: str, used: Collection[str]) -> list[dict[str, Any]]:
    """What is here, in the order of choice: ``chosen`` is the name of the recipe that runs models, ``used``
    are the builds that run one now."""
    return [_shown(one, chosen=is_chosen(one.key, chosen), used=one.key in used) for one in candidates]


def available(candidates: Sequence[Candidate], machine: Machine) -> list[dict[str, Any]]:
    """What could be installed on a machine of this system beside them, and why it would not be used."""
    here = {one.key for one in candidates}
    return [
        {**_described(one), "why_not": one.misfit(machine)}
        for one in catalogue.builds()
        if one.name not in here and one.file(machine) is not None
    ]


def backends(candidates: Sequence[Candidate], system: str) -> dict[str, str]:
    """What each build computes on; the wheel for Macs does with Metal."""
    return {
        one.key: "metal" if system == "darwin" and one.runs == "wheel" else one.backend for one in candidates
    }


def for_gpus(machine: Machine) -> list[dict[str, str]]:
    """The builds that there are for GPUs, and why each would not be used."""
    return [
        {"name": one.name, "backend": one.backend, "why": one.misfit(machine)}
        for one in catalogue.builds()
        if one.backend != "cpu"
    ]


def is_chosen(key: str, chosen: str) -> bool:
    """Whether the recipe of that name runs the build."""
    return chosen == f"llama.cpp ({key})"


def _described(one: Build) -> dict[str, Any]:
    return {
        "name": one.name,
        "version": one.version,
        "backend": one.backend,
        "source": one.source,
        "inside": one.inside,
        "licence": one.licence,
        "loses": list(one.loses),
        "minutes": one.minutes,
        "download": sum(file.size for file in one.files),
    }


def _shown(one: Candidate, *, chosen: bool, used: bool) -> dict[str, Any]:
    record = one.installed.record if one.installed else None
    return {
        "name": one.key,
        "version": one.version,
        "backend": one.backend,
        "chosen": chosen,
        "in_use": used,
        "ok": not one.why,
        "why_not": one.why,
        "fix": one.fix,
        "because": one.because,
        "speed": one.speed,
        "measured": one.measured,
        "loses": list(one.loses),
        "record": asdict(record) if record else None,
    }


__all__ = ["available", "backends", "for_gpus", "installed", "is_chosen"]
