"""What ``vulkaninfo --summary`` prints: for when our own question to the loader failed."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from ..machine import Gpu
from .told import clean

SUMMARY: Final = ("--summary",)
VENDORS: Final = {
    "1002": "amd",
    "10de": "nvidia",
    "8086": "intel",
    "106b": "apple",
    "13b5": "arm",
    "5143": "qualcomm",
    "14e4": "broadcom",
    "1010": "imagination",
    "1ed5": "moorethreads",
}
SOFTWARE: Final = "cpu"


def named(gpu: Gpu, kind: str) -> Gpu | None:
    """A device of the loader with its vendor; None for those that are only software on the CPU."""
    if kind == SOFTWARE:
        return None
    vendor, _, _ = gpu.device.partition(":")
    pci = gpu.pci if gpu.pci and set(gpu.pci) - set("0:.") else ""
    return replace(gpu, vendor=VENDORS.get(vendor, "other"), shared=kind == "integrated", pci=pci)


def summary(text: str) -> tuple[tuple[Gpu, str], ...]:
    """(GPU, its kind) of each device listed."""
    found = []
    for part in re.split(r"^GPU\d+:\s*$", text, flags=re.MULTILINE)[1:]:
        told = dict(re.findall(r"^\s+(\w+)\s+= (.*?)\s*$", part, re.MULTILINE))
        kind = told.get("deviceType", "").removeprefix("PHYSICAL_DEVICE_TYPE_").lower().removesuffix("_gpu")
        driver = f"{told.get('driverName', '')} {told.get('driverInfo', '')}"
        ids = [told.get(name, "")[2:].rjust(4, "0").lower() for name in ("vendorID", "deviceID")]
        uuid = told.get("deviceUUID", "").replace("-", "")
        name = clean(told.get("deviceName", ""))
        found.append((Gpu("other", name, driver=clean(driver), uuid=uuid, device=":".join(ids)), kind))
    return tuple(found)
