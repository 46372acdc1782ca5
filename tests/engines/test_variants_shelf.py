"""Installed builds: whole or not there, and still what they were."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from inhouse.core.errors import Conflict, NotFound
from inhouse.engines.variants.shelf import FILES, Installed, Record, Shelf, facts


def record(name: str = "cpu", version: str = "b1", at: float = 1.0) -> Record:
    return Record(
        name=name, version=version, runs="server", backend="cpu", source="release", program="run",
        program_sha256="", program_size=0, program_mtime=0, sha256="a" * 64, pinned="user", at=at,
    )  # fmt: skip


def put(shelf: Shelf, one: Record, text: bytes = b"program") -> Installed:
    with shelf.aside() as folder:
        (folder / FILES).mkdir()
        (folder / FILES / "run").write_bytes(text)
        return shelf.add(folder, replace(one, **facts(folder / FILES / "run")))


def test_a_build_is_added_listed_and_removed(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    assert shelf.all() == []
    put(shelf, record())
    [one] = shelf.all()
    assert one == shelf.get("cpu")
    assert one.program.read_bytes() == b"program"
    assert one.path.name == "llama.cpp-cpu-b1"
    shelf.remove("cpu")
    assert shelf.all() == []
    assert list(shelf.root.iterdir()) == []
    with pytest.raises(NotFound):
        shelf.remove("cpu")


def test_a_build_does_not_push_out_another_whose_name_and_version_read_alike(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    put(shelf, record("mine", "1-2"))
    with pytest.raises(Conflict, match="'mine'"):
        put(shelf, record("mine-1", "2"))
    assert [one.record.name for one in shelf.all()] == ["mine"]


def test_downloads_that_nobody_goes_on_with_are_swept(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    for name, at in ((".part-old", 0), (".part-new", None)):
        (shelf.root / name).mkdir(parents=True)
        os.utime(shelf.root / name, None if at is None else (at, at))
    shelf.sweep()
    assert [path.name for path in shelf.root.iterdir()] == [".part-new"]


def test_a_newer_version_replaces_the_older_and_the_same_itself(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    put(shelf, record())
    put(shelf, record(version="b2", at=2.0))
    assert [one.record.version for one in shelf.all()] == ["b2"]
    put(shelf, record(version="b2", at=3.0), b"again")
    assert shelf.get("cpu").program.read_bytes() == b"again"
    assert len(list(shelf.root.iterdir())) == 1


def test_what_broke_off_is_never_listed_and_gets_swept(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    with contextlib.suppress(RuntimeError), shelf.aside() as folder:
        (folder / FILES).mkdir()
        raise RuntimeError
    assert list(shelf.root.iterdir()) == []
    killed = shelf.root / ".new-killed"
    killed.mkdir(parents=True)
    (shelf.root / "llama.cpp-half-b1").mkdir()
    (shelf.root / "llama.cpp-odd-b1").mkdir()
    (shelf.root / "llama.cpp-odd-b1" / "build.json").write_text('{"name": 1}')
    assert shelf.all() == []
    shelf.sweep()
    assert not killed.exists()


@pytest.mark.parametrize(
    ("name", "version"), [("../x", "b1"), ("a/b", "b1"), ("x", "../1"), ("x", ""), (".x", "1")]
)
def test_a_name_that_is_no_folder_is_refused(tmp_path: Path, name: str, version: str) -> None:
    with pytest.raises(Conflict):
        put(Shelf(tmp_path), record(name, version))
    assert Shelf(tmp_path).all() == []


def test_a_program_that_is_not_what_was_installed_is_noticed(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    one = put(shelf, record())
    assert shelf.damage(one) == ""
    state = one.program.stat()
    os.utime(one.program, ns=(state.st_atime_ns, state.st_mtime_ns + 5))
    assert shelf.damage(one) == ""  # touched, not changed
    one.program.write_bytes(b"another")
    assert "not the one that was installed" in shelf.damage(one)
    one.program.unlink()
    assert "gone" in shelf.damage(one)


def test_a_package_is_known_by_its_library(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    with shelf.aside() as folder:
        library = folder / FILES / "xllamacpp" / "x.so"
        library.parent.mkdir(parents=True)
        library.write_bytes(b"library")
        made = {"library": "xllamacpp/x.so"}
        one = shelf.add(folder, replace(record("w"), program="", made=made, **facts(library)))
    assert one.program == one.path / FILES
    assert shelf.damage(one) == ""
    one.checked.write_bytes(b"libraRy")
    assert shelf.damage(one)


def test_a_home_that_cannot_be_read_has_no_builds(tmp_path: Path) -> None:
    (tmp_path / "engines").write_text("a file")
    assert Shelf(tmp_path).all() == []
    Shelf(tmp_path).sweep()
