"""What ``xpu-smi discovery --json`` prints."""

from __future__ import annotations

import re
from typing import Final

from ..machine import Gpu
from .told import Nonsense, address, clean, loaded, whole

DISCOVER: Final = ("discovery", "-j")


def xpu_smi(text: str) -> tuple[Gpu, ...]:
    """All devices, or one with its details. Raises Nonsense."""
    answer = loaded(text)
    rows = answer.get("device_list", [answer]) if isinstance(answer, dict) else None
    if not isinstance(rows, list):
        raise Nonsense("its answer has another form than expected")
    found = []
    for row in rows:
        if not isinstance(row, dict) or row.get("device_type", "GPU") != "GPU" or "device_name" not in row:
            continue
        device = str(row.get("pci_device_id", ""))
        found.append(
            Gpu(
                "intel",
                clean(row["device_name"]),
                whole(row.get("memory_physical_size_byte")),
                whole(row.get("memory_free_size_byte")),
                clean(row.get("driver_version", "")),
                uuid=clean(row.get("uuid", "")),
                pci=address(str(row.get("pci_bdf_address", ""))),
                device=f"8086:{device[2:].lower()}" if re.fullmatch(r"0x[0-9a-fA-F]{4}", device) else "",
            )
        )
    return tuple(found)
