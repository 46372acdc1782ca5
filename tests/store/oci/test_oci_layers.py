"""What layers of every dialect are together."""

from __future__ import annotations

import pytest

from inhouse.core.errors import SourceFailed, Unsupported
from inhouse.store.oci import layers, media
from inhouse.store.oci.manifest import Descriptor, Manifest

_count = iter(range(1, 10**6))


def blob(kind, name="", key=media.FILEPATH, size=5, **annotations):
    notes = ({key: name} if name else {}) | annotations
    return Descriptor(kind, f"sha256:{next(_count):064x}", size, annotations=notes)


def of(*blobs, config=None):
    return layers.contents(Manifest(blobs), config or {})


def files(contents):
    return [(piece.role, piece.file) for piece in contents.pieces]


def test_ollama_layers_become_files_and_texts():
    o = media.OLLAMA
    kinds = ["model", "projector", "adapter", "adapter", "draft", "template", "system", "params", "messages",
             "license", "license", "embed", "json", "future"]  # fmt: skip
    found = of(*(blob(o + kind) for kind in kinds))
    assert files(found) == [
        ("model", "model.gguf"),
        ("projector", "mmproj.gguf"),
        ("adapter", "adapter.gguf"),
        ("adapter", "adapter-2.gguf"),
        ("draft", "draft.gguf"),
    ]
    assert [meaning for meaning, _ in found.texts] == [
        "template", "system", "params", "messages", "licence", "licence"
    ]  # fmt: skip


def test_repeated_model_layers_are_the_parts_of_a_split_model_in_order():
    parts = [blob(media.OLLAMA + "model") for _ in range(3)]
    found = of(*parts)
    assert files(found) == [("model", f"model-0000{i}-of-00003.gguf") for i in (1, 2, 3)]
    assert [piece.blob for piece in found.pieces] == parts


def test_named_parts_come_in_the_order_of_their_numbers():
    kind = media.DOCKER_AI + "gguf.v3"
    found = of(blob(kind, "x-00002-of-00002.gguf"), blob(kind, "sub/x-00001-of-00002.gguf"))
    assert files(found) == [("model", "x-00001-of-00002.gguf"), ("model", "x-00002-of-00002.gguf")]


@pytest.mark.parametrize(
    "names",
    [
        ("a-Q4_0.gguf", "a-Q8_0.gguf"),
        ("x-00001-of-00003.gguf", "x-00002-of-00003.gguf"),
        ("x-00001-of-00002.gguf", "y-00002-of-00002.gguf"),
        ("x-00001-of-00002.gguf", "x-00001-of-00002.gguf"),
        ("x-00001-of-00002.gguf", ""),
    ],
)
def test_several_models_in_one_artifact_are_not_guessed_among(names):
    with pytest.raises(Unsupported, match="several models"):
        of(*(blob(media.CNCF + "weight.v1.gguf", name) for name in names))


def test_docker_model_layers():
    d = media.DOCKER_AI
    found = of(
        blob(d + "gguf.v3"), blob(d + "mmproj"), blob(d + "gguf.v3.lora"), blob(d + "license"),
        blob(media.JINJA), blob(d + "gguf.v3.mmproj"),
    )  # fmt: skip
    assert files(found) == [
        ("model", "model.gguf"),
        ("projector", "mmproj.gguf"),
        ("projector", "mmproj-2.gguf"),
        ("adapter", "adapter.gguf"),
    ]
    assert [meaning for meaning, _ in found.texts] == ["licence", "jinja"]


def test_a_modelpack_is_told_by_file_paths():
    found = of(
        blob(media.CNCF_WEIGHT, "weights/model.gguf"),
        blob(media.CNCF_WEIGHT, "mmproj-F16.gguf"),
        blob(media.CNCF_WEIGHT, "my.gguf", **{media.ROLE: "adapter", media.SCALE: "0.5"}),
        blob(media.CNCF_WEIGHT, "small.gguf", **{media.ROLE: "draft"}),
        blob(media.CNCF_DOC, "LICENSE"),
        blob(media.CNCF_DOC, "README.md"),
        blob(media.CNCF_WEIGHT_CONFIG, "tokenizer.json"),
        blob(media.CNCF_WEIGHT_CONFIG, "chat_template.jinja"),
        blob(media.CNCF + "code.v1.raw", "run.py"),
        blob(media.CNCF + "dataset.v1.tar", "d.tar"),
    )
    assert files(found) == [
        ("model", "model.gguf"),
        ("projector", "mmproj-F16.gguf"),
        ("adapter", "my.gguf"),
        ("draft", "small.gguf"),
    ]
    assert found.pieces[2].scale == 0.5
    assert [meaning for meaning, _ in found.texts] == ["licence", "jinja"]


def test_a_role_that_is_no_role_of_files_is_not_believed():
    found = of(blob(media.CNCF_WEIGHT, "m.gguf", **{media.ROLE: "system"}))
    assert files(found) == [("model", "m.gguf")]


def test_an_unnamed_raw_weight_is_what_the_config_says():
    found = of(blob(media.CNCF_WEIGHT), config={"config": {"format": "GGUF"}})
    assert files(found) == [("model", "model.gguf")]
    with pytest.raises(Unsupported, match="none of its layers"):
        of(blob(media.CNCF_WEIGHT))


def test_safetensors_come_with_their_configuration_and_nothing_that_runs():
    w, c = media.CNCF_WEIGHT, media.CNCF_WEIGHT_CONFIG
    found = of(
        blob(w, "model-00001-of-00002.safetensors"),
        blob(w, "model-00002-of-00002.safetensors"),
        blob(w, "pytorch_model.bin"),
        blob(c, "config.json"),
        blob(c, "1_Pooling/config.json"),
        blob(c, "modeling_evil.py"),
    )
    assert files(found) == [
        ("weights", "model-00001-of-00002.safetensors"),
        ("weights", "model-00002-of-00002.safetensors"),
        ("config", "config.json"),
        ("config", "1_Pooling/config.json"),
    ]


def test_one_safetensors_layer_needs_no_name_more_do():
    kind = media.DOCKER_AI + "safetensors"
    assert files(of(blob(kind))) == [("weights", "model.safetensors")]
    with pytest.raises(SourceFailed, match="has no file name"):
        of(blob(kind), blob(kind))


@pytest.mark.parametrize("kind", ["application/octet-stream", "application/vnd.oci.image.layer.v1.tar", ""])
def test_a_plain_artifact_is_told_by_its_titles(kind):
    found = of(blob(kind, "tiny.gguf", media.TITLE), blob(kind, "notes.txt", media.TITLE), blob(kind))
    assert files(found) == [("model", "tiny.gguf")]


@pytest.mark.parametrize(
    "blobs, config, said",
    [
        ([media.OLLAMA + "tensor", media.OLLAMA + "json"], {}, "MLX"),
        ([media.OLLAMA + "model", media.OLLAMA + "tensor"], {}, "MLX"),
        ([media.OLLAMA + "model"], {"model_format": "safetensors"}, "MLX"),
        ([media.CNCF + "weight.v1.tar"], {}, "tar archives"),
        ([media.CNCF + "weight.v1.tar+gzip"], {}, "tar archives"),
        ([media.DOCKER_AI + "safetensors", media.DOCKER_AI + "vllm.config.tar"], {}, "tar archives"),
        ([media.DOCKER_AI + "dduf"], {}, "DDUF"),
        (["application/vnd.docker.image.rootfs.diff.tar.gzip"], {}, "none of its layers"),
        ([media.OLLAMA + "template"], {}, "none of its layers"),
        ([media.OLLAMA + "adapter"], {}, "none of its layers"),
    ],
)
def test_what_cannot_run_is_refused_with_the_reason(blobs, config, said):
    with pytest.raises(Unsupported, match=said) as caught:
        of(*(blob(kind) for kind in blobs), config=config)
    assert caught.value.hint


def test_a_gguf_beside_archived_extras_is_taken():
    found = of(blob(media.DOCKER_AI + "gguf.v3"), blob(media.CNCF + "weight.config.v1.tar"))
    assert files(found) == [("model", "model.gguf")]


@pytest.mark.parametrize(
    "path",
    ["../x.gguf", "/x.gguf", "a/../x.gguf", "a//x.gguf", "a\\x.gguf", "C:x.gguf", "x\0.gguf", "x\n.gguf",
     "a./x.gguf", "a /x.gguf", "é.gguf", "x" * 300 + ".gguf", "a/" * 250 + "x.gguf", " x.gguf"],
)  # fmt: skip
def test_a_file_name_cannot_leave_its_folder(path):
    with pytest.raises(SourceFailed, match=r"layers\[0\] has an unsafe file name"):
        of(blob(media.CNCF_WEIGHT, path))


@pytest.mark.parametrize(
    "names", [("config.json", "config.json"), ("config.json", "CONFIG.json"), ("a.json", "a.json/b.json")]
)
def test_two_files_cannot_have_one_name(names):
    weights = blob(media.CNCF_WEIGHT, "m.safetensors")
    with pytest.raises(SourceFailed, match="same name"):
        of(weights, *(blob(media.CNCF_WEIGHT_CONFIG, name) for name in names))


def test_an_empty_weight_and_too_many_texts_are_refused():
    with pytest.raises(SourceFailed, match="is empty"):
        of(blob(media.OLLAMA + "model", size=0))
    with pytest.raises(SourceFailed, match="65 texts"):
        of(blob(media.OLLAMA + "model"), *(blob(media.OLLAMA + "license") for _ in range(65)))


@pytest.mark.parametrize("scale", ["x", "nan", "inf", ""])
def test_a_scale_is_a_number(scale):
    with pytest.raises(SourceFailed, match="scale"):
        of(blob(media.OLLAMA + "model"), blob(media.OLLAMA + "adapter", **{media.SCALE: scale}))


def test_cloud_models_have_nothing_to_fetch():
    with pytest.raises(Unsupported, match="cloud"):
        layers.check_config({"remote_host": "https://ollama.com:443", "remote_model": "x"})
    with pytest.raises(SourceFailed, match="config is not an object"):
        layers.check_config([])
    layers.check_config({"model_format": "gguf"})


def test_parameters_and_case_of_a_media_type_do_not_count():
    assert media.meaning("Application/vnd.ollama.image.model; x=y") == "model"
