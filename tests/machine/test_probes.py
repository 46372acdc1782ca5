"""Recorded words of operating systems and drivers."""

from __future__ import annotations

import pytest

from inhouse.machine import probes
from inhouse.machine.probes import Gpu

X86 = """processor\t: 0
model name\t: AMD Ryzen 9 7950X 16-Core Processor
flags\t\t: fpu sse4_2 avx f16c fma avx2 avx512f avx512_vnni xsaves

processor\t: 1
flags\t\t: none
"""
ARM = """processor\t: 0
Features\t: fp asimd aes asimddp i8mm sve
CPU implementer\t: 0x41

Hardware\t: BCM2835
"""


def test_the_cpu_and_its_instruction_sets_are_read():
    assert probes.cpu_model(X86) == "AMD Ryzen 9 7950X 16-Core Processor"
    assert probes.cpu_features(X86) == {"sse4_2", "avx", "f16c", "fma", "avx2", "avx512f", "avx512_vnni"}
    assert probes.cpu_model(ARM) == "BCM2835"
    assert probes.cpu_features(ARM) == {"asimd", "asimddp", "i8mm", "sve"}
    assert probes.cpu_model("") == ""
    assert probes.cpu_features("") == frozenset()


def test_apples_sysctl_names_are_translated():
    text = "hw.optional.neon: 1\nhw.optional.arm.FEAT_DotProd: 1\nhw.optional.avx2_0: 0\nhw.optional.x: 1\n"
    assert probes.sysctl_features(text) == {"asimd", "asimddp"}


@pytest.mark.parametrize(
    "text, controller, path",
    [
        ("0::/user.slice/a.scope\n", "", "/user.slice/a.scope"),
        ("0::/\n", "", "/"),
        ("9:memory:/docker/abc\n4:cpu,cpuacct:/docker/def\n0::/x\n", "memory", "/docker/abc"),
        ("9:memory:/docker/abc\n4:cpu,cpuacct:/docker/def\n", "cpu", "/docker/def"),
        ("9:memory:/docker/abc\n", "", None),
        ("junk", "memory", None),
    ],
)
def test_the_control_group_of_this_process(text, controller, path):
    assert probes.cgroup_path(text, controller) == path


@pytest.mark.parametrize(
    "text, value",
    [
        ("max\n", None),
        ("1073741824\n", 2**30),
        ("9223372036854771712\n", None),
        ("", None),
        ("0", None),
        ("x", None),
    ],
)
def test_memory_limits(text, value):
    assert probes.limit(text) == value


@pytest.mark.parametrize(
    "text, value",
    [
        ("max 100000\n", None),
        ("150000 100000\n", 1.5),
        ("50000", 0.5),
        ("", None),
        ("0 100000", None),
        ("1 0", None),
    ],
)
def test_cpu_quotas_of_version_2(text, value):
    assert probes.quota_v2(text) == value


def test_cpu_quotas_of_version_1():
    assert probes.quota_v1("-1\n", "100000\n") is None
    assert probes.quota_v1("200000\n", "100000\n") == 2.0


def test_nvidia_cards():
    text = "NVIDIA H100 80GB HBM3, 81559, 80995, 550.54.15\nNVIDIA GB10, [N/A], [N/A], 580.1\nbroken line\n"
    assert probes.nvidia(text) == (
        Gpu("nvidia", "NVIDIA H100 80GB HBM3", 81559 * 2**20, 80995 * 2**20, "550.54.15"),
        Gpu("nvidia", "NVIDIA GB10", 0, 0, "580.1"),
    )
    assert probes.nvidia("") == ()


def test_cards_that_linux_lists():
    cards = [
        {
            "vendor": "0x1002\n",
            "device": "0x744c\n",
            "mem_info_vram_total": str(24 * 2**30),
            "mem_info_vram_used": str(2**30),
        },
        {"vendor": "0x8086", "device": "0x46a6"},
        {"vendor": "0x8086", "device": "0xe20b", "lmem_total_bytes": str(12 * 2**30)},
        {"vendor": "0x10de", "device": "0x2684"},
        {"vendor": "0x1a03", "device": "0x2000"},
        {},
    ]
    assert probes.drm(cards) == (
        Gpu("amd", "amd 0x744c", 24 * 2**30, 23 * 2**30),
        Gpu("intel", "intel 0x46a6", shared=True),
        Gpu("intel", "intel 0xe20b", 12 * 2**30, 12 * 2**30),
        Gpu("nvidia", "nvidia 0x2684"),
    )


def test_amds_compute_nodes_are_counted():
    cpu, gpu = "cpu_cores_count 16\nsimd_count 0\n", "cpu_cores_count 0\nsimd_count 192\n"
    assert probes.kfd([cpu, gpu, ""]) == 1


@pytest.mark.parametrize(
    "text, gpus",
    [
        (
            '{"SPDisplaysDataType": [{"sppci_model": "Apple M3 Max"}]}',
            (Gpu("apple", "Apple M3 Max", 64, shared=True),),
        ),
        ('{"SPDisplaysDataType": [{"sppci_model": "AMD Radeon Pro"}]}', (Gpu("other", "AMD Radeon Pro"),)),
        ('{"SPDisplaysDataType": [{}, 1]}', ()),
        ('{"SPDisplaysDataType": 1}', ()),
        ("[]", ()),
        ("", ()),
    ],
)
def test_what_macos_tells(text, gpus):
    assert probes.system_profiler(text, 64) == gpus
