"""Models from registries, against one that speaks the real protocol (faults 56 and 58)."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
import tracemalloc

import pytest

from inhouse.core.errors import (
    Cancelled,
    DigestMismatch,
    Forbidden,
    InhouseError,
    InvalidName,
    ModelNotFound,
    SourceFailed,
    Unsupported,
)
from inhouse.store import sources
from inhouse.store.oci import manifest
from inhouse.store.oci.settings import Settings
from inhouse.store.sources.base import Asset, Policy, Watch
from inhouse.store.sources.registry import Registry
from support import registryserver as rs
from support import tiny_gguf

MODEL = tiny_gguf.model(1)
OTHER = tiny_gguf.model(2)


@pytest.fixture
def server():
    with rs.RegistryServer() as server:
        yield server


@pytest.fixture
def private():
    with rs.RegistryServer(private=True) as server:
        yield server


class Pull:
    """A registry source with its watch; what was said is kept."""

    def __init__(self, tmp_path, *, trusted=True, insecure=False, policy=None, fresh=False, **config):
        self.said = []
        self.config = Settings(home=tmp_path / "nobody", pause=0.01, **config)
        self.source = Registry(self.config)
        self.watch = Watch(
            self.said.append, policy or Policy(stall=5.0), trusted=trusted, insecure=insecure, fresh=fresh
        )
        self.folder = tmp_path / "folder"

    def find(self, text):
        return self.source.find(self.source.parse(text), self.watch)

    def fetch(self, asset):
        folder = self.folder / (asset.sha256[:24] or "x")
        folder.mkdir(parents=True, exist_ok=True)
        return self.source.fetch(asset, folder, self.watch)

    def all(self, text):
        return [self.fetch(asset) for asset in self.find(text).assets]


@pytest.fixture
def pull(tmp_path):
    return Pull(tmp_path)


def put(server, repository="library/tiny", tag="latest", *, models=(MODEL,), config=None, **texts):
    return server.publish(
        repository, tag, rs.ollama_layers(*models, **texts), config=config or {"model_format": "gguf"}
    )


def login(tmp_path, host, user="me", password="secret"):
    auth = base64.b64encode(f"{user}:{password}".encode()).decode()
    path = tmp_path / "docker.json"
    path.write_text(json.dumps({"auths": {host: {"auth": auth}}}))
    return path


# What is asked, and what comes of it


def test_the_source_is_registered_for_its_texts():
    ref = sources.parse("ollama:smollm2:135m")
    assert (ref.kind, ref.text) == ("registry", "ollama:smollm2:135m")
    assert str(ref.name) == "registry.ollama.ai/library/smollm2:135m"
    for text in ("oci://ghcr.io/a/b", "docker://ai/smollm2", "localhost:5000/a/b:c", "ollama.com/library/x"):
        ref = sources.parse(text)
        assert ref.kind == "registry"
        assert sources.parse(ref.text) == ref


def test_an_ollama_model_comes_whole_with_its_texts(server, pull):
    digest = put(
        server,
        template="{{ .Prompt }}",
        system="Be kind.",
        params={"stop": ["<|x|>"], "temperature": 0.2},
        messages=[{"role": "user", "content": "hi"}],
        license=("MIT", "and more"),
        projector=OTHER,
    )
    listing = pull.find(f"{server.host}/library/tiny")
    assert listing.revision == digest
    assert listing.origin == f"{server.host}/library/tiny:latest@{digest}"
    assert listing.texts.template == "{{ .Prompt }}"
    assert listing.texts.system == "Be kind."
    assert listing.texts.defaults == {"stop": ["<|x|>"], "temperature": 0.2}
    assert listing.texts.messages == (("user", "hi"),)
    assert listing.texts.licence == "MIT\n\nand more"
    assert [(a.role, a.file, a.size) for a in listing.assets] == [
        ("model", "model.gguf", len(MODEL)),
        ("projector", "mmproj.gguf", len(OTHER)),
    ]
    got = [pull.fetch(asset) for asset in listing.assets]
    assert [one.path.read_bytes() for one in got] == [MODEL, OTHER]
    assert not any(one.in_place for one in got)
    key = hashlib.sha256(MODEL).hexdigest()
    events = [e for e in pull.said if e.status == f"pulling {key[:12]}"]
    assert events[-1].completed == events[-1].total == len(MODEL)
    assert events[-1].digest == f"sha256:{key}"
    assert (
        server.requests[0]
        .headers["accept"]
        .startswith("application/vnd.docker.distribution.manifest.v2+json")
    )


def test_nothing_large_is_asked_for_before_it_is_fetched(server, pull):
    put(server, template="x")
    asset = pull.find(f"{server.host}/library/tiny").assets[0]
    assert not [seen for seen in server.requests if asset.sha256 in seen.path]
    assert pull.source.missing(asset, pull.folder) == len(MODEL)


def test_the_origin_brings_exactly_this_again_after_the_tag_moved(server, pull):
    put(server)
    origin = pull.find(f"{server.host}/library/tiny").origin
    put(server, models=(OTHER,))
    assert pull.fetch(pull.find(origin).assets[0]).path.read_bytes() == MODEL
    assert pull.find(f"{server.host}/library/tiny").assets[0].size == len(OTHER)


def test_a_registry_that_knows_tags_only_is_held_to_the_digest(server, pull):
    digest = put(server)
    del server.manifests[("library/tiny", digest)]
    assert pull.find(f"{server.host}/library/tiny:latest@{digest}").revision == digest
    moved = put(server, models=(OTHER,))
    with pytest.raises(SourceFailed, match=f"no longer has {digest[:19]}") as caught:
        pull.find(f"{server.host}/library/tiny:latest@{digest}")
    assert moved[:19] in caught.value.message


def test_a_digest_alone_names_a_model(server, pull):
    digest = put(server, "team/tiny")
    ref = pull.source.parse(f"oci://{server.host}/team/tiny@{digest}")
    assert ref.name.tag == f"sha256-{digest[7:19]}"
    assert pull.source.find(ref, pull.watch).revision == digest


def test_split_models_keep_their_order(server, pull):
    put(server, models=(OTHER, MODEL))
    got = pull.all(f"{server.host}/library/tiny")
    assert [one.path.read_bytes() for one in got] == [OTHER, MODEL]


def test_a_modelpack_and_a_docker_model_and_a_plain_artifact(server, pull):
    server.publish(
        "team/pack",
        "1",
        [
            *rs.modelpack_layers({"model.gguf": MODEL}),
            rs.Layer(rs.CNCF + "doc.v1.raw", b"MIT", {rs.FILEPATH: "LICENSE"}),
        ],
        config={"config": {"format": "gguf"}},
        config_type=rs.CNCF + "config.v1+json",
        media_type=rs.OCI_MANIFEST,
        artifactType=rs.CNCF + "manifest.v1+json",
    )
    server.publish(
        "ai/docker",
        "1",
        [rs.Layer(rs.DOCKER_AI + "gguf.v3", MODEL), rs.Layer(rs.DOCKER_AI + "license", b"MIT")],
        config={"config": {"format": "gguf"}},
        config_type=rs.DOCKER_AI + "model.config.v0.1+json",
        media_type=rs.OCI_MANIFEST,
    )
    server.publish(
        "me/oras",
        "1",
        [
            rs.Layer("application/octet-stream", MODEL, {rs.TITLE: "tiny.gguf"}),
            rs.Layer("text/plain", b"x", {rs.TITLE: "a.txt"}),
        ],
        config=b"",
        config_type="application/vnd.unknown.config.v1+json",
        media_type=rs.OCI_MANIFEST,
    )
    for text, licence in (("team/pack:1", "MIT"), ("ai/docker:1", "MIT"), ("me/oras:1", "")):
        listing = pull.find(f"oci://{server.host}/{text}")
        assert listing.texts.licence == licence
        assert [pull.fetch(a).path.read_bytes() for a in listing.assets] == [MODEL]


def test_of_an_index_the_model_is_taken(server, pull):
    image = server.publish(
        "ai/m", "image", [rs.Layer("application/vnd.docker.image.rootfs.diff.tar.gzip", b"x")]
    )
    model = put(server, "ai/m", "model")
    server.publish_index(
        "ai/m",
        "latest",
        [
            {"mediaType": rs.DOCKER_MANIFEST, "digest": image, "size": 1, "platform": {"os": "unknown"}},
            {"mediaType": rs.DOCKER_MANIFEST, "digest": image, "size": 1},
            {"mediaType": rs.DOCKER_MANIFEST, "digest": model, "size": 1},
        ],
    )
    assert pull.all(f"{server.host}/ai/m")[0].path.read_bytes() == MODEL
    server.publish_index("ai/m", "none", [{"mediaType": rs.DOCKER_MANIFEST, "digest": image, "size": 1}])
    with pytest.raises(Unsupported, match="none of its layers"):
        pull.find(f"{server.host}/ai/m:none")


def test_an_index_of_indexes_leads_nowhere(server, pull):
    inner = server.publish_index("ai/m", "inner", [])
    server.publish_index("ai/m", "latest", [{"mediaType": rs.OCI_MANIFEST, "digest": inner, "size": 1}])
    with pytest.raises(SourceFailed, match="leads to no manifest"):
        pull.find(f"{server.host}/ai/m")


def test_a_cloud_model_is_refused_in_plain_words(server, pull):
    put(server, config={"remote_host": "https://ollama.com:443", "remote_model": "big"})
    with pytest.raises(Unsupported, match="cloud"):
        pull.find(f"{server.host}/library/tiny")


def test_ollamas_registry_can_be_a_mirror(server, tmp_path):
    put(server, "library/tiny")
    pull = Pull(tmp_path, trusted=False, mirror=f"http://{server.host}")
    listing = pull.find("ollama:tiny")
    assert listing.origin.startswith("ollama:tiny:latest@sha256:")
    assert pull.fetch(listing.assets[0]).path.read_bytes() == MODEL


# Access


def test_a_token_is_fetched_once_and_used_for_all(private, pull):
    put(private, license="MIT")
    pull.all(f"{private.host}/library/tiny")
    assert len(private.asked("GET", "/token")) == 1
    assert len(private.requests) < 10


def test_a_token_that_expires_is_renewed(private, pull):
    put(private)
    listing = pull.find(f"{private.host}/library/tiny")
    private.tokens.clear()
    assert pull.fetch(listing.assets[0]).path.read_bytes() == MODEL
    assert len(private.asked("GET", "/token")) == 2


def test_a_source_that_starts_with_fetching_asks_for_a_token(private, pull):
    put(private)
    asset = pull.find(f"{private.host}/library/tiny").assets[0]
    pull.source = Registry(pull.config)
    assert pull.fetch(asset).path.read_bytes() == MODEL


def test_a_login_of_docker_opens_what_is_private(tmp_path):
    with rs.RegistryServer(private=True, anonymous=False) as server:
        server.users = {"me": "secret"}
        put(server)
        with pytest.raises(SourceFailed, match="refuses") as caught:
            Pull(tmp_path).find(f"{server.host}/library/tiny")
        assert "docker login" in caught.value.hint
        pull = Pull(tmp_path, docker=login(tmp_path, server.host))
        assert pull.all(f"{server.host}/library/tiny")[0].path.read_bytes() == MODEL
        assert "secret" not in repr(pull.said)


def test_a_registry_with_basic_logins(tmp_path):
    with rs.RegistryServer(private=True, basic=True) as server:
        server.users = {"me": "secret"}
        put(server)
        pull = Pull(tmp_path, docker=login(tmp_path, server.host))
        assert pull.all(f"{server.host}/library/tiny")[0].path.read_bytes() == MODEL


def test_a_token_of_the_operator_is_used_as_it_is(private, tmp_path):
    put(private)
    private.tokens["handmade"] = ("repository:library/tiny:pull", float("inf"))
    pull = Pull(tmp_path, tokens={private.host: "handmade"})
    assert pull.all(f"{private.host}/library/tiny")[0].path.read_bytes() == MODEL
    assert not private.asked("GET", "/token")


def test_no_credential_follows_a_redirect_to_the_cdn(private, tmp_path):
    private.redirect = True
    put(private)
    pull = Pull(tmp_path, docker=login(tmp_path, private.host))
    private.users = {"me": "secret"}
    assert pull.all(f"{private.host}/library/tiny")[0].path.read_bytes() == MODEL
    assert private.asked("GET", f"/{rs.sha256(MODEL)}")[-1].origin == "cdn"
    assert private.secrets_at("registry")
    assert private.secrets_at("cdn") == []


def test_a_realm_on_another_host_gets_no_credential(private, tmp_path):
    """CVE-2025-51471."""
    put(private)
    private.users = {"me": "secret"}
    private.faults.realm = f"http://{private.cdn}/token"
    pull = Pull(tmp_path, docker=login(tmp_path, private.host))
    with pytest.raises(SourceFailed, match="asked to send credentials elsewhere") as caught:
        pull.find(f"{private.host}/library/tiny")
    assert not [seen for seen in private.requests if seen.origin == "cdn"]
    assert private.cdn not in caught.value.message + caught.value.hint


def test_the_cdn_cannot_ask_for_credentials(private, tmp_path):
    private.redirect = True
    put(private)
    private.users = {"me": "secret"}
    private.faults.always["cdn"] = (401, {"WWW-Authenticate": f'Bearer realm="http://{private.cdn}/token"'})
    pull = Pull(tmp_path, docker=login(tmp_path, private.host))
    with pytest.raises(SourceFailed):
        pull.all(f"{private.host}/library/tiny")
    assert private.secrets_at("cdn") == []


# Faults on the way (row 56)


@pytest.mark.parametrize("tag", ["absent", "latest"])
def test_an_absent_model_is_not_found(server, pull, tag):
    with pytest.raises(ModelNotFound) as caught:
        pull.find(f"{server.host}/library/absent:{tag}")
    assert "inhouse pull" not in caught.value.hint


def test_busy_registries_are_asked_again(server, pull):
    put(server)
    server.faults.status["manifest"] = [(429, {"Retry-After": "0"}), (500, {}), (503, {})]
    server.faults.status["blob"] = [(502, {})]
    assert pull.all(f"{server.host}/library/tiny")[0].path.read_bytes() == MODEL


@pytest.mark.parametrize(
    "status, headers", [(500, {}), (429, {"Retry-After": "3600"}), (503, {"Retry-After": "3600"})]
)
def test_patience_has_an_end(server, pull, status, headers):
    put(server)
    server.faults.always["manifest"] = (status, headers)
    with pytest.raises(SourceFailed) as caught:
        pull.find(f"{server.host}/library/tiny")
    assert caught.value.retry_after == (3600 if headers else None)
    assert len(server.requests) <= 6


@pytest.mark.parametrize("status", [400, 403, 418])
def test_a_refusal_is_not_asked_again(server, pull, status):
    put(server)
    server.faults.always["manifest"] = (status, {})
    with pytest.raises(SourceFailed):
        pull.find(f"{server.host}/library/tiny")
    assert len(server.requests) == 1


def test_a_broken_token_service_is_named(private, pull):
    put(private)
    private.faults.always["token"] = (410, {})
    with pytest.raises(SourceFailed, match="token service answers HTTP 410"):
        pull.find(f"{private.host}/library/tiny")


def test_redirects_of_clients_into_private_networks_are_refused(server, tmp_path):
    """What an API client asks for must not reach loopback unless the operator allowed the host."""
    server.redirect = True
    put(server)
    with pytest.raises(Forbidden):
        Pull(tmp_path, trusted=False).find(f"{server.host}/library/tiny")
    assert server.requests == []
    pull = Pull(tmp_path, trusted=False, policy=Policy(hosts=(server.host,), stall=5.0))
    with pytest.raises(Forbidden):
        pull.all(f"{server.host}/library/tiny")
    assert not [seen for seen in server.requests if seen.origin == "cdn"]


@pytest.mark.parametrize("text, scheme", [
    ("registry.corp/a/b", "https"), ("localhost/a/b", "http"), ("localhost:5000/a/b", "http"),
    ("127.0.0.1:5000/a/b", "http"), ("oci://m.localhost/a/b", "http"), ("localhost.evil.example/a/b", "https"),
    ("127.0.0.1.evil.example/a/b", "https"), ("ollama:a", "https"), ("docker://a", "https"),
])  # fmt: skip
def test_plain_http_is_for_loopback_and_for_whoever_asks_for_it(text, scheme, tmp_path):
    from inhouse.store.oci import names, remote

    place = names.parse(text)
    assert remote.base_url(place, Settings(), insecure=False).startswith(scheme + "://")
    assert remote.base_url(place, Settings(), insecure=True).startswith("http://")


def test_a_pull_can_be_stopped_while_the_registry_stalls(server, pull):
    put(server)
    listing = pull.find(f"{server.host}/library/tiny")
    server.faults.stall = threading.Event()
    stopper = threading.Timer(0.3, pull.watch.stopped.set)
    stopper.start()
    begin = time.monotonic()
    with pytest.raises(Cancelled):
        pull.fetch(listing.assets[0])
    assert time.monotonic() - begin < 5
    stopper.join()


# Lies (row 58)


@pytest.mark.parametrize(
    "fault", [{"lie": True}, {"short": 1}, {"extra": b"x"}, {"truncate": 10}], ids=lambda f: next(iter(f))
)
@pytest.mark.parametrize("ranges", [True, False])
def test_bytes_that_are_not_what_was_promised_are_refused(server, pull, fault, ranges):
    put(server)
    listing = pull.find(f"{server.host}/library/tiny")
    server.faults = rs.Faults(no_ranges=not ranges, **fault)
    with pytest.raises((DigestMismatch, SourceFailed)) as caught:
        pull.fetch(listing.assets[0])
    if "lie" in fault:
        assert isinstance(caught.value, DigestMismatch)
        assert listing.assets[0].sha256 in caught.value.message
    assert not [p for p in pull.folder.rglob("*") if p.name == "data"]


def test_a_text_layer_that_lies_is_refused_with_its_digest(server, pull):
    put(server, template="abc")
    server.faults.lie = True
    with pytest.raises(DigestMismatch, match="were promised"):
        pull.find(f"{server.host}/library/tiny")


def test_a_manifest_that_is_not_what_its_digest_says_is_refused(server, pull):
    digest = put(server)
    server.faults.digest_header = "sha256:" + "0" * 64
    with pytest.raises(DigestMismatch, match=digest):
        pull.find(f"{server.host}/library/tiny")
    server.faults.digest_header = "sha256:../../x"
    with pytest.raises(DigestMismatch, match="something else"):
        pull.find(f"{server.host}/library/tiny")
    server.faults.digest_header = "sha512:" + "0" * 128
    assert pull.find(f"{server.host}/library/tiny").revision == digest


def test_a_pinned_manifest_is_verified(server, pull):
    digest = put(server)
    server.manifests[("library/tiny", digest)] = (
        rs.DOCKER_MANIFEST,
        server.manifests[("library/tiny", digest)][1] + b" ",
    )
    with pytest.raises(DigestMismatch, match=digest):
        pull.find(f"oci://{server.host}/library/tiny@{digest}")


def test_a_gzip_bomb_is_not_unpacked(server, pull):
    """CVE-2024-12886."""
    server.faults.bomb = rs.bomb(2**27)
    tracemalloc.start()
    with pytest.raises(SourceFailed, match=str(manifest.CEILING)):
        pull.find(f"{server.host}/library/tiny")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 32 * 2**20


def test_a_manifest_of_a_million_layers_is_refused(server, pull):
    server.publish_raw("a/b", "latest", b'{"schemaVersion":2,"layers":[' + b",".join([b"{}"] * 10**6) + b"]}")
    with pytest.raises(SourceFailed, match="1000000 layers"):
        pull.find(f"{server.host}/a/b")


def test_text_layers_have_a_ceiling_that_is_checked_before_they_are_asked_for(server, pull):
    put(server, license=b"x" * (2**20 + 1))
    with pytest.raises(SourceFailed, match="larger than 1048576 bytes"):
        pull.find(f"{server.host}/library/tiny")
    assert not server.asked("GET", rs.sha256(b"x" * (2**20 + 1)))


@pytest.mark.parametrize("digest", rs.BAD_DIGESTS, ids=repr)
def test_no_digest_of_a_manifest_becomes_a_path(server, pull, tmp_path, digest):
    """CVE-2024-37032, CVE-2025-44779, CVE-2026-7020: nothing outside is read, written or removed."""
    victim = tmp_path / "victim"
    victim.write_text("mine")
    before = sorted(p for p in tmp_path.rglob("*") if p != pull.folder)
    for kind in ("model", "template", "license", "projector"):
        server.publish(
            "a/b",
            "latest",
            [
                rs.Layer(rs.OLLAMA + "model", MODEL),
                rs.Layer(rs.OLLAMA + kind, b"x", changed={"digest": digest}),
            ],
        )
        with pytest.raises(SourceFailed, match="no digest of the form"):
            pull.find(f"{server.host}/a/b")
    assert sorted(p for p in tmp_path.rglob("*") if p != pull.folder) == before
    assert victim.read_text() == "mine"
    assert not server.asked("GET", "/blobs/")


@pytest.mark.parametrize("digest", [d for d in rs.BAD_DIGESTS if isinstance(d, str)], ids=repr)
def test_no_digest_of_a_text_becomes_a_path(digest):
    with pytest.raises(InvalidName):
        Registry(Settings()).parse(f"oci://ghcr.io/a/b@{digest}")


@pytest.mark.parametrize(
    "body",
    [
        {"layers": None},
        {"layers": []},
        {"layers": [None]},
        {"layers": [{}]},
        {"layers": {"0": {}}},
        {"layers": [{"mediaType": rs.OLLAMA + "model", "digest": rs.sha256(MODEL), "size": -1}]},
        {"layers": [{"mediaType": rs.OLLAMA + "model", "digest": rs.sha256(MODEL), "size": 2**62}]},
        {"layers": [{"mediaType": rs.OLLAMA + "model", "digest": rs.sha256(MODEL), "size": "9"}]},
        {"layers": [{"mediaType": None, "digest": rs.sha256(MODEL), "size": 9}]},
        {"config": 7},
        {"schemaVersion": None},
    ],
    ids=repr,
)
def test_manifests_of_any_shape_end_in_an_error_of_ours(server, pull, body):
    """CVE-2025-1975."""
    layer = {"mediaType": rs.OLLAMA + "model", "digest": rs.sha256(MODEL), "size": len(MODEL)}
    whole = {"schemaVersion": 2, "layers": [layer], **body}
    server.publish_raw("a/b", "latest", json.dumps(whole).encode())
    with pytest.raises((SourceFailed, Unsupported)):
        pull.find(f"{server.host}/a/b")


def test_a_config_that_is_missing_at_the_registry_is_an_error_of_ours(server, pull):
    put(server)
    server.repositories["library/tiny"] = {rs.sha256(MODEL)}
    with pytest.raises(InhouseError):
        pull.find(f"{server.host}/library/tiny")


def test_a_layer_whose_size_lies_is_refused(server, pull):
    server.publish("a/b", "latest", [rs.Layer(rs.OLLAMA + "model", MODEL, changed={"size": len(MODEL) + 7})])
    with pytest.raises(SourceFailed):
        pull.all(f"{server.host}/a/b")
    server.publish("a/b", "latest", [rs.Layer(rs.OLLAMA + "model", MODEL, changed={"size": len(MODEL) - 7})])
    with pytest.raises(SourceFailed):
        pull.all(f"{server.host}/a/b")


# The user's own Ollama store


def test_a_copy_in_the_ollama_store_is_used_where_it_lies(server, tmp_path):
    from support.ollamastore import OllamaStore

    store = OllamaStore(tmp_path / "ollama")
    store.put("registry.ollama.ai/library/tiny/latest", rs.ollama_layers(MODEL, system="Hi."))
    pull = Pull(tmp_path, environ={"OLLAMA_MODELS": str(store.path)}, mirror=f"http://{server.host}")
    listing = pull.find("ollama:tiny")
    assert server.requests == []
    assert "Ollama store" in listing.said
    assert listing.texts.system == "Hi."
    assert pull.source.missing(listing.assets[0], pull.folder) == 0
    before = store.tree()
    got = pull.fetch(listing.assets[0])
    assert got.in_place
    assert got.path == store.blob(MODEL)
    assert (got.sha256, got.size) == (hashlib.sha256(MODEL).hexdigest(), len(MODEL))
    assert store.tree() == before


def test_a_fresh_pull_asks_the_registry(server, tmp_path):
    from support.ollamastore import OllamaStore

    store = OllamaStore(tmp_path / "ollama")
    store.put("registry.ollama.ai/library/tiny/latest", rs.ollama_layers(MODEL))
    put(server, models=(OTHER,))
    pull = Pull(
        tmp_path, environ={"OLLAMA_MODELS": str(store.path)}, mirror=f"http://{server.host}", fresh=True
    )
    assert pull.all("ollama:tiny")[0].path.read_bytes() == OTHER


def test_a_file_in_place_that_changed_its_size_is_refused(tmp_path, pull):
    path = tmp_path / "blob"
    path.write_bytes(MODEL + b"x")
    with pytest.raises(SourceFailed, match="changed"):
        pull.fetch(Asset("model", "model.gguf", len(MODEL), "a" * 64, path))
