"""Our programs that load drivers' libraries, with libraries made up for the test."""

from __future__ import annotations

import ctypes
import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from inhouse.machine.asking import NATIVES
from inhouse.machine.gpus import told, vulkan
from inhouse.machine.natives import amd, intel, nvidia
from inhouse.machine.natives import vulkan as loader

GIB = 2**30

# -- NVIDIA -----------------------------------------------------------------------------------------


class NVMLError(Exception):
    pass


def nvml(**changes: Any) -> SimpleNamespace:
    """What nvidia-ml-py answers on an H100."""

    def refused(*_: object) -> None:
        raise NVMLError("Not Supported")

    answers = {
        "NVMLError": NVMLError,
        "nvmlInit": lambda: None,
        "nvmlSystemGetDriverVersion": lambda: b"550.54.15",
        "nvmlSystemGetCudaDriverVersion_v2": lambda: 12040,
        "nvmlDeviceGetCount": lambda: 1,
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetName": lambda _: "NVIDIA H100 80GB HBM3",
        "nvmlDeviceGetMemoryInfo": lambda _: SimpleNamespace(total=85520809984, free=84929413120),
        "nvmlDeviceGetCudaComputeCapability": lambda _: (9, 0),
        "nvmlDeviceGetUUID": lambda _: "GPU-0",
        "nvmlDeviceGetPciInfo": lambda _: SimpleNamespace(pciDeviceId=0x233010DE, busId=b"00000000:0A:00.0"),
    }
    return SimpleNamespace(**{**answers, **dict.fromkeys(changes, refused)})


def test_nvml_of_an_h100():
    ((gpu, kind),) = told.natives(json.dumps(nvidia.facts(nvml())), "nvidia")
    assert kind == ""
    assert (gpu.name, gpu.memory, gpu.free) == ("NVIDIA H100 80GB HBM3", 85520809984, 84929413120)
    assert (gpu.driver, gpu.cuda, gpu.capability) == ("550.54.15", "12.4", "9.0")
    assert (gpu.pci, gpu.device, gpu.uuid) == ("0000:0a:00.0", "10de:2330", "GPU-0")


@pytest.mark.parametrize(
    "silent",
    [
        name
        for name in vars(nvml())
        if name.startswith("nvmlDeviceGet")
        and name not in ("nvmlDeviceGetCount", "nvmlDeviceGetHandleByIndex")
    ],
)
def test_what_nvml_does_not_tell_is_left_out(silent):
    (gpu,) = nvidia.facts(nvml(**{silent: None}))["gpus"]
    ((found, _),) = told.natives(json.dumps({"gpus": [gpu]}), "nvidia")
    assert found.vendor == "nvidia"


def test_nvml_without_a_driver_is_no_answer(monkeypatch, capsys):
    broken = nvml()
    broken.nvmlInit = lambda: (_ for _ in ()).throw(NVMLError("Driver Not Loaded"))
    monkeypatch.setitem(sys.modules, "pynvml", broken)
    assert nvidia.main() == 1
    assert capsys.readouterr().out == "NVMLError: Driver Not Loaded\n"
    monkeypatch.setitem(sys.modules, "pynvml", nvml())
    assert nvidia.main() == 0
    assert json.loads(capsys.readouterr().out)["gpus"]


# -- AMD --------------------------------------------------------------------------------------------


class AmdSmiException(Exception):
    pass


def smi(**changes: Any) -> SimpleNamespace:
    """What amdsmi answers on an MI350X."""
    answers = {
        "AmdSmiException": AmdSmiException,
        "AmdSmiMemoryType": SimpleNamespace(VRAM=0),
        "amdsmi_init": lambda: None,
        "amdsmi_shut_down": lambda: None,
        "amdsmi_get_processor_handles": lambda: ["handle"],
        "amdsmi_get_gpu_asic_info": lambda _: {
            "market_name": "AMD Instinct MI350X",
            "device_id": "0x75a0",
            "target_graphics_version": "gfx950",
        },
        "amdsmi_get_gpu_driver_info": lambda _: {"driver_name": "amdgpu", "driver_version": "6.18.3"},
        "amdsmi_get_gpu_memory_total": lambda *_: 309220868096,
        "amdsmi_get_gpu_memory_usage": lambda *_: 296747008,
        "amdsmi_get_gpu_device_uuid": lambda _: "uuid",
        "amdsmi_get_gpu_device_bdf": lambda _: "0000:05:00.0",
    }
    return SimpleNamespace(**{**answers, **changes})


def test_amdsmi_of_an_mi350x(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "amdsmi", smi())
    assert amd.main() == 0
    ((gpu, _),) = told.natives(capsys.readouterr().out, "amd")
    assert (gpu.name, gpu.memory, gpu.memory - gpu.free) == ("AMD Instinct MI350X", 309220868096, 296747008)
    assert (gpu.driver, gpu.capability) == ("amdgpu 6.18.3", "gfx950")
    assert (gpu.pci, gpu.device) == ("0000:05:00.0", "1002:75a0")


def test_what_amdsmi_does_not_tell_is_left_out(monkeypatch, capsys):
    def refused(*_: object) -> None:
        raise AmdSmiException

    silent = {name: refused for name in vars(smi()) if name.startswith("amdsmi_get_gpu")}
    monkeypatch.setitem(sys.modules, "amdsmi", smi(**silent))
    assert amd.main() == 0
    ((gpu, _),) = told.natives(capsys.readouterr().out, "amd")
    assert (gpu.name, gpu.memory, gpu.capability, gpu.device) == ("", 0, "", "")
    monkeypatch.setitem(sys.modules, "amdsmi", smi(amdsmi_init=refused))
    assert amd.main() == 1


# -- Level Zero and Vulkan, through libraries compiled here -------------------------------------------


def test_structures_have_the_sizes_and_places_of_the_c_headers():
    """Measured with ze_api.h 1.8 and vulkan_core.h 1.3 on x86-64; all pointers have 8 bytes."""
    if ctypes.sizeof(ctypes.c_void_p) != 8:
        pytest.skip("64 bits only")
    assert ctypes.sizeof(intel.DriverProperties) == 40
    assert ctypes.sizeof(intel.DeviceProperties) == 368
    assert (intel.DeviceProperties.uuid.offset, intel.DeviceProperties.name.offset) == (96, 112)
    assert (ctypes.sizeof(intel.MemoryProperties), intel.MemoryProperties.size.offset) == (296, 32)
    assert (ctypes.sizeof(intel.PciProperties), intel.PciProperties.address.offset) == (48, 16)
    assert loader.Properties.name.offset == 36
    assert ctypes.sizeof(loader.Properties) >= 16 + 824
    assert (ctypes.sizeof(loader.Memory), loader.Memory.heaps.offset) == (536, 280)
    assert ctypes.sizeof(loader.Budget) == 272


compiler = shutil.which("cc")
needs_compiler = pytest.mark.skipif(not compiler or sys.platform != "linux", reason="a C compiler, Linux")

ZERO = r"""
#include <stdint.h>
#include <string.h>
typedef struct { uint32_t stype; void *next; uint8_t uuid[16]; uint32_t version; } Driver;
typedef struct { uint32_t stype; void *next; uint32_t type, vendor, device, flags, sub, clock; uint64_t most;
  uint32_t shape[7]; uint64_t resolution; uint32_t bits[2]; uint8_t uuid[16]; char name[256]; } Device;
typedef struct { uint32_t stype; void *next; uint32_t flags, clock, width; uint64_t size; char name[256]; } Memory;
typedef struct { uint32_t stype; void *next; uint32_t place[4]; int32_t speed[2]; int64_t bandwidth; } Pci;
int zeInit(uint32_t flags) { return INIT; }
int zeDriverGet(uint32_t *n, void **d) { *n = 1; if (d) d[0] = (void *)0x7f0000000001; return 0; }
int zeDriverGetProperties(void *d, Driver *p) { p->version = 0x01060000 | 33578; return p->stype != 1; }
int zeDeviceGet(void *d, uint32_t *n, void **h) { if (d != (void *)0x7f0000000001) return 1; *n = 2;
  if (h) { h[0] = (void *)0x7f0000000010; h[1] = (void *)0x7f0000000020; } return 0; }
int zeDeviceGetProperties(void *h, Device *p) { if (p->stype != 3) return 1;
  p->type = h == (void *)0x7f0000000010 ? 1 : 2; p->vendor = 0x8086; p->device = 0xe211; p->uuid[3] = 7;
  strcpy(p->name, "Intel(R) Arc(TM) Pro B60 Graphics"); return 0; }
int zeDeviceGetMemoryProperties(void *h, uint32_t *n, Memory *m) { *n = 1;
  if (m) { if (m->stype != 7) return 1; m->size = 25669140480ull; } return 0; }
int zeDevicePciGetPropertiesExt(void *h, Pci *p) { if (p->stype != 0x10008) return 1;
  p->place[1] = 0x97; return 0; }
"""

VULKAN = r"""
#include <stdint.h>
#include <string.h>
typedef struct Any { uint32_t stype; struct Any *next; } Any;
typedef struct { uint32_t stype; void *next; uint32_t api, driver, vendor, device, kind; char name[256]; } About;
typedef struct { uint32_t stype; void *next; uint32_t types, type[64], count;
  struct { uint64_t size; uint32_t flags; } heaps[16]; } Memory;
int vkCreateInstance(void *c, void *a, void **out) { *out = (void *)0x7f0000000001; return CREATE; }
void vkDestroyInstance(void *i, void *a) {}
int vkEnumeratePhysicalDevices(void *i, uint32_t *n, void **d) { *n = 2;
  if (d) { d[0] = (void *)0x7f0000000010; d[1] = (void *)0x7f0000000020; } return 0; }
void vkGetPhysicalDeviceProperties2(void *d, About *p) {
  int second = d == (void *)0x7f0000000020;
  p->vendor = second ? 0x1002 : 0x10de; p->device = second ? 0x1586 : 0x2684; p->kind = second ? 1 : 2;
  strcpy(p->name, second ? "Radeon 8060S Graphics (RADV GFX1151)" : "NVIDIA GeForce RTX 4090");
  for (Any *a = p->next; a; a = a->next) {
    if (a->stype == 1000212000 && !second) { uint32_t *x = (uint32_t *)(a + 1); x[0] = 0; x[1] = 1; x[2] = 0; x[3] = 0; }
    if (a->stype == 1000196000) { char *x = (char *)(a + 1); strcpy(x + 4, second ? "radv" : "NVIDIA");
      strcpy(x + 4 + 256, second ? "Mesa 25.0" : "550.54.15"); }
    if (a->stype == 1000071004) ((uint8_t *)(a + 1))[0] = 0xab; } }
void vkGetPhysicalDeviceMemoryProperties2(void *d, Memory *m) {
  int second = d == (void *)0x7f0000000020; Any *b = m->next;
  m->count = 3;
  m->heaps[0].size = 24ull << 30; m->heaps[0].flags = 1;
  m->heaps[1].size = 60ull << 30; m->heaps[1].flags = 0;
  m->heaps[2].size = 224ull << 20; m->heaps[2].flags = 1;
  if (b && b->stype == 1000237000) { uint64_t *x = (uint64_t *)(b + 1);
    x[0] = 23ull << 30; x[16] = 1ull << 30; if (second) { x[1] = 60ull << 30; } } }
"""


def build(folder: Path, name: str, source: str, *flags: str) -> dict[str, str]:
    (folder / "library.c").write_text(source)
    command = [
        str(compiler),
        "-shared",
        "-fPIC",
        "-w",
        *flags,
        "-o",
        str(folder / name),
        str(folder / "library.c"),
    ]
    subprocess.run(command, check=True)
    return {**os.environ, "LD_LIBRARY_PATH": str(folder)}


def run(name: str, environ: dict[str, str]) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-P", str(NATIVES / f"{name}.py")],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def here(monkeypatch, capsys, program: Any, library: Path) -> tuple[int, str]:
    """What a program prints with this library, in this process: these libraries are ours."""
    monkeypatch.setattr(program, "library", lambda: ctypes.CDLL(str(library)))
    code = program.main()
    return code, capsys.readouterr().out


@needs_compiler
def test_level_zero_is_asked_through_its_loader(tmp_path, monkeypatch, capsys):
    environ = build(tmp_path, "libze_loader.so.1", ZERO, "-DINIT=0")
    code, said = here(monkeypatch, capsys, intel, tmp_path / "libze_loader.so.1")
    assert code == 0
    assert run("intel", environ) == (code, said)
    ((gpu, _),) = told.natives(said, "intel")
    assert (gpu.name, gpu.memory, gpu.shared) == ("Intel(R) Arc(TM) Pro B60 Graphics", 25669140480, False)
    assert (gpu.driver, gpu.pci, gpu.device) == ("1.6.33578", "0000:97:00.0", "8086:e211")


@needs_compiler
def test_a_level_zero_that_does_not_start_says_why(tmp_path, monkeypatch, capsys):
    build(tmp_path, "ze.so", ZERO, "-DINIT=0x78000001")
    assert here(monkeypatch, capsys, intel, tmp_path / "ze.so") == (1, "zeInit answered 0x78000001\n")


@needs_compiler
@pytest.mark.parametrize(
    "change, left",
    [
        (("int zeDevicePciGetPropertiesExt", "int older"), {"pci": ""}),
        (("return p->stype != 1", "return 1"), {"driver": ""}),
        (("*n = 1;\n  if (m)", "*n = 0;\n  if (m)"), {"memory": 0}),
    ],
)
def test_what_level_zero_does_not_tell_is_left_out(tmp_path, monkeypatch, capsys, change, left):
    assert change[0] in ZERO
    build(tmp_path, "ze.so", ZERO.replace(*change), "-DINIT=0")
    code, said = here(monkeypatch, capsys, intel, tmp_path / "ze.so")
    assert code == 0
    (gpu,) = json.loads(said)["gpus"]
    assert {name: gpu[name] for name in left} == left


@needs_compiler
def test_vulkan_is_asked_through_its_loader(tmp_path, monkeypatch, capsys):
    environ = build(tmp_path, "libvulkan.so.1", VULKAN, "-DCREATE=0")
    code, said = here(monkeypatch, capsys, loader, tmp_path / "libvulkan.so.1")
    assert code == 0
    assert run("vulkan", environ) == (code, said)
    first, second = (vulkan.named(gpu, kind) for gpu, kind in told.natives(said, "other"))
    assert (first.vendor, first.name, first.memory, first.free) == (
        "nvidia",
        "NVIDIA GeForce RTX 4090",
        24 * GIB,
        22 * GIB,
    )
    assert (first.pci, first.device, first.driver, first.shared) == (
        "0000:01:00.0",
        "10de:2684",
        "NVIDIA 550.54.15",
        False,
    )
    assert (second.vendor, second.shared, second.pci, second.driver) == ("amd", True, "", "radv Mesa 25.0")
    assert second.memory == 84 * GIB + 224 * 2**20
    assert second.free == 82 * GIB


@needs_compiler
@pytest.mark.parametrize(
    "source, code, said",
    [
        (VULKAN.replace("return CREATE", "return -9"), 1, "vkCreateInstance answered -9\n"),
        ("int nothing;", 1, None),
        (VULKAN.replace("return CREATE", "return *(int *)0"), -11, ""),
    ],
    ids=["refuses", "empty", "crashes"],
)
def test_a_broken_vulkan_loader_only_ends_its_own_program(tmp_path, source, code, said):
    found = run("vulkan", build(tmp_path, "libvulkan.so.1", source, "-DCREATE=0"))
    assert found[0] == code
    assert said is None or found[1] == said


@needs_compiler
def test_a_vulkan_loader_that_cannot_list_its_devices_has_none(tmp_path, monkeypatch, capsys):
    source = VULKAN.replace("if (d) {", "if (d) return -1; if (d) {", 1)
    build(tmp_path, "vk.so", source, "-DCREATE=0")
    assert here(monkeypatch, capsys, loader, tmp_path / "vk.so") == (0, '{"gpus": []}\n')
    build(tmp_path, "no.so", "int nothing;")
    assert here(monkeypatch, capsys, loader, tmp_path / "no.so")[0] == 1


@pytest.mark.parametrize("name", ["intel", "vulkan"])
def test_a_loader_that_is_not_installed_has_its_own_code(monkeypatch, name):
    def none(_: object) -> None:
        raise OSError("no such file")

    monkeypatch.setattr(ctypes, "CDLL", none)
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(NATIVES / f"{name}.py"), run_name="__main__")
    assert ended.value.code == 3
