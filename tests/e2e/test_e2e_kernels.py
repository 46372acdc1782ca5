"""Our kernels through a real server: what ps, metrics, doctor and answers tell, with a library that only
pretends, and what a bad one does to a model (nothing)."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from support import stub_kernels
from support.models import SMALL, borrowed_home
from support.running import Server, serving, until
from support.stub_kernels import compiled

pytestmark = [pytest.mark.model, pytest.mark.timeout(300), compiled]


def env(packages: Path, **more: str) -> dict[str, str]:
    """A server that finds the library's package in a folder, and no llama-server on its path."""
    return {
        "PYTHONPATH": str(packages),
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), "/usr/bin", "/bin")),
        "INHOUSE_ENGINE": "wheel",
        "INHOUSE_CONTEXT_LENGTH": "512",
        **more,
    }


def doctor(server: Server) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is known of the kernels, and the finding about them."""
    answer = server.ask("GET", "/api/machine").json
    [finding] = [one for one in answer["findings"] if one["what"] == "kernels"]
    return answer["kernels"], finding


def reports(server: Server) -> list[Path]:
    """What workers told that run now."""
    return sorted(Path(server.env["XDG_RUNTIME_DIR"]).glob("inhouse-*/*.kernels.json"))


def test_everything_tells_of_kernels_that_are_on_and_a_worker_that_ends_takes_its_report_along(
    tmp_path: Path,
) -> None:
    packages = stub_kernels.package(tmp_path / "packages")
    run = tmp_path / "run"
    run.mkdir(mode=0o700)
    home = borrowed_home(tmp_path / "home", SMALL)
    with serving(home, **env(packages, XDG_RUNTIME_DIR=str(run))) as server:
        facts, finding = doctor(server)
        assert (facts["on"], facts["isa"]) == (True, "stub")
        assert finding["level"] == "note"  # one type failed its test
        assert "9.9 with stub for q4_K; not q5_0: its self-test failed" in finding["detail"]
        build = server.ask("GET", "/api/version").json["engine_build"]
        assert build.endswith(" + kernels 9.9")

        answer = server.chat("Say hello.", model=SMALL, max_tokens=4)
        assert answer.status == 200, answer.body
        [loaded] = until(server.loaded)
        assert loaded["build"] == build
        assert loaded["kernels"]["tensors"] == {"q4_K": 168, "q6_K": 29}
        assert server.metric("inhouse_model_kernels", model=loaded["name"]) == 1
        assert server.metric("inhouse_model_kernel_tensors", type="q6_K") == 29
        assert len(reports(server)) == 1
        server.ask("POST", "/api/generate", {"model": SMALL, "keep_alive": 0})
        until(lambda: not server.loaded() and not reports(server))


@pytest.mark.parametrize(("mood", "why"), [("crash", "crashed (SIGSEGV)"), ("out", "told to stay out")])
def test_a_library_that_fails_its_test_is_told_of_and_models_run_without(
    tmp_path: Path, mood: str, why: str
) -> None:
    packages = stub_kernels.package(tmp_path / "packages", mood)
    with serving(borrowed_home(tmp_path / "home", SMALL), **env(packages)) as server:
        facts, finding = doctor(server)
        assert facts["on"] is False
        assert why in facts["why"]
        assert why in finding["detail"]
        answer = server.chat("Say hello.", model=SMALL, max_tokens=4)
        assert answer.status == 200, answer.body
        [loaded] = until(server.loaded)
        assert "kernels" not in loaded["build"]
        assert loaded["kernels"] is None
        assert server.metric("inhouse_model_kernels", model=loaded["name"]) == 0


def test_a_setting_keeps_them_out(tmp_path: Path) -> None:
    packages = stub_kernels.package(tmp_path / "packages")
    more = env(packages, INHOUSE_KERNELS="off")
    with serving(borrowed_home(tmp_path / "home", SMALL), **more) as server:
        facts, finding = doctor(server)
        assert facts["why"] == "the setting INHOUSE_KERNELS is off"
        assert finding["detail"].startswith("off: ")
        assert "kernels" not in server.ask("GET", "/api/version").json["engine_build"]
