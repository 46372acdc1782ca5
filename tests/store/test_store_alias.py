"""Names that follow other models."""

from __future__ import annotations

import pytest

from inhouse.core.create import Create
from inhouse.core.errors import Conflict, ModelNotFound
from inhouse.store.store import Store
from support import tiny_gguf
from support.lifecycle import make, name, ordered, refs

ONE, TWO = ({"m.gguf": tiny_gguf.model(seed)} for seed in (1, 2))


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "home")
    make(store, "one", ONE)
    make(store, "two", TWO)
    return store


def test_an_alias_follows_its_model_also_when_that_changes(store):
    assert store.alias(name("Fast"), name("ONE")) == name("one")
    card = store.get(name("fast"))
    assert card == store.get(name("one"))
    make(store, "one", TWO)
    assert store.get(name("fast")).digest == store.get(name("two")).digest
    store.rollback(name("one"))
    assert store.get(name("fast")).digest == card.digest


def test_an_alias_is_listed_beside_its_model_and_takes_no_space(store):
    store.alias(name("Fast"), name("one"))
    listed = {str(card.name): card.alias_of for card in store.cards()}
    assert listed == {"one:latest": "", "two:latest": "", "Fast:latest": "one:latest"}
    assert {usage.model for usage in store.disk().models} == {"one:latest", "two:latest"}
    assert store.is_alias(name("fast"))
    assert not store.is_alias(name("one"))
    assert not store.is_alias(name("nope"))


def test_an_alias_may_be_pointed_elsewhere(store):
    store.alias(name("fast"), name("one"))
    store.alias(name("fast"), name("two"))
    assert store.get(name("fast")).name == name("two")


def test_an_alias_of_an_alias_follows_the_model(store):
    store.alias(name("a"), name("one"))
    assert store.alias(name("b"), name("a")) == name("one")
    store.remove(name("a"))
    assert store.get(name("b")).name == name("one")


@pytest.mark.parametrize("text", ["two", "TWO", "one", "One:latest"])
def test_a_model_of_its_own_never_becomes_an_alias(store, text):
    before = store.get(name(text))
    with pytest.raises(Conflict) as caught:
        store.alias(name(text), name("one"))
    assert caught.value.hint
    assert store.get(name(text)) == before


def test_an_alias_of_nothing_is_refused(store):
    with pytest.raises(ModelNotFound, match="nope"):
        store.alias(name("fast"), name("nope"))
    assert not store.is_alias(name("fast"))


def test_removing_an_alias_leaves_the_model(store):
    store.alias(name("fast"), name("one"))
    store.remove(name("fast"))
    assert store.get(name("one"))
    with pytest.raises(ModelNotFound):
        store.get(name("fast"))
    assert store.problems() == []


def test_removing_a_model_removes_what_follows_it_and_nothing_else(store):
    store.alias(name("a"), name("one"))
    store.alias(name("b"), name("two"))
    store.remove(name("one"))
    assert {str(card.name) for card in store.cards()} == {"two:latest", "b:latest"}
    assert store.problems() == []


def test_a_model_may_take_the_name_of_an_alias(store):
    store.alias(name("fast"), name("one"))
    card = make(store, "fast", TWO)
    assert not store.is_alias(name("fast"))
    assert store.get(name("fast")).digest == card.digest
    assert store.get(name("one")).digest != card.digest


def test_a_copy_of_an_alias_is_a_model(store):
    store.alias(name("fast"), name("one"))
    store.copy(name("fast"), name("kept"))
    store.remove(name("one"))
    assert store.get(name("kept")).name == name("kept")


def test_an_alias_whose_model_was_lost_is_reported(store):
    store.alias(name("fast"), name("one"))
    store.layout.manifest(name("one")).unlink()
    (problem,) = store.problems()
    assert (problem.model, problem.fix) == ("fast:latest", "inhouse rm fast:latest")
    assert "gone" in problem.what
    store.remove(name("fast"))
    assert store.problems() == []


def test_a_created_model_brings_its_aliases(store):
    ordered(store, Create(name="new", files=refs(store, ONE), aliases=("n1", "me/n2:x")))
    assert store.get(name("n1")).name == store.get(name("me/n2:x")).name == name("new")


@pytest.mark.parametrize("taken", ["two", "new", "NEW:latest"])
def test_a_taken_alias_is_refused_before_anything_is_made(store, taken):
    before = {card.name for card in store.cards()}
    with pytest.raises(Conflict):
        ordered(store, Create(name="new", files=refs(store, ONE), aliases=("free", taken)))
    assert {card.name for card in store.cards()} == before
