"""What oneAPI's Level Zero loader tells of Intel's GPUs, through ctypes.

Structures as in the Level Zero specification 1.x (``ze_api.h``); ``stype`` says which one it is.
"""

from __future__ import annotations

import ctypes
import json
import sys
from ctypes import POINTER, Structure, byref, c_char, c_int32, c_int64, c_uint8, c_uint32, c_uint64, c_void_p
from typing import Any, Final

GPU: Final = 1
INTEGRATED: Final = 1
_MOST: Final = 64


class DriverProperties(Structure):
    _fields_ = [("stype", c_uint32), ("next", c_void_p), ("uuid", c_uint8 * 16), ("version", c_uint32)]


class DeviceProperties(Structure):
    _fields_ = [
        ("stype", c_uint32),
        ("next", c_void_p),
        ("type", c_uint32),
        ("vendor", c_uint32),
        ("device", c_uint32),
        ("flags", c_uint32),
        ("subdevice", c_uint32),
        ("clock", c_uint32),
        ("largest", c_uint64),
        ("shape", c_uint32 * 7),
        ("resolution", c_uint64),
        ("bits", c_uint32 * 2),
        ("uuid", c_uint8 * 16),
        ("name", c_char * 256),
    ]


class MemoryProperties(Structure):
    _fields_ = [
        ("stype", c_uint32),
        ("next", c_void_p),
        ("flags", c_uint32),
        ("clock", c_uint32),
        ("width", c_uint32),
        ("size", c_uint64),
        ("name", c_char * 256),
    ]


class PciProperties(Structure):
    _fields_ = [
        ("stype", c_uint32),
        ("next", c_void_p),
        ("address", c_uint32 * 4),
        ("speed", c_int32 * 2),
        ("bandwidth", c_int64),
    ]


def library() -> Any:
    """The loader. Raises OSError where there is none."""
    names = ("ze_loader.dll",) if sys.platform == "win32" else ("libze_loader.so.1", "libze_loader.so")
    for name in names[:-1]:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return ctypes.CDLL(names[-1])


class Told:
    """A Level Zero loader that has been set up."""

    def __init__(self, loader: Any) -> None:
        self._ze = loader
        if code := loader.zeInit(GPU):
            raise OSError(f"zeInit answered {code:#x}")

    def _handles(self, ask: Any, *before: Any) -> list[c_void_p]:
        count = c_uint32(0)
        if ask(*before, byref(count), None) or not count.value:
            return []
        count.value = min(count.value, _MOST)
        handles = (c_void_p * count.value)()
        return [] if ask(*before, byref(count), handles) else [c_void_p(h) for h in handles[: count.value]]

    def gpus(self) -> list[dict[str, Any]]:
        found = []
        for driver in self._handles(self._ze.zeDriverGet):
            about = DriverProperties(stype=0x1)
            version = "" if self._ze.zeDriverGetProperties(driver, byref(about)) else _version(about.version)
            for device in self._handles(self._ze.zeDeviceGet, driver):
                properties = DeviceProperties(stype=0x3)
                if self._ze.zeDeviceGetProperties(device, byref(properties)) or properties.type != GPU:
                    continue
                found.append(self._gpu(device, properties, version))
        return found

    def _gpu(self, device: c_void_p, about: DeviceProperties, version: str) -> dict[str, Any]:
        return {
            "name": about.name.decode("utf-8", "replace"),
            "memory": self._memory(device),
            "shared": bool(about.flags & INTEGRATED),
            "driver": version,
            "uuid": bytes(about.uuid).hex(),
            "pci": self._pci(device),
            "device": f"{about.vendor:04x}:{about.device:04x}",
        }

    def _memory(self, device: c_void_p) -> int:
        count = c_uint32(0)
        ask = self._ze.zeDeviceGetMemoryProperties
        ask.argtypes = [c_void_p, POINTER(c_uint32), c_void_p]
        if ask(device, byref(count), None) or not count.value:
            return 0
        count.value = min(count.value, _MOST)
        parts = (MemoryProperties * count.value)()
        for part in parts:
            part.stype = 0x7
        return 0 if ask(device, byref(count), parts) else sum(int(part.size) for part in parts[: count.value])

    def _pci(self, device: c_void_p) -> str:
        place = PciProperties(stype=0x10008)
        try:
            code = self._ze.zeDevicePciGetPropertiesExt(device, byref(place))
        except AttributeError:  # a loader before 1.2
            return ""
        domain, bus, slot, function = place.address
        return "" if code else f"{domain:04x}:{bus:02x}:{slot:02x}.{function:x}"


def _version(word: int) -> str:
    """Compute runtime packs major, minor and build into 8, 8 and 16 bits."""
    return f"{word >> 24}.{word >> 16 & 0xFF}.{word & 0xFFFF}"


def main() -> int:
    """1: the library does not answer, and why is printed. 3: it is not there."""
    try:
        loader = library()
    except OSError:
        return 3
    try:
        answer = {"gpus": Told(loader).gpus()}
    except (OSError, AttributeError) as error:
        print(error)  # noqa: T201
        return 1
    print(json.dumps(answer))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
