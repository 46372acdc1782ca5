"""``inhouse plan``: what it asks the server, and how the answer reads."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from cli.scripted import Api, Invoke
from inhouse.cli import plans

MIB = 2**20
DEVICE = {
    "name": "CPU", "kind": "cpu", "layers": [0, 27], "weights": 4000 * MIB, "kv": 500 * MIB,
    "compute": 50 * MIB, "runtime": 100 * MIB, "total": 4650 * MIB, "free": 8000 * MIB,
}  # fmt: skip
SPEED = {
    "decode": {"low": 4.0, "high": 12.5}, "together": {"low": 16.0, "high": 50.0},
    "prefill": {"low": 20.0, "high": 90.0}, "ttft": {"low": 5.7, "high": 25.8}, "basis": "nothing",
}  # fmt: skip
ANSWER: dict[str, Any] = {
    "model": "big:7b", "source": "catalogue", "quantization": "Q4_K_M", "parameters": 7_000_000_000,
    "size": 4466 * MIB, "download": 4466 * MIB, "engine_build": "wheel 1",
    "machine": {"here": True, "fingerprint": "x", "cpu": "Some CPU", "cores": 8, "bandwidth": 1, "gpus": []},
    "context": 8192, "users": 4, "kv_type": "f16", "batch": 128, "prompt": 512, "fits": True,
    "largest_context": 32_768,
    "memory": {
        "weights": 4000 * MIB, "rearranged": 2900 * MIB, "needed": 4650 * MIB, "resident": 7500 * MIB,
        "learnt": 0, "free": 8000 * MIB,
    },
    "devices": [DEVICE], "gpu_layers": 0, "speed": SPEED, "advice": [], "notes": ["Something."],
    "record": [
        {"what": "memory", "count": 12, "median": 0.02, "worst": 0.1, "within": 11},
        {"what": "decode", "count": 3, "median": 0.09, "worst": 0.1, "within": 3},
        {"what": "prefill", "count": 0, "median": 0, "worst": 0, "within": 0},
    ],
}  # fmt: skip
ROW = {
    "quantization": "Q4_K_M", "stored": True, "size": 4466 * MIB, "bits": 4.91, "needed": 4650 * MIB,
    "fits": True, "largest_context": 32_768, "decode": [4.0, 12.5], "quality": None,
}  # fmt: skip


def answer(**changes: Any) -> dict[str, Any]:
    return copy.deepcopy(ANSWER) | changes


def test_the_plan_reads_from_the_model_to_its_speed(api: Api, invoke: Invoke) -> None:
    api.routes["/api/plan"] = answer()
    result = invoke("plan", "big:7b")
    assert result.code == 0
    lines = result.out.splitlines()
    assert lines[0] == "big:7b  Q4_K_M, 4,466 MiB, not here yet, 4,466 MiB to download"
    assert "CPU" in lines[5]
    assert "0-27" in lines[5]
    assert "It fits. The longest context that would fit: 32,768 tokens." in lines
    assert "4.0 to 12.5 tokens/s each, 16.0 to 50 tokens/s together" in result.out
    assert "after 5.7 to 26 s" in result.out
    assert "nothing was measured yet" in result.out
    assert "memory off by 2 % (last 12), tokens/s off by 9 % (last 3)" in result.out
    assert "prompt tokens/s off" not in result.out
    assert "2,900 MiB are weights that the engine rearranges" in result.out
    assert lines[-1] == "Note: Something."


def test_what_does_not_fit_says_what_is_missing_and_what_helps(api: Api, invoke: Invoke) -> None:
    memory = ANSWER["memory"] | {"needed": 9000 * MIB}
    api.routes["/api/plan"] = answer(fits=False, memory=memory, advice=["Try this: --users 1"])
    out = invoke("plan", "big").out
    assert "It does not fit: 1,000 MiB are missing." in out
    assert "  - Try this: --users 1" in out


def test_the_options_reach_the_server(api: Api, invoke: Invoke, tmp_path: Path) -> None:
    api.routes["/api/plan"] = answer()
    described = tmp_path / "machine.json"
    described.write_text('{"machine": {"cpu": "x"}}')
    options = (
        "--context",
        "4096",
        "--users",
        "2",
        "--kv-type",
        "q8_0",
        "--quant",
        "Q5_K_M",
        "--prompt",
        "99",
    )
    invoke("plan", "big", *options, "--machine", str(described), "--exact")
    (body,) = api.bodies("/api/plan")
    assert body == {
        "model": "big", "context": 4096, "users": 2, "kv_type": "q8_0", "quant": "Q5_K_M", "prompt": 99,
        "machine": {"machine": {"cpu": "x"}}, "exact": True, "quants": False, "picture": False,
    }  # fmt: skip


def test_a_file_is_named_by_its_path(api: Api, invoke: Invoke, tmp_path: Path) -> None:
    api.routes["/api/plan"] = answer(source="file")
    path = tmp_path / "Model.GGUF"
    path.write_bytes(b"GGUF")
    invoke("plan", str(path))
    (body,) = api.bodies("/api/plan")
    assert body["path"] == str(path)
    assert "model" not in body


def test_a_picture_is_written_and_not_printed(api: Api, invoke: Invoke, tmp_path: Path) -> None:
    api.routes["/api/plan"] = answer(picture="<svg/>")
    target = tmp_path / "plan.svg"
    result = invoke("plan", "big", "--picture", str(target), "--json")
    assert target.read_text() == "<svg/>"
    assert "picture" not in json.loads(result.out)
    assert str(target) in result.err


def test_quantisations_are_a_table(api: Api, invoke: Invoke) -> None:
    small = ROW | {
        "quantization": "Q2_K",
        "stored": False,
        "fits": False,
        "largest_context": 0,
        "decode": None,
    }
    api.routes["/api/plan"] = answer(quants=[ROW, small | {"quality": 0.0123}])
    out = invoke("plan", "big", "--quants").out
    assert "Q4_K_M *" in out
    first, second = (line for line in out.splitlines() if line.startswith(("Q4", "Q2")))
    assert first.split()[-4:] == ["yes", "32,768", "4.0-12.5", "-"]
    assert second.split()[-4:] == ["no", "-", "-", "0.0123"]


def test_a_broken_description_of_a_machine_is_refused(api: Api, invoke: Invoke, tmp_path: Path) -> None:
    described = tmp_path / "machine.json"
    described.write_text("not json")
    result = invoke("plan", "big", "--machine", str(described))
    assert result.code != 0
    assert "inhouse doctor --json" in result.err


def test_the_engines_own_words_stand_beside_the_formula() -> None:
    exact = {"total": 4600 * MIB, "off": 0.011, "parts": [{"name": "Host", "total": 4600 * MIB}]}
    assert "reckons 4,600 MiB (Host 4,600 MiB); the formula is off by +1.1 %" in plans.plan(
        answer(exact=exact)
    )


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"speed": None}, "Speed: not known"),
        ({"record": []}, "No plan was held against a load here yet."),
        ({"users": 1}, "one at a time"),
        ({"source": "stored", "download": 0}, "4,466 MiB, stored\n"),
        ({"machine": ANSWER["machine"] | {"gpus": ["Card"]}}, "8 cores, Card"),
    ],
)
def test_what_is_not_there_is_said(changes: dict[str, Any], said: str) -> None:
    assert said in plans.plan(answer(**changes))


def test_quantisations_of_a_model_without_tensors_cannot_be_compared() -> None:
    assert "not known before it is here" in plans.quants(answer(quants=[]))
