"""What a plan is made for: models that are here, models that are not, and other quantisations of them."""

from __future__ import annotations

import dataclasses

import pytest

from inhouse.core.errors import BadRequest, Unsupported
from inhouse.core.models import Card, CardFile, Footprint, ModelName
from inhouse.machine.shape import Tensor
from inhouse.planning.found import Found, check_stored, requantised, supposed

CARD = Card(
    ModelName.parse("m"),
    "d" * 64,
    "/m.gguf",
    "sha256:w",
    9000,
    Footprint(9000, 32),
    capabilities=frozenset({"completion"}),
    parameters=1024 * 3,
    quantization="F16",
    context_length=4096,
    files=(CardFile("model", "/m.gguf", "m.gguf", "sha256:w", 9000),),
    metadata={
        "general.architecture": "llama",
        "llama.block_count": 1,
        "llama.attention.head_count": [8, 8],
        "llama.attention.head_count_kv": 2,
        "llama.embedding_length": 256,
    },
)
TENSORS = (
    Tensor("token_embd.weight", (256, 4), "F16", 2048),
    Tensor("blk.0.ffn_up.weight", (256, 8), "F16", 4096),
)
FOUND = Found(CARD, TENSORS, "stored")


def test_the_rules_of_quantising_ask_the_header() -> None:
    assert (FOUND.facts.tied, FOUND.subject.trained) == (True, 4096)
    untied = dataclasses.replace(FOUND, tensors=(*TENSORS, Tensor("output.weight", (256, 4), "F16", 2048)))
    assert not untied.facts.tied


def test_what_has_no_files_or_another_format_is_not_planned() -> None:
    check_stored(CARD)
    with pytest.raises(Unsupported, match="built into its engine"):
        check_stored(dataclasses.replace(CARD, files=()))
    with pytest.raises(Unsupported) as caught:
        check_stored(dataclasses.replace(CARD, format="safetensors"))
    assert "inhouse convert m:latest" in caught.value.hint


def test_another_quantisation_has_another_size() -> None:
    assert requantised(FOUND, "f16") is FOUND
    small = requantised(FOUND, "q8_0")
    assert small.card.quantization == "Q8_0"
    assert small.card.size == sum(tensor.size for tensor in small.tensors) < 6144
    assert small.card.footprint.kv_per_token == 32


def test_a_size_that_cannot_be_told_is_refused() -> None:
    with pytest.raises(BadRequest):
        requantised(FOUND, "Q9")
    with pytest.raises(Unsupported):
        requantised(dataclasses.replace(FOUND, tensors=()), "Q8_0")


def test_of_a_model_that_is_not_known_the_weights_alone_are_planned() -> None:
    found = supposed(CARD, 77)
    assert (found.source, found.download, found.tensors) == ("catalogue", 77, ())
    assert "not known" in found.unknown[0]


def test_a_model_that_is_known_has_the_shape_of_its_header_to_come() -> None:
    card = dataclasses.replace(
        CARD, parameters=8_030_261_248, quantization="UD-Q4_K_M", size=4_920_000_000, metadata={}
    )
    found = supposed(card, 5)
    assert found.unknown == ()
    assert (found.card.family, found.card.vocabulary) == ("llama", 128_256)
    assert len(found.shape.layers) == 32
