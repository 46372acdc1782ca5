"""The Hugging Face Hub as a source, against a hub on loopback that can misbehave."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import sys
import threading
import time
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants
from hypothesis import given
from hypothesis import strategies as st

from inhouse.core.errors import (
    BadRequest,
    Cancelled,
    DigestMismatch,
    Forbidden,
    InhouseError,
    InvalidName,
    ModelNotFound,
    SourceFailed,
    Unsupported,
)
from inhouse.core.models import ModelName
from inhouse.store.hub import client, listing, names
from inhouse.store.hub.cache import CachedRepo
from inhouse.store.hub.listing import HubFile, pick
from inhouse.store.sources.base import Policy, Throttle, Watch
from inhouse.store.sources.hub import Hub
from support import tiny_gguf
from support.fileserver import Fault
from support.hubserver import HubServer

MODEL = tiny_gguf.model(1)
BIG = MODEL + os.urandom(2**20) * 48
SOURCE = Hub()
REPO = "org/Some.Repo-GGUF"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


# names ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "canonical", "name"),
    [
        ("hf.co/org/repo", "hf.co/org/repo", "hf.co/org/repo:latest"),
        ("hf:org/repo", "hf.co/org/repo", "hf.co/org/repo:latest"),
        ("hf://org/repo", "hf.co/org/repo", "hf.co/org/repo:latest"),
        ("HF.co/Org/Repo:latest", "hf.co/Org/Repo", "hf.co/Org/Repo:latest"),
        ("huggingface.co/org/repo:Q4_K_M", "hf.co/org/repo:Q4_K_M", "hf.co/org/repo:Q4_K_M"),
        ("https://huggingface.co/org/repo", "hf.co/org/repo", "hf.co/org/repo:latest"),
        ("https://hf.co/org/repo/", "hf.co/org/repo", "hf.co/org/repo:latest"),
        ("https://huggingface.co/org/repo/tree/main", "hf.co/org/repo", "hf.co/org/repo:latest"),
        ("https://huggingface.co/org/repo/tree/dev/sub", "hf.co/org/repo@dev", "hf.co/org/repo:at-dev"),
        (
            "https://huggingface.co/org/repo/resolve/main/a%20b.gguf?download=true",
            "hf.co/org/repo:a b.gguf",
            "hf.co/org/repo:a-b.gguf",
        ),
        (
            "https://huggingface.co/org/repo/blob/refs%2Fpr%2F1/s/x.gguf#top",
            "hf.co/org/repo@refs/pr/1:s/x.gguf",
            "hf.co/org/repo:s--x.gguf-at-refs--pr--1",
        ),
        ("https://huggingface.co/org/repo/blob/main/config.json", "hf.co/org/repo", "hf.co/org/repo:latest"),
        ("hf.co/org/repo/resolve/main/x.gguf", "hf.co/org/repo:x.gguf", "hf.co/org/repo:x.gguf"),
        ("hf://org/repo/sub/x.gguf", "hf.co/org/repo:sub/x.gguf", "hf.co/org/repo:sub--x.gguf"),
        ("hf:org/repo@v1.0:Q8_0", "hf.co/org/repo@v1.0:Q8_0", "hf.co/org/repo:Q8_0-at-v1.0"),
        ("hf:org/repo@main:Q8_0", "hf.co/org/repo:Q8_0", "hf.co/org/repo:Q8_0"),
        ("hf.co/org/repo:sub--x.gguf", "hf.co/org/repo:sub--x.gguf", "hf.co/org/repo:sub--x.gguf"),
        ("hf.co/org/repo:x..y.gguf", "hf.co/org/repo:x..y.gguf", "hf.co/org/repo:x.y.gguf"),
    ],
)
def test_all_ways_to_name_a_repository(text, canonical, name):
    ref = SOURCE.parse(text)
    assert (ref.kind, ref.text, str(ref.name)) == ("hf", canonical, name)
    assert SOURCE.parse(ref.text) == ref


@pytest.mark.parametrize(
    "text",
    [
        "hf.co/",
        "hf.co/repo",
        "hf:org",
        "hf.co/org/repo/file.bin",
        "hf.co/org/repo/x.gguf:Q4_0",
        "hf.co/org/repo:a:b",
        "hf.co/org/repo:../x.gguf",
        "hf.co/org/repo:/x.gguf",
        "hf.co/org/repo:a//b.gguf",
        "hf.co/org/repo:a\\b.gguf",
        "hf.co/org/repo:a\nb.gguf",
        "hf.co/org/repo@../x",
        "hf.co/org/repo@a b",
        "https://huggingface.co/org/repo/resolve/main/%2e%2e/x.gguf",
        "https://huggingface.co/org/repo/resolve/main/a%00b.gguf",
        "hf.co/../repo",
        "hf.co/org/re po",
        "hf.co/org/" + "x" * 200,
        "https://example.com/org/repo",
    ],
)
def test_what_is_no_repository_is_refused(text):
    with pytest.raises((BadRequest, InvalidName)):
        SOURCE.parse(text)


def test_a_file_too_long_for_a_tag_still_has_a_name_of_its_own():
    one, other = (SOURCE.parse(f"hf.co/org/repo:{'x' * 150}-{n}.gguf").name for n in "12")
    assert one != other
    assert len(one.tag) <= 128
    assert len(SOURCE.parse("hf.co/org/repo:模型").name.tag) == 8


@given(
    st.text(max_size=60),
    st.sampled_from(["hf.co/org/repo:", "hf:org/repo@", "https://huggingface.co/org/repo/"]),
)
def test_any_text_is_read_or_refused(text, prefix):
    try:
        ref = SOURCE.parse(prefix + text)
    except BadRequest:
        return
    assert SOURCE.parse(ref.text) == ref
    assert ModelName.parse(str(ref.name)) == ref.name


# which files ---------------------------------------------------------------------------------------------


def picked(*files, wanted="", room=0):
    return pick([HubFile(f, 100) for f in files], wanted, room)


def paths(result, role=None):
    return [file.path for r, file in result.files if role in (None, r)]


def test_gguf_files_win_over_safetensors():
    assert paths(picked("m-Q4_0.gguf", "model.safetensors", "config.json")) == ["m-Q4_0.gguf"]


def test_a_split_model_comes_whole_with_its_projector():
    files = [
        "Q4_K_M/m-00002-of-00002.gguf",
        "Q4_K_M/m-00001-of-00002.gguf",
        "mmproj-F32.gguf",
        "mmproj-F16.gguf",
    ]
    found = picked(*files, "x/mmproj-F16.gguf")
    assert found.files[0][0] == "model"
    assert paths(found) == ["Q4_K_M/m-00001-of-00002.gguf", "Q4_K_M/m-00002-of-00002.gguf", "mmproj-F16.gguf"]


def test_a_projector_of_another_folder_is_not_the_models():
    assert paths(picked("a/m-Q4_0.gguf", "b/mmproj-F16.gguf", "b/m-Q8_0.gguf", wanted="Q4_0")) == [
        "a/m-Q4_0.gguf"
    ]


def test_safetensors_come_whole_without_what_could_run_code():
    found = picked(
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
        "pytorch_model.bin.index.json",
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer.model",
        "special_tokens_map.json",
        "chat_template.jinja",
        "merges.txt",
        "1_Pooling/config.json",
        "README.md",
        ".gitattributes",
        "consolidated.safetensors",
        "original/consolidated.00.pth",
        "original/params.json",
        "onnx/model.onnx",
        "onnx/config.json",
        "pytorch_model.bin",
        "modeling_x.py",
        "weights.pkl",
    )
    assert paths(found, "weights") == ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    assert set(paths(found, "config")) == {
        "model.safetensors.index.json",
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer.model",
        "special_tokens_map.json",
        "chat_template.jinja",
        "merges.txt",
        "1_Pooling/config.json",
    }
    assert found.said == "4 pickles or programs in it are ignored: they could run code."


def test_weights_with_a_shard_missing_are_refused():
    with pytest.raises(Unsupported, match="missing") as caught:
        picked("model-00001-of-00002.safetensors", "config.json")
    assert "1 of 2" in caught.value.hint


def test_what_holds_no_model_is_refused_with_the_reason():
    with pytest.raises(Unsupported) as caught:
        picked("pytorch_model.bin", "config.json")
    assert "could run code" in caught.value.hint
    with pytest.raises(Unsupported) as caught:
        picked("README.md")
    assert "-GGUF" in caught.value.hint


def test_a_quant_of_a_repository_without_gguf_is_not_found():
    with pytest.raises(ModelNotFound) as caught:
        picked("model.safetensors", wanted="Q4_0")
    assert "no GGUF" in caught.value.hint


def test_huge_settings_are_no_settings():
    files = [HubFile("model.safetensors", 1), HubFile("data.json", listing.CONFIG_LIMIT + 1)]
    assert paths(pick(files, "", 0)) == ["model.safetensors"]


# against a hub -------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def machine(monkeypatch, tmp_path):
    """No token, mirror or cache of the machine that the tests run on."""
    for name in [*os.environ]:
        if name.startswith(("HF_", "HUGGING", "TRANSFORMERS_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return tmp_path


@pytest.fixture
def hub(monkeypatch):
    with HubServer(cdn=True) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        yield server


class Pull:
    """One pull by hand: a watch, its events, and folders for assets."""

    def __init__(self, tmp_path, *, fresh=False, **policy):
        self.events = []
        self.folders = tmp_path / "partial"
        hosts = policy.pop("hosts", ("127.0.0.1",))
        self.watch = Watch(self.events.append, Policy(hosts=hosts, **policy), fresh=fresh)

    def find(self, text):
        return SOURCE.find(SOURCE.parse(text), self.watch)

    def folder(self, asset):
        folder = self.folders / hashlib.sha256(repr(asset.locator).encode()).hexdigest()[:12]
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def fetch(self, asset):
        return SOURCE.fetch(asset, self.folder(asset), self.watch)

    def all(self, text):
        return [self.fetch(asset) for asset in self.find(text).assets]


@pytest.fixture
def pull(tmp_path):
    return Pull(tmp_path)


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def test_a_model_comes_into_the_cache_of_hugging_face_and_is_used_there(hub, pull, cache):
    commit = hub.publish(REPO, {"m-Q4_K_M.gguf": MODEL, "README.md": b"#"}, card={"license": "apache-2.0"})
    found = pull.find(f"hf:{REPO}")
    assert found.revision == commit
    assert found.origin == f"hf.co/{REPO}@{commit}:m-Q4_K_M.gguf"
    assert found.texts.licence == "apache-2.0"
    (asset,) = found.assets
    assert (asset.role, asset.size, asset.sha256) == ("model", len(MODEL), hashlib.sha256(MODEL).hexdigest())
    assert SOURCE.missing(asset, pull.folder(asset)) == len(MODEL)
    got = pull.fetch(asset)
    assert (got.sha256, got.size, got.in_place) == (asset.sha256, asset.size, True)
    assert got.path.is_relative_to(cache)
    assert got.path.read_bytes() == MODEL
    assert SOURCE.missing(asset, pull.folder(asset)) == 0
    last = [e for e in pull.events if e.status.startswith("pulling")][-1]
    assert (last.status, last.digest) == (f"pulling {asset.sha256[:12]}", f"sha256:{asset.sha256}")
    assert (last.completed, last.total) == (len(MODEL), len(MODEL))
    assert pull.events[-1].status == "verifying sha256 digest"


def test_the_library_finds_what_was_put_into_its_cache(hub, pull, cache):
    commit = hub.publish(REPO, {"model.safetensors": MODEL, "sub/config.json": b"{}"})
    got = pull.all(f"hf:{REPO}")
    info = huggingface_hub.scan_cache_dir(cache)
    assert info.warnings == []
    (repo,) = info.repos
    assert repo.repo_id == REPO
    assert {r.commit_hash: sorted(r.refs) for r in repo.revisions} == {commit: ["main"]}
    for file, one in zip(("model.safetensors", "sub/config.json"), got, strict=True):
        assert huggingface_hub.try_to_load_from_cache(REPO, file, cache_dir=cache) == str(one.path)
        fetched = hub.fetched()
        again = huggingface_hub.hf_hub_download(REPO, file, endpoint=hub.endpoint, cache_dir=cache)
        assert again == str(one.path)
        assert hub.fetched() == fetched


@pytest.mark.parametrize("way", ["library", "inhouse"])
def test_an_already_downloaded_file_is_used_in_place_without_a_byte_fetched(hub, pull, cache, way):
    hub.publish(REPO, {"m-Q4_0.gguf": MODEL})
    if way == "library":
        huggingface_hub.hf_hub_download(REPO, "m-Q4_0.gguf", endpoint=hub.endpoint, cache_dir=cache)
    else:
        pull.all(f"hf:{REPO}")
    fetched = hub.fetched()
    (asset,) = pull.find(f"hf:{REPO}:Q4_0").assets
    assert SOURCE.missing(asset, pull.folder(asset)) == 0
    assert pull.fetch(asset).path.read_bytes() == MODEL
    assert hub.fetched() == fetched
    hits = len(hub.hits)
    assert pull.all(f"hf:{REPO}:m-Q4_0.gguf")[0].in_place
    assert len(hub.hits) == hits


def test_a_new_commit_with_the_same_file_fetches_nothing(hub, pull):
    hub.publish(REPO, {"m-Q4_0.gguf": MODEL, "README.md": b"1"})
    (before,) = pull.all(f"hf:{REPO}")
    commit = hub.publish(REPO, {"m-Q4_0.gguf": MODEL, "README.md": b"2"})
    fetched = hub.fetched()
    (after,) = pull.all(f"hf:{REPO}")
    assert hub.fetched() == fetched
    assert commit in after.path.parts
    assert os.path.samefile(before.path, after.path)


def test_a_fresh_look_asks_even_for_a_file_that_is_here(hub, pull, tmp_path):
    hub.publish(REPO, {"m-Q4_0.gguf": MODEL})
    pull.all(f"hf:{REPO}")
    commit = hub.publish(REPO, {"m-Q4_0.gguf": MODEL + b"new"})
    assert pull.find(f"hf:{REPO}:m-Q4_0.gguf").revision != commit
    assert Pull(tmp_path, fresh=True).find(f"hf:{REPO}:m-Q4_0.gguf").revision == commit


def test_a_commit_by_its_hash_is_never_asked_for_twice(hub, pull, tmp_path):
    commit = hub.publish(REPO, {"m-Q4_0.gguf": MODEL})
    origin = pull.find(f"hf:{REPO}").origin
    assert commit in origin
    assert pull.all(origin)[0].in_place
    hits = len(hub.hits)
    assert Pull(tmp_path, fresh=True).find(origin).revision == commit
    assert len(hub.hits) == hits


def test_a_branch_is_pulled_beside_main(hub, pull, cache):
    hub.publish(REPO, {"m-Q4_0.gguf": MODEL})
    dev = hub.publish(REPO, {"m-Q4_0.gguf": MODEL + b"dev"}, revision="refs/pr/1")
    found = pull.find(f"hf:{REPO}@refs/pr/1:Q4_0")
    assert found.revision == dev
    pull.fetch(found.assets[0])
    assert CachedRepo(cache, REPO).commit("refs/pr/1") == dev
    assert CachedRepo(cache, REPO).commit("main") == ""


def test_split_models_and_projectors_come_whole(hub, pull):
    files = {f"UD-Q4_K_XL/m-UD-Q4_K_XL-0000{n}-of-00003.gguf": MODEL + bytes(n) for n in (1, 2, 3)}
    hub.publish(
        REPO, {**files, "mmproj-BF16.gguf": b"GGUFb", "mmproj-F16.gguf": b"GGUFf", "m-Q8_0.gguf": b"GGUF8"}
    )
    found = pull.find(f"hf:{REPO}:q4_k_xl")
    assert [a.role for a in found.assets] == ["model"] * 3 + ["projector"]
    got = [pull.fetch(asset) for asset in found.assets]
    assert [g.path.read_bytes() for g in got] == [*files.values(), b"GGUFf"]
    assert len({g.path.parent for g in got[:3]}) == 1


def test_a_safetensors_repository_comes_whole_without_pickles_and_programs(hub, pull, cache):
    files = {
        "model.safetensors": MODEL,
        "config.json": b"{}",
        "tokenizer.json": b"[]",
        "chat_template.jinja": b"{{ x }}",
    }
    hub.publish(
        REPO, {**files, "pytorch_model.bin": b"pickle", "modeling.py": b"import os", "README.md": b"#"}
    )
    found = pull.find(f"hf:{REPO}")
    assert "ignored" in found.said
    got = {asset.file: pull.fetch(asset) for asset in found.assets}
    assert {file: g.path.read_bytes() for file, g in got.items()} == files
    assert all(g.sha256 == hashlib.sha256(files[f]).hexdigest() for f, g in got.items())
    assert not [h.path for h in hub.hits if h.path.endswith((".bin", ".py"))]
    assert not [path for path in cache.rglob("*") if path.suffix in (".bin", ".py")]
    # again, from the cache: small files are hashed, they carry no digest
    assert {a.file: pull.fetch(a).sha256 for a in found.assets} == {f: g.sha256 for f, g in got.items()}


def test_the_quant_that_fits_is_chosen_and_said(hub, tmp_path):
    pad = 2**21
    hub.publish(REPO, {"m-Q4_K_M.gguf": MODEL + bytes(2 * pad), "m-Q2_K.gguf": MODEL + bytes(pad)})
    small = Pull(tmp_path, room=lambda: 2**29 + int(1.5 * pad))
    found = small.find(f"hf:{REPO}")
    assert [a.file for a in found.assets] == ["m-Q2_K.gguf"]
    assert "does not fit" in found.said
    assert Pull(tmp_path, room=lambda: 2**40).find(f"hf:{REPO}").assets[0].file == "m-Q4_K_M.gguf"


def test_texts_of_a_repository_come_along(hub, pull):
    params = {"temperature": 0.5, "stop": ["a"], "odd": {"x": 1}, "list": [1]}
    files = {
        "m-Q4_0.gguf": MODEL,
        "template": b"{{ .Prompt }}",
        "system": b"Be kind.\n",
        "params": json.dumps(params).encode(),
    }
    hub.publish(REPO, files, card={"license": "other", "license_name": "own"})
    texts = pull.find(f"hf:{REPO}").texts
    assert (texts.template, texts.system, texts.licence) == ("{{ .Prompt }}", "Be kind.", "own")
    assert texts.defaults == {"temperature": 0.5, "stop": ["a"]}
    hub.publish(REPO, {**files, "params": b"[" * 10_000}, card={"license": ["mit", "apache-2.0"]})
    texts = pull.find(f"hf:{REPO}").texts
    assert (texts.defaults, texts.licence) == ({}, "mit, apache-2.0")


def test_an_unknown_quant_names_the_repository_and_lists_what_there_is(hub, pull):
    hub.publish(REPO, {"m-Q4_0.gguf": MODEL, "m-Q8_0.gguf": MODEL})
    with pytest.raises(ModelNotFound) as caught:
        pull.find(f"hf:{REPO}:Q5_K_M")
    assert caught.value.model == f"hf.co/{REPO}:Q5_K_M"
    assert caught.value.hint == "There is: Q4_0, Q8_0."


def test_hostile_names_in_a_listing_are_never_files(hub, pull):
    hub.publish(REPO, {"m-Q4_0.gguf": MODEL})
    path = f"/api/models/{REPO}/revision/main"
    info = json.loads(hub.hub.files[path])
    for name in (
        "../../m-Q4_K_M.gguf",
        "/etc/m-Q4_K_M.gguf",
        "a\\m-Q4_K_M.gguf",
        "C:m-Q4_K_M.gguf",
        "a\nm-Q4_K_M.gguf",
    ):
        info["siblings"].append({"rfilename": name, "size": 1})
    hub.hub.files[path] = json.dumps(info).encode()
    assert [a.file for a in pull.find(f"hf:{REPO}").assets] == ["m-Q4_0.gguf"]
    with pytest.raises(ModelNotFound):
        pull.find(f"hf:{REPO}:Q4_K_M")


# who may have it -----------------------------------------------------------------------------------------


def test_the_token_goes_to_the_hub_and_nowhere_else(hub, pull, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", hub.token)
    hub.publish(REPO, {"m-Q4_0.gguf": MODEL, "params": b"{}"}, access="private")
    assert pull.all(f"hf:{REPO}")[0].in_place
    assert {h.headers.get("authorization") for h in hub.hub.hits} == {f"Bearer {hub.token}"}
    assert hub.cdn.hits
    assert not [h for h in hub.cdn.hits if hub.token in str(h.headers) + h.path]


def test_nobody_is_told_what_this_machine_is(hub, pull):
    hub.publish(REPO, {"m-Q4_0.gguf": MODEL})
    pull.all(f"hf:{REPO}")
    assert {h.path.split("/")[1] for h in hub.hub.hits} == {"api", "org"}
    assert not [
        h
        for h in hub.hits
        if "torch/" in h.headers.get("user-agent", "") or "agent/" in h.headers.get("user-agent", "")
    ]


def test_a_private_repository_without_a_token_is_not_found(hub, pull):
    hub.publish(REPO, {"m-Q4_0.gguf": MODEL}, access="private")
    with pytest.raises(ModelNotFound) as caught:
        pull.find(f"hf:{REPO}")
    assert "HF_TOKEN" in caught.value.hint


def test_a_wrong_token_is_told_and_not_shown(hub, pull, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    hub.publish(REPO, {"m-Q4_0.gguf": MODEL}, access="private")
    with pytest.raises(Forbidden) as caught:
        pull.find(f"hf:{REPO}")
    error = caught.value
    assert "HF_TOKEN" in error.hint
    assert "hf_wrong" not in error.message + error.hint + error.detail


@pytest.mark.parametrize("token", ["", "hf_wrong"])
def test_a_gated_model_says_what_to_do(hub, pull, monkeypatch, token):
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    hub.publish(REPO, {"m-Q4_0.gguf": MODEL}, access="gated")
    (asset,) = pull.find(f"hf:{REPO}").assets
    with pytest.raises(Forbidden, match="gated") as caught:
        pull.fetch(asset)
    assert f"/{REPO}" in caught.value.hint
    assert "HF_TOKEN" in caught.value.hint
    monkeypatch.setenv("HF_TOKEN", hub.token)
    assert pull.fetch(asset).in_place


@pytest.mark.parametrize("status", [403, 401])
def test_a_refusal_is_no_outage(hub, pull, monkeypatch, status):
    def broken():
        raise RuntimeError("cannot renew")

    monkeypatch.setattr(huggingface_hub, "get_token", broken)
    hub.fault(Fault(status=status))
    with pytest.raises(Forbidden if status == 403 else ModelNotFound) as caught:
        pull.find(f"hf:{REPO}")
    assert "HF_TOKEN" in caught.value.hint


def test_a_repository_revision_or_file_that_is_not_there_is_not_found(hub, pull):
    hub.publish(REPO, {"m-Q4_0.gguf": MODEL})
    for text in ("hf:org/absent", f"hf:{REPO}@absent", f"hf:{REPO}:absent.gguf"):
        with pytest.raises(ModelNotFound) as caught:
            pull.find(text)
        assert "127.0.0.1" not in caught.value.message


# no hub --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("why", ["offline", "down", "broken"])
def test_without_a_hub_what_the_cache_has_is_used_and_said(hub, pull, monkeypatch, why):
    monkeypatch.setattr(client.retry, "backoff", lambda failures, unit: 0.0)
    commit = hub.publish(REPO, {"m-Q4_0.gguf": MODEL, "m-Q4_K_M.gguf": MODEL + b"k"})
    pull.all(f"hf:{REPO}:Q4_0")
    if why == "offline":
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    elif why == "down":
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    else:
        hub.fault(Fault(status=503))
    found = pull.find(f"hf:{REPO}")
    assert (found.revision, [a.file for a in found.assets]) == (commit, ["m-Q4_0.gguf"])
    assert "cache" in found.said
    assert pull.fetch(found.assets[0]).in_place
    for text in (f"hf:{REPO}:Q4_K_M", "hf:org/other", f"hf:{REPO}@dev"):
        with pytest.raises(SourceFailed) as caught:
            pull.find(text)
        assert caught.value.hint


def test_a_torn_safetensors_model_of_the_cache_is_not_used(hub, pull, monkeypatch):
    files = {f"model-0000{n}-of-00002.safetensors": MODEL + bytes(n) for n in (1, 2)} | {"config.json": b"{}"}
    hub.publish(REPO, files)
    assets = pull.find(f"hf:{REPO}").assets
    pull.fetch(assets[0])
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(SourceFailed, match="HF_HUB_OFFLINE"):
        pull.find(f"hf:{REPO}")
    with pytest.raises(SourceFailed, match="HF_HUB_OFFLINE"):
        pull.fetch(assets[1])


def test_a_passing_failure_is_tried_again(hub, pull, monkeypatch):
    monkeypatch.setattr(client.retry, "backoff", lambda failures, unit: 0.0)
    hub.publish(REPO, {"m-Q4_0.gguf": MODEL})
    hub.fault(Fault(path=f"/api/models/{REPO}/revision/main", status=503, times=1))
    hub.fault(
        Fault(path=f"/api/models/{REPO}/revision/main", status=429, headers={"Retry-After": "0"}, times=1)
    )
    assert pull.find(f"hf:{REPO}").assets


def test_a_busy_hub_says_when_to_come_back(hub, pull):
    hub.publish(REPO, {"m-Q4_0.gguf": MODEL})
    hub.fault(Fault(status=429, headers={"Retry-After": "300"}))
    with pytest.raises(SourceFailed) as caught:
        pull.find(f"hf:{REPO}")
    assert caught.value.retry_after == 300
    assert len(hub.hits) == 1


@pytest.mark.parametrize(
    "body", [b"<html>", b"[]", b"{}", b'{"id": "x", "sha": "../x"}', b'{"id": "x", "siblings": [{}]}']
)
def test_what_is_no_hub_is_told(hub, pull, body):
    hub.publish(REPO, {"m-Q4_0.gguf": MODEL})
    hub.fault(Fault(path=f"/api/models/{REPO}/revision/main", status=200, body=body))
    with pytest.raises(SourceFailed, match="cannot be read") as caught:
        pull.find(f"hf:{REPO}")
    assert "HF_ENDPOINT" in caught.value.hint


def test_an_unusable_mirror_is_told(pull, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "ftp://mirror")
    with pytest.raises(SourceFailed, match="HF_ENDPOINT"):
        pull.find(f"hf:{REPO}")


def test_without_the_library_its_name_is_told(pull, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(Unsupported) as caught:
        pull.find(f"hf:{REPO}")
    assert "pip install huggingface_hub" in caught.value.hint


def test_a_hub_may_not_send_to_private_places(hub, tmp_path):
    hub.publish(REPO, {"m-Q4_0.gguf": MODEL})
    strict = Pull(tmp_path, hosts=())
    (asset,) = strict.find(f"hf:{REPO}").assets
    with pytest.raises(Forbidden):
        strict.fetch(asset)
    assert hub.cdn.hits == []


# bytes ---------------------------------------------------------------------------------------------------


def test_a_lying_hub_is_caught_and_nothing_kept(hub, pull, cache):
    hub.publish(REPO, {"m-Q4_0.gguf": MODEL})
    (content,) = hub.cdn.files
    hub.cdn.files[content] = MODEL[:-1] + b"!"
    with pytest.raises(DigestMismatch):
        pull.all(f"hf:{REPO}")
    assert not [path for path in cache.rglob("*") if path.is_file()]


def test_a_stopped_download_is_resumed(hub, pull):
    hub.publish(REPO, {"m-Q4_0.gguf": BIG})
    (asset,) = pull.find(f"hf:{REPO}").assets

    def stop_at_half(event):
        if event.completed > len(BIG) // 2:
            first.stopped.set()

    first = Watch(stop_at_half, Policy(hosts=("127.0.0.1",)))
    hub.cdn.faults.append(Fault(pace=0.01))
    with pytest.raises(Cancelled):
        SOURCE.fetch(asset, pull.folder(asset), first)
    hub.cdn.faults.clear()
    left = SOURCE.missing(asset, pull.folder(asset))
    assert 0 < left < 0.6 * len(BIG)
    before = hub.fetched()
    assert pull.fetch(asset).path.read_bytes() == BIG
    assert hub.fetched() - before < left + 0.1 * len(BIG)


@pytest.mark.parametrize("where", ["listing", "file"])
def test_a_stop_is_obeyed_though_the_hub_is_silent(hub, tmp_path, where):
    hub.publish(REPO, {"m-Q4_0.gguf": MODEL})
    pull = Pull(tmp_path)
    assets = pull.find(f"hf:{REPO}").assets
    silent = Fault(silent=True)
    hub.fault(silent) if where == "listing" else hub.cdn.faults.append(silent)
    seen = len(hub.hits)
    failures = []

    def run():
        try:
            pull.find(f"hf:{REPO}") if where == "listing" else pull.fetch(assets[0])
        except InhouseError as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    deadline = time.monotonic() + 20
    wanted = hub.hub if where == "listing" else hub.cdn
    while (
        not any(not h.sent for h in wanted.hits[seen if wanted is hub.hub else 0 :])
        and time.monotonic() < deadline
    ):
        thread.join(0.01)
    began = time.monotonic()
    pull.watch.stopped.set()
    thread.join(20)
    assert time.monotonic() - began < 2
    assert [type(error) for error in failures] == [Cancelled]


def test_a_bandwidth_limit_holds(hub, tmp_path):
    data = MODEL + bytes(400_000)
    hub.publish(REPO, {"m-Q4_0.gguf": data})
    began = time.monotonic()
    Pull(tmp_path, rate=Throttle(400_000)).all(f"hf:{REPO}")
    assert time.monotonic() - began > 0.5


def test_the_library_may_be_slow_but_not_for_ever(monkeypatch):
    monkeypatch.setattr(client, "ANSWER_TIME", 0.05)
    ended = threading.Event()
    with pytest.raises(TimeoutError):
        client.patiently(lambda: ended.wait(20), Watch(lambda event: None))
    ended.set()


# the cache -----------------------------------------------------------------------------------------------


def test_a_file_in_the_way_is_left_alone_and_the_model_kept_by_us(hub, pull, cache):
    commit = hub.publish(REPO, {"m-Q4_0.gguf": MODEL})
    torn = cache / "models--org--Some.Repo-GGUF" / "snapshots" / commit / "m-Q4_0.gguf"
    torn.parent.mkdir(parents=True)
    torn.write_bytes(b"torn")
    (got,) = pull.all(f"hf:{REPO}")
    assert (got.in_place, got.path.read_bytes()) == (False, MODEL)
    assert torn.read_bytes() == b"torn"


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="needs folders that refuse")
def test_a_cache_that_cannot_be_written_makes_the_model_ours(hub, pull, cache):
    hub.publish(REPO, {"m-Q4_0.gguf": MODEL})
    cache.mkdir()
    cache.chmod(0o500)
    assert pull.all(f"hf:{REPO}")[0].in_place is False


def test_a_cache_that_is_no_folder_makes_the_model_ours(hub, pull, cache):
    hub.publish(REPO, {"m-Q4_0.gguf": MODEL})
    cache.write_bytes(b"a file")
    (got,) = pull.all(f"hf:{REPO}")
    assert (got.in_place, got.path.read_bytes()) == (False, MODEL)


def test_a_cache_on_another_disk_gets_a_copy(tmp_path, monkeypatch):
    def refuse(source, target):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    held = CachedRepo(tmp_path, REPO)
    source = tmp_path / "data"
    source.write_bytes(MODEL)
    ticks = []
    place = held.add(COMMIT, HubFile("m.gguf", len(MODEL), blob="b" * 64), source, lambda: ticks.append(1))
    assert place.read_bytes() == MODEL
    assert ticks
    assert not source.exists()
    assert [p.name for p in (held.folder / "blobs").iterdir()] == ["b" * 64]


def test_a_copy_that_is_stopped_leaves_nothing_and_keeps_the_source(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "link")
    monkeypatch.setattr(os, "link", lambda *a: (_ for _ in ()).throw(OSError(18, "no")), raising=False)
    held = CachedRepo(tmp_path, REPO)
    source = tmp_path / "data"
    source.write_bytes(MODEL)

    def stop():
        raise Cancelled("stop")

    with pytest.raises(Cancelled):
        held.add(COMMIT, HubFile("m.gguf", len(MODEL), blob="b" * 64), source, stop)
    assert source.read_bytes() == MODEL
    assert list((held.folder / "blobs").iterdir()) == []


def test_windows_without_links_moves_the_blob(tmp_path, monkeypatch):
    def refuse(target, place):
        raise OSError(1314, "A required privilege is not held by the client")

    monkeypatch.setattr(os, "symlink", refuse)
    held = CachedRepo(tmp_path, REPO)
    file = HubFile("m.gguf", len(MODEL), blob="b" * 64)
    source = tmp_path / "data"
    source.write_bytes(MODEL)
    with pytest.raises(OSError, match="privilege"):
        held.add(COMMIT, file, source, lambda: None)
    monkeypatch.setattr("inhouse.store.hub.cache.WINDOWS", True)
    assert held.add(COMMIT, file, source, lambda: None).read_bytes() == MODEL


def test_names_and_values_are_plain_data():
    name = names.parse("hf.co/org/repo@dev:Q4_0")
    assert dataclasses.astuple(name) == ("org/repo", "dev", "Q4_0")
    assert Path(str(name)).name.endswith("Q4_0")
