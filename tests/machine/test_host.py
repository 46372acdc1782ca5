"""The system around: release, containers, virtual machines, memory nodes, clocks, and disks."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from inhouse.machine import cgroups, disks, host
from inhouse.machine.machine import Disk, Limit, Node

RECORDED = Path(__file__).with_name("recorded")
GIB = 2**30


def tree(root: Path, files: dict[str, object]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")
    return root


def groups(name: str) -> str:
    return (RECORDED / f"cgroup/{name}.txt").read_text("utf-8").rstrip("\n")


@pytest.mark.parametrize(
    "files, environ, kind",
    [
        ({}, {}, ""),
        ({".dockerenv": ""}, {}, "docker"),
        ({"proc/1/cgroup": "9:memory:/docker/0123"}, {}, "docker"),
        ({"run/.containerenv": 'engine="podman-4.9"', ".dockerenv": ""}, {}, "podman"),
        ({".dockerenv": ""}, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "kubernetes"),
        ({"proc/self/cgroup": groups("k8s-v1-burstable-pod")}, {}, "kubernetes"),
        ({"proc/self/cgroup": groups("k8s-v1-containerd-systemd")}, {}, "kubernetes"),
        ({"proc/self/cgroup": groups("systemd-user-v2")}, {}, ""),
        ({"proc/1/cgroup": "0::/lxc.payload.web/init.scope"}, {}, "lxc"),
        ({"run/systemd/container": "systemd-nspawn"}, {}, "systemd-nspawn"),
        ({}, {"container": "lxc"}, "lxc"),
        ({"proc/sys/kernel/osrelease": "5.15.167.4-microsoft-standard-WSL2"}, {}, "wsl"),
    ],
)
def test_kinds_of_containers(tmp_path, files, environ, kind):
    assert host.container(tree(tmp_path, files), environ) == kind


@pytest.mark.parametrize(
    "name, memory, cpu",
    [
        (
            "k8s-v1-burstable-pod",
            "kubepods/burstable/podd7874f44-eee0-423c-83c9-f246075bdde1",
            "kubepods/burstable/podd7874f44-eee0-423c-83c9-f246075bdde1",
        ),
        (
            "k8s-v1-containerd-systemd",
            "system.slice/containerd.service",
            "system.slice/containerd.service/kubepods-burstable-podb96a7488.slice:cri-containerd:6ef14b5a76df",
        ),
    ],
)
def test_limits_of_pods_hold_from_the_pod_that_sets_them(tmp_path, name, memory, cpu):
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": groups(name),
            f"sys/fs/cgroup/memory/{memory}/memory.limit_in_bytes": GIB,
            f"sys/fs/cgroup/cpu/{cpu}/cpu.cfs_quota_us": 200_000,
            f"sys/fs/cgroup/cpu/{cpu}/cpu.cfs_period_us": 100_000,
        },
    )
    assert cgroups.limits(root).held == (
        Limit("memory", GIB, f"/{memory} memory.limit_in_bytes"),
        Limit("cpu", 2.0, f"/{cpu} cpu.cfs_quota_us"),
    )


def test_a_services_limit_may_be_its_slices(tmp_path):
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": groups("systemd-user-v2"),
            "sys/fs/cgroup/user.slice/user-1000.slice/memory.max": 8 * GIB,
            "sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/memory.max": "max",
        },
    )
    assert cgroups.limits(root).held == (Limit("memory", 8 * GIB, "/user.slice/user-1000.slice memory.max"),)


@pytest.mark.parametrize(
    "files, cpuinfo, kind",
    [
        ({}, "flags : fpu avx2", ""),
        ({}, "flags\t\t: fpu hypervisor avx2", "yes"),
        ({"sys/class/dmi/id/sys_vendor": "QEMU"}, "flags : hypervisor", "kvm"),
        ({"sys/class/dmi/id/product_name": "VMware20,1"}, "", "vmware"),
        ({"sys/class/dmi/id/sys_vendor": "Amazon EC2", "sys/hypervisor/type": "xen"}, "", "xen"),
        (
            {
                "sys/class/dmi/id/sys_vendor": "Microsoft Corporation",
                "sys/class/dmi/id/product_name": "Virtual Machine",
            },
            "",
            "hyper-v",
        ),
        ({"sys/class/dmi/id/sys_vendor": "Dell Inc."}, "", ""),
    ],
)
def test_kinds_of_virtual_machines(tmp_path, files, cpuinfo, kind):
    assert host.virtual(tree(tmp_path, files), cpuinfo) == kind


@pytest.mark.parametrize(
    "name, driver, wish, held",
    [
        ("performance", "acpi-cpufreq", "", ""),
        ("powersave", "acpi-cpufreq", "", "powersave"),
        ("powersave", "intel_pstate", "balance_performance", ""),
        ("powersave", "amd-pstate-epp", "power", "powersave, preferring power"),
        ("schedutil", "cppc_cpufreq", "", ""),
        ("", "", "", ""),
    ],
)
def test_a_governor_is_told_where_it_holds_the_clock_down(tmp_path, name, driver, wish, held):
    base = "sys/devices/system/cpu/cpu0/cpufreq/"
    files = {"scaling_governor": name, "scaling_driver": driver, "energy_performance_preference": wish}
    assert host.governor(tree(tmp_path, {base + key: value for key, value in files.items()})) == held


def test_memory_nodes(tmp_path):
    base = "sys/devices/system/node/"
    root = tree(
        tmp_path,
        {
            base + "node0/cpulist": "0-47,96-143",
            base + "node0/meminfo": "Node 0 MemTotal:       395923456 kB\nNode 0 MemFree: 1 kB",
            base + "node1/cpulist": "48-95,144-191",
            base + "node10/cpulist": "",
            base + "has_memory": "0-1",
        },
    )
    first, second, far = host.nodes(root)
    assert (first.number, len(first.cpus), first.memory) == (0, 96, 395923456 * 1024)
    assert (second.number, second.memory) == (1, 0)
    assert far == Node(10)
    assert host.nodes(tmp_path / "none") == ()


def test_swap_huge_pages_and_release(tmp_path):
    assert host.swap("SwapTotal:   2097148 kB\nSwapFree:    1048576 kB\n") == (2097148 * 1024, 1048572 * 1024)
    assert host.swap("") == (0, 0)
    root = tree(
        tmp_path,
        {
            "sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never",
            "etc/os-release": 'NAME="Ubuntu"\nPRETTY_NAME="Ubuntu 24.04.1 LTS"',
        },
    )
    assert (host.huge_pages(root), host.release(root)) == ("madvise", "Ubuntu 24.04.1 LTS")
    assert host.huge_pages(tmp_path / "none") == ""
    assert host.release(tmp_path / "none")


# -- disks ------------------------------------------------------------------------------------------


def mounted(root: Path, line: str) -> Path:
    return tree(root, {"proc/self/mountinfo": f"20 1 0:19 / / rw - rootfs rootfs rw\n{line}\nbroken"})


def test_the_disk_of_a_folder_that_is_not_there_yet(tmp_path):
    found = disks.disk(tmp_path / "a" / "b")
    assert found.total >= found.free > 0


def test_a_disk_that_cannot_be_asked_is_unknown(tmp_path, monkeypatch):
    def broken(_: object) -> None:
        raise OSError("loop")

    monkeypatch.setattr(disks.shutil, "disk_usage", broken)
    assert disks.disk(tmp_path) == Disk()


@pytest.mark.parametrize("filesystem", ["nfs4", "cifs", "fuse.sshfs", "9p"])
def test_a_home_on_a_network_is_known_as_such(tmp_path, filesystem):
    home = tmp_path / "my home"
    home.mkdir()
    place = str(tmp_path).replace(" ", "\\040")
    root = mounted(tmp_path / "r", f"36 20 0:47 / {place} rw,noatime shared:1 - {filesystem} server:/x rw")
    found = disks.disk(home, root)
    assert (found.kind, found.filesystem) == ("network", filesystem)


def test_of_several_mounts_the_deepest_and_last_counts(tmp_path):
    lines = f"1 2 8:1 / {tmp_path} rw - ext4 /dev/sda1 rw\n3 1 8:2 / {tmp_path} rw - xfs /dev/sdb1 rw"
    assert disks.disk(tmp_path, mounted(tmp_path / "r", lines)).filesystem == "xfs"


@pytest.mark.parametrize(
    "files, device, kind",
    [
        ({"sys/class/block/sda/queue/rotational": "1"}, "/dev/sda", "hdd"),
        ({"sys/class/block/sda/queue/rotational": "0"}, "/dev/sda", "ssd"),
        ({"sys/class/block/dm-0/queue/rotational": "0"}, "/dev/dm-0", "ssd"),
        ({"sys/class/block/nvme0n1/queue/rotational": "0"}, "/dev/nvme0n1", "nvme"),
        ({"sys/class/block/vda/queue/rotational": "1"}, "/dev/vda", ""),
        ({}, "/dev/sda", ""),
        ({}, "overlay", ""),
    ],
)
def test_kinds_of_disks_where_linux_tells(tmp_path, files, device, kind):
    root = tree(mounted(tmp_path / "r", f"1 2 8:1 / {tmp_path} rw - ext4 {device} rw"), files)
    assert disks.disk(tmp_path, root).kind == kind


@pytest.mark.skipif(not hasattr(os, "major"), reason="device numbers")
def test_a_partition_is_of_its_disks_kind(tmp_path):
    device = tmp_path.stat().st_dev
    root = mounted(tmp_path / "r", f"1 2 8:1 / {tmp_path} rw - ext4 none rw")
    tree(root, {"sys/devices/pci/nvme0n1/queue/rotational": "0"})
    (root / "sys/devices/pci/nvme0n1/nvme0n1p2").mkdir()
    (root / "sys/dev/block").mkdir(parents=True)
    link = root / f"sys/dev/block/{os.major(device)}:{os.minor(device)}"
    link.symlink_to(root / "sys/devices/pci/nvme0n1/nvme0n1p2")
    assert disks.disk(tmp_path, root).kind == "nvme"


def test_without_proc_the_system_lists_what_is_mounted(tmp_path, monkeypatch):
    part = SimpleNamespace(mountpoint=str(tmp_path), fstype="APFS", device="/dev/disk3s1")
    monkeypatch.setattr(disks.psutil, "disk_partitions", lambda all: [part])
    assert disks.disk(tmp_path, tmp_path / "none").filesystem == "apfs"
