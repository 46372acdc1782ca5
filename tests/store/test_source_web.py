"""``https://…/file.gguf`` against a file server on loopback."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inhouse.core.errors import (
    BadRequest,
    DigestMismatch,
    Forbidden,
    InhouseError,
    ModelNotFound,
    SourceFailed,
    Unsupported,
)
from inhouse.net import Reply
from inhouse.store.sources.base import Policy, Watch
from inhouse.store.sources.web import Web, digest_of
from support import tiny_gguf
from support.fileserver import Fault, FileServer

MODEL = tiny_gguf.model(1)
SHA = hashlib.sha256(MODEL).hexdigest()
WEB = Web()


@pytest.fixture
def server():
    with FileServer({"/models/tiny.gguf": MODEL}) as server:
        yield server


@pytest.fixture
def watch():
    return Watch(lambda event: None, trusted=True)


def bring(server, watch, folder, path="/models/tiny.gguf", pin=""):
    listing = WEB.find(WEB.parse(server.url(path) + pin), watch)
    return listing, [WEB.fetch(asset, folder, watch) for asset in listing.assets]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("https://Example.com/a/b/Tiny.gguf", "example.com/a-b/Tiny:latest"),
        ("https://example.com:8443/tiny.GGUF?download=true", "example.com:8443/files/tiny:latest"),
        ("https://example.com/a%20b/%C3%BC/x.Q4_K_M.gguf", "example.com/a-b/x.Q4_K_M:latest"),
        ("https://example.com/m/x-00002-of-00003.gguf", "example.com/m/x:latest"),
        ("https://[2001:db8::1]:81/x.gguf", "2001-db8-1-81/files/x:latest"),
        ("https://example.com/../..%2F..%2Fetc/x.gguf", "example.com/etc/x:latest"),
    ],
)
def test_the_name_comes_from_host_folders_and_stem(text, name):
    assert str(WEB.parse(text).name) == name


@given(st.text(max_size=80))
def test_any_address_gives_a_name_or_a_clear_error_and_the_text_is_canonical(path):
    try:
        ref = WEB.parse(f"https://example.com/{path}.gguf")
    except InhouseError:
        return
    assert WEB.parse(ref.text) == ref
    assert ref.name.host == "example.com"
    assert ".." not in "".join(ref.name.path_parts())


def test_names_that_are_too_long_stay_different():
    one, two = (WEB.parse(f"https://example.com/{'x' * 200}{end}.gguf").name for end in "ab")
    assert one != two
    assert len(one.model) <= 128


def test_a_digest_may_be_pinned():
    ref = WEB.parse(f"https://example.com/x.gguf#sha256={SHA.upper()}")
    assert (ref.sha256, ref.text) == (SHA, f"https://example.com/x.gguf#sha256={SHA}")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("https://example.com/x.gguf#sha256=12", BadRequest),
        ("https://example.com/x.gguf#readme", BadRequest),
        (f"https://example.com/x-00001-of-00002.gguf#sha256={SHA}", BadRequest),
        ("https://example.com/x.safetensors", Unsupported),
        ("https://example.com/.gguf", Unsupported),
        ("https://example.com/", Unsupported),
        ("https://user:pw@example.com/x.gguf", BadRequest),
    ],
)
def test_what_cannot_be_a_model_is_refused(text, error):
    with pytest.raises(error):
        WEB.parse(text)


def test_a_file_is_found_and_brought(server, watch, tmp_path):
    listing, [got] = bring(server, watch, tmp_path)
    assert (got.sha256, got.size, got.path.read_bytes()) == (SHA, len(MODEL), MODEL)
    assert listing.revision == server.etag("/models/tiny.gguf")
    [asset] = listing.assets
    assert (asset.role, asset.file, asset.size, asset.sha256) == ("model", "tiny.gguf", len(MODEL), "")
    assert WEB.missing(asset, tmp_path) == 0
    assert WEB.missing(asset, tmp_path / "other") == len(MODEL)


def test_a_digest_that_the_server_tells_is_verified_and_kept_in_the_origin(server, watch, tmp_path):
    server.digests = True
    listing, [got] = bring(server, watch, tmp_path)
    assert listing.assets[0].sha256 == got.sha256 == SHA
    assert listing.origin.endswith(f"#sha256={SHA}")
    assert WEB.find(WEB.parse(listing.origin), watch) == listing


def test_a_pinned_digest_is_compared_with_the_servers_and_with_the_file(server, watch, tmp_path):
    wrong = "#sha256=" + "0" * 64
    with pytest.raises(DigestMismatch, match="0000"):
        bring(server, watch, tmp_path, pin=wrong)
    server.digests = True
    sent = server.sent()
    with pytest.raises(DigestMismatch, match="0000"):
        bring(server, watch, tmp_path, pin=wrong)
    assert server.sent() == sent


@pytest.mark.parametrize("status", [403, 405, 501])
def test_a_server_that_refuses_head_is_asked_for_one_byte(server, watch, tmp_path, status):
    server.faults.append(Fault(status=status, when=lambda hit: hit.method == "HEAD"))
    listing, [got] = bring(server, watch, tmp_path)
    assert listing.assets[0].size == got.size == len(MODEL)


def test_a_server_without_ranges_and_without_a_size_is_used_too(server, watch, tmp_path):
    server.faults.append(Fault(no_ranges=True, headers={"Content-Length": "", "Connection": "close"}))
    server.faults[0].truncate = len(MODEL)
    listing, [got] = bring(server, watch, tmp_path)
    assert listing.assets[0].size == 0
    assert got.sha256 == SHA


def test_a_split_model_comes_with_all_its_parts_in_order(server, watch):
    for at in (1, 2, 3):
        server.files[f"/s/big-0000{at}-of-00003.gguf"] = bytes(at)
    listing = WEB.find(WEB.parse(server.url("/s/big-00002-of-00003.gguf?x=1")), watch)
    assert [(asset.file, asset.size) for asset in listing.assets] == [
        (f"big-0000{at}-of-00003.gguf", at) for at in (1, 2, 3)
    ]
    assert all(asset.locator.endswith("?x=1") for asset in listing.assets)
    del server.files["/s/big-00003-of-00003.gguf"]
    with pytest.raises(ModelNotFound):
        WEB.find(WEB.parse(server.url("/s/big-00001-of-00003.gguf")), watch)
    for impossible in ("00004-of-00003", "00000-of-00002", "00001-of-99999"):
        with pytest.raises(BadRequest):
            WEB.find(WEB.parse(server.url(f"/s/big-{impossible}.gguf")), watch)


def test_a_missing_file_is_a_missing_model(server, watch):
    with pytest.raises(ModelNotFound, match=r"nothing\.gguf"):
        WEB.find(WEB.parse(server.url("/nothing.gguf")), watch)


@pytest.mark.parametrize(("status", "hint"), [(401, "token"), (400, "address"), (451, "address")])
def test_a_refusal_is_told(server, watch, status, hint):
    server.faults.append(Fault(status=status))
    with pytest.raises(SourceFailed, match=str(status)) as caught:
        WEB.find(WEB.parse(server.url("/models/tiny.gguf")), watch)
    assert hint in caught.value.hint


@pytest.mark.parametrize("text", ["https://169.254.169.254/x.gguf", "https://[::ffff:127.0.0.1]/x.gguf"])
def test_clients_of_the_api_reach_no_address_inside(text):
    """CVE-2026-5530."""
    with pytest.raises(Forbidden) as caught:
        WEB.find(WEB.parse(text), Watch(lambda event: None))
    assert "INHOUSE_PULL_HOSTS" in caught.value.hint


def test_a_redirect_inside_is_refused_to_clients_of_the_api(server):
    server.faults.append(Fault(redirect="https://10.0.0.1/x.gguf"))
    watch = Watch(lambda event: None, Policy(hosts=(server.authority,)))
    with pytest.raises(Forbidden):
        WEB.find(WEB.parse(server.url("/models/tiny.gguf")), watch)


B64 = base64.b64encode(bytes.fromhex(SHA)).decode()


@pytest.mark.parametrize(
    ("status", "headers", "found"),
    [
        (200, {"repr-digest": f"sha-512=:AAAA:, sha-256=:{B64}:"}, SHA),
        (206, {"repr-digest": f"sha-256=:{B64}:"}, SHA),
        (200, {"content-digest": f"sha-256=:{B64}:"}, SHA),
        (206, {"content-digest": f"sha-256=:{B64}:"}, ""),
        (200, {"digest": f"SHA-256={B64}"}, SHA),
        (200, {"x-amz-checksum-sha256": B64}, SHA),
        (200, {"x-amz-checksum-sha256": f"{B64}-12"}, ""),
        (200, {"x-linked-etag": f'"{SHA}"'}, SHA),
        (200, {"x-linked-etag": '"abc"', "etag": f'"{SHA}"'}, ""),
        (200, {"repr-digest": "sha-256=:nonsense:"}, ""),
        (200, {}, ""),
    ],
)
def test_digests_are_read_from_headers_that_tell_them_of_the_whole_file(status, headers, found):
    assert digest_of(Reply(status, headers, b"", "")) == found
