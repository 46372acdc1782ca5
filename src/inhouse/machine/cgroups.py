"""Linux control groups, version 1 and 2: what a container or a service may use, and which group says so."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from .asking import read
from .cpu import numbers
from .machine import MOST, Limit

_V2: Final = ("memory.max", "memory.high")
_V1: Final = ("memory.limit_in_bytes",)
"""``memory.high`` kills nobody, but above it the kernel takes pages back at any price in speed."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the groups of this process allow together; None is unlimited.

    ``memory`` is the least limit, ``left`` the least that any group still has; page cache that the kernel
    gives back counts as left. ``cpuset`` is empty where it is not told. ``held``: which limit holds.
    """

    memory: int | None = None
    left: int | None = None
    cpus: float | None = None
    cpuset: tuple[int, ...] = ()
    held: tuple[Limit, ...] = ()


def path_of(text: str, controller: str) -> str | None:
    """The group of this process from /proc/self/cgroup; ``controller`` "" is version 2's."""
    for line in text.splitlines():
        _, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if controller in names.split(",") and path.startswith("/"):
            return path
    return None


def limit(text: str) -> int | None:
    """A memory limit in bytes; None for ``max`` and for version 1's look-alikes of it (about 2**63)."""
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and 0 < int(text) < MOST else None


def quota_v2(text: str) -> float | None:
    """CPUs of ``cpu.max``: ``150000 100000`` is 1.5; None for ``max``."""
    quota, _, period = text.strip().partition(" ")
    return _cpus(quota, period or "100000")


def quota_v1(quota: str, period: str) -> float | None:
    """CPUs of ``cpu.cfs_quota_us`` and ``cpu.cfs_period_us``; None for -1."""
    return _cpus(quota.strip(), period.strip())


def _cpus(quota: str, period: str) -> float | None:
    if not (quota.isdigit() and period.isdigit()) or not int(quota) or not int(period):
        return None
    return int(quota) / int(period)


def _reclaimable(stat: str) -> int:
    """Page cache that the kernel gives back under pressure: ``inactive_file`` of memory.stat, with that
    of the groups below (version 1 tells both)."""
    match = re.search(r"^total_inactive_file (\d+)$", stat, re.M) or re.search(
        r"^inactive_file (\d+)$", stat, re.M
    )
    return int(match[1]) if match else 0


def _mount(root: Path, controller: str) -> tuple[Path, str]:
    """Where a hierarchy is mounted, and which of its groups is the top there ("/" outside containers)."""
    for line in read(root / "proc/self/mountinfo").splitlines():
        fields, _, tail = line.partition(" - ")
        words, about = fields.split(), tail.split()
        if len(words) < 5 or len(about) < 3:
            continue
        kind, options = about[0], about[2].split(",")
        if (kind == "cgroup2" and not controller) or (kind == "cgroup" and controller in options):
            return root / words[4].lstrip("/"), words[3]
    return root / "sys/fs/cgroup" / controller, "/"


def _folders(root: Path, controller: str) -> list[tuple[Path, str]]:
    """The group's folder and its parents' (every one of them limits), each with its name, inmost first.

    Inside a container the name may be the host's; what lies above the mount cannot be seen.
    """
    path = path_of(read(root / "proc/self/cgroup"), controller)
    if path is None:
        return []
    mount, top = _mount(root, controller)
    if top != "/" and PurePosixPath(path).is_relative_to(top):
        path = "/" + str(PurePosixPath(path).relative_to(top)).removeprefix(".")
    parts = [part for part in PurePosixPath(path).parts[1:] if part != ".."]
    return [(mount.joinpath(*parts[:n]), "/" + "/".join(parts[:n])) for n in range(len(parts), -1, -1)]


def _memory(root: Path) -> list[tuple[int, int, str]]:
    """(limit, what is left of it, who says so) of every group that has a limit."""
    found = []
    for controller, names, current in (("", _V2, "memory.current"), ("memory", _V1, "memory.usage_in_bytes")):
        for folder, group in _folders(root, controller):
            for name in names:
                if (most := limit(read(folder / name))) is not None:
                    used = (limit(read(folder / current)) or 0) - _reclaimable(read(folder / "memory.stat"))
                    found.append((most, max(0, most - max(0, used)), f"{group} {name}"))
    return found


def _quotas(root: Path) -> list[tuple[float, str]]:
    found = []
    for folder, group in _folders(root, ""):
        if (cpus := quota_v2(read(folder / "cpu.max"))) is not None:
            found.append((cpus, f"{group} cpu.max"))
    for folder, group in _folders(root, "cpu"):
        quota = quota_v1(read(folder / "cpu.cfs_quota_us"), read(folder / "cpu.cfs_period_us"))
        if quota is not None:
            found.append((quota, f"{group} cpu.cfs_quota_us"))
    return found


def _cpuset(root: Path) -> tuple[tuple[int, ...], str]:
    for controller, name in (("", "cpuset.cpus.effective"), ("cpuset", "cpuset.cpus")):
        for folder, group in _folders(root, controller):
            if cpus := numbers(read(folder / name)):
                return cpus, f"{group} {name}"
    return (), ""


def limits(root: Path = Path("/")) -> Limits:
    """What holds for this process. ``root`` is for tests."""
    memory, quotas = _memory(root), _quotas(root)
    cpuset, by = _cpuset(root)
    held = []
    if memory:
        most, _, who = min(memory)
        held.append(Limit("memory", most, who))
    if quotas:
        held.append(Limit("cpu", *min(quotas)))
    if cpuset:
        held.append(Limit("cpuset", len(cpuset), by))
    return Limits(
        memory=min((most for most, _, _ in memory), default=None),
        left=min((left for _, left, _ in memory), default=None),
        cpus=min((cpus for cpus, _ in quotas), default=None),
        cpuset=cpuset,
        held=tuple(held),
    )
