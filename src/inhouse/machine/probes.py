"""Parsers of what operating systems and drivers say about hardware. Pure: text in, values out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from .machine import Gpu

UNLIMITED: Final = 2**60
"""cgroup v1 writes about 2**63 for "no limit"; nobody has an exbibyte."""

X86: Final = ("sse4_2", "avx", "f16c", "fma", "avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8")
ARM: Final = ("asimd", "asimddp", "i8mm", "sve", "sve2", "sme")
VENDORS: Final = {"0x10de": "nvidia", "0x1002": "amd", "0x8086": "intel"}
_APPLE: Final = {
    "hw.optional.avx2_0": "avx2",
    "hw.optional.avx512f": "avx512f",
    "hw.optional.neon": "asimd",
    "hw.optional.AdvSIMD": "asimd",
    "hw.optional.arm.FEAT_DotProd": "asimddp",
    "hw.optional.arm.FEAT_I8MM": "i8mm",
    "hw.optional.arm.FEAT_SME": "sme",
}


def cpu_model(cpuinfo: str) -> str:
    """The CPU's name from /proc/cpuinfo, "" if it has none (many ARM machines)."""
    match = re.search(r"^(?:model name|Model|Hardware|cpu model)\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return match[1].strip() if match else ""


def cpu_features(cpuinfo: str) -> frozenset[str]:
    """The instruction sets that matter here, from the flags of /proc/cpuinfo's first CPU."""
    match = re.search(r"^(?:flags|Features)\s*:\s*(.*)$", cpuinfo, re.MULTILINE)
    words = set(match[1].split()) if match else set()
    return frozenset(name for name in (*X86, *ARM) if name in words)


def sysctl_features(text: str) -> frozenset[str]:
    """The same from ``sysctl hw.optional`` on macOS."""
    on = re.findall(r"^(\S+): 1$", text, re.MULTILINE)
    return frozenset(_APPLE[key] for key in on if key in _APPLE)


def cgroup_path(text: str, controller: str) -> str | None:
    """The cgroup of this process from /proc/self/cgroup; ``controller`` "" is version 2's."""
    for line in text.splitlines():
        _, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if controller in names.split(",") and path.startswith("/"):
            return path
    return None


def limit(text: str) -> int | None:
    """A cgroup memory limit in bytes; None for ``max`` and its numeric look-alikes."""
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and 0 < int(text) < UNLIMITED else None


def quota_v2(text: str) -> float | None:
    """CPUs of ``cpu.max``: ``150000 100000`` is 1.5; None for ``max``."""
    quota, _, period = text.strip().partition(" ")
    return _cpus(quota, period or "100000")


def quota_v1(quota: str, period: str) -> float | None:
    """CPUs of ``cpu.cfs_quota_us`` and ``cpu.cfs_period_us``; None for -1."""
    return _cpus(quota.strip(), period.strip())


def _cpus(quota: str, period: str) -> float | None:
    if not (quota.isdigit() and period.isdigit()) or not int(quota) or not int(period):
        return None
    return int(quota) / int(period)


def nvidia(text: str) -> tuple[Gpu, ...]:
    """``nvidia-smi`` CSV of name, memory.total and memory.free in MiB, and driver_version."""
    found = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) != 4 or not cells[0]:
            continue
        total, free = (int(c) * 2**20 if c.isdigit() else 0 for c in cells[1:3])
        found.append(Gpu("nvidia", cells[0], total, free, cells[3]))
    return tuple(found)


def drm(cards: Iterable[Mapping[str, str]]) -> tuple[Gpu, ...]:
    """Graphics cards of /sys/class/drm: maps of the small files of each card's ``device`` folder."""
    found = []
    for files in cards:
        vendor = VENDORS.get(files.get("vendor", "").strip().lower())
        if vendor is None:
            continue
        total = limit(files.get("mem_info_vram_total", "")) or 0
        used = limit(files.get("mem_info_vram_used", "")) or 0
        name = files.get("product_name", "").strip() or f"{vendor} {files.get('device', '').strip()}".strip()
        # Intel's discrete cards say how much local memory they have; integrated ones have none.
        local = limit(files.get("lmem_total_bytes", "")) or 0
        shared = vendor == "intel" and not local
        memory = total or local
        found.append(Gpu(vendor, name, memory, max(0, memory - used), shared=shared))
    return tuple(found)


def kfd(nodes: Iterable[str]) -> int:
    """How many GPUs AMD's compute driver has, from the ``properties`` files of its topology nodes."""
    return sum(1 for text in nodes if re.search(r"^simd_count [1-9]", text, re.MULTILINE))


def system_profiler(text: str, memory: int) -> tuple[Gpu, ...]:
    """``system_profiler SPDisplaysDataType -json`` of macOS; Apple GPUs share the machine's memory."""
    try:
        listed: Any = json.loads(text).get("SPDisplaysDataType", [])
    except (ValueError, AttributeError):
        return ()
    found = []
    for item in listed if isinstance(listed, list) else []:
        name = str(item.get("sppci_model", "")) if isinstance(item, dict) else ""
        if name:
            apple = name.startswith("Apple")
            found.append(Gpu("apple" if apple else "other", name, memory if apple else 0, shared=apple))
    return tuple(found)
