"""The words of this room: a machine and its parts, as frozen values. Sizes are bytes, 0 means unknown."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Final, Literal

from msgspec import Meta

MOST: Final = 2**60
"""Nobody has an exbibyte: sizes above it are look-alikes of "unlimited", or nonsense."""

Size = Annotated[int, Meta(ge=0, le=MOST)]
Count = Annotated[int, Meta(ge=0, le=2**20)]
Cores = Annotated[int, Meta(ge=1, le=2**20)]

Backend = Literal["cuda", "rocm", "sycl", "vulkan", "metal"]


@dataclass(frozen=True, slots=True)
class Gpu:
    """One graphics processor.

    ``vendor``: nvidia, amd, intel, apple, or another's name in lower case. ``shared``: it uses the
    machine's own memory (then ``memory`` is what it may take of it). ``capability``: NVIDIA's compute
    capability ("9.0"), AMD's target ("gfx1100"). ``cuda``: the newest CUDA that the driver runs
    ("12.4"). ``pci``: its address ("0000:01:00.0"), ``device``: PCI vendor and device ("1002:744c").
    ``backends``: engine builds that could use it. ``told``: who told of it, best witness first.
    """

    vendor: str
    name: str
    memory: Size = 0
    free: Size = 0
    driver: str = ""
    shared: bool = False
    capability: str = ""
    cuda: str = ""
    uuid: str = ""
    pci: str = ""
    device: str = ""
    backends: tuple[Backend, ...] = ()
    told: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Caches:
    """Bytes of one L1 data, L2 and L3 cache of the (fastest) cores. ``l3_cores`` physical cores share one
    L3; ``l3_total`` is all of them together."""

    l1d: Size = 0
    l2: Size = 0
    l3: Size = 0
    l3_cores: Count = 0
    l3_total: Size = 0


@dataclass(frozen=True, slots=True)
class Node:
    """A NUMA node: the logical CPUs and the memory that are near each other."""

    number: Count
    cpus: tuple[Count, ...] = ()
    memory: Size = 0


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit that holds for this process. ``value`` is bytes (memory) or CPUs (cpu, cpuset);
    ``by`` says which control group and file set it."""

    kind: Literal["memory", "cpu", "cpuset"]
    value: Annotated[float, Meta(ge=0, le=MOST)]
    by: str = ""


@dataclass(frozen=True, slots=True)
class Disk:
    """Where models lie. ``kind``: ssd, nvme, hdd, network or "" where it cannot be told."""

    total: Size = 0
    free: Size = 0
    kind: str = ""
    filesystem: str = ""


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """Memory bandwidth of all physical cores together in bytes a second, as ``speed`` measures it.

    ``read``, which is at least ``copy``, is what a decode is bound by; ``copy`` counts bytes read plus
    written. ``busy``: the share of the CPUs that others used meanwhile, so the true value may be higher.
    ``when``: Unix time.
    """

    read: Size = 0
    copy: Size = 0
    threads: Count = 0
    busy: Annotated[float, Meta(ge=0, le=1)] = 0.0
    when: Annotated[float, Meta(ge=0, le=2**40)] = 0.0


@dataclass(frozen=True, slots=True)
class Trouble:
    """A way of asking that failed: ``source`` is the tool or library, ``why`` half a sentence."""

    source: str
    why: str


FAST_SHARE: Final = 0.25
"""Of all cores, what must be fast ones for these to do better alone: an efficient core does about half as
much as a fast one."""


@dataclass(frozen=True, slots=True)
class Machine:
    """Cores are those this process may use: affinity and cgroup quota are counted in, so are memory limits.

    ``quota`` is the cgroup's CPU time in CPUs, None without one. ``memory_total`` is what this process may
    have, ``memory_installed`` what the system has; ``cores_installed`` likewise. ``performance_cores`` and
    ``efficiency_cores`` divide ``physical_cores`` where they differ, else both are 0. ``container``:
    docker, podman, kubernetes, lxc, wsl ...; ``virtual``: kvm, vmware, xen ...; "" for none known.
    ``one_each``: one logical CPU of each physical core of ours, the fastest kind first.
    ``governor``: how Linux sets the clock, only where it holds it down. ``troubles``: what could not be
    asked, and why.
    """

    os: str
    arch: str
    cpu: str
    physical_cores: Cores
    logical_cores: Cores
    features: tuple[str, ...]
    memory_total: Size
    memory_available: Size
    quota: Annotated[float, Meta(gt=0, le=2**20)] | None = None
    gpus: Annotated[tuple[Gpu, ...], Meta(max_length=256)] = ()
    release: str = ""
    kernel: str = ""
    container: str = ""
    virtual: str = ""
    sockets: Count = 0
    cores_installed: Count = 0
    performance_cores: Count = 0
    efficiency_cores: Count = 0
    caches: Caches = field(default_factory=Caches)
    nodes: tuple[Node, ...] = ()
    memory_installed: Size = 0
    swap_total: Size = 0
    swap_used: Size = 0
    page_size: Size = 0
    huge_pages: str = ""
    limits: tuple[Limit, ...] = ()
    bandwidth: Bandwidth = field(default_factory=Bandwidth)
    disk: Disk = field(default_factory=Disk)
    one_each: tuple[Count, ...] = ()
    governor: str = ""
    troubles: tuple[Trouble, ...] = ()

    @property
    def engine_cores(self) -> int:
        """Cores that an engine's threads are for: where there are two kinds, the fast ones, because every
        step of a model ends when its slowest thread does; all, where only few are fast."""
        fast = min(self.performance_cores, self.physical_cores)
        return fast if fast >= FAST_SHARE * self.physical_cores else self.physical_cores
