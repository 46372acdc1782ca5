"""Build the wheel of the kernels that others may install, and check that it is what its tag says.

usage: python tools/kernels_wheel.py FOLDER [--library FILE]

The wheel goes to FOLDER only if its library asks for nothing that a system of the tag may lack, shows nothing
but its entry points, and is found and loads in a new virtual environment. ``--library`` takes one that is
compiled already. The tag: glibc 2.17 or newer (PEP 600), which is also what llama.cpp's wheel asks for.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

import elf
from kernels import LOCK, NATIVE

GLIBC = (2, 17)
TAGS = ("py3-none-manylinux_2_17_x86_64", "py3-none-manylinux2014_x86_64")
NEEDED = frozenset(
    ("libc.so.6", "libdl.so.2", "libgcc_s.so.1", "libm.so.6", "libpthread.so.0", "ld-linux-x86-64.so.2")
)
"""What the library may ask for; PEP 600's systems have more (libstdc++), but with versions of their own."""
UNWINDER = (4, 3, 0)
"""GCC_4.3.0 is what PEP 599 grants of libgcc_s."""
ENTRIES = frozenset(
    ("inhouse_kernels_attach", "inhouse_kernels_report", "ggml_backend_score", "ggml_backend_init")
)
LIBRARY = "inhouse_kernels/libinhouse_kernels.so"
ASKED = """
import ctypes, inhouse_kernels, json
found = inhouse_kernels.library()
loaded = ctypes.CDLL(str(found))
loaded.inhouse_kernels_report.restype = ctypes.c_char_p
print(json.dumps({"path": str(found), "report": json.loads(loaded.inhouse_kernels_report())}))
"""


class Wrong(Exception):
    """The wheel cannot be made, or it is not what it says."""


def faults(library: Path) -> list[str]:
    """What keeps a library from being what TAGS promise."""
    told = elf.read(library)
    found = [f"it needs {name}" for name in sorted(told.needed - NEEDED)]
    for family, most in {"GLIBC": GLIBC, "GCC": UNWINDER}.items():
        newest = told.newest(family)
        if newest > most:
            found.append(f"it asks for {family} {_dots(newest)}, its tag allows {_dots(most)}")
    found += [f"it asks for a {family}" for family in ("GLIBCXX", "CXXABI") if told.newest(family)]
    found += [f"it shows {name}" for name in sorted(told.shown - ENTRIES)]
    return found + [f"it hides {name}" for name in sorted(ENTRIES - told.shown)]


def check(wheel: Path, aside: Path) -> None:
    """Raises Wrong. ``aside`` is an empty folder for what is unpacked."""
    with zipfile.ZipFile(wheel) as files:
        [facts] = [name for name in files.namelist() if name.endswith(".dist-info/WHEEL")]
        tags = {line[5:] for line in files.read(facts).decode().splitlines() if line.startswith("Tag: ")}
        if tags != set(TAGS):
            raise Wrong(f"the wheel's tags are {', '.join(sorted(tags))}")
        if LIBRARY not in files.namelist():
            raise Wrong("the wheel has no library")
        found = faults(Path(files.extract(LIBRARY, aside)))
    if found:
        raise Wrong("; ".join(found))


def make(folder: Path, *, library: Path | None = None) -> Path:
    """The wheel, checked. Blocking: fetches the tools of requirements-native.lock, compiles. Raises Wrong."""
    with tempfile.TemporaryDirectory(prefix="inhouse-wheel-") as scratch:
        aside = Path(scratch)
        tools = aside / "tools"
        _pip("install", "--require-hashes", "--target", tools, "-r", LOCK)
        paths = os.pathsep.join((str(tools / "bin"), os.environ.get("PATH", "")))
        settings = [f"--config-settings=wheel.tags={';'.join(TAGS)}"]
        if library:
            settings.append(f"--config-settings=cmake.define.INHOUSE_LIBRARY={library.resolve()}")
        built = aside / "built"
        _pip(
            *("wheel", "--no-deps", "--no-build-isolation", "-w", built, *settings, NATIVE),
            env={"PYTHONPATH": str(tools), "PATH": paths},
        )
        [wheel] = built.glob("*.whl")
        check(wheel, aside / "unpacked")
        installed(wheel, aside / "fresh")
        folder.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copy2(wheel, folder))


def installed(wheel: Path, home: Path) -> None:
    """Install it into a new environment ``home`` and ask it for its library. Raises Wrong."""
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    _run([python, "-m", "pip", "install", "--disable-pip-version-check", "--no-index", wheel])
    told = json.loads(_run([python, "-I", "-c", ASKED]))
    if not Path(told["path"]).is_relative_to(home.resolve()):
        raise Wrong(f"the library that is found is {told['path']}")
    if told["report"]["on"] or not told["report"]["version"]:
        raise Wrong(f"a library that nothing attached says {told['report']}")


def _pip(*words: object, env: dict[str, str] | None = None) -> None:
    quiet = ("--disable-pip-version-check", "--no-input", "-q")
    _run([sys.executable, "-m", "pip", *words[:1], *quiet, *words[1:]], env)


def _run(words: list[object], env: dict[str, str] | None = None) -> str:
    command = [str(word) for word in words]
    done = subprocess.run(
        command, env={**os.environ, **(env or {})}, capture_output=True, text=True, check=False, timeout=600
    )
    if done.returncode:
        raise Wrong(f"{' '.join(command[:4])} failed:\n{(done.stdout + done.stderr)[-4000:]}")
    return done.stdout


def _dots(version: tuple[int, ...]) -> str:
    return ".".join(str(part) for part in version)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--library", type=Path, help="instead of compiling one")
    args = parser.parse_args()
    try:
        print(make(args.folder, library=args.library))
    except Wrong as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
