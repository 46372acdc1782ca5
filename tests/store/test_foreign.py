"""Models in the folders of other programs: found without opening them, used in place without a network."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from pathlib import Path

import pytest

from inhouse.core.errors import InhouseError
from inhouse.store import foreign
from inhouse.store.foreign import hub, llamacpp, lmstudio
from inhouse.store.sources.base import Watch
from inhouse.store.sources.hub import Hub
from inhouse.store.sources.local import Local
from support import tiny_gguf

MODEL = tiny_gguf.model(1)
SHA = hashlib.sha256(MODEL).hexdigest()
ONE, TWO = "1" * 40, "2" * 40
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="symbolic links")


def write(path, data=MODEL):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def cached(top, repo, commit, file, data=MODEL, *, ref=""):
    """A file as huggingface_hub lays it down."""
    folder = top / ("models--" + repo.replace("/", "--"))
    blob = write(folder / "blobs" / hashlib.sha256(data).hexdigest(), data)
    place = folder / "snapshots" / commit / file
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(os.path.relpath(blob, place.parent))
    if ref:
        write(folder / "refs" / ref, commit.encode())
    return place


@pytest.fixture
def home(tmp_path):
    return Path(os.path.realpath(tmp_path)) / "home"


@pytest.fixture
def cache(home):
    return home / ".cache" / "huggingface" / "hub"


def texts(found):
    return [f.text for f in found]


def used(found, monkeypatch, cache):
    """The listing that the source of a text makes of it, with no hub to ask."""
    monkeypatch.setenv("HF_HUB_CACHE", str(cache))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    source = Hub() if found.text.startswith("hf.co/") else Local()
    watch = Watch(lambda event: None, trusted=True)
    listing = source.find(source.parse(found.text), watch)
    for asset, seen in zip(listing.assets, found.listing.assets, strict=True):
        got = source.fetch(asset, cache, watch)
        assert got.in_place
        assert got.path == seen.locator
        assert (got.size, asset.role, asset.file) == (seen.size, seen.role, seen.file)
        assert got.sha256 == hashlib.sha256(seen.locator.read_bytes()).hexdigest()
    return listing


# Hugging Face --------------------------------------------------------------------------------------------


def test_a_cached_model_is_listed_and_used_in_place(home, cache, monkeypatch):
    place = cached(cache, "org/repo", ONE, "m-Q4_0.gguf", ref="main")
    (found,) = hub.scan({}, home)
    assert (found.program, found.text, found.size) == (
        "huggingface",
        "hf.co/org/repo:m-Q4_0.gguf",
        len(MODEL),
    )
    assert found.listing.revision == ONE
    assert found.listing.origin == f"hf.co/org/repo@{ONE}:m-Q4_0.gguf"
    assert found.listing.assets[0].sha256 == SHA
    assert found.listing.assets[0].locator == place
    assert found.modified_at == pytest.approx(place.stat().st_mtime)
    assert used(found, monkeypatch, cache).revision == ONE


@pytest.mark.parametrize(
    ("environ", "place"),
    [
        ({"HF_HUB_CACHE": "{}/a"}, "a"),
        ({"HUGGINGFACE_HUB_CACHE": "{}/a", "HF_HOME": "{}/b"}, "a"),
        ({"HF_HOME": "{}/b"}, "b/hub"),
        ({"HF_HOME": "~/b"}, "b/hub"),
        ({"XDG_CACHE_HOME": "{}/c"}, "c/huggingface/hub"),
        ({}, ".cache/huggingface/hub"),
    ],
)
def test_the_cache_is_where_the_environment_says(home, environ, place):
    cached(home / place, "org/repo", ONE, "m.gguf")
    assert texts(hub.scan({k: v.format(home) for k, v in environ.items()}, home)) == ["hf.co/org/repo:m.gguf"]


def test_split_sets_and_projectors_belong_to_their_model(home, cache, monkeypatch):
    for n in (1, 2):
        cached(cache, "org/repo", ONE, f"Q8_0/m-Q8_0-0000{n}-of-00002.gguf", MODEL + bytes(n), ref="main")
    cached(cache, "org/repo", ONE, "mmproj-F16.gguf", b"GGUFmm")
    (found,) = hub.scan({}, home)
    assert found.text == "hf.co/org/repo:Q8_0/m-Q8_0-00001-of-00002.gguf"
    assert [a.role for a in found.listing.assets] == ["model", "model", "projector"]
    used(found, monkeypatch, cache)


def test_the_commit_of_main_is_preferred_and_older_ones_are_seen(home, cache, monkeypatch):
    cached(cache, "org/repo", TWO, "m-Q4_0.gguf", MODEL + b"2")
    cached(cache, "org/repo", TWO, "old-Q4_0.gguf", MODEL + b"3")
    cached(cache, "org/repo", ONE, "m-Q4_0.gguf", ref="main")
    os.utime(cache / "models--org--repo" / "snapshots" / ONE, (1, 1))
    found = {f.text: f for f in hub.scan({}, home)}
    assert found["hf.co/org/repo:m-Q4_0.gguf"].listing.revision == ONE
    assert found["hf.co/org/repo:old-Q4_0.gguf"].listing.revision == TWO
    for one in found.values():
        assert used(one, monkeypatch, cache).revision == one.listing.revision


def test_without_a_ref_the_newest_commit_counts(home, cache, monkeypatch):
    cached(cache, "org/repo", TWO, "m-Q4_0.gguf", MODEL + b"2")
    cached(cache, "org/repo", ONE, "m-Q4_0.gguf")
    os.utime(cache / "models--org--repo" / "snapshots" / TWO, (1, 1))
    (found,) = hub.scan({}, home)
    assert found.listing.revision == ONE
    assert used(found, monkeypatch, cache).revision == ONE


def test_broken_links_hostile_names_and_strangers_are_passed_over(home, cache):
    good = cached(cache, "org/repo", ONE, "m.gguf")
    (good.parent / "gone.gguf").symlink_to("../../blobs/absent")
    (good.parent / "loop.gguf").symlink_to("loop.gguf")
    (good.parent / "bell\a.gguf").symlink_to(good)
    (good.parent / "a\\b.gguf").symlink_to(good)
    (good.parent / "a:b.gguf").symlink_to(good)
    os.mkfifo(good.parent / "fifo.gguf")
    write(good.parent / "part-00001-of-00002.gguf")
    write(good.parent / "deep" / Path(*"abcdefgh") / "m2.gguf")
    for name in (
        "models--lonely",
        "models--a--b--c",
        "datasets--org--repo",
        "models--..--x",
        "x",
        "models--a--b:c",
    ):
        write(cache / name / "snapshots" / ONE / "n.gguf")
    write(cache / "models--org--other" / "snapshots" / "not-a-commit" / "n.gguf")
    write(cache / "models--org--file")
    os.symlink(os.fsencode(good), os.fsencode(good.parent) + b"/\xff.gguf")
    assert texts(hub.scan({}, home)) == ["hf.co/org/repo:m.gguf"]


def test_a_ref_that_never_ends_is_not_read(home, cache):
    cached(cache, "org/repo", ONE, "m.gguf")
    refs = cache / "models--org--repo" / "refs"
    refs.mkdir()
    os.mkfifo(refs / "main")
    assert len(hub.scan({}, home)) == 1
    (refs / "main").unlink()
    (refs / "main").symlink_to("/dev/zero")
    assert len(hub.scan({}, home)) == 1
    (refs / "main").unlink()
    write(refs / "main", b"../../../outside")
    assert len(hub.scan({}, home)) == 1


def test_files_that_are_no_links_have_no_digest_yet(home, cache):
    write(cache / "models--org--repo" / "snapshots" / ONE / "m.gguf")
    (found,) = hub.scan({}, home)
    assert found.listing.assets[0].sha256 == ""


# llama.cpp -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "place"),
    [
        ({"LLAMA_CACHE": "{}/l"}, "l"),
        ({"XDG_CACHE_HOME": "{}/x"}, "x/llama.cpp"),
        ({"LOCALAPPDATA": "{}/w"}, "w/llama.cpp"),
        ({}, ".cache/llama.cpp"),
        ({}, "Library/Caches/llama.cpp"),
    ],
)
def test_flat_files_of_llamacpp_are_named_by_their_paths(home, environ, place, monkeypatch, cache):
    path = write(home / place / "org_repo_m-Q4_0.gguf")
    write(home / place / "org_repo_mmproj-F16.gguf")
    write(home / place / "org_repo_m-Q4_0.gguf.etag", b"x")
    write(home / place / "manifest=org=repo=latest.json", b"{}")
    (found,) = llamacpp.scan({k: v.format(home) for k, v in environ.items()}, home)
    assert (found.program, found.text, found.size) == ("llama.cpp", str(path), len(MODEL))
    used(found, monkeypatch, cache)


def test_the_layout_of_hugging_face_in_llama_cache_is_read_too(home, monkeypatch, cache):
    place = cached(home / "l", "org/repo", ONE, "m-Q4_0.gguf", ref="main")
    write(place.parent / "Q8_0" / "m-Q8_0-00001-of-00001.gguf")
    found = llamacpp.scan({"LLAMA_CACHE": str(home / "l")}, home)
    assert texts(found) == [str(place), str(place.parent / "Q8_0" / "m-Q8_0-00001-of-00001.gguf")]
    for one in found:
        used(one, monkeypatch, cache)


def test_a_cache_shared_with_hugging_face_is_listed_once(home):
    cached(home / "l", "org/repo", ONE, "m-Q4_0.gguf")
    environ = {"LLAMA_CACHE": str(home / "l"), "HF_HUB_CACHE": str(home / "l")}
    assert llamacpp.scan(environ, home) == []
    assert len(foreign.scan(environ, home)) == 1


# LM Studio -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [".lmstudio", ".cache/lm-studio"])
def test_models_of_lm_studio_are_named_by_their_paths(home, place, monkeypatch, cache):
    folder = home / place / "models" / "publisher" / "repo"
    paths = [write(folder / "m-Q4_0.gguf"), write(folder / "m-Q8_0.gguf")]
    write(folder / "mmproj-F16.gguf")
    write(home / place / "models" / "loose.gguf")
    found = lmstudio.scan({}, home)
    assert texts(found) == [str(path) for path in paths]
    for one in found:
        used(one, monkeypatch, cache)


def test_a_lone_model_with_a_projector_is_named_by_its_folder(home, monkeypatch, cache):
    folder = home / ".lmstudio" / "models" / "publisher" / "repo"
    write(folder / "m-Q4_0.gguf")
    write(folder / "mmproj-F16.gguf")
    (found,) = lmstudio.scan({}, home)
    assert found.text == str(folder)
    assert [a.role for a in found.listing.assets] == ["model", "projector"]
    used(found, monkeypatch, cache)


def test_a_moved_home_of_lm_studio_is_followed(home):
    path = write(home / "elsewhere" / "models" / "p" / "r" / "m.gguf")
    write(home / ".lmstudio-home-pointer", f"{home / 'elsewhere'}\n".encode())
    assert texts(lmstudio.scan({}, home)) == [str(path)]
    write(home / ".lmstudio-home-pointer", b"relative/folder")
    assert lmstudio.scan({}, home) == []


def test_one_home_that_links_to_another_is_listed_once(home):
    write(home / ".lmstudio" / "models" / "p" / "r" / "m.gguf")
    (home / ".cache").mkdir()
    (home / ".cache" / "lm-studio").symlink_to(home / ".lmstudio")
    write(home / ".lmstudio-home-pointer", str(home / ".lmstudio").encode())
    assert len(lmstudio.scan({}, home)) == 1


def test_folders_may_be_links_to_other_disks_and_broken_ones_are_passed_over(home):
    write(home / "disk" / "r" / "m.gguf")
    models = home / ".lmstudio" / "models"
    models.mkdir(parents=True)
    (models / "p").symlink_to(home / "disk")
    (models / "gone").symlink_to(home / "absent")
    (models / "p" / "r" / "gone.gguf").symlink_to(home / "absent.gguf")
    (models / "p" / "loop").symlink_to("loop")
    assert len(lmstudio.scan({}, home)) == 1


# all of them ---------------------------------------------------------------------------------------------


def test_nothing_there_is_nothing_found(home):
    assert foreign.scan({}, home) == []


def test_all_programs_are_joined_and_one_that_fails_hides_none(home, cache, monkeypatch, caplog):
    cached(cache, "org/repo", ONE, "m.gguf")
    write(home / ".lmstudio" / "models" / "p" / "r" / "m.gguf")

    def broken(environ, home):
        raise RuntimeError("what is this")

    monkeypatch.setattr(foreign, "SCANS", (broken, *foreign.SCANS))
    assert {f.program for f in foreign.scan({}, home)} == {"huggingface", "lmstudio"}
    assert "what is this" in caplog.text


def test_no_model_is_opened_and_500_are_found_at_once(home, cache, monkeypatch):
    for n in range(250):
        cached(cache, f"org/repo{n}", ONE, "m-Q4_0.gguf", b"x", ref="main")
        write(home / ".lmstudio" / "models" / f"p{n}" / "r" / "m-Q4_0.gguf", b"y")
    opened = []
    real = os.open
    monkeypatch.setattr(os, "open", lambda path, *a, **k: opened.append(str(path)) or real(path, *a, **k))
    best = 9.0
    for _ in range(5):
        began = time.perf_counter()
        found = foreign.scan({}, home)
        best = min(best, time.perf_counter() - began)
    assert len(found) == 500
    assert [path for path in opened if path.endswith(".gguf")] == []
    assert best < 0.2


def test_a_text_of_a_model_that_is_gone_is_refused_in_words(home, cache, monkeypatch):
    place = cached(cache, "org/repo", ONE, "m.gguf", ref="main")
    (found,) = hub.scan({}, home)
    place.unlink()
    with pytest.raises(InhouseError):
        used(found, monkeypatch, cache)
