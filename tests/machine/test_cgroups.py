"""Control groups of containers, pods and services: which limit holds, and what it leaves."""

from __future__ import annotations

from pathlib import Path

import pytest

from inhouse.machine import cgroups
from inhouse.machine.cgroups import Limits
from inhouse.machine.machine import Limit

GIB = 2**30


def tree(root: Path, files: dict[str, object]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")
    return root


def test_limits_of_version_2_hold_from_every_level(tmp_path):
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": "0::/a/b",
            "sys/fs/cgroup/a/memory.max": 4 * GIB,
            "sys/fs/cgroup/a/memory.current": 3 * GIB,
            "sys/fs/cgroup/a/memory.stat": f"anon 1\ninactive_file {GIB}",
            "sys/fs/cgroup/a/b/memory.max": "max",
            "sys/fs/cgroup/a/b/cpu.max": "150000 100000",
            "sys/fs/cgroup/a/cpu.max": "400000 100000",
            "sys/fs/cgroup/a/cpuset.cpus.effective": "0-3,8",
        },
    )
    assert cgroups.limits(root) == Limits(
        4 * GIB,
        2 * GIB,
        1.5,
        (0, 1, 2, 3, 8),
        (
            Limit("memory", 4 * GIB, "/a memory.max"),
            Limit("cpu", 1.5, "/a/b cpu.max"),
            Limit("cpuset", 5, "/a cpuset.cpus.effective"),
        ),
    )


def test_the_parent_that_others_filled_leaves_less_than_the_own_limit(tmp_path):
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": "0::/slice/unit",
            "sys/fs/cgroup/slice/memory.max": 8 * GIB,
            "sys/fs/cgroup/slice/memory.current": 7 * GIB,
            "sys/fs/cgroup/slice/unit/memory.max": 4 * GIB,
            "sys/fs/cgroup/slice/unit/memory.current": GIB,
        },
    )
    found = cgroups.limits(root)
    assert (found.memory, found.left) == (4 * GIB, GIB)
    assert found.held == (Limit("memory", 4 * GIB, "/slice/unit memory.max"),)


def test_a_throttling_limit_counts_as_a_limit(tmp_path):
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": "0::/user.slice",
            "sys/fs/cgroup/user.slice/memory.max": "max",
            "sys/fs/cgroup/user.slice/memory.high": 2 * GIB,
        },
    )
    assert cgroups.limits(root).held == (Limit("memory", 2 * GIB, "/user.slice memory.high"),)


def test_version_1_with_the_hosts_names_inside_a_container(tmp_path):
    """Docker mounts the container's own group as the top: names in /proc are the host's."""
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": "9:memory:/docker/x\n4:cpu,cpuacct:/docker/x\n3:cpuset:/docker/x",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": GIB,
            "sys/fs/cgroup/memory/memory.usage_in_bytes": GIB // 2,
            "sys/fs/cgroup/memory/memory.stat": f"inactive_file 1\ntotal_inactive_file {GIB // 4}",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": 100_000,
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": 100_000,
            "sys/fs/cgroup/cpuset/cpuset.cpus": "0-1",
        },
    )
    found = cgroups.limits(root)
    assert (found.memory, found.left, found.cpus, found.cpuset) == (GIB, GIB * 3 // 4, 1.0, (0, 1))


def test_a_group_below_the_containers_own_is_found_through_its_mount(tmp_path):
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": "6:memory:/docker/abc/job\n0::/",
            "proc/self/mountinfo": (
                "729 728 0:33 /docker/abc /cg/mem ro,nosuid - cgroup cgroup rw,memory\n"
                "730 728 0:30 / /sys/fs/cgroup/unified ro - cgroup2 cgroup rw\nbroken\n1 2 - x"
            ),
            "cg/mem/job/memory.limit_in_bytes": GIB,
            "cg/mem/memory.limit_in_bytes": 2 * GIB,
        },
    )
    assert cgroups.limits(root).held == (Limit("memory", GIB, "/job memory.limit_in_bytes"),)


def test_no_control_group_is_no_limit(tmp_path):
    assert cgroups.limits(tmp_path) == Limits()
    root = tree(tmp_path, {"proc/self/cgroup": "0::/", "sys/fs/cgroup/memory.max": "max"})
    assert cgroups.limits(root) == Limits()


def test_names_that_climb_out_of_the_mount_do_not(tmp_path):
    """A process moved out of its namespace sees ``/../other``."""
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": "0::/../../x",
            "sys/memory.max": 1,
            "sys/fs/cgroup/x/memory.max": GIB,
        },
    )
    assert cgroups.limits(root).memory == GIB


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
    assert cgroups.path_of(text, controller) == path


@pytest.mark.parametrize(
    "text, value",
    [
        ("max\n", None),
        ("1073741824\n", 2**30),
        ("9223372036854771712\n", None),
        ("", None),
        ("0", None),
        ("x", None),
        ("٣", None),
    ],
)
def test_memory_limits(text, value):
    assert cgroups.limit(text) == value


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
    assert cgroups.quota_v2(text) == value


def test_cpu_quotas_of_version_1():
    assert cgroups.quota_v1("-1\n", "100000\n") is None
    assert cgroups.quota_v1("200000\n", "100000\n") == 2.0
