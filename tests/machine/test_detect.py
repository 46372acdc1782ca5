"""Asking the system: limits of control groups, graphics cards, and probes that fail or hang."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from inhouse.machine import detect as detect_machine
from inhouse.machine import disk_free
from inhouse.machine.findings import findings

detect = sys.modules["inhouse.machine.detect"]
GIB = 2**30


def tree(root: Path, files: dict[str, object]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")
    return root


def test_this_machine_is_described():
    machine = detect_machine()
    assert machine.os in ("linux", "darwin", "windows")
    assert machine.arch
    assert 1 <= machine.physical_cores <= machine.logical_cores
    assert 0 < machine.memory_available <= machine.memory_total
    assert isinstance(machine.features, tuple)
    json.dumps(dataclasses.asdict(machine))


def test_version_2_limits_hold_from_every_level(tmp_path):
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
        },
    )
    assert detect.limits(root) == detect.Limits(4 * GIB, 2 * GIB, 1.5)


def test_version_1_limits_inside_a_container(tmp_path):
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": "9:memory:/docker/x\n4:cpu,cpuacct:/docker/x",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": GIB,
            "sys/fs/cgroup/memory/memory.usage_in_bytes": GIB // 2,
            "sys/fs/cgroup/memory/memory.stat": f"total_inactive_file {GIB // 4}",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": 100_000,
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": 100_000,
        },
    )
    assert detect.limits(root) == detect.Limits(GIB, GIB // 4, 1.0)


def test_no_control_group_is_no_limit(tmp_path):
    assert detect.limits(tmp_path) == detect.Limits()
    root = tree(tmp_path, {"proc/self/cgroup": "0::/", "sys/fs/cgroup/memory.max": "max"})
    assert detect.limits(root) == detect.Limits()


def test_available_memory_is_what_the_group_leaves(tmp_path):
    free = psutil.virtual_memory().available
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": "0::/",
            "sys/fs/cgroup/memory.max": 2**20,
            "sys/fs/cgroup/memory.current": 2**19,
        },
    )
    assert detect.available(root) == 2**19
    assert detect.available(tmp_path / "none") > free // 2


@pytest.mark.parametrize(
    "physical, logical, affinity, quota, expected",
    [
        (8, 16, 16, None, (8, 16)),
        (8, 16, 4, None, (4, 4)),
        (8, 16, 16, 1.5, (2, 2)),
        (8, 16, 16, 0.2, (1, 1)),
        (None, None, 1, None, (1, 1)),
        (None, 4, 4, None, (4, 4)),
    ],
)
def test_cores_honour_affinity_and_quota(monkeypatch, physical, logical, affinity, quota, expected):
    monkeypatch.setattr(detect.sys, "platform", "linux")
    monkeypatch.setattr(
        detect.psutil, "cpu_count", lambda logical=True, n=(physical, logical): n[bool(logical)]
    )
    process = SimpleNamespace(cpu_affinity=lambda: list(range(affinity)))
    monkeypatch.setattr(detect.psutil, "Process", lambda: process)
    assert detect.cores(quota) == expected


def test_graphics_cards_come_from_the_best_witness(tmp_path, monkeypatch):
    root = tree(
        tmp_path,
        {
            "sys/class/drm/card0/device/vendor": "0x10de",
            "sys/class/drm/card1/device/vendor": "0x8086",
            "sys/class/drm/card1-HDMI-A-1/device/vendor": "0x8086",
            "sys/class/drm/version": "x",
        },
    )
    monkeypatch.setattr(detect.sys, "platform", "linux")
    monkeypatch.setattr(detect.shutil, "which", lambda _: "nvidia-smi")
    monkeypatch.setattr(detect, "ask", lambda *_: "NVIDIA L4, 23034, 22000, 550\n")
    assert [(g.vendor, g.driver) for g in detect.gpus(0, root)] == [("nvidia", "550"), ("intel", "")]
    monkeypatch.setattr(detect.shutil, "which", lambda _: None)
    assert [(g.vendor, g.driver) for g in detect.gpus(0, root)] == [("nvidia", ""), ("intel", "")]
    assert detect.gpus(0, tmp_path / "none") == ()


def test_macos_is_asked_its_own_way(monkeypatch):
    answers = {
        "system_profiler": '{"SPDisplaysDataType": [{"sppci_model": "Apple M4"}]}',
        "sysctl": "hw.optional.neon: 1\n",
    }
    monkeypatch.setattr(detect.sys, "platform", "darwin")
    monkeypatch.setattr(detect, "ask", lambda program, *_: answers[program])
    (gpu,) = detect.gpus(7)
    assert (gpu.vendor, gpu.memory, gpu.shared) == ("apple", 7, True)
    assert detect._cpu()[1] == {"asimd"}


def test_amds_compute_driver_is_noticed(tmp_path, monkeypatch):
    assert not detect.has_rocm(tmp_path)
    tree(tmp_path, {"sys/class/kfd/kfd/topology/nodes/1/properties": "simd_count 60"})
    assert detect.has_rocm(tmp_path)
    tree(tmp_path, {"sys/class/drm/card0/device/vendor": "0x1002"})
    monkeypatch.setattr(detect.sys, "platform", "linux")
    assert [g.driver for g in detect.gpus(0, tmp_path)] == ["amdkfd"]


def test_probes_that_fail_or_hang_say_nothing(monkeypatch):
    monkeypatch.setattr(detect, "PROBE_TIMEOUT", 0.3)
    assert detect.ask("no-such-program-anywhere") == ""
    assert detect.ask(sys.executable, "-c", "raise SystemExit(3)") == ""
    assert detect.ask(sys.executable, "-c", "import time; time.sleep(600)") == ""
    monkeypatch.setattr(detect, "PROBE_TIMEOUT", 30.0)
    assert detect.ask(sys.executable, "-c", "print('hi')").strip() == "hi"


def test_free_disk_of_a_folder_that_is_not_there_yet(tmp_path, monkeypatch):
    assert disk_free(tmp_path / "a" / "b") > 0

    def broken(_: object) -> None:
        raise OSError("loop")

    monkeypatch.setattr(detect.shutil, "disk_usage", broken)
    assert disk_free(tmp_path) == 0


# -- findings ---------------------------------------------------------------------------------

MACHINE = detect.Machine("linux", "x86_64", "AMD", 4, 8, ("avx", "avx2"), 16 * GIB, 12 * GIB)
ENGINE = {"name": "wheel", "ok": True, "version": "1.2", "path": "", "why": "", "fix": ""}
NATIVE = {
    "name": "native",
    "ok": False,
    "version": "",
    "why": "llama-server was not found",
    "fix": "Install it.",
}


def said(
    machine: detect.Machine = MACHINE, engines=(ENGINE,), **more: object
) -> dict[str, tuple[str, str, str]]:
    return {f.what: (f.level, f.detail, f.fix) for f in findings(machine, engines, **more)}


def test_a_good_machine_has_nothing_to_mend(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["inhouse.machine.findings"], "disk_free", lambda _: 100 * GIB)
    found = said(home=tmp_path, models=2)
    assert list(found) == ["system", "cpu", "memory", "gpu", "engine wheel", "disk", "models"]
    assert {level for level, _, _ in found.values()} == {"ok", "note"}
    assert all(not fix for _, _, fix in found.values())
    assert found["cpu"][1] == "AMD: 4 cores (8 threads); avx, avx2"
    assert found["memory"][1] == "12.0 GiB available of 16.0 GiB"


@pytest.mark.parametrize(
    "change, what, level",
    [
        ({"features": ("avx",)}, "cpu", "warn"),
        ({"features": ()}, "cpu", "ok"),
        ({"arch": "aarch64", "features": ("asimd",)}, "cpu", "ok"),
        ({"memory_available": GIB}, "memory", "warn"),
        ({"gpus": (detect.Gpu("nvidia", "L4"),)}, "gpu", "warn"),
        ({"gpus": (detect.Gpu("nvidia", "L4", GIB, GIB, "550"),)}, "gpu", "ok"),
        ({"gpus": (detect.Gpu("apple", "M4", shared=True),)}, "gpu", "ok"),
    ],
)
def test_each_weakness_is_found_with_its_fix(change, what, level):
    found = said(dataclasses.replace(MACHINE, **change))[what]
    assert found[0] == level
    assert bool(found[2]) == (level == "warn")


def test_a_cpu_quota_is_mentioned():
    assert "limited to 1.5 CPUs" in said(dataclasses.replace(MACHINE, quota=1.5))["cpu"][1]


def test_engines_that_are_absent_are_explained():
    assert said(engines=(ENGINE, NATIVE))["engine native"] == (
        "note",
        "llama-server was not found",
        "Install it.",
    )
    assert said(engines=(NATIVE,))["engine"] == ("missing", "no engine can run models", "Install it.")
    assert said(engines=())["engine"][0] == "missing"


def test_a_full_disk_and_no_models_are_found(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["inhouse.machine.findings"], "disk_free", lambda _: GIB)
    found = said(home=tmp_path, models=0)
    assert found["disk"][0] == "warn"
    assert found["models"] == ("note", "0 here", "Get one: inhouse pull smollm2")
