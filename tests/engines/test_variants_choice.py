"""Which build runs the models: the order, what falls out of it and why, and what is told of it."""

from __future__ import annotations

import errno
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from inhouse.config import Engine as Settings
from inhouse.core.engine import Launch
from inhouse.core.errors import BadRequest, LoadFailed
from inhouse.core.journal import Record
from inhouse.core.models import Card, Footprint, ModelName, Tuning
from inhouse.core.requests import LoadOptions
from inhouse.engines.engines import Engines
from inhouse.engines.recipe import Room
from inhouse.engines.variants import probe
from inhouse.engines.variants import shelf as shelves
from inhouse.engines.variants.choice import Candidate, meant, ranked
from inhouse.engines.variants.compile import cpu_of
from inhouse.engines.variants.figures import Figure
from inhouse.engines.variants.shelf import FILES, Shelf, facts
from inhouse.machine import Gpu, Machine
from support.llama_builds import executable, script

posix = pytest.mark.skipif(sys.platform == "win32", reason="the stand-ins are shell scripts")
HERE = Machine("linux", "x86_64", "cpu", 2, 2, ("avx2",), 2**34, 2**33)
NVIDIA = replace(HERE, gpus=(Gpu("nvidia", "RTX", capability="8.9", cuda="13.4", backends=("cuda",)),))
ENV = {"PATH": ""}
ROOM = Room(2**33, 2)
CARD = Card(
    ModelName.parse("m"), "0" * 64, "/m", "1" * 64, 2**20, Footprint(2**20, 1024), context_length=2048
)  # fmt: skip


WHEEL = Candidate("wheel", "wheel", "package", speed=1.0)
PATH = Candidate("path", "server", "path")
NATIVE = Candidate("native", "server", "shelf")
CUDA = Candidate("cuda-13", "server", "shelf", "cuda")
VULKAN = Candidate("vulkan", "server", "shelf", "vulkan")


def keys(*given: Candidate, kind: str = "auto", use: str = "") -> list[str]:
    return [one.key for one in ranked(given, kind, use)]


def test_gpus_come_first_then_what_is_faster_and_the_wheel_before_the_unmeasured() -> None:
    assert keys(WHEEL, NATIVE, VULKAN, CUDA) == ["cuda-13", "vulkan", "wheel", "native"]
    assert keys(WHEEL, replace(NATIVE, speed=1.3)) == ["native", "wheel"]
    assert keys(WHEEL, replace(NATIVE, speed=0.8)) == ["wheel", "native"]
    assert keys(WHEEL, PATH) == ["path", "wheel"]
    assert keys(WHEEL, PATH, replace(NATIVE, speed=1.4)) == ["native", "path", "wheel"]
    assert keys(WHEEL, replace(PATH, speed=0.7)) == ["wheel", "path"]


def test_a_lead_within_the_error_of_measuring_is_none() -> None:
    assert keys(WHEEL, replace(NATIVE, speed=1.02)) == ["wheel", "native"]


def test_a_measured_gpu_build_is_held_against_the_other() -> None:
    assert keys(replace(VULKAN, speed=3.0), replace(CUDA, speed=2.0)) == ["vulkan", "cuda-13"]


def test_what_was_named_or_chosen_comes_before_all() -> None:
    named = replace(PATH, origin="setting")
    assert keys(WHEEL, CUDA, named) == ["path", "cuda-13", "wheel"]
    assert keys(WHEEL, CUDA, named, use="wheel")[0] == "wheel"


def test_the_setting_bounds_the_kind() -> None:
    assert keys(WHEEL, NATIVE, kind="wheel") == ["wheel"]
    assert keys(WHEEL, NATIVE, PATH, kind="native") == ["path", "native"]


def test_a_wish_for_native_means_the_one_made_here_before_the_one_on_path() -> None:
    assert [one.key for one in meant("native", [WHEEL, PATH, NATIVE])] == ["native", "path"]
    assert [one.key for one in meant("cuda-13", [WHEEL, CUDA])] == ["cuda-13"]


# -- with builds on a shelf ---------------------------------------------------------------------


def put(home: Path, name: str, text: bytes, **more: Any) -> None:
    shelf = Shelf(home)
    with shelf.aside() as folder:
        program = executable(folder / FILES / "llama-server", text)
        fields: dict[str, Any] = {
            "name": name, "version": "b1", "runs": "server", "backend": "cpu", "source": "build",
            "program": "llama-server", "sha256": "a" * 64, "pinned": "catalogue", "loses": ("lark",), "at": 1.0,
        }  # fmt: skip
        shelf.add(folder, shelves.Record(**{**fields, **facts(program), **more}))


def engines(home: Path, told: list[Record] | None = None, **more: Any) -> Engines:
    given: dict[str, Any] = {"environ": ENV, "machine": HERE, **more}
    tell = told.append if told is not None else lambda record: None
    settings = given.pop("settings", Settings(kernels="off"))  # the choice without them
    return Engines(settings, state=home, tell=tell, **given)


def faster(home: Path, name: str = "native", speed: float = 1.5) -> None:
    """Keep that a build on the shelf measured so."""
    there = engines(home)
    version = next(one.version for one in there.candidates() if one.key == name)
    wheel = next(one.version for one in there.candidates() if one.key == "wheel")
    there.kept.note(name, Figure(version, wheel, speed, speed, "m"))


def launch(there: Engines, card: Card = CARD, options: LoadOptions | None = None) -> Launch:
    wish = options or LoadOptions()
    return there.of(card, wish).launch(card, wish, room=ROOM, address="/run/w.sock", secret="")


@posix
def test_a_native_build_is_taken_once_it_measured_faster(tmp_path: Path) -> None:
    put(tmp_path, "native", script())
    there = engines(tmp_path)
    assert there.default.name == "llama.cpp (wheel)"
    faster(tmp_path)
    there = engines(tmp_path)
    assert there.default.name == "llama.cpp (native)"
    found = launch(there)
    assert (found.variant, found.engine, found.grammars) == ("native", "llama.cpp", {"gbnf"})
    assert found.build.startswith("llama-server b1 native ")
    assert found.command[-1].endswith("workers.native")


@posix
def test_figures_of_another_program_count_for_nothing(tmp_path: Path) -> None:
    put(tmp_path, "native", script())
    faster(tmp_path)
    put(tmp_path, "native", script(version="124"))
    assert engines(tmp_path).default.name == "llama.cpp (wheel)"


@posix
def test_what_only_the_wheel_enforces_is_run_on_the_wheel(tmp_path: Path) -> None:
    put(tmp_path, "native", script())
    faster(tmp_path)
    there = engines(tmp_path)
    assert there.grammars(CARD) == {"gbnf"}
    assert there.reachable(CARD) == {"gbnf", "lark"}
    found = launch(there, options=LoadOptions(grammar="lark"))
    assert (found.variant, "lark" in found.grammars) == ("wheel", True)
    assert "lark" in found.notices[0]
    assert launch(there, options=LoadOptions(grammar="gbnf")).variant == "native"


@posix
def test_the_users_choice_holds_and_can_be_taken_back(tmp_path: Path) -> None:
    put(tmp_path, "native", script())
    there = engines(tmp_path)
    there.kept.choose("native")
    there.refresh()
    assert there.default.name == "llama.cpp (native)"
    assert engines(tmp_path).default.name == "llama.cpp (native)"
    there.kept.choose("")
    there.refresh()
    assert there.default.name == "llama.cpp (wheel)"


@posix
@pytest.mark.parametrize(
    ("text", "more", "why"),
    [
        (
            script(broken="llama-server: error while loading shared libraries: libcudart.so.13: x"),
            {},
            "the library libcudart.so.13 is missing",
        ),
        (script(), {}, "it finds no device to compute on"),
        (script(broken="Segmentation fault", code=139), {}, "it ends with the code 139"),
        (script(broken="hello", code=0), {}, "it ends with the code 0"),
        (script(devices=("CUDA0: RTX (10 MiB, 5 MiB free)",)), {"program_sha256": "b" * 64, "program_mtime": 1},
         "its program is not the one that was installed"),
    ],
)  # fmt: skip
def test_a_broken_gpu_build_falls_back_with_its_reason(
    tmp_path: Path, text: bytes, more: dict[str, Any], why: str
) -> None:
    put(tmp_path, "cuda-13", text, backend="cuda", **more)
    told: list[Record] = []
    there = engines(tmp_path, told, machine=NVIDIA)
    assert there.default.name == "llama.cpp (wheel)"
    assert launch(there).notices == (f"The build cuda-13 is not used: {why}.",)
    assert [(one.kind, one.cause) for one in told] == [("fallback", f"The build cuda-13 is not used: {why}.")]
    there.refresh()
    assert len(told) == 1  # told once
    found = next(one for one in there.candidates() if one.key == "cuda-13")
    assert (found.why, bool(found.fix)) == (why, True)
    listed = {one.name: one.ok for one in there.available()}
    assert (listed["wheel"], listed["cuda-13"], next(iter(listed))) == (True, False, "wheel")


@posix
def test_a_gpu_build_is_taken_where_its_device_is(tmp_path: Path) -> None:
    put(tmp_path, "cuda-13", script(devices=("CUDA0: RTX (10 MiB, 5 MiB free)",)), backend="cuda")
    assert engines(tmp_path, machine=NVIDIA).default.name == "llama.cpp (cuda-13)"
    there = engines(tmp_path)
    assert there.default.name == "llama.cpp (wheel)"
    assert "none was found" in launch(there).notices[0]


@posix
def test_a_build_made_for_another_cpu_is_not_started(tmp_path: Path) -> None:
    put(tmp_path, "native", script(broken="must not run"), cpu="0" * 16)
    there = engines(tmp_path)
    found = next(one for one in there.candidates() if one.key == "native")
    assert found.why == "it was compiled for another CPU"
    put(tmp_path, "native", script(), cpu=cpu_of(HERE))
    assert not next(one for one in engines(tmp_path).candidates() if one.key == "native").why


@posix
def test_a_build_of_the_users_own_counts_as_gpu_build_when_it_saw_a_device(tmp_path: Path) -> None:
    put(tmp_path, "mine", script(), backend="own", made={"devices": ["X"]})
    assert engines(tmp_path).default.name == "llama.cpp (mine)"
    put(tmp_path, "mine", script(), backend="own", made={"devices": []})
    assert engines(tmp_path).default.name == "llama.cpp (wheel)"


@posix
def test_a_choice_that_is_gone_is_told(tmp_path: Path) -> None:
    there = engines(tmp_path)
    there.kept.choose("native")
    there.refresh()
    assert there.default.name == "llama.cpp (wheel)"
    assert "was chosen, is not installed" in launch(there).notices[0]


@posix
def test_what_the_machine_could_not_do_just_now_is_not_remembered_of_a_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = executable(tmp_path / "llama-server", script(version="77"))

    def full(*_: Any, **__: Any) -> Any:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(probe.subprocess, "run", full)
        assert "just now" in probe.server(program, ENV, gpu=False).why
    assert probe.server(program, ENV, gpu=False) == probe.Seen("77")


# -- after a failed load ---------------------------------------------------------------------------


@posix
def test_a_build_that_cannot_load_gives_way_to_the_next(tmp_path: Path) -> None:
    put(tmp_path, "cuda-13", script(devices=("CUDA0: RTX (10 MiB, 5 MiB free)",)), backend="cuda")
    told: list[Record] = []
    there = engines(tmp_path, told, machine=NVIDIA)
    failed = launch(there)
    assert failed.variant == "cuda-13"
    error = LoadFailed("The model could not be loaded.", detail="CUDA error: no kernel image is available")
    found = there.fall_back(CARD, failed, error)
    assert found is not None
    assert found.name == "llama.cpp (wheel)"
    assert launch(there).variant == "wheel"
    assert "no code for this GPU" in told[0].cause


@posix
def test_what_is_not_the_builds_fault_changes_nothing(tmp_path: Path) -> None:
    put(tmp_path, "native", script())
    faster(tmp_path)
    there = engines(tmp_path)
    failed = launch(there)
    assert there.fall_back(CARD, failed, LoadFailed("unknown model architecture")) is None
    broken = LoadFailed("Illegal instruction")
    assert there.fall_back(CARD, replace(failed, engine="transformers"), broken) is None
    wish = replace(CARD, tuning=Tuning(engine="native"))
    assert there.fall_back(wish, failed, broken) is None
    assert there.default.name == "llama.cpp (native)"


def test_the_last_build_has_nothing_to_fall_back_to(tmp_path: Path) -> None:
    there = engines(tmp_path)
    assert there.fall_back(CARD, launch(there), LoadFailed("Illegal instruction")) is None
    there.refresh()  # and is not given up for it
    assert there.default.name == "llama.cpp (wheel)"


@posix
def test_a_build_that_failed_is_tried_again_once_it_is_forgiven(tmp_path: Path) -> None:
    put(tmp_path, "native", script())
    faster(tmp_path)
    there = engines(tmp_path)
    assert there.fall_back(CARD, launch(there), LoadFailed("Illegal instruction")) is not None
    there.refresh()
    assert there.default.name == "llama.cpp (wheel)"
    there.forgive("native")
    there.refresh()
    assert there.default.name == "llama.cpp (native)"


# -- what models ask for ------------------------------------------------------------------------------


@posix
def test_a_model_gets_the_build_that_it_asks_for_or_a_reason(tmp_path: Path) -> None:
    put(tmp_path, "native", script())
    there = engines(tmp_path)
    assert launch(there, replace(CARD, tuning=Tuning(engine="native"))).variant == "native"
    for any_of in ("", "auto", "llama.cpp", "wheel"):
        assert launch(there, replace(CARD, tuning=Tuning(engine=any_of))).variant == "wheel"
    with pytest.raises(BadRequest, match="asks for the engine 'cuda-13'"):
        launch(there, replace(CARD, tuning=Tuning(engine="cuda-13")))
    put(tmp_path, "cuda-13", script(), backend="cuda")
    there = engines(tmp_path)
    with pytest.raises(BadRequest, match="none was found"):
        launch(there, replace(CARD, tuning=Tuning(engine="cuda-13")))


@posix
def test_a_setting_that_forbids_a_build_forbids_it_to_models_too(tmp_path: Path) -> None:
    put(tmp_path, "native", script())
    there = engines(tmp_path, settings=Settings(kind="wheel", kernels="off"))
    with pytest.raises(BadRequest):
        launch(there, replace(CARD, tuning=Tuning(engine="native")))


def test_a_wheel_off_the_shelf_is_imported_before_the_one_beside_us(tmp_path: Path) -> None:
    from inhouse.engines.variants.recipe import Variant

    one = Candidate("wheel-cuda-13", "wheel", "shelf", "cuda", "2026 x", "/engines/w/files")
    recipe = Variant(Settings(), one, {"PATH": "", "PYTHONPATH": "/else", "CUDA_VISIBLE_DEVICES": "1"})
    found = recipe.launch(CARD, LoadOptions(), room=ROOM, address="/run/w.sock", secret="")
    assert found.env["PYTHONPATH"].split(":")[0] == "/engines/w/files"
    assert found.env["PYTHONPATH"].endswith("/else")
    assert found.env["CUDA_VISIBLE_DEVICES"] == "1"
    assert found.variant == "wheel-cuda-13"
    assert found.command[-1].endswith("workers.llamacpp")
