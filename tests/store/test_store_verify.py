"""What is wrong is found and named; a repair brings sound files and costs nobody anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from inhouse.core.errors import DigestMismatch, StoreError
from inhouse.store.store import Store
from support import tiny_gguf
from support.fileserver import Fault, FileServer
from support.lifecycle import done, leftovers, make, name, parts, sha256

ONE, TWO = tiny_gguf.model(1), tiny_gguf.model(2)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "home")


@pytest.fixture
def server():
    with FileServer({"/m/web.gguf": ONE}) as server:
        yield server


@pytest.fixture
def web(store, server, monkeypatch):
    """A model from the server, which a repair may reach."""
    from inhouse.store.sources import web as source

    real = source.Client

    def client(watch, **how):
        watch.insecure = True
        return real(watch, **how)

    monkeypatch.setattr(source, "Client", client)
    done(store, store.pull(server.url("/m/web.gguf"), trusted=True, insecure=True))
    return store.cards()[0]


def damage(path: str, how: str = "flip") -> bytes:
    """Change a file of a model; what it holds now."""
    file = Path(path)
    data = file.read_bytes()
    file.chmod(0o600)
    if how == "gone":
        file.unlink()
        return b""
    changed = data[:-1] if how == "cut" else data[:-1] + bytes([data[-1] ^ 1])
    file.write_bytes(changed)
    return changed


def repaired(store):
    return done(store, store.verify(repair=True, trusted=True))


def test_a_sound_store_has_no_problems_and_each_file_is_hashed_once(store):
    make(store, "a", {"m.gguf": ONE})
    store.copy(name("a"), name("b"))
    events = done(store, store.verify())
    assert events[-1].result == []
    assert [e.status for e in events] == [f"verifying {sha256(ONE)[7:19]}", "success"]


@pytest.mark.parametrize(
    "how, what",
    [("flip", "have the digest"), ("cut", "missing or cut short"), ("gone", "missing or cut short")],
)
@pytest.mark.parametrize("part", [0, 1, 2])
def test_each_file_of_a_model_is_looked_at(store, how, what, part):
    card = make(store, "split", parts())
    damage(card.files[part].path, how)
    (problem,) = store.problems()
    assert problem.model == "split:latest"
    assert what in problem.what
    assert problem.digest == card.files[part].digest


def test_all_models_that_share_a_damaged_file_are_named(store):
    card = make(store, "a", {"m.gguf": ONE})
    store.copy(name("a"), name("b"))
    damage(card.weights)
    assert {problem.model for problem in store.problems()} == {"a:latest", "b:latest"}


def test_a_changed_file_of_others_is_told_with_what_to_do(store, tmp_path):
    path = tmp_path / "l.gguf"
    path.write_bytes(ONE)
    done(store, store.pull(str(path), trusted=True))
    damage(str(path))
    (problem,) = store.problems()
    assert problem.fix.startswith("Put the file back")
    assert problem.digest == ""


@pytest.mark.parametrize("how", ["flip", "cut", "gone"])
def test_a_repair_brings_a_sound_file(store, web, server, how):
    damage(web.weights, how)
    assert len(store.problems()) == 1
    events = repaired(store)
    assert events[-1].result == []
    assert f"repairing {web.name}" in [event.status for event in events]
    assert store.get(web.name).digest == web.digest
    assert Path(web.weights).read_bytes() == ONE


def test_a_repair_that_cannot_reach_the_source_keeps_what_there_is(store, web, server):
    changed = damage(web.weights)
    server.faults.append(Fault(status=404))
    events = repaired(store)
    assert [one["model"] for one in events[-1].result] == [str(web.name)]
    assert any("cannot be repaired" in event.status for event in events)
    assert Path(web.weights).read_bytes() == changed


def test_a_repair_leaves_what_has_no_source(store):
    card = make(store, "made", {"m.gguf": ONE})
    changed = damage(card.weights)
    assert len(repaired(store)[-1].result) == 1
    assert Path(card.weights).read_bytes() == changed
    assert leftovers(store.layout.models.parent) == []


def test_one_model_that_cannot_be_repaired_does_not_keep_others_from_it(store, web, server):
    made = make(store, "a-made", {"m.gguf": TWO})
    damage(made.weights)
    damage(web.weights)
    assert [one["model"] for one in repaired(store)[-1].result] == ["a-made:latest"]


def test_a_damaged_file_of_others_costs_no_sound_blob(store, tmp_path):
    """The same bytes once in place and once as a blob: repairing the one leaves the other."""
    path = tmp_path / "l.gguf"
    path.write_bytes(ONE)
    done(store, store.pull(str(path), trusted=True))
    card = make(store, "made", {"m.gguf": ONE})
    damage(str(path))
    repaired(store)
    assert Path(card.weights).read_bytes() == ONE
    assert store.get(card.name)


def test_names_that_share_a_repaired_file_are_sound_again(store, web, server):
    store.copy(web.name, name("twin"))
    damage(web.weights)
    sent = server.sent()
    assert repaired(store)[-1].result == []
    assert server.sent() - sent == len(ONE)  # fetched once for both


def test_a_file_that_is_not_what_it_was_at_its_source_is_no_repair_of_the_old(store, web, server):
    damage(web.weights)
    server.files["/m/web.gguf"] = TWO
    repaired(store)
    assert store.problems() == []
    assert store.get(web.name).weights_digest == sha256(TWO)


def test_an_unreadable_manifest_is_a_problem_and_no_blob_is_pruned(store):
    make(store, "a", {"m.gguf": ONE})
    make(store, "b", {"m.gguf": TWO})
    store.layout.manifest(name("a")).write_bytes(b"{")
    (problem,) = store.problems()
    assert problem.model == "inhouse/library/a/latest"
    with pytest.raises(StoreError):
        store.prune(everything=True)
    assert len(list(store.layout.blobs.iterdir())) == 2
    store.remove(name("a"))
    assert store.problems() == []
    assert store.prune(everything=True).unused == len(ONE)


def test_an_update_to_damaged_bytes_never_replaces_what_is_here(store, web, server):
    card = store.get(web.name)
    url = server.url("/m/web.gguf")
    server.files["/m/web.gguf"] = TWO
    with pytest.raises(DigestMismatch):
        done(store, store.pull(f"{url}#sha256={'0' * 64}", trusted=True, insecure=True))
    assert store.get(web.name) == card
