"""Saved prompts on disk: found, bounded, checked, forgotten."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from inhouse.upstream import shelf as shelf_module
from inhouse.upstream.marks import Marks, marks
from inhouse.upstream.shelf import HALF_LIFE, STALE, Saved, Shelf, checksum

LAYOUT = "model-wheel-build-key"


def of(text: str) -> Marks:
    return marks({"prompt": text})


def put(
    shelf: Shelf,
    name: str,
    text: str,
    *,
    size: int = 100,
    layout: str = LAYOUT,
    owner: str = "o",
    seconds: float = 1.0,
    age: float = 0.0,
) -> Saved | None:
    folder = shelf.root / layout
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{name}.part"
    part.write_bytes(name.encode() * size)
    part.write_bytes(part.read_bytes()[:size])
    saved = Saved(
        name,
        layout,
        owner,
        [mark.hex() for mark in of(text).chain],
        size,
        checksum(part),
        time.time() - age,
        tokens=500,
        seconds=seconds,
    )
    return saved if shelf.add(saved, part) else None


def names(shelf: Shelf) -> set[str]:
    return {path.name for path in shelf.root.rglob("*") if path.is_file()}


def found(shelf: Shelf, text: str, owner: str = "o", layout: str = LAYOUT) -> str | None:
    hit = shelf.find(layout, owner, of(text).chain)
    return hit[0].name if hit else None


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "prefixes", 1000)


A, B = "a" * 300, "a" * 200 + "b" * 300


def test_the_longest_common_beginning_is_found(shelf):
    put(shelf, "short", "a" * 200)
    put(shelf, "long", B, size=300)
    assert found(shelf, B + "c" * 100) == "long"
    hit = shelf.find(LAYOUT, "o", of("a" * 200 + "z" * 90).chain)
    assert hit is not None
    assert hit[1] == of("a" * 200).common(of(B).chain)
    assert found(shelf, "z" * 100) is None


def test_owners_and_layouts_do_not_see_each_other(shelf):
    put(shelf, "x", A)
    assert found(shelf, A) == "x"
    assert found(shelf, A, owner="other") is None
    assert found(shelf, A, layout="model-wheel-build-other") is None


def test_what_one_process_saved_the_next_one_finds(shelf):
    put(shelf, "x", A)
    again = Shelf(shelf.root, 1000)
    assert found(again, A) is None, "not read yet"
    again.open(LAYOUT)
    hit = again.find(LAYOUT, "o", of(A).chain)
    assert hit is not None
    assert again.intact(hit[0])


@pytest.mark.parametrize("harm", ["torn", "changed", "gone"])
def test_a_file_that_was_harmed_is_deleted_and_never_used(shelf, harm):
    put(shelf, "x", A)
    path = shelf.root / LAYOUT / "x.kv"
    data = path.read_bytes()
    again = Shelf(shelf.root, 1000)
    again.open(LAYOUT)
    hit = again.find(LAYOUT, "o", of(A).chain)
    assert hit is not None
    if harm == "torn":
        path.write_bytes(data[:-1])
    elif harm == "changed":
        path.write_bytes(b"?" + data[1:])
    else:
        path.unlink()
    assert not again.intact(hit[0])
    assert found(again, A) is None
    assert names(again) == set()


@pytest.mark.parametrize("text", [b"", b"{}", b"no json", b'{"version": 99}'])
def test_what_tells_of_nothing_is_deleted(shelf, text):
    folder = shelf.root / LAYOUT
    folder.mkdir(parents=True)
    (folder / "x.json").write_bytes(text)
    (folder / "x.kv").write_bytes(b"orphan")
    shelf.open(LAYOUT)
    assert names(shelf) == set()


def test_an_entry_of_another_place_is_not_believed(shelf):
    put(shelf, "x", A)
    other = shelf.root / "model-wheel-build-other"
    other.mkdir()
    (shelf.root / LAYOUT / "x.json").rename(other / "x.json")
    again = Shelf(shelf.root, 1000)
    again.open("model-wheel-build-other")
    assert found(again, A, layout="model-wheel-build-other") is None


def test_half_written_files_stay_while_they_may_still_be_written(shelf):
    folder = shelf.root / LAYOUT
    folder.mkdir(parents=True)
    (folder / "new.part").write_bytes(b"x")
    shelf.open(LAYOUT)
    assert names(shelf) == {"new.part"}


def test_what_is_worth_least_goes_when_room_is_needed(shelf):
    put(shelf, "old", "1" * 300, size=400, age=3 * HALF_LIFE)
    put(shelf, "new", "2" * 300, size=400)
    assert put(shelf, "more", "3" * 300, size=400) is not None
    assert names(shelf) == {"new.kv", "new.json", "more.kv", "more.json"}
    assert shelf.bytes() == 800
    assert found(shelf, "1" * 300) is None


def test_what_is_worth_less_than_all_others_is_not_kept(shelf):
    put(shelf, "dear", "1" * 300, size=900, seconds=100.0)
    assert put(shelf, "cheap", "2" * 300, size=400, seconds=0.1) is None
    assert put(shelf, "huge", "3" * 300, size=2000, seconds=1e9) is None
    assert names(shelf) == {"dear.kv", "dear.json"}


def test_use_makes_it_worth_more_and_two_misses_in_a_row_end_it(shelf):
    saved = put(shelf, "x", A)
    assert saved is not None
    shelf.touch(saved, hit=True)
    shelf.touch(saved, hit=False)
    shelf.touch(saved, hit=True)
    shelf.touch(saved, hit=False)
    again = Shelf(shelf.root, 1000)
    again.open(LAYOUT)
    hit = again.find(LAYOUT, "o", of(A).chain)
    assert hit is not None
    assert (hit[0].hits, hit[0].misses) == (2, 1)
    again.touch(hit[0], hit=False)
    assert names(again) == set()


def test_those_that_nobody_asked_for_yet_are_counted(shelf):
    saved = put(shelf, "x", "1" * 300)
    put(shelf, "y", "2" * 300)
    put(shelf, "z", "3" * 300, owner="other")
    assert saved is not None
    assert shelf.unproven(LAYOUT, "o") == 2
    shelf.touch(saved, hit=True)
    assert shelf.unproven(LAYOUT, "o") == 1


def test_a_longer_one_that_costs_little_more_replaces_a_shorter_one(shelf):
    put(shelf, "short", "a" * 200, size=200)
    put(shelf, "long", "a" * 400, size=300)
    assert names(shelf) == {"long.kv", "long.json"}
    put(shelf, "vast", "a" * 4000, size=650)
    assert "long.kv" in names(shelf), "it costs much less to read"


def test_marks_that_two_had_stay_findable_when_one_goes(shelf):
    put(shelf, "one", "a" * 200 + "b" * 100)
    saved = shelf.find(LAYOUT, "o", of("a" * 200).chain)
    put(shelf, "two", "a" * 200 + "c" * 100)
    assert saved is not None
    shelf.drop(saved[0])
    assert found(shelf, "a" * 200) == "two"


def test_models_that_are_gone_take_theirs_along(shelf):
    put(shelf, "x", A, layout="gone-wheel-1-k")
    put(shelf, "y", A, layout="kept-wheel-1-k")
    shelf.sweep(["kept"])
    assert names(shelf) == {"y.kv", "y.json"}
    assert found(shelf, A, layout="gone-wheel-1-k") is None


def test_what_is_on_disk_is_counted_also_what_nobody_knows_of(shelf):
    assert shelf.sizes(["kept"]) == (0, 0)
    put(shelf, "x", A, layout="gone-wheel-1-k", size=300)
    put(shelf, "y", A, layout="kept-wheel-1-k", size=200)
    (shelf.root / "kept-wheel-1-k" / "torn.part").write_bytes(b"x" * 50)
    told = {name: len((shelf.root / name).read_bytes()) for name in ("gone-wheel-1-k/x.json",)}
    total, gone = shelf.sizes(["kept"])
    assert gone == 300 + told["gone-wheel-1-k/x.json"]
    assert total > gone + 250
    assert shelf.sizes(["kept", "gone"]) == (total, 0)


def test_all_can_go_and_workers_can_still_save(shelf):
    put(shelf, "x", A)
    Shelf(shelf.root, 1000).clear()  # by a server that never opened the layout
    assert names(shelf) == set()
    assert put(shelf, "y", B) is not None
    assert found(shelf, B) == "y"
    shelf.clear()
    assert found(shelf, B) is None
    assert (shelf.root / LAYOUT).is_dir()


def test_a_new_build_forgets_what_the_old_one_of_its_kind_left(shelf):
    put(shelf, "old", A, layout="m-wheel-1-k")
    put(shelf, "other", A, layout="m-native-1-k")
    put(shelf, "same", A, layout="m-wheel-2-q")
    again = Shelf(shelf.root, 1000)
    again.open("m-wheel-2-k")
    assert names(again) == {"other.kv", "other.json", "same.kv", "same.json"}


def test_a_folder_that_is_not_there_is_empty(shelf):
    shelf.open(LAYOUT)
    shelf.sweep([])
    assert shelf.bytes() == 0
    assert found(shelf, A) is None


def test_saves_that_never_ended_do_not_stay_for_ever(shelf):
    put(shelf, "x", A)
    for name, age in (("dead.part", STALE + 60), ("alive.part", 0.0)):
        path = shelf.root / LAYOUT / name
        path.write_bytes(b"half")
        os.utime(path, (time.time() - age,) * 2)
    shelf.sweep(["model"])
    assert names(shelf) == {"x.kv", "x.json", "alive.part"}
    assert found(shelf, A) == "x"


def test_nobody_waits_while_much_is_deleted(shelf, monkeypatch):
    put(shelf, "x", A, layout="gone-wheel-1-k")
    put(shelf, "y", A, layout="m-wheel-1-k")
    asked, delete = [], shutil.rmtree

    def rmtree(folder: Path, **how: bool) -> None:
        assert not shelf._lock.locked()
        asked.append((folder.name, shelf.bytes(), found(shelf, A, layout=folder.name)))
        delete(folder, **how)

    monkeypatch.setattr(shelf_module.shutil, "rmtree", rmtree)
    shelf.sweep(["m"])
    shelf.open("m-wheel-2-k")
    assert asked == [("gone-wheel-1-k", 100, None), ("m-wheel-1-k", 0, None)]


def test_a_shorter_one_stays_where_there_is_no_room_for_the_longer(shelf):
    put(shelf, "short", "a" * 200, size=300)
    put(shelf, "dear", "b" * 200, size=600, seconds=100.0)
    assert put(shelf, "long", "a" * 400, size=500, seconds=0.01) is None
    assert found(shelf, "a" * 200) == "short"
    assert {"short.kv", "dear.kv"} <= names(shelf)


def test_nothing_is_kept_in_mind_of_what_is_gone(shelf):
    for number in range(5):
        saved = put(shelf, f"x{number}", str(number) * 300)
        assert saved is not None
        assert shelf.intact(saved)
        shelf.drop(saved)
    assert (shelf._checked, shelf._index, shelf._saved) == ({}, {}, {})
