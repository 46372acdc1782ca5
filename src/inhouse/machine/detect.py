"""What hardware is here: one frozen value, made by asking the system. No probe can raise or hang."""

from __future__ import annotations

import contextlib
import math
import mmap
import platform
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from . import cgroups, cpu, gpus, host
from .asking import ask, read
from .cgroups import Limits, limits
from .disks import disk
from .machine import Limit, Machine, Trouble


@dataclass(frozen=True, slots=True)
class _Processor:
    name: str
    features: frozenset[str]
    topology: cpu.Topology


def _affinity() -> frozenset[int] | None:
    """The logical CPUs that this process may run on, None where the system does not tell."""
    if sys.platform != "darwin":
        with contextlib.suppress(psutil.Error, OSError, AttributeError):
            return frozenset(psutil.Process().cpu_affinity() or ()) or None
    return None


def _counted(allowed: frozenset[int] | None) -> cpu.Topology:
    """The cores as the system's own counters tell, where /sys does not."""
    logical = psutil.cpu_count() or 1
    physical = psutil.cpu_count(logical=False) or logical
    mine = min(logical, len(allowed)) if allowed else logical
    return cpu.Topology(min(physical, mine), mine, physical)


def _windows_name() -> str:
    if sys.platform == "win32":
        import winreg

        key = r"HARDWARE\DESCRIPTION\System\CentralProcessor\0"
        with contextlib.suppress(OSError), winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, key) as opened:
            return str(winreg.QueryValueEx(opened, "ProcessorNameString")[0]).strip()
    return ""


def _windows_features() -> frozenset[str]:
    """``IsProcessorFeaturePresent`` of winnt.h: SSE4.2, AVX, AVX2, AVX-512F; NEON's dot product."""
    if sys.platform == "win32":
        import ctypes

        known = {38: "sse4_2", 39: "avx", 40: "avx2", 41: "avx512f", 19: "asimd", 43: "asimddp"}
        ask_windows = ctypes.windll.kernel32.IsProcessorFeaturePresent
        return frozenset(name for number, name in known.items() if ask_windows(number))
    return frozenset()


def _processor(root: Path, cpuinfo: str, allowed: frozenset[int] | None) -> _Processor:
    if sys.platform == "darwin":
        told = cpu.sysctl(ask("sysctl", "hw", "machdep.cpu").text)
        found = cpu.sysctl_topology(told) or _counted(allowed)
        return _Processor(told.get("machdep.cpu.brand_string", ""), cpu.sysctl_features(told), found)
    name = cpu.model(cpuinfo) or _windows_name() or platform.processor()
    features = cpu.features(cpuinfo) or _windows_features()
    return _Processor(name, features, cpu.topology(root, allowed) or _counted(allowed))


def _limited(group: Limits, found: cpu.Topology, installed: int) -> tuple[Limit, ...]:
    """Of the groups' limits those that take something away."""
    takes = {
        "memory": lambda value: value < installed,
        "cpu": lambda value: value < found.logical,
        "cpuset": lambda value: value < (psutil.cpu_count() or 1),
    }
    return tuple(limit for limit in group.held if takes[limit.kind](limit.value))


def _swap(root: Path) -> tuple[int, int]:
    if meminfo := read(root / "proc/meminfo"):
        return host.swap(meminfo)
    try:
        told = psutil.swap_memory()
    except (OSError, RuntimeError):
        return 0, 0
    return int(told.total), int(told.used)


def available(root: Path = Path("/"), *, mapped: int = 0) -> int:
    """Bytes this process could still take without hurting others; quick enough to ask often.

    ``mapped`` bytes of files shall stay in memory, which the system counts as available itself, and
    containers do not.
    """
    group = limits(root)
    free = max(0, int(psutil.virtual_memory().available) - mapped)
    return free if group.left is None else max(0, min(free, group.left))


def detect(home: Path | None = None, root: Path = Path("/")) -> Machine:
    """Ask everything once: some milliseconds without a GPU, mostly under a second with one, at most
    about ten when a driver's tools hang. ``home``: the folder whose disk is looked at. Never raises.

    The memory's bandwidth is not measured here: see ``speed``. ``root`` is for tests.
    """
    group, allowed = cgroups.limits(root), _affinity()
    if group.cpuset:
        allowed = allowed & frozenset(group.cpuset) if allowed else frozenset(group.cpuset)
    cpuinfo = read(root / "proc/cpuinfo")
    processor = _processor(root, cpuinfo, allowed or None)
    found = processor.topology
    installed = int(psutil.virtual_memory().total)
    memory = min(installed, group.memory or installed)
    share = math.ceil(group.cpus) if group.cpus else found.logical
    swap_total, swap_used = _swap(root)
    machine = Machine(
        os=platform.system().lower(),
        arch=platform.machine().lower(),
        cpu=processor.name,
        physical_cores=max(1, min(found.physical, share)),
        logical_cores=max(1, min(found.logical, share)),
        features=tuple(sorted(processor.features)),
        memory_total=memory,
        memory_available=min(available(root), memory),
        quota=group.cpus,
        release=host.release(root),
        kernel=platform.release(),
        container=host.container(root),
        virtual=host.virtual(root, cpuinfo),
        sockets=found.sockets,
        cores_installed=found.installed,
        performance_cores=found.performance,
        efficiency_cores=found.efficiency,
        caches=found.caches,
        nodes=host.nodes(root),
        memory_installed=installed,
        swap_total=swap_total,
        swap_used=swap_used,
        page_size=mmap.PAGESIZE,
        huge_pages=host.huge_pages(root),
        limits=_limited(group, found, installed),
        one_each=found.one_each,
        governor=host.governor(root),
    )
    if home is not None:
        machine = replace(machine, disk=disk(home, root))
    return _with_gpus(machine, root)


def _with_gpus(machine: Machine, root: Path) -> Machine:
    try:
        heard = gpus.find(machine.memory_total, machine.container, root)
    except Exception as error:  # noqa: BLE001 - a tool's answer that we did not foresee must not stop a server
        trouble = Trouble("gpu", f"looking for GPUs failed ({type(error).__name__})")
        return replace(machine, troubles=(*machine.troubles, trouble))
    return replace(machine, gpus=heard.gpus, troubles=(*machine.troubles, *heard.troubles))
