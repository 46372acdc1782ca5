"""``modelscope:`` against a server that speaks its API on loopback."""

from __future__ import annotations

import hashlib
import json

import pytest

from inhouse.core.errors import BadRequest, Forbidden, InvalidName, ModelNotFound, SourceFailed
from inhouse.store.sources.base import Policy, Watch
from inhouse.store.sources.modelscope import ModelScope
from support import tiny_gguf
from support.fileserver import Fault, FileServer

SOURCE = ModelScope()
MODEL = tiny_gguf.model(1)
OLD, NEW = "a" * 40, "b" * 40


def entry(path: str, data: bytes, revision: str = OLD, at: int = 1, **more) -> dict:
    return {
        "Name": path.rpartition("/")[2],
        "Path": path,
        "Type": "blob",
        "Size": len(data),
        "Sha256": hashlib.sha256(data).hexdigest(),
        "Revision": revision,
        "CommittedDate": at,
        **more,
    }


FILES = [
    entry("README.md", b"read me", NEW, 9),
    entry("tiny-Q4_K_M.gguf", MODEL),
    entry("tiny-Q8_0.gguf", MODEL + bytes(8)),
    {"Name": "sub", "Path": "sub", "Type": "tree"},
    entry("../escape.gguf", b"x"),
]


@pytest.fixture
def hub(monkeypatch):
    """The API, its token being ``t0ken`` once ``secret`` is set."""
    with FileServer() as server:
        answer(server, {"Code": 200, "Data": {"Files": FILES}})
        server.files["/api/v1/models/org/tiny/repo"] = MODEL
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", server.url("").rstrip("/"))
        monkeypatch.delenv("MODELSCOPE_API_TOKEN", raising=False)
        yield server


def answer(server: FileServer, body: object, status: int = 200) -> None:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    server.faults[:] = [Fault(path="/api/v1/models/org/tiny/repo/files", status=status, body=raw)]


@pytest.fixture
def watch():
    """One of an API client: the operator's endpoint is allowed by itself."""
    return Watch(lambda event: None, Policy(room=lambda: 10**12))


@pytest.mark.parametrize(
    ("text", "canonical", "name"),
    [
        ("modelscope:Org/Tiny", "modelscope:Org/Tiny", "modelscope.cn/Org/Tiny:latest"),
        ("modelscope://org/tiny", "modelscope:org/tiny", "modelscope.cn/org/tiny:latest"),
        ("modelscope.cn/org/tiny:Q4_K_M", "modelscope:org/tiny:Q4_K_M", "modelscope.cn/org/tiny:Q4_K_M"),
        ("modelscope:org/tiny@master:latest", "modelscope:org/tiny", "modelscope.cn/org/tiny:latest"),
        ("modelscope:org/tiny@v1.0", "modelscope:org/tiny@v1.0", "modelscope.cn/org/tiny:at-v1.0"),
        ("https://modelscope.cn/models/org/tiny", "modelscope:org/tiny", "modelscope.cn/org/tiny:latest"),
        (
            "https://www.modelscope.cn/models/org/tiny/files",
            "modelscope:org/tiny",
            "modelscope.cn/org/tiny:latest",
        ),
        (
            "https://modelscope.cn/models/org/tiny/summary?x=1",
            "modelscope:org/tiny",
            "modelscope.cn/org/tiny:latest",
        ),
        (
            "https://modelscope.cn/models/org/tiny/resolve/v2/sub/a.gguf",
            "modelscope:org/tiny@v2:sub/a.gguf",
            "modelscope.cn/org/tiny:sub--a.gguf-at-v2",
        ),
        (
            "https://modelscope.cn/models/org/tiny/file/view/master/a.gguf?status=2",
            "modelscope:org/tiny:a.gguf",
            "modelscope.cn/org/tiny:a.gguf",
        ),
    ],
)
def test_texts_and_pages_are_read(text, canonical, name):
    ref = SOURCE.parse(text)
    assert (ref.text, str(ref.name), ref.kind) == (canonical, name, "modelscope")
    assert SOURCE.parse(ref.text) == ref


@pytest.mark.parametrize(
    "text",
    [
        "modelscope:",
        "modelscope:org",
        "modelscope:org/tiny:../x",
        "modelscope:org/tiny@a/b",
        "modelscope:a/b@x..y",
        "modelscope:org/tiny?x",
        "modelscope:or g/tiny",
        "modelscope:a/b/c:d",
        "modelscope:org/tiny:a\\b",
        "x:org/tiny",
    ],
)
def test_what_is_no_repository_is_refused(text):
    with pytest.raises((BadRequest, InvalidName)):
        SOURCE.parse(text)


def test_a_model_is_chosen_pinned_to_the_commit_and_brought(hub, watch, tmp_path):
    listing = SOURCE.find(SOURCE.parse("modelscope:org/tiny"), watch)
    [asset] = listing.assets
    assert (asset.file, asset.size) == ("tiny-Q4_K_M.gguf", len(MODEL))
    assert (listing.revision, listing.origin) == (NEW, f"modelscope:org/tiny@{NEW}:tiny-Q4_K_M.gguf")
    assert "Q4_K_M" in listing.said
    got = SOURCE.fetch(asset, tmp_path, watch)
    assert got.path.read_bytes() == MODEL
    assert hub.hits[0].path.endswith("/repo/files?Revision=master&Recursive=True")
    assert hub.hits[-1].path == f"/api/v1/models/org/tiny/repo?Revision={NEW}&FilePath=tiny-Q4_K_M.gguf"
    assert SOURCE.missing(asset, tmp_path) == 0
    again = SOURCE.find(SOURCE.parse(listing.origin), watch)
    assert (again.assets, again.origin) == (listing.assets, listing.origin)


def test_a_quant_or_a_file_can_be_named(hub, watch):
    for wanted in ("q8_0", "tiny-Q8_0.gguf"):
        listing = SOURCE.find(SOURCE.parse(f"modelscope:org/tiny:{wanted}"), watch)
        assert [asset.file for asset in listing.assets] == ["tiny-Q8_0.gguf"]
    with pytest.raises(ModelNotFound) as caught:
        SOURCE.find(SOURCE.parse("modelscope:org/tiny:Q2_K"), watch)
    assert "Q4_K_M" in caught.value.hint


def test_names_that_lead_out_of_the_repository_are_left_out(hub, watch):
    with pytest.raises(ModelNotFound):
        SOURCE.find(SOURCE.parse("modelscope:org/tiny:escape.gguf"), watch)


def test_the_token_goes_as_the_cookie_of_their_programs(hub, watch, monkeypatch, tmp_path):
    monkeypatch.setenv("MODELSCOPE_API_TOKEN", "t0ken")
    with FileServer({"/cdn": MODEL}) as cdn:
        hub.faults.append(Fault(path="/api/v1/models/org/tiny/repo", redirect=cdn.url("/cdn")))
        listing = SOURCE.find(SOURCE.parse("modelscope:org/tiny"), watch)
        trusted = Watch(lambda event: None, trusted=True)
        SOURCE.fetch(listing.assets[0], tmp_path, trusted)
        assert {hit.headers["cookie"] for hit in hub.hits} == {"m_session_id=t0ken"}
        assert not any("t0ken" in str(hit.headers) for hit in cdn.hits)


def test_the_endpoint_is_theirs_unless_another_is_set(monkeypatch):
    from inhouse.store.sources import modelscope

    monkeypatch.delenv("MODELSCOPE_ENDPOINT", raising=False)
    monkeypatch.delenv("MODELSCOPE_DOMAIN", raising=False)
    assert modelscope._endpoint() == "https://www.modelscope.cn"
    monkeypatch.setenv("MODELSCOPE_DOMAIN", "www.modelscope.ai")
    assert modelscope._endpoint() == "https://www.modelscope.ai"


def test_only_the_endpoint_that_is_set_is_allowed(hub, watch, monkeypatch, tmp_path):
    hub.faults.append(Fault(path="/api/v1/models/org/tiny/repo", redirect="https://127.0.0.1:1/"))
    listing = SOURCE.find(SOURCE.parse("modelscope:org/tiny"), watch)
    with pytest.raises(Forbidden):
        SOURCE.fetch(listing.assets[0], tmp_path, watch)


def test_a_missing_repository_is_a_missing_model(hub, watch):
    answer(hub, {"Code": 10010205001, "Message": "not found"}, 404)
    with pytest.raises(ModelNotFound, match="org/tiny"):
        SOURCE.find(SOURCE.parse("modelscope:org/tiny"), watch)


@pytest.mark.parametrize(
    ("body", "status", "match"),
    [
        (b"{}", 403, "HTTP 403"),
        ({"Code": 10010205001, "Message": "private"}, 200, "refused"),
        (b"<html>", 200, "understood"),
        (b"[]", 200, "understood"),
        (b"null", 200, "understood"),
        (b"[" * 100_000, 200, "understood"),
        ({"Code": 200, "Data": {"Files": [{"Type": "blob"}]}}, 200, "understood"),
        ({"Code": 200, "Data": {"Files": [entry("x.gguf", b"x", Size="1")]}}, 200, "understood"),
        ({"Code": 200, "Data": {"Files": [5]}}, 200, "understood"),
        ({"Code": 200}, 200, "understood"),
    ],
)
def test_an_answer_that_is_none_is_the_sources_failure(hub, watch, body, status, match):
    answer(hub, body, status)
    with pytest.raises(SourceFailed, match=match):
        SOURCE.find(SOURCE.parse("modelscope:org/tiny"), watch)


def test_without_commits_the_branch_is_what_is_kept(hub, watch):
    bare = [{k: v for k, v in entry("a.gguf", MODEL).items() if k not in ("Revision", "Sha256")}]
    answer(hub, {"Code": 200, "Data": {"Files": bare}})
    listing = SOURCE.find(SOURCE.parse("modelscope:org/tiny"), watch)
    assert (listing.revision, listing.assets[0].sha256) == ("master", "")
    answer(hub, {"Code": 200, "Data": {"Files": None}})
    with pytest.raises(Exception, match="neither"):
        SOURCE.find(SOURCE.parse("modelscope:org/tiny"), watch)
