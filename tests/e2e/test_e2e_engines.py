"""Builds of engines through a real server: from a mirror onto the shelf, chosen, dropped, and survived."""

from __future__ import annotations

import http.client
import json
import os
import platform
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inhouse.engines.variants.catalogue import named
from support.fileserver import FileServer
from support.llama_builds import executable, script, tarball
from support.models import SMALL, model_home
from support.running import Answer, Server, serving, until

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64",
    reason="the stand-in is a script in the place of a build for Linux on x86-64",
)
PATH = "/gh/ggml-org/llama.cpp/releases/download/b11549/llama-b11549-bin-ubuntu-x64.tar.gz"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[tuple[Server, str]]:
    """A server with a mirror that has one build; and its digest."""
    digest = tarball(tmp_path / "cpu.tar.gz", {"llama-b11549/llama-server": script(version="11549 (x)")})
    with FileServer({PATH: (tmp_path / "cpu.tar.gz").read_bytes()}) as mirror:
        env = {"INHOUSE_ENGINE_MIRROR": mirror.url("/gh"), "PATH": "/usr/bin:/bin"}
        with serving(tmp_path / "home", **env) as server:
            yield server, digest


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server for what changes nothing."""
    with serving(tmp_path_factory.mktemp("shared") / "home", PATH="/usr/bin:/bin") as server:
        yield server


def ours(server: Server) -> dict[str, str]:
    """What the command line of this user sends."""
    return {"x-inhouse-local": json.loads((server.home / "server.json").read_text())["token"]}


def post(server: Server, what: str, **body: Any) -> Answer:
    return server.ask("POST", f"/api/engines/{what}", body, ours(server), timeout=120)


def builds(server: Server) -> dict[str, dict[str, Any]]:
    answer = server.ask("GET", "/api/engines").json
    return {one["name"]: one for one in answer["builds"]}


def chosen(server: Server) -> list[str]:
    return [name for name, one in builds(server).items() if one["chosen"]]


def test_a_build_comes_from_a_mirror_is_chosen_and_goes(place: tuple[Server, str]) -> None:
    server, digest = place
    assert chosen(server) == ["wheel"]
    wrong = post(server, "install", name="cpu", sha256=["a" * 64])
    assert "has the digest" in wrong.lines[-1]["error"]
    assert set(builds(server)) == {"path", "wheel"}

    done = post(server, "install", name="cpu", sha256=[f"sha256:{digest}"]).lines[-1]
    assert done["status"] == "success"
    assert done["result"]["chosen"] is False
    assert "no model to measure with" in done["result"]["not_measured"].lower()
    one = builds(server)["cpu"]
    assert (one["ok"], one["record"]["sha256"], one["record"]["pinned"]) == (True, digest, "user")
    assert one["loses"] == ["lark"]

    assert post(server, "use", name="cpu").json["engine"] == "llama.cpp (cpu)"
    assert chosen(server) == ["cpu"]
    assert 'engine="llama.cpp (cpu)"' in server.ask("GET", "/metrics").body.decode()
    server.stop()
    server.start()
    assert chosen(server) == ["cpu"]
    assert post(server, "use", name="auto").json["engine"] == "llama.cpp (wheel)"
    assert post(server, "remove", name="cpu").status == 200
    assert set(builds(server)) == {"path", "wheel"}
    kinds = [one["kind"] for one in server.ask("GET", "/api/events").json["events"]]
    assert kinds.count("engine") >= 3


def test_only_the_user_of_this_machine_changes_what_runs(shared: Server) -> None:
    server, digest = shared, "a" * 64
    for what, body in (
        ("install", {"name": "cpu", "sha256": [digest]}),
        ("build", {}),
        ("bench", {}),
        ("use", {"name": "wheel"}),
        ("remove", {"name": "cpu"}),
    ):
        answer = server.ask("POST", f"/api/engines/{what}", body)
        assert answer.status == 403, what
    assert set(builds(server)) == {"path", "wheel"}


@pytest.mark.parametrize(
    ("what", "body", "status"),
    [
        ("install", {}, 400),
        ("install", {"name": 5}, 400),
        ("install", {"name": "cpu", "sha256": "x"}, 400),
        ("install", {"name": "cpu", "jobs": -1}, 400),
        ("use", {"name": "nothing"}, 404),
        ("use", {"name": "vulkan"}, 404),
        ("remove", {"name": "nothing"}, 404),
        ("remove", {"name": "wheel"}, 400),
        ("bench", {"rounds": 0}, 400),
    ],
)
def test_bad_wishes_are_refused(shared: Server, what: str, body: Any, status: int) -> None:
    answer = post(shared, what, **body)
    assert answer.status == status
    assert answer.json["error"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"name": "metal"}, "does not fit this machine"),
        ({"name": "nothing"}, "no build called"),
        ({"name": "cpu", "sha256": ["xyz"]}, "64 hex"),
        ({"name": "cpu", "version": "../../x", "sha256": ["a" * 64]}, "no version"),
    ],
)
def test_what_cannot_be_installed_says_why(shared: Server, body: Any, said: str) -> None:
    assert said in post(shared, "install", **body).lines[-1]["error"]


def test_a_server_killed_while_it_installs_starts_without_the_half(place: tuple[Server, str]) -> None:
    server, _ = place
    half = server.home / "engines" / ".new-half"
    (half / "files").mkdir(parents=True)
    (half / "files" / "llama-server").write_bytes(b"x")
    server.stop(signal.SIGKILL)
    server.start()
    assert set(builds(server)) == {"path", "wheel"}
    assert not half.exists()


def test_a_client_that_leaves_a_silent_job_ends_it(tmp_path: Path) -> None:
    """Nothing is printed for minutes while a large file is compiled; Ctrl-C must end it all the same."""
    tools, pids = tmp_path / "tools", tmp_path / "pids"
    cmake = (
        f"#!/bin/sh\n[ $1 = --build ] && {{ echo $$ > {pids}; echo '[1/9] x'; exec sleep 100; }}; exit 0\n"
    )
    executable(tools / "cmake", cmake.encode())
    executable(tools / "c++", b"#!/bin/sh\n")
    source = tmp_path / "src.tar.gz"
    within = named("native").files[0].within
    digest = tarball(source, {f"{within}/CMakeLists.txt": b"project(x)"})
    env = {"PATH": f"{tools}:/usr/bin:/bin", "INHOUSE_KEEPALIVE_INTERVAL": "0.2"}
    with serving(tmp_path / "home", **env) as server:
        line = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        body = json.dumps({"name": "native", "files": [str(source)], "sha256": [digest]})
        line.request("POST", "/api/engines/build", body, ours(server) | {"content-type": "application/json"})
        answer = line.getresponse()
        while b"compiling" not in answer.readline():
            pass
        pid = int(pids.read_text())
        answer.close()
        line.close()
        until(lambda: not Path(f"/proc/{pid}").exists())
        until(lambda: not list((server.home / "engines").glob(".new-*")))


@pytest.mark.model
def test_a_build_that_breaks_while_it_loads_gives_way_and_says_so(tmp_path: Path) -> None:
    """The program starts, but not with a model: the one that is asked again is the wheel."""
    broken = "error while loading shared libraries: libggml-cuda.so.9: cannot open shared object file"
    path = tmp_path / "mine.tar.gz"
    digest = tarball(path, {"bin/llama-server": script(loading=broken)})
    home = tmp_path / "home"
    home.mkdir()
    os.symlink(model_home(SMALL) / "models", home / "models")
    with serving(home, PATH="/usr/bin:/bin") as server:
        done = post(server, "install", name="mine", files=[str(path)], sha256=[digest]).lines[-1]
        assert done["status"] == "success"
        assert post(server, "use", name="mine").status == 200
        answer = server.chat("Say hello.", model=SMALL, max_tokens=4)
        assert answer.status == 200, answer.body
        [loaded] = until(server.loaded)
        assert loaded["variant"] == "wheel"
        assert any("libggml-cuda.so.9" in note for note in loaded["notices"])
        events = server.ask("GET", "/api/events").json["events"]
        assert any(one["kind"] == "fallback" and "libggml-cuda.so.9" in one["cause"] for one in events)
        assert builds(server)["mine"]["ok"] is False
        assert chosen(server) == ["wheel"]
