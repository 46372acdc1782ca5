"""The store's routes, over a real server: uploads, bundles, names, upkeep; who may name paths and who may not."""

from __future__ import annotations

import hashlib
import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from inhouse.store.store import Store
from support import tiny_gguf
from support.lifecycle import leftovers, parts, sha256
from support.running import Answer, Server, serving, until

MODEL, OTHER = tiny_gguf.model(1), tiny_gguf.model(2)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("home"), INHOUSE_ENGINE="fake") as running:
        yield running


@pytest.fixture
def fresh(server: Server) -> Server:
    """The server without models."""
    for text in names(server):
        server.ask("DELETE", "/api/delete", {"model": text})
    server.ask("POST", "/api/prune", {"all": True})
    return server


def token(server: Server) -> dict[str, str]:
    return {"x-inhouse-local": json.loads((server.home / "server.json").read_text())["token"]}


def send(server: Server, data: bytes, digest: str = "") -> Answer:
    return server.ask(
        "POST", f"/api/blobs/{digest or sha256(data)}", data, {"content-type": "application/octet-stream"}
    )


def made(server: Server, text: str, files: dict[str, bytes], **more: Any) -> Answer:
    for data in files.values():
        assert send(server, data).status in (200, 201)
    body = {
        "model": text,
        "files": {file: sha256(data) for file, data in files.items()},
        "stream": False,
        **more,
    }
    return server.ask("POST", "/api/create", body)


def names(server: Server) -> set[str]:
    listed = {model["name"] for model in server.ask("GET", "/api/tags").json["models"]}
    return {text for text in listed if not text.startswith("fake")}


# -- blobs ------------------------------------------------------------------------------------


@pytest.mark.parametrize("mark", [":", "-"])
def test_a_blob_is_taken_once_and_then_known(fresh: Server, mark: str) -> None:
    digest = sha256(MODEL).replace(":", mark)
    assert fresh.ask("HEAD", f"/api/blobs/{digest}").status == 404
    assert [send(fresh, MODEL, digest).status for _ in range(2)] == [201, 200]
    assert fresh.ask("HEAD", f"/api/blobs/{digest}").status == 200
    assert (fresh.home / "models/blobs" / sha256(MODEL).replace(":", "-")).read_bytes() == MODEL


@pytest.mark.parametrize("change", [MODEL + b"x", MODEL[:-1], OTHER, b""])
def test_other_bytes_than_the_digest_says_are_refused(fresh: Server, change: bytes) -> None:
    answer = send(fresh, change, sha256(MODEL))
    assert answer.status == 400
    assert "digest mismatch" in answer.json["error"]
    assert fresh.ask("HEAD", f"/api/blobs/{sha256(MODEL)}").status == 404
    assert leftovers(fresh.home) == []


@pytest.mark.parametrize(
    "digest",
    ["x", "sha256:", "sha256:" + "a" * 63, "sha256:" + "A" * 64, "sha512:" + "a" * 64, "sha256:" + "a" * 64 + "%00",
     "sha256:../../../etc/passwd", "sha256-..%2f..%2fetc", "%2e%2e", "sha256:" + "a" * 64 + "/x", "sha256:%FF"],
)  # fmt: skip
def test_what_is_no_digest_is_a_bad_request(fresh: Server, digest: str) -> None:
    assert fresh.ask("HEAD", f"/api/blobs/{digest}").status == 400
    answer = fresh.ask("POST", f"/api/blobs/{digest}", b"x")
    assert answer.status == 400
    assert "sha256" in answer.json["error"]


def test_a_huge_upload_is_not_held_in_memory(fresh: Server) -> None:
    chunk = bytes(range(256)) * 4096
    count = 128  # more than twice the ceiling of other bodies
    digest = hashlib.sha256()
    for _ in range(count):
        digest.update(chunk)
    process = psutil.Process(fresh.process.pid)  # type: ignore[union-attr]
    before = process.memory_info().rss
    connection = fresh.connect(60)
    connection.putrequest("POST", f"/api/blobs/sha256:{digest.hexdigest()}")
    connection.putheader("content-length", str(count * len(chunk)))
    connection.endheaders()
    most = 0
    for at in range(count):
        connection.send(chunk)
        if at % 16 == 15:
            most = max(most, process.memory_info().rss)
    assert connection.getresponse().status == 201
    connection.close()
    assert most - before < 48 * 2**20
    assert fresh.ask("POST", "/api/prune", {"all": True}).json["unused"] == count * len(chunk)


def test_a_compressed_upload_is_refused(fresh: Server) -> None:
    for path in (f"/api/blobs/{sha256(MODEL)}", "/api/import"):
        answer = fresh.ask("POST", path, MODEL, {"content-encoding": "gzip"})
        assert answer.status == 415


def test_a_sender_that_leaves_leaves_nothing(fresh: Server) -> None:
    made(fresh, "mine", {"m.gguf": OTHER})
    bundle = fresh.ask("POST", "/api/export", {"models": ["mine"]}).body
    for path, data in ((f"/api/blobs/{sha256(MODEL)}", MODEL), ("/api/import", bundle)):
        with socket.create_connection(("127.0.0.1", fresh.port), 10) as sock:
            head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(data)}\r\n\r\n"
            sock.sendall(head.encode() + data[:-1500])
            until(lambda: leftovers(fresh.home), what="the begun upload")
        until(lambda: not leftovers(fresh.home), what="its end")
    assert fresh.ask("GET", "/health").status == 200


def test_silent_senders_keep_nobody_else_waiting(fresh: Server) -> None:
    head = f"POST /api/blobs/{sha256(MODEL)} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n"
    socks = [socket.create_connection(("127.0.0.1", fresh.port), 10) for _ in range(40)]
    try:
        for sock in socks:
            sock.sendall(head.encode() + b"x")
        until(lambda: len(leftovers(fresh.home)) == len(socks), what="all uploads under way")
        assert fresh.ask("GET", "/api/tags", timeout=5).status == 200
        assert send(fresh, OTHER).status == 201
    finally:
        for sock in socks:
            sock.close()
    until(lambda: not leftovers(fresh.home), what="the end of all")


def test_a_sender_that_stays_silent_is_given_up(tmp_path: Path) -> None:
    with serving(tmp_path / "home", INHOUSE_ENGINE="fake", INHOUSE_STALL_TIMEOUT="1s") as server:
        with socket.create_connection(("127.0.0.1", server.port), 20) as sock:
            head = (
                f"POST /api/blobs/{sha256(MODEL)} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n"
            )
            sock.sendall(head.encode() + b"x")
            assert b" 400 " in sock.recv(4096)
        assert leftovers(server.home) == []


# -- creating ---------------------------------------------------------------------------------


def test_a_model_of_uploads_is_made_and_answers(fresh: Server) -> None:
    answer = made(fresh, "mine", {"m.gguf": MODEL}, system="Be brief.", aliases=["quick"], labels=["l"])
    assert (answer.status, answer.json["status"]) == (200, "success")
    assert names(fresh) == {"mine:latest", "quick:latest"}
    shown = fresh.ask("POST", "/api/show", {"model": "quick"}).json
    assert shown["system"] == "Be brief."
    assert str(fresh.home) not in json.dumps(shown)


def test_a_create_tells_its_steps(fresh: Server) -> None:
    made(fresh, "base", parts())
    answer = fresh.ask("POST", "/api/create", {"model": "child", "from": "base", "system": "Hi."})
    assert [line["status"] for line in answer.lines][-2:] == ["writing manifest", "success"]
    assert answer.headers["content-type"].startswith("application/x-ndjson")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"model": "x"},
        {"model": "x", "from": "a", "files": {"m.gguf": sha256(MODEL)}},
        {"model": "../x", "files": {"m.gguf": sha256(MODEL)}},
        {"model": "x", "files": {"../m.gguf": sha256(MODEL)}},
        {"model": "x", "files": {"/m.gguf": sha256(MODEL)}},
        {"model": "x", "files": {"m.gguf": "sha256:../../x"}},
        {"model": "x", "files": {"m.gguf": "sha256:" + "0" * 64}},
        {"model": "x", "files": {"m.gguf": sha256(MODEL), "n.gguf": sha256(MODEL)}},
        {"model": "x", "files": {"m.gguf": sha256(MODEL)}, "aliases": ["../y"]},
        {"model": "x", "files": {"m.gguf": sha256(MODEL)}, "template": "{{ .Nope.Deep }}"},
        {"model": "x", "files": {"m.gguf": sha256(MODEL)}, "quantize": "Q99"},
        {"model": "x", "from": "file:relative"},
    ],
)
def test_orders_that_cannot_be_are_bad_requests(fresh: Server, body: dict[str, Any]) -> None:
    send(fresh, MODEL)
    for stream in (False, True):
        answer = fresh.ask("POST", "/api/create", {**body, "stream": stream})
        assert answer.status == 400, answer.body
        assert answer.json["error"]
        assert "Traceback" not in answer.body.decode()
    assert names(fresh) == set()


@pytest.mark.parametrize("size", range(0, 65, 4))
def test_tiny_uploads_are_never_models_and_harm_nobody(fresh: Server, size: int) -> None:
    answer = made(fresh, "x", {"m.gguf": MODEL[:size]})
    assert answer.status == 400
    assert fresh.ask("GET", "/health").status == 200


def test_a_tensor_that_reaches_past_the_end_is_refused_by_its_byte(fresh: Server) -> None:
    evil = tiny_gguf.llama(
        tensors=(*tiny_gguf.TENSORS, tiny_gguf.Tensor("o", (2**20,), data=bytes(8)))
    ).build()
    for more in ({}, {"quantize": "Q4_K_M"}):
        answer = made(fresh, "x", {"m.gguf": evil}, **more)
        assert answer.status == 400
        assert "byte" in answer.json["error"]


# -- trust ------------------------------------------------------------------------------------


def test_paths_are_for_the_machines_own_user_only(fresh: Server, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(MODEL)
    body = {"model": "local", "paths": {"files": [str(path)]}, "stream": False}
    for headers in ({}, {"x-inhouse-local": "wrong"}, {"x-inhouse-local": ""}):
        assert fresh.ask("POST", "/api/create", body, headers).status == 403
        assert fresh.ask("POST", "/api/pull", {"model": str(path), "stream": False}, headers).status == 403
    assert names(fresh) == set()
    assert fresh.ask("POST", "/api/create", body, token(fresh)).status == 200
    assert names(fresh) == {"local:latest"}


def test_what_is_said_about_a_path_does_not_tell_whether_it_is_there(fresh: Server, tmp_path: Path) -> None:
    present = tmp_path / "m.gguf"
    present.write_bytes(MODEL)
    made(fresh, "mine", {"m.gguf": MODEL})
    paths = [
        str(present),
        str(tmp_path / "absent.gguf"),
        str(tmp_path),
        "/etc/passwd",
        "/etc/nope",
        "/dev/random",
    ]
    asks: list[tuple[str, Any]] = [
        ("/api/create", lambda path: {"model": "x", "from": path}),
        ("/api/create", lambda path: {"model": "x", "paths": {"files": [path]}}),
        ("/api/create", lambda path: {"model": "x", "from": "mine", "paths": {"adapters": [path]}}),
        ("/api/pull", lambda path: {"model": path}),
        ("/api/pull", lambda path: {"model": f"file://{path}"}),
        ("/api/push", lambda path: {"model": path}),
        ("/api/push", lambda path: {"model": "mine", "target": path}),
        ("/api/show", lambda path: {"model": path}),
        ("/api/export", lambda path: {"models": [path]}),
    ]
    for route, body in asks:
        answers = {
            (answer.status, answer.body.replace(path.encode(), b"PATH"))
            for path in paths
            for answer in [fresh.ask("POST", route, {**body(path), "stream": False})]
        }
        assert len(answers) == 1, (route, answers)
        assert 400 <= next(iter(answers))[0] < 500


def test_programs_are_installed_for_the_machines_own_user_only(fresh: Server) -> None:
    answer = fresh.ask("POST", "/api/converter", {})
    assert answer.status == 403
    assert "command line" in answer.json["error"]


def test_other_programs_models_are_told_without_paths(tmp_path: Path) -> None:
    folder = tmp_path / "llama"
    folder.mkdir()
    (folder / "theirs.gguf").write_bytes(MODEL)
    with serving(tmp_path / "home", INHOUSE_ENGINE="fake", LLAMA_CACHE=str(folder)) as server:
        bare = server.ask("GET", "/api/foreign")
        assert str(tmp_path) not in bare.body.decode()
        known = server.ask("GET", "/api/foreign", headers=token(server))
        assert str(folder / "theirs.gguf") in [one["name"] for one in known.json["models"]]


# -- bundles ----------------------------------------------------------------------------------


def test_an_export_comes_back_the_same_elsewhere(fresh: Server, tmp_path: Path) -> None:
    made(fresh, "mine", parts(), system="Hi.")
    answer = fresh.ask("POST", "/api/export", {"models": ["mine"]})
    assert answer.status == 200
    assert int(answer.headers["content-length"]) == len(answer.body)
    seal, digest = (
        answer.headers["x-inhouse-seal"],
        fresh.ask("POST", "/api/show", {"model": "mine"}).json["digest"],
    )
    fresh.ask("DELETE", "/api/delete", {"model": "mine"})
    for wrong in ("0" * 64, "x"):
        assert fresh.ask("POST", f"/api/import?seal={wrong}", answer.body).status >= 400
    assert names(fresh) == set()
    back = fresh.ask("POST", f"/api/import?seal={seal}", answer.body)
    assert (back.status, back.json) == (200, {"models": ["mine:latest"]})
    assert fresh.ask("POST", "/api/show", {"model": "mine"}).json["digest"] == digest


@pytest.mark.parametrize("cut", [0, 100, 600, 3000, -1])
def test_a_bundle_cut_short_or_none_is_a_bad_request(fresh: Server, cut: int) -> None:
    made(fresh, "mine", {"m.gguf": MODEL})
    bundle = fresh.ask("POST", "/api/export", {"models": ["mine"]}).body
    fresh.ask("DELETE", "/api/delete", {"model": "mine"})
    assert fresh.ask("POST", "/api/import", bundle[:cut]).status == 400
    assert fresh.ask("POST", "/api/import", b"x" * len(bundle)).status == 400
    assert names(fresh) == set()
    assert leftovers(fresh.home) == []


@pytest.mark.parametrize(
    "body, status",
    [
        ({}, 400),
        ({"models": []}, 400),
        ({"models": ["nope"]}, 404),
        ({"models": [1]}, 400),
        ({"models": ["../x"]}, 400),
    ],
)
def test_exports_of_nothing_are_refused(fresh: Server, body: Any, status: int) -> None:
    assert fresh.ask("POST", "/api/export", body).status == status


# -- names and upkeep -------------------------------------------------------------------------


def test_alias_rollback_diff_and_prune(fresh: Server) -> None:
    made(fresh, "mine", {"m.gguf": MODEL})
    assert fresh.ask("POST", "/api/rollback", {"model": "mine"}).status == 409
    made(fresh, "mine", {"m.gguf": OTHER})
    answer = fresh.ask("POST", "/api/alias", {"name": "quick", "model": "mine"})
    assert answer.json == {"name": "quick:latest", "model": "mine:latest"}
    assert fresh.ask("POST", "/api/alias", {"name": "mine", "model": "mine"}).status == 409
    assert fresh.ask("POST", "/api/diff", {"model": "quick"}).json["weights"] is True
    newer = fresh.ask("POST", "/api/show", {"model": "quick"}).json["digest"]
    back = fresh.ask("POST", "/api/rollback", {"model": "quick"}).json
    assert (back["model"], back["digest"] != newer) == ("mine:latest", True)
    would = fresh.ask("POST", "/api/prune", {"dry_run": True}).json
    assert (would["previous"], would["dry_run"]) == (len(OTHER), True)
    assert fresh.ask("POST", "/api/prune", b"").json["total"] == would["total"]
    assert fresh.ask("POST", "/api/rollback", {"model": "mine"}).status == 409
    assert fresh.ask("DELETE", "/api/delete", {"model": "quick"}).status == 200
    assert names(fresh) == {"mine:latest"}


def test_lock_and_check(fresh: Server) -> None:
    made(fresh, "mine", {"m.gguf": MODEL})
    lock = fresh.ask("POST", "/api/lock", {"models": ["mine"]}).json
    assert fresh.ask("POST", "/api/lock/check", lock).json == {"differences": []}
    made(fresh, "mine", {"m.gguf": OTHER})
    changed = fresh.ask("POST", "/api/lock/check", lock).json["differences"]
    assert {one["what"] for one in changed} == {"digest", "files"}
    for bad in (
        {},
        {"inhouse_lock": 2, "models": []},
        {"inhouse_lock": 1, "models": [1]},
        {"inhouse_lock": 1, "models": [{}]},
    ):
        assert fresh.ask("POST", "/api/lock/check", bad).status == 400


def test_verify_finds_what_was_changed(fresh: Server) -> None:
    made(fresh, "mine", {"m.gguf": MODEL})
    assert fresh.ask("POST", "/api/verify", {}).lines[-1] == {"status": "success", "result": []}
    blob = fresh.home / "models/blobs" / sha256(MODEL).replace(":", "-")
    blob.chmod(0o600)
    blob.write_bytes(OTHER)
    try:
        (problem,) = fresh.ask("POST", "/api/verify", {"repair": True}).lines[-1]["result"]
        assert problem["model"] == "mine:latest"
        assert fresh.ask("POST", "/api/export", {"models": ["mine"]}, timeout=5).status == 200
    except http.client.IncompleteRead as cut:  # the answer ends before its length: nobody takes it for whole
        assert len(cut.partial) < int(cut.expected or 0) + len(cut.partial)
    finally:
        fresh.ask("DELETE", "/api/delete", {"model": "mine"})


def test_outdated_says_that_nothing_can_be_newer(fresh: Server) -> None:
    made(fresh, "mine", {"m.gguf": MODEL})
    (found,) = fresh.ask("POST", "/api/outdated", {"models": ["mine"]}).lines[-1]["result"]
    assert found["status"] == "no source"
    assert fresh.ask("POST", "/api/outdated", {"models": ["nope"]}).status == 404


def test_space_is_told(fresh: Server) -> None:
    made(fresh, "mine", {"m.gguf": MODEL})
    told = fresh.ask("GET", "/api/store").json
    assert [(one["model"], one["own"]) for one in told["models"]] == [("mine:latest", len(MODEL))]


def test_saved_prompts_are_told_and_those_of_gone_models_pruned(fresh: Server) -> None:
    made(fresh, "mine", {"m.gguf": MODEL})
    prefixes = fresh.home / "prefixes"
    for weights in (sha256(MODEL)[7:23], "f" * 16):
        folder = prefixes / f"{weights}-wheel-1-k"
        folder.mkdir(parents=True)
        (folder / "one.part").write_bytes(b"x" * 1000)
    told = fresh.ask("GET", "/api/store").json
    assert (told["prompts"], told["prompts_unused"]) == (2000, 1000)
    would = fresh.ask("POST", "/api/prune", {"dry_run": True}).json
    assert (would["prompts"], would["total"] - would["partial"] - would["unused"]) == (1000, 1000)
    assert fresh.ask("POST", "/api/prune", b"").json["prompts"] == 1000
    assert fresh.ask("GET", "/api/store").json["prompts"] == 1000
    assert [folder.name[:16] for folder in prefixes.iterdir()] == [sha256(MODEL)[7:23]]


ROUTES = ["/api/alias", "/api/rollback", "/api/prune", "/api/verify", "/api/lock", "/api/lock/check", "/api/diff",
          "/api/outdated", "/api/export", "/api/create", "/api/push", "/api/pull", "/api/copy"]  # fmt: skip


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    "body", [b"{", b"null", b"[]", b'"x"', b"\xff", b'{"model": 1}', b'{"models": "x"}', b'{"model": {}}',
             b'{"all": "yes", "repair": 3, "name": [], "models": {}, "source": 1, "inhouse_lock": "1"}', b"[" * 10_000],
)  # fmt: skip
def test_bad_bodies_are_bad_requests(fresh: Server, route: str, body: bytes) -> None:
    answer = fresh.ask("POST", route, body)
    assert 400 <= answer.status < 500 or (
        answer.status == 200 and route in ("/api/prune", "/api/verify", "/api/lock", "/api/outdated")
    ), answer.body
    assert b"Traceback" not in answer.body


def test_the_store_on_disk_is_whole_after_all_that(fresh: Server) -> None:
    made(fresh, "mine", parts())
    store = Store(fresh.home)
    assert store.problems() == []
    assert [str(card.name) for card in store.cards()] == ["mine:latest"]
