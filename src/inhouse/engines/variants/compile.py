"""Compiles llama.cpp for this very machine: configure, build, pick the programs. Blocking, for minutes.

Nothing of the source distribution is run but its CMake files and the compiler; no network is reached from
there (options that would are off, and CMake's own downloads are disconnected).
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ...core.disk import guarded
from ...core.errors import LoadFailed, Unsupported
from ...machine import Machine
from ..child import scrubbed
from ..tool import Command, Ended, Step, full, run

TARGETS: Final = ("llama-server", "llama-quantize", "llama-bench")
NEEDED: Final = TARGETS[0]
FLAGS: Final = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DBUILD_SHARED_LIBS=OFF",
    "-DCMAKE_ENABLE_EXPORTS=ON",
    "-DGGML_NATIVE=ON",
    "-DGGML_CCACHE=OFF",
    "-DLLAMA_OPENSSL=OFF",
    "-DLLAMA_LLGUIDANCE=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_APP=OFF",
    "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF",
    "-DFETCHCONTENT_FULLY_DISCONNECTED=ON",
)
"""What makes the build: see the option() lines of llama.cpp's CMakeLists.txt. With exports our kernels
(``engines.kernels``) find ggml inside a program that is linked as a whole."""

_KEPT: Final = (
    "CC",
    "CXX",
    "DEVELOPER_DIR",
    "INCLUDE",
    "LIB",
    "LIBPATH",
    "MACOSX_DEPLOYMENT_TARGET",
    "SDKROOT",
    "WINDIR",
)
_STEP = re.compile(r"^\[\s*(\d+)(?:/(\d+)\]|%\])")
_COMPILERS: Final = ("c++", "g++", "clang++", "cl")
_INSTALL: Final = {
    "linux": "for instance: apt install build-essential cmake",
    "darwin": "for instance: xcode-select --install, and brew install cmake",
    "win32": "for instance Visual Studio's build tools for C++, and start the server in their prompt",
}


@dataclass(frozen=True, slots=True)
class Tools:
    """Absolute programs; ``ninja`` "" leaves the choice of the generator to CMake."""

    cmake: str
    compiler: str
    ninja: str = ""


@dataclass(frozen=True, slots=True)
class Order:
    """``source`` is llama.cpp's folder, ``work`` an empty one for the build, ``out`` where the programs go.
    ``version`` like b11549; ``jobs`` compilers at once; ``log`` takes all that is printed."""

    source: Path
    work: Path
    out: Path
    version: str
    jobs: int
    log: Path


def cpu_of(machine: Machine) -> str:
    """A short name of the CPU's kind: a build made for one may not run on another."""
    told = f"{machine.arch}|{machine.cpu}|{','.join(sorted(machine.features))}"
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def find(environ: Mapping[str, str], extra: Path | None = None) -> Tools:
    """CMake and a C++ compiler on PATH, or CMake and Ninja in ``extra``. Raises Unsupported with the fix."""
    path = environ.get("PATH", "")
    places = os.pathsep.join(part for part in (path, str(extra) if extra else "") if part)
    cmake, ninja = shutil.which("cmake", path=places), shutil.which("ninja", path=places)
    named = environ.get("CXX", "").split()
    tried = named[:1] or list(_COMPILERS)
    compiler = next((found for one in tried if (found := shutil.which(one, path=path))), None)
    lacking = [what for what, found in (("CMake", cmake), ("a C++ compiler", compiler)) if not found]
    if cmake and compiler:
        return Tools(cmake, compiler, ninja or "")
    own = " CMake alone can also come from the package index: inhouse engine build --with-tools"
    raise Unsupported(
        f"A native build needs {' and '.join(lacking)}, and none is on PATH.",
        hint=f"Install what is missing, {_INSTALL.get(sys.platform, _INSTALL['linux'])}."
        + (own if not cmake else ""),
    )


def build(
    order: Order,
    tools: Tools,
    environ: Mapping[str, str],
    say: Callable[[Step], None],
    stopped: Callable[[], bool],
) -> dict[str, Any]:
    """Compile and put the programs into ``order.out``; what they were made with, for the record.

    At a low priority. Raises Cancelled within a second after ``stopped`` says so, NoSpace, LoadFailed.
    """
    env = scrubbed(environ) | {name: environ[name] for name in _KEPT if environ.get(name)}
    env["HOME"] = str(order.work)  # CMake and git read files of a home, which is no place of others' here
    env["PATH"] = os.pathsep.join((str(Path(tools.cmake).parent), env.get("PATH", "")))
    number = re.sub(r"\D", "", order.version) or "0"
    flags = [*FLAGS, f"-DLLAMA_BUILD_NUMBER={number}", f"-DLLAMA_BUILD_COMMIT={order.version}"]
    generator = ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={tools.ninja}"] if tools.ninja else []
    with guarded("compiling"), order.log.open("w", encoding="utf-8") as log:
        os.chmod(order.log, 0o600)
        talk = _Talk(log.write, say)
        configure = [tools.cmake, *generator, *flags, "-S", str(order.source), "-B", str(order.work)]
        _step(Command(configure, env, order.work.parent), "configured", talk, stopped)
        make = [tools.cmake, "--build", str(order.work), "--config", "Release", "--target", *TARGETS]
        _step(Command([*make, "-j", str(order.jobs)], env, order.work), "compiled", talk, stopped)
        _collect(order)
    return {
        "compiler": _first_line([tools.compiler, "--version"], env),
        "cmake": _first_line([tools.cmake, "--version"], env),
        "flags": flags,
    }


def _step(command: Command, what: str, talk: _Talk, stopped: Callable[[], bool]) -> None:
    ended = run(command, talk.heard, stopped)
    if ended.code:
        raise full(command.folder, "compiling", ended) or _failure(what, ended)


def _failure(what: str, ended: Ended) -> LoadFailed:
    hint = "The log engine-build.log beside the server's has the details."
    if ended.code in (-9, 137) or ended.said("Killed"):
        hint = (
            "The compiler was killed; perhaps the memory did not suffice. Try: inhouse engine build --jobs 1"
        )
    return LoadFailed(f"llama.cpp could not be {what}.", hint=hint, detail=ended.log())


class _Talk:
    """Writes down what the tools print, and reads how far they are: ``[12/208]`` or ``[ 12%]``."""

    def __init__(self, write: Callable[[str], Any], say: Callable[[Step], None]) -> None:
        self._write = write
        self._say = say
        self._began = 0.0

    def heard(self, line: str) -> None:
        self._write(line + "\n")
        match = _STEP.match(line)
        if not match:
            return
        done, total = int(match[1]), int(match[2] or 100)
        now = time.monotonic()
        self._began = self._began or now
        spent = now - self._began
        left = spent * (total - done) / done if done and spent > 1 else None
        self._say(Step(done, max(total, done), left))


def _collect(order: Order) -> None:
    """Copy the programs. Raises LoadFailed if the one that matters was not made."""
    order.out.mkdir(parents=True, exist_ok=True)
    for name in TARGETS:
        file = f"{name}.exe" if sys.platform == "win32" else name
        found = [p for p in (order.work / "bin" / file, order.work / "bin" / "Release" / file) if p.is_file()]
        if found:
            shutil.copy2(found[0], order.out / file)
        elif name == NEEDED:
            raise LoadFailed(
                f"The build made no {name}.",
                hint="The log engine-build.log beside the server's has the details.",
            )
    for text in ("LICENSE", "AUTHORS"):
        if (order.source / text).is_file():
            shutil.copy2(order.source / text, order.out / text)


def _first_line(command: list[str], env: Mapping[str, str]) -> str:
    try:
        done = subprocess.run(
            command, env=dict(env), capture_output=True, timeout=20, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    lines = (done.stdout or done.stderr).decode("utf-8", "replace").splitlines()
    return lines[0].strip()[:120] if lines else ""


__all__ = ["FLAGS", "NEEDED", "TARGETS", "Order", "Tools", "build", "cpu_of", "find"]
