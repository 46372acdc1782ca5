"""Builds held against the wheel: which of them, with which model, and what is kept."""

from __future__ import annotations

from typing import Any

import pytest

from inhouse.core.errors import Conflict, NotFound
from inhouse.core.models import Card, Footprint, ModelName, Tuning
from inhouse.engines.variants.choice import Candidate
from inhouse.engines.variants.versus import (
    figure_of,
    loaded_by,
    measurable,
    model_for,
    row,
    worth_measuring,
)

WHEEL = Candidate("wheel", "wheel", "package", version="w 1")
NATIVE = Candidate("native", "server", "shelf", version="n 1")
BROKEN = Candidate("broken", "server", "shelf", why="it does not start")
CUDA = Candidate("cuda", "server", "shelf", backend="cuda")


def card(name: str, size: int = 1, **more: Any) -> Card:
    given: dict[str, Any] = {"capabilities": frozenset({"completion"}), **more}
    return Card(ModelName.parse(name), name * 8, "/m", "1" * 64, size, Footprint(1, 1), **given)


def test_the_smallest_model_that_talks_is_measured_with() -> None:
    models = [
        card("big", 9),
        card("small", 2),
        card("tensors", 0, format="safetensors"),
        card("e", 1, capabilities=frozenset({"embedding"})),
    ]
    assert str(model_for(models, "").name) == "small:latest"
    assert str(model_for(models, "big").name) == "big:latest"


@pytest.mark.parametrize("name", ["tensors", "other"])
def test_a_model_that_is_named_must_be_here(name: str) -> None:
    with pytest.raises(NotFound, match="no such GGUF model"):
        model_for([card("m"), card("tensors", format="safetensors")], name)


def test_without_a_model_it_says_how_to_get_one() -> None:
    with pytest.raises(Conflict) as caught:
        model_for([], "")
    assert "inhouse pull" in caught.value.hint


def test_the_wheel_is_always_among_what_is_measured() -> None:
    here = [NATIVE, BROKEN, WHEEL, CUDA]
    assert [one.key for one in measurable(here, ())] == ["wheel", "native", "cuda"]
    assert [one.key for one in measurable(here, ("cuda", "cuda"))] == ["wheel", "cuda"]
    with pytest.raises(NotFound, match="cannot be used"):
        measurable(here, ("broken",))


def test_one_build_alone_is_held_against_nothing() -> None:
    with pytest.raises(Conflict, match="nothing to compare"):
        measurable([WHEEL, BROKEN], ())


def test_only_usable_builds_for_the_cpu_are_measured_by_themselves() -> None:
    here = [WHEEL, NATIVE, BROKEN, CUDA]
    assert [one.key for one in here if worth_measuring(here, one.key)] == ["wheel", "native"]
    assert not worth_measuring(here, "missing")


def test_it_is_loaded_on_its_build_with_a_single_short_slot() -> None:
    found = loaded_by(Tuning(kv_cache_type="q8_0", slots=8), "native")
    assert found == Tuning(kv_cache_type="q8_0", slots=1, context_length=2048, engine="native")


def test_figures_are_kept_of_all_but_the_wheel() -> None:
    here = [WHEEL, NATIVE]
    figure = figure_of(NATIVE, here, (2.0, 1.0), "m:latest", at=5.0)
    assert figure is not None
    assert (figure.build, figure.wheel, figure.prefill, figure.at) == ("n 1", "w 1", 2.0, 5.0)
    assert figure_of(WHEEL, here, (1.0, 1.0), "m", at=5.0) is None
    assert figure_of(NATIVE, [NATIVE, CUDA], (1.0, 1.0), "m", at=5.0) is None
    assert row("native", (100.04, 9.96), figure) == {
        "build": "native",
        "prefill": 100.0,
        "decode": 10.0,
        "times_prefill": 2.0,
        "times_decode": 1.0,
        "speed": round(figure.speed, 3),
    }
    assert row("wheel", (50.0, 5.0), None) == {"build": "wheel", "prefill": 50.0, "decode": 5.0}
