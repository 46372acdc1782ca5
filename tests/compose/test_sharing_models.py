"""Requests find the worker that their model shares, and an operator hears when that is made anew."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from inhouse.compose import sharing
from inhouse.core.errors import ModelNotFound
from inhouse.core.journal import Record
from inhouse.core.models import Card, CardFile, Footprint, ModelName
from inhouse.core.requests import Complete, Embed

WEIGHTS = CardFile("model", "/w", "w", "sha256:" + "a" * 64, 1000)


def card(name: str, *digits: str) -> Card:
    adapters = tuple(CardFile("adapter", f"/{d}", d, f"sha256:{d * 64}", 10) for d in digits)
    return Card(
        ModelName.parse(name),
        f"digest {name}",
        "/w",
        WEIGHTS.digest,
        1,
        Footprint(1000, 1),
        files=(WEIGHTS, *adapters),
        modified_at=float(len(digits)),
    )


class Known:
    """As much of a catalogue as sharing asks for."""

    def __init__(self, *cards: Card) -> None:
        self.all = list(cards)

    def cards(self) -> list[Card]:
        return list(self.all)

    def resolve(self, text: str) -> Card:
        for one in self.all:
            if one.name == ModelName.parse(text):
                return one
        raise ModelNotFound(text)


def ask(models: Any, name: str, **more: Any) -> tuple[Complete, Card]:
    own = models._catalog.resolve(name)
    request = models.dress(Complete(model=name, prompts=("x",), **more), own)
    return request, models.route(request, own).targets[0]


@pytest.fixture
def told() -> list[Record]:
    return []


@pytest.fixture
def models(told: list[Record]) -> sharing.Sharing:
    return sharing.Sharing(Known(card("base"), card("one", "1")), keep_alive=5.0, tell=told.append)  # type: ignore[arg-type]


def test_a_model_that_has_an_engine_by_its_name_shares_no_worker(told):
    base, mine, one = card("base"), card("mine"), card("one", "1")
    known: Any = Known(base, mine, one)
    apart = sharing.Sharing(known, keep_alive=5.0, tell=told.append, apart=lambda found: found == mine)
    assert ask(apart, "mine")[1] is mine
    assert apart.host(mine) is mine
    assert ask(apart, "one")[1].name == base.name
    named = sharing.Sharing(known, keep_alive=5.0, tell=told.append, apart=lambda found: found == base)
    assert ask(named, "one")[1].name != base.name, "its requests are not for the engine of another"


def test_a_request_keeps_its_model_and_goes_to_the_worker_of_the_family(models, told):
    request, host = ask(models, "one")
    assert request.target == card("one", "1")
    assert request.adapters == ((f"sha256:{'1' * 64}", 1.0),)
    assert ask(models, "base")[1] == host
    assert host.name == ModelName.parse("base")
    assert models.host(card("base")) == host
    assert told == []


def test_a_new_adapter_is_found_at_once_and_told_once(models, told):
    _, before = ask(models, "base")
    models._catalog.all.append(card("two", "2"))
    _, after = ask(models, "two")
    assert after.digest != before.digest
    assert ask(models, "base")[1] == after
    assert [(one.kind, one.model, one.facts["adapters"]) for one in told] == [("notice", "base:latest", 2)]


def test_an_adapter_by_name_is_put_as_a_digest(models):
    request, _ = ask(models, "base", adapters=(("one", 0.25),))
    assert request.adapters == ((f"sha256:{'1' * 64}", 0.25),)
    with pytest.raises(ModelNotFound):
        ask(models, "base", adapters=(("nobody", 1.0),))


def test_embeddings_of_a_model_with_an_adapter_go_their_own_way_untold(models, told):
    ask(models, "base")
    own = card("one", "1")
    request = models.dress(Embed(model="one", inputs=("x",)), own)
    assert models.route(request, own).targets[0] is own
    assert told == []


def test_the_store_is_not_read_for_every_request(models):
    ask(models, "base")
    models._catalog.all.append(dataclasses.replace(card("base"), name=ModelName.parse("copy")))
    models._catalog.cards = lambda: pytest.fail("it was read a moment ago")
    ask(models, "base")
    ask(models, "one")
