"""CMake from the package index: exactly the files whose digests are written down, whole or not at all."""

from __future__ import annotations

import re
import tempfile
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from inhouse.core.errors import Cancelled, LoadFailed
from inhouse.engines import environments
from inhouse.engines.tool import Command, Ended
from inhouse.engines.variants import toolbox


class Runs:
    """Stands for the tool runner: notes commands, and fails where told to."""

    def __init__(self, fail: str = "") -> None:
        self.commands: list[list[str]] = []
        self.env: dict[str, str] = {}
        self.fail = fail

    def __call__(self, command: Command, heard: object, stopped: object) -> Ended:
        self.commands.append([str(word) for word in command.argv])
        self.env = dict(command.env)
        if self.fail == "stop":
            raise Cancelled("enough")
        return Ended(1 if self.fail and self.fail in self.commands[-1] else 0, ("said",))


def install(home: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "run", runs)
    environ = {"PATH": "/bin", "PIP_INDEX_URL": "https://i", "SECRET": "x", "PYTHONPATH": "/p"}
    toolbox.install(home, lambda line: None, lambda: False, environ)


def test_pip_takes_only_files_of_known_digests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = Runs()
    assert toolbox.place(tmp_path) is None
    install(tmp_path, runs, monkeypatch)
    venv, pip = runs.commands
    assert venv[2:] == ["-m", "venv", str(tmp_path / "tools" / "build")]
    assert pip[0] == str(environments.python_of(tmp_path / "tools" / "build"))
    assert {"--require-hashes", "--no-deps", ":all:"} <= set(pip)
    assert runs.env["PIP_INDEX_URL"] == "https://i"
    assert "SECRET" not in runs.env
    assert "PYTHONPATH" not in runs.env
    place = toolbox.place(tmp_path)
    assert place is not None
    assert place.parent.name == "build"
    install(tmp_path, runs, monkeypatch)
    assert len(runs.commands) == 2  # it is there


def test_a_module_that_somebody_left_in_the_temporary_folder_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine of many users anybody may write there, and it is the working folder of what is run."""
    shared = tmp_path / "tmp"
    shared.mkdir()
    (shared / "venv.py").write_text(f"open({str(tmp_path / 'planted')!r}, 'w')")
    monkeypatch.setattr(tempfile, "tempdir", str(shared))

    def only_venv(command: Command, heard: Any, stopped: Any) -> Ended:
        return real(command, heard, stopped) if "venv" in command.argv else Ended(0, ())

    real = environments.run
    monkeypatch.setattr(environments, "run", only_venv)
    place_tools(tmp_path)
    make_environment(tmp_path)
    assert not (tmp_path / "planted").exists()


def place_tools(home: Path) -> None:
    toolbox.install(home, lambda line: None, lambda: False, {"PATH": ""})


def make_environment(home: Path) -> None:
    wanted = environments.Environment(home / "engines" / "x", "x", ())
    environments.install(wanted, lambda line: None, lambda: False, {"PATH": ""})


@pytest.mark.parametrize(("fail", "error"), [("venv", LoadFailed), ("pip", LoadFailed), ("stop", Cancelled)])
def test_what_breaks_off_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fail: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        install(tmp_path, Runs(fail), monkeypatch)
    assert toolbox.place(tmp_path) is None
    assert not (tmp_path / "tools" / "build").exists()


def test_every_line_of_the_list_is_pinned() -> None:
    text = resources.files("inhouse.engines.variants").joinpath("tools.txt").read_text("utf-8")
    wanted = re.findall(r"^(\w+)==([\d.]+) ((?:\\\n\s+--hash=sha256:[0-9a-f]{64} ?)+)$", text, re.MULTILINE)
    assert [name for name, _, _ in wanted] == ["cmake", "ninja"]
    assert all(hashes.count("--hash") >= 5 for _, _, hashes in wanted)
