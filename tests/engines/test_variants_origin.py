"""Where files of builds are asked for, and that nothing without a digest is."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import pytest

from inhouse.core.errors import BadRequest, NotFound, SourceFailed
from inhouse.engines.variants.catalogue import Build, File, named
from inhouse.engines.variants.origin import Wanted, Wish, files_of, hex_of, links, mirrored
from support.llama_builds import Net

LINUX = ("linux", "x64")
A, B, C = "a" * 64, "b" * 64, "c" * 64
API = "https://api.github.com/repos/ggml-org/llama.cpp/releases/tags/b11549"
BASE = "https://github.com/ggml-org/llama.cpp/releases/download/b11549"
INDEX = "https://xorbitsai.github.io/xllamacpp/whl/cu128/xllamacpp/"


def release(**digests: Any) -> bytes:
    assets = [{"name": name, "digest": digest, "size": 7} for name, digest in digests.items()]
    return json.dumps({"assets": assets}).encode()


def asked(name: str, wish: Wish, net: Net) -> list[Wanted]:
    build = named(name)
    file = next((f for f in build.files if (f.os or "linux", f.arch or "x64") == LINUX), File())
    return files_of(build, file, LINUX, wish, net)


CPU = "llama-b11549-bin-ubuntu-x64.tar.gz"


def test_a_release_file_has_the_digest_that_its_publisher_states() -> None:
    net = Net(pages={API: release(**{CPU: f"sha256:{A}"})})
    [one] = asked("cpu", Wish(), net)
    assert one == Wanted(f"{BASE}/{CPU}", CPU, A, 7, "publisher")
    assert net.asked == [API]


def test_the_users_digest_is_taken_and_nobody_is_asked() -> None:
    net = Net()
    [one] = asked("cpu", Wish(sha256=(f"sha256:{B.upper()}",)), net)
    assert (one.sha256, one.pinned, net.asked) == (B, "user", [])


@pytest.mark.parametrize("digest", ["", None, "md5:1", f"sha256:{A[:-1]}", 5])
def test_without_a_digest_nothing_is_fetched(digest: Any) -> None:
    with pytest.raises(SourceFailed) as caught:
        asked("cpu", Wish(), Net(pages={API: release(**{CPU: digest})}))
    assert "--sha256" in caught.value.hint


@pytest.mark.parametrize("page", [b"", b"[]", b"{}", b'{"assets": 1}', b'{"assets": [{}]}', b"<html>"])
def test_an_answer_that_is_no_release_is_told(page: bytes) -> None:
    with pytest.raises(SourceFailed):
        asked("cpu", Wish(), Net(pages={API: page}))


def test_what_a_release_lacks_is_told() -> None:
    with pytest.raises(NotFound, match="no file"):
        asked("cpu", Wish(), Net(pages={API: release(other=A)}))
    with pytest.raises(NotFound, match="no release b1 of"):
        asked("cpu", Wish(version="b1"), Net())


def test_another_version_has_other_names() -> None:
    [one] = asked("cpu", Wish(version="b9", sha256=(A,)), Net())
    assert one.url.endswith("/b9/llama-b9-bin-ubuntu-x64.tar.gz")


@pytest.mark.parametrize("version", ["../x", "a/b", "", "v 1", "-x", "x" * 80])
def test_a_version_is_no_path(version: str) -> None:
    if version:
        with pytest.raises(BadRequest):
            asked("cpu", Wish(version=version, sha256=(A,)), Net())


def test_libraries_that_lie_in_a_second_file_have_a_digest_of_their_own() -> None:
    first, second = asked("cuda-13", Wish(sha256=(A, B)), Net())
    assert (first.sha256, second.sha256) == (A, B)
    assert second.file == "cudart-llama-b11549-bin-ubuntu-cuda-13.4-x64.tar.gz"
    with pytest.raises(BadRequest, match="more digests than files"):
        asked("cpu", Wish(sha256=(A, B)), Net())


def test_a_mirror_brings_bytes_and_never_digests() -> None:
    net = Net(pages={API: release(**{CPU: f"sha256:{A}"})})
    [one] = asked("cpu", Wish(mirror="http://mirror.local:8080/gh/"), net)
    assert one.url == f"http://mirror.local:8080/gh/ggml-org/llama.cpp/releases/download/b11549/{CPU}"
    assert (one.sha256, net.asked) == (A, [API])
    assert mirrored("https://a/b?c=d", "https://m") == "https://m/b?c=d"
    assert mirrored("https://a/b", "") == "https://a/b"


PAGE = "https://index.example/simple/xllamacpp/"


def sources() -> tuple[str, str]:
    file = named("native").files[0]
    return file.asset, file.sha256


def test_the_sources_come_from_the_users_index_with_the_pinned_digest() -> None:
    asset, pinned = sources()
    for told in ("", f"#sha256={pinned}"):
        html = f'<a href="../../files/{asset}{told}">{asset}</a>'.encode()
        net = Net(pages={PAGE: html})
        [one] = asked("native", Wish(mirror="https://m"), net)
        assert one.url == f"https://index.example/files/{asset}"
        assert (one.sha256, one.pinned) == (pinned, "catalogue")
        assert net.asked == [PAGE]


def test_an_index_with_another_file_of_that_name_is_refused() -> None:
    asset, _ = sources()
    page = json.dumps({"files": [{"filename": asset, "url": f"/{asset}", "hashes": {"sha256": A}}]})
    with pytest.raises(SourceFailed, match="another"):
        asked("native", Wish(), Net(pages={PAGE: page.encode()}))
    with pytest.raises(NotFound, match="has no xllamacpp"):
        asked("native", Wish(), Net(pages={PAGE: b'{"files": []}'}))


def test_a_pinned_digest_is_not_overruled() -> None:
    asset, pinned = sources()
    net = Net(pages={PAGE: f'<a href="/{asset}">x</a>'.encode()})
    with pytest.raises(BadRequest, match="is known"):
        asked("native", Wish(sha256=(A,)), net)
    assert asked("native", Wish(sha256=(pinned,)), net)[0].sha256 == pinned


def wheel(version: str, tag: str, fragment: str = "") -> str:
    name = f"xllamacpp-{version}-{tag}.whl"
    base = f"https://github.com/xorbitsai/xllamacpp/releases/download/v{version}-cu128"
    return f'<a href="{base}/{name}{fragment}">{base}/{name}</a><br>'


def test_the_wheel_for_this_python_and_system_is_taken() -> None:
    version = named("wheel-cuda-12").version
    own = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    page = "".join(
        (
            wheel(version, "cp310-abi3-win_amd64"),
            wheel(version, "cp310-abi3-manylinux_2_35_aarch64"),
            wheel(version, "cp399-abi3-manylinux_2_35_x86_64"),
            wheel("2020.1.1", "cp310-abi3-manylinux_2_35_x86_64"),
            wheel(version, "cp314-cp314t-manylinux_2_35_x86_64"),
            wheel(version, f"{own}-{own}-manylinux_2_35_x86_64", f"#sha256={A}"),
        )
    )
    [one] = asked("wheel-cuda-12", Wish(), Net(pages={INDEX: page.encode()}))
    assert one.file == f"xllamacpp-{version}-{own}-{own}-manylinux_2_35_x86_64.whl"
    assert (one.sha256, one.pinned) == (A, "publisher")


def test_a_link_without_a_digest_is_asked_for_at_its_release() -> None:
    version = named("wheel-cuda-12").version
    tag = "cp310-abi3-manylinux_2_35_x86_64"
    api = f"https://api.github.com/repos/xorbitsai/xllamacpp/releases/tags/v{version}-cu128"
    pages = {
        INDEX: wheel(version, tag).encode(),
        api: release(**{f"xllamacpp-{version}-{tag}.whl": f"sha256:{C}"}),
    }
    [one] = asked("wheel-cuda-12", Wish(), Net(pages=pages))
    assert (one.sha256, one.pinned) == (C, "publisher")


def test_a_mirrors_page_is_not_asked_for_a_digest_nor_sends_us_to_another_repository() -> None:
    version = named("wheel-cuda-12").version
    tag = "cp310-abi3-manylinux_2_35_x86_64"
    name = f"xllamacpp-{version}-{tag}.whl"
    page = "https://m.example/xllamacpp/whl/cu128/xllamacpp/"
    release_page = f"https://api.github.com/repos/xorbitsai/xllamacpp/releases/tags/v{version}-cu128"
    pages = {
        page: wheel(version, tag, f"#sha256={A}").encode(),
        release_page: release(**{name: f"sha256:{C}"}),
    }
    [one] = asked("wheel-cuda-12", Wish(mirror="https://m.example"), Net(pages=pages))
    assert (one.sha256, one.pinned) == (C, "publisher")
    pages[page] = pages[page].replace(b"/xorbitsai/", b"/somebody/")
    pages[release_page.replace("xorbitsai", "somebody")] = pages.pop(release_page)
    with pytest.raises(SourceFailed, match="Nobody tells"):
        asked("wheel-cuda-12", Wish(mirror="https://m.example"), Net(pages=pages))
    [one] = asked("wheel-cuda-12", Wish(mirror="https://m.example", sha256=(B,)), Net(pages=pages))
    assert (one.sha256, one.pinned) == (B, "user")


def test_sources_that_are_pinned_have_one_version() -> None:
    with pytest.raises(BadRequest, match="made from the sources of b11549"):
        asked("native", Wish(version="b11600"), Net())


def test_an_index_without_a_fitting_wheel_says_so() -> None:
    with pytest.raises(NotFound, match="no wheel of xllamacpp"):
        asked("wheel-cuda-12", Wish(), Net(pages={INDEX: b"<html></html>"}))


def test_a_digest_of_a_place_that_is_no_release_must_be_given() -> None:
    page = (
        b'<a href="https://elsewhere.example/xllamacpp-2026.10.11549-cp310-abi3-manylinux_x86_64.whl">x</a>'
    )
    with pytest.raises(SourceFailed, match="Nobody tells"):
        asked("wheel-cuda-12", Wish(), Net(pages={INDEX: page}))


def test_pages_are_read_as_json_and_as_html() -> None:
    html = (
        f'<A HREF="a%2Bb-1.whl#sha256={A}">x</a><a name="y">z</a><a href="/s/c.tar.gz#md5=1">c</a>'.encode()
    )
    assert [(one.url, one.file, one.sha256) for one in links(html, "https://i/s/p/")] == [
        ("https://i/s/p/a%2Bb-1.whl", "a+b-1.whl", A),
        ("https://i/s/c.tar.gz", "c.tar.gz", ""),
    ]
    data = {"files": [{"filename": "a", "url": "../a#x", "hashes": {"sha256": A}, "size": 5}]}
    assert links(json.dumps(data).encode(), "https://i/s/p/") == [
        Wanted("https://i/s/a", "a", A, 5, "publisher")
    ]
    for bad in (b'{"files": [1]}', b"{", b'{"files": [{"url": "x"}]}'):
        with pytest.raises(SourceFailed):
            links(bad, "https://i/")


@pytest.mark.parametrize("text", ["", "abc", A + "0", "g" * 64, f"sha512:{A}"])
def test_a_digest_is_64_hex_digits(text: str) -> None:
    with pytest.raises(BadRequest, match="64 hex"):
        hex_of(text)


def test_no_address_of_the_list_is_plain_http() -> None:
    from inhouse.engines.variants.catalogue import builds

    for one in builds():
        assert one.index.startswith("https://") or not one.index
        assert re.fullmatch(r"[\w.-]+/[\w.-]+", one.repository) or not one.repository
        assert isinstance(one, Build)
