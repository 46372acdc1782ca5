"""``models.lock``: what identifies a model, what differs from a lock, between models and at their sources."""

from __future__ import annotations

import json

import pytest

from inhouse.core.create import Create
from inhouse.core.errors import ModelNotFound, SourceFailed
from inhouse.store import sources
from inhouse.store.sources import Asset, Listing, web
from inhouse.store.store import Store
from support import tiny_gguf
from support.fileserver import FileServer
from support.lifecycle import done, make, name, ordered, parts, sha256

ONE, TWO = tiny_gguf.model(1), tiny_gguf.model(2)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "home", build="engine b1")


@pytest.fixture
def server():
    with FileServer({"/m/web.gguf": ONE}) as server:
        yield server


def pull(store, server, **how):
    return done(store, store.pull(server.url("/m/web.gguf"), trusted=True, insecure=True, **how))


def through_json(value):
    return json.loads(json.dumps(value))


def test_a_lock_holds_all_that_identifies_a_model(store):
    card = make(
        store,
        "me/tiny:v1",
        parts(),
        system="Hi.",
        licence=("MIT\nlong text",),
        parameters={"top_k": 3, "stop": ("x",)},
    )
    locked = store.lock([])
    assert locked["inhouse_lock"] == 1
    (entry,) = locked["models"]
    assert entry["name"] == "me/tiny:v1"
    assert entry["digest"] == f"sha256:{card.digest}"
    assert [(f["file"], "sha256:" + f["sha256"], f["size"]) for f in entry["files"]] == [
        (file, sha256(data), len(data)) for file, data in parts().items()
    ]
    assert entry["defaults"] == {"stop": ["x"], "top_k": 3}
    assert (entry["engine"], entry["context_length"], entry["licence"]) == ("engine b1", 256, "MIT")
    assert (
        len(entry["template_sha256"]) == len(entry["tokenizer_sha256"]) == len(entry["system_sha256"]) == 64
    )
    assert json.dumps(locked)


def test_a_lock_is_of_all_models_in_order_or_of_those_named(store):
    for text in ("b", "a", "c"):
        make(store, text, {"m.gguf": ONE})
    store.alias(name("z"), name("a"))
    assert [entry["name"] for entry in store.lock([])["models"]] == ["a:latest", "b:latest", "c:latest"]
    assert [entry["name"] for entry in store.lock([name("C"), name("z")])["models"]] == [
        "c:latest",
        "a:latest",
    ]
    with pytest.raises(ModelNotFound):
        store.lock([name("nope")])


def test_a_store_holds_to_its_own_lock(store):
    make(store, "tiny", {"m.gguf": ONE}, parameters={"stop": ("x",), "temperature": 0.1})
    assert store.check_lock(through_json(store.lock([]))) == []


@pytest.mark.parametrize(
    "change, what",
    [
        ({"files": {"m.gguf": TWO}}, {"digest", "files"}),
        ({"system": "Hi."}, {"digest", "system_sha256"}),
        ({"template": "{{ messages }}"}, {"digest", "template_sha256"}),
        ({"parameters": {"top_k": 9}}, {"digest", "defaults"}),
    ],
)
def test_whatever_changed_is_named(store, change, what):
    make(store, "tiny", {"m.gguf": ONE})
    locked = through_json(store.lock([]))
    make(store, "tiny", **{"files": {"m.gguf": ONE}, **change})
    differences = store.check_lock(locked)
    assert {one["what"] for one in differences} == what
    assert all(one["model"] == "tiny:latest" and one["locked"] != one["found"] for one in differences)


def test_a_missing_model_and_another_engine_are_differences(store, tmp_path):
    make(store, "tiny", {"m.gguf": ONE})
    locked = through_json(store.lock([]))
    assert [one["what"] for one in Store(tmp_path / "home", build="b2").check_lock(locked)] == ["engine"]
    store.remove(name("tiny"))
    (one,) = store.check_lock(locked)
    assert (one["what"], one["found"]) == ("model", "model 'tiny' not found")


@pytest.mark.parametrize(
    "entry", [{"name": "../x"}, {"name": "tiny", "unknown": [1]}, {"name": "tiny", "files": None}]
)
def test_odd_locks_are_differences_and_no_crash(store, entry):
    make(store, "tiny", {"m.gguf": ONE})
    assert store.check_lock({"models": [entry]})


# -- differences ------------------------------------------------------------------------------


def test_a_diff_says_what_changes_between_two_models(store):
    make(store, "a", {"m.gguf": ONE}, parameters={"top_k": 1})
    make(store, "b", {"m.gguf": TWO}, parameters={"top_k": 2}, template="{{ messages }}")
    found = store.diff(name("a"), name("b"))
    assert (found["from"]["name"], found["to"]["name"]) == ("a:latest", "b:latest")
    assert [found[key] for key in ("weights", "template", "tokenizer", "parameters")] == [
        True,
        True,
        False,
        True,
    ]
    assert found["changes"]["defaults"] == {"from": {"top_k": 1}, "to": {"top_k": 2}}


def test_a_diff_with_the_version_before(store):
    make(store, "tiny", {"m.gguf": ONE})
    with pytest.raises(ModelNotFound, match="earlier version"):
        store.diff(name("tiny"), None)
    other = tiny_gguf.llama({"tokenizer.ggml.merges": tiny_gguf.array(tiny_gguf.STRING, ["t 3"])}).build()
    make(store, "tiny", {"m.gguf": other})
    found = store.diff(name("tiny"), None)
    assert [found[key] for key in ("weights", "template", "tokenizer", "parameters")] == [
        True,
        False,
        True,
        False,
    ]


def test_two_names_of_one_model_do_not_differ(store):
    make(store, "a", {"m.gguf": ONE})
    store.copy(name("a"), name("b"))
    found = store.diff(name("a"), name("b"))
    assert found["changes"] == {}
    assert not any(found[key] for key in ("weights", "template", "tokenizer", "parameters"))


# -- what is newer at the sources -------------------------------------------------------------


def outdated(store, *names_):
    return done(store, store.outdated([name(one) for one in names_], trusted=True))[-1].result


def test_a_file_that_was_replaced_at_its_server_is_outdated(store, server, monkeypatch):
    real = web.Client

    def client(watch):
        watch.insecure = True
        return real(watch)

    monkeypatch.setattr(web, "Client", client)
    pull(store, server)
    assert outdated(store)[0]["status"] == "current"
    server.files["/m/web.gguf"] = TWO
    (found,) = outdated(store)
    assert found["status"] == "outdated"
    assert found["newest"] == server.etag("/m/web.gguf") != found["revision"]


class Scripted:
    """A source that answers as told."""

    def __init__(self, answer):
        self.answer = answer
        self.parse = sources.SOURCES["web"].parse

    def find(self, ref, watch):
        assert watch.fresh
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize(
    "answer, status",
    [
        (Listing((Asset("model", "web.gguf", len(ONE), sha256(ONE)[7:]),), "x"), "current"),
        (Listing((Asset("model", "web.gguf", len(TWO), sha256(TWO)[7:]),), "x", "v2"), "outdated"),
        (Listing((Asset("model", "web.gguf"),), "x", "another etag"), "outdated"),
        (Listing((Asset("model", "web.gguf"),), "x", ""), "outdated"),
        (SourceFailed("the line is dead"), "unknown"),
        (ModelNotFound("web"), "unknown"),
    ],
)
def test_sources_are_asked_and_their_answers_told(store, server, monkeypatch, answer, status):
    pull(store, server)
    monkeypatch.setitem(sources.SOURCES, "web", Scripted(answer))
    (found,) = outdated(store)
    assert (found["status"], found["source"]) == (status, server.url("/m/web.gguf"))
    assert found["model"] == str(store.cards()[0].name)
    if isinstance(answer, Exception):
        assert found["why"] == answer.message


def test_what_was_made_here_or_names_its_bytes_is_never_outdated(store, tmp_path):
    make(store, "made", {"m.gguf": ONE})
    (tmp_path / "l.gguf").write_bytes(TWO)
    done(store, store.pull(str(tmp_path / "l.gguf"), trusted=True))
    store.alias(name("also"), name("made"))
    found = {one["model"].partition("/")[0]: one["status"] for one in outdated(store)}
    assert found == {"made:latest": "no source", "local": "pinned"}


def test_only_named_models_are_asked_about(store):
    for text in ("a", "b"):
        make(store, text, {"m.gguf": ONE})
    assert [one["model"] for one in outdated(store, "B")] == ["b:latest"]
    assert ordered(store, Create(name="c", base="a"))
