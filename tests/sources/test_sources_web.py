"""Plain files of web servers and buckets, and the addresses that no client may make the server ask."""

from __future__ import annotations

import hashlib
import importlib.util

import pytest

from support import tiny_gguf
from support.fileserver import Fault
from support.world import SHA256, SIZE, World

pytestmark = [pytest.mark.model, pytest.mark.timeout(120)]


def test_a_file_of_an_https_server_comes_in_ranges_and_answers(world: World) -> None:
    path = "/models/smol.gguf"
    world.tls.files[path] = world.data
    world.tls.faults.append(
        Fault(path=path, truncate=20_000_000, times=1, when=lambda hit: hit.method == "GET")
    )
    text = world.tls.url(path, host="localhost")
    world.pull(text)
    assert "Paris" in world.says(text)
    gets = [hit for hit in world.tls.hits if hit.path == path and hit.method == "GET"]
    assert len(gets) > 1
    assert all(hit.status == 206 and hit.headers["if-range"] for hit in gets if hit.span and hit.span[0])
    assert sum(hit.sent for hit in gets) < SIZE * 1.1
    before = len(gets)
    world.pull(text)
    assert len([hit for hit in world.tls.hits if hit.path == path and hit.method == "GET"]) == before
    assert world.show(text)["revision"] == world.tls.etag(path)


def test_a_file_that_changed_under_its_address_is_fetched_again(world: World) -> None:
    first = tiny_gguf.model(1)
    second = bytes([*first[:-1], first[-1] ^ 1])
    text = world.files.url("/changing/tiny.gguf")
    digests = []
    for data in (first, first, second):
        world.files.files["/changing/tiny.gguf"] = data
        world.pull(text)
        digests.append(world.show(text)["files"][0]["digest"])
    assert digests == [f"sha256:{hashlib.sha256(data).hexdigest()}" for data in (first, first, second)]


def test_a_file_of_a_plain_server_answers_where_that_is_allowed(world: World) -> None:
    world.files.files["/plain/smol.gguf"] = world.data
    text = world.files.url("/plain/smol.gguf")
    pinned = f"{text}#sha256={SHA256}"
    refused = world.ask(
        "/api/pull", {"model": f"{text}#sha256={hashlib.sha256().hexdigest()}", "stream": False}
    )
    assert refused.status >= 400
    assert world.models() == {}
    world.pull(pinned, insecure=True)
    assert "Paris" in world.says(pinned)


@pytest.mark.skipif(importlib.util.find_spec("s3fs") is None, reason="the extra s3 is not installed")
def test_an_object_of_a_bucket_answers(world: World) -> None:
    world.files.files["/models-bucket/smol/model.gguf"] = world.data
    world.pull("s3://models-bucket/smol/model.gguf")
    assert "Paris" in world.says("s3://models-bucket/smol/model.gguf")
    hits = [hit for hit in world.files.hits if hit.path.startswith("/models-bucket/")]
    assert {hit.status for hit in hits if hit.method == "GET"} == {206}
    assert all("AWS4-HMAC-SHA256" in hit.headers.get("authorization", "") for hit in hits)


@pytest.mark.parametrize(
    "address",
    [
        "http://169.254.169.254/latest/x.gguf",
        "http://127.0.0.1:{port}/x.gguf",
        "https://[::ffff:127.0.0.1]:{port}/x.gguf",
        "http://2130706433:{port}/x.gguf",
        "http://0x7f.1:{port}/x.gguf",
        "http://localhost:{port}/x.gguf",
        "https://10.0.0.7/x.gguf",
    ],
)
@pytest.mark.parametrize("insecure", [False, True])
def test_addresses_inside_are_refused_alike_and_never_asked(
    world: World, address: str, insecure: bool
) -> None:
    world.elsewhere.files["/x.gguf"] = world.data
    text = address.format(port=world.elsewhere.port)
    refused = world.ask("/api/pull", {"model": text, "insecure": insecure, "stream": False})
    assert refused.status == 403
    assert refused.json["error"].startswith("The address of this source is not allowed.")
    assert world.elsewhere.hits == []


def test_a_redirect_into_the_network_inside_is_refused_and_not_followed(world: World) -> None:
    world.elsewhere.files["/x.gguf"] = world.data
    target = world.elsewhere.url("/x.gguf")
    world.files.faults.append(Fault(path="/moved/x.gguf", redirect=target))
    refused = world.ask("/api/pull", {"model": world.files.url("/moved/x.gguf"), "stream": False})
    assert refused.status == 403
    assert refused.json["error"].startswith("The address of this source is not allowed.")
    assert world.elsewhere.hits == []
