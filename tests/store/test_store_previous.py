"""What a name stood for before: kept, gone back to, pruned; and how much space all of it takes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from inhouse.core.errors import Conflict, ModelNotFound
from inhouse.store.store import Store
from inhouse.store.upkeep import YOUNG
from support import tiny_gguf
from support.fileserver import FileServer
from support.lifecycle import done, leftovers, make, name, parts, sha256, upload

ONE, TWO, THREE = (tiny_gguf.model(seed) for seed in (1, 2, 3))
SIZE = len(ONE)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "home")


def put(store, data, text="tiny"):
    return make(store, text, {"m.gguf": data})


def blobs(store):
    return {p.name.replace("-", ":") for p in store.layout.blobs.iterdir()}


def test_an_update_keeps_the_version_before_and_rollback_toggles(store):
    old, new = put(store, ONE), put(store, TWO)
    assert store.rollback(name("tiny")).digest == old.digest
    assert store.rollback(name("TINY")).digest == new.digest
    assert Path(store.get(name("tiny")).weights).read_bytes() == TWO


def test_only_one_version_before_is_kept(store):
    for data in (ONE, TWO, THREE):
        put(store, data)
    assert blobs(store) == {sha256(TWO), sha256(THREE)}
    assert store.rollback(name("tiny")).weights_digest == sha256(TWO)


def test_making_the_same_again_is_no_new_version(store):
    put(store, ONE)
    put(store, TWO)
    put(store, TWO)
    assert store.rollback(name("tiny")).weights_digest == sha256(ONE)


def test_other_texts_over_the_same_weights_are_a_version(store):
    put(store, ONE)
    make(store, "tiny", {"m.gguf": ONE}, system="Be brief.")
    assert blobs(store) == {sha256(ONE)}
    assert store.rollback(name("tiny")).system == ""


def test_a_split_model_comes_back_with_its_view(store):
    make(store, "tiny", parts())
    put(store, TWO)
    card = store.rollback(name("tiny"))
    assert {p.name for p in Path(card.weights).parent.iterdir()} == set(parts())


def test_nothing_to_go_back_to_is_a_conflict(store):
    with pytest.raises(ModelNotFound):
        store.rollback(name("tiny"))
    put(store, ONE)
    with pytest.raises(Conflict, match="no earlier version") as caught:
        store.rollback(name("tiny"))
    assert "prune" in caught.value.hint


def test_a_version_before_whose_weights_are_lost_is_none(store):
    old = put(store, ONE)
    put(store, TWO)
    Path(old.weights).unlink()
    with pytest.raises(Conflict):
        store.rollback(name("tiny"))
    assert store.get(name("tiny")).weights_digest == sha256(TWO)


def test_removing_a_model_takes_the_version_before_along(store):
    put(store, ONE)
    put(store, TWO)
    store.remove(name("tiny"))
    assert blobs(store) == set()
    assert list(store.layout.previous_paths()) == []


def test_a_pull_over_the_same_name_is_an_update(store):
    with FileServer({"/m/web.gguf": ONE}) as server:
        url = server.url("/m/web.gguf")
        done(store, store.pull(url, trusted=True, insecure=True))
        (card,) = store.cards()
        server.files["/m/web.gguf"] = TWO
        done(store, store.pull(str(card.name), trusted=True, insecure=True, fresh=True))
    assert store.get(card.name).weights_digest == sha256(TWO)
    assert store.rollback(card.name).digest == card.digest


# -- pruning and space ------------------------------------------------------------------------


def test_a_prune_frees_the_version_before_and_says_how_much(store):
    put(store, ONE)
    put(store, TWO)
    assert store.prune(dry_run=True).total == SIZE
    assert blobs(store) == {sha256(ONE), sha256(TWO)}
    freed = store.prune()
    assert (freed.previous, freed.unused, freed.total) == (SIZE, 0, SIZE)
    assert blobs(store) == {sha256(TWO)}
    assert store.prune().total == 0
    with pytest.raises(Conflict):
        store.rollback(name("tiny"))


def test_a_version_before_that_another_model_is_stays(store):
    put(store, ONE, "other")
    put(store, ONE)
    put(store, TWO)
    assert store.prune().previous == 0
    assert store.get(name("other"))


def test_a_young_upload_stays_an_old_one_goes(store):
    digest = upload(store, ONE)
    assert store.prune().unused == 0
    assert store.has_blob(digest)
    assert store.prune(dry_run=True, everything=True).unused == SIZE
    blob = store.layout.blob(digest)
    old = blob.stat().st_mtime - YOUNG - 1
    os.utime(blob, (old, old))
    assert store.prune().unused == SIZE
    assert not store.has_blob(digest)


def test_unfinished_pulls_go_unless_somebody_works_on_them(store, tmp_path):
    store.layout.prepare()
    for one in ("busy", "idle"):
        (store.layout.partial / one).mkdir()
        (store.layout.partial / one / "data.part").write_bytes(bytes(100))
    with store.layout.hold(store.layout.partial / "busy.lock", 0):
        assert store.disk().partial == 200
        assert store.prune().partial == 100
        assert leftovers(tmp_path / "home") == ["busy"]


def test_space_is_told_by_model_and_by_what_could_go(store, tmp_path):
    local = tmp_path / "local.gguf"
    local.write_bytes(THREE)
    done(store, store.pull(str(local), trusted=True))
    put(store, ONE, "a")
    store.copy(name("a"), name("b"))
    put(store, ONE, "c")
    put(store, TWO, "c")
    make(store, "split", parts())
    upload(store, tiny_gguf.model(7))
    disk = store.disk()
    used = {
        usage.model.split("/")[-1].split(":")[0]: (usage.size, usage.own, usage.in_place)
        for usage in disk.models
    }
    whole = sum(map(len, parts().values()))
    assert used == {
        "a": (SIZE, 0, 0),
        "b": (SIZE, 0, 0),
        "c": (SIZE, SIZE, 0),
        "split": (whole, whole, 0),
        "local": (SIZE, 0, SIZE),
    }
    assert (disk.blobs, disk.previous, disk.unused) == (3 * SIZE + whole, 0, SIZE)
    store.remove(name("a"))
    store.remove(name("b"))
    assert store.disk().previous == SIZE
    assert disk.free > 0


def test_an_empty_store_takes_nothing(store):
    disk = store.disk()
    assert (disk.models, disk.blobs, disk.previous, disk.unused, disk.partial) == ((), 0, 0, 0, 0)
    assert not store.layout.models.exists()


def test_the_disk_has_room_before_anything_is_stored(tmp_path: Path):
    store = Store(tmp_path / "not" / "there")
    assert 0 < store.disk().free <= shutil.disk_usage(tmp_path).total
    assert not (tmp_path / "not").exists()
