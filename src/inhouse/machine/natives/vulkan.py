"""What the Vulkan loader tells of every GPU, through ctypes.

Structures as in the Vulkan 1.1 specification (``vulkan_core.h``) and its extensions for driver
properties, PCI bus and memory budget; ``stype`` says which one it is.
"""

from __future__ import annotations

import ctypes
import json
import sys
from ctypes import POINTER, Structure, byref, c_char, c_char_p, c_uint8, c_uint32, c_uint64, c_void_p, pointer
from typing import Any, Final

INTEGRATED: Final = 1
KINDS: Final = ("other", "integrated", "discrete", "virtual", "cpu")
_VERSION_1_1: Final = 1 << 22 | 1 << 12
_DEVICE_LOCAL: Final = 1
_UNTOLD: Final = 0xFFFFFFFF
_MOST: Final = 64
_NVIDIA: Final = 0x10DE


class Application(Structure):
    _fields_ = [
        ("stype", c_uint32),
        ("next", c_void_p),
        ("name", c_char_p),
        ("version", c_uint32),
        ("engine", c_char_p),
        ("engine_version", c_uint32),
        ("api", c_uint32),
    ]


class Creation(Structure):
    _fields_ = [
        ("stype", c_uint32),
        ("next", c_void_p),
        ("flags", c_uint32),
        ("application", POINTER(Application)),
        ("layers", c_uint32),
        ("layer_names", c_void_p),
        ("extensions", c_uint32),
        ("extension_names", c_void_p),
    ]


class Properties(Structure):
    """VkPhysicalDeviceProperties2; limits and sparse properties (8-byte aligned) are of no interest."""

    _fields_ = [
        ("stype", c_uint32),
        ("next", c_void_p),
        ("api", c_uint32),
        ("driver", c_uint32),
        ("vendor", c_uint32),
        ("device", c_uint32),
        ("kind", c_uint32),
        ("name", c_char * 256),
        ("cache", c_uint8 * 16),
        ("rest", c_uint64 * 128),
    ]


class Driver(Structure):
    _fields_ = [
        ("stype", c_uint32),
        ("next", c_void_p),
        ("id", c_uint32),
        ("name", c_char * 256),
        ("info", c_char * 256),
        ("conformance", c_uint8 * 4),
    ]


class Pci(Structure):
    _fields_ = [("stype", c_uint32), ("next", c_void_p), ("address", c_uint32 * 4)]


class Identity(Structure):
    _fields_ = [
        ("stype", c_uint32),
        ("next", c_void_p),
        ("device", c_uint8 * 16),
        ("driver", c_uint8 * 16),
        ("luid", c_uint8 * 8),
        ("mask", c_uint32),
        ("valid", c_uint32),
    ]


class Heap(Structure):
    _fields_ = [("size", c_uint64), ("flags", c_uint32)]


class Budget(Structure):
    _fields_ = [("stype", c_uint32), ("next", c_void_p), ("budget", c_uint64 * 16), ("usage", c_uint64 * 16)]


class Memory(Structure):
    _fields_ = [
        ("stype", c_uint32),
        ("next", c_void_p),
        ("types", c_uint32),
        ("type", c_uint32 * 64),
        ("count", c_uint32),
        ("heaps", Heap * 16),
    ]


def library() -> Any:
    """The loader. Raises OSError where there is none."""
    return ctypes.CDLL("vulkan-1.dll" if sys.platform == "win32" else "libvulkan.so.1")


def devices(vulkan: Any) -> list[dict[str, Any]]:
    """Every device of a new instance as plain values. Raises OSError with the loader's code."""
    application = Application(stype=0, name=b"inhouse", api=_VERSION_1_1)
    creation = Creation(stype=1, application=pointer(application))
    instance = c_void_p()
    code = vulkan.vkCreateInstance(byref(creation), None, byref(instance))
    if code:
        raise OSError(f"vkCreateInstance answered {code}")
    try:
        count = c_uint32(0)
        vulkan.vkEnumeratePhysicalDevices(instance, byref(count), None)
        count.value = min(count.value, _MOST)
        handles = (c_void_p * max(1, count.value))()
        if vulkan.vkEnumeratePhysicalDevices(instance, byref(count), handles) < 0:
            return []
        return [_device(vulkan, c_void_p(handle)) for handle in handles[: count.value]]
    finally:
        vulkan.vkDestroyInstance(instance, None)


def _device(vulkan: Any, handle: c_void_p) -> dict[str, Any]:
    # What a driver does not know of the chain it leaves as it was.
    driver = Driver(stype=1000196000)
    identity = Identity(stype=1000071004, next=ctypes.addressof(driver))
    pci = Pci(stype=1000212000, next=ctypes.addressof(identity), address=(_UNTOLD,) * 4)
    about = Properties(stype=1000059001, next=ctypes.addressof(pci))
    vulkan.vkGetPhysicalDeviceProperties2(handle, byref(about))
    total, free = _memory(vulkan, handle, about)
    domain, bus, slot, function = pci.address
    return {
        "kind": KINDS[about.kind] if about.kind < len(KINDS) else "other",
        "name": about.name.decode("utf-8", "replace"),
        "memory": total,
        "free": free,
        "driver": " ".join(filter(None, (driver.name.decode("utf-8", "replace"), _info(driver)))),
        "uuid": bytes(identity.device).hex(),
        "pci": "" if domain == _UNTOLD else f"{domain:04x}:{bus:02x}:{slot:02x}.{function:x}",
        "device": f"{about.vendor:04x}:{about.device & 0xFFFF:04x}",
    }


def _info(driver: Driver) -> str:
    return str(driver.info.decode("utf-8", "replace"))


def _memory(vulkan: Any, handle: c_void_p, about: Properties) -> tuple[int, int]:
    """Bytes of the memory near the GPU, and what its budget leaves of them (0: not told).

    An integrated GPU has all heaps. NVIDIA lists the window into its memory as a second heap of it.
    """
    budget = Budget(stype=1000237000)
    memory = Memory(stype=1000059006, next=ctypes.addressof(budget))
    vulkan.vkGetPhysicalDeviceMemoryProperties2(handle, byref(memory))
    near = [
        (int(heap.size), max(0, int(budget.budget[n]) - int(budget.usage[n])))
        for n, heap in enumerate(memory.heaps[: min(memory.count, 16)])
        if about.kind == INTEGRATED or heap.flags & _DEVICE_LOCAL
    ]
    if about.vendor == _NVIDIA and near:
        return max(near)
    return sum(size for size, _ in near), sum(free for _, free in near)


def main() -> int:
    """1: the library does not answer, and why is printed. 3: it is not there."""
    try:
        loader = library()
    except OSError:
        return 3
    try:
        answer = {"gpus": devices(loader)}
    except (OSError, AttributeError) as error:
        print(error)  # noqa: T201
        return 1
    print(json.dumps(answer))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
