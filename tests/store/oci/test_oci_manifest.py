"""Manifests are held against their grammar: CVE-2024-37032, CVE-2025-1975, CVE-2026-7020."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inhouse.core.errors import SourceFailed
from inhouse.store.oci import manifest, media
from support.registryserver import BAD_DIGESTS

HEX = "ab" * 32
LAYER = {"mediaType": media.OLLAMA + "model", "digest": f"sha256:{HEX}", "size": 5}


def body(**changed):
    data = {"schemaVersion": 2, "mediaType": media.DOCKER_MANIFEST, "layers": [LAYER], **changed}
    return json.dumps({k: v for k, v in data.items() if v is not ...}).encode()


def test_a_manifest_is_read():
    found = manifest.parse(
        body(
            config={**LAYER, "mediaType": "x/y+json"},
            artifactType="a/b",
            layers=[{**LAYER, "annotations": {"k": "v"}}],
        )
    )
    assert isinstance(found, manifest.Manifest)
    assert found.config is not None
    assert found.config.media_type == "x/y+json"
    assert (found.layers[0].hex, found.layers[0].size, found.layers[0].annotations) == (HEX, 5, {"k": "v"})
    assert found.artifact_type == "a/b"


@pytest.mark.parametrize("config", [..., None, {}, {"mediaType": "", "digest": "", "size": 0}])
def test_a_manifest_may_have_no_config(config):
    found = manifest.parse(body(config=config))
    assert isinstance(found, manifest.Manifest)
    assert found.config is None


@pytest.mark.parametrize("digest", BAD_DIGESTS, ids=repr)
@pytest.mark.parametrize("where", ["layer", "config", "index"])
def test_a_digest_has_one_form_everywhere(digest, where):
    bad = {**LAYER, "digest": digest}
    data = {"layer": body(layers=[LAYER, bad]), "config": body(config={"x": 1, **bad})}
    data["index"] = body(mediaType=media.OCI_INDEX, manifests=[bad], layers=...)
    if where == "config" and not digest:
        return  # no config
    with pytest.raises(SourceFailed, match=r"(layers\[1\]|config|manifests\[0\]) has no digest of the form"):
        manifest.parse(data[where])


@pytest.mark.parametrize(
    "changed, named",
    [
        ({"schemaVersion": 1}, "schemaVersion"),
        ({"schemaVersion": "2"}, "schemaVersion"),
        ({"schemaVersion": True}, "schemaVersion"),
        ({"schemaVersion": ...}, "schemaVersion"),
        ({"layers": None}, "'layers' is not a list"),
        ({"layers": ...}, "'layers' is not a list"),
        ({"layers": {}}, "'layers' is not a list"),
        ({"layers": "x"}, "'layers' is not a list"),
        ({"layers": []}, "no layers"),
        ({"layers": [None]}, "layers[0] is not an object"),
        ({"layers": [LAYER, 7]}, "layers[1] is not an object"),
        ({"layers": [{**LAYER, "size": -1}]}, "impossible size"),
        ({"layers": [{**LAYER, "size": 2**63}]}, "impossible size"),
        ({"layers": [{**LAYER, "size": 1e3}]}, "impossible size"),
        ({"layers": [{**LAYER, "size": "5"}]}, "impossible size"),
        ({"layers": [{**LAYER, "size": True}]}, "impossible size"),
        ({"layers": [{**LAYER, "size": None}]}, "impossible size"),
        ({"layers": [{**LAYER, "mediaType": 7}]}, "'mediaType' of layers[0]"),
        ({"layers": [{**LAYER, "mediaType": "x" * 9999}]}, "'mediaType' of layers[0]"),
        ({"layers": [{**LAYER, "annotations": []}]}, "annotations of layers[0]"),
        ({"layers": [{**LAYER, "annotations": {"a": 1}}]}, "annotations of layers[0]"),
        ({"layers": [{**LAYER, "platform": 1}]}, "platform of layers[0]"),
        ({"mediaType": 1}, "'mediaType' of the manifest"),
        ({"mediaType": "text/html"}, "mediaType is not that of a manifest"),
        ({"artifactType": []}, "'artifactType'"),
        ({"config": 7}, "config is not an object"),
        ({"config": {"digest": f"sha256:{HEX}", "size": -7}}, "config (sha256:"),
        ({"mediaType": media.OCI_INDEX}, "'manifests' is not a list"),
    ],
)
def test_what_is_wrong_is_named(changed, named):
    with pytest.raises(SourceFailed) as caught:
        manifest.parse(body(**changed))
    assert named in caught.value.message


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"7",
        b'"x"',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"schemaVersion":' + b"9" * 10_000 + b"}",
    ],
    ids=lambda data: repr(data[:20]),
)
def test_what_is_no_manifest_at_all_is_refused(data):
    with pytest.raises(SourceFailed, match="not valid"):
        manifest.parse(data)


def test_a_million_layers_are_refused_in_time():
    data = b'{"schemaVersion":2,"layers":[' + b",".join([b"{}"] * 10**6) + b"]}"
    begin = time.monotonic()
    with pytest.raises(SourceFailed, match=r"1000000 layers, more than 10000"):
        manifest.parse(data)
    assert time.monotonic() - begin < 5


def test_a_manifest_over_its_ceiling_is_not_even_read():
    with pytest.raises(SourceFailed, match="larger than"):
        manifest.parse(b" " * (manifest.CEILING + 1))


def entry(n, **changed):
    return {"mediaType": media.OCI_MANIFEST, "digest": f"sha256:{n:064x}", "size": 1, **changed}


def test_an_index_offers_its_models_first_and_no_attestations():
    index = manifest.parse(
        body(
            layers=...,
            mediaType=...,
            manifests=[
                entry(1, platform={"os": "unknown"}),
                entry(2, annotations={"vnd.docker.reference.type": "attestation-manifest"}),
                entry(3, mediaType="text/plain"),
                entry(4),
                entry(5, artifactType=media.CNCF_ARTIFACT),
            ],
        )
    )
    assert isinstance(index, manifest.Index)
    assert [int(item.hex, 16) for item in manifest.choose(index)] == [5, 4]


def test_an_index_without_a_model_is_refused():
    index = manifest.parse(body(layers=..., mediaType=media.DOCKER_INDEX, manifests=[]))
    assert isinstance(index, manifest.Index)
    with pytest.raises(SourceFailed, match="names no manifest"):
        manifest.choose(index)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(
        st.sampled_from(["schemaVersion", "mediaType", "layers", "config", "manifests", "artifactType"]), JSON
    ),
    st.dictionaries(st.sampled_from(["mediaType", "digest", "size", "annotations", "platform"]), JSON),
)
def test_no_json_makes_a_traceback(changed, layer):
    for data in (body(**changed), body(layers=[{**LAYER, **layer}])):
        try:
            found = manifest.parse(data)
        except SourceFailed:
            continue
        assert isinstance(found, manifest.Manifest | manifest.Index)
