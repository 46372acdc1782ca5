"""What hardware is here: one frozen value, made by asking the system. No probe can raise or hang."""

from __future__ import annotations

import contextlib
import math
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Final

import psutil

from . import probes
from .machine import Gpu, Machine

PROBE_TIMEOUT: Final = 5.0
FILE_CEILING: Final = 2**20
_NVIDIA_QUERY: Final = (
    "--query-gpu=name,memory.total,memory.free,driver_version",
    "--format=csv,noheader,nounits",
)
_DRM_FILES: Final = (
    "vendor",
    "device",
    "product_name",
    "mem_info_vram_total",
    "mem_info_vram_used",
    "lmem_total_bytes",
)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a control group allows; None is unlimited. ``used`` counts what cannot be reclaimed."""

    memory: int | None = None
    used: int = 0
    cpus: float | None = None


def read(path: Path) -> str:
    """A small file of /proc or /sys, "" when it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(FILE_CEILING).decode("utf-8", "replace")
    except OSError:
        return ""


def ask(*command: str) -> str:
    """What a program prints, "" when it is missing, fails or takes longer than five seconds."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            timeout=PROBE_TIMEOUT,
            stdin=subprocess.DEVNULL,
            check=False,
            encoding="utf-8",
            errors="replace",
        )
    except (OSError, subprocess.SubprocessError, ValueError):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _upwards(mount: Path, path: str) -> list[Path]:
    """A group's folder and its parents': every one of them limits. Inside a container ``path`` may be
    the host's, then only the mount itself is there."""
    parts = PurePosixPath(path).parts[1:]
    return [mount.joinpath(*parts[:n]) for n in range(len(parts), -1, -1)]


def _reclaimable(stat: str) -> int:
    """Page cache that the kernel gives back under pressure: ``inactive_file`` of memory.stat."""
    for line in stat.splitlines():
        name, _, value = line.partition(" ")
        if name in ("inactive_file", "total_inactive_file") and value.isdigit():
            return int(value)
    return 0


def limits(root: Path = Path("/")) -> Limits:
    """The tightest cgroup limits, version 2 or 1, of this process. ``root`` is for tests."""
    groups = read(root / "proc/self/cgroup")
    mount = root / "sys/fs/cgroup"
    memory: list[tuple[int, int]] = []
    cpus: list[float] = []
    v2 = probes.cgroup_path(groups, "")
    for folder in _upwards(mount, v2) if v2 else []:
        if (most := probes.limit(read(folder / "memory.max"))) is not None:
            used = probes.limit(read(folder / "memory.current")) or 0
            memory.append((most, max(0, used - _reclaimable(read(folder / "memory.stat")))))
        if (quota := probes.quota_v2(read(folder / "cpu.max"))) is not None:
            cpus.append(quota)
    v1 = probes.cgroup_path(groups, "memory")
    for folder in _upwards(mount / "memory", v1) if v1 else []:
        if (most := probes.limit(read(folder / "memory.limit_in_bytes"))) is not None:
            used = probes.limit(read(folder / "memory.usage_in_bytes")) or 0
            memory.append((most, max(0, used - _reclaimable(read(folder / "memory.stat")))))
    v1 = probes.cgroup_path(groups, "cpu")
    for folder in _upwards(mount / "cpu", v1) if v1 else []:
        quota = probes.quota_v1(read(folder / "cpu.cfs_quota_us"), read(folder / "cpu.cfs_period_us"))
        if quota is not None:
            cpus.append(quota)
    most, used = min(memory, key=lambda pair: pair[0] - pair[1], default=(None, 0))
    return Limits(most, used, min(cpus, default=None))


def cores(quota: float | None) -> tuple[int, int]:
    """(physical, logical) cores of this process: what exists, cut by affinity and quota; at least 1."""
    logical = psutil.cpu_count() or 1
    physical = psutil.cpu_count(logical=False) or logical
    allowed = logical
    if sys.platform != "darwin":
        with contextlib.suppress(psutil.Error, OSError, AttributeError):
            allowed = len(psutil.Process().cpu_affinity() or range(logical))
    share = math.ceil(quota) if quota else logical
    return max(1, min(physical, allowed, share)), max(1, min(logical, allowed, share))


def _drm_cards(root: Path) -> list[dict[str, str]]:
    try:
        cards = sorted(p for p in (root / "sys/class/drm").iterdir() if p.name[4:].isdigit())
    except OSError:
        return []
    return [{name: read(card / "device" / name) for name in _DRM_FILES} for card in cards]


def gpus(memory: int, root: Path = Path("/")) -> tuple[Gpu, ...]:
    """Graphics processors, by whatever tells of them. ``root`` is for tests."""
    if sys.platform == "darwin":
        return probes.system_profiler(ask("system_profiler", "SPDisplaysDataType", "-json"), memory)
    smi = shutil.which("nvidia-smi")
    found = probes.nvidia(ask(smi, *_NVIDIA_QUERY)) if smi else ()
    others = probes.drm(_drm_cards(root))
    if has_rocm(root):
        others = tuple(replace(gpu, driver="amdkfd") if gpu.vendor == "amd" else gpu for gpu in others)
    have = {gpu.vendor for gpu in found}
    return (*found, *(gpu for gpu in others if gpu.vendor not in have))


def has_rocm(root: Path = Path("/")) -> bool:
    """Whether AMD's compute driver offers a GPU."""
    try:
        nodes = list((root / "sys/class/kfd/kfd/topology/nodes").iterdir())
    except OSError:
        return False
    return probes.kfd(read(node / "properties") for node in nodes) > 0


def _cpu() -> tuple[str, frozenset[str]]:
    if sys.platform == "darwin":
        name = ask("sysctl", "-n", "machdep.cpu.brand_string").strip()
        return name, probes.sysctl_features(ask("sysctl", "hw.optional"))
    cpuinfo = read(Path("/proc/cpuinfo"))
    return probes.cpu_model(cpuinfo) or platform.processor(), probes.cpu_features(cpuinfo)


def available(root: Path = Path("/")) -> int:
    """Bytes this process could still take without hurting others; quick enough to ask often."""
    group = limits(root)
    free = int(psutil.virtual_memory().available)
    return free if group.memory is None else max(0, min(free, group.memory - group.used))


def detect() -> Machine:
    """Ask once, at start. Takes up to some seconds when a driver's tool hangs."""
    group = limits()
    total = int(psutil.virtual_memory().total)
    memory = min(total, group.memory or total)
    physical, logical = cores(group.cpus)
    name, features = _cpu()
    return Machine(
        os=platform.system().lower(),
        arch=platform.machine().lower(),
        cpu=name,
        physical_cores=physical,
        logical_cores=logical,
        features=tuple(sorted(features)),
        memory_total=memory,
        memory_available=min(available(), memory),
        quota=group.cpus,
        gpus=gpus(memory),
    )


def disk_free(path: Path) -> int:
    """Free bytes on the disk that a path is or will be on; 0 when that cannot be told."""
    for folder in (path, *path.parents):
        try:
            return shutil.disk_usage(folder).free
        except FileNotFoundError:
            continue
        except OSError:
            return 0
    return 0
