"""Pushing models to a registry that speaks the real protocol."""

from __future__ import annotations

import base64
import hashlib
import json

import pytest

from inhouse.core.errors import BadRequest, Conflict, DigestMismatch, SourceFailed, StoreError, Unsupported
from inhouse.core.models import Card, CardFile, Footprint, ModelName
from inhouse.store.oci import package, push, upload
from inhouse.store.oci.settings import Settings
from inhouse.store.sources.base import Policy, Texts, Watch
from inhouse.store.sources.registry import Registry
from support import registryserver as rs
from support import tiny_gguf

MODEL = tiny_gguf.model(1)
OTHER = tiny_gguf.model(2)
SAID = Texts("{{ .Prompt }}", "Be kind.", "MIT", (("user", "hi"),), {"temperature": 0.5, "stop": ["x"]})
JINJA = Texts("{% for m in messages %}{{ m.content }}{% endfor %}")


@pytest.fixture
def server():
    with rs.RegistryServer() as server:
        yield server


class House:
    """Cards over files of a test's folder, and a push of them; what was said is kept."""

    def __init__(self, tmp_path):
        self.tmp_path = tmp_path
        self.config = Settings(home=tmp_path, pause=0.01)
        self.said = []
        self.watch = Watch(self.said.append, Policy(stall=5.0), trusted=True)
        self.source = Registry(self.config)

    def file(self, role, file, data, scale=1.0):
        path = self.tmp_path / f"{hashlib.sha256(data).hexdigest()}.blob"
        path.write_bytes(data)
        return CardFile(role, str(path), file, rs.sha256(data), len(data), scale)

    def card(self, *files, origin="", format="gguf"):
        files = files or (self.file("model", "model.gguf", MODEL),)
        return Card(
            ModelName.parse("tiny"), "0" * 64, "", "", 0, Footprint(1, 1), format=format, family="llama",
            parameters=1_500_000_000, quantization="Q4_K_M", files=files, origin=origin,
        )  # fmt: skip

    def push(self, card, text, said=SAID):
        push.push(card, self.source.parse(text), said, self.watch, self.config)

    def pull(self, text, folder="pulled"):
        listing = self.source.find(self.source.parse(text), self.watch)
        out = []
        for asset in listing.assets:
            place = self.tmp_path / folder / asset.sha256
            place.mkdir(parents=True)
            out.append((asset, self.source.fetch(asset, place, self.watch)))
        return listing, out


@pytest.fixture
def house(tmp_path):
    return House(tmp_path)


def everything(house):
    return house.card(
        house.file("model", "big-00001-of-00002.gguf", MODEL),
        house.file("model", "big-00002-of-00002.gguf", OTHER),
        house.file("projector", "mmproj-x.gguf", b"projector"),
        house.file("adapter", "my-lora.gguf", b"adapter", 0.5),
        house.file("draft", "small.gguf", b"draft"),
    )


@pytest.mark.parametrize("prefix", ["", "oci://"])
@pytest.mark.parametrize("said", [SAID, JINJA, Texts()], ids=["go", "jinja", "none"])
def test_what_is_pushed_comes_back_the_same(server, house, prefix, said):
    card = everything(house)
    text = f"{prefix}{server.host}/team/tiny:v1"
    house.push(card, text, said)
    listing, got = house.pull(text)
    assert listing.texts == said
    assert [(a.role, f"sha256:{g.sha256}", g.size) for a, g in got] == [
        (f.role, f.digest, f.size) for f in card.files
    ]
    assert [a.scale for a, _ in got] == [f.scale for f in card.files]
    if prefix:
        assert [a.file for a, _ in got] == [f.file for f in card.files]


def test_a_second_push_sends_nothing_but_the_manifest_and_makes_the_same_one(server, house):
    text = f"{server.host}/team/tiny:v1"
    house.push(house.card(), text)
    first = house.pull(text)[0].revision
    server.requests.clear()
    house.push(house.card(), text)
    assert not server.asked("POST", "") + server.asked("PATCH", "")
    assert [seen.path for seen in server.asked("PUT", "")] == ["/v2/team/tiny/manifests/v1"]
    assert house.pull(text, "again")[0].revision == first


def test_progress_is_told_as_ollama_tells_it(server, house):
    house.push(house.card(), f"{server.host}/team/tiny:v1")
    statuses = [event.status for event in house.said]
    assert statuses[0] == "retrieving manifest"
    assert statuses[-2:] == ["pushing manifest", "success"]
    digest = rs.sha256(MODEL)
    shown = [event for event in house.said if event.status == f"pushing {digest[7:19]}"]
    assert {event.digest for event in shown} == {digest}
    assert shown[-1].completed == shown[-1].total == len(MODEL)
    assert [event.completed for event in shown] == sorted(event.completed for event in shown)


def test_ollamas_form_is_what_its_client_pushes(server, house):
    house.push(house.card(), f"{server.host}/team/tiny:v1")
    kind, body = server.manifests[("team/tiny", "v1")]
    data = json.loads(body)
    assert kind == data["mediaType"] == rs.DOCKER_MANIFEST
    assert [layer["mediaType"].removeprefix(rs.OLLAMA) for layer in data["layers"]] == [
        "model", "template", "system", "params", "messages", "license",
    ]  # fmt: skip
    config = json.loads(server.blobs[data["config"]["digest"]])
    assert config == {
        "model_format": "gguf",
        "model_family": "llama",
        "model_families": ["llama"],
        "model_type": "1.5B",
        "file_type": "Q4_K_M",
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in data["layers"]]},
    }


def test_the_oci_form_is_a_modelpack(server, house):
    house.push(house.card(), f"oci://{server.host}/team/tiny:v1")
    kind, body = server.manifests[("team/tiny", "v1")]
    data = json.loads(body)
    assert kind == rs.OCI_MANIFEST
    assert data["artifactType"] == "application/vnd.cncf.model.manifest.v1+json"
    assert data["config"]["mediaType"] == "application/vnd.cncf.model.config.v1+json"
    assert data["layers"][0]["mediaType"] == "application/vnd.cncf.model.weight.v1.raw"
    assert data["layers"][0]["annotations"] == {rs.FILEPATH: "model.gguf", rs.TITLE: "model.gguf"}
    assert data["layers"][-1]["mediaType"] == "application/vnd.cncf.model.doc.v1.raw"
    assert all(layer["annotations"][rs.FILEPATH] for layer in data["layers"])
    config = json.loads(server.blobs[data["config"]["digest"]])
    assert config["modelfs"] == {"type": "layers", "diffIds": [layer["digest"] for layer in data["layers"]]}
    assert config["config"] == {
        "architecture": "llama", "format": "gguf", "paramSize": "1.5B", "quantization": "Q4_K_M"
    }  # fmt: skip


def test_safetensors_models_go_as_a_modelpack_only(server, house):
    files = (
        house.file("weights", "model.safetensors", b"weights"),
        house.file("config", "config.json", b"{}"),
        house.file("config", "chat_template.jinja", b"theirs"),
    )
    card = house.card(*files, format="safetensors")
    with pytest.raises(Unsupported, match="GGUF models only"):
        house.push(card, f"{server.host}/team/st:v1")
    assert server.requests == []
    house.push(card, f"oci://{server.host}/team/st:v1", Texts(licence="MIT"))
    listing, got = house.pull(f"oci://{server.host}/team/st:v1")
    assert [(a.role, a.file) for a, _ in got] == [("weights", "model.safetensors"), ("config", "config.json")]
    assert listing.texts.licence == "MIT"


def test_blobs_of_the_same_registry_are_mounted(server, house):
    house.push(house.card(), f"{server.host}/team/tiny:v1")
    server.requests.clear()
    house.push(house.card(origin=f"{server.host}/team/tiny:v1"), f"{server.host}/team/copy:v1")
    assert {seen.query["from"] for seen in server.asked("POST", "uploads")} == {"team/tiny"}
    assert not server.asked("PATCH", "")
    assert house.pull(f"{server.host}/team/copy:v1")[1][0][1].path.read_bytes() == MODEL


@pytest.mark.parametrize(
    "origin", ["pypi:x==1", "hf.co/a/b:c", "other.example/a/b", "ollama:x", "nonsense::", ""]
)
def test_blobs_are_mounted_from_nowhere_else(server, house, origin):
    server.faults.no_mount = True
    house.push(house.card(origin=origin), f"{server.host}/team/copy:v1")
    assert not [seen for seen in server.asked("POST", "uploads") if seen.query]


def test_a_registry_that_mounts_nothing_gets_the_bytes(server, house):
    house.push(house.card(), f"{server.host}/team/tiny:v1")
    server.faults.no_mount = True
    house.push(house.card(origin=f"{server.host}/team/tiny:v1"), f"{server.host}/team/copy:v1")
    assert rs.sha256(MODEL) in server.repositories["team/copy"]


def small_parts(monkeypatch, size):
    monkeypatch.setattr(upload, "PART_LEAST", size)
    monkeypatch.setattr(upload, "PART_MOST", size)


def test_large_blobs_go_in_parts_with_the_etag_of_ollamas_client(server, house, monkeypatch):
    small_parts(monkeypatch, len(MODEL) // 3 + 1)
    house.push(house.card(), f"{server.host}/team/tiny:v1", Texts())
    spans = [seen.headers["content-range"] for seen in server.asked("PATCH", "")]
    step = len(MODEL) // 3 + 1
    assert spans == [f"{i}-{min(i + step, len(MODEL)) - 1}" for i in range(0, len(MODEL), step)]
    sums = b"".join(hashlib.md5(MODEL[i : i + step]).digest() for i in range(0, len(MODEL), step))
    last = next(seen for seen in server.asked("PUT", "uploads") if seen.query["digest"] == rs.sha256(MODEL))
    assert last.query["etag"] == f"{hashlib.md5(sums).hexdigest()}-3"
    assert last.query["_state"] == str(len(MODEL))


def test_an_upload_that_breaks_off_goes_on_where_it_was(server, house, monkeypatch):
    small_parts(monkeypatch, len(MODEL) // 2 + 1)
    server.faults.break_patch = 100
    house.push(house.card(), f"{server.host}/team/tiny:v1", Texts())
    spans = [seen.headers["content-range"].partition("-")[0] for seen in server.asked("PATCH", "")]
    assert spans[:2] == ["0", "100"]
    assert server.asked("GET", "/uploads/")
    assert server.blobs[rs.sha256(MODEL)] == MODEL


def test_an_upload_that_the_registry_forgot_begins_anew(server, house, monkeypatch):
    small_parts(monkeypatch, len(MODEL) // 2 + 1)
    server.faults.status = {"patch": [(416, {})], "progress": [(404, {})]}
    house.push(house.card(), f"{server.host}/team/tiny:v1", Texts())
    assert server.blobs[rs.sha256(MODEL)] == MODEL
    assert len(server.asked("POST", "uploads")) == 3  # one is the config's


def test_a_registry_without_parts_gets_it_whole(server, house):
    server.faults.no_patch = True
    house.push(house.card(), f"oci://{server.host}/team/tiny:v1")
    assert server.blobs[rs.sha256(MODEL)] == MODEL


def test_patience_with_an_upload_has_an_end(server, house):
    server.faults.always["patch"] = (416, {})
    with pytest.raises(SourceFailed, match="HTTP 416"):
        house.push(house.card(), f"{server.host}/team/tiny:v1")
    assert ("team/tiny", "v1") not in server.manifests


@pytest.mark.parametrize("kind", ["upload", "patch", "put", "manifest"])
def test_a_refusal_leaves_no_model_at_the_registry(server, house, kind):
    server.faults.always[kind] = (400, {})
    with pytest.raises(SourceFailed, match="HTTP 400"):
        house.push(house.card(), f"{server.host}/team/tiny:v1")
    assert ("team/tiny", "v1") not in server.manifests
    assert "success" not in [event.status for event in house.said]


def test_an_upload_is_not_sent_to_another_machine(server, house):
    server.faults.absolute_location = f"http://{server.cdn}/take"
    with pytest.raises(SourceFailed, match="sends the upload elsewhere"):
        house.push(house.card(), f"{server.host}/team/tiny:v1")
    assert not [seen for seen in server.requests if seen.origin == "cdn"]


def test_a_file_that_changed_is_not_pushed(server, house):
    card = house.card()
    with open(card.files[0].path, "ab") as file:
        file.write(b"x")
    with pytest.raises(Conflict, match="not what it was"):
        house.push(card, f"{server.host}/team/tiny:v1")
    with open(card.files[0].path, "wb") as file:
        file.write(bytes(len(MODEL)))
    with pytest.raises(DigestMismatch, match=rs.sha256(MODEL)):
        house.push(card, f"{server.host}/team/tiny:v1")
    assert server.manifests == {}


def test_a_file_that_is_gone_is_an_error_before_anything_is_sent(server, house):
    card = house.card()
    (house.tmp_path / card.files[0].path).unlink()
    with pytest.raises(StoreError):
        house.push(card, f"{server.host}/team/tiny:v1")
    assert server.requests == []


def test_a_model_without_files_cannot_be_pushed(house):
    with pytest.raises(Conflict, match="no files"):
        package.build(Card(ModelName.parse("x"), "0" * 64, "", "", 0, Footprint(1, 1)), Texts(), "ollama")


def test_a_push_goes_to_a_tag_of_a_registry(server, house):
    from inhouse.store.sources.base import Ref

    with pytest.raises(BadRequest, match="not to a digest"):
        house.push(house.card(), f"{server.host}/team/tiny@sha256:{'0' * 64}")
    with pytest.raises(BadRequest, match="registries only"):
        push.push(house.card(), Ref(ModelName.parse("x"), "hf", "hf.co/a/b"), SAID, house.watch, house.config)


def test_a_registry_that_stores_another_manifest_is_caught(server, house):
    server.faults.digest_header = "sha256:" + "0" * 64
    with pytest.raises(SourceFailed, match="another manifest"):
        house.push(house.card(), f"{server.host}/team/tiny:v1")


def private_house(tmp_path, server, logged_in=True):
    house = House(tmp_path)
    path = tmp_path / "docker.json"
    auth = base64.b64encode(b"me:secret").decode()
    path.write_text(json.dumps({"auths": {server.host: {"auth": auth}} if logged_in else {}}))
    house.config = Settings(home=tmp_path, pause=0.01, docker=path)
    house.source = Registry(house.config)
    return house


def test_a_push_needs_a_login_and_asks_for_the_right_to_push(tmp_path):
    with rs.RegistryServer(private=True) as server:
        server.users = {"me": "secret"}
        nobody = private_house(tmp_path, server, logged_in=False)
        with pytest.raises(SourceFailed, match="refuses"):
            nobody.push(nobody.card(), f"{server.host}/team/tiny:v1")
        server.requests.clear()
        house = private_house(tmp_path, server)
        house.push(house.card(), f"{server.host}/team/tiny:v1")
        scopes = [seen.query["scope"] for seen in server.asked("GET", "/token")]
        assert scopes[-1] == "repository:team/tiny:pull,push"
        assert house.pull(f"{server.host}/team/tiny:v1")[1][0][1].path.read_bytes() == MODEL


def test_a_token_that_expires_during_an_upload_is_renewed(tmp_path, monkeypatch):
    small_parts(monkeypatch, len(MODEL) // 4)
    with rs.RegistryServer(private=True) as server:
        server.users = {"me": "secret"}
        house = private_house(tmp_path, server)

        expired = []

        def expire(event):
            if event.status.startswith("pushing") and 0 < event.completed < event.total and not expired:
                expired.append(server.tokens.clear())

        house.watch = Watch(expire, Policy(stall=5.0), trusted=True)
        house.push(house.card(), f"{server.host}/team/tiny:v1", Texts())
        assert server.blobs[rs.sha256(MODEL)] == MODEL
        assert len(server.asked("GET", "/token")) >= 2
        assert expired


def test_no_credential_of_a_push_leaves_the_registry(tmp_path):
    with rs.RegistryServer(private=True) as server:
        server.users = {"me": "secret"}
        server.faults.realm = f"http://{server.cdn}/token"
        house = private_house(tmp_path, server)
        with pytest.raises(SourceFailed, match="elsewhere"):
            house.push(house.card(), f"{server.host}/team/tiny:v1")
        assert not [seen for seen in server.requests if seen.origin == "cdn"]
