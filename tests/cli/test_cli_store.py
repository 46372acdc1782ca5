"""The store's commands: what they send, print and return; and against a real server, what becomes of it."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.scripted import CARD, Api, Invoke, Refusal
from inhouse.store.store import Store
from support import tiny_gguf
from support.lifecycle import name, parts, sha256
from support.running import Server
from support.running import serving as running

DONE = {"status": "success"}
STEPS = [
    {"status": "pulling manifest"},
    {"status": "pulling 0123", "digest": "sha256:0", "total": 9, "completed": 9},
    DONE,
]
MODEL, OTHER = tiny_gguf.model(1), tiny_gguf.model(2)


# -- what is sent and printed -----------------------------------------------------------------


@pytest.mark.parametrize(
    "words, path, body",
    [
        ("pull tiny", "/api/pull", {"model": "tiny"}),
        ("pull tiny --insecure --fresh --embedded-template", "/api/pull",
         {"model": "tiny", "insecure": True, "fresh": True, "use_embedded_template": True}),
        ("push tiny", "/api/push", {"model": "tiny", "insecure": False}),
        ("push tiny oci://h/r:t --insecure", "/api/push", {"model": "tiny", "target": "oci://h/r:t", "insecure": True}),
        ("quantize tiny small Q4_K_M", "/api/create", {"model": "small", "from": "tiny", "quantize": "Q4_K_M"}),
        ("quantize tiny small Q4_0 --allow-requantize", "/api/create",
         {"model": "small", "from": "tiny", "quantize": "Q4_0", "allow_requantize": True}),
        ("convert tiny made", "/api/create", {"model": "made", "from": "tiny", "quantize": "F16"}),
        ("convert tiny made --type Q8_0", "/api/create", {"model": "made", "from": "tiny", "quantize": "Q8_0"}),
        ("convert --install", "/api/converter", {}),
        ("verify", "/api/verify", {"repair": False}),
        ("verify --repair", "/api/verify", {"repair": True}),
        ("outdated", "/api/outdated", {"models": []}),
        ("outdated a b", "/api/outdated", {"models": ["a", "b"]}),
    ],
)  # fmt: skip
def test_jobs_are_asked_for_and_silent_without_a_terminal(
    api: Api, invoke: Invoke, words: str, path: str, body: dict[str, Any]
) -> None:
    api.routes[path] = STEPS
    result = invoke(*words.split())
    assert result.code == 0
    assert api.bodies(path) == [{**body, "stream": True}]
    assert "pulling" not in result.out + result.err


@pytest.mark.parametrize(
    "words",
    ["pull x", "push x", "quantize x y Q4_0", "convert x y", "convert --install", "verify", "outdated"],
)
def test_a_job_that_breaks_off_is_an_error(api: Api, invoke: Invoke, words: str) -> None:
    for path in ("/api/pull", "/api/push", "/api/create", "/api/converter", "/api/verify", "/api/outdated"):
        api.routes[path] = [{"status": "pulling manifest"}]
    result = invoke(*words.split())
    assert result.code == 1
    assert "broke off" in result.err
    assert "Hint: " in result.err


@pytest.mark.parametrize(
    "words", ["pull x", "push x", "quantize x y Q4_0", "convert x y", "verify", "outdated", "update x"]
)
def test_a_job_that_fails_on_the_way_says_why(api: Api, invoke: Invoke, words: str) -> None:
    line = [{"status": "pulling manifest"}, {"error": "the disk is full", "hint": "Free some space."}]
    for path in ("/api/pull", "/api/push", "/api/create", "/api/verify", "/api/outdated"):
        api.routes[path] = line
    api.routes["/api/show"] = {"digest": "a" * 64}
    result = invoke(*words.split())
    assert (result.code, result.err) == (1, "Error: the disk is full\nHint: Free some space.\n")


@pytest.mark.parametrize(
    "words",
    ["alias x", "rollback", "push", "quantize x y", "convert x", "convert", "export x", "import", "diff"],
)
def test_words_that_are_missing_are_a_usage_error(api: Api, invoke: Invoke, words: str) -> None:
    assert invoke(*words.split()).code == 2
    assert [one.path for one in api.asked if one.method == "POST"] == []


@pytest.mark.parametrize(
    "words, path",
    [
        ("alias y x", "/api/alias"),
        ("rollback x", "/api/rollback"),
        ("diff x", "/api/diff"),
        ("lock x", "/api/lock"),
    ],
)
def test_an_unknown_model_is_exit_code_3(
    api: Api, invoke: Invoke, words: str, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    api.routes[path] = Refusal(404, {"error": "model 'x' not found"})
    result = invoke(*words.split())
    assert result.code == 3
    assert result.err.startswith("Error: model 'x' not found\n")
    assert not (tmp_path / "models.lock").exists()


def test_alias_and_rollback(api: Api, invoke: Invoke) -> None:
    api.routes |= {"/api/alias": {"name": "y", "model": "x"}}
    api.routes["/api/rollback"] = {"model": "x:latest", "digest": "0123456789abcdef", "origin": ""}
    assert invoke("alias", "y", "x").code == 0
    assert api.bodies("/api/alias") == [{"name": "y", "model": "x"}]
    assert invoke("rollback", "x").err == "x:latest is 0123456789ab again.\n"


def test_update_says_what_became_of_each(api: Api, invoke: Invoke) -> None:
    shown = iter(["a" * 64, "b" * 64, "c" * 64, "c" * 64])
    api.routes["/api/show"] = lambda asked: {"digest": next(shown)}
    api.routes["/api/pull"] = STEPS
    result = invoke("update", "x", "y")
    assert result.err == f"x is {'b' * 12} now, it was {'a' * 12}.\ny is up to date.\n"
    assert api.bodies("/api/pull") == [
        {"model": m, "fresh": True, "insecure": False, "stream": True} for m in ("x", "y")
    ]


def test_update_of_all_asks_which_are_outdated(api: Api, invoke: Invoke) -> None:
    found = [{"model": "x", "status": "outdated"}, {"model": "y", "status": "current"}]
    api.routes |= {
        "/api/outdated": [{**DONE, "result": found}],
        "/api/pull": STEPS,
        "/api/show": {"digest": "a" * 64},
    }
    invoke("update")
    assert [body["model"] for body in api.bodies("/api/pull")] == ["x"]
    api.routes["/api/outdated"] = [{**DONE, "result": []}]
    assert invoke("update").err == "Nothing is outdated.\n"


def test_outdated_is_a_table_or_json(api: Api, invoke: Invoke) -> None:
    found = [{"model": "x", "status": "outdated", "newest": "v2", "source": "hf.co/a/b"}]
    api.routes["/api/outdated"] = [{**DONE, "result": found}]
    head, row = invoke("outdated").out.splitlines()
    assert head.split() == ["NAME", "STATUS", "NEWEST", "SOURCE"]
    assert row.split() == ["x", "outdated", "v2", "hf.co/a/b"]
    assert json.loads(invoke("outdated", "--json").out) == found


def test_verify_is_exit_code_1_when_something_is_wrong(api: Api, invoke: Invoke, tmp_path: Path) -> None:
    problem = {
        "model": "x",
        "what": "the weights are missing",
        "fix": "inhouse verify --repair",
        "digest": "",
    }
    api.routes["/api/verify"] = [{**DONE, "result": [problem]}]
    result = invoke("verify")
    assert (result.code, result.out) == (1, "x: the weights are missing. inhouse verify --repair\n")
    assert result.err.startswith("Error: 1 thing is not as it should be")
    lock = tmp_path / "models.lock"
    lock.write_text('{"inhouse_lock": 1}')
    api.routes["/api/lock/check"] = {
        "differences": [{"model": "y", "what": "digest", "locked": "a", "found": "b"}]
    }
    result = invoke("verify", "--lock", str(lock), "--json")
    assert result.code == 1
    assert json.loads(result.out)["differences"][0]["model"] == "y"
    assert json.loads(result.out)["problems"] == [problem]
    api.routes["/api/verify"] = [{**DONE, "result": []}]
    assert invoke("verify").err == "Everything is as it should be.\n"


@pytest.mark.parametrize("text", [None, "", "{", b"\xff\xfe"])
def test_a_lock_file_that_is_none_is_told_before_the_work(
    api: Api, invoke: Invoke, tmp_path: Path, text: Any
) -> None:
    path = tmp_path / "x.lock"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    result = invoke("verify", "--lock", str(path))
    assert result.code == 2
    assert result.err.startswith("Error: x.lock ")
    assert api.bodies("/api/verify") == []


def test_lock_writes_a_file_or_stdout(
    api: Api, invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    api.routes["/api/lock"] = answer = {"inhouse_lock": 1, "models": [{"name": "ü"}]}
    assert invoke("lock").err == "1 models are locked in models.lock.\n"
    assert json.loads((tmp_path / "models.lock").read_text("utf-8")) == answer
    result = invoke("lock", "a", "b", "-o", "-")
    assert json.loads(result.out) == answer
    assert api.bodies("/api/lock") == [{"models": []}, {"models": ["a", "b"]}]
    assert invoke("lock", "-o", str(tmp_path / "absent" / "x")).code == 2


def test_diff_is_told_in_words_or_json(api: Api, invoke: Invoke) -> None:
    api.routes["/api/diff"] = answer = {
        "from": {"name": "a", "digest": "sha256:" + "1" * 64},
        "to": {"name": "b", "digest": "sha256:" + "2" * 64},
        "weights": True, "template": False, "tokenizer": False, "parameters": True,
        "changes": {"files": {}, "defaults": {"from": {}, "to": {"top_k": 1}}},
    }  # fmt: skip
    lines = invoke("diff", "a", "b").out.splitlines()
    assert lines[0] == f"a {'1' * 12} -> b {'2' * 12}"
    assert [line.split() for line in lines[1:3]] == [["weights", "changed"], ["template", "same"]]
    assert lines[-1] == "  defaults: {} -> {'top_k': 1}"
    assert json.loads(invoke("diff", "a", "--json").out) == answer
    assert api.bodies("/api/diff") == [{"model": "a", "other": "b"}, {"model": "a"}]


def test_prune_and_du(api: Api, invoke: Invoke) -> None:
    api.routes["/api/prune"] = freed = {
        "previous": 1_000_000,
        "unused": 0,
        "partial": 500,
        "prompts": 2_000_000,
        "total": 3_000_500,
        "dry_run": True,
    }
    assert invoke("prune", "-n").out.startswith("3 MB would be freed: ")
    assert invoke("prune", "--all").out.startswith("3 MB freed: ")
    assert "2 MB of saved prompts" in invoke("prune", "-n").out
    assert json.loads(invoke("prune", "--json").out) == freed
    assert api.bodies("/api/prune")[:2] == [{"dry_run": True, "all": False}, {"dry_run": False, "all": True}]
    api.routes["/api/store"] = disk = {
        "models": [{"model": "x", "size": 2_000_000, "own": 1_000_000, "in_place": 0}],
        "blobs": 5, "previous": 0, "unused": 0, "partial": 0, "free": 10**9,
        "prompts": 7_000_000, "prompts_unused": 3_000_000,
    }  # fmt: skip
    lines = invoke("du").out.splitlines()
    assert lines[0].split() == ["NAME", "SIZE", "OWN", "IN", "PLACE"]
    assert lines[1].split() == ["x", "2", "MB", "1", "MB", "-"]
    assert [line.split()[-2:] for line in lines if "saved prompts" in line or "of gone models" in line] == [
        ["7", "MB"],
        ["3", "MB"],
    ]
    assert json.loads(invoke("du", "--json").out) == disk


def test_list_all_shows_other_programs_models(api: Api, invoke: Invoke) -> None:
    theirs = {
        "program": "Ollama",
        "name": "ollama:llama3.2:1b",
        "size": 1_300_000_000,
        "modified_at": 1735689600.0,
    }
    api.routes["/api/foreign"] = {"models": [theirs]}
    text = invoke("list", "--all").out
    assert "ollama:llama3.2:1b" in text
    assert "Ollama" in text
    assert "tiny:latest" in text
    assert json.loads(invoke("list", "-a", "--json").out) == [CARD, theirs]
    assert "ollama" not in invoke("list").out
    assert json.loads(invoke("list", "--json", "--label", "x").out) == []


@pytest.mark.parametrize("seal", ["x", "0" * 63, "0" * 65, "&" * 64, "ü" * 64])
def test_a_seal_that_is_none_is_told(api: Api, invoke: Invoke, tmp_path: Path, seal: str) -> None:
    (tmp_path / "b").write_bytes(b"x")
    assert invoke("import", str(tmp_path / "b"), "--seal", seal).code == 2
    assert [one for one in api.asked if one.path.startswith("/api/import")] == []


def test_files_that_are_not_there_are_told(
    api: Api, invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for words in (["import", "nope"], ["create", "x"], ["create", "x", "-f", "nope.toml"]):
        result = invoke(*words)
        assert result.code == 2
        assert "Hint: " in result.err
        assert str(tmp_path) not in result.err


# -- against a real server --------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("real"), INHOUSE_ENGINE="fake") as server:
        yield server


@pytest.fixture(params=["own", "elsewhere"])
def served(
    request: pytest.FixtureRequest, real: Server, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Server:
    """A server of this home, or one that is only known by its address."""
    if request.param == "own":
        monkeypatch.setenv("INHOUSE_HOME", str(real.home))
    else:
        monkeypatch.setenv("INHOUSE_HOST", f"127.0.0.1:{real.port}")
    monkeypatch.chdir(tmp_path)
    for model in real.ask("GET", "/api/tags").json["models"]:
        if not model["name"].startswith("fake"):
            real.ask("DELETE", "/api/delete", {"model": model["name"]})
    real.ask("POST", "/api/prune", {"all": True})
    return real


def test_a_model_file_becomes_a_model(served: Server, invoke: Invoke, tmp_path: Path) -> None:
    for file, data in parts().items():  # all parts come along when the first is named
        (tmp_path / file).write_bytes(data)
    (tmp_path / "Modelfile").write_text("FROM ./m-00001-of-00003.gguf\nSYSTEM Be brief.\nPARAMETER top_k 3\n")
    result = invoke("create", "mine")
    assert (result.code, result.out, result.err) == (0, "", "")
    card = Store(served.home).get(name("mine"))
    assert (card.system, card.defaults["top_k"], len(card.files)) == ("Be brief.", 3, 3)


def test_weights_are_used_in_place_or_sent_once(served: Server, invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(MODEL)
    (tmp_path / "Modelfile").write_text("FROM m.gguf\n")
    assert invoke("create", "mine").code == 0
    (file,) = Store(served.home).get(name("mine")).files
    own = file.in_place
    assert own == (file.path == str(tmp_path / "m.gguf"))
    assert served.ask("HEAD", f"/api/blobs/{sha256(MODEL)}").status == (404 if own else 200)
    assert invoke("create", "again").code == 0


def test_a_create_that_cannot_be_is_one_clear_error(served: Server, invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(MODEL[:-1])
    (tmp_path / "Modelfile").write_text("FROM ./m.gguf\n")
    result = invoke("create", "mine")
    assert result.code in (1, 2)
    assert "byte" in result.err
    assert "Traceback" not in result.err
    assert str(served.home) not in result.err


def test_models_travel_in_a_sealed_file(served: Server, invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(MODEL)
    (tmp_path / "Modelfile").write_text("FROM m.gguf\nSYSTEM Hi.\n")
    assert invoke("create", "mine").code == 0
    digest = Store(served.home).get(name("mine")).digest
    result = invoke("export", "mine", "-o", "out.inhouse")
    seal = result.out.strip()
    assert (result.code, len(seal)) == (0, 64)
    assert invoke("export", "mine", "-o", "out.inhouse").code == 1
    assert invoke("export", "mine", "-o", "out.inhouse", "--force").out.strip() == seal
    assert invoke("rm", "mine").code == 0
    assert invoke("import", "out.inhouse", "--seal", "0" * 64).code == 1
    assert invoke("import", "out.inhouse", "--seal", seal).out == "mine:latest\n"
    assert Store(served.home).get(name("mine")).digest == digest
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith("out")) == ["out.inhouse"]


def test_a_damaged_bundle_is_refused(served: Server, invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(MODEL)
    (tmp_path / "Modelfile").write_text("FROM m.gguf\n")
    invoke("create", "mine")
    invoke("export", "mine", "-o", "out.inhouse")
    invoke("rm", "mine")
    data = (tmp_path / "out.inhouse").read_bytes()
    for broken in (data[:-100], data[:3000], b"", data[:4000] + bytes([data[4000] ^ 1]) + data[4001:]):
        (tmp_path / "broken").write_bytes(broken)
        result = invoke("import", "broken")
        assert result.code in (1, 2)
        assert result.err.startswith("Error: ")
    assert [c for c in Store(served.home).cards() if c.name.model == "mine"] == []


def test_an_export_that_fails_leaves_no_file(served: Server, invoke: Invoke, tmp_path: Path) -> None:
    assert invoke("export", "nope", "-o", "out.inhouse").code == 3
    assert invoke("export", "nope", "-o", str(tmp_path / "absent" / "x")).code in (2, 3)
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith("out")] == []


def test_the_whole_life_of_a_name(served: Server, invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "Modelfile").write_text("FROM m.gguf\n")
    for data in (MODEL, OTHER):
        (tmp_path / "m.gguf").unlink(missing_ok=True)
        (tmp_path / "m.gguf").write_bytes(data)
        assert invoke("create", "mine").code == 0
    assert invoke("alias", "quick", "mine").code == 0
    assert invoke("lock").code == 0
    assert "weights     changed" in invoke("diff", "mine").out
    assert "mine:latest" in invoke("du").out
    assert invoke("verify", "--lock", "models.lock").code == (0 if (tmp_path / "m.gguf").exists() else 1)
    assert json.loads(invoke("outdated", "mine", "--json").out)[0]["status"] in ("no source", "pinned")
    assert invoke("prune", "--json").code == 0
    assert invoke("rollback", "mine").code == 1
    assert invoke("cp", "quick", "other").code == 0
    assert invoke("rm", "quick", "mine", "other").code == 0


def test_only_the_own_server_is_told_paths(
    served: Server, invoke: Invoke, tmp_path: Path, real: Server
) -> None:
    (tmp_path / "m.gguf").write_bytes(MODEL)
    result = invoke("pull", "./m.gguf")
    if result.code:
        assert "runs elsewhere" in result.err
    else:
        assert Store(real.home).cards()[0].weights == str(tmp_path / "m.gguf")
    with socket.create_connection(("127.0.0.1", real.port), 5):
        assert real.ask("GET", "/health").status == 200
