"""The wheel that others install: it runs on systems as old as its tag says, and shows only its entry points."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

from support import native_build

pytestmark = [
    pytest.mark.skipif(bool(native_build.missing()), reason=native_build.missing() or "-"),
    pytest.mark.timeout(600),  # the first run compiles
]

TOOLS = native_build.NATIVE.parent / "tools"
ENTRIES = {"inhouse_kernels_attach", "inhouse_kernels_report", "ggml_backend_score", "ggml_backend_init"}


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    sys.path.insert(0, str(TOOLS))
    try:
        return importlib.import_module("kernels_wheel")
    finally:
        sys.path.remove(str(TOOLS))


def test_the_library_shows_its_entry_points_and_nothing_else(tool: ModuleType) -> None:
    assert tool.elf.read(native_build.library()).shown == ENTRIES


def test_the_library_asks_for_nothing_that_a_system_of_its_tag_lacks(tool: ModuleType) -> None:
    assert tool.faults(native_build.library()) == []
    assert (2, 2, 5) <= tool.elf.read(native_build.library()).newest("GLIBC") <= (2, 17)


def test_a_library_that_is_linked_without_that_care_is_told_apart(tool: ModuleType, tmp_path: Path) -> None:
    """Else a check that overlooks everything would pass for a good library."""
    source = tmp_path / "careless.cpp"
    source.write_text("#include <string>\nstd::string shown(int n) { return std::to_string(n) + 'x'; }\n")
    compiler = os.environ.get("CXX", "c++").split(" ")
    made = tmp_path / "careless.so"
    subprocess.run([*compiler, "-std=c++17", "-shared", "-fPIC", source, "-o", made], check=True, timeout=120)
    found = tool.faults(made)
    assert "it needs libstdc++.so.6" in found
    assert "it asks for a GLIBCXX" in found
    assert "it hides inhouse_kernels_attach" in found
    assert any(one.startswith("it shows _Z5shown") for one in found)


def test_an_older_glibc_than_the_library_asks_for_is_no_place_for_it(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tool, "GLIBC", (2, 3))
    [found] = tool.faults(native_build.library())
    assert found.startswith("it asks for GLIBC 2.")
    assert found.endswith(", its tag allows 2.3")


def test_the_wheel_says_what_it_runs_on_and_is_found_where_it_is_installed(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = tool.make(tmp_path / "out", library=native_build.library())
    assert wheel.name.startswith("inhouse_kernels-")
    assert "manylinux_2_17_x86_64" in wheel.name
    with zipfile.ZipFile(wheel) as files:
        names = set(files.namelist())
        assert files.read(tool.LIBRARY) == native_build.library().read_bytes()
    assert not {name for name in names if name.endswith((".cpp", ".h", ".o", ".a"))}
    assert any(name.endswith("licenses/LICENSE") for name in names)
    monkeypatch.setattr(tool, "TAGS", ("py3-none-manylinux_2_5_x86_64",))
    with pytest.raises(tool.Wrong, match="manylinux_2_17"):
        tool.check(wheel, tmp_path)
