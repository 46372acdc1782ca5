"""Local paths: parsed strictly, admitted by policy, found whole, hashed and never copied."""

from __future__ import annotations

import hashlib
import os
import socket
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inhouse.core.errors import (
    BadRequest,
    Cancelled,
    DigestMismatch,
    Forbidden,
    ModelNotFound,
    SourceFailed,
    Unsupported,
)
from inhouse.core.models import ModelName
from inhouse.store.sources.base import Policy, Watch
from inhouse.store.sources.local import Local
from support import tiny_gguf

MODEL = tiny_gguf.model(1)
SOURCE = Local()
posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX paths and special files")


def watch(*folders, trusted=True, events=None):
    emit = (lambda event: None) if events is None else events.append
    return Watch(emit, Policy(folders=tuple(folders)), trusted=trusted)


def find(path, *folders, trusted=True):
    return SOURCE.find(SOURCE.parse(str(path)), watch(*folders, trusted=trusted))


def write(folder, *names, data=MODEL):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder / names[0]


@pytest.fixture
def dir(tmp_path):
    return Path(os.path.realpath(tmp_path))


# names ---------------------------------------------------------------------------------------------------


@posix
@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("/models/a.gguf", "/models/a.gguf"),
        ("/models//b/../a.gguf", "/models/a.gguf"),
        ("/models/folder/", "/models/folder"),
        ("file:/models/a.gguf", "/models/a.gguf"),
        ("file:///models/a%20b.gguf", "/models/a b.gguf"),
        ("FILE://localhost/models/a.gguf", "/models/a.gguf"),
    ],
)
def test_absolute_paths_and_file_urls_are_one_text(text, path):
    ref = SOURCE.parse(text)
    assert (ref.kind, ref.text) == ("file", path)
    assert SOURCE.parse(ref.text) == ref


@posix
@pytest.mark.parametrize(
    "text", ["./a.gguf", "../a.gguf", "~/a.gguf", "a.gguf", "file:a.gguf", ".", "C:\\a.gguf"]
)
def test_relative_paths_are_refused(text):
    with pytest.raises(BadRequest, match="absolute path") as caught:
        SOURCE.parse(text)
    assert "command line" in caught.value.hint


@posix
@pytest.mark.parametrize(
    "text", ["/a\0.gguf", "/a\n.gguf", "/" + "x" * 5000, "/a\udcff.gguf", "file://host/a.gguf"]
)
def test_unusable_paths_are_refused(text):
    with pytest.raises(BadRequest):
        SOURCE.parse(text)


def test_a_windows_url_names_a_drive(monkeypatch):
    monkeypatch.setattr(os.path, "isabs", lambda path: path[1:2] == ":")
    assert SOURCE.parse("file:///C:/models/a.gguf").text == "C:/models/a.gguf"


@posix
def test_the_name_tells_the_stem_and_tells_paths_apart():
    one, other = (SOURCE.parse(f"/{folder}/My Model-Q4.gguf").name for folder in "ab")
    assert str(one).startswith("local/My-Model-Q4:")
    assert len(one.tag) == 8
    assert one != other
    assert str(SOURCE.parse("/a/m-00002-of-00003.gguf").name).startswith("local/m:")
    assert SOURCE.parse("/...gguf").name.model == "model"


@posix
@given(st.text(max_size=80))
def test_every_path_gives_a_valid_name_or_is_refused(text):
    try:
        ref = SOURCE.parse("/" + text)
    except BadRequest:
        return
    assert ModelName.parse(str(ref.name)) == ref.name
    assert SOURCE.parse(ref.text) == ref


# what may be read ----------------------------------------------------------------------------------------


def test_the_user_of_the_machine_may_name_any_path(dir):
    path = write(dir, "m.gguf")
    assert find(path).assets[0].locator == path


def test_others_may_name_what_lies_in_the_folders_given(dir):
    path = write(dir, "models/a/m.gguf")
    assert find(path, dir / "models", trusted=False).assets[0].locator == path
    assert find(dir / "models" / "a", dir / "models" / "a", trusted=False).assets[0].file == "m.gguf"


def test_what_lies_outside_is_refused_in_the_same_words_whether_it_exists_or_not(dir, monkeypatch):
    write(dir, "there.gguf", "models/m.gguf", "models-too/m.gguf")
    texts = set()
    touched = []
    monkeypatch.setattr(os, "stat", lambda path, *a, **k: touched.append(path))
    for path in ("there.gguf", "absent.gguf", "models/../there.gguf", "models-too/m.gguf", "."):
        with pytest.raises(Forbidden) as caught:
            find(dir / path, dir / "models", trusted=False)
        texts.add((caught.value.message, caught.value.hint, caught.value.detail))
    assert len(texts) == 1
    assert touched == []
    assert str(dir) not in str(texts)


def test_without_folders_nothing_is_allowed(dir):
    with pytest.raises(Forbidden):
        find(write(dir, "m.gguf"), trusted=False)


@posix
def test_a_link_that_leads_outside_is_refused(dir):
    secret = write(dir, "outside/m.gguf")
    (dir / "models").mkdir()
    (dir / "models" / "m.gguf").symlink_to(secret)
    (dir / "models" / "folder").symlink_to(secret.parent)
    for name in ("m.gguf", "folder/m.gguf", "folder"):
        with pytest.raises(Forbidden):
            find(dir / "models" / name, dir / "models", trusted=False)


@posix
def test_a_file_of_a_folder_that_leads_outside_is_refused(dir):
    secret = write(dir, "outside/m.gguf")
    (dir / "models").mkdir()
    (dir / "models" / "m.gguf").symlink_to(secret)
    with pytest.raises(Forbidden):
        find(dir / "models", dir / "models", trusted=False)
    assert find(dir / "models").assets[0].size == len(MODEL)


@posix
def test_a_file_that_became_a_link_to_the_outside_is_not_read(dir):
    path = write(dir, "models/m.gguf")
    (asset,) = find(path, dir / "models", trusted=False).assets
    secret = write(dir, "outside/s.gguf")
    path.unlink()
    path.symlink_to(secret)
    with pytest.raises(Forbidden):
        SOURCE.fetch(asset, dir, watch(dir / "models", trusted=False))


@posix
def test_an_allowed_folder_may_itself_be_a_link(dir):
    write(dir, "real/m.gguf")
    (dir / "link").symlink_to(dir / "real")
    assert find(dir / "link" / "m.gguf", dir / "link", trusted=False).assets
    assert find(dir / "real" / "m.gguf", dir / "link", trusted=False).assets


# what is found -------------------------------------------------------------------------------------------


def test_a_file_is_a_model_in_place(dir):
    path = write(dir, "m-Q4_0.gguf", "mmproj-F16.gguf")
    listing = find(path)
    (asset,) = listing.assets
    assert (asset.role, asset.file, asset.size, asset.sha256) == ("model", "m-Q4_0.gguf", len(MODEL), "")
    assert (listing.origin, listing.revision) == (str(path), "")
    assert SOURCE.missing(asset, dir) == 0


def test_a_missing_file_is_not_found_and_its_path_not_told(dir):
    with pytest.raises(ModelNotFound) as caught:
        find(dir / "absent.gguf")
    assert str(dir) not in caught.value.message + caught.value.hint
    with pytest.raises(ModelNotFound):
        find(write(dir, "m.gguf") / "below.gguf")


def test_only_gguf_files_are_models(dir):
    with pytest.raises(BadRequest, match="Only"):
        find(write(dir, "m.safetensors"))


@pytest.mark.parametrize("named", [1, 3])
def test_any_part_of_a_split_model_brings_all_in_order(dir, named):
    names = [f"m-0000{n}-of-00003.gguf" for n in (1, 2, 3)]
    write(dir, *names)
    assert [a.file for a in find(dir / names[named - 1]).assets] == names


def test_a_missing_part_is_told(dir):
    write(dir, "m-00001-of-00002.gguf")
    with pytest.raises(SourceFailed, match="part of this split model is missing"):
        find(dir / "m-00001-of-00002.gguf")


def test_a_folder_brings_its_model_and_projector(dir):
    write(dir, "m-Q4_0.gguf", "mmproj-F16.gguf", "mmproj-F32.gguf", "readme.txt", "sub/other-Q8_0.gguf")
    assert [(a.role, a.file) for a in find(dir).assets] == [
        ("model", "m-Q4_0.gguf"),
        ("projector", "mmproj-F16.gguf"),
    ]


def test_a_folder_of_a_split_model_is_one_model(dir):
    write(dir, "m-00001-of-00002.gguf", "m-00002-of-00002.gguf")
    assert len(find(dir).assets) == 2


def test_a_folder_of_several_models_asks_which(dir):
    write(dir, "a.gguf", "b.gguf")
    with pytest.raises(BadRequest, match="several models") as caught:
        find(dir)
    assert "a.gguf, b.gguf" in caught.value.hint


def test_a_safetensors_folder_comes_whole_without_what_could_run(dir):
    write(dir, "model.safetensors", "config.json", "tokenizer.json", "1_Pooling/config.json", "modeling.py")
    write(dir, "pytorch_model.bin", "merges.txt", "chat_template.jinja", ".git/config.json")
    listing = find(dir)
    files = {(a.role, a.file) for a in listing.assets}
    assert files == {("weights", "model.safetensors")} | {
        ("config", f)
        for f in (
            "config.json",
            "tokenizer.json",
            "1_Pooling/config.json",
            "merges.txt",
            "chat_template.jinja",
        )
    }
    assert "2 pickles or programs" in listing.said
    assert all(a.locator == dir / a.file for a in listing.assets)


def test_an_empty_folder_holds_no_model(dir):
    with pytest.raises(Unsupported, match="neither"):
        find(dir)


def test_a_folder_of_too_many_files_is_not_walked(dir, monkeypatch):
    monkeypatch.setattr("inhouse.store.sources.local.MOST", 3)
    write(dir, *(f"{n}.json" for n in range(5)))
    with pytest.raises(BadRequest, match="too many"):
        find(dir)


# fetching ------------------------------------------------------------------------------------------------


def fetch(path, **changes):
    events = []
    (asset,) = find(path).assets
    return SOURCE.fetch(replace(asset, **changes), path.parent, watch(events=events)), events


def test_a_file_is_hashed_where_it_lies(dir):
    path = write(dir, "m.gguf", data=MODEL + bytes(5 * 2**20))
    got, events = fetch(path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert (got.path, got.sha256, got.size, got.in_place) == (path, sha256, path.stat().st_size, True)
    assert [e.name for e in dir.iterdir()] == ["m.gguf"]
    assert events[-2].status == "pulling m.gguf"
    assert events[-2].completed == events[-2].total == got.size
    assert events[-1].status == "verifying sha256 digest"


def test_a_pinned_digest_is_checked(dir):
    path = write(dir, "m.gguf")
    got, events = fetch(path, sha256=hashlib.sha256(MODEL).hexdigest())
    assert events[0].status == f"pulling {got.sha256[:12]}"
    assert events[0].digest == f"sha256:{got.sha256}"
    with pytest.raises(DigestMismatch, match=got.sha256):
        fetch(path, sha256="0" * 64)
    assert path.read_bytes() == MODEL


def test_a_file_that_changes_while_it_is_read_is_refused(dir):
    path = write(dir, "m.gguf", data=bytes(5 * 2**20))
    (asset,) = find(path).assets

    def emit(event):
        with path.open("ab") as file:
            file.write(b"more")

    with pytest.raises(SourceFailed, match="changed while"):
        SOURCE.fetch(asset, dir, Watch(emit, trusted=True))


def test_a_stop_ends_the_hashing(dir):
    (asset,) = find(write(dir, "m.gguf")).assets
    stopped = watch()
    stopped.stopped.set()
    with pytest.raises(Cancelled):
        SOURCE.fetch(asset, dir, stopped)


@posix
def test_nothing_but_regular_files_is_opened(dir, monkeypatch):
    os.mkfifo(dir / "fifo.gguf")
    with socket.socket(socket.AF_UNIX) as sock:
        monkeypatch.chdir(dir)  # a socket's path must be short
        sock.bind("sock.gguf")
        (dir / "zero.gguf").symlink_to("/dev/zero")
        for name in ("fifo.gguf", "sock.gguf", "zero.gguf"):
            (asset,) = find(dir / name).assets
            with pytest.raises((BadRequest, SourceFailed)):
                SOURCE.fetch(asset, dir, watch())


@posix
@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_told_without_its_path(dir):
    path = write(dir, "m.gguf")
    (asset,) = find(path).assets
    path.chmod(0)
    with pytest.raises(SourceFailed) as caught:
        SOURCE.fetch(asset, dir, watch())
    assert str(dir) not in caught.value.message + caught.value.hint


def test_a_file_that_vanished_is_told_without_its_path(dir):
    path = write(dir, "m.gguf")
    (asset,) = find(path).assets
    path.unlink()
    with pytest.raises(SourceFailed, match="cannot be read") as caught:
        SOURCE.fetch(asset, dir, watch())
    assert str(dir) not in caught.value.message + caught.value.hint
