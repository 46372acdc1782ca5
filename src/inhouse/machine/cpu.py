"""The processor: its name, instruction sets, cores and caches, from what the system's own files say."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from .asking import folder, number, read
from .machine import Caches

X86: Final = (
    "sse4_2",
    "avx",
    "f16c",
    "fma",
    "bmi2",
    "avx2",
    "avx_vnni",
    "avx512f",
    "avx512bw",
    "avx512cd",
    "avx512dq",
    "avx512vl",
    "avx512vbmi",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_tile",
    "amx_int8",
    "amx_bf16",
)
ARM: Final = ("asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2", "svei8mm", "sme")
_APPLE: Final = {
    "hw.optional.sse4_2": "sse4_2",
    "hw.optional.avx1_0": "avx",
    "hw.optional.f16c": "f16c",
    "hw.optional.fma": "fma",
    "hw.optional.bmi2": "bmi2",
    "hw.optional.avx2_0": "avx2",
    "hw.optional.avx512f": "avx512f",
    "hw.optional.avx512bw": "avx512bw",
    "hw.optional.avx512cd": "avx512cd",
    "hw.optional.avx512dq": "avx512dq",
    "hw.optional.avx512vl": "avx512vl",
    "hw.optional.avx512vbmi": "avx512vbmi",
    "hw.optional.neon": "asimd",
    "hw.optional.AdvSIMD": "asimd",
    "hw.optional.neon_fp16": "asimdhp",
    "hw.optional.arm.FEAT_FP16": "asimdhp",
    "hw.optional.arm.FEAT_DotProd": "asimddp",
    "hw.optional.arm.FEAT_I8MM": "i8mm",
    "hw.optional.arm.FEAT_BF16": "bf16",
    "hw.optional.arm.FEAT_SME": "sme",
}
_PARTS: Final = {
    ("0x41", "0xd03"): "Cortex-A53",
    ("0x41", "0xd05"): "Cortex-A55",
    ("0x41", "0xd07"): "Cortex-A57",
    ("0x41", "0xd08"): "Cortex-A72",
    ("0x41", "0xd09"): "Cortex-A73",
    ("0x41", "0xd0a"): "Cortex-A75",
    ("0x41", "0xd0b"): "Cortex-A76",
    ("0x41", "0xd0c"): "Neoverse-N1",
    ("0x41", "0xd0d"): "Cortex-A77",
    ("0x41", "0xd40"): "Neoverse-V1",
    ("0x41", "0xd41"): "Cortex-A78",
    ("0x41", "0xd42"): "Cortex-A78AE",
    ("0x41", "0xd44"): "Cortex-X1",
    ("0x41", "0xd46"): "Cortex-A510",
    ("0x41", "0xd47"): "Cortex-A710",
    ("0x41", "0xd48"): "Cortex-X2",
    ("0x41", "0xd49"): "Neoverse-N2",
    ("0x41", "0xd4d"): "Cortex-A715",
    ("0x41", "0xd4e"): "Cortex-X3",
    ("0x41", "0xd4f"): "Neoverse-V2",
    ("0x41", "0xd80"): "Cortex-A520",
    ("0x41", "0xd81"): "Cortex-A720",
    ("0x41", "0xd82"): "Cortex-X4",
    ("0x41", "0xd84"): "Neoverse-V3",
    ("0x41", "0xd85"): "Cortex-X925",
    ("0x41", "0xd87"): "Cortex-A725",
    ("0x41", "0xd8e"): "Neoverse-N3",
    ("0x43", "0x0af"): "ThunderX2",
    ("0x46", "0x001"): "A64FX",
    ("0x48", "0xd01"): "Kunpeng-920",
    ("0x4e", "0x004"): "Carmel",
    ("0xc0", "0xac3"): "Ampere-1",
    ("0xc0", "0xac4"): "Ampere-1a",
}
"""ARM's machines give numbers for names: implementer and part of the main identification register."""

_PERFORMANCE: Final = 0.8
"""Cores with less than this share of the fastest one's capacity, or clock, count as efficiency cores."""


@dataclass(frozen=True, slots=True)
class Topology:
    """``physical`` and ``logical`` cores of those allowed; ``installed`` physical ones of the system.

    ``one_each`` names one logical CPU of each physical core that is allowed, fastest kind first.
    """

    physical: int
    logical: int
    installed: int
    sockets: int = 0
    performance: int = 0
    efficiency: int = 0
    caches: Caches = field(default_factory=Caches)
    one_each: tuple[int, ...] = ()


def _values(cpuinfo: str, name: str) -> list[str]:
    return [v.strip() for v in re.findall(rf"^{name}[ \t]*:(.*)$", cpuinfo, re.MULTILINE)]


def model(cpuinfo: str) -> str:
    """The CPU's name from /proc/cpuinfo; on ARM the board's and the cores', "" if it has neither."""
    for name in ("model name", "Model Name", "cpu model", "cpu", "uarch"):
        if named := _values(cpuinfo, name):
            return " ".join(named[0].split())
    pairs = zip(_values(cpuinfo, "CPU implementer"), _values(cpuinfo, "CPU part"), strict=False)
    parts = dict.fromkeys(_PARTS.get(pair, "") for pair in pairs)
    cores = ", ".join(sorted(filter(None, parts), reverse=True))
    board = next((v[0] for n in ("Model", "Hardware") if (v := _values(cpuinfo, n))), "")
    return f"{board} ({cores})" if board and cores else board or cores


def features(cpuinfo: str) -> frozenset[str]:
    """The instruction sets that matter here, from the flags of /proc/cpuinfo's first CPU."""
    match = re.search(r"^(?:flags|Features|features)\s*:\s*(.*)$", cpuinfo, re.MULTILINE)
    words = set(match[1].split()) if match else set()
    found = {name for name in (*X86, *ARM) if name in words}
    riscv = re.search(r"^isa\s*:\s*rv64([a-z]+)", cpuinfo, re.MULTILINE)
    if riscv and "v" in riscv[1]:
        found.add("rvv")
    return frozenset(found)


def sysctl(text: str) -> dict[str, str]:
    """``name: value`` lines of macOS's sysctl."""
    pairs = (line.partition(": ") for line in text.splitlines())
    return {name.strip(): value.strip() for name, colon, value in pairs if colon}


def sysctl_features(values: Mapping[str, str]) -> frozenset[str]:
    """The instruction sets from ``sysctl hw.optional`` on macOS."""
    return frozenset(name for key, name in _APPLE.items() if values.get(key) == "1")


def sysctl_topology(values: Mapping[str, str]) -> Topology | None:
    """Cores and caches from ``sysctl hw`` on macOS; None when it does not tell."""

    def told(name: str) -> int:
        return number(values.get(name, ""))

    physical, logical = told("hw.physicalcpu"), told("hw.logicalcpu")
    if not physical or not logical:
        return None
    fast, slow = told("hw.perflevel0.physicalcpu"), told("hw.perflevel1.physicalcpu")
    l3 = told("hw.l3cachesize")
    caches = Caches(
        told("hw.perflevel0.l1dcachesize") or told("hw.l1dcachesize"),
        told("hw.perflevel0.l2cachesize") or told("hw.l2cachesize"),
        l3,
        physical if l3 else 0,
        l3,
    )
    fast = fast if slow else 0
    return Topology(physical, logical, physical, told("hw.packages"), fast, slow, caches)


def numbers(text: str) -> tuple[int, ...]:
    """``0-3,8`` as 0, 1, 2, 3, 8; what is not such a list as nothing."""
    found: list[int] = []
    for part in filter(None, text.strip(" \n\0").split(",")):
        low, _, high = part.partition("-")
        if not (low.isdigit() and (high or low).isdigit()) or int(high or low) > 2**16:
            return ()
        found.extend(range(int(low), int(high or low) + 1))
    return tuple(found)


def size(text: str) -> int:
    """``32K`` or ``16M`` of a cache in bytes, 0 for anything else."""
    match = re.fullmatch(r"(\d{1,12})([KMG]?)", text.strip())
    return int(match[1]) * {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}[match[2]] if match else 0


def topology(root: Path, allowed: Collection[int] | None = None) -> Topology | None:
    """Cores and caches from Linux's /sys; None where it does not tell. ``allowed``: CPUs we may use."""
    base = root / "sys/devices/system/cpu"
    online = numbers(read(base / "online")) or numbers(read(base / "present"))
    groups = _cores(base, online)
    if not groups:
        return None
    usable = set(online) if allowed is None else set(online) & set(allowed)
    ours = [mine for group in groups if (mine := sorted(usable & set(group)))]
    fast = _fast(root, base, online)
    first = sorted((mine[0] for mine in ours), key=lambda cpu: (cpu not in fast, cpu))
    quick = sum(1 for cpu in first if cpu in fast)
    mixed = 0 < quick < len(first)
    packages = {read(base / f"cpu{group[0]}/topology/physical_package_id") for group in groups}
    return Topology(
        physical=len(ours),
        logical=sum(len(mine) for mine in ours),
        installed=len(groups),
        sockets=len(packages),
        performance=quick if mixed else 0,
        efficiency=len(first) - quick if mixed else 0,
        caches=_caches(base, first[0] if first else online[0], [group[0] for group in groups]),
        one_each=tuple(first),
    )


def _cores(base: Path, online: Iterable[int]) -> list[tuple[int, ...]]:
    """The logical CPUs of each physical core; nothing where none tells. One that does not stands alone."""
    found, seen, told = [], set[int](), False
    for cpu in online:
        if cpu in seen:
            continue
        place = base / f"cpu{cpu}/topology"
        group = numbers(read(place / "core_cpus_list")) or numbers(read(place / "thread_siblings_list"))
        told = told or cpu in group
        group = group if cpu in group else (cpu,)
        seen.update(group)
        found.append(group)
    return found if told else []


def _fast(root: Path, base: Path, online: tuple[int, ...]) -> set[int]:
    """The CPUs of the faster kind. All where none differ.

    Intel names them, ARM gives each a capacity; else the highest clock tells (AMD's compact cores).
    """
    named = numbers(read(root / "sys/devices/cpu_core/cpus"))
    if named and numbers(read(root / "sys/devices/cpu_atom/cpus")):
        return set(named)
    for name in ("cpu_capacity", "cpufreq/cpuinfo_max_freq"):
        if (base / f"cpu{online[0]}" / name).exists():
            values = {cpu: number(read(base / f"cpu{cpu}" / name)) for cpu in online}
            least = max(values.values()) * _PERFORMANCE
            return {cpu for cpu, value in values.items() if value >= least or not value}
    return set(online)


def _caches(base: Path, cpu: int, cores: list[int]) -> Caches:
    """Of one CPU, and the L3s of all. ``cores`` is one CPU of each physical core."""
    one = {"l1d": 0, "l2": 0, "l3": 0}
    for index in folder(base / f"cpu{cpu}/cache"):
        if not index.name.startswith("index"):
            continue
        level, kind = read(index / "level").strip(), read(index / "type").strip()
        name = {"1Data": "l1d", "1Unified": "l1d", "2Unified": "l2", "3Unified": "l3"}.get(level + kind)
        if name:
            one[name] = size(read(index / "size"))
    if not one["l3"]:
        return Caches(**one)
    mates, total, seen = 0, 0, set[int]()
    for core in cores:
        if core in seen:
            continue
        place = base / f"cpu{core}/cache/index3"
        shared = numbers(read(place / "shared_cpu_list"))
        seen.update(shared)
        total += size(read(place / "size"))
        if cpu in shared:
            mates = sum(1 for other in cores if other in shared)
    return Caches(**one, l3_cores=mates, l3_total=max(total, one["l3"]))
