"""Models that differ in their adapters only are one worker for the fleet."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from inhouse.core.errors import BadRequest, InvalidName, ModelNotFound, Unsupported
from inhouse.core.messages import Message, Text
from inhouse.core.models import Card, CardFile, Footprint, ModelName, Tuning
from inhouse.core.requests import Chat, Complete, Embed, Rerank, Unload
from inhouse.engines.adapters import attached, host, target

WEIGHTS = CardFile("model", "/blobs/w", "w.gguf", "sha256:" + "a" * 64, 1000)
LORA = {n: CardFile("adapter", f"/blobs/{n}", f"{n}.gguf", f"sha256:{n * 64}", 100) for n in "123"}
CHAT = Chat(model="m", messages=(Message("user", (Text("x"),)),))


def card(name: str, *adapters: str, at: float = 0.0, scale: float = 1.0, **more: Any) -> Card:
    own = tuple(dataclasses.replace(LORA[n], scale=scale) for n in adapters)
    fields: dict[str, Any] = {
        "weights_digest": WEIGHTS.digest,
        "capabilities": frozenset({"completion", "chat"}),
        "files": (WEIGHTS, *own),
        "modified_at": at,
    }
    return Card(
        ModelName.parse(name),
        f"digest of {name}",
        WEIGHTS.path,
        size=1,
        footprint=Footprint(1000, 1),
        **fields | more,
    )


BASE, ONE, TWO = card("base"), card("one", "1", at=1), card("two", "2", at=2, scale=0.5)
ALL = [BASE, ONE, TWO]


def adapters(found: Card) -> list[tuple[str, float]]:
    return [(file.digest[7], file.scale) for file in found.of_role("adapter")]


def test_without_any_adapter_a_model_is_loaded_as_it_is():
    assert host(BASE, [BASE, card("copy")]) is BASE


def test_base_and_adapters_go_to_one_worker_that_holds_all_switched_off():
    found = host(BASE, ALL)
    assert host(ONE, ALL) == host(TWO, ALL) == found
    assert found.name == BASE.name
    assert found.digest not in {one.digest for one in ALL}
    assert adapters(found) == [("1", 0.0), ("2", 0.0)]
    assert found.of_role("model") == (WEIGHTS,)


def test_adapters_alone_share_too():
    assert host(ONE, [ONE, TWO]) == host(TWO, [ONE, TWO])
    assert adapters(host(ONE, [ONE])) == [("1", 0.0)]


def test_a_new_adapter_is_another_worker():
    assert host(BASE, ALL).digest != host(BASE, [*ALL, card("three", "3")]).digest
    assert host(BASE, ALL).digest == host(BASE, [*ALL, card("again", "2", at=9)]).digest


@pytest.mark.parametrize(
    "other",
    [
        {"weights_digest": "sha256:" + "b" * 64},
        {"template": "{{ x }}", "own_template": True},
        {"tuning": Tuning(kv_cache_type="q8_0")},
        {"capabilities": frozenset({"embedding"})},
        {"files": (WEIGHTS, CardFile("projector", "/p", "p", "sha256:" + "c" * 64, 1), LORA["1"])},
    ],
    ids=["weights", "template", "tuning", "embedding", "projector"],
)
def test_what_is_loaded_differently_has_a_worker_of_its_own(other):
    different = card("different", "1", **other)
    cards = [*ALL, different]
    assert host(different, cards).digest != host(BASE, cards).digest


def test_how_long_a_model_stays_and_what_it_says_by_default_is_no_difference():
    other = card(
        "other", "1", tuning=Tuning(keep_alive=5.0), defaults={"temperature": 0.1}, system="Be brief."
    )
    assert host(other, [*ALL, other]) == host(BASE, [*ALL, other])


def test_too_many_adapters_are_loaded_with_their_models_alone():
    many = [
        card(
            f"m{i}", at=i, files=(WEIGHTS, dataclasses.replace(LORA["1"], digest=f"sha256:{i:064}", size=400))
        )
        for i in range(4)
    ]
    shared = host(many[0], many)
    assert len(shared.of_role("adapter")) == 2
    assert host(many[1], many) == shared
    assert host(many[3], many) is many[3]


def test_other_formats_share_nothing():
    tensors = card("t", "1", format="safetensors")
    assert host(tensors, [tensors]) is tensors


def test_embeddings_of_a_model_with_an_adapter_need_a_worker_of_their_own():
    assert target(Embed(model="one", inputs=("x",)), ONE, ALL) is ONE
    assert target(Rerank(model="one", pairs=(("a", "b"),)), ONE, ALL) is ONE
    assert target(Embed(model="base", inputs=("x",)), BASE, ALL) == host(BASE, ALL)
    assert target(CHAT, ONE, ALL) == target(Unload(model="one"), ONE, ALL) == host(BASE, ALL)


# what a request brings


def find(name: str) -> Card:
    return {
        "base": BASE,
        "one": ONE,
        "two": TWO,
        "far": card("far", "3", weights_digest="sha256:" + "b" * 64),
    }[name]


def asked(model: Card, *wanted: tuple[str, float]) -> dict[str, float]:
    request = dataclasses.replace(CHAT, adapters=wanted)
    return {digest[7]: scale for digest, scale in attached(request, model, find)}


def test_a_model_brings_its_own_adapters_at_their_scales():
    assert asked(BASE) == {}
    assert asked(TWO) == {"2": 0.5}


def test_a_request_adds_adapters_and_turns_its_models_own():
    assert asked(BASE, ("one", 0.5), ("two", 2.0)) == {"1": 0.5, "2": 1.0}
    assert asked(ONE, ("one", 0.0)) == {"1": 0.0}


def test_a_model_without_adapters_or_of_other_weights_is_refused_by_its_place():
    with pytest.raises(BadRequest) as caught:
        asked(BASE, ("one", 1.0), ("base", 1.0))
    assert caught.value.param == "adapters[1].name"
    with pytest.raises(BadRequest) as caught:
        asked(BASE, ("far", 1.0))
    assert caught.value.param == "adapters[0].name"
    assert "weights" in caught.value.message


@pytest.mark.parametrize("error", [ModelNotFound("lost"), InvalidName("Not a name.", param="model")])
def test_a_name_that_is_none_is_told_by_its_place_and_not_as_the_requests_model(error):
    def find(name: str) -> Card:
        if name == "lost":
            raise error
        return ONE

    request = dataclasses.replace(CHAT, adapters=(("one", 1.0), ("lost", 1.0)))
    with pytest.raises(type(error)) as caught:
        attached(request, BASE, find)
    assert caught.value.param == "adapters[1].name"


@pytest.mark.parametrize(
    "request_, model",
    [
        (Embed(model="m", inputs=("x",), adapters=(("one", 1.0),)), BASE),
        (Complete(model="m", prompts=("x",), adapters=(("one", 1.0),)), card("t", format="safetensors")),
        (Complete(model="m", prompts=("x",), adapters=(("one", 1.0),)), card("fake", files=())),
    ],
)
def test_where_nothing_can_be_attached_it_is_said(request_, model):
    with pytest.raises(Unsupported) as caught:
        attached(request_, model, find)
    assert caught.value.param == "adapters"
