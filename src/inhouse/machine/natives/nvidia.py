"""What NVIDIA's management library tells, through nvidia-ml-py (``pynvml``)."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from typing import Any


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def facts(nvml: Any) -> dict[str, Any]:
    """``gpus`` as maps of plain values; what a card does not tell is left out. ``nvml`` is the module."""

    def told(ask: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return ask(*arguments)
        except nvml.NVMLError:
            return None

    nvml.nvmlInit()
    driver = _text(told(nvml.nvmlSystemGetDriverVersion) or "")
    cuda = told(nvml.nvmlSystemGetCudaDriverVersion_v2) or 0
    found = []
    for index in range(nvml.nvmlDeviceGetCount()):
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        memory = told(nvml.nvmlDeviceGetMemoryInfo, handle)
        ability = told(nvml.nvmlDeviceGetCudaComputeCapability, handle)
        place = told(nvml.nvmlDeviceGetPciInfo, handle)
        # The PCI word holds the device above the vendor.
        device = f"10de:{place.pciDeviceId >> 16:04x}" if place else ""
        found.append(
            {
                "name": _text(told(nvml.nvmlDeviceGetName, handle) or ""),
                "memory": memory.total if memory else 0,
                "free": memory.free if memory else 0,
                "driver": driver,
                "cuda": f"{cuda // 1000}.{cuda % 1000 // 10}" if cuda else "",
                "capability": f"{ability[0]}.{ability[1]}" if ability else "",
                "uuid": _text(told(nvml.nvmlDeviceGetUUID, handle) or ""),
                "pci": _text(place.busId) if place else "",
                "device": device,
            }
        )
    return {"gpus": found}


def main() -> int:
    """1: the library does not answer, and why is printed."""
    try:
        answer = facts(importlib.import_module("pynvml"))
    except Exception as error:  # noqa: BLE001 - whatever a driver's binding throws is a "no", told in words
        print(f"{type(error).__name__}: {error}")  # noqa: T201
        return 1
    print(json.dumps(answer))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
