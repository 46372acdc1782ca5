"""What ``inhouse doctor`` says: each finding with what to do about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from .detect import disk_free
from .machine import Machine

Level = Literal["ok", "note", "warn", "missing"]

GIB: Final = 2**30
LITTLE_MEMORY: Final = 2 * GIB
LITTLE_DISK: Final = 2 * GIB


@dataclass(frozen=True, slots=True)
class Finding:
    """``fix`` is "" where nothing needs doing."""

    level: Level
    what: str
    detail: str
    fix: str = ""


def gib(size: int) -> str:
    """``3.4 GiB``."""
    return f"{size / GIB:.1f} GiB"


def _cpu(machine: Machine) -> Finding:
    known = ", ".join(machine.features) or "instruction sets unknown"
    cores = f"{machine.physical_cores} cores ({machine.logical_cores} threads)"
    quota = f", limited to {machine.quota:g} CPUs" if machine.quota else ""
    detail = f"{machine.cpu or machine.arch}: {cores}{quota}; {known}"
    if machine.arch in ("x86_64", "amd64") and machine.features and "avx2" not in machine.features:
        return Finding("warn", "cpu", detail, "Without AVX2 answers are slow: use a small model.")
    return Finding("ok", "cpu", detail)


def _memory(machine: Machine) -> Finding:
    detail = f"{gib(machine.memory_available)} available of {gib(machine.memory_total)}"
    if machine.memory_available < LITTLE_MEMORY:
        return Finding("warn", "memory", detail, "Close other programs or use a small model such as smollm2.")
    return Finding("ok", "memory", detail)


def _gpus(machine: Machine) -> list[Finding]:
    if not machine.gpus:
        return [Finding("note", "gpu", "none found; models run on the CPU")]
    found = []
    for gpu in machine.gpus:
        memory = "shares the memory" if gpu.shared else gib(gpu.memory) if gpu.memory else "memory unknown"
        driver = f", driver {gpu.driver}" if gpu.driver else ""
        detail = f"{gpu.name}: {memory}{driver}"
        if gpu.vendor == "nvidia" and not gpu.driver:
            fix = "Install NVIDIA's driver, so that nvidia-smi answers."
            found.append(Finding("warn", "gpu", detail + ", no driver", fix))
        else:
            found.append(Finding("ok", "gpu", detail))
    return found


def _engines(engines: Sequence[Mapping[str, Any]]) -> list[Finding]:
    found = [_available(f"engine {e['name']}", e) for e in engines]
    if not any(e.get("ok") for e in engines):
        fixes = (e["fix"] for e in engines if e.get("fix"))
        fix = next(fixes, "Install Inhouse again: its engine is a dependency.")
        found.append(Finding("missing", "engine", "no engine can run models", fix))
    return found


def _available(label: str, facts: Mapping[str, Any]) -> Finding:
    if facts.get("ok"):
        text = " ".join(filter(None, (facts.get("version"), facts.get("why"))))
        return Finding("ok", label, text or "available")
    return Finding("note", label, facts.get("why") or "not available", facts.get("fix") or "")


def _disk(home: Path) -> Finding:
    free = disk_free(home)
    if free < LITTLE_DISK:
        fix = "Free some space, or set INHOUSE_HOME to another disk."
        return Finding("warn", "disk", f"{gib(free)} free for models", fix)
    return Finding("ok", "disk", f"{gib(free)} free for models")


def findings(
    machine: Machine,
    engines: Sequence[Mapping[str, Any]],
    *,
    tools: Sequence[Mapping[str, Any]] = (),
    home: Path | None = None,
    models: int | None = None,
) -> list[Finding]:
    """All findings in the order to show them.

    ``engines`` and ``tools`` are plain facts: name, ok, version, why, fix. ``home`` is where models lie
    (its disk is measured), ``models`` how many there are.
    """
    found = [Finding("ok", "system", f"{machine.os} {machine.arch}"), _cpu(machine), _memory(machine)]
    found += _gpus(machine)
    found += _engines(engines)
    found += [_available(f"tool {tool['name']}", tool) for tool in tools]
    if home is not None:
        found.append(_disk(home))
    if models is not None:
        fix = "" if models else "Get one: inhouse pull smollm2"
        found.append(Finding("ok" if models else "note", "models", f"{models} here", fix))
    return found
