"""What makers' tools printed on real machines, and what they printed when they could not tell."""

from __future__ import annotations

from pathlib import Path

import pytest

from inhouse.machine.gpus import amd, apple, intel, nvidia, told, vulkan
from inhouse.machine.gpus.told import Nonsense
from inhouse.machine.machine import Gpu

RECORDED = Path(__file__).with_name("recorded")
MIB = 2**20
GIB = 2**30


def recorded(name: str) -> str:
    return (RECORDED / name).read_text("utf-8")


@pytest.mark.parametrize(
    "name, gpus",
    [
        (
            "dgx-spark-gb10-driver-580",
            [
                Gpu(
                    "nvidia",
                    "NVIDIA GB10",
                    driver="580.126.09",
                    capability="12.1",
                    cuda="13.0",
                    uuid="GPU-2dee1e25-b3b5-007e-2b55-79f2d0f2ebe5",
                    pci="000f:01:00.0",
                    device="10de:2e12",
                )
            ],
        ),
        (
            "titan-v-and-rtx-5880-ada-driver-570",
            [
                Gpu(
                    "nvidia",
                    "NVIDIA TITAN V",
                    12288 * MIB,
                    driver="570.86.15",
                    capability="7.0",
                    cuda="12.8",
                    uuid="GPU-b5169cef-2205-c30e-f2b3-220cfa14bafd",
                    device="10de:1d81",
                ),
                Gpu(
                    "nvidia",
                    "NVIDIA RTX 5880 Ada Generation",
                    49140 * MIB,
                    driver="570.86.15",
                    capability="8.9",
                    cuda="12.8",
                    uuid="GPU-7518f6b0-991f-ce2b-3d37-c779130d3137",
                    device="10de:26b3",
                ),
            ],
        ),
    ],
)
def test_tables_of_nvidia_smi(name, gpus):
    assert list(nvidia.csv(recorded(f"nvidia-smi/{name}.csv"))) == gpus


@pytest.mark.parametrize("name", ["driver-470-knows-no-compute-cap", "no-driver"])
def test_complaints_of_nvidia_smi_are_no_gpus(name):
    with pytest.raises(Nonsense):
        nvidia.csv(recorded(f"nvidia-smi/{name}.txt"))
    with pytest.raises(Nonsense):
        nvidia.xml(recorded(f"nvidia-smi/{name}.txt"))


@pytest.mark.parametrize(
    "name, expected",
    [
        (
            "tesla-t4-driver-515",
            ("Tesla T4", 15360, 13939, "515.105.01", "11.7", "0000:00:1e.0", "10de:1eb8"),
        ),
        (
            "rtx-4000-sff-ada-driver-595",
            (
                "NVIDIA RTX 4000 SFF Ada Generation",
                20475,
                16482,
                "595.84",
                "13.2",
                "0000:06:00.0",
                "10de:27b0",
            ),
        ),
        (
            "gtx-1660-ti-driver-418",
            ("Graphics Device", 5912, 5912, "418.43", "10.1", "0000:43:00.0", "10de:2184"),
        ),
        (
            "a100-sxm4-80gb-with-mig-driver-535",
            ("NVIDIA A100-SXM4-80GB", 81920, 0, "535.54.03", "12.2", "0000:01:00.0", "10de:20b2"),
        ),
    ],
)
def test_documents_of_nvidia_smi(name, expected):
    (gpu,) = nvidia.xml(recorded(f"nvidia-smi-xml/{name}.xml"))
    found = (gpu.name, gpu.memory // MIB, gpu.free // MIB, gpu.driver, gpu.cuda, gpu.pci, gpu.device)
    assert found == expected
    assert gpu.uuid.startswith("GPU-")


def test_a_document_that_defines_entities_is_refused():
    bomb = '<!DOCTYPE a [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><nvidia_smi_log>&b;</nvidia_smi_log>'
    with pytest.raises(Nonsense, match="entities"):
        nvidia.xml(bomb)


@pytest.mark.parametrize(
    "driver, cuda",
    [
        ("550.54.15", "12.4"),
        ("535.183.01", "12.2"),
        ("470.182.03", "11.4"),
        ("595.84", "13.0"),
        ("390.157", ""),
        ("", ""),
    ],
)
def test_a_driver_runs_cuda_up_to_its_branch(driver, cuda):
    assert nvidia.cuda_of(driver) == cuda


@pytest.mark.parametrize(
    "name, gpus",
    [
        (
            "rx-6700-xt-rocm-6.1",
            [
                Gpu(
                    "amd",
                    "Navi 22 [Radeon RX 6700/6700 XT / 6800M]",
                    12868124672,
                    12868124672 - 1572745216,
                    "amdgpu 6.3.6",
                    capability="gfx1031",
                    pci="0000:07:00.0",
                    device="1002:73df",
                )
            ],
        ),
        (
            "rx-6700-xt-rocm-4.3",
            [
                Gpu(
                    "amd",
                    "",
                    12868124672,
                    12868124672 - 1622728704,
                    "amdgpu 6.3.6",
                    pci="0000:07:00.0",
                    device="1002:73df",
                )
            ],
        ),
        (
            "two-of-four-mi100-rocm-6.0",
            [
                Gpu(
                    "amd",
                    "Arcturus GL-XL [Instinct MI100]",
                    34342961152,
                    34342961152 - 6750208,
                    "amdgpu 6.3.6",
                    pci=f"0000:{bus}:00.0",
                    device="1002:738c",
                )
                for bus in ("83", "a3")
            ],
        ),
        (
            "rx-7900-xt-with-a-warning-before",
            [
                Gpu(
                    "amd",
                    "Radeon RX 7900 XT",
                    21458059264,
                    21458059264 - 27856896,
                    capability="gfx1100",
                    device="1002:744c",
                )
            ],
        ),
    ],
)
def test_cards_of_rocm_smi(name, gpus):
    assert list(amd.smi(recorded(f"rocm-smi/{name}.json"))) == gpus


def test_rocm_smi_without_a_gpu_says_nothing():
    with pytest.raises(Nonsense):
        amd.smi(recorded("rocm-smi/no-gpu.txt"))


@pytest.mark.parametrize(
    "number, name",
    [
        (110000, "gfx1100"),
        (90010, "gfx90a"),
        (90402, "gfx942"),
        (100306, "gfx1036"),
        (110501, "gfx1151"),
        (0, ""),
    ],
)
def test_amds_targets(number, name):
    assert amd.target(number) == name


def test_devices_of_xpu_smi():
    (gpu,) = intel.xpu_smi(recorded("xpu-smi/arc-pro-b60.json"))
    assert gpu == Gpu(
        "intel",
        "Intel(R) Arc(TM) Pro B60 Graphics",
        25669140480,
        25447604224,
        uuid="00000000-0000-0097-0000-0000e2118086",
        pci="0000:97:00.0",
        device="8086:e211",
    )
    for odd in ("[]", '{"device_list": 1}', "x"):
        with pytest.raises(Nonsense):
            intel.xpu_smi(odd)
    assert intel.xpu_smi('{"device_list": [1, {}, {"device_type": "CPU", "device_name": "x"}]}') == ()


@pytest.mark.parametrize(
    "name, expected",
    [
        (
            "hd-530-and-r9-380-windows",
            [
                ("intel", "Intel(R) HD Graphics 530", True, "8086:1912", "Intel Corporation Intel driver"),
                ("amd", "AMD Radeon (TM) R9 380 Series", False, "1002:6939", "AMD proprietary driver 20.4.2"),
            ],
        ),
        ("only-llvmpipe-in-a-container-with-a-t4", []),
        (
            "rx-6600-xt-amd-proprietary-linux",
            [
                (
                    "amd",
                    "AMD Radeon RX 6600 XT",
                    False,
                    "1002:73ff",
                    "AMD proprietary driver (AMD proprietary shader compiler)",
                )
            ],
        ),
    ],
)
def test_summaries_of_vulkaninfo(name, expected):
    found = [vulkan.named(gpu, kind) for gpu, kind in vulkan.summary(recorded(f"vulkaninfo/{name}.txt"))]
    assert [(g.vendor, g.name, g.shared, g.device, g.driver) for g in found if g] == expected


@pytest.mark.parametrize(
    "name, memory, gpu",
    [
        (
            "macbook-m3-pro",
            36 * GIB,
            Gpu("apple", "Apple M3 Pro", 27 * GIB, shared=True, capability="metal3"),
        ),
        ("first-m1-macos-11", 8 * GIB, Gpu("apple", "Apple M1", 8 * GIB * 2 // 3, shared=True)),
        ("imac-pro-2017-vega-64", 32 * GIB, Gpu("amd", "Radeon Pro Vega 64")),
    ],
)
def test_displays_of_macos(name, memory, gpu):
    assert apple.system_profiler(recorded(f"system_profiler/{name}.json"), memory) == (gpu,)


@pytest.mark.parametrize("text", ["", "[]", '{"SPDisplaysDataType": 1}', "{", "[" * 200_000])
def test_nonsense_of_macos_is_known_as_such(text):
    with pytest.raises(Nonsense):
        apple.system_profiler(text, 1)
    assert apple.system_profiler('{"SPDisplaysDataType": [{}, 1]}', 1) == ()


@pytest.mark.parametrize(
    "memory, metal_said_mib",
    [(32, 21845.34), (64, 49152.0), (96, 73728.0)],
    ids=["m2-max-32", "m2-max-64", "m2-max-96"],
)
def test_what_metal_recommends_at_most_is_foreseen(memory, metal_said_mib):
    """``recommendedMaxWorkingSetSize`` as llama.cpp printed it on these machines."""
    assert apple.working_set(memory * GIB) / MIB == pytest.approx(metal_said_mib, rel=1e-6)


def test_a_wired_limit_overrides_what_metal_recommends():
    assert apple.working_set(16 * GIB, wired_mib=14336) == 14 * GIB
    assert apple.working_set(16 * GIB, wired_mib=99999) == 16 * GIB


# -- what all of them share -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, address",
    [
        ("00000000:01:00.0", "0000:01:00.0"),
        ("0000000F:01:00.0", "000f:01:00.0"),
        ("0000:C4:00.0", "0000:c4:00.0"),
        ("01:00.0", "0000:01:00.0"),
        ("10000:e1:00.1", "10000:e1:00.1"),
        ("[N/A]", ""),
        ("", ""),
    ],
)
def test_pci_addresses_are_written_one_way(text, address):
    assert told.address(text) == address


def test_names_are_printable_and_short():
    assert told.clean("  Evil\x1b[31m\nGPU \u202e" + "x" * 999) == ("Evil [31m GPU " + "x" * 999)[:200]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Segmentation fault",
        "[]",
        "{}",
        '{"gpus": 5}',
        '{"gpus": [1]}',
        '{"gpus": [{}]}',
        '{"gpus": [{"name": "x", "memory": -1}]}',
        '{"gpus": [{"name": "x", "memory": "much"}]}',
        '{"gpus": [{"name": "x", "shared": 7}]}',
    ],
)
def test_answers_of_our_own_programs_are_not_trusted_either(text):
    with pytest.raises(Nonsense):
        told.natives(text, "nvidia")


@pytest.mark.parametrize(
    "value, size", [("12", 12), (12, 12), ("N/A", 0), (None, 0), (-1, 0), (1.5, 0), (2**63, 0)]
)
def test_sizes(value, size):
    assert told.whole(value) == size
