"""What AMD's drivers tell in /sys, and what ``rocm-smi --json`` prints."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from ..asking import folder, number, read
from ..machine import Gpu
from .told import Nonsense, address, clean, loaded, whole

SMI: Final = ("--showproductname", "--showmeminfo", "vram", "--showbus", "--showdriverversion", "--json")
APUS: Final = frozenset(
    (
        *("gfx902", "gfx909", "gfx90c", "gfx1013", "gfx1033", "gfx1035", "gfx1036", "gfx1037"),
        *("gfx1103", "gfx1150", "gfx1151", "gfx1152", "gfx1153"),
    )
)
"""Targets that only occur inside processors: they use the machine's own memory."""


@dataclass(frozen=True, slots=True)
class Compute:
    """A GPU of the compute driver (KFD): its PCI address, target and whether a CPU is in the same part."""

    pci: str
    target: str
    integrated: bool


def target(version: int) -> str:
    """``110000`` is gfx1100, ``90010`` is gfx90a: major, minor and stepping with two digits each."""
    if not version:
        return ""
    major, minor, step = version // 10000, version // 100 % 100, version % 100
    return f"gfx{major}{minor:x}{step:x}"


def compute(root: Path) -> tuple[Compute, ...]:
    """The GPUs of /sys/class/kfd; a container sees nothing of those it may not use."""
    found = []
    for node in folder(root / "sys/class/kfd/kfd/topology/nodes"):
        told = dict(re.findall(r"^(\w+) (\d+)$", read(node / "properties"), re.MULTILINE))
        if not number(told.get("simd_count", "")):
            continue
        place = number(told.get("location_id", ""))
        domain = number(told.get("domain", ""))
        pci = f"{domain:04x}:{place >> 8 & 0xFF:02x}:{place >> 3 & 31:02x}.{place & 7}"
        gfx = target(number(told.get("gfx_target_version", "")))
        integrated = gfx in APUS or number(told.get("cpu_cores_count", "")) > 0
        found.append(Compute(pci, gfx, integrated))
    return tuple(found)


def detailed(gpu: Gpu, place: Path, computes: Mapping[str, Compute], memory: int) -> Gpu:
    """A card of the PCI bus with what the driver's files in its folder tell. ``memory``: the machine's,
    which may be less than what the driver would lend to one inside the processor."""
    total, used = number(read(place / "mem_info_vram_total")), number(read(place / "mem_info_vram_used"))
    gtt, gtt_used = number(read(place / "mem_info_gtt_total")), number(read(place / "mem_info_gtt_used"))
    one = computes.get(gpu.pci)
    integrated = bool(one and one.integrated)
    if integrated:  # what firmware set aside, and what the driver may take beside it
        total, used = total + min(gtt, memory), used + gtt_used
    return replace(
        gpu,
        name=clean(read(place / "product_name")) or gpu.name,
        memory=total,
        free=max(0, total - used),
        shared=integrated,
        capability=one.target if one else "",
    )


def smi(text: str) -> tuple[Gpu, ...]:
    """``rocm-smi`` with the arguments ``SMI``; the names of its fields change case. Raises Nonsense."""
    cards = loaded(text)
    if not isinstance(cards, dict):
        raise Nonsense("its answer has another form than expected")
    system = cards.get("system")
    version = clean(system.get("Driver version", "")) if isinstance(system, dict) else ""
    found = []
    for key, card in cards.items():
        if not re.fullmatch(r"card\d+", str(key)) or not isinstance(card, dict):
            continue
        told = {str(name).lower(): value for name, value in card.items()}
        total, used = whole(told.get("vram total memory (b)")), whole(told.get("vram total used memory (b)"))
        names = (told.get("device name"), told.get("card series"), told.get("card model"))
        name = next((clean(n) for n in names if n and n != "N/A" and not str(n).startswith("0x")), "")
        ids = (told.get("device id"), told.get("gpu id"), told.get("card model"))
        device = next((i for i in map(str, ids) if re.fullmatch(r"0x[0-9a-fA-F]{4}", i)), "")
        gfx = str(told.get("gfx version", ""))
        found.append(
            Gpu(
                "amd",
                name,
                total,
                max(0, total - used),
                f"amdgpu {version}".strip() if version else "",
                capability=gfx if gfx.startswith("gfx") else "",
                pci=address(str(told.get("pci bus", ""))),
                device=f"1002:{device[2:].lower()}" if device else "",
            )
        )
    return tuple(found)
