"""Names to cards, and what a model is asked that it cannot do."""

from __future__ import annotations

import dataclasses

import pytest

from inhouse.catalog import Catalog, check
from inhouse.core.errors import InvalidName, ModelNotFound, Unsupported
from inhouse.core.messages import Image, Message, Text, Tool, ToolChoice
from inhouse.core.models import Card, Footprint, ModelName
from inhouse.core.requests import Chat, Complete, Embed, Load, Unload
from inhouse.store.store import Store
from support import tiny_gguf
from support.pulls import put

ALL = frozenset({"completion", "chat", "tools", "insert", "vision", "thinking"})
PLAIN = frozenset({"completion", "chat"})
EMBEDDER = frozenset({"embedding"})


def card(name: str = "m", can: frozenset[str] = PLAIN, at: float = 0.0) -> Card:
    return Card(ModelName.parse(name), "0" * 64, "", "", 0, Footprint(0, 0), can, modified_at=at)


@pytest.fixture
def catalog(tmp_path):
    """``pypi/some:1.0`` and ``smollm2:135m`` (a tiny stand-in) in the store; ``Fake`` as an extra card."""
    home = tmp_path / "home"
    for text in ("pypi/some:1.0", "smollm2:135m"):
        put(home, text, tiny_gguf.model(1))
    return Catalog(Store(home), [card("Fake", at=2e10)])


def test_names_resolve_in_any_case(catalog):
    assert str(catalog.resolve("PYPI/Some:1.0").name) == "pypi/some:1.0"
    assert str(catalog.resolve("fAKE").name) == "Fake:latest"


def test_a_source_text_resolves_to_what_it_was_stored_as(catalog):
    assert str(catalog.resolve("pypi:some==1.0").name) == "pypi/some:1.0"


def test_latest_means_the_catalogues_default_until_it_is_stored(catalog, tmp_path):
    assert str(catalog.resolve("smollm2").name) == "smollm2:135m"
    assert str(catalog.resolve("SmolLM2:Latest").name) == "smollm2:135m"
    Store(tmp_path / "home").copy(ModelName.parse("smollm2:135m"), ModelName.parse("smollm2"))
    assert str(catalog.resolve("smollm2").name) == "smollm2:latest"


@pytest.mark.parametrize("text", ["nope", "smollm2:1b", "qwen2.5-coder", "me/smollm2"])
def test_an_unknown_model_is_named_as_it_was_written(catalog, text):
    with pytest.raises(ModelNotFound) as caught:
        catalog.resolve(text)
    assert caught.value.message == f"model '{text}' not found"


@pytest.mark.parametrize("text", ["../../etc/passwd:x", "/etc/passwd", "", "pypi/x/y/z", "a\0b"])
def test_what_is_no_name_is_refused_whether_a_file_exists_or_not(catalog, text):
    with pytest.raises(InvalidName):
        catalog.resolve(text)


def test_extra_models_are_listed_with_the_stored_ones(catalog):
    names = [str(c.name) for c in catalog.cards()]
    assert names[0] == "Fake:latest"
    assert set(names[1:]) == {"smollm2:135m", "pypi/some:1.0"}


def test_an_extra_model_hides_a_stored_one_of_its_name(catalog, tmp_path):
    store = Store(tmp_path / "home")
    other = Catalog(store, [card("SMOLLM2:135m")])
    assert [str(c.name) for c in other.cards()].count("smollm2:135m") == 0
    assert other.resolve("smollm2:135m").digest == "0" * 64


def chat(**fields: object) -> Chat:
    return Chat(model="My-Model", messages=(Message("user", (Text("hi"),)),), **fields)


PICTURE = Chat(model="My-Model", messages=(Message("user", (Text("x"), Image(b"", "image/png"))),))
COMPLETE = Complete(model="My-Model", prompts=("x",))
INSERT = dataclasses.replace(COMPLETE, suffix="")
TOOLS = chat(tools=(Tool("f"),), tool_choice=ToolChoice("required"))


@pytest.mark.parametrize(
    "request_, can, what, param",
    [
        (chat(think=True), PLAIN, "thinking", "think"),
        (chat(think="low"), PLAIN, "thinking", "think"),
        (PICTURE, PLAIN, "vision", "messages"),
        (INSERT, PLAIN, "insert", "suffix"),
        (chat(), EMBEDDER, "chat", "model"),
        (COMPLETE, EMBEDDER, "generate", "model"),
    ],
)
def test_what_a_model_cannot_do_is_refused_in_ollamas_words(request_, can, what, param):
    with pytest.raises(Unsupported) as caught:
        check(request_, card(can=can))
    assert caught.value.message == f'"My-Model" does not support {what}'
    assert caught.value.param == param
    assert caught.value.hint


@pytest.mark.parametrize(
    "request_, can",
    [
        (chat(), PLAIN),
        (chat(think=False), PLAIN),
        (chat(think=None), PLAIN),
        (chat(think="high"), ALL),
        (TOOLS, PLAIN),
        (chat(), frozenset({"completion"})),
        (PICTURE, ALL),
        (INSERT, ALL),
        (COMPLETE, PLAIN),
        (Embed(model="m", inputs=("x",)), PLAIN),
        (Embed(model="m", inputs=("x",)), EMBEDDER),
        (Load(model="m"), EMBEDDER),
        (Unload(model="m"), EMBEDDER),
    ],
)
def test_everything_else_is_let_through(request_, can):
    check(request_, card(can=can))
