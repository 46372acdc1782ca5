"""native/ built with CMake, once for each state of its sources; kept between runs like the test models."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from filelock import FileLock

from .models import cache

NATIVE: Final = Path(__file__).resolve().parents[2] / "native"
KEPT: Final = 3
"""Builds that stay; older ones are deleted."""


def missing() -> str:
    """Why native/ cannot be built here; "" if it can."""
    if sys.platform != "linux" or platform.machine() not in ("x86_64", "AMD64"):
        return "there are kernels for Linux on x86-64 only"
    if shutil.which("cmake") is None:
        return "needs cmake"
    if not any(shutil.which(name) for name in (os.environ.get("CXX", ""), "c++", "g++", "clang++") if name):
        return "needs a C++ compiler"
    return ""


def key() -> str:
    """Names the state of the sources and of the compiler."""
    digest = hashlib.sha256(os.environ.get("CXX", "").encode())
    for path in sorted(NATIVE.rglob("*")):
        if path.suffix in (".h", ".cpp", ".map", ".txt"):
            digest.update(f"{path.relative_to(NATIVE)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


@functools.cache
def built(*, sanitized: bool = False) -> Path:
    """The folder of a finished build: ``libinhouse_kernels.so`` and ``tests/kernel_tests``. Blocking;
    raises AssertionError with what the compiler said."""
    state = key()
    name = f"{state}-{'sanitized' if sanitized else 'plain'}"
    home = cache() / "native"
    home.mkdir(parents=True, exist_ok=True)
    folder = home / name
    with FileLock(home / f"{name}.lock", timeout=900):
        if not (folder / "done").is_file():
            _run(
                "cmake",
                "-S",
                NATIVE,
                "-B",
                folder,
                *_generator(),
                "-DINHOUSE_TESTS=ON",
                f"-DINHOUSE_SANITIZE={_on(sanitized)}",
            )
            targets = ("kernel_tests",) if sanitized else ("kernel_tests", "inhouse_kernels")
            _run("cmake", "--build", folder, "--parallel", os.cpu_count() or 1, "--target", *targets)
            (folder / "done").touch()
        os.utime(folder)
    _forget(home, state)
    return folder


def library() -> Path:
    """The library as it is shipped."""
    return built() / "libinhouse_kernels.so"


def _on(value: bool) -> str:
    return "ON" if value else "OFF"


def _generator() -> tuple[str, ...]:
    return ("-G", "Ninja") if shutil.which("ninja") else ()


def _run(*words: object) -> None:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"{words[0]} failed:\n{(done.stdout + done.stderr)[-4000:]}")


def _forget(home: Path, state: str) -> None:
    """Delete the builds of states that are long gone; one that is being made is newer than those."""
    old = [path for path in home.iterdir() if path.is_dir() and not path.name.startswith(state)]
    for path in sorted(old, key=lambda one: one.stat().st_mtime, reverse=True)[2 * KEPT :]:
        shutil.rmtree(path, ignore_errors=True)
