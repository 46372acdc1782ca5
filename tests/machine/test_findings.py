"""What doctor says of a machine: each weakness with its remedy, and nothing to mend on a good one."""

from __future__ import annotations

import dataclasses

import pytest

from inhouse.machine import Bandwidth, Caches, Disk, Gpu, Limit, Machine, Node, Trouble, findings
from inhouse.machine.gpu_findings import described

GIB = 2**30
MACHINE = Machine(
    "linux",
    "x86_64",
    "AMD Ryzen 7 7700",
    8,
    16,
    ("avx", "avx2", "avx512f"),
    32 * GIB,
    28 * GIB,
    release="Debian 12",
    kernel="6.1",
    memory_installed=32 * GIB,
    caches=Caches(2**15, 2**20, 2**25, 8, 2**25),
    bandwidth=Bandwidth(60 * 10**9, 50 * 10**9, 8),
    disk=Disk(900 * GIB, 300 * GIB, "nvme", "ext4"),
)
ENGINE = {"name": "wheel", "ok": True, "version": "1.2", "path": "", "why": "", "fix": "", "backend": "cpu"}
NATIVE = {
    "name": "native",
    "ok": False,
    "version": "",
    "why": "llama-server was not found",
    "fix": "Install it.",
}
CUDA = {"name": "cuda-12", "ok": True, "version": "b1", "why": "", "fix": "", "backend": "cuda"}
BUILDS = (
    {"name": "cuda-13", "backend": "cuda", "why": "the driver of L4 runs CUDA up to 12.4, it needs 13.4"},
    {"name": "cuda-12", "backend": "cuda", "why": ""},
    {"name": "vulkan", "backend": "vulkan", "why": ""},
)
L4 = Gpu(
    "nvidia",
    "NVIDIA L4",
    23 * GIB,
    22 * GIB,
    "550.54",
    capability="8.9",
    cuda="12.4",
    backends=("cuda", "vulkan"),
)


def said(machine=MACHINE, engines=(ENGINE,), **more) -> dict[str, tuple[str, str, str]]:
    return {f.what: (f.level, f.detail, f.fix) for f in findings(machine, engines, **more)}


def changed(**changes) -> Machine:
    return dataclasses.replace(MACHINE, **changes)


def test_a_good_machine_has_nothing_to_mend(tmp_path):
    found = said(home=tmp_path, models=2)
    assert list(found) == [
        "system",
        "cpu",
        "cpu caches",
        "memory",
        "memory speed",
        "gpu",
        "engine wheel",
        "disk",
        "models",
    ]
    assert {level for level, _, _ in found.values()} == {"ok", "note"}
    assert all(not fix for _, _, fix in found.values())
    assert found["system"][1] == "Debian 12, linux 6.1 x86_64"
    assert found["cpu"][1] == "AMD Ryzen 7 7700: 8 cores, 16 threads; AVX2, AVX-512"
    assert found["cpu caches"][1] == "L1 32 KiB, L2 1 MiB, L3 32 MiB for 8 cores"
    assert found["memory"][1] == "28.0 GiB available of 32.0 GiB"
    assert found["memory speed"][1] == "60.0 GB/s read, 50.0 GB/s copied, with 8 cores"
    assert found["disk"][1] == "300.0 GiB free for models (nvme, ext4)"


@pytest.mark.parametrize(
    "change, what, level, word",
    [
        ({"features": ("avx",)}, "cpu", "warn", "AVX2"),
        ({"features": ()}, "cpu", "ok", ""),
        ({"arch": "aarch64", "features": ("asimd",)}, "cpu", "ok", ""),
        ({"governor": "powersave"}, "cpu clock", "warn", "cpupower"),
        ({"memory_available": GIB}, "memory", "warn", "smaller model"),
        ({"swap_total": 8 * GIB, "swap_used": 3 * GIB}, "swap", "warn", "Close other programs"),
        (
            {"limits": (Limit("memory", 4 * GIB, "/docker/x memory.max"),)},
            "memory limit",
            "note",
            "docker run --memory",
        ),
        ({"limits": (Limit("cpu", 1.5, "/x cpu.max"),)}, "cpu limit", "note", "--cpus"),
        ({"limits": (Limit("cpuset", 4, "/x cpuset.cpus"),)}, "cpu limit", "note", "cpuset"),
        ({"nodes": (Node(0, (0,), GIB), Node(1, (1,), GIB))}, "numa", "note", "numactl"),
        ({"bandwidth": Bandwidth(18 * 10**9, 15 * 10**9, 8)}, "memory speed", "note", "other channel"),
        ({"bandwidth": Bandwidth(18 * 10**9, 1, 8), "virtual": "kvm"}, "memory speed", "ok", ""),
        ({"bandwidth": Bandwidth(18 * 10**9, 1, 2)}, "memory speed", "ok", ""),
        ({"bandwidth": Bandwidth(60 * 10**9, 1, 8, busy=0.5)}, "memory speed", "note", "--measure"),
        ({"disk": Disk(9 * GIB, GIB, "ssd", "ext4")}, "disk", "warn", "INHOUSE_HOME"),
        ({"disk": Disk(900 * GIB, 500 * GIB, "network", "nfs4")}, "disk", "warn", "network"),
        ({"disk": Disk(900 * GIB, 500 * GIB, "hdd", "ext4")}, "disk", "note", "SSD"),
        (
            {"troubles": (Trouble("rocm", "this user may not open /dev/kfd"),)},
            "asking rocm",
            "warn",
            "usermod",
        ),
        (
            {"troubles": (Trouble("nvidia-smi", "it crashed (SIGSEGV)"),)},
            "asking nvidia-smi",
            "warn",
            "driver",
        ),
        ({"troubles": (Trouble("vulkan", "it crashed (SIGSEGV)"),)}, "asking vulkan", "note", ""),
        ({"troubles": (Trouble("memory bandwidth", "x"),)}, "asking memory bandwidth", "warn", "--measure"),
    ],
)
def test_each_weakness_is_found_with_its_fix(tmp_path, change, what, level, word):
    found = said(changed(**change), home=tmp_path)[what]
    assert found[0] == level
    assert word.lower().replace("smaller", "small") in found[2].lower()
    assert bool(found[2]) == bool(word)


@pytest.mark.parametrize("quiet", ["memory limit", "cpu limit", "swap", "numa", "cpu clock"])
def test_what_does_not_hold_is_not_said(quiet):
    machine = changed(swap_total=GIB, swap_used=GIB // 2, nodes=(Node(0, (0,), GIB), Node(1, (), GIB)))
    assert quiet not in said(machine)


def test_limits_say_how_much_and_who_set_them():
    limits = (Limit("memory", 4 * GIB, "/kubepods/x memory.max"), Limit("cpu", 1.5, "/x cpu.max"))
    found = said(changed(limits=limits))
    assert found["memory limit"][1] == "4.0 GiB of the system's 32.0 GiB, set by /kubepods/x memory.max"
    assert found["cpu limit"][1] == "time of 1.5 CPUs, set by /x cpu.max"


def test_where_it_runs_is_said():
    found = said(changed(container="kubernetes", virtual="kvm"))["system"][1]
    assert found.endswith(", in kubernetes, a virtual machine (kvm)")
    assert said(changed(virtual="yes"))["system"][1].endswith(", a virtual machine")


def test_cores_of_two_kinds_and_many_caches():
    machine = changed(
        performance_cores=6,
        efficiency_cores=8,
        logical_cores=20,
        physical_cores=14,
        sockets=2,
        caches=Caches(0, 0, 2**25, 8, 2**28),
    )
    found = said(machine)
    assert "6 fast and 8 efficient cores, 20 threads, 2 sockets" in found["cpu"][1]
    assert found["cpu caches"][1] == "L3 32 MiB for 8 cores, 256 MiB in all"
    assert "cpu caches" not in said(changed(caches=Caches()))
    assert "memory speed" not in said(changed(bandwidth=Bandwidth()))


# -- GPUs -------------------------------------------------------------------------------------------


def test_a_gpu_that_a_build_uses_is_fine():
    level, detail, fix = said(changed(gpus=(L4,)), (ENGINE, CUDA), builds=BUILDS)["gpu"]
    assert (level, fix) == ("ok", "")
    assert detail == (
        "NVIDIA L4: 23.0 GiB, 22.0 GiB free, compute capability 8.9, driver 550.54 (CUDA 12.4); used through cuda"
    )


def test_a_gpu_that_no_build_uses_has_the_build_to_install():
    level, _, fix = said(changed(gpus=(L4,)), builds=BUILDS)["gpu"]
    assert level == "note"
    assert fix.endswith("inhouse engine install cuda-12")
    broken = {**CUDA, "ok": False}
    assert said(changed(gpus=(L4,)), (ENGINE, broken), builds=BUILDS)["gpu"][2] == fix


def test_a_gpu_that_no_build_fits_has_the_reason():
    _, detail, fix = said(changed(gpus=(L4,)), builds=BUILDS[:1])["gpu"]
    assert "runs CUDA up to 12.4" in detail
    assert "engine list" in fix
    assert "no engine build can use it" in said(changed(gpus=(L4,)))["gpu"][1]


@pytest.mark.parametrize("cuda", ["11.4", ""])
def test_a_driver_too_old_for_cuda_is_to_be_updated(cuda):
    old = dataclasses.replace(L4, cuda=cuda, backends=("cuda",))
    level, detail, fix = said(changed(gpus=(old,)), builds=BUILDS)["gpu"]
    assert level == "warn"
    assert "too old" in detail
    assert "525" in fix


@pytest.mark.parametrize(
    "vendor, container, word",
    [
        ("nvidia", "", "NVIDIA's driver"),
        ("nvidia", "docker", "--gpus all"),
        ("amd", "kubernetes", "--device /dev/kfd"),
        ("intel", "podman", "--device /dev/dri"),
        ("amd", "", "amdgpu"),
        ("intel", "wsl", "Mesa"),
        ("qualcomm", "docker", "Vulkan driver"),
    ],
)
def test_a_gpu_that_nothing_can_use_has_its_remedy(vendor, container, word):
    level, detail, fix = said(changed(gpus=(Gpu(vendor, "X"),), container=container))["gpu"]
    assert level == "warn"
    assert "X: memory unknown, no driver" in detail
    assert word in fix


@pytest.mark.parametrize(
    "gpu, text",
    [
        (
            Gpu("apple", "Apple M3", 27 * GIB, shared=True, capability="metal3"),
            "up to 27.0 GiB of the machine's memory",
        ),
        (Gpu("intel", "Iris", driver="i915", shared=True), "shares the machine's memory, driver i915"),
        (Gpu("amd", "RX", 8 * GIB, capability="gfx1100", driver="amdgpu"), "8.0 GiB, gfx1100, driver amdgpu"),
    ],
)
def test_gpus_are_described_in_a_line(gpu, text):
    assert described(gpu) == f"{gpu.name}: {text}"


# -- the rest ---------------------------------------------------------------------------------------


def test_engines_that_are_absent_are_explained():
    assert said(engines=(ENGINE, NATIVE))["engine native"] == (
        "note",
        "llama-server was not found",
        "Install it.",
    )
    assert said(engines=(NATIVE,))["engine"] == ("missing", "no engine can run models", "Install it.")
    assert said(engines=())["engine"][0] == "missing"


def test_our_kernels_are_told_of_the_engine_in_use_only():
    assert "kernels" not in said()
    facts = {"on": True, "version": "0.1.0", "isa": "avx2", "types": {"q4_0": "", "q4_K": ""}}
    on = said(engines=({**ENGINE, "kernels": facts}, {**NATIVE, "kernels": None}))
    assert on["kernels"] == ("ok", "0.1.0 with avx2 for q4_0, q4_K", "")
    slower = {**facts, "passed_over": "amx is not quicker here"}
    assert said(engines=({**ENGINE, "kernels": slower},))["kernels"][1] == (
        "0.1.0 with avx2 (amx is not quicker here) for q4_0, q4_K"
    )
    bad = {**facts, "types": {"q4_0": "", "q4_K": "its self-test failed"}}
    assert said(engines=({**ENGINE, "kernels": bad},))["kernels"][:2] == (
        "note",
        "0.1.0 with avx2 for q4_0; not q4_K: its self-test failed",
    )
    more = {**facts, "types": {"attention": "", "q4_0": ""}}
    assert (
        said(engines=({**ENGINE, "kernels": more},))["kernels"][1] == "0.1.0 with avx2 for q4_0 and attention"
    )
    less = {**facts, "types": {"attention": "it differs", "q4_0": ""}}
    assert (
        said(engines=({**ENGINE, "kernels": less},))["kernels"][1]
        == "0.1.0 with avx2 for q4_0; not attention: it differs"
    )
    off = {"on": False, "why": "they are not installed", "fix": "Install them."}
    assert said(engines=({**ENGINE, "kernels": off},))["kernels"] == (
        "note",
        "off: they are not installed",
        "Install them.",
    )


def test_tools_and_models_are_told(tmp_path):
    tool = {"name": "converter", "ok": False, "why": "it is not installed", "fix": "Install it."}
    found = said(tools=(tool,), home=tmp_path, models=0)
    assert found["tool converter"] == ("note", "it is not installed", "Install it.")
    assert found["models"] == ("note", "0 here", "Get one: inhouse pull smollm2")


def test_the_disk_is_looked_at_where_the_machine_does_not_say(tmp_path):
    assert "free for models" in said(changed(disk=Disk()), home=tmp_path)["disk"][1]
