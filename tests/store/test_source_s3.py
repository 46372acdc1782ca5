"""``s3://`` through fsspec: its memory file system, and s3fs against a server on loopback."""

from __future__ import annotations

import hashlib
import importlib
import random
import sys
import threading
import time

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from inhouse.core.errors import (
    BadRequest,
    Cancelled,
    DigestMismatch,
    ModelNotFound,
    SourceFailed,
    Unsupported,
)
from inhouse.net import journal
from inhouse.store.sources import buckets
from inhouse.store.sources.base import Asset, Policy, Watch
from inhouse.store.sources.buckets import Buckets
from support import tiny_gguf
from support.fileserver import Fault, FileServer

MB = 2**20
MODEL = tiny_gguf.model(1)
BIG = random.Random(5).randbytes(40 * MB + 5)


@pytest.fixture
def memory():
    """An object storage in memory, with ETags as S3 has them."""

    class Storage(MemoryFileSystem):
        protocol = "inhouse-memory"
        store: dict = {}
        pseudo_dirs = [""]

        def info(self, path, **kinds):
            return super().info(path, **kinds) | {"ETag": f'"{hash(self.cat_file(path))}"'}

    fsspec.register_implementation("inhouse-memory", Storage, clobber=True)
    storage = fsspec.filesystem("inhouse-memory", skip_instance_cache=True)
    storage.pipe("/models/llm/tiny.gguf", MODEL)
    storage.pipe("/models/big.gguf", BIG)
    return storage


@pytest.fixture
def source(memory):
    return Buckets(lambda: memory)


@pytest.fixture
def watch():
    return Watch(lambda event: None, Policy(stall=5))


def bring(source, watch, text, folder):
    listing = source.find(source.parse(text), watch)
    return listing, source.fetch(listing.assets[0], folder, watch)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("s3://models/llm/Tiny.gguf", "s3/models-llm/Tiny:latest"),
        ("s3://models/x-00001-of-00002.gguf", "s3/models/x:latest"),
        ("s3://my.bucket/a b/ü.gguf", "s3/my.bucket-a-b/model:latest"),
    ],
)
def test_the_name_comes_from_bucket_folders_and_stem(text, name):
    ref = Buckets().parse(text)
    assert (str(ref.name), ref.text, ref.kind) == (name, text, "s3")
    pinned = Buckets().parse("s3://models/x.gguf#sha256=" + "A" * 64)
    assert (pinned.sha256, Buckets().parse(pinned.text)) == ("a" * 64, pinned)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("s3://models", BadRequest),
        ("s3://models/", BadRequest),
        ("s3:///x.gguf", BadRequest),
        ("s3://Models/x.gguf", BadRequest),
        ("s3://a..b/x.gguf", BadRequest),
        ("s3://169.254.169.254@x/x.gguf", BadRequest),
        ("s3://models/x\n.gguf", BadRequest),
        ("s3://models/x.gguf#1", BadRequest),
        ("s3://models/x.safetensors", Unsupported),
    ],
)
def test_what_is_no_object_is_refused(text, error):
    with pytest.raises(error):
        Buckets().parse(text)


def test_an_object_is_found_and_brought(source, watch, tmp_path):
    listing, got = bring(source, watch, "s3://models/llm/tiny.gguf", tmp_path)
    assert got.path.read_bytes() == MODEL
    assert got.sha256 == hashlib.sha256(MODEL).hexdigest()
    [asset] = listing.assets
    assert (asset.file, asset.size, asset.locator) == ("tiny.gguf", len(MODEL), "models/llm/tiny.gguf")
    assert listing.revision == str(hash(MODEL))
    assert source.missing(asset, tmp_path) == 0


def test_a_pinned_digest_is_verified(source, watch, tmp_path):
    with pytest.raises(DigestMismatch):
        bring(source, watch, "s3://models/llm/tiny.gguf#sha256=" + "0" * 64, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_split_model_comes_with_all_its_parts(memory, source, watch):
    for at in (1, 2):
        memory.pipe(f"/models/x-0000{at}-of-00002.gguf", bytes(at))
    listing = source.find(source.parse("s3://models/x-00002-of-00002.gguf"), watch)
    assert [(asset.file, asset.size) for asset in listing.assets] == [
        ("x-00001-of-00002.gguf", 1),
        ("x-00002-of-00002.gguf", 2),
    ]


@pytest.mark.parametrize("text", ["s3://models/none.gguf", "s3://nowhere/x.gguf"])
def test_a_missing_object_is_a_missing_model(source, watch, text):
    with pytest.raises(ModelNotFound, match="gguf"):
        source.find(source.parse(text), watch)


def test_a_folder_is_no_model(memory, source, watch):
    memory.pipe("/models/folder.gguf/x", b"x")
    with pytest.raises(ModelNotFound):
        source.find(source.parse("s3://models/folder.gguf"), watch)


def test_a_large_object_comes_in_parallel_blocks_and_is_resumed(memory, source, watch, tmp_path, monkeypatch):
    reads: list[tuple[int, int]] = []
    real = memory.cat_file
    broken = threading.Event()

    def cat(path, start=None, end=None, **kinds):
        if start is not None:
            if broken.is_set() and start >= 16 * MB:
                raise ConnectionError("reset")
            reads.append((start, end))
        return real(path, start=start, end=end, **kinds)

    monkeypatch.setattr(memory, "cat_file", cat)
    monkeypatch.setattr(memory, "info", lambda path: {"type": "file", "size": len(BIG), "ETag": '"1"'})
    listing = source.find(source.parse("s3://models/big.gguf"), watch)
    monkeypatch.setattr("inhouse.net.retry.backoff", lambda failures, unit: 0.001)
    broken.set()
    with pytest.raises(SourceFailed):
        source.fetch(listing.assets[0], tmp_path, watch)
    past = journal.read(tmp_path)
    assert past is not None
    broken.clear()
    reads.clear()
    got = source.fetch(listing.assets[0], tmp_path, watch)
    assert got.sha256 == hashlib.sha256(BIG).hexdigest()
    assert sum(end - start for start, end in reads) <= len(BIG) - past.here + 4 * buckets.BLOCK


def test_an_object_that_changes_on_the_way_is_never_mixed(memory, source, watch, tmp_path):
    other = bytes(reversed(BIG))
    listing = source.find(source.parse("s3://models/big.gguf"), watch)
    real, reads = memory.cat_file, []

    def cat(path, start=None, end=None, **kinds):
        if start is not None:
            reads.append(start)
            if len(reads) == 4:
                memory.pipe("/models/big.gguf", other)
        return real(path, start=start, end=end, **kinds)

    memory.cat_file = cat
    assert source.fetch(listing.assets[0], tmp_path, watch).path.read_bytes() == other


def test_an_object_that_goes_away_ends_the_transfer(memory, source, watch, tmp_path):
    listing = source.find(source.parse("s3://models/llm/tiny.gguf"), watch)
    memory.rm("/models/llm/tiny.gguf")
    with pytest.raises(SourceFailed, match="changes"):
        source.fetch(listing.assets[0], tmp_path, watch)


def test_a_read_that_hangs_is_given_up_and_a_stop_does_not_wait_for_it(memory, source, tmp_path, monkeypatch):
    ended = threading.Event()
    monkeypatch.setattr(memory, "info", lambda path: ended.wait(30))
    monkeypatch.setattr("inhouse.net.retry.backoff", lambda failures, unit: 0.001)
    hasty = Watch(lambda event: None, Policy(stall=0.1))
    with pytest.raises(SourceFailed, match="reached"):
        source.find(source.parse("s3://models/big.gguf"), hasty)
    watch = Watch(lambda event: None)
    threading.Timer(0.1, watch.stopped.set).start()
    began = time.monotonic()
    with pytest.raises(Cancelled):
        source.fetch(Asset("model", "big.gguf", locator="models/big.gguf"), tmp_path, watch)
    assert time.monotonic() - began < 1.2
    ended.set()


@pytest.mark.parametrize(
    "error", [PermissionError("no"), type("NoCredentialsError", (Exception,), {})("none")]
)
def test_keys_that_are_missing_are_named_as_the_cause(memory, source, watch, monkeypatch, error):
    def info(path):
        raise error

    monkeypatch.setattr(memory, "info", info)
    with pytest.raises(SourceFailed) as caught:
        source.find(source.parse("s3://models/big.gguf"), watch)
    assert "AWS_ACCESS_KEY_ID" in caught.value.hint


def test_without_s3fs_the_extra_is_named(watch, monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(Unsupported) as caught:
        Buckets().find(Buckets().parse("s3://models/x.gguf"), watch)
    assert "inhouse[s3]" in caught.value.hint


# -- s3fs itself


@pytest.fixture
def s3(monkeypatch, tmp_path):
    """A server on loopback that answers as S3 does to reads of objects."""
    s3fs = importlib.import_module("s3fs")
    s3fs.S3FileSystem.clear_instance_cache()
    with FileServer({"/models/llm/tiny.gguf": MODEL, "/models/big.gguf": BIG}) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url("").rstrip("/"))
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
        yield server
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.mark.parametrize(("key", "data"), [("llm/tiny.gguf", MODEL), ("big.gguf", BIG)])
def test_s3fs_reads_signed_ranges_of_objects(s3, watch, tmp_path, key, data):
    listing, got = bring(Buckets(), watch, f"s3://models/{key}", tmp_path)
    assert got.sha256 == hashlib.sha256(data).hexdigest()
    assert listing.assets[0].size == len(data)
    assert any(hit.span for hit in s3.hits)
    assert all("Credential=key/" in hit.headers["authorization"] for hit in s3.hits)


def test_s3fs_says_what_is_missing_and_what_is_refused(s3, watch):
    empty = b"<ListBucketResult><KeyCount>0</KeyCount><IsTruncated>false</IsTruncated></ListBucketResult>"
    s3.faults.append(Fault(status=200, body=empty, when=lambda hit: "list-type" in hit.path))
    with pytest.raises(ModelNotFound):
        Buckets().find(Buckets().parse("s3://models/none.gguf"), watch)
    s3.faults[:] = [Fault(status=403)]
    with pytest.raises(SourceFailed, match="refused"):
        Buckets().find(Buckets().parse("s3://models/big.gguf"), watch)
