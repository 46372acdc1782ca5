"""How a clone builds its kernels: only where it can, only when they changed, and never as a failure."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """tools/kernels.py, looking at a native/ of its own, on a machine that has kernels and a compiler."""
    spec = importlib.util.spec_from_file_location("kernels_tool", ROOT / "tools" / "kernels.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / "native" / "src").mkdir(parents=True)
    (tmp_path / "native" / "src" / "a.cpp").write_text("int a;")
    (tmp_path / "tools.lock").write_text("cmake==1")
    (tmp_path / "venv").mkdir()
    for name, value in {
        "ROOT": tmp_path, "NATIVE": tmp_path / "native", "LOCK": tmp_path / "tools.lock", "sys": SimpleNamespace(platform="linux", stderr=None),
        "platform": SimpleNamespace(machine=lambda: "x86_64"),
        "shutil": SimpleNamespace(which=lambda name: name == "g++" and "/usr/bin/g++"),
    }.items():  # fmt: skip
        monkeypatch.setattr(module, name, value)
    monkeypatch.delenv("CXX", raising=False)
    return module


@pytest.fixture
def steps(tool: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The commands that were run; ``codes`` are their ends, 0 when there is none left."""
    found = SimpleNamespace(commands=[], codes=[], said=[])

    def run(command: list[str], **_: Any) -> Any:
        found.commands.append(command)
        code = found.codes.pop(0) if found.codes else 0
        if code == "late":
            raise subprocess.TimeoutExpired(command, 1)
        return SimpleNamespace(returncode=code)

    monkeypatch.setattr(tool.subprocess, "run", run)
    monkeypatch.setattr(tool, "_say", found.said.append)
    return found


def built(tool: ModuleType) -> None:
    tool.build(Path("/venv/bin/python"), tool.ROOT / "venv")


def test_they_are_built_once_and_again_when_something_changed(tool: ModuleType, steps: Any) -> None:
    built(tool)
    fetch, compile_ = steps.commands
    assert "--require-hashes" in fetch
    assert compile_[-1] == str(tool.NATIVE)
    assert "--no-build-isolation" in compile_
    built(tool)
    assert len(steps.commands) == 2
    for change in ("src/a.cpp", "src/b.cpp", "../tools.lock"):
        (tool.NATIVE / change).write_text("changed")
        before = len(steps.commands)
        built(tool)
        assert len(steps.commands) == before + 2, change


@pytest.mark.parametrize("folder", ["build", "bench", "tests"])
def test_what_makes_no_library_is_no_change(tool: ModuleType, steps: Any, folder: str) -> None:
    built(tool)
    (tool.NATIVE / folder).mkdir()
    (tool.NATIVE / folder / "x").write_text("x")
    built(tool)
    assert len(steps.commands) == 2


@pytest.mark.parametrize(
    ("codes", "word"),
    [([1], "fetching the tools failed"), ([0, 1], "compiling failed"), ([0, "late"], "did not end")],
)
def test_a_build_that_fails_is_one_line_and_tried_again(
    tool: ModuleType, steps: Any, codes: list[Any], word: str
) -> None:
    steps.codes[:] = codes
    built(tool)
    assert len(steps.said) == 2  # that it begins, and that it failed
    assert word in steps.said[1]
    before = len(steps.commands)
    built(tool)
    assert len(steps.commands) == before + 2


def test_without_a_compiler_it_says_so_and_fetches_nothing(
    tool: ModuleType, steps: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "/no/such/c++")
    built(tool)
    assert steps.commands == []
    assert "no C++ compiler" in steps.said[0]


@pytest.mark.parametrize(
    ("system", "machine"), [("linux", "aarch64"), ("darwin", "x86_64"), ("win32", "AMD64")]
)
def test_elsewhere_it_does_nothing(
    tool: ModuleType, steps: Any, monkeypatch: pytest.MonkeyPatch, system: str, machine: str
) -> None:
    monkeypatch.setattr(tool, "sys", SimpleNamespace(platform=system))
    monkeypatch.setattr(tool, "platform", SimpleNamespace(machine=lambda: machine))
    built(tool)
    assert (steps.commands, steps.said) == ([], [])


def test_the_extra_names_the_package_that_native_makes_and_its_tools_are_pinned() -> None:
    ours = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    native = tomllib.loads((ROOT / "native" / "pyproject.toml").read_text("utf-8"))
    [extra] = ours["project"]["optional-dependencies"]["kernels"]
    assert extra.startswith(f"{native['project']['name']}>=")
    lock = (ROOT / "requirements-native.lock").read_text("utf-8")
    for wish in (*ours["dependency-groups"]["native"], *native["build-system"]["requires"]):
        assert f"{wish.partition('>')[0]}==" in lock
    assert lock.count("--hash=sha256:") > lock.count("==")


def test_the_package_says_where_its_library_lies(tmp_path: Path) -> None:
    text = (ROOT / "native" / "python" / "inhouse_kernels" / "__init__.py").read_text("utf-8")
    folder = tmp_path / "inhouse_kernels"
    folder.mkdir()
    (folder / "__init__.py").write_text(text, "utf-8")
    code = "import inhouse_kernels; print(inhouse_kernels.library())"

    def said() -> str:
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=True)
        return done.stdout.decode().strip()

    assert said() == "None"
    (folder / "libinhouse_kernels.so").write_bytes(b"")
    assert Path(said()).resolve() == (folder / "libinhouse_kernels.so").resolve()
