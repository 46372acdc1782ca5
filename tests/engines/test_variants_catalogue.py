"""Which builds there are and which of them fit a machine."""

from __future__ import annotations

import dataclasses
import re

import pytest

from inhouse.core.errors import NotFound, Unsupported
from inhouse.engines.variants.catalogue import builds, installable, named, parse, platform_of
from inhouse.engines.variants.install import RESERVED
from inhouse.machine import Gpu, Machine

LINUX = Machine("linux", "x86_64", "cpu", 4, 8, ("avx2",), 2**34, 2**33)


def machine(*gpus: Gpu, os: str = "linux", arch: str = "x86_64") -> Machine:
    return dataclasses.replace(LINUX, os=os, arch=arch, gpus=gpus)


def nvidia(cuda: str = "13.4", capability: str = "8.9") -> Gpu:
    return Gpu("nvidia", "RTX", capability=capability, cuda=cuda, backends=("cuda", "vulkan"))


def amd(target: str = "gfx1100") -> Gpu:
    return Gpu("amd", "RX", capability=target, backends=("rocm", "vulkan"))


def fitting(there: Machine) -> list[str]:
    return [one.name for one in builds() if not one.misfit(there)]


def test_every_build_of_the_list_says_where_it_comes_from_and_what_it_is() -> None:
    for one in builds():
        assert one.licence, one.name
        assert one.inside, one.name
        assert one.package or one.repository, one.name
        for file in one.files:
            assert re.fullmatch(r"(?:[0-9a-f]{64})?", file.sha256), one.name
            assert not file.sha256 or file.size, one.name
    names = [one.name for one in builds()]
    assert len(names) == len(set(names))


def test_the_sources_of_the_native_build_are_pinned_and_those_of_the_wheel() -> None:
    file = named("native").file(LINUX)
    assert file is not None
    assert len(file.sha256) == 64
    version = named("wheel").version
    assert version in file.asset
    assert named("native").version == f"b{version.rpartition('.')[2]}"


def test_the_wheel_is_the_one_that_the_package_depends_on() -> None:
    import importlib.metadata

    wanted = importlib.metadata.requires("inhouse") or []
    assert f"xllamacpp=={named('wheel').version}" in wanted


@pytest.mark.parametrize(
    ("there", "among", "not_among"),
    [
        (machine(), {"wheel", "native", "cpu"}, {"cuda-13", "vulkan", "metal", "rocm", "sycl"}),
        (machine(nvidia()), {"cuda-13", "cuda-12", "vulkan", "wheel-cuda-13"}, {"rocm"}),
        (machine(nvidia("12.8")), {"cuda-12", "wheel-cuda-12"}, {"cuda-13", "wheel-cuda-13"}),
        (machine(nvidia("12.4")), set(), {"cuda-12", "cuda-13"}),
        (machine(nvidia("13.4", "6.1")), {"cuda-12"}, {"cuda-13"}),
        (machine(nvidia("", "")), {"cuda-13", "cuda-12"}, set()),
        (machine(amd()), {"rocm", "wheel-rocm-7", "wheel-rocm-6", "vulkan"}, {"cuda-12"}),
        (machine(amd("gfx1201")), {"rocm", "wheel-rocm-7"}, {"wheel-rocm-6"}),
        (machine(amd("gfx803")), {"vulkan"}, {"rocm"}),
        (machine(Gpu("intel", "Arc", backends=("sycl", "vulkan"))), {"sycl", "vulkan"}, {"rocm"}),
        (machine(Gpu("apple", "M4", backends=("metal",)), os="darwin", arch="arm64"), {"metal"}, {"cpu"}),
        (machine(nvidia(), arch="aarch64"), {"cuda-13", "cpu"}, {"cuda-12"}),
        (machine(nvidia("12.4"), os="windows", arch="AMD64"), {"cuda-12"}, {"cuda-13"}),
    ],
)
def test_a_machine_gets_what_its_devices_and_driver_can_run(
    there: Machine, among: set[str], not_among: set[str]
) -> None:
    found = set(fitting(there))
    assert among <= found
    assert not not_among & found


@pytest.mark.parametrize(
    ("name", "there", "why"),
    [
        ("cuda-13", machine(), "needs an NVIDIA GPU"),
        ("cuda-13", machine(nvidia("12.8")), "runs CUDA up to 12.8, it needs 13.4"),
        ("cuda-13", machine(nvidia("13.4", "6.1")), "compute capability 6.1, it needs 7.5"),
        ("rocm", machine(amd("gfx803")), "was not made for RX (gfx803)"),
        ("metal", machine(), "there is none for linux/x64"),
    ],
)
def test_a_misfit_has_a_reason_and_is_not_installed(name: str, there: Machine, why: str) -> None:
    assert why in named(name).misfit(there)
    with pytest.raises(Unsupported, match=re.escape(why)) as caught:
        installable(name, there)
    assert "engine list" in caught.value.hint


def test_a_misfit_can_be_installed_all_the_same_but_not_where_there_is_no_file() -> None:
    build, file = installable("cuda-13", LINUX, anyway=True)
    assert (build.name, file.os) == ("cuda-13", "linux")
    with pytest.raises(Unsupported):
        installable("metal", LINUX, anyway=True)


def test_one_gpu_that_fits_is_enough() -> None:
    assert named("cuda-13").misfit(machine(nvidia("13.4", "5.0"), nvidia())) == ""


def test_an_unknown_name_gets_near_ones() -> None:
    with pytest.raises(NotFound) as caught:
        named("vulcan")
    assert "vulkan" in caught.value.hint


def test_the_wheel_is_not_installed() -> None:
    with pytest.raises(Unsupported):
        installable("wheel", LINUX)


def test_machines_of_many_spellings_are_the_same() -> None:
    assert platform_of(machine(arch="AMD64", os="Windows")) == ("windows", "x64")
    assert platform_of(machine(arch="aarch64")) == ("linux", "arm64")


def test_a_list_with_a_field_that_means_nothing_is_refused() -> None:
    with pytest.raises(TypeError):
        parse('[[build]]\nname = "a"\nwhat = 1\n')


def test_no_engine_of_a_configuration_can_be_called_as_a_build_is() -> None:
    from inhouse.config.programs import OURS

    assert {one.name for one in builds()} <= OURS
    assert RESERVED <= OURS
