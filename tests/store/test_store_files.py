"""Models of many files: what is listed, what an engine is handed, what a load checks. Row 55, CVE-2025-44779."""

from __future__ import annotations

import io
import os
import shutil
import sys
from pathlib import Path

import pytest

from inhouse.core.create import Create, FileRef
from inhouse.core.errors import BadRequest, DigestMismatch, ModelNotFound, StoreError
from inhouse.store import upkeep
from inhouse.store.store import Store
from support import tiny_gguf
from support.lifecycle import done, make, name, ordered, parts, safetensors, sha256, tree

MODEL = tiny_gguf.model(1)


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@pytest.fixture
def store(home):
    return Store(home)


@pytest.fixture
def hashed(monkeypatch):
    """The files that a check hashes."""
    found = []
    real = upkeep.hash_open

    def counting(file, tick):
        found.append(file.name)
        return real(file, tick)

    monkeypatch.setattr(upkeep, "hash_open", counting)
    return found


def test_a_split_model_is_handed_over_side_by_side_under_its_own_names(store):
    card = make(store, "split", parts())
    view = Path(card.weights)
    assert view.name == "m-00001-of-00003.gguf"
    assert {p.name: p.read_bytes() for p in view.parent.iterdir()} == parts()
    assert card.size == card.footprint.weights == sum(map(len, parts().values()))
    assert [file.role for file in card.files] == ["model"] * 3


def test_a_safetensors_model_is_a_folder_of_all_its_files(store):
    card = make(store, "tensors", safetensors())
    assert card.format == "safetensors"
    assert {p.name: p.read_bytes() for p in Path(card.weights).iterdir()} == safetensors()


def test_a_view_that_is_gone_or_half_there_is_made_again_before_a_load(store):
    card = make(store, "split", parts())
    view = Path(card.weights).parent
    shutil.rmtree(view)
    store.check(card)
    assert len(list(view.iterdir())) == 3
    next(view.iterdir()).unlink()
    store.check(card)
    assert {p.name: p.read_bytes() for p in view.iterdir()} == parts()


def test_views_go_with_their_last_model(store):
    card = make(store, "split", parts())
    store.copy(card.name, name("twin"))
    store.remove(card.name)
    assert Path(store.get(name("twin")).weights).exists()
    store.remove(name("twin"))
    assert list(store.layout.views.iterdir()) == []
    assert list(store.layout.blobs.iterdir()) == []


def test_companions_keep_their_roles_scale_and_order(store, tmp_path):
    files = {
        "adapter": tiny_gguf.adapter(),
        "adapter2": tiny_gguf.adapter({"adapter.lora.alpha": tiny_gguf.f32(4.0)}),
    }
    adapters = []
    for at, (file, built) in enumerate(files.items()):
        adapters.append(
            FileRef(f"{file}.gguf", path=str(built.write(tmp_path / f"{file}.gguf")), scale=0.5 + at)
        )
    projector = FileRef("p.gguf", path=str(tiny_gguf.projector().write(tmp_path / "p.gguf")))
    draft = tmp_path / "d.gguf"
    draft.write_bytes(tiny_gguf.model(9))
    base = make(store, "base", {"m.gguf": MODEL})
    card = ordered(
        store,
        Create(
            name="all",
            base=str(base.name),
            adapters=tuple(adapters),
            projector=projector,
            draft=FileRef("d.gguf", path=str(draft)),
        ),
    )
    assert [(f.role, f.scale, f.in_place) for f in card.files] == [
        ("model", 1.0, False),
        ("adapter", 0.5, True),
        ("adapter", 1.5, True),
        ("projector", 1.0, True),
        ("draft", 1.0, True),
    ]
    assert "vision" in card.capabilities
    assert card.weights == base.weights
    store.remove(card.name)
    assert draft.exists()
    assert store.get(base.name)


# -- in place ---------------------------------------------------------------------------------


def in_place(store, tmp_path, data=MODEL):
    path = tmp_path / "mine.gguf"
    path.write_bytes(data)
    done(store, store.pull(str(path), trusted=True))
    return path, store.cards()[0]


def test_a_local_file_is_used_where_it_lies_and_outlives_its_name(store, tmp_path):
    path, card = in_place(store, tmp_path)
    assert card.weights == str(path)
    assert card.files[0].in_place
    assert list(store.layout.blobs.iterdir()) == []
    store.prune(everything=True)
    store.remove(card.name)
    assert path.read_bytes() == MODEL


def test_a_file_that_went_away_is_said_so_without_telling_where_it_lay(store, tmp_path):
    path, card = in_place(store, tmp_path)
    path.unlink()
    with pytest.raises(StoreError, match="no longer where it was") as caught:
        store.get(card.name)
    assert str(tmp_path) not in caught.value.message + caught.value.hint
    assert f"inhouse pull {card.name}" in caught.value.hint


def test_a_load_of_unchanged_files_hashes_nothing(store, tmp_path, hashed):
    _, card = in_place(store, tmp_path)
    blob = make(store, "blob", parts())
    hashed.clear()
    for one in (card, blob):
        store.check(one)
    assert hashed == []


def test_a_touched_file_is_hashed_once_more_and_then_known(store, tmp_path, hashed):
    path, card = in_place(store, tmp_path)
    modified = store.get(card.name).modified_at
    os.utime(path, (1, 1))
    hashed.clear()
    store.check(card)
    assert hashed == [str(path)]
    store.check(store.get(card.name))
    Store(store.layout.models.parent).check(card)
    assert hashed == [str(path)]
    assert store.get(card.name).modified_at == modified


@pytest.mark.parametrize("how", ["rewritten", "replaced", "blob"])
def test_a_changed_file_is_told_at_the_next_load(store, tmp_path, how):
    path, card = in_place(store, tmp_path)
    if how == "blob":
        card = make(store, "blob", {"m.gguf": MODEL})
        path = Path(card.weights)
        path.chmod(0o600)
    other = tiny_gguf.model(2)
    if how == "replaced":
        (tmp_path / "new").write_bytes(other)
        os.replace(tmp_path / "new", path)
    else:
        path.write_bytes(other)
    with pytest.raises(DigestMismatch) as caught:
        store.check(card)
    assert sha256(MODEL) in caught.value.message
    assert sha256(other) in caught.value.message
    assert str(path) not in caught.value.message


@pytest.mark.parametrize("how", ["cut", "gone", "grown"])
def test_a_file_of_another_size_is_not_listed(store, tmp_path, how):
    path, card = in_place(store, tmp_path)
    path.unlink() if how == "gone" else path.write_bytes(MODEL[:-1] if how == "cut" else MODEL + b"x")
    assert store.cards() == []
    with pytest.raises(StoreError) as caught:
        store.get(card.name)
    assert caught.value.hint
    with pytest.raises(StoreError):
        store.check(card)


def test_copies_and_children_of_a_local_file_stay_in_place(store, tmp_path):
    path, card = in_place(store, tmp_path)
    store.copy(card.name, name("twin"))
    child = ordered(store, Create(name="child", base=str(card.name), system="Hi."))
    assert store.get(name("twin")).weights == child.weights == str(path)


# -- nothing outside the blobs is ever unlinked -----------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="needs symbolic links")
def test_a_blob_that_is_a_link_loses_only_the_link(store, tmp_path):
    card = make(store, "tiny", {"m.gguf": MODEL})
    precious = tmp_path / "precious"
    blob = Path(card.weights)
    blob.rename(precious)
    blob.symlink_to(precious)
    store.remove(card.name)
    assert not blob.is_symlink()
    assert precious.read_bytes() == MODEL


@pytest.mark.skipif(sys.platform == "win32", reason="needs symbolic links")
def test_a_link_as_the_folder_of_blobs_costs_nobody_elses_files(store, tmp_path):
    """A folder of blobs may be moved to another disk; what is no blob of ours there stays."""
    card = make(store, "tiny", {"m.gguf": MODEL})
    elsewhere = tmp_path / "elsewhere"
    store.layout.blobs.rename(elsewhere)
    store.layout.blobs.symlink_to(elsewhere)
    names = [
        "precious",
        "sha256-" + "a" * 63,
        "sha256-" + "A" * 64,
        "sha256:" + "a" * 64,
        "sha256-" + "a" * 64 + ".bak",
    ]
    for one in names:
        (elsewhere / one).write_text("mine")
    (elsewhere / "folder").mkdir()
    store.remove(card.name)
    store.prune(everything=True)
    assert sorted(p.name for p in elsewhere.iterdir()) == sorted([*names, "folder"])


@pytest.mark.skipif(sys.platform == "win32", reason="needs symbolic links")
def test_links_among_the_unfinished_cost_nothing_elsewhere(store, tmp_path):
    store.layout.prepare()
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file.tmp").write_text("mine")
    (store.layout.partial / "a.tmp").symlink_to(precious)
    (store.layout.partial / "b").symlink_to(precious)
    (store.layout.partial / "c").mkdir()
    (store.layout.partial / "c" / "inner").symlink_to(precious)
    store.layout.views.mkdir()
    (store.layout.views / "v").symlink_to(precious)
    os.utime(store.layout.partial / "c", (0, 0))
    before = tree(precious)
    Store(store.layout.models.parent)
    store.prune(everything=True)
    assert tree(precious) == before


@pytest.mark.parametrize(
    "digest", ["sha256:../../x", "sha256:" + "a" * 63 + "/", "../x", "sha256:" + "a" * 64 + "/../x"]
)
def test_a_digest_that_leads_elsewhere_is_no_digest(store, digest):
    with pytest.raises(BadRequest):
        store.has_blob(digest)
    with pytest.raises(BadRequest):
        store.receive(digest, io.BytesIO())
    with pytest.raises(BadRequest):
        ordered(store, Create(name="x", files=(FileRef("a.gguf", digest=digest),)))


@pytest.mark.parametrize(
    "text", ["..", "../x", "a/../../b", "/etc/passwd", "a/b/c/d/e", "x/..", "..:..", "a:..", "a\\..\\b"]
)
def test_a_name_that_leads_elsewhere_is_none(store, text):
    with pytest.raises((BadRequest, ModelNotFound)):
        store.remove(name(text))


def test_unlinking_stays_below_the_models(store, monkeypatch, tmp_path):
    """Every unlink of removes and prunes is one of our own files."""
    make(store, "split", parts())
    make(store, "tiny", {"m.gguf": MODEL})
    make(store, "tiny", {"m.gguf": tiny_gguf.model(2)})
    seen = []
    real = os.unlink
    monkeypatch.setattr(os, "unlink", lambda path, **how: (seen.append(str(path)), real(path, **how))[1])
    store.remove(name("split"))
    store.prune(everything=True)
    store.remove(name("tiny"))
    absolute = [path for path in seen if os.path.isabs(path)]
    assert absolute
    assert all(Path(path).is_relative_to(store.layout.models) for path in absolute)
