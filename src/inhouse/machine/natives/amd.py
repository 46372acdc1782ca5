"""What AMD's management library tells, through its own Python binding (``amdsmi``)."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from typing import Any


def _target(value: Any) -> str:
    """``gfx1100``; some releases give the number alone, some nothing."""
    text = str(value or "").lower()
    return text if text.startswith("gfx") else f"gfx{text}" if text.isalnum() and text != "n" else ""


def facts(smi: Any) -> dict[str, Any]:
    """``gpus`` as maps of plain values; what a card does not tell is left out. ``smi`` is the module."""

    def told(ask: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return ask(*arguments)
        except smi.AmdSmiException:
            return None

    smi.amdsmi_init()
    try:
        found = []
        for handle in smi.amdsmi_get_processor_handles():
            asic = told(smi.amdsmi_get_gpu_asic_info, handle) or {}
            driver = told(smi.amdsmi_get_gpu_driver_info, handle) or {}
            kind = smi.AmdSmiMemoryType.VRAM
            total = told(smi.amdsmi_get_gpu_memory_total, handle, kind) or 0
            used = told(smi.amdsmi_get_gpu_memory_usage, handle, kind) or 0
            device = str(asic.get("device_id", "")).removeprefix("0x").rjust(4, "0")
            found.append(
                {
                    "name": str(asic.get("market_name") or ""),
                    "memory": int(total),
                    "free": max(0, int(total) - int(used)) if total else 0,
                    "driver": " ".join(
                        str(driver[key]) for key in ("driver_name", "driver_version") if driver.get(key)
                    ),
                    "capability": _target(asic.get("target_graphics_version")),
                    "uuid": str(told(smi.amdsmi_get_gpu_device_uuid, handle) or ""),
                    "pci": str(told(smi.amdsmi_get_gpu_device_bdf, handle) or ""),
                    "device": f"1002:{device}".lower() if asic.get("device_id") else "",
                }
            )
        return {"gpus": found}
    finally:
        smi.amdsmi_shut_down()


def main() -> int:
    """1: the library does not answer, and why is printed."""
    try:
        answer = facts(importlib.import_module("amdsmi"))
    except Exception as error:  # noqa: BLE001 - whatever a driver's binding throws is a "no", told in words
        print(f"{type(error).__name__}: {error}")  # noqa: T201
        return 1
    print(json.dumps(answer))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
