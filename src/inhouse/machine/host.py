"""The system around: its release, whether it is a container or a virtual machine, memory, NUMA, clocks."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from .asking import folder, number, read
from .cpu import numbers
from .machine import Node

_VIRTUAL: Final = {
    "kvm": "kvm",
    "qemu": "kvm",
    "vmware": "vmware",
    "virtualbox": "virtualbox",
    "innotek": "virtualbox",
    "xen": "xen",
    "microsoft corporation virtual machine": "hyper-v",
    "amazon ec2": "kvm",
    "google compute engine": "kvm",
    "digitalocean": "kvm",
    "openstack": "kvm",
    "parallels": "parallels",
    "bochs": "bochs",
    "apple virtualization": "apple",
    "firecracker": "firecracker",
}
_DYNAMIC: Final = ("intel_pstate", "amd-pstate", "amd-pstate-epp", "amd_pstate")
"""Drivers whose "powersave" lets the processor choose its clock: nothing is held down."""


def release(root: Path) -> str:
    """``Debian GNU/Linux 12 (bookworm)``, ``macOS 15.1``, ``Windows 11``."""
    match = re.search(r'^PRETTY_NAME="?([^"\n]*)', read(root / "etc/os-release"), re.MULTILINE)
    if match:
        return match[1].strip()
    if mac := platform.mac_ver()[0]:
        return f"macOS {mac}"
    return " ".join(filter(None, (platform.system(), platform.release())))


def container(root: Path, environ: Mapping[str, str] = os.environ) -> str:
    """docker, podman, kubernetes, lxc, wsl, or what systemd calls it; "" for none known."""
    groups = read(root / "proc/self/cgroup") + read(root / "proc/1/cgroup")
    if "KUBERNETES_SERVICE_HOST" in environ or "kubepods" in groups:
        return "kubernetes"
    if (root / "run/.containerenv").exists():
        return "podman"
    if (root / ".dockerenv").exists() or re.search(r"/docker[/-]", groups):
        return "docker"
    if told := read(root / "run/systemd/container").strip() or environ.get("container", ""):
        return told
    if re.search(r"/lxc(?:\.payload)?[./]", groups):
        return "lxc"
    return "wsl" if "microsoft" in read(root / "proc/sys/kernel/osrelease").lower() else ""


def virtual(root: Path, cpuinfo: str) -> str:
    """What virtualises this machine: kvm, vmware, xen ..., "yes" where only the CPU tells, "" for nothing."""
    if kind := read(root / "sys/hypervisor/type").strip():
        return kind
    names = " ".join(
        read(root / f"sys/class/dmi/id/{name}").strip() for name in ("sys_vendor", "product_name")
    )
    for part, kind in _VIRTUAL.items():
        if part in names.lower():
            return kind
    return "yes" if re.search(r"^flags\s*:.*\bhypervisor\b", cpuinfo, re.MULTILINE) else ""


def governor(root: Path) -> str:
    """The clock governor where it holds the clock down, else ""."""
    base = root / "sys/devices/system/cpu/cpu0/cpufreq"
    name, driver = read(base / "scaling_governor").strip(), read(base / "scaling_driver").strip()
    if name == "powersave" and driver in _DYNAMIC:
        wish = read(base / "energy_performance_preference").strip()
        return "powersave, preferring power" if wish == "power" else ""
    return name if name in ("powersave", "userspace") else ""


def nodes(root: Path) -> tuple[Node, ...]:
    """NUMA nodes; nothing where Linux knows none."""
    found = []
    for place in folder(root / "sys/devices/system/node"):
        match = re.fullmatch(r"node(\d{1,4})", place.name)
        if not match:
            continue
        told = re.search(r"MemTotal:\s*(\d+) kB", read(place / "meminfo"))
        memory = int(told[1]) * 1024 if told else 0
        found.append(Node(int(match[1]), numbers(read(place / "cpulist")), memory))
    return tuple(sorted(found, key=lambda node: node.number))


def huge_pages(root: Path) -> str:
    """The mode of transparent huge pages: always, madvise or never; "" where there are none."""
    match = re.search(r"\[(\w+)\]", read(root / "sys/kernel/mm/transparent_hugepage/enabled"))
    return match[1] if match else ""


def swap(meminfo: str) -> tuple[int, int]:
    """(total, used) bytes of swap from /proc/meminfo."""
    told = dict(re.findall(r"^(SwapTotal|SwapFree):\s*(\d+) kB", meminfo, re.MULTILINE))
    total = number(told.get("SwapTotal", "")) * 1024
    return total, max(0, total - number(told.get("SwapFree", "")) * 1024)
