"""What ``inhouse doctor`` says: each finding with what to do about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from ..core.kernels import ATTENTION
from . import gpu_findings
from .disks import disk
from .machine import Disk, Limit, Machine
from .speed import BUSY

Level = Literal["ok", "note", "warn", "missing"]

GIB: Final = 2**30
LITTLE_MEMORY: Final = 2 * GIB
LITTLE_DISK: Final = 2 * GIB
SWAP_IN_USE: Final = GIB
ONE_CHANNEL: Final = 22 * 10**9
"""Bytes a second: about what one channel of DDR4 gives; two give up to twice as much."""

_CHANNEL_CORES: Final = 4
_TELLING: Final = (
    ("avx2", "AVX2"),
    ("avx_vnni", "AVX-VNNI"),
    ("avx512f", "AVX-512"),
    ("avx512_vnni", "AVX-512 VNNI"),
    ("avx512_bf16", "AVX-512 BF16"),
    ("amx_int8", "AMX"),
    ("asimd", "NEON"),
    ("asimddp", "dot product"),
    ("i8mm", "int8 matrices"),
    ("bf16", "bf16"),
    ("sve", "SVE"),
    ("sve2", "SVE2"),
    ("sme", "SME"),
    ("rvv", "RVV"),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """``fix`` is "" where nothing needs doing."""

    level: Level
    what: str
    detail: str
    fix: str = ""


def gib(size: float) -> str:
    """``3.4 GiB``."""
    return f"{size / GIB:.1f} GiB"


def _size(size: int) -> str:
    return f"{size / 2**20:g} MiB" if size >= 2**20 else f"{size // 2**10} KiB"


def _system(machine: Machine) -> Finding:
    where = f", in {machine.container}" if machine.container else ""
    by = "" if machine.virtual in ("", "yes") else f" ({machine.virtual})"
    virtual = f", a virtual machine{by}" if machine.virtual else ""
    release = f"{machine.release}, " if machine.release else ""
    kernel = f" {machine.kernel}" if machine.kernel else ""
    return Finding("ok", "system", f"{release}{machine.os}{kernel} {machine.arch}{where}{virtual}")


def _cores(machine: Machine) -> str:
    told = [f"{machine.physical_cores} cores"]
    if machine.performance_cores:
        told = [f"{machine.performance_cores} fast and {machine.efficiency_cores} efficient cores"]
    told += [f"{machine.logical_cores} threads"] if machine.logical_cores != machine.physical_cores else []
    told += [f"{machine.sockets} sockets"] if machine.sockets > 1 else []
    return ", ".join(told)


def _cpu(machine: Machine) -> list[Finding]:
    sets = [title for name, title in _TELLING if name in machine.features]
    known = ", ".join(sets or machine.features) or "instruction sets unknown"
    detail = f"{machine.cpu or machine.arch}: {_cores(machine)}; {known}"
    found = [Finding("ok", "cpu", detail)]
    if machine.arch in ("x86_64", "amd64") and machine.features and "avx2" not in machine.features:
        found = [Finding("warn", "cpu", detail, "Without AVX2 answers are slow: use a small model.")]
    caches = machine.caches
    parts = [f"{name} {_size(v)}" for name, v in (("L1", caches.l1d), ("L2", caches.l2)) if v]
    if caches.l3:
        total = f", {_size(caches.l3_total)} in all" if caches.l3_total > caches.l3 else ""
        shared = f" for {caches.l3_cores} cores" if caches.l3_cores > 1 else ""
        parts.append(f"L3 {_size(caches.l3)}{shared}{total}")
    if parts:
        found.append(Finding("ok", "cpu caches", ", ".join(parts)))
    if machine.governor:
        fix = "Let it run at full speed: sudo cpupower frequency-set -g performance"
        found.append(Finding("warn", "cpu clock", f"held down by the governor {machine.governor}", fix))
    return found


def _memory(machine: Machine) -> list[Finding]:
    detail = f"{gib(machine.memory_available)} available of {gib(machine.memory_total)}"
    fix = "Close other programs or use a small model such as smollm2."
    little = machine.memory_available < LITTLE_MEMORY
    found = [Finding("warn", "memory", detail, fix) if little else Finding("ok", "memory", detail)]
    found += [_limit(limit, machine) for limit in machine.limits]
    if machine.swap_used > SWAP_IN_USE:
        detail = f"{gib(machine.swap_used)} of {gib(machine.swap_total)} in use"
        fix = "Close other programs: a model whose memory is swapped out is hardly of use."
        found.append(Finding("warn", "swap", detail, fix))
    near = [node for node in machine.nodes if node.memory and node.cpus]
    if len(near) > 1:
        detail = f"{len(near)} nodes, each with {gib(min(n.memory for n in near))} or more"
        fix = "A model that fits one node is faster there: numactl -N 0 -m 0 inhouse serve"
        found.append(Finding("note", "numa", detail, fix))
    return [*found, *_speed(machine)]


def _limit(limit: Limit, machine: Machine) -> Finding:
    by = f", set by {limit.by}" if limit.by else ""
    if limit.kind == "memory":
        detail = f"{gib(limit.value)} of the system's {gib(machine.memory_installed)}{by}"
        fix = "Raise it for larger models (docker run --memory, a pod's limits.memory, systemd's MemoryMax)."
        return Finding("note", "memory limit", detail, fix)
    if limit.kind == "cpu":
        detail = f"time of {limit.value:g} CPUs{by}"
        fix = "Raise it for faster answers (docker run --cpus, a pod's limits.cpu, systemd's CPUQuota)."
        return Finding("note", "cpu limit", detail, fix)
    fix = "Allow more for faster answers (docker run --cpuset-cpus, systemd's AllowedCPUs)."
    return Finding("note", "cpu limit", f"{limit.value:g} of the system's CPUs{by}", fix)


def _speed(machine: Machine) -> list[Finding]:
    speed = machine.bandwidth
    if not speed.read:
        return []
    cores = f"{speed.threads} cores" if speed.threads != 1 else "1 core"
    detail = f"{speed.read / 1e9:.1f} GB/s read, {speed.copy / 1e9:.1f} GB/s copied, with {cores}"
    if speed.busy >= BUSY:
        detail += f"; other programs used {speed.busy:.0%} of the CPUs meanwhile"
        return [Finding("note", "memory speed", detail, "Measure again in quiet: inhouse doctor --measure")]
    slow = speed.read < ONE_CHANNEL and speed.threads >= _CHANNEL_CORES
    if slow and not machine.virtual and machine.arch in ("x86_64", "amd64"):
        detail += ": about what one memory channel gives"
        fix = "A second memory module of the same kind, in the other channel, about doubles tokens/s."
        return [Finding("note", "memory speed", detail, fix)]
    return [Finding("ok", "memory speed", detail)]


def _engines(engines: Sequence[Mapping[str, Any]]) -> list[Finding]:
    found = [_available(f"engine {e['name']}", e) for e in engines]
    if not any(e.get("ok") for e in engines):
        fixes = (e["fix"] for e in engines if e.get("fix"))
        fix = next(fixes, "Install Inhouse again: its engine is a dependency.")
        found.append(Finding("missing", "engine", "no engine can run models", fix))
    return found + [_kernels(e["kernels"]) for e in engines if e.get("kernels")]


def _kernels(facts: Mapping[str, Any]) -> Finding:
    """Our own kernels in the engine that runs models: ``on``, ``why`` not, ``isa``, ``types``, ``fix``."""
    if not facts.get("on"):
        return Finding("note", "kernels", f"off: {facts.get('why') or 'unknown'}", facts.get("fix") or "")
    types = facts.get("types") or {}
    good = ", ".join(name for name, why in types.items() if not why and name != ATTENTION)
    if types.get(ATTENTION) == "":
        good = f"{good or 'no type'} and attention"
    bad = "".join(f"; not {name}: {why}" for name, why in types.items() if why)
    better = f" ({facts['passed_over']})" if facts.get("passed_over") else ""
    detail = f"{facts.get('version')} with {facts.get('isa')}{better} for {good or 'no type'}{bad}"
    return Finding("note" if bad else "ok", "kernels", detail)


def _available(label: str, facts: Mapping[str, Any]) -> Finding:
    if facts.get("ok"):
        text = " ".join(filter(None, (facts.get("version"), facts.get("why"))))
        return Finding("ok", label, text or "available")
    return Finding("note", label, facts.get("why") or "not available", facts.get("fix") or "")


def _disk(place: Disk) -> Finding:
    about = ", ".join(filter(None, (place.kind, place.filesystem if place.filesystem != place.kind else "")))
    detail = f"{gib(place.free)} free for models" + (f" ({about})" if about else "")
    if place.free < LITTLE_DISK:
        fix = "Free some space, or set INHOUSE_HOME to another disk."
        return Finding("warn", "disk", detail, fix)
    if place.kind == "network":
        fix = "Models load slowly over a network: set INHOUSE_HOME to a disk of this machine."
        return Finding("warn", "disk", detail, fix)
    if place.kind == "hdd":
        fix = "Models load at the pace of a turning disk: an SSD is many times as fast."
        return Finding("note", "disk", detail, fix)
    return Finding("ok", "disk", detail)


def findings(
    machine: Machine,
    engines: Sequence[Mapping[str, Any]],
    *,
    tools: Sequence[Mapping[str, Any]] = (),
    builds: Sequence[Mapping[str, Any]] = (),
    home: Path | None = None,
    models: int | None = None,
) -> list[Finding]:
    """All findings in the order to show them.

    ``engines`` and ``tools`` are plain facts: name, ok, version, why, fix, and of an engine the ``backend``
    it computes with (none told: the CPU) and, of the one in use, ``kernels``: what is known of our own in it.
    ``builds`` are engine builds that could be installed: name, backend, and why they do not fit this machine,
    "" if they do. ``home`` is where models lie (its disk is looked at unless the machine has it), ``models``
    how many there are.
    """
    found = [_system(machine), *_cpu(machine), *_memory(machine)]
    found += [Finding(*facts) for facts in gpu_findings.findings(machine, engines, builds)]
    found += _engines(engines)
    found += [_available(f"tool {tool['name']}", tool) for tool in tools]
    if home is not None:
        found.append(_disk(machine.disk if machine.disk.total else disk(home)))
    if models is not None:
        fix = "" if models else "Get one: inhouse pull smollm2"
        found.append(Finding("ok" if models else "note", "models", f"{models} here", fix))
    return found
