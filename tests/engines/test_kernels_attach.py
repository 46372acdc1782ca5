"""Our kernels around the library: which builds run with them, who is told, and what a bad one cannot do."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from inhouse.config import Engine as Settings
from inhouse.core.engine import Launch
from inhouse.core.errors import LoadFailed, WorkerDied
from inhouse.core.kernels import Report, parse
from inhouse.core.models import Card, Footprint, ModelName
from inhouse.core.requests import LoadOptions
from inhouse.engines import kernels
from inhouse.engines.engines import Engines
from inhouse.engines.kernels import Kernels
from inhouse.engines.llamacpp import LlamaCpp
from inhouse.engines.recipe import Availability, Room
from inhouse.engines.variants import attach, probe
from inhouse.engines.variants.attach import Attach
from inhouse.engines.variants.choice import Candidate, ranked
from inhouse.engines.variants.figures import Figure
from inhouse.machine import Machine
from support import stub_kernels
from support.llama_builds import executable, script
from support.stub_kernels import compiled

posix = pytest.mark.skipif(sys.platform == "win32", reason="the stand-ins are shell scripts")
WHEEL = Candidate("wheel", "wheel", "package", version="1")
ON = Report("0.1.0", True, isa="avx2", types={"q4_0": ""})
WITH = Kernels("/k/libinhouse_kernels.so", ON)
HERE = Machine("linux", "x86_64", "cpu", 2, 2, ("avx2",), 2**34, 2**33)
ROOM = Room(2**33, 2)
CARD = Card(
    ModelName.parse("m"), "0" * 64, "/m", "1" * 64, 2**20, Footprint(2**20, 1024), context_length=2048
)  # fmt: skip


@pytest.fixture(scope="session")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A library in every mood."""
    folder = tmp_path_factory.mktemp("libraries")
    return {mood: stub_kernels.library(folder / mood, mood) for mood in stub_kernels.MOODS}


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch, libraries: dict[str, Path]) -> Any:
    """Have a library in this mood installed; "" none."""

    def installed(mood: str) -> Path | None:
        found = libraries[mood] if mood else None
        monkeypatch.setattr(kernels, "library", lambda: found)
        return found

    return installed


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands of the children that were started, each also run."""
    commands: list[list[str]] = []
    run = probe.run

    def heard(command: Any, env: Any) -> Any:
        commands.append([str(word) for word in command])
        return run(command, env)

    monkeypatch.setattr(probe, "run", heard)
    return commands


@pytest.fixture(autouse=True)
def forgetful() -> None:
    """What another test asked is not known here."""
    attach._asked.cache_clear()


def attaching(home: Path, wanted: str = "auto", machine: str = "here", **environ: str) -> Attach:
    return Attach(wanted, home, machine, {"PATH": os.environ["PATH"], **environ})


def server(tmp_path: Path, *, loads: bool = True, name: str = "llama-server") -> Candidate:
    """A native build; one that ``loads`` opens what GGML_BACKEND_PATH names, as llama.cpp does."""
    text = script().decode()
    if loads:
        opens = f'"{sys.executable}" -c \'import ctypes, os; ctypes.CDLL(os.environ["GGML_BACKEND_PATH"]).ggml_backend_init()\''
        text = text.replace("#!/bin/sh\n", f'#!/bin/sh\n[ -n "$GGML_BACKEND_PATH" ] && {opens}\n')
    path = executable(tmp_path / name, text.encode())
    return Candidate("native", "server", "shelf", version="b1", path=str(path))


# -- which builds ---------------------------------------------------------------------------------


@compiled
def test_the_wheel_runs_with_a_library_that_passed_its_test(tmp_path: Path, use: Any) -> None:
    pytest.importorskip("xllamacpp")
    library = use("good")
    found = attaching(tmp_path).of(WHEEL)
    assert (found.on, found.library, found.label) == (True, str(library), " + kernels 9.9")
    assert found.report.enabled == ("q4_K",)
    assert found.facts()["types"]["q5_0"] == "its self-test failed"


@compiled
@pytest.mark.parametrize(
    ("mood", "why"),
    [
        ("out", "it was told to stay out"),
        ("crash", "their test crashed (SIGSEGV)"),
        ("babble", "their report cannot be read"),
    ],
)
def test_a_library_that_does_not_work_stays_out_with_its_reason(
    tmp_path: Path, use: Any, mood: str, why: str
) -> None:
    pytest.importorskip("xllamacpp")
    use(mood)
    found = attaching(tmp_path).of(WHEEL)
    assert (found.on, found.label, found.report.why) == (False, "", why)
    assert found.env("/run/w.sock", native=False) == {}


@compiled
def test_a_library_that_hangs_is_given_up_and_asked_again_another_time(
    tmp_path: Path, use: Any, asked: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("xllamacpp")
    use("hang")
    monkeypatch.setattr(probe, "TIMEOUT", 1.0)
    assert attaching(tmp_path).of(WHEEL).report.why == "their test did not end within 1 s"
    assert not (tmp_path / attach.FILE).exists()


@compiled
@posix
def test_a_native_build_that_loads_it_is_asked_as_it_will_be_run(tmp_path: Path, use: Any) -> None:
    use("good")
    # The stand-in is no llama.cpp: the library finds none of its symbols there.
    found = attaching(tmp_path).of(server(tmp_path))
    assert (found.on, found.report.why) == (False, "the engine's symbols are not there")
    assert "inhouse engine build" in found.fix


@compiled
@posix
def test_a_native_build_that_loads_nothing_is_told_so(tmp_path: Path, use: Any) -> None:
    use("good")
    found = attaching(tmp_path).of(server(tmp_path, loads=False))
    assert (found.on, found.report.why) == (False, "this build does not load them")


@compiled
@posix
def test_a_library_that_the_user_named_himself_is_left_in_its_place(
    tmp_path: Path, use: Any, asked: list[list[str]]
) -> None:
    library = use("good")
    own = {"GGML_BACKEND_PATH": "/mine/libggml-mine.so"}
    found = attaching(tmp_path, **own).of(server(tmp_path))
    assert (found.on, asked) == (False, [])
    assert "GGML_BACKEND_PATH" in found.report.why
    assert attaching(tmp_path, **own).of(WHEEL).on  # which loads it beside ours
    attaching(tmp_path, GGML_BACKEND_PATH=str(library)).of(server(tmp_path))
    assert asked[-1][-1] == "--list-devices"


def test_without_a_library_nothing_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[list[str]]
) -> None:
    monkeypatch.setattr(kernels, "library", lambda: None)
    found = attaching(tmp_path).of(WHEEL)
    assert (found.on, bool(found.report.why), asked) == (False, True, [])


@compiled
def test_what_is_off_or_computes_elsewhere_is_not_asked(
    tmp_path: Path, use: Any, asked: list[list[str]]
) -> None:
    use("good")
    assert "INHOUSE_KERNELS" in attaching(tmp_path, "off").of(WHEEL).report.why
    assert attaching(tmp_path).of(replace(WHEEL, backend="cuda")).report.why == "it computes on cuda"
    assert asked == []


# -- what is remembered ---------------------------------------------------------------------------


@compiled
def test_each_build_is_asked_once_until_it_or_the_library_is_another(
    tmp_path: Path, use: Any, asked: list[list[str]]
) -> None:
    library = use("good")
    one = server(tmp_path)
    first = attaching(tmp_path).of(one)
    attach._asked.cache_clear()
    assert attaching(tmp_path).of(one) == first  # another server with the same home
    assert len(asked) == 1
    os.utime(one.path, ns=(1, 1))
    attaching(tmp_path).of(one)
    assert len(asked) == 2
    os.utime(library, ns=(1, 1))
    attaching(tmp_path).of(one)
    assert len(asked) == 3
    attaching(tmp_path, machine="there").of(one)
    assert len(asked) == 3  # the same process, so the same machine: only a file of another's counts not
    attach._asked.cache_clear()
    attaching(tmp_path, machine="elsewhere").of(one)
    assert len(asked) == 4


@compiled
@pytest.mark.parametrize("text", ["", "nonsense", "[]", '{"x": 1}', '{"x": {"types": 3}}'])
def test_a_broken_file_of_answers_is_as_none(tmp_path: Path, use: Any, text: str) -> None:
    use("good")
    (tmp_path / attach.FILE).write_text(text)
    one = server(tmp_path)
    attaching(tmp_path).of(one)
    kept = json.loads((tmp_path / attach.FILE).read_text())
    assert [parse(json.dumps(value).encode()) for value in kept.values()] == [
        attaching(tmp_path).of(one).report
    ]


@compiled
@posix
def test_a_home_that_cannot_be_written_keeps_nothing_and_works(tmp_path: Path, use: Any) -> None:
    use("good")
    (tmp_path / "file").write_text("")
    found = attaching(tmp_path / "file").of(server(tmp_path))
    assert found.report.why == "the engine's symbols are not there"


@compiled
def test_what_the_machine_could_not_do_just_now_is_not_remembered(
    tmp_path: Path, use: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    use("good")

    def full(*_: Any, **__: Any) -> Any:
        raise OSError(errno.EMFILE, "Too many open files")

    there = attaching(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(probe.subprocess, "run", full)
        assert "just now" in there.of(WHEEL).report.why
    assert "just now" not in there.of(WHEEL).report.why


def test_the_package_that_brings_it_is_found_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "inhouse_kernels"
    folder.mkdir()
    (folder / "__init__.py").write_text(
        "import pathlib\n\ndef library():\n    return pathlib.Path('/k.so')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "inhouse_kernels", raising=False)
    assert kernels.library() == Path("/k.so")
    (folder / "__init__.py").write_text("raise ImportError\n")
    monkeypatch.delitem(sys.modules, "inhouse_kernels")
    assert kernels.library() is None


# -- what follows from it ---------------------------------------------------------------------------


def made(found: Kernels, kind: str = "wheel", settings: Settings | None = None, path: str = "") -> Launch:
    version = "1" + found.label
    recipe = LlamaCpp(settings or Settings(), Availability(kind, True, version, path), {}, found)
    return recipe.launch(CARD, LoadOptions(), room=ROOM, address="/run/w.sock", secret="")


def test_a_worker_of_the_wheel_is_told_which_library_and_where_to_report() -> None:
    launch = made(WITH)
    assert json.loads(launch.stdin)["kernels"] == WITH.library
    assert launch.kernels == launch.env["INHOUSE_KERNELS_REPORT"] == "/run/w.kernels.json"
    assert "GGML_BACKEND_PATH" not in launch.env
    assert launch.build == "xllamacpp 1 + kernels 0.1.0"


@posix
def test_a_native_worker_finds_it_where_llama_cpp_looks(tmp_path: Path) -> None:
    path = executable(tmp_path / "llama-server", script())
    launch = made(WITH, "native", path=str(path))
    assert launch.env["GGML_BACKEND_PATH"] == WITH.library
    assert launch.kernels == launch.env["INHOUSE_KERNELS_REPORT"]
    assert launch.build == "llama-server 1 + kernels 0.1.0"


@posix
@pytest.mark.parametrize(
    ("known", "flag"),
    [
        ("--override-tensor --spec-draft-override-tensor", "--spec-draft-override-tensor"),
        ("--override-tensor --override-tensor-draft", "--override-tensor-draft"),
        ("--override-tensor", "--override-tensor"),
        ("", ""),
    ],
)
def test_a_native_worker_is_made_to_look_there_by_a_flag_that_changes_nothing_else(
    tmp_path: Path, known: str, flag: str
) -> None:
    text = script().replace(b"--list-devices\nEND", f"--list-devices {known}\nEND".encode())
    path = executable(tmp_path / "llama-server", text)

    def words(found: Kernels) -> list[str]:
        return list(json.loads(made(found, "native", path=str(path)).stdin)["command"])

    more = [word for word in words(WITH) if word not in (*words(Kernels()), "--load-mode", "none")]
    assert more == ([flag, "inhouse-loads-its-kernels=CPU"] if flag else [])


def test_without_them_a_worker_is_told_nothing() -> None:
    for found in (Kernels(), Kernels("/k.so", Report(why="no")), replace(WITH, library="")):
        launch = made(found)
        assert json.loads(launch.stdin)["kernels"] == launch.kernels == ""
        assert "INHOUSE_KERNELS_REPORT" not in launch.env
        assert launch.build == "xllamacpp 1"


def test_weights_that_are_packed_are_mapped_and_the_rest_has_huge_pages_unless_somebody_asks() -> None:
    """The kernels give mapped pages back as they pack them; reading would be a copy more."""

    def mapped(found: Kernels, options: LoadOptions) -> tuple[bool, bool]:
        recipe = LlamaCpp(Settings(), Availability("wheel", True, "1"), {}, found)
        room = replace(ROOM, huge_pages="madvise")
        launch = recipe.launch(CARD, options, room=room, address="/run/w.sock", secret="")
        return bool(json.loads(launch.stdin)["mmap"]), "GLIBC_TUNABLES" in launch.env

    assert mapped(Kernels(), LoadOptions()) == (False, True)
    assert mapped(WITH, LoadOptions()) == (True, True)
    assert mapped(WITH, LoadOptions(use_mmap=False)) == (False, True)


def test_off_is_told_to_the_worker_as_well() -> None:
    """A library of ours that the user loads himself stays out, too."""
    assert made(Kernels(), settings=Settings(kernels="off")).env["INHOUSE_KERNELS"] == "off"
    assert "INHOUSE_KERNELS" not in made(WITH).env


def test_saved_prompts_are_not_shared_with_a_build_without(tmp_path: Path) -> None:
    chat = replace(CARD, capabilities=frozenset({"completion"}))
    room = replace(ROOM, prefixes=str(tmp_path))
    folders = set()
    for found in (Kernels(), WITH, replace(WITH, library="/elsewhere.so")):
        recipe = LlamaCpp(Settings(), Availability("wheel", True, "1" + found.label), {}, found)
        launch = recipe.launch(chat, LoadOptions(), room=room, address="/run/w.sock", secret="")
        folders.add(launch.prefixes)
    assert "" not in folders
    assert len(folders) == 2  # where the library lies makes no difference


def test_one_on_path_is_not_taken_for_faster_than_a_wheel_with_kernels() -> None:
    path = Candidate("path", "server", "path")
    assert ranked([WHEEL, path], "auto", "")[0].key == "path"
    assert ranked([replace(WHEEL, kernels=WITH), path], "auto", "")[0].key == "wheel"
    assert ranked([replace(WHEEL, kernels=WITH), replace(path, kernels=WITH)], "auto", "")[0].key == "path"
    measured = replace(path, speed=1.1)
    assert ranked([replace(WHEEL, kernels=WITH), measured], "auto", "")[0].key == "path"


# -- through the engines ----------------------------------------------------------------------------


def engines(home: Path) -> Engines:
    return Engines(Settings(), state=home, environ={"PATH": ""}, machine=HERE)


def launched(there: Engines) -> Launch:
    return there.of(CARD).launch(CARD, LoadOptions(), room=ROOM, address="/run/w.sock", secret="")


@compiled
def test_the_build_that_answers_tell_of_differs_and_so_do_figures(tmp_path: Path, use: Any) -> None:
    pytest.importorskip("xllamacpp")
    use("")
    plain = engines(tmp_path)
    before = launched(plain)
    assert not before.kernels
    version = plain.candidates()[0].version
    plain.kept.note("native", Figure("b1", version, 1.5, 1.5, "m"))
    assert plain.kept.of("native", "b1", version) is not None
    use("good")
    there = engines(tmp_path)
    assert launched(there).build == before.build + " + kernels 9.9"
    [wheel] = [one for one in there.candidates() if one.key == "wheel"]
    assert wheel.version == version + " + kernels 9.9"
    assert there.kept.of("native", "b1", wheel.version) is None


@compiled
def test_a_build_that_crashes_with_them_is_run_without(tmp_path: Path, use: Any) -> None:
    pytest.importorskip("xllamacpp")
    use("good")
    there = engines(tmp_path)
    failed = launched(there)
    crash = LoadFailed("The model could not be loaded: its process was killed (SIGSEGV).")
    assert there.fall_back(CARD, failed, LoadFailed("unknown model architecture")) is None
    recipe = there.fall_back(CARD, failed, crash)
    assert recipe is not None
    again = launched(there)
    assert (again.variant, again.kernels) == (failed.variant, "")
    assert again.build == failed.build.removesuffix(" + kernels 9.9")
    found = there.kernels()
    assert found is not None
    assert found.report.why == "a worker that used them crashed (SIGSEGV)"


@compiled
def test_one_that_crashes_without_them_as_well_gets_them_back(tmp_path: Path, use: Any) -> None:
    pytest.importorskip("xllamacpp")
    use("good")
    there = engines(tmp_path)
    crash = LoadFailed("The model could not be loaded: its process was killed (SIGABRT).")
    assert there.fall_back(CARD, launched(there), crash) is not None
    assert there.fall_back(CARD, launched(there), crash) is None
    assert launched(there).kernels


@compiled
def test_kernels_are_blamed_when_ready_workers_crash_with_them_a_second_time(
    tmp_path: Path, use: Any
) -> None:
    pytest.importorskip("xllamacpp")
    use("good")
    there = engines(tmp_path)
    died = launched(there)
    crash = WorkerDied("The model's worker ended unexpectedly: its process was killed (SIGSEGV).")
    assert not there.blame(died, WorkerDied("its process was killed (SIGKILL)"))
    assert not there.blame(died, crash)
    assert launched(there).kernels
    assert not there.blame(replace(died, engine="vllm"), crash)
    assert there.blame(died, crash)
    without = launched(there)
    assert not without.kernels
    assert not there.blame(without, crash)
    assert launched(there).kernels  # it was not them


# -- in the worker ------------------------------------------------------------------------------------


@compiled
def test_a_worker_goes_on_without_a_library_that_cannot_be_loaded(tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp")
    (tmp_path / "broken.so").write_bytes(b"no library")
    code = (
        "import xllamacpp\nfrom inhouse.engines.workers.kernels import attached\n"
        f"attached('', xllamacpp)\nattached({str(tmp_path / 'broken.so')!r}, xllamacpp)\nprint('on')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "on\n"
    assert done.stderr.count("the kernels stay out") == 1


@compiled
def test_the_probe_writes_the_report_and_nothing_else_to_its_output(libraries: dict[str, Path]) -> None:
    pytest.importorskip("xllamacpp")
    worker = [sys.executable, "-m", "inhouse.engines.workers.kernels", str(libraries["good"])]
    done = subprocess.run(worker, capture_output=True, check=True)
    found = parse(done.stdout)
    assert found is not None
    assert found.on
