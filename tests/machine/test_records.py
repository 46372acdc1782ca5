"""A machine written down, read back, and known again by its fingerprint."""

from __future__ import annotations

import dataclasses
import json

import pytest

from inhouse.core.errors import BadRequest
from inhouse.machine import (
    Bandwidth,
    Caches,
    Disk,
    Gpu,
    Limit,
    Machine,
    Node,
    Trouble,
    detect,
    fingerprint,
    from_json,
    summary,
    to_json,
)

GIB = 2**30
MACHINE = Machine(
    "linux",
    "x86_64",
    "AMD EPYC 9654 96-Core Processor",
    96,
    192,
    ("avx2", "avx512f"),
    16 * GIB,
    12 * GIB,
    quota=1.5,
    gpus=(
        Gpu("nvidia", "NVIDIA L4", 23 * GIB, 22 * GIB, "550.54", backends=("cuda", "vulkan"), told=("nvml",)),
    ),
    caches=Caches(2**15, 2**20, 2**25, 8, 2**28),
    nodes=(Node(0, (0, 1), GIB),),
    memory_installed=int(754.4 * GIB),
    limits=(Limit("memory", 16 * GIB, "/docker/x memory.max"),),
    bandwidth=Bandwidth(400 * 10**9, 300 * 10**9, 96, 0.1, 1.7e9),
    disk=Disk(GIB, GIB, "nvme", "ext4"),
    troubles=(Trouble("rocm-smi", "it did not answer within 5 seconds"),),
)


def written(**changes: object) -> dict:
    return {**json.loads(json.dumps(to_json(MACHINE))), **changes}


def test_a_machine_survives_being_written_and_read():
    assert from_json(written()) == MACHINE
    here = detect()
    assert from_json(json.loads(json.dumps(to_json(here)))) == here


def test_the_whole_answer_of_doctor_is_read_too():
    assert from_json({"version": "1", "machine": written(), "findings": []}) == MACHINE


def test_fields_of_a_newer_version_are_passed_over():
    gpu = {"vendor": "amd", "name": "x", "new": {"deep": 1}}
    assert from_json(written(future=[1], gpus=[gpu])).gpus == (Gpu("amd", "x"),)


def test_a_machine_described_by_hand_needs_two_numbers():
    machine = from_json({"memory_total": 64 * GIB, "physical_cores": 8})
    assert (machine.memory_available, machine.logical_cores, machine.gpus) == (64 * GIB, 8, ())


@pytest.mark.parametrize(
    "data, field",
    [
        ([], "machine"),
        ("text", "machine"),
        (None, "machine"),
        ({"physical_cores": 1}, "machine.memory_total"),
        ({"memory_total": 1}, "machine.physical_cores"),
        (written(memory_total="16 GiB"), "machine.memory_total"),
        (written(memory_total=-1), "machine.memory_total"),
        (written(memory_total=2**63), "machine.memory_total"),
        (written(memory_total=True), "machine.memory_total"),
        (written(physical_cores=0), "machine.physical_cores"),
        (written(quota=float("nan")), "machine.quota"),
        (written(quota=float("inf")), "machine.quota"),
        (written(features="avx2"), "machine.features"),
        (written(features=["avx2", 1]), "machine.features[1]"),
        (written(gpus=[{"vendor": "nvidia"}]), "machine.gpus[0]"),
        (written(gpus=[{"vendor": "nvidia", "name": "x", "memory": -5}]), "machine.gpus[0].memory"),
        (written(gpus=[{"vendor": "x", "name": "x", "backends": ["abacus"]}]), "machine.gpus[0].backends[0]"),
        (written(bandwidth={"read": 1.5}), "machine.bandwidth.read"),
        (written(bandwidth={"busy": 2}), "machine.bandwidth.busy"),
        (written(limits=[{"kind": "patience", "value": 1}]), "machine.limits[0].kind"),
        (written(memory_available=17 * GIB), "machine.memory_available"),
        (written(logical_cores=1), "machine.physical_cores"),
    ],
)
def test_a_bad_value_is_refused_and_its_field_named(data, field):
    with pytest.raises(BadRequest) as caught:
        from_json(data)
    assert caught.value.param == field
    assert "doctor" in caught.value.hint


@pytest.mark.parametrize(
    "change",
    [
        {"memory_available": GIB},
        {"memory_total": 8 * GIB},
        {"memory_installed": int(752.1 * GIB)},
        {"swap_used": GIB},
        {"kernel": "6.9"},
        {"bandwidth": Bandwidth()},
        {"disk": Disk()},
        {"troubles": ()},
        {"features": ("avx512f", "avx2")},
        {"cpu": "AMD EPYC 9654  96-Core Processor "},
        {"gpus": (dataclasses.replace(MACHINE.gpus[0], free=0, driver="560", told=("nvidia-smi",)),)},
    ],
)
def test_what_comes_and_goes_does_not_change_the_fingerprint(change):
    assert fingerprint(dataclasses.replace(MACHINE, **change)) == fingerprint(MACHINE)


@pytest.mark.parametrize(
    "change",
    [
        {"memory_installed": 377 * GIB},
        {"features": ("avx2",)},
        {"physical_cores": 48},
        {"logical_cores": 96},
        {"quota": None},
        {"cpu": "AMD EPYC 9554"},
        {"arch": "aarch64"},
        {"gpus": ()},
        {"gpus": MACHINE.gpus * 2},
    ],
)
def test_another_machine_has_another_fingerprint(change):
    assert fingerprint(dataclasses.replace(MACHINE, **change)) != fingerprint(MACHINE)


def test_a_fingerprint_is_a_short_safe_name():
    name = fingerprint(MACHINE)
    assert len(name) == 16
    assert set(name) <= set("0123456789abcdef")
    assert to_json(MACHINE)["fingerprint"] == name


@pytest.mark.parametrize(
    "installed, reserved", [(8, 0.3), (16, 0.6), (24, 0.46), (32, 1.2), (64, 1.5), (768, 12)]
)
def test_what_firmware_keeps_for_itself_does_not_matter(installed, reserved):
    little = dataclasses.replace(MACHINE, memory_installed=int((installed - reserved) * GIB))
    assert fingerprint(little) == fingerprint(
        dataclasses.replace(MACHINE, memory_installed=int((installed - reserved / 2) * GIB))
    )


def test_a_machine_of_more_gpus_than_there_are_is_refused() -> None:
    row = {"vendor": "nvidia", "name": "NVIDIA L4"}
    with pytest.raises(BadRequest) as caught:
        from_json({"memory_total": GIB, "physical_cores": 1, "gpus": [row] * 257})
    assert caught.value.param == "machine.gpus"


def test_figures_are_told_with_what_they_were_taken_on() -> None:
    machine = dataclasses.replace(MACHINE, gpus=(Gpu("nvidia", "NVIDIA L4"),))
    line = summary(machine)
    assert line.startswith(f"{MACHINE.cpu}, {MACHINE.physical_cores} cores, ")
    assert line.endswith("GiB, NVIDIA L4, linux")
