"""Who is asked for GPUs, and what becomes of it when they tell the same twice, hang, babble or crash."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from inhouse.machine import asking
from inhouse.machine.asking import Answer
from inhouse.machine.gpus import find, pci
from inhouse.machine.gpus.merge import merged
from inhouse.machine.machine import Gpu, Trouble

search = sys.modules["inhouse.machine.gpus.find"]
RECORDED = Path(__file__).with_name("recorded")
GIB = 2**30

linux = pytest.mark.skipif(sys.platform != "linux", reason="of Linux")
CARD = "NVIDIA L4, 23034, 22000, 550.54.15, 8.9, GPU-1b2c0000-0000-0000-0000-00000000000a, 00000000:01:00.0, 0x27B810DE"


def card(
    root: Path,
    address: str,
    vendor: str,
    device: str,
    *,
    driver: str = "",
    kind: str = "0x030000",
    **files: object,
) -> Path:
    place = root / "sys/bus/pci/devices" / address
    place.mkdir(parents=True)
    for name, text in {
        "vendor": vendor,
        "device": device,
        "class": kind,
        "revision": "0xc8",
        **files,
    }.items():
        (place / name).write_text(f"{text}\n")
    if driver:
        (root / "sys/bus/pci/drivers" / driver).mkdir(parents=True, exist_ok=True)
        (place / "driver").symlink_to(root / "sys/bus/pci/drivers" / driver)
    return root


def kfd(root: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        place = root / f"sys/class/kfd/kfd/topology/nodes/{number}"
        place.mkdir(parents=True)
        (place / "properties").write_text((RECORDED / f"kfd/{name}.txt").read_text())
    return root


def node(root: Path, name: str) -> Path:
    place = root / "dev" / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("")
    return root


@pytest.fixture
def says(monkeypatch):
    """Answers of programs by name: a text, or an Answer; those not named are not there. Who was asked."""
    answers: dict[str, str | Answer] = {}
    asked: list[str] = []

    def answer(name: str) -> Answer:
        asked.append(name)
        said = answers.get(name, Answer())
        return said if isinstance(said, Answer) else Answer(said)

    def ask(program: str, *arguments: str) -> Answer:
        name = Path(program).name
        return answer("nvidia-smi -x" if "-x" in arguments else name)

    monkeypatch.setattr(search.sys, "platform", "linux")
    monkeypatch.setattr(search, "ask", ask)
    monkeypatch.setattr(search, "native", lambda name: answer(f"native {name}"))
    monkeypatch.setattr(
        search, "_importable", lambda module: f"native {'nvidia' if module == 'pynvml' else 'amd'}" in answers
    )
    monkeypatch.setattr(search.shutil, "which", lambda name: f"/usr/bin/{name}" if name in answers else None)
    return answers, asked


# -- who is asked -----------------------------------------------------------------------------------


def test_without_any_hardware_nobody_is_asked(tmp_path, says):
    card(tmp_path, "0000:00:02.0", "0x1234", "0x1111")
    card(tmp_path, "0000:00:03.0", "0x10de", "0x10fa", kind="0x040300")
    card(tmp_path, "0000:00:0b.0", "0x8086", "0x7d1d", kind="0x120000")
    assert find(GIB, root=tmp_path) == search.Heard()
    assert says[1] == []


def test_a_program_that_is_installed_is_asked_even_if_no_card_is_seen(tmp_path, says):
    says[0]["nvidia-smi"] = Answer("", "it failed with code 9: NVIDIA-SMI has failed", 9)
    found = find(GIB, root=tmp_path)
    assert found.gpus == ()
    assert found.troubles[0] == Trouble("nvidia-smi", "it failed with code 9: NVIDIA-SMI has failed")


def test_each_maker_is_asked_for_its_own_cards_and_vulkan_for_all(tmp_path, says):
    card(tmp_path, "0000:01:00.0", "0x10de", "0x27b8")
    card(tmp_path, "0000:03:00.0", "0x1002", "0x744c", driver="amdgpu")
    card(tmp_path, "0000:00:02.0", "0x8086", "0x46a6", driver="i915")
    node(tmp_path, "dri/renderD128")
    find(GIB, root=tmp_path)
    assert sorted(says[1]) == [
        "native intel",
        "native vulkan",
        "nvidia-smi",
        "rocm-smi",
        "xpu-smi",
    ]


@pytest.mark.parametrize("name", ["nvidia0", "dxg", "nvhost-gpu"])
def test_nvidias_devices_are_known_without_a_bus(tmp_path, says, name):
    says[0]["nvidia-smi"] = CARD
    assert [gpu.name for gpu in find(GIB, root=node(tmp_path, name)).gpus] == ["NVIDIA L4"]


# -- NVIDIA -----------------------------------------------------------------------------------------


def test_a_card_told_of_by_three_is_one(tmp_path, says):
    card(tmp_path, "0000:01:00.0", "0x10de", "0x27b8", driver="nvidia")
    node(tmp_path, "dri/renderD128")
    says[0]["nvidia-smi"] = CARD
    says[0]["native vulkan"] = (
        '{"gpus": [{"kind": "discrete", "name": "NVIDIA L4", "memory": 24000000000, "free": 1, "driver": "x", '
        '"uuid": "1b2c000000000000000000000000000a", "pci": "", "device": "10de:27b8"}, '
        '{"kind": "cpu", "name": "llvmpipe", "memory": 5, "device": "10005:0000"}]}'
    )
    (gpu,) = find(GIB, root=tmp_path).gpus
    assert (gpu.vendor, gpu.name, gpu.memory, gpu.driver) == (
        "nvidia",
        "NVIDIA L4",
        23034 * 2**20,
        "550.54.15",
    )
    assert (gpu.capability, gpu.cuda, gpu.backends) == ("8.9", "12.4", ("cuda", "vulkan"))
    assert gpu.told == ("nvidia-smi", "vulkan", "sysfs")


def test_the_library_is_asked_first(tmp_path, says):
    card(tmp_path, "0000:01:00.0", "0x10de", "0x27b8")
    says[0]["native nvidia"] = '{"gpus": [{"name": "NVIDIA L4", "memory": 7, "pci": "00000000:01:00.0"}]}'
    says[0]["nvidia-smi"] = CARD
    (gpu,) = find(GIB, root=tmp_path).gpus
    assert (gpu.memory, gpu.told) == (7, ("nvml", "sysfs"))
    assert "nvidia-smi" not in says[1]


def test_an_old_driver_is_asked_for_the_document(tmp_path, says):
    card(tmp_path, "0000:00:1e.0", "0x10de", "0x1eb8")
    says[0]["nvidia-smi"] = Answer("", 'it failed with code 2: Field "compute_cap" is not a valid field', 2)
    says[0]["nvidia-smi -x"] = (RECORDED / "nvidia-smi-xml/tesla-t4-driver-515.xml").read_text()
    found = find(GIB, root=tmp_path)
    (gpu,) = found.gpus
    assert (gpu.name, gpu.cuda, gpu.backends) == ("Tesla T4", "11.7", ("cuda",))
    assert found.troubles == ()


def test_unified_memory_is_the_machines(tmp_path, says):
    says[0]["nvidia-smi"] = (RECORDED / "nvidia-smi/dgx-spark-gb10-driver-580.csv").read_text()
    (gpu,) = find(120 * GIB, root=tmp_path).gpus
    assert (gpu.shared, gpu.memory) == (True, 120 * GIB)


def test_a_card_without_a_driver_is_found_but_nothing_can_use_it(tmp_path, says):
    (gpu,) = find(GIB, root=card(tmp_path, "0000:01:00.0", "0x10de", "0x2684", driver="nouveau")).gpus
    assert (gpu.name, gpu.driver, gpu.backends) == ("NVIDIA GPU 2684", "nouveau", ())


def test_in_a_container_cards_of_the_host_that_were_not_handed_in_are_left_out(tmp_path, says):
    for bus in ("01", "41", "81"):
        card(tmp_path, f"0000:{bus}:00.0", "0x10de", "0x27b8")
    says[0]["nvidia-smi"] = CARD
    assert len(find(GIB, "docker", tmp_path).gpus) == 1
    assert len(find(GIB, "", tmp_path).gpus) == 3
    says[0]["nvidia-smi"] = Answer("", "it failed with code 9", 9)
    assert [gpu.backends for gpu in find(GIB, "docker", tmp_path).gpus] == [(), (), ()]


# -- AMD --------------------------------------------------------------------------------------------


def test_an_amd_card_by_its_drivers_files(tmp_path, says):
    card(
        tmp_path,
        "0000:86:00.0",
        "0x1002",
        "0x744c",
        driver="amdgpu",
        mem_info_vram_total=24 * GIB,
        mem_info_vram_used=GIB,
        mem_info_gtt_total=60 * GIB,
    )
    (tmp_path / "sys/module/amdgpu").mkdir(parents=True)
    (tmp_path / "sys/module/amdgpu/version").write_text("6.8.5\n")
    ids = tmp_path / "usr/share/libdrm/amdgpu.ids"
    ids.parent.mkdir(parents=True)
    ids.write_text("1.0.0\n744C,\tC4,\tAMD Radeon RX 7900 XT\n744C,\tC8,\tAMD Radeon RX 7900 XTX\n")
    kfd(tmp_path, "cpu-node", "rx-7900-xtx-bus-86")
    node(tmp_path, "kfd")
    (gpu,) = find(64 * GIB, root=tmp_path).gpus
    assert gpu == Gpu(
        "amd",
        "AMD Radeon RX 7900 XTX",
        24 * GIB,
        23 * GIB,
        "amdgpu 6.8.5",
        capability="gfx1100",
        pci="0000:86:00.0",
        device="1002:744c",
        backends=("rocm",),
        told=("sysfs",),
    )


def test_one_inside_a_processor_may_take_of_the_machines_memory(tmp_path, says):
    """Strix Halo with 96 GiB set aside of 128: the driver would lend more than is left."""
    card(
        tmp_path,
        "0000:c3:00.0",
        "0x1002",
        "0x1586",
        driver="amdgpu",
        mem_info_vram_total=96 * GIB,
        mem_info_vram_used=0,
        mem_info_gtt_total=105 * GIB,
        mem_info_gtt_used=GIB,
    )
    kfd(tmp_path, "strix-halo-8060s")
    (gpu,) = find(31 * GIB, root=tmp_path).gpus
    assert (gpu.shared, gpu.memory, gpu.free, gpu.capability) == (True, 127 * GIB, 126 * GIB, "gfx1151")
    assert gpu.backends == ()


def test_an_accelerator_without_a_display_is_a_gpu(tmp_path, says):
    card(tmp_path, "0000:05:00.0", "0x1002", "0x75a0", kind="0x120000", driver="amdgpu")
    node(kfd(tmp_path, "mi350x"), "kfd")
    (gpu,) = find(GIB, root=tmp_path).gpus
    assert (gpu.capability, gpu.backends, gpu.name) == ("gfx950", ("rocm",), "AMD GPU 75a0")


def test_rocm_smi_adds_what_the_files_do_not_tell(tmp_path, says):
    card(tmp_path, "0000:07:00.0", "0x1002", "0x73df", driver="amdgpu")
    says[0]["rocm-smi"] = (RECORDED / "rocm-smi/rx-6700-xt-rocm-6.1.json").read_text()
    (gpu,) = find(GIB, root=tmp_path).gpus
    assert (gpu.name, gpu.memory) == ("Navi 22 [Radeon RX 6700/6700 XT / 6800M]", 12868124672)
    assert gpu.told == ("rocm-smi", "sysfs")
    says[0]["native amd"] = '{"gpus": [{"name": "RX 6700 XT", "pci": "0000:07:00.0"}]}'
    assert find(GIB, root=tmp_path).gpus[0].name == "RX 6700 XT"


def test_a_compute_driver_that_may_not_be_opened_is_a_trouble(tmp_path, says, monkeypatch):
    card(tmp_path, "0000:86:00.0", "0x1002", "0x744c", driver="amdgpu")
    node(kfd(tmp_path, "rx-7900-xtx-bus-86"), "kfd")
    monkeypatch.setattr(search.os, "access", lambda path, mode: False)
    found = find(GIB, root=tmp_path)
    assert found.troubles == (Trouble("rocm", "this user may not open /dev/kfd"),)
    assert found.gpus[0].backends == ()


# -- Intel, Apple, names ----------------------------------------------------------------------------


def test_intels_cards_inside_and_beside_the_processor(tmp_path, says):
    card(tmp_path, "0000:00:02.0", "0x8086", "0x46a6", driver="i915")
    card(tmp_path, "0000:97:00.0", "0x8086", "0xe211", driver="xe")
    says[0]["xpu-smi"] = (RECORDED / "xpu-smi/arc-pro-b60.json").read_text()
    says[0]["native intel"] = (
        '{"gpus": [{"name": "Arc", "memory": 9, "pci": "0000:97:00.0", "driver": "1.6"}]}'
    )
    ids = tmp_path / "usr/share/misc/pci.ids"
    ids.parent.mkdir(parents=True)
    ids.write_text(
        "1002  AMD\n\t46a6  Wrong\n8086  Intel Corporation\n\t46a6  Alder Lake-P GT2 [Iris Xe Graphics]\n\t\t1028 0b10  x\n9004  Adaptec\n"
    )
    by_name = {gpu.name: gpu for gpu in find(GIB, root=tmp_path).gpus}
    assert by_name["Intel Iris Xe Graphics"].shared
    arc = by_name["Arc"]
    assert (arc.memory, arc.free, arc.shared) == (9, 25447604224, False)
    assert (arc.backends, arc.told) == (("sycl",), ("level-zero", "xpu-smi", "sysfs"))


def test_macs_are_asked_their_own_way(monkeypatch, says):
    says[0]["system_profiler"] = (RECORDED / "system_profiler/macbook-m3-pro.json").read_text()
    says[0]["sysctl"] = "iogpu.wired_limit_mb: 30720\n"
    monkeypatch.setattr(search.sys, "platform", "darwin")
    (gpu,) = find(36 * GIB).gpus
    assert (gpu.name, gpu.memory, gpu.shared, gpu.backends) == ("Apple M3 Pro", 30 * GIB, True, ("metal",))
    says[0]["system_profiler"] = "not json"
    assert find(36 * GIB).troubles == (Trouble("system_profiler", "its answer is not JSON"),)


def test_vulkan_that_crashes_is_asked_through_its_own_tool(tmp_path, says):
    node(tmp_path, "dri/renderD128")
    says[0]["native vulkan"] = Answer("", "it crashed (SIGSEGV)", -11)
    says[0]["vulkaninfo"] = (RECORDED / "vulkaninfo/rx-6600-xt-amd-proprietary-linux.txt").read_text()
    found = find(GIB, root=tmp_path)
    assert [(g.name, g.backends, g.told) for g in found.gpus] == [
        ("AMD Radeon RX 6600 XT", ("vulkan",), ("vulkaninfo",))
    ]
    assert found.troubles == (Trouble("vulkan", "it crashed (SIGSEGV)"),)


def test_a_library_that_is_not_installed_is_no_trouble(tmp_path, says):
    node(tmp_path, "dri/renderD128")
    says[0]["native vulkan"] = Answer("", "it failed with code 3", 3)
    assert find(GIB, root=tmp_path) == search.Heard()


# -- real programs, made up and put on PATH -----------------------------------------------------------


@linux
@pytest.mark.parametrize(
    "script, why",
    [
        ("sleep 600", "it did not answer within 0.5 seconds"),
        ("kill -SEGV $$", "it crashed (SIGSEGV)"),
        ("head -c 3000 /dev/urandom", "its answer"),
        ("yes 'NVIDIA, a, b'", "it printed without end"),
        ("echo 'No devices were found'; exit 6", "it failed with code 6: No devices were found"),
        ("echo '<nvidia_smi_log>'", "its answer"),
    ],
)
def test_a_nvidia_smi_gone_wrong_is_a_reason_and_no_gpu(tmp_path, monkeypatch, script, why):
    program = tmp_path / "bin/nvidia-smi"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(asking, "PROBE_TIMEOUT", 0.5 if "sleep" in script else 60.0)
    monkeypatch.setattr(asking, "ANSWER_CEILING", 2**16)
    monkeypatch.setattr(search, "_importable", lambda _: False)
    found = find(GIB, root=tmp_path)
    assert found.gpus == ()
    assert found.troubles
    assert all(why in trouble.why for trouble in found.troubles)


# -- merging ----------------------------------------------------------------------------------------


def test_two_equal_cards_stay_two():
    one = [Gpu("nvidia", "RTX 3090", 24, pci=f"0000:0{n}:00.0") for n in (1, 2)]
    other = [Gpu("nvidia", "RTX 3090", 0, uuid=str(n), backends=("vulkan",)) for n in (1, 2)]
    found = merged([one, other])
    assert len(found) == 2
    assert all(gpu.backends == ("vulkan",) and gpu.memory == 24 for gpu in found)


def test_a_card_that_one_witness_tells_of_twice_is_one():
    """AMDVLK and RADV beside each other."""
    both = [Gpu("amd", name, pci="0000:03:00.0") for name in ("RX 6600 XT", "RX 6600 XT (RADV NAVI23)")]
    assert len(merged([both])) == 1


@pytest.mark.parametrize(
    "one, other, same",
    [
        (Gpu("amd", "a", pci="0000:01:00.0"), Gpu("amd", "b", pci="0000:01:00.0"), True),
        (Gpu("amd", "a", pci="0000:01:00.0"), Gpu("amd", "a", pci="0000:02:00.0"), False),
        (Gpu("nvidia", "a", uuid="GPU-AB-01"), Gpu("nvidia", "b", uuid="ab01"), True),
        (Gpu("amd", "a", device="1002:1"), Gpu("amd", "b", device="1002:1"), True),
        (Gpu("amd", "a", device="1002:1"), Gpu("amd", "a", device="1002:2"), False),
        (Gpu("intel", "Intel(R) Arc(TM) A770 Graphics"), Gpu("intel", "Arc A770"), True),
        (Gpu("amd", "Radeon RX 7900 XTX (RADV NAVI31)"), Gpu("amd", "AMD Radeon RX 7900 XTX"), True),
        (Gpu("amd", "RX 6600"), Gpu("nvidia", "RX 6600"), False),
        (Gpu("amd", ""), Gpu("amd", "RX 6600"), True),
    ],
)
def test_when_two_are_one(one, other, same):
    assert len(merged([[one], [other]])) == (1 if same else 2)


def test_hints_say_whose_cards_there_are(tmp_path):
    found = pci.hints(card(tmp_path, "0000:01:00.0", "0x10de", "0x1"), 0)
    assert (found.nvidia, found.render, found.has("nvidia"), found.has("amd")) == (True, False, True, False)
