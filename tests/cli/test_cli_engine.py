"""``inhouse engine``: what it asks of the server and what it tells people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cli.scripted import Api, Invoke, Refusal

ONE = {
    "name": "native", "version": "b1 native abc", "backend": "cpu", "chosen": True, "in_use": True, "ok": True,
    "why_not": "", "fix": "", "because": "it measured 1.34 times the wheel's speed", "speed": 1.34,
    "measured": "", "loses": ["lark"], "record": None,
}  # fmt: skip
WHEEL = {**ONE, "name": "wheel", "chosen": False, "in_use": False, "because": "it comes with Inhouse",
         "speed": 1.0, "loses": []}  # fmt: skip
CUDA = {
    **WHEEL,
    "name": "cuda-13",
    "ok": False,
    "why_not": "it finds no device",
    "fix": "Remove it.",
    "speed": None,
}
OFFER = {
    "name": "vulkan", "version": "b1", "backend": "vulkan", "source": "release", "inside": "llama-server with Vulkan",
    "licence": "MIT", "loses": [], "minutes": 0, "download": 0, "why_not": "",
}  # fmt: skip
LIST = {
    "use": "auto",
    "chosen": "llama.cpp (native)",
    "builds": [ONE, WHEEL, CUDA],
    "available": [OFFER, {**OFFER, "name": "metal", "why_not": "there is none"}],
    "engines": [{"name": "vllm", "ok": False, "why": "it is not installed", "fix": "Install it."}],
}


def done(**result: Any) -> list[Any]:
    facts = {"engine": "llama.cpp (wheel)", "engine_build": "x"}
    return [
        {"status": "compiling", "total": 2, "completed": 1},
        {"status": "success", "result": {**facts, **result}},
    ]


def test_the_list_tells_what_is_used_and_why(api: Api, invoke: Invoke) -> None:
    api.routes["/api/engines"] = LIST
    result = invoke("engine", "list")
    assert result.code == 0
    lines = {words[0]: line for line in result.out.splitlines() if (words := line.replace("*", "").split())}
    assert lines["native"].startswith("*")
    assert "1.34x" in lines["native"]
    assert "no lark grammars" in lines["native"]
    assert lines["native"].endswith("in use")
    assert "not used: it finds no device. Remove it." in lines["cuda-13"]
    assert "vulkan" in lines
    assert "metal" not in lines
    assert "1 more do not fit" in result.err


def test_the_list_is_json_for_programs(api: Api, invoke: Invoke) -> None:
    api.routes["/api/engines"] = LIST
    assert '"why_not": "there is none"' in invoke("engine", "list", "--json").out


def test_an_install_names_its_files_absolutely_and_tells_the_outcome(
    api: Api, invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.tar.gz").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    api.routes["/api/engines/install"] = done(
        installed="cpu", chosen=False, because="slower", not_measured="none"
    )
    result = invoke("engine", "install", "cpu", "--from", "a.tar.gz", "--sha256", "ab", "--sha256", "cd")
    assert (result.code, result.out) == (
        0,
        "cpu is installed. llama.cpp (wheel) runs models; of cpu: slower.\n",
    )
    assert "It was not measured: none" in result.err
    [body] = api.bodies("/api/engines/install")
    assert body["files"] == [str(tmp_path / "a.tar.gz")]
    assert (body["name"], body["sha256"]) == ("cpu", ["ab", "cd"])
    assert "anyway" not in body


def test_a_build_says_that_it_runs_models_now(api: Api, invoke: Invoke) -> None:
    api.routes["/api/engines/build"] = done(
        installed="native", chosen=True, because="it is faster", not_measured=""
    )
    result = invoke("engine", "build", "--jobs", "1", "--with-tools")
    assert result.out == "native is installed and runs models from now on: it is faster.\n"
    [body] = api.bodies("/api/engines/build")
    assert (body["name"], body["jobs"], body["with_tools"]) == ("native", 1, True)


def test_a_refusal_is_told_and_fails(api: Api, invoke: Invoke) -> None:
    api.routes["/api/engines/install"] = [{"error": "The build 'x' does not fit this machine: so. Do that."}]
    result = invoke("engine", "install", "x")
    assert result.code == 1
    assert "does not fit this machine" in result.err
    assert invoke("engine", "install", "x", "--from", "none.tar.gz").code == 2


def test_use_and_remove(api: Api, invoke: Invoke) -> None:
    api.routes["/api/engines/use"] = {"use": "auto", "engine": "llama.cpp (wheel)", "engine_build": "x"}
    assert invoke("engine", "use", "auto").out == "llama.cpp (wheel) runs models from now on.\n"
    api.routes["/api/engines/remove"] = {}
    assert invoke("engine", "remove", "cpu", "--force").code == 0
    assert api.bodies("/api/engines/remove") == [{"name": "cpu", "force": True}]
    api.routes["/api/engines/remove"] = Refusal(
        409, {"error": "The build 'cpu' runs m now. Stop that first."}
    )
    result = invoke("engine", "remove", "cpu")
    assert (result.code, "runs m now" in result.err) == (1, True)


def test_bench_prints_both_rates_and_their_ratios(api: Api, invoke: Invoke) -> None:
    rows = [
        {"build": "wheel", "prefill": 100.0, "decode": 10.0},
        {
            "build": "native",
            "prefill": 150.0,
            "decode": 11.0,
            "times_prefill": 1.5,
            "times_decode": 1.1,
            "speed": 1.2,
        },
    ]
    api.routes["/api/engines/bench"] = done(model="tiny:latest", builds=rows)
    result = invoke("engine", "bench", "tiny", "--rounds", "4", "--build", "native")
    assert result.out.splitlines()[2].split() == ["native", "150.0", "11.0", "1.50x", "1.10x"]
    assert "tiny:latest" in result.err
    assert api.bodies("/api/engines/bench")[0] == {
        "model": "tiny", "builds": ["native"], "rounds": 4, "stream": True,
    }  # fmt: skip
    assert '"speed": 1.2' in invoke("engine", "bench", "--json").out
