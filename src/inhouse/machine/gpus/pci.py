"""The graphics cards of Linux's PCI bus, whether a driver is there or not, and their names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from ..asking import folder, link, number, read
from ..machine import Gpu
from . import amd

VENDORS: Final = {"0x10de": "nvidia", "0x1002": "amd", "0x8086": "intel"}
_TITLES: Final = {"nvidia": "NVIDIA", "amd": "AMD", "intel": "Intel"}
_IDS: Final = ("usr/share/hwdata/pci.ids", "usr/share/misc/pci.ids")
_AMD_IDS: Final = "usr/share/libdrm/amdgpu.ids"
_NODES: Final = ("nvidiactl", "nvidia0", "dxg", "nvhost-gpu", "nvmap")
"""NVIDIA's device nodes: of drivers on the PCI bus, inside WSL, and on Jetson boards."""


@dataclass(frozen=True, slots=True)
class Hints:
    """What could be here. ``render``: some driver offers render nodes, so Vulkan may know a GPU."""

    cards: tuple[Gpu, ...] = ()
    nvidia: bool = False
    render: bool = False

    def has(self, vendor: str) -> bool:
        return any(card.vendor == vendor for card in self.cards)


def hints(root: Path, memory: int) -> Hints:
    """Quick: a look at the bus and at /dev, no program is run."""
    found = cards(root, memory)
    nodes = any((root / "dev" / name).exists() for name in _NODES)
    render = any(entry.name.startswith("renderD") for entry in folder(root / "dev/dri"))
    return Hints(found, nodes or any(card.vendor == "nvidia" for card in found), render)


def cards(root: Path, memory: int) -> tuple[Gpu, ...]:
    """Display controllers, and AMD's accelerators without a display, of the three makers. ``memory``: the
    machine's."""
    places = [(place, _card(place, root)) for place in folder(root / "sys/bus/pci/devices")]
    found = [(place, card) for place, card in places if card]
    if not found:
        return ()
    computes = {one.pci: one for one in amd.compute(root)} if any(c.vendor == "amd" for _, c in found) else {}
    return tuple(_detailed(card, place, computes, memory) for place, card in found)


def _card(place: Path, root: Path) -> Gpu | None:
    vendor = VENDORS.get(read(place / "vendor").strip().lower())
    kind = read(place / "class").strip()
    if not vendor or not (kind.startswith("0x03") or (vendor == "amd" and kind.startswith("0x12"))):
        return None
    device = read(place / "device").strip().lower().removeprefix("0x")
    driver = link(place / "driver")
    version = read(root / "sys/module" / driver / "version").strip() if driver else ""
    told = ("sysfs",)
    card = Gpu(vendor, "", driver=f"{driver} {version}".strip(), pci=place.name, told=told)
    card = replace(card, device=f"{read(place / 'vendor').strip().lower().removeprefix('0x')}:{device}")
    return replace(card, name=_name(root, card.device, read(place / "revision").strip()))


def _detailed(card: Gpu, place: Path, computes: Mapping[str, amd.Compute], memory: int) -> Gpu:
    if card.vendor == "amd":
        return amd.detailed(card, place, computes, memory)
    if card.vendor == "intel":
        local = number(read(place / "lmem_total_bytes"))
        # The one inside the processor sits on the first bus.
        inside = not local and re.match(r"[0-9a-f]+:00:", card.pci) is not None
        return replace(card, memory=local, free=local, shared=inside)
    return card


def titled(gpu: Gpu) -> Gpu:
    """A GPU without a name gets its maker's and its number."""
    if gpu.name:
        return gpu
    title = _TITLES.get(gpu.vendor, gpu.vendor)
    return replace(gpu, name=f"{title} GPU {gpu.device.partition(':')[2]}".strip())


def _name(root: Path, device: str, revision: str) -> str:
    """The marketing name from the lists that distributions ship; "" when there is none."""
    vendor, _, model = device.partition(":")
    if vendor == "1002":
        wanted = rf"^{model},\s*{revision.removeprefix('0x')},\s*(.+)$"
        if match := re.search(wanted, read(root / _AMD_IDS), re.MULTILINE | re.IGNORECASE):
            return match[1].strip()
    for ids in _IDS:
        text = _list(root / ids)
        start = re.search(rf"^{vendor}  ", text, re.MULTILINE)
        if not start:
            continue
        end = re.compile(r"^[0-9a-f]{4}  ", re.MULTILINE).search(text, start.end())
        part = text[start.end() : end.start() if end else len(text)]
        if match := re.search(rf"^\t{model}  (.+)$", part, re.MULTILINE):
            maker = {"10de": "NVIDIA", "1002": "AMD", "8086": "Intel"}[vendor]
            # "AD102 [GeForce RTX 4090]": people know what stands in brackets.
            known = re.search(r"\[(.+)\]", match[1])
            name = (known[1] if known else match[1]).strip()
            return name if name.startswith(maker) else f"{maker} {name}"
    return ""


def _list(path: Path) -> str:
    """All of pci.ids: more than a small file."""
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
