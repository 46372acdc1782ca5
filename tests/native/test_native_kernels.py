"""The kernels against a plain reference, in C++: as they are shipped, and watched by the sanitizers."""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

import pytest

from support import native_build

pytestmark = [
    pytest.mark.skipif(bool(native_build.missing()), reason=native_build.missing() or "-"),
    pytest.mark.timeout(1200),  # the first run compiles
]

ANY = random.SystemRandom().randrange(2**31)
"""A seed of this run, so that each looks at other shapes; the test program prints it."""


def run(program: Path, *words: str) -> str:
    env = os.environ | {"ASAN_OPTIONS": "detect_leaks=0"}  # what lives as long as the process is no leak
    done = subprocess.run(
        [program, *words],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


def here() -> set[str]:
    """The instruction sets with kernels that this processor has, as the system tells."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    flags = set(next(line for line in lines if line.startswith("flags")).split())
    vnni = {"avx512_vnni", "avx512bw", "avx512vl", "avx512dq"}
    bf16 = vnni | {"avx512_bf16"}
    needs = {
        "amx": bf16 | {"amx_tile", "amx_int8", "amx_bf16"},
        "amx-emulated": bf16,
        "avx512-bf16": bf16,
        "avx512-vnni": vnni,
        "avx-vnni": {"avx_vnni", "avx2", "fma", "f16c"},
        "avx2": {"avx2", "fma", "f16c"},
    }
    return {name for name, wanted in needs.items() if wanted <= flags}


@pytest.mark.parametrize("seed", [1, ANY], ids=["known", "any"])
def test_the_kernels_agree_with_a_plain_reference(seed: int) -> None:
    told = run(native_build.built() / "tests" / "kernel_tests", "--seed", str(seed))
    assert "FAILED" not in told
    assert told.count("\nok ") >= 16
    tested = set(told.splitlines()[0].partition("kernels:")[2].split())
    assert tested == here()


def test_the_kernels_do_nothing_undefined() -> None:
    program = native_build.built(sanitized=True) / "tests" / "kernel_tests"
    told = run(program, "--seed", str(ANY), "--rounds", "20")
    assert told.count("\nok ") >= 16


def test_a_name_that_no_test_has_is_an_error() -> None:
    """Else a run of nothing would look like one that found nothing."""
    program = native_build.built() / "tests" / "kernel_tests"
    done = subprocess.run([program, "no-such-test"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "0 tests" in done.stdout
