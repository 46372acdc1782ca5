"""The shapes of well-known models: each row gives exactly the parameters and about the size of the file."""

from __future__ import annotations

import pytest

from inhouse.machine.shape import shape_of
from inhouse.planning import known
from inhouse.planning.mixes import BASES
from inhouse.store import catalogue

ENTRIES = [entry for entry in catalogue.entries() if known.find(entry.parameters)]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_a_model_of_the_catalogue_has_the_size_that_its_shape_gives(entry):
    found = known.find(entry.parameters)
    assert found is not None
    assert found.parameters == entry.parameters
    assert entry.quantization in BASES
    size = sum(tensor.size for tensor in known.nearest(found, entry.quantization, entry.size))
    assert size == pytest.approx(entry.size, rel=0.03)  # the rest is the vocabulary
    assert size < entry.size


def test_every_row_is_used():
    counts = {entry.parameters for entry in catalogue.entries()}
    assert [one for one in known.MODELS if known._count(one) not in counts] == []


def test_the_shape_is_that_of_a_header():
    llama = known.find(8_030_261_248)
    assert llama is not None
    shape = shape_of(llama.metadata, llama.tensors)
    assert (len(shape.layers), shape.vocabulary, shape.width) == (32, 128_256, 4096)
    assert {(layer.k, layer.v) for layer in shape.layers} == {(1024, 1024)}


def test_gemma_has_windows_in_five_of_six_layers():
    gemma = known.find(999_885_952)
    assert gemma is not None
    windows = [layer.window for layer in shape_of(gemma.metadata, gemma.tensors).layers]
    assert windows[:6] == [512] * 5 + [0]


def test_of_a_mixture_a_tenth_is_read_for_a_token():
    mixture = known.find(30_532_122_624)
    assert mixture is not None
    shape = shape_of(mixture.metadata, mixture.tensors)
    assert shape.read_per_token < 0.12 * shape.weights


@pytest.mark.parametrize("parameters", [0, 1, 8_030_261_249])
def test_what_is_not_in_the_table_is_not_known(parameters):
    assert known.find(parameters) is None
