"""Installing: what is not what it should be leaves nothing behind, what is works here and is written down."""

from __future__ import annotations

import os
import shutil
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from inhouse.core.errors import (
    BadRequest,
    Cancelled,
    DigestMismatch,
    LoadFailed,
    NotFound,
    SourceFailed,
    Unsupported,
)
from inhouse.engines.variants import catalogue, compile
from inhouse.engines.variants.catalogue import named
from inhouse.engines.variants.install import LOG, Choice, Installer, Report
from inhouse.engines.variants.origin import Wish
from inhouse.engines.variants.shelf import Installed, Shelf
from inhouse.machine import Gpu, Machine
from support.llama_builds import Net, executable, script, sha256, tarball, zipped

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the stand-ins are shell scripts")

HERE = Machine("linux", "x86_64", "cpu", 2, 2, ("avx2",), 2**34, 2**33)
NVIDIA = replace(HERE, gpus=(Gpu("nvidia", "RTX", capability="8.9", cuda="13.4", backends=("cuda",)),))
BASE = "https://github.com/ggml-org/llama.cpp/releases/download/b11549"
CPU = f"{BASE}/llama-b11549-bin-ubuntu-x64.tar.gz"
CUDA = f"{BASE}/llama-b11549-bin-ubuntu-cuda-13.4-x64.tar.gz"
CUDART = f"{BASE}/cudart-llama-b11549-bin-ubuntu-cuda-13.4-x64.tar.gz"


class Place:
    """A home with an installer in it."""

    def __init__(self, home: Path, net: Net, machine: Machine = HERE, **env: str) -> None:
        self.home = home
        self.shelf = Shelf(home)
        self.said: list[tuple[str, int, int]] = []
        self.stopped = threading.Event()
        environ = {"PATH": os.environ["PATH"], **env}
        self.installer = Installer(home, self.shelf, net, machine, environ)

    def install(self, name: str, **more: Any) -> Installed:
        choice = Choice(name, **more)
        report = Report(lambda *what: self.said.append(what), self.stopped.is_set)
        return self.installer.install(choice, report)

    def left(self) -> list[str]:
        """What lies on the shelf, hidden things too."""
        return sorted(path.name for path in self.shelf.root.iterdir()) if self.shelf.root.exists() else []


def cpu(tmp_path: Path, **how: Any) -> tuple[Net, str]:
    path = tmp_path / "cpu.tar.gz"
    digest = tarball(path, {"llama-b11549/llama-server": script(**how), "llama-b11549/LICENSE": b"MIT"})
    return Net({CPU: path}), digest


def test_a_release_is_fetched_verified_tried_and_written_down(tmp_path: Path) -> None:
    net, digest = cpu(tmp_path, version="11549 (x)")
    place = Place(tmp_path / "home", net)
    one = place.install("cpu", wish=Wish(sha256=(digest,)))
    assert [found.record for found in place.shelf.all()] == [one.record]
    record = one.record
    assert (record.sha256, record.pinned, record.fetched) == (digest, "user", CPU)
    assert (record.version, record.source, record.made["says"]) == ("b11549", "release", "11549 (x)")
    assert record.program_sha256 == sha256(one.program)
    assert place.left() == ["llama.cpp-cpu-b11549"]


def test_a_wrong_digest_leaves_nothing(tmp_path: Path) -> None:
    net, digest = cpu(tmp_path)
    place = Place(tmp_path / "home", net)
    with pytest.raises(DigestMismatch):
        place.install("cpu", wish=Wish(sha256=(digest[::-1],)))
    assert (place.shelf.all(), place.left()) == ([], [])


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"broken": "error while loading shared libraries: libfoo.so.1: x"}, "the library libfoo.so.1"),
        ({"broken": "what?", "code": 0}, "ends with the code 0"),
    ],
)
def test_a_build_that_does_not_start_here_is_not_kept(tmp_path: Path, how: dict[str, Any], why: str) -> None:
    net, digest = cpu(tmp_path, **how)
    place = Place(tmp_path / "home", net)
    with pytest.raises(LoadFailed, match=why):
        place.install("cpu", wish=Wish(sha256=(digest,)))
    assert place.shelf.all() == []


def test_an_archive_without_a_program_is_refused(tmp_path: Path) -> None:
    digest = tarball(tmp_path / "x.tar.gz", {"readme": b"hello"})
    place = Place(tmp_path / "home", Net({CPU: tmp_path / "x.tar.gz"}))
    with pytest.raises(SourceFailed, match="no llama-server"):
        place.install("cpu", wish=Wish(sha256=(digest,)))
    assert place.shelf.all() == []


def test_an_install_that_fails_keeps_the_build_that_was_there(tmp_path: Path) -> None:
    net, digest = cpu(tmp_path, version="first")
    place = Place(tmp_path / "home", net)
    first = place.install("cpu", wish=Wish(sha256=(digest,)))
    _, other = cpu(tmp_path, broken="no", code=3)
    with pytest.raises(LoadFailed):
        place.install("cpu", wish=Wish(sha256=(other,)))
    assert place.shelf.get("cpu").record == first.record
    assert b"first" in place.shelf.get("cpu").program.read_bytes()


def test_libraries_of_a_second_file_lie_next_to_the_program(tmp_path: Path) -> None:
    device = ("CUDA0: RTX (9 MiB, 8 MiB free)",)
    first = tarball(tmp_path / "a.tar.gz", {"llama-b11549/llama-server": script(devices=device)})
    second = tarball(tmp_path / "b.tar.gz", {"cudart/libcudart.so.13": b"library"})
    net = Net({CUDA: tmp_path / "a.tar.gz", CUDART: tmp_path / "b.tar.gz"})
    one = Place(tmp_path / "home", net, NVIDIA).install("cuda-13", wish=Wish(sha256=(first, second)))
    assert (one.program.parent / "libcudart.so.13").read_bytes() == b"library"
    assert one.record.made["devices"] == ["RTX"]


def test_a_gpu_build_that_sees_no_device_is_kept_only_when_told(tmp_path: Path) -> None:
    first = tarball(tmp_path / "a.tar.gz", {"x/llama-server": script()})
    second = tarball(tmp_path / "b.tar.gz", {"x/lib": b""})
    net = Net({CUDA: tmp_path / "a.tar.gz", CUDART: tmp_path / "b.tar.gz"})
    wish = Wish(sha256=(first, second))
    place = Place(tmp_path / "home", net, NVIDIA)
    with pytest.raises(LoadFailed, match="no device"):
        place.install("cuda-13", wish=wish)
    assert place.install("cuda-13", wish=wish, anyway=True).record.name == "cuda-13"
    without = Place(tmp_path / "other", net)
    with pytest.raises(Unsupported, match="needs an NVIDIA"):
        without.install("cuda-13", wish=wish)
    assert without.install("cuda-13", wish=wish, anyway=True).record.backend == "cuda"


def test_a_wheel_is_unpacked_to_be_imported_and_tried_so(tmp_path: Path) -> None:
    version = named("wheel-vulkan").version
    name = f"xllamacpp-{version}-cp310-abi3-manylinux_2_35_x86_64.whl"
    package = (
        "__version__ = '9.9'\n"
        "def get_device_info():\n"
        "    print('chatter')\n"
        "    return [{'name': 'V', 'description': 'Card', 'type': 1}, {'name': 'C', 'description': 'c', 'type': 0}]\n"
    )
    digest = zipped(
        tmp_path / name, {"xllamacpp/__init__.py": package.encode(), "xllamacpp/x.abi3.so": b"library"}
    )
    index = "https://xorbitsai.github.io/xllamacpp/whl/vulkan/xllamacpp/"
    url = f"https://github.com/xorbitsai/xllamacpp/releases/download/v1/{name}"
    net = Net({url: tmp_path / name}, {index: f'<a href="{url}#sha256={digest}">x</a>'.encode()})
    gpu = replace(HERE, gpus=(Gpu("amd", "RX", backends=("vulkan",)),))
    one = Place(tmp_path / "home", net, gpu).install("wheel-vulkan")
    assert (one.record.runs, one.record.pinned) == ("wheel", "publisher")
    assert one.record.made == {"library": "xllamacpp/x.abi3.so", "says": "9.9", "devices": ["Card"]}
    assert (one.program / "xllamacpp" / "__init__.py").is_file()


# -- brought by the user -------------------------------------------------------------------------


def test_a_brought_archive_needs_a_digest_and_asks_the_network_nothing(tmp_path: Path) -> None:
    digest = tarball(tmp_path / "mine.tar.gz", {"bin/llama-server": script()})
    net = Net()
    place = Place(tmp_path / "home", net)
    files = (tmp_path / "mine.tar.gz",)
    with pytest.raises(SourceFailed) as caught:
        place.install("cpu", files=files)
    assert digest in caught.value.hint
    with pytest.raises(DigestMismatch):
        place.install("cpu", files=files, wish=Wish(sha256=("a" * 64,)))
    assert place.install("cpu", files=files, wish=Wish(sha256=(digest,))).record.source == "bundle"
    mine = place.install("mine", files=files, wish=Wish(sha256=(digest,)))
    assert (mine.record.backend, mine.record.loses, net.asked) == ("own", ("lark",), [])


@pytest.mark.parametrize("name", ["../x", "A b", "", "x" * 40, "auto", "path", "llama.cpp"])
def test_a_build_of_ones_own_has_a_plain_name(tmp_path: Path, name: str) -> None:
    tarball(tmp_path / "mine.tar.gz", {"llama-server": script()})
    with pytest.raises(BadRequest, match="name"):
        Place(tmp_path / "home", Net()).install(name, files=(tmp_path / "mine.tar.gz",))


def test_an_archive_that_changes_after_it_was_verified_is_not_the_one_that_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may lie where others can write; what was verified is a copy of ours."""
    path = tmp_path / "mine.tar.gz"
    digest = tarball(path, {"bin/llama-server": script(version="right")})
    place = Place(tmp_path / "home", Net())

    def say(what: str, done: int, total: int) -> None:
        if what.startswith("unpacking"):
            tarball(path, {"bin/llama-server": script(version="planted")})

    choice = Choice("mine", files=(path,), wish=Wish(sha256=(digest,)))
    one = place.installer.install(choice, Report(say, lambda: False))
    assert one.record.made["says"] == "right"
    assert sorted(found.name for found in one.path.iterdir()) == ["build.json", "files"]


def test_what_is_brought_must_be_complete_and_there(tmp_path: Path) -> None:
    place = Place(tmp_path / "home", Net(), NVIDIA)
    with pytest.raises(BadRequest, match="cudart"):
        place.install("cuda-13", files=(tmp_path / "a",))
    with pytest.raises(NotFound):
        place.install("cpu", files=(tmp_path / "none.tar.gz",), wish=Wish(sha256=("a" * 64,)))
    with pytest.raises(NotFound, match="no build called"):
        place.install("nothing")


# -- compiled here -------------------------------------------------------------------------------

CMAKE = """#!/bin/sh
echo "cmake $*" >> "$TRACE"
echo "$HOME" >> "$TRACE.homes"
case "$1" in
--version) echo 'cmake version 9' ;;
--build)
  [ -e "$TRACE.fail" ] && { echo 'error: no'; exit 2; }
  [ -e "$TRACE.hang" ] && sleep 60
  echo '[1/2] Building'; echo '[2/2] Linking'; mkdir -p "$2/bin"
  [ -e "$TRACE.nothing" ] || cp "$TRACE.server" "$2/bin/llama-server"
  cp "$TRACE.server" "$2/bin/llama-quantize" ;;
*) [ -e "$TRACE.unconfigured" ] && exit 1; echo '-- Configuring done' ;;
esac
"""


@pytest.fixture
def compiling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A home where the native build's sources are a small archive and cmake is a stand-in."""
    tools = tmp_path / "tools"
    trace = tmp_path / "trace"
    executable(tools / "cmake", CMAKE.replace("$TRACE", str(trace)).encode())
    executable(tools / "c++", b"#!/bin/sh\necho 'c++ 12.2'\n")
    executable(tmp_path / "trace.server", script(version="11549"))
    build = named("native")
    file = build.files[0]
    members = {
        f"{file.within}/CMakeLists.txt": b"project(x)",
        f"{file.within}/LICENSE": b"MIT",
        "xllamacpp-2026.10.11549/setup.py": b"raise SystemExit('must not be run')",
    }
    digest = tarball(tmp_path / "src.tar.gz", members)
    pinned = replace(build, files=(replace(file, sha256=digest, size=0),))
    monkeypatch.setattr(catalogue, "builds", lambda: (pinned,))
    page = f'<a href="https://index.example/{file.asset}">x</a>'.encode()
    net = Net(
        {f"https://index.example/{file.asset}": tmp_path / "src.tar.gz"},
        {"https://index.example/simple/xllamacpp/": page},
    )
    return Place(tmp_path / "home", net, PATH=f"{tools}{os.pathsep}/usr/bin{os.pathsep}/bin")


def test_a_compilers_home_is_a_folder_of_ours(compiling: Place, tmp_path: Path) -> None:
    """CMake and git read settings and packages there: not from the temporary folder, where all can write."""
    compiling.install("native")
    homes = set((tmp_path / "trace.homes").read_text().split())
    assert homes
    assert all(Path(home).is_relative_to(compiling.shelf.root) for home in homes)


def test_a_native_build_is_made_of_the_pinned_sources_and_says_how(compiling: Place, tmp_path: Path) -> None:
    one = compiling.install("native", jobs=3)
    record = one.record
    assert (record.source, record.pinned, record.cpu) == ("build", "catalogue", compile.cpu_of(HERE))
    made = record.made
    assert (made["compiler"], made["cmake"], made["says"]) == ("c++ 12.2", "cmake version 9", "11549")
    assert "-DGGML_NATIVE=ON" in made["flags"]
    assert "-DLLAMA_BUILD_NUMBER=11549" in made["flags"]
    assert sorted(path.name for path in one.program.parent.iterdir()) == [
        "LICENSE", "llama-quantize", "llama-server",
    ]  # fmt: skip
    assert [said for said in compiling.said if said[0] == "compiling"] == [
        ("compiling", 1, 2),
        ("compiling", 2, 2),
    ]
    configured, built = (tmp_path / "trace").read_text().splitlines()[:2]
    assert "-DLLAMA_OPENSSL=OFF" in configured
    assert built.endswith("--target llama-server llama-quantize llama-bench -j 3")
    assert "[2/2] Linking" in (compiling.home / "logs" / LOG).read_text()
    assert compiling.left() == ["llama.cpp-native-b11549"]


@pytest.mark.parametrize(
    ("fault", "why"),
    [("unconfigured", "not be configured"), ("fail", "not be compiled"), ("nothing", "made no llama-server")],
)
def test_a_build_that_fails_leaves_its_log_and_nothing_else(
    compiling: Place, tmp_path: Path, fault: str, why: str
) -> None:
    (tmp_path / f"trace.{fault}").touch()
    with pytest.raises(LoadFailed, match=why) as caught:
        compiling.install("native")
    assert "engine-build.log" in caught.value.hint
    assert compiling.shelf.all() == []
    assert (compiling.home / "logs" / LOG).is_file()
    assert [name for name in compiling.left() if not name.startswith(".part-")] == []


def test_a_build_can_be_stopped(compiling: Place, tmp_path: Path) -> None:
    (tmp_path / "trace.hang").touch()
    timer = threading.Timer(0.5, compiling.stopped.set)
    timer.start()
    with pytest.raises(Cancelled):
        compiling.install("native")
    timer.cancel()
    assert compiling.shelf.all() == []


def test_the_sources_can_be_brought_and_are_held_to_the_same_digest(compiling: Place, tmp_path: Path) -> None:
    one = compiling.install("native", files=(tmp_path / "src.tar.gz",))
    assert (one.record.pinned, one.record.fetched) == ("catalogue", "")
    other = tmp_path / "other.tar.gz"
    tarball(other, {"a": b"b"})
    with pytest.raises(DigestMismatch):
        compiling.install("native", files=(other,))


def test_missing_tools_are_named_before_anything_is_fetched(tmp_path: Path) -> None:
    net = Net()
    place = Place(tmp_path / "home", net, PATH=str(tmp_path))
    with pytest.raises(Unsupported, match=r"CMake and a C\+\+ compiler") as caught:
        place.install("native")
    assert "--with-tools" in caught.value.hint
    executable(tmp_path / "cmake", b"#!/bin/sh\n")
    with pytest.raises(Unsupported, match=r"needs a C\+\+ compiler") as caught:
        place.install("native")
    assert "--with-tools" not in caught.value.hint
    assert net.asked == []


def test_a_named_compiler_is_the_one_that_must_be_there(tmp_path: Path) -> None:
    executable(tmp_path / "cmake", b"#!/bin/sh\n")
    executable(tmp_path / "g++", b"#!/bin/sh\n")
    path = {"PATH": str(tmp_path)}
    assert compile.find(path).compiler.endswith("/g++")
    with pytest.raises(Unsupported):
        compile.find({**path, "CXX": "mycc -O3"})


needs_cmake = pytest.mark.skipif(
    not (shutil.which("cmake") and shutil.which("c++")), reason="needs CMake and a C++ compiler"
)


@needs_cmake
def test_a_real_cmake_project_is_compiled_with_our_options(tmp_path: Path) -> None:
    """A project of three programs takes the place of llama.cpp."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.14)\nproject(tiny CXX)\n"
        "set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)\n"
        "if(NOT GGML_NATIVE OR LLAMA_OPENSSL OR NOT LLAMA_BUILD_NUMBER EQUAL 7)\n"
        "message(FATAL_ERROR options)\nendif()\n"
        "foreach(one llama-server llama-quantize llama-bench)\nadd_executable(${one} main.cpp)\nendforeach()\n"
    )
    (source / "main.cpp").write_text("int main() { return 0; }\n")
    work, out = tmp_path / "work", tmp_path / "out"
    work.mkdir()
    order = compile.Order(source, work, out, "b7", 2, tmp_path / "log")
    steps: list[tuple[int, int]] = []
    made = compile.build(
        order,
        compile.find(os.environ),
        os.environ,
        lambda step: steps.append((step.done, step.total)),
        lambda: False,
    )
    assert sorted(path.name for path in out.iterdir()) == ["llama-bench", "llama-quantize", "llama-server"]
    assert steps
    assert steps[-1][0] == steps[-1][1]
    assert made["compiler"]
