"""What macOS's ``system_profiler`` prints, and how much of the memory its GPU may use."""

from __future__ import annotations

from typing import Final

from ..machine import Gpu
from .told import Nonsense, clean, loaded

DISPLAYS: Final = ("SPDisplaysDataType", "-json")
_LARGE: Final = 36 * 2**30


def working_set(memory: int, wired_mib: int = 0) -> int:
    """Bytes that Metal recommends to use at most (``recommendedMaxWorkingSetSize``).

    Two thirds of the memory, three quarters from 36 GB on, as Metal itself told on M1 to M4 machines;
    ``iogpu.wired_limit_mb`` of sysctl overrides it.
    """
    if wired_mib:
        return min(memory, wired_mib * 2**20)
    return memory * 3 // 4 if memory >= _LARGE else memory * 2 // 3


def system_profiler(text: str, memory: int, wired_mib: int = 0) -> tuple[Gpu, ...]:
    """``system_profiler SPDisplaysDataType -json``; Apple's GPUs share the machine's memory. Raises
    Nonsense."""
    answer = loaded(text)
    listed = answer.get("SPDisplaysDataType") if isinstance(answer, dict) else None
    if not isinstance(listed, list):
        raise Nonsense("its answer has another form than expected")
    found = []
    for item in listed:
        name = clean(item.get("sppci_model", "")) if isinstance(item, dict) else ""
        if not name:
            continue
        if name.startswith("Apple"):
            size = working_set(memory, wired_mib)
            metal = clean(item.get("spdisplays_mtlgpufamilysupport", "")).removeprefix("spdisplays_")
            found.append(Gpu("apple", name, size, shared=True, capability=metal))
        else:
            vendor = "amd" if "AMD" in name or "Radeon" in name else "intel" if "Intel" in name else "other"
            found.append(Gpu(vendor, name, shared=vendor == "intel"))
    return tuple(found)
