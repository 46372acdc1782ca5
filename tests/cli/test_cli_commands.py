"""The small commands: what they send, print and return."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cli.scripted import CARD, DIGEST, Api, Invoke, Refusal

RUNNING = CARD | {
    "size_vram": 0,
    "context_length": 8192,
    "expires_at": "2200-01-01T00:00:00Z",
    "slots": 4,
    "busy": 1,
    "waiting": 2,
    "engine": "wheel",
    "build": "b1",
    "state": "ready",
}


@pytest.mark.parametrize("name", ["list", "ls"])
def test_list_has_ollamas_columns(api: Api, invoke: Invoke, name: str) -> None:
    head, row = invoke(name).out.splitlines()
    assert head.split() == ["NAME", "ID", "SIZE", "MODIFIED"]
    assert row.split()[:4] == ["tiny:latest", DIGEST[:12], "98", "MB"]
    assert row.endswith("years ago")


def test_list_takes_a_prefix_and_gives_json(api: Api, invoke: Invoke) -> None:
    assert json.loads(invoke("list", "--json", "TI").out) == [CARD]
    assert json.loads(invoke("list", "--json", "qwen").out) == []


def test_ps_tells_where_how_long_and_how_busy(api: Api, invoke: Invoke) -> None:
    api.routes["/api/ps"] = {"models": [RUNNING]}
    head, row = invoke("ps").out.splitlines()
    assert head.split()[-4:] == ["SLOTS", "WAITING", "TOK/S", "ENGINE"]
    assert row.split("    ", 3)[3] == "100% CPU     8192       Forever    1/4      2          0        b1"
    assert json.loads(invoke("ps", "--json").out) == [RUNNING]
    api.routes["/api/ps"] = {"models": [RUNNING | {"state": "loading", "slots": 0}]}
    assert "    Loading...    -    " in invoke("ps").out


def test_ps_tells_how_fast_by_what_for_whom_and_what_to_know(api: Api, invoke: Invoke) -> None:
    told = {
        "tokens_per_second": 41.6,
        "speculative": "ngram",
        "size": 100 * 10**6,
        "size_vram": 60 * 10**6,
        "waiting_by": {"bob": 1, "others": 2, "al\x1bice": 3},
        "notices": ["It ran out of memory."],
    }
    api.routes["/api/ps"] = {"models": [RUNNING | told]}
    _, row, *notes = invoke("ps").out.splitlines()
    assert " 40%/60% CPU/GPU " in row
    assert row.endswith("    42       b1 ngram")
    assert notes == [
        f"{RUNNING['name']}: It ran out of memory.",
        f"{RUNNING['name']}: waiting: alice 3, bob 1, others 2",
    ]
    api.routes["/api/ps"] = {"models": [RUNNING | {"busy": 0, "waiting_by": {"others": 2}}]}
    _, row = invoke("ps").out.splitlines()
    assert row.endswith("    -        b1")


def test_ps_and_stop_start_no_server(home: Any, invoke: Invoke) -> None:
    assert json.loads(invoke("ps", "--json").out) == []
    result = invoke("stop", "tiny")
    assert (result.code, result.err) == (0, "No server runs, so no model is loaded.\n")
    assert not home.exists()


def test_show_has_sections(api: Api, invoke: Invoke) -> None:
    api.routes["/api/show"] = {
        "details": {"family": "llama", "parameter_size": "134.52M", "quantization_level": "Q4_1"},
        "model_info": {"general.architecture": "llama", "llama.context_length": 8192, "x": list(range(99))},
        "capabilities": ["completion", "chat"],
        "parameters": 'stop                           "<|im_end|>"\n',
        "license": ["Apache License\nVersion 2.0\nThird line"],
        "system": "Be brief.\x1b[31m",
        "tensors": [{"name": "output", "type": "Q4_1", "shape": [2, 3]}],
    }
    text = invoke("show", "tiny").out
    sections = [line.strip() for line in text.splitlines() if line.startswith("  ") and line[2] != " "]
    assert sections == ["Model", "Capabilities", "Parameters", "System", "License"]
    assert "    context length    8192" in text
    assert '    stop    "<|im_end|>"' in text
    assert "    Version 2.0\n    ...\n" in text
    assert "\x1b" not in text
    verbose = invoke("show", "-v", "tiny").out
    assert "  Tensors\n    output    Q4_1    2 x 3" in verbose
    assert "..." in verbose.split("Metadata")[1]


def test_show_one_part(api: Api, invoke: Invoke) -> None:
    api.routes["/api/show"] = {"template": "{{ x }}", "license": "Apache\n"}
    assert invoke("show", "tiny", "--template").out == "{{ x }}\n"
    assert invoke("show", "tiny", "--license").out == "Apache\n"
    assert invoke("show", "tiny", "--system").err == "This model has no system.\n"
    assert json.loads(invoke("show", "tiny", "--template", "--json").out) == {"template": "{{ x }}"}
    assert json.loads(invoke("show", "tiny", "--json").out)["license"] == "Apache\n"


def test_stop_unloads_now(api: Api, invoke: Invoke) -> None:
    api.routes["/api/generate"] = {"done": True, "done_reason": "unload"}
    assert invoke("stop", "tiny").code == 0
    assert api.bodies("/api/generate") == [{"model": "tiny", "keep_alive": 0, "stream": False}]


def test_cp_and_rm(api: Api, invoke: Invoke) -> None:
    api.routes |= {"/api/copy": None, "/api/delete": None}
    assert invoke("cp", "tiny", "mine").err == "copied 'tiny' to 'mine'\n"
    assert invoke("rm", "mine", "tiny").err == "deleted 'mine'\ndeleted 'tiny'\n"
    assert api.bodies("/api/copy") == [{"source": "tiny", "destination": "mine"}]
    assert [(a.method, a.body["model"]) for a in api.asked if a.path == "/api/delete"] == [
        ("DELETE", "mine"),
        ("DELETE", "tiny"),
    ]


@pytest.mark.parametrize("words", [["show", "x"], ["rm", "x"], ["cp", "x", "y"], ["stop", "x"]])
def test_an_unknown_model_is_exit_code_3_with_a_hint(api: Api, invoke: Invoke, words: list[str]) -> None:
    refusal = Refusal(404, {"error": "model 'x' not found"})
    api.routes |= dict.fromkeys(["/api/show", "/api/delete", "/api/copy", "/api/generate"], refusal)
    result = invoke(*words)
    assert result.code == 3
    assert result.err == (
        "Error: model 'x' not found\nHint: See what is here: inhouse list; or get it: inhouse pull x\n"
    )


@pytest.mark.parametrize(
    ("status", "code", "hint"),
    [
        (400, 2, None),
        (401, 1, "Set INHOUSE_API_KEY to the server's key."),
        (409, 1, None),
        (500, 1, None),
        (503, 1, "Try again later, or see what runs: inhouse ps"),
    ],
)
def test_a_refusal_gives_cause_hint_and_code(
    api: Api, invoke: Invoke, status: int, code: int, hint: str | None
) -> None:
    api.routes["/api/tags"] = Refusal(status, {"error": {"message": "no"}})
    result = invoke("list")
    assert (result.code, result.err) == (code, "Error: no\n" + (f"Hint: {hint}\n" if hint else ""))


def test_a_hint_of_the_server_is_shown(api: Api, invoke: Invoke) -> None:
    api.routes["/api/tags"] = Refusal(500, {"error": "disk full", "hint": "Make room."})
    assert invoke("list").err == "Error: disk full\nHint: Make room.\n"


def test_a_refusal_that_is_no_json_is_still_a_sentence(api: Api, invoke: Invoke) -> None:
    api.routes["/api/tags"] = Refusal(502, b"<html>")
    assert invoke("list").err.startswith("Error: the server answered with status 502\nHint: ")


def test_an_answer_of_the_wrong_shape_is_no_traceback(api: Api, invoke: Invoke) -> None:
    api.routes["/api/tags"] = {"other": 1}
    result = invoke("list")
    assert result.code == 1
    assert result.err.startswith("Error: this should not have happened: KeyError\n")
    assert "Traceback" not in result.err


def test_the_key_travels_as_bearer(api: Api, invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INHOUSE_API_KEY", "k1")
    invoke("list")
    assert {a.headers["Authorization"] for a in api.asked} == {"Bearer k1"}


@pytest.mark.parametrize("key", ["kéy", "a\nb"])
def test_a_key_that_is_none_is_refused_here(
    api: Api, invoke: Invoke, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("INHOUSE_API_KEY", key)
    result = invoke("list")
    assert result.code == 2
    assert key not in result.err
    assert not api.asked


def test_pull_is_quiet_without_a_terminal(api: Api, invoke: Invoke) -> None:
    api.routes["/api/pull"] = [{"status": "pulling manifest"}, {"status": "success"}]
    result = invoke("pull", "tiny")
    assert (result.code, result.out, result.err) == (0, "", "")


def test_a_pull_without_success_is_an_error(api: Api, invoke: Invoke) -> None:
    api.routes["/api/pull"] = [{"status": "pulling manifest"}]
    assert invoke("pull", "tiny").err.startswith("Error: the pull broke off\n")
    api.routes["/api/pull"] = [{"error": "pull model manifest: file does not exist"}]
    assert invoke("pull", "tiny").code == 3


def test_doctor_prints_findings_and_fixes(api: Api, invoke: Invoke) -> None:
    findings = [
        {"level": "ok", "what": "cpu", "detail": "2 cores", "fix": ""},
        {"level": "warn", "what": "no driver", "detail": "", "fix": "Install one."},
        {"level": "note", "what": "two", "detail": "a\nb"},
    ]
    api.routes["/api/machine"] = {"machine": {"cores": 2}, "engines": [], "findings": findings}
    result = invoke("doctor")
    assert result.code == 0
    assert result.out.splitlines() == [
        "ok        cpu: 2 cores",
        "warn      no driver",
        "          Fix: Install one.",
        "note      two",
        "          a",
        "          b",
    ]
    assert json.loads(invoke("doctor", "--json").out)["machine"] == {"cores": 2}


@pytest.mark.parametrize("level", ["error", "missing"])
def test_doctor_fails_when_something_is_missing(api: Api, invoke: Invoke, level: str) -> None:
    findings = [{"level": level, "what": "no engine", "fix": "Install one."}]
    api.routes["/api/machine"] = {"machine": {}, "findings": findings}
    assert invoke("doctor").code == 1


def test_doctor_tells_of_another_version(api: Api, invoke: Invoke) -> None:
    api.routes |= {"/api/machine": {"findings": []}, "/api/version": {"version": "0.33.0", "inhouse": "9"}}
    result = invoke("doctor")
    assert result.code == 0
    assert result.out == (
        "warn      the server is 9, this command is 0.1.0\n          Fix: Restart the server.\n"
    )


def test_doctor_of_an_old_server(api: Api, invoke: Invoke) -> None:
    result = invoke("doctor")
    assert (result.code, result.out.splitlines()[0]) == (1, "error     the server is too old for this")
