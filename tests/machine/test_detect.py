"""This very machine, and what of it this process may use."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import psutil
import pytest

from inhouse.machine import available, to_json
from inhouse.machine import detect as detect_machine
from inhouse.machine.asking import Answer
from inhouse.machine.machine import Limit

detect = sys.modules["inhouse.machine.detect"]
GIB = 2**30


def tree(root: Path, files: dict[str, object]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")
    return root


def test_this_machine_is_described(tmp_path):
    machine = detect_machine(tmp_path / "not" / "there")
    assert machine.os in ("linux", "darwin", "windows")
    assert machine.arch
    assert 1 <= machine.physical_cores <= machine.logical_cores
    assert machine.physical_cores <= machine.cores_installed
    assert 0 < machine.memory_available <= machine.memory_total <= machine.memory_installed
    assert machine.disk.total >= machine.disk.free > 0
    assert machine.page_size >= 4096
    json.dumps(to_json(machine))


@pytest.mark.skipif(sys.platform != "linux", reason="of /proc and /sys")
def test_linux_tells_its_name_its_cores_and_instruction_sets():
    machine = detect_machine()
    assert machine.cpu
    assert machine.features
    assert machine.release
    assert machine.kernel
    assert machine.physical_cores <= (psutil.cpu_count() or 1)


def test_memory_and_cores_are_those_the_group_leaves(tmp_path):
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": "0::/",
            "sys/fs/cgroup/memory.max": 2**20,
            "sys/fs/cgroup/memory.current": 2**19,
            "sys/fs/cgroup/cpu.max": "50000 100000",
        },
    )
    free = psutil.virtual_memory().available
    assert available(root) == 2**19
    assert available(root, mapped=2**20) == 2**19  # of the group's own count, none of them were available
    assert available(root, mapped=2**60) == 0
    assert available(tmp_path / "none") > free // 2
    machine = detect_machine(root=root)
    assert (machine.memory_total, machine.memory_available) == (2**20, 2**19)
    assert (machine.physical_cores, machine.logical_cores, machine.quota) == (1, 1, 0.5)
    assert machine.memory_installed == psutil.virtual_memory().total
    assert machine.limits == (
        Limit("memory", 2**20, "/ memory.max"),
        Limit("cpu", 0.5, "/ cpu.max"),
    )


def test_limits_above_what_is_there_take_nothing_away(tmp_path):
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": "0::/",
            "sys/fs/cgroup/memory.max": 2**50,
            "sys/fs/cgroup/cpu.max": "99900000 100000",
            "sys/fs/cgroup/cpuset.cpus.effective": "0-999",
        },
    )
    assert detect_machine(root=root).limits == ()


@pytest.mark.parametrize(
    "physical, logical, allowed, expected",
    [
        (8, 16, 16, (8, 16, 8)),
        (8, 16, 4, (4, 4, 8)),
        (8, 16, None, (8, 16, 8)),
        (None, None, 1, (1, 1, 1)),
        (None, 4, 4, (4, 4, 4)),
    ],
)
def test_without_sys_the_systems_counters_are_asked(monkeypatch, physical, logical, allowed, expected):
    monkeypatch.setattr(
        detect.psutil, "cpu_count", lambda logical=True, n=(physical, logical): n[bool(logical)]
    )
    found = detect._counted(frozenset(range(allowed)) if allowed else None)
    assert (found.physical, found.logical, found.installed) == expected


def test_macos_is_asked_its_own_way(monkeypatch):
    text = "hw.optional.neon: 1\nhw.physicalcpu: 8\nhw.logicalcpu: 8\nmachdep.cpu.brand_string: Apple M3\n"
    monkeypatch.setattr(detect.sys, "platform", "darwin")
    monkeypatch.setattr(detect, "ask", lambda *_: Answer(text))
    found = detect._processor(Path("/"), "", None)
    assert (found.name, found.features, found.topology.physical) == ("Apple M3", {"asimd"}, 8)


def test_a_fault_of_ours_while_looking_for_gpus_does_not_stop_the_server(monkeypatch):
    def broken(*_: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(detect.gpus, "find", broken)
    (trouble,) = detect_machine().troubles
    assert (trouble.source, trouble.why) == ("gpu", "looking for GPUs failed (RuntimeError)")
