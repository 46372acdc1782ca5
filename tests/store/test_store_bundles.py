"""Bundles: what was exported comes back the same, and whatever was done to one is refused without a trace."""

from __future__ import annotations

import functools
import io
import json
import random
import tarfile
from pathlib import Path
from typing import Any

import pytest

from inhouse.core.errors import BadRequest, DigestMismatch, InhouseError, ModelNotFound, NoSpace
from inhouse.store.bundles import _header, _padding
from inhouse.store.store import Store
from support import tiny_gguf
from support.lifecycle import leftovers, make, name, parts, safetensors, sha256, tree

MODEL = tiny_gguf.model(1)


@functools.cache
def exported() -> tuple[bytes, str]:
    """A bundle of one tiny model, and its seal."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        make(store, "tiny", {"tiny.gguf": MODEL}, system="Be brief.")
        bundle = store.export([name("tiny")])
        return b"".join(bundle.chunks()), bundle.seal


def index_of(data: bytes) -> dict[str, Any]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return json.loads(archive.extractfile(archive.getmembers()[0]).read())


def bundle(index: dict[str, Any], files: list[tuple[str, bytes]]) -> bytes:
    """A bundle of any index and members, well formed around them."""
    raw = json.dumps(index).encode()
    out = b""
    for member, data in [(f"inhouse-bundle-{sha256(raw)[7:]}.json", raw), *files]:
        out += _header(member, len(data)) + data + _padding(len(data))
    return out + bytes(1024)


def blob(data: bytes) -> tuple[str, bytes]:
    return "blobs/" + sha256(data).replace(":", "-"), data


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "home")


def refused(store: Store, data: bytes, *, seal: str = "") -> InhouseError:
    """Import it: it is refused, and the tree is what it was."""
    store.layout.prepare()
    before = tree(store.layout.models)
    with pytest.raises((BadRequest, DigestMismatch, NoSpace)) as caught:
        store.import_bundle(io.BytesIO(data), seal=seal)
    assert tree(store.layout.models) == before
    assert caught.value.hint
    return caught.value


# -- there and back ---------------------------------------------------------------------------


def test_a_bundle_brings_models_of_every_kind_back_the_same(tmp_path, store):
    source = Store(tmp_path / "source")
    cards = [
        make(source, "tiny", {"tiny.gguf": MODEL}, system="Be brief.", parameters={"temperature": 0.5}),
        make(source, "me/split:v1", parts()),
        make(source, "tensors", safetensors()),
        make(source, "seeing", {"tiny.gguf": MODEL, "mmproj.gguf": tiny_gguf.projector().build()}),
    ]
    bundle = source.export([card.name for card in cards])
    data = b"".join(bundle.chunks())
    assert len(data) == bundle.size
    assert data.count(MODEL) == 1  # shared weights travel once
    got = store.import_bundle(io.BytesIO(data), seal=bundle.seal)
    assert [(str(c.name), c.digest) for c in got] == [(str(c.name), c.digest) for c in cards]
    for was, now in zip(cards, got, strict=True):
        assert [(f.role, f.file, f.digest) for f in now.files] == [
            (f.role, f.file, f.digest) for f in was.files
        ]
        assert (now.system, now.defaults, now.capabilities) == (was.system, was.defaults, was.capabilities)
        assert Path(now.weights).exists()
    assert store.problems() == []
    assert leftovers(tmp_path / "home") == []
    again = Store(tmp_path / "third")
    assert b"".join(store.export([c.name for c in got]).chunks()) != b""
    assert (
        again.import_bundle(io.BytesIO(b"".join(store.export([got[0].name]).chunks())))[0].digest
        == cards[0].digest
    )


def test_a_bundle_is_the_same_bytes_every_time(store, tmp_path):
    data, seal = exported()
    store.import_bundle(io.BytesIO(data))
    bundle = store.export([name("tiny")])
    assert (b"".join(bundle.chunks()), bundle.seal) == (data, seal)


def test_any_tar_program_reads_a_bundle(tmp_path):
    data, seal = exported()
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert archive.getnames() == [f"inhouse-bundle-{seal}.json", blob(MODEL)[0]]
        assert archive.extractfile(archive.getmembers()[1]).read() == MODEL


def test_importing_twice_changes_nothing(store):
    data, seal = exported()
    (first,) = store.import_bundle(io.BytesIO(data))
    before = tree(store.layout.models)
    assert store.import_bundle(io.BytesIO(data), seal=seal)[0].digest == first.digest
    assert tree(store.layout.models) == before


def test_an_import_over_another_model_can_be_rolled_back(store):
    make(store, "tiny", {"x.gguf": tiny_gguf.model(5)})
    old = store.get(name("tiny")).digest
    store.import_bundle(io.BytesIO(exported()[0]))
    assert store.rollback(name("tiny")).digest == old


def test_bytes_may_come_one_at_a_time(store):
    class Dribble(io.BytesIO):
        def read(self, size=-1, /):
            return super().read(min(size, 7))

    assert store.import_bundle(Dribble(exported()[0]))[0].system == "Be brief."


def test_an_unknown_model_cannot_be_exported(store):
    with pytest.raises(ModelNotFound):
        store.export([name("nope")])


def test_damaged_weights_cannot_be_exported(store):
    card = make(store, "tiny", {"x.gguf": MODEL})
    path = Path(card.weights)
    path.chmod(0o600)
    path.write_bytes(MODEL[:-1] + b"x")
    with pytest.raises(DigestMismatch):
        b"".join(store.export([card.name]).chunks())


# -- whatever was done to it ------------------------------------------------------------------


def test_a_bundle_cut_short_anywhere_is_refused(store):
    data, _ = exported()
    points = {0, 1, 511, 512, 513, len(data) - 1, len(data) - 512, len(data) - 1024, len(data) - 1025}
    for at in sorted(points | {random.Random(1).randrange(len(data)) for _ in range(40)}):
        refused(store, data[:at])


def test_any_flipped_bit_is_noticed_without_knowing_the_seal(store):
    data, _ = exported()
    size = len(json.dumps(index_of(data)))
    pick = random.Random(2)
    headers = [*range(512), *range(len(data) - 1536, len(data))]
    for at in sorted({*pick.sample(headers, 150), *pick.sample(range(512, 512 + size), 60), 512 + size // 2}):
        changed = bytearray(data)
        changed[at] ^= 1 << pick.randrange(8)
        refused(store, bytes(changed))


def test_every_byte_of_a_header_and_of_the_padding_counts(store):
    data, _ = exported()
    at = data.index(blob(MODEL)[0].encode())
    for place in (*range(at, at + 512, 7), at + 155, at - 1):  # -1: the padding of the index
        changed = bytearray(data)
        changed[place] ^= 0x20
        refused(store, bytes(changed))


@pytest.mark.parametrize("at", [0, 4, 8, 100, len(MODEL) - 1])
def test_any_flipped_byte_of_the_weights_is_noticed(store, at):
    data, seal = exported()
    changed = bytearray(data)
    changed[data.index(MODEL) + at] ^= 1
    assert "expected" in refused(store, bytes(changed), seal=seal).message


@pytest.mark.parametrize("extra", [b"\0", b"x", bytes(512), exported()[0]])
def test_nothing_may_follow_the_end(store, extra):
    refused(store, exported()[0] + extra)


def test_another_seal_is_refused_before_anything_is_read(store):
    data, seal = exported()
    stream = io.BytesIO(data)
    store.layout.prepare()
    with pytest.raises(DigestMismatch, match=seal):
        store.import_bundle(stream, seal="0" * 64)
    assert stream.tell() < data.index(MODEL)
    assert store.cards() == []


HOSTILE = [
    "../../../../escaped",
    "/tmp/escaped",
    "blobs/../escaped",
    "blobs/sha256-" + "a" * 63,
    "blobs/sha256-" + "A" * 64,
    "./" + blob(MODEL)[0],
    "C:\\escaped",
    "manifests/inhouse/library/evil/latest.json",
    ".lock",
    "",
]


@pytest.mark.parametrize("member", HOSTILE)
def test_member_names_that_lead_elsewhere_are_refused(store, tmp_path, member):
    index = index_of(exported()[0])
    before = tree(tmp_path)
    refused(store, bundle(index, [(member, MODEL)]))
    assert "escaped" not in str(tree(tmp_path).keys() - before.keys())


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE,
             tarfile.DIRTYPE, tarfile.CONTTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_SPARSE, tarfile.XHDTYPE],
)  # fmt: skip
def test_members_that_are_no_plain_files_are_refused(store, tmp_path, kind):
    index = index_of(exported()[0])
    info = tarfile.TarInfo(blob(MODEL)[0])
    info.type, info.linkname, info.mode = kind, str(tmp_path / "target"), 0o444
    head = info.tobuf(tarfile.GNU_FORMAT)
    raw = bundle(index, [])[:-1024]
    refused(store, raw + head + bundle(index, [blob(MODEL)])[len(raw) :])
    assert not (tmp_path / "target").exists()


def test_a_file_twice_is_refused(store):
    index = index_of(exported()[0])
    twice = index | {"files": index["files"] * 2}
    refused(store, bundle(index, [blob(MODEL), blob(MODEL)]))
    refused(store, bundle(twice, [blob(MODEL), blob(MODEL)]))


def test_a_file_too_few_is_refused(store):
    refused(store, bundle(index_of(exported()[0]), []))
    refused(store, bundle(index_of(exported()[0]) | {"files": []}, []))


@pytest.mark.parametrize("size", [0, -1, 1, len(MODEL) + 1, 2**62, 2**63, 2**64, -(2**63)])
def test_sizes_that_lie_are_refused(store, size):
    index = index_of(exported()[0])
    index["files"][0]["size"] = size
    refused(store, bundle(index, [blob(MODEL)]))


def test_a_bundle_larger_than_the_disk_is_refused_before_it_is_read(store):
    other = tiny_gguf.model(9)
    index = index_of(exported()[0])
    index["files"].append({"digest": sha256(other), "size": 2**60})
    error = refused(store, bundle(index, [blob(MODEL)]))
    assert isinstance(error, NoSpace)


def test_an_index_of_gigabytes_is_refused_unread(store):
    class Endless:
        def __init__(self) -> None:
            self.data, self.taken = io.BytesIO(_header(f"inhouse-bundle-{'0' * 64}.json", 2**40)), 0

        def read(self, size: int, /) -> bytes:
            self.taken += size
            return self.data.read(size) or b" " * size

    stream = Endless()
    with pytest.raises(BadRequest):
        store.import_bundle(stream)
    assert stream.taken <= 1024


@pytest.mark.parametrize(
    "raw",
    [b"", b"null", b"[]", b"{", b"{}", b"\xff", b"[" * 100_000, b'{"inhouse_bundle": 1, "models": null, "files": []}',
     b'{"inhouse_bundle": 2, "models": [], "files": []}'],
)  # fmt: skip
def test_an_index_that_is_none_is_refused(store, raw):
    head = _header(f"inhouse-bundle-{sha256(raw)[7:]}.json", len(raw))
    refused(store, head + raw + _padding(len(raw)) + bytes(1024))


def changed(**facts: Any) -> dict[str, Any]:
    """The index of the bundle with facts of its weights changed."""
    index = index_of(exported()[0])
    manifest = json.loads(index["models"][0]["manifest"])
    manifest["facts"] |= facts
    index["models"][0]["manifest"] = json.dumps(manifest)
    return index


@pytest.mark.parametrize(
    "facts",
    [{"context_length": 2**31 - 1}, {"parameters": 1}, {"architecture": "gemma3"}, {"kv_per_token": 0},
     {"vocabulary": 999}, {"template": "{{ evil }}"}],
)  # fmt: skip
def test_an_index_that_lies_about_its_weights_is_refused(store, facts):
    refused(store, bundle(changed(**facts), [blob(MODEL)]))


def test_weights_that_are_no_model_are_refused_though_all_digests_fit(store):
    junk = b"GGUF" + bytes(200)
    index = index_of(exported()[0])
    manifest = json.loads(index["models"][0]["manifest"])
    manifest["parts"][0] |= {"digest": sha256(junk), "size": len(junk)}
    index["models"][0]["manifest"] = json.dumps(manifest)
    index["files"] = [{"digest": sha256(junk), "size": len(junk)}]
    refused(store, bundle(index, [blob(junk)]))


def test_a_manifest_with_another_size_than_its_file_is_refused(store):
    index = index_of(exported()[0])
    manifest = json.loads(index["models"][0]["manifest"])
    manifest["parts"][0]["size"] += 1
    index["models"][0]["manifest"] = json.dumps(manifest)
    refused(store, bundle(index, [blob(MODEL)]))


def test_a_projector_that_would_harm_an_engine_is_refused(tmp_path, store):
    source = Store(tmp_path / "source")
    good = tiny_gguf.projector().build()
    evil = tiny_gguf.projector({"clip.vision.patch_size": tiny_gguf.u32(0)}).build()
    make(source, "seeing", {"tiny.gguf": MODEL, "mmproj.gguf": good})
    text = json.dumps(index_of(b"".join(source.export([name("seeing")]).chunks())))
    index = json.loads(text.replace(sha256(good), sha256(evil)))
    assert len(good) == len(evil)
    refused(store, bundle(index, [blob(MODEL), blob(evil)]))


@pytest.mark.parametrize("text", ["", "..", "../x", "a/../../b", "a:b:c", "/etc/passwd", "x" * 400, "a\0b"])
def test_a_name_that_is_none_is_refused(store, text):
    index = index_of(exported()[0])
    index["models"][0]["name"] = text
    refused(store, bundle(index, [blob(MODEL)]))


@pytest.mark.parametrize(
    "file", ["../../../../escaped", "/escaped", "a/../../escaped", "..\\..\\escaped", "\\escaped", "", "a\0b"]
)
def test_files_inside_a_manifest_cannot_lead_out_of_a_view(store, tmp_path, file):
    source = Store(tmp_path / "source")
    make(source, "tensors", safetensors())
    index = index_of(b"".join(source.export([name("tensors")]).chunks()))
    manifest = json.loads(index["models"][0]["manifest"])
    next(part for part in manifest["parts"] if part["file"] == "tokenizer.json")["file"] = file
    index["models"][0]["manifest"] = json.dumps(manifest)
    files = {one["digest"]: one["size"] for one in index["files"]}
    data = {sha256(one): one for one in safetensors().values()}
    before = tree(tmp_path)
    refused(store, bundle(index, [blob(data[digest]) for digest in files]))
    assert not [key for key in tree(tmp_path).keys() - before.keys() if "escaped" in key]


def test_an_unreadable_stream_leaves_nothing(store, tmp_path):
    class Breaks(io.BytesIO):
        def read(self, size=-1, /):
            if self.tell() > 3000:
                raise ConnectionError("the client left")
            return super().read(min(size, 512))

    with pytest.raises((InhouseError, ConnectionError)):
        store.import_bundle(Breaks(exported()[0]))
    assert store.cards() == []
    assert leftovers(tmp_path / "home") == []
