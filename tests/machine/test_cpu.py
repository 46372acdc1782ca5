"""Processors: what Linux and macOS told of real ones, and cores that are there, allowed, fast and slow."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from inhouse.machine import cpu, detect
from inhouse.machine.machine import Caches

RECORDED = Path(__file__).with_name("recorded")
KIB, MIB = 2**10, 2**20


@dataclass(frozen=True)
class Kind:
    """``cores`` cores with so many threads each, their caches, and the facts of each core."""

    cores: int
    threads: int = 1
    l1d: str = "32K"
    l2: str = "1024K"
    files: dict[str, str] = field(default_factory=dict)


def span(cpus: list[int]) -> str:
    return ",".join(map(str, cpus))


def build(
    root: Path, kinds: list[Kind], *, packages: int = 1, l3: str = "", share: int = 1, apart: bool = True
) -> Path:
    """The files of /sys/devices/system/cpu. ``apart``: second threads are numbered after all cores, as on
    servers; else beside their core. ``share`` cores share one L3."""
    base = root / "sys/devices/system/cpu"
    total, count = sum(k.cores for k in kinds), sum(k.cores * k.threads for k in kinds)
    core, number = 0, 0
    groups: list[tuple[Kind, list[int]]] = []
    for kind in kinds:
        for _ in range(kind.cores):
            cpus = (
                [core + n * total for n in range(kind.threads)]
                if apart
                else list(range(number, number + kind.threads))
            )
            number += kind.threads
            core += 1
            groups.append((kind, cpus))
    for index, (kind, cpus) in enumerate(groups):
        mates = [c for _, g in groups[index // share * share : (index // share + 1) * share] for c in g]
        for one in cpus:
            files = {
                "topology/core_cpus_list": span(cpus),
                "topology/physical_package_id": str(index * packages // total),
                "cache/index0/level": "1",
                "cache/index0/type": "Data",
                "cache/index0/size": kind.l1d,
                "cache/index1/level": "1",
                "cache/index1/type": "Instruction",
                "cache/index1/size": "64K",
                "cache/index2/level": "2",
                "cache/index2/type": "Unified",
                "cache/index2/size": kind.l2,
                **kind.files,
            }
            if l3:
                files |= {
                    "cache/index3/level": "3",
                    "cache/index3/type": "Unified",
                    "cache/index3/size": l3,
                    "cache/index3/shared_cpu_list": span(mates),
                }
            for name, text in files.items():
                path = base / f"cpu{one}" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(f"{text}\n")
    (base / "online").write_text(f"0-{count - 1}\n")
    return root


# Facts of the makers' data sheets; the trees are of the form that hwloc and lscpu recorded on such machines.


def test_two_sockets_of_epyc_9654(tmp_path):
    root = build(tmp_path, [Kind(192, 2)], packages=2, l3="32768K", share=8)
    found = cpu.topology(root)
    assert (found.physical, found.logical, found.installed, found.sockets) == (192, 384, 192, 2)
    assert found.caches == Caches(32 * KIB, MIB, 32 * MIB, 8, 24 * 32 * MIB)
    assert (found.performance, found.efficiency) == (0, 0)
    assert found.one_each == tuple(range(192))


def test_two_sockets_of_xeon_8480(tmp_path):
    found = cpu.topology(build(tmp_path, [Kind(112, 2, "48K", "2048K")], packages=2, l3="105M", share=56))
    assert (found.physical, found.logical, found.sockets) == (112, 224, 2)
    assert found.caches == Caches(48 * KIB, 2 * MIB, 105 * MIB, 56, 210 * MIB)


def test_an_intel_hybrid_i7_1370p(tmp_path):
    root = build(
        tmp_path, [Kind(6, 2, "48K", "1280K"), Kind(8, 1, "32K", "2048K")], l3="24576K", share=14, apart=False
    )
    for name, cpus in (("core", "0-11"), ("atom", "12-19")):
        (root / f"sys/devices/cpu_{name}").mkdir(parents=True)
        (root / f"sys/devices/cpu_{name}/cpus").write_text(cpus + "\n")
    found = cpu.topology(root)
    assert (found.physical, found.logical, found.performance, found.efficiency) == (14, 20, 6, 8)
    assert found.caches == Caches(48 * KIB, 1280 * KIB, 24 * MIB, 14, 24 * MIB)
    assert found.one_each[:8] == (0, 2, 4, 6, 8, 10, 12, 13)
    slow = cpu.topology(root, allowed={12, 13, 14})
    assert (slow.physical, slow.performance, slow.efficiency, slow.installed) == (3, 0, 0, 14)
    assert slow.caches.l2 == 2 * MIB


@pytest.mark.parametrize(
    ("physical", "fast", "used"),
    [(14, 6, 6), (12, 4, 4), (10, 8, 8), (8, 0, 8), (10, 2, 10), (8, 1, 8), (4, 6, 4), (1, 0, 1)],
    ids=["i7-1370P", "Strix Point", "M1 Max", "alike", "i5-1235U", "one fast", "a quota of 4", "one"],
)
def test_engines_use_the_fast_cores_unless_these_are_few(physical: int, fast: int, used: int) -> None:
    here = dataclasses.replace(
        detect(),
        physical_cores=physical,
        performance_cores=fast,
        efficiency_cores=physical - fast if fast else 0,
    )
    assert here.engine_cores == used


def test_amds_compact_cores_have_a_lower_clock(tmp_path):
    """Strix Point: four Zen 5, eight Zen 5c."""
    fast, slow = {"cpufreq/cpuinfo_max_freq": "5157895"}, {"cpufreq/cpuinfo_max_freq": "3295789"}
    found = cpu.topology(build(tmp_path, [Kind(4, 2, files=fast), Kind(8, 2, files=slow)]))
    assert (found.physical, found.performance, found.efficiency) == (12, 4, 8)


def test_cores_that_only_boost_a_little_differently_are_alike(tmp_path):
    """Ryzen 9 7950X3D: 5.25 and 5.76 GHz."""
    fast, slow = {"cpufreq/cpuinfo_max_freq": "5759000"}, {"cpufreq/cpuinfo_max_freq": "5251000"}
    found = cpu.topology(build(tmp_path, [Kind(8, 2, files=fast), Kind(8, 2, files=slow)]))
    assert (found.performance, found.efficiency) == (0, 0)


def test_dgx_sparks_two_kinds_of_arm_cores(tmp_path):
    """GB10's capacities as hwloc recorded them."""
    values = [1024] * 4 + [1017] * 1 + [997] * 5 + [731] * 5 + [718] * 5
    found = cpu.topology(build(tmp_path, [Kind(1, files={"cpu_capacity": str(v)}) for v in values]))
    assert (found.physical, found.performance, found.efficiency) == (20, 10, 10)


def test_graviton_3_has_no_threads_and_one_l3(tmp_path):
    found = cpu.topology(build(tmp_path, [Kind(64, 1, "64K")], l3="32768K", share=64))
    assert (found.physical, found.logical) == (64, 64)
    assert found.caches == Caches(64 * KIB, MIB, 32 * MIB, 64, 32 * MIB)


def test_two_threads_of_one_core_are_one_core(tmp_path):
    """A container pinned to CPUs 0 and 8 of an 8-core machine has one core; to 0 and 1 it has two."""
    root = build(tmp_path, [Kind(8, 2)])
    assert cpu.topology(root, allowed={0, 8}).physical == 1
    found = cpu.topology(root, allowed={0, 1, 9})
    assert (found.physical, found.logical, found.one_each) == (2, 3, (0, 1))


def test_a_system_that_tells_no_topology(tmp_path):
    assert cpu.topology(tmp_path) is None
    base = tmp_path / "sys/devices/system/cpu"
    (base / "cpu0").mkdir(parents=True)
    (base / "present").write_text("0-3\n")
    assert cpu.topology(tmp_path) is None


def test_a_cpu_that_tells_nothing_stands_alone(tmp_path):
    root = build(tmp_path, [Kind(4, 1)])
    (root / "sys/devices/system/cpu/cpu2/topology/core_cpus_list").unlink()
    assert cpu.topology(root).physical == 4


# -- names and instruction sets ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, model, features",
    [
        ("raspberry-pi-5", "Raspberry Pi 5 Model B Rev 1.0 (Cortex-A76)", {"asimd", "asimdhp", "asimddp"}),
        ("radxa-rock-5b-rk3588", "Cortex-A76, Cortex-A55", {"asimd", "asimdhp", "asimddp"}),
        (
            "xeon-platinum-8488c-aws-m7i",
            "Intel(R) Xeon(R) Platinum 8488C",
            set(cpu.X86),
        ),
        (
            "epyc-9654",
            "AMD EPYC 9654 96-Core Processor",
            set(cpu.X86) - {"avx_vnni", "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16"},
        ),
        ("core-i5-3317u", "Intel(R) Core(TM) i5-3317U CPU @ 1.70GHz", set()),
        ("milk-v-pioneer-riscv", "", {"rvv"}),
    ],
)
def test_processors_that_linux_described(name, model, features):
    text = (RECORDED / f"cpuinfo/{name}.txt").read_text("utf-8")
    assert cpu.model(text) == model
    assert cpu.features(text) == features


def test_an_empty_description_tells_nothing():
    assert cpu.model("") == ""
    assert cpu.features("") == frozenset()


def test_an_m1_pro():
    told = cpu.sysctl((RECORDED / "sysctl/m1-pro-10-cores.txt").read_text("utf-8"))
    assert told["machdep.cpu.brand_string"] == "Apple M1 Pro"
    assert cpu.sysctl_features(told) == {"asimd", "asimdhp", "asimddp"}
    found = cpu.sysctl_topology(told)
    assert (found.physical, found.logical, found.performance, found.efficiency) == (10, 10, 8, 2)
    assert found.caches == Caches(128 * KIB, 12 * MIB)


def test_an_intel_mac():
    told = cpu.sysctl((RECORDED / "sysctl/imac-2019-i9.txt").read_text("utf-8"))
    assert cpu.sysctl_features(told) == {"sse4_2", "avx", "avx2", "f16c", "fma"}
    found = cpu.sysctl_topology(told)
    assert (found.physical, found.logical, found.performance, found.sockets) == (8, 16, 0, 1)
    assert found.caches == Caches(32 * KIB, 256 * KIB, 16 * MIB, 8, 16 * MIB)
    assert cpu.sysctl_topology({}) is None


@pytest.mark.parametrize(
    "text, found",
    [
        ("0-3,8", (0, 1, 2, 3, 8)),
        ("5\n", (5,)),
        (" 1\n\0", (1,)),
        ("", ()),
        ("a-b", ()),
        ("0-99999999999", ()),
    ],
)
def test_lists_of_cpus(text, found):
    assert cpu.numbers(text) == found


@pytest.mark.parametrize(
    "text, found", [("32K\n", 32768), ("105M", 105 * MIB), ("12", 12), ("", 0), ("4T", 0)]
)
def test_sizes_of_caches(text, found):
    assert cpu.size(text) == found
