"""Ollama's own store: found, read in place, never believed and never changed."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

from inhouse.core.errors import Unsupported
from inhouse.store import sources
from inhouse.store.foreign import ollama
from inhouse.store.oci import names
from support import registryserver as rs
from support import tiny_gguf
from support.ollamastore import OllamaStore

MODEL = tiny_gguf.model(1)
HUB = "registry.ollama.ai/library"


@pytest.fixture
def store(tmp_path):
    return OllamaStore(tmp_path / "ollama")


def environ(store):
    return {"OLLAMA_MODELS": str(store.path)}


def scan(store):
    return ollama.scan(environ(store), Path("/nonexistent"))


def lookup(store, text):
    return ollama.lookup(names.parse(text), environ(store), Path("/nonexistent"))


def test_models_are_found_with_the_text_that_uses_them(store):
    manifest = store.put(f"{HUB}/llama3.2/1b", rs.ollama_layers(MODEL, projector=b"proj", system="x"))
    store.put("registry.ollama.ai/me/mine/latest", rs.ollama_layers(MODEL))
    store.put("hf.co/org/repo/Q4_K_M", rs.ollama_layers(MODEL))
    store.put("localhost:5000/team/m/v1", rs.ollama_layers(MODEL))
    found = {one.text: one for one in scan(store)}
    assert set(found) == {
        "ollama:llama3.2:1b", "ollama:me/mine:latest", "ollama:hf.co/org/repo:Q4_K_M", "localhost:5000/team/m:v1"
    }  # fmt: skip
    one = found["ollama:llama3.2:1b"]
    assert one.program == "ollama"
    assert one.size == len(MODEL) + 4
    assert one.modified_at == manifest.stat().st_mtime
    assert [asset.locator for asset in one.listing.assets] == [store.blob(MODEL), store.blob(b"proj")]
    assert all(sources.parse(text).text == text for text in found)
    assert one.listing.revision == rs.sha256(manifest.read_bytes())
    assert one.listing.origin == f"ollama:llama3.2:1b@{one.listing.revision}"


def test_a_lookup_brings_the_texts_too(store):
    layers = rs.ollama_layers(MODEL, template="{{ .Prompt }}", params={"num_ctx": 5}, license="MIT")
    store.put(f"{HUB}/tiny/latest", layers)
    listing = lookup(store, "ollama:tiny")
    assert listing is not None
    assert (listing.texts.template, listing.texts.licence) == ("{{ .Prompt }}", "MIT")
    assert listing.texts.defaults == {"num_ctx": 5}
    assert listing.assets[0].locator.read_bytes() == MODEL
    assert listing.said


def test_names_are_compared_without_case(store):
    store.put(f"{HUB}/Tiny/Latest", rs.ollama_layers(MODEL))
    assert lookup(store, "ollama:tiny") is not None
    assert lookup(store, "ollama:TINY:LATEST") is not None
    assert lookup(store, "ollama:other") is None


@pytest.mark.skipif(sys.platform == "win32", reason="Windows allows no colon in file names")
def test_blobs_of_old_stores_are_found(tmp_path):
    store = OllamaStore(tmp_path / "old", mark=":")
    store.put(f"{HUB}/tiny/latest", rs.ollama_layers(MODEL))
    listing = lookup(store, "ollama:tiny")
    assert listing is not None
    assert listing.assets[0].locator == store.blob(MODEL)


def test_a_pinned_text_finds_exactly_that_version(store):
    path = store.put(f"{HUB}/tiny/latest", rs.ollama_layers(MODEL))
    digest = rs.sha256(path.read_bytes())
    assert lookup(store, f"ollama:tiny:latest@{digest}") is not None
    assert lookup(store, f"ollama:tiny:latest@sha256:{'0' * 64}") is None


@pytest.mark.parametrize(
    "text", ["oci://registry.ollama.ai/library/tiny", "localhost:1/a/b/c", "localhost:1/library/tiny"]
)
def test_other_places_are_not_in_this_store(store, text):
    store.put(f"{HUB}/tiny/latest", rs.ollama_layers(MODEL))
    assert lookup(store, text) is None


def test_what_is_not_whole_is_left_out(store):
    store.put(f"{HUB}/whole/latest", rs.ollama_layers(MODEL))
    store.put(f"{HUB}/gone/latest", rs.ollama_layers(b"gone"))
    store.blob(b"gone").unlink()
    store.put(f"{HUB}/short/latest", rs.ollama_layers(b"shortened"))
    store.blob(b"shortened").write_bytes(b"short")
    store.put(f"{HUB}/folder/latest", rs.ollama_layers(b"folder"))
    store.blob(b"folder").unlink()
    store.blob(b"folder").mkdir()
    assert [one.text for one in scan(store)] == ["ollama:whole:latest"]
    for name in ("gone", "short", "folder"):
        assert lookup(store, f"ollama:{name}") is None


def test_a_damaged_text_makes_the_copy_unusable(store):
    store.put(f"{HUB}/tiny/latest", rs.ollama_layers(MODEL, template="abc"))
    store.blob(b"abc").write_bytes(b"abd")
    assert lookup(store, "ollama:tiny") is None


@pytest.mark.parametrize("digest", rs.BAD_DIGESTS, ids=repr)
def test_no_digest_of_a_manifest_leads_outside(store, tmp_path, digest):
    """CVE-2024-37032, CVE-2026-7020."""
    outside = tmp_path / "x"
    outside.write_bytes(MODEL)
    layer = rs.Layer(rs.OLLAMA + "model", MODEL, changed={"digest": digest})
    store.put(f"{HUB}/bad/latest", [layer])
    store.put(f"{HUB}/good/latest", rs.ollama_layers(MODEL))
    assert [one.text for one in scan(store)] == ["ollama:good:latest"]
    assert lookup(store, "ollama:bad") is None


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 10**5, b'{"schemaVersion":2,"layers":null}', b" " * (4 * 2**20 + 1)],
    ids=lambda b: repr(b[:12]),
)  # fmt: skip
def test_broken_manifests_are_skipped(store, body):
    store.raw(f"{HUB}/broken/latest", body)
    store.put(f"{HUB}/good/latest", rs.ollama_layers(MODEL))
    assert [one.text for one in scan(store)] == ["ollama:good:latest"]
    assert lookup(store, "ollama:broken") is None


def test_an_index_is_no_model_of_ollama(store):
    store.raw(
        f"{HUB}/index/latest",
        json.dumps({"schemaVersion": 2, "mediaType": rs.OCI_INDEX, "manifests": []}).encode(),
    )
    assert scan(store) == []
    assert lookup(store, "ollama:index") is None


def test_files_that_are_no_manifests_are_skipped(store):
    for name in (f"{HUB}/tiny/.hidden", f"{HUB}/tiny/a b", f"{HUB}/-x/latest", f"{HUB}/stray"):
        store.raw(name, b"{}")
    (store.path / "manifests" / HUB / "tiny" / "folder").mkdir()
    store.put(f"{HUB}/good/latest", rs.ollama_layers(MODEL))
    assert [one.text for one in scan(store)] == ["ollama:good:latest"]


def test_models_that_only_ollama_runs_are_left_out_and_named_on_request(store):
    store.put(f"{HUB}/mlx/latest", rs.ollama_layers(tensor=b"t"))
    store.put(f"{HUB}/cloud/latest", rs.ollama_layers(MODEL), config={"remote_host": "https://ollama.com"})
    with pytest.raises(Unsupported, match="MLX"):
        lookup(store, "ollama:mlx")
    with pytest.raises(Unsupported, match="cloud"):
        lookup(store, "ollama:cloud")
    assert "ollama:mlx:latest" not in [one.text for one in scan(store)]


def test_a_model_whose_config_was_not_copied_along_is_used_all_the_same(store):
    store.put(f"{HUB}/tiny/latest", rs.ollama_layers(MODEL), config={"model_family": "llama"})
    store.blob(b'{"model_family": "llama"}').unlink()
    found = lookup(store, "ollama:tiny")
    assert [asset.locator.read_bytes() for asset in found.assets] == [MODEL]


def test_nothing_is_written(store):
    store.put(f"{HUB}/tiny/latest", rs.ollama_layers(MODEL, template="x"))
    store.raw(f"{HUB}/broken/latest", b"{")
    before = store.tree()
    scan(store)
    lookup(store, "ollama:tiny")
    lookup(store, "ollama:broken")
    assert store.tree() == before


def test_no_store_is_no_models(tmp_path):
    assert ollama.scan({"OLLAMA_MODELS": str(tmp_path / "absent")}, tmp_path) == []
    assert ollama.lookup(names.parse("ollama:x"), {"OLLAMA_MODELS": str(tmp_path)}, tmp_path) is None


def test_the_usual_folders_are_looked_at_unless_one_is_set(tmp_path):
    assert ollama.roots({"OLLAMA_MODELS": "/data/models"}, tmp_path) == (Path("/data/models"),)
    found = ollama.roots({}, tmp_path)
    assert found[0] == tmp_path / ".ollama" / "models"
    if sys.platform == "linux":
        assert Path("/usr/share/ollama/.ollama/models") in found


def test_the_store_of_the_users_home_is_found(tmp_path):
    store = OllamaStore(tmp_path / ".ollama" / "models")
    store.put(f"{HUB}/athome/latest", rs.ollama_layers(MODEL))
    assert "ollama:athome:latest" in [one.text for one in ollama.scan({}, tmp_path)]


def test_five_hundred_models_are_listed_in_time_and_no_blob_is_opened(store, monkeypatch):
    for i in range(500):
        store.put(f"{HUB}/m{i}/latest", rs.ollama_layers(MODEL, template="x", license="y"))
    opened = []
    real = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda self: opened.append(self) or real(self))
    times = []
    for _ in range(3):
        begin = time.perf_counter()
        assert len(scan(store)) == 500
        times.append(time.perf_counter() - begin)
    assert min(times) < 0.2
    assert not [path for path in opened if path.parent.name == "blobs"]
