"""Names to cards, and what a model is asked that it cannot do."""

from __future__ import annotations

import asyncio
import dataclasses
import threading

import pytest

from inhouse.catalog import Catalog, Looks, check, dress
from inhouse.core.errors import BadRequest, ModelNotFound, Unsupported
from inhouse.core.messages import Image, Message, Remote, Text, Tool, ToolChoice, ToolResult
from inhouse.core.models import Card, Footprint, ModelName, Tuning
from inhouse.core.requests import Chat, Complete, Embed, Load, LoadOptions, Render, Rerank, Unload
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


async def test_the_loop_is_free_while_the_store_is_read(catalog, monkeypatch):
    asked, answer = threading.Event(), threading.Event()
    real = catalog.cards

    def slow():
        asked.set()
        assert answer.wait(20), "the loop waited for the disk"
        return real()

    monkeypatch.setattr(catalog, "cards", slow)
    looks = Looks(catalog)
    reading = asyncio.create_task(looks.cards())
    while not asked.is_set():
        await asyncio.sleep(0.01)
    assert (await looks.resolve("smollm2")).name == ModelName.parse("smollm2:135m")
    assert not reading.done()
    answer.set()
    assert {str(found.name) for found in await reading} == {"Fake:latest", "pypi/some:1.0", "smollm2:135m"}
    with pytest.raises(ModelNotFound):
        await looks.resolve("nobody")


async def test_long_jobs_in_threads_do_not_keep_a_name_from_being_read(catalog):
    over = threading.Event()
    jobs = [asyncio.create_task(asyncio.to_thread(over.wait, 20)) for _ in range(64)]
    await asyncio.sleep(0)
    try:
        async with asyncio.timeout(10):
            assert (await Looks(catalog).resolve("smollm2")).name == ModelName.parse("smollm2:135m")
    finally:
        over.set()
        await asyncio.gather(*jobs)


def test_what_this_process_does_to_the_store_can_be_noticed_without_reading_it(catalog):
    store, counts = catalog._store, [catalog.changes]
    some, other = ModelName.parse("pypi/some:1.0"), ModelName.parse("other")
    steps = (
        lambda: store.copy(some, other),
        lambda: store.alias(ModelName.parse("a"), some),
        lambda: store.remove(other),
    )
    for step in steps:
        step()
        counts.append(catalog.changes)
    assert len(set(counts)) == 4
    catalog.cards()
    assert catalog.changes == counts[-1]


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
    with pytest.raises((BadRequest, ModelNotFound)):
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


SEEDS = (("user", "ping"), ("assistant", "pong"))
GUIDED = dataclasses.replace(card(), system="Be brief.", messages=SEEDS)


def said(request: Chat) -> list[tuple[str, str]]:
    return [(m.role, m.text) for m in request.messages]


def talk(*messages: tuple[str, str], **fields: object) -> Chat:
    return Chat(model="m", messages=tuple(Message(role, (Text(text),)) for role, text in messages), **fields)


def test_a_chat_begins_with_what_its_model_brings_along():
    dressed = dress(talk(("user", "hi")), GUIDED)
    assert said(dressed) == [("system", "Be brief."), *SEEDS, ("user", "hi")]


def test_a_system_message_of_the_request_replaces_the_models_and_stays_first():
    dressed = dress(talk(("system", "Be long."), ("user", "hi")), GUIDED)
    assert said(dressed) == [("system", "Be long."), *SEEDS, ("user", "hi")]


def test_a_later_system_message_does_not_count_as_the_first():
    dressed = dress(talk(("user", "hi"), ("system", "x")), dataclasses.replace(GUIDED, messages=()))
    assert [role for role, _ in said(dressed)] == ["system", "user", "system"]


def test_a_model_without_texts_leaves_the_conversation_alone():
    request = talk(("user", "hi"), n=2, think=False)
    assert dress(request, card()) == request


def test_an_answer_that_is_continued_by_its_context_gets_no_messages_twice():
    dressed = dress(talk(("user", "hi"), context=(1, 2)), GUIDED)
    assert said(dressed) == [("system", "Be brief."), ("user", "hi")]


def test_a_strange_role_among_a_models_messages_speaks_for_the_user():
    odd = dataclasses.replace(card(), messages=(("tool", "x"),))
    assert said(dress(talk(("user", "hi")), odd)) == [("user", "x"), ("user", "hi")]


def test_raw_text_is_never_dressed():
    assert dress(COMPLETE, GUIDED) == COMPLETE
    assert dress(INSERT, GUIDED) == INSERT


OPTIONS = {"num_ctx": 4096, "num_batch": 64, "num_gpu": 0, "num_thread": 3, "use_mmap": False}


@pytest.mark.parametrize("request_", [chat(), COMPLETE, Embed(model="m", inputs=("x",)), Load(model="m")])
def test_load_options_come_from_the_models_defaults(request_):
    loaded = dress(request_, dataclasses.replace(card(), defaults=OPTIONS)).load
    assert loaded == LoadOptions(context_length=4096, batch=64, gpu_layers=0, threads=3, use_mmap=False)


def test_the_tuning_comes_before_the_defaults_and_the_request_before_both():
    tuning = Tuning(context_length=1024, gpu_layers=5, threads=7, keep_alive=60.0)
    tuned = dataclasses.replace(card(), defaults=OPTIONS, tuning=tuning)
    dressed = dress(chat(), tuned)
    assert dressed.load == LoadOptions(context_length=1024, batch=64, gpu_layers=5, threads=7, use_mmap=False)
    assert dressed.keep_alive == 60.0
    asked = LoadOptions(context_length=9, batch=8, gpu_layers=-1, threads=6, use_mmap=True)
    again = dress(chat(load=asked, keep_alive=0.0), tuned)
    assert (again.load, again.keep_alive) == (asked, 0.0)


@pytest.mark.parametrize(
    "defaults",
    [
        {"num_ctx": 0, "num_batch": -1, "num_gpu": -1, "num_thread": 0, "use_mmap": None},
        {"num_ctx": "big", "num_batch": True, "num_gpu": 2**40, "num_thread": float("nan"), "use_mmap": 1},
    ],
)
def test_defaults_that_say_nothing_leave_it_to_the_server(defaults):
    assert dress(chat(), dataclasses.replace(card(), defaults=defaults)).load == LoadOptions()


def test_a_pinned_prompt_keeps_its_model_at_least_as_long():
    assert dress(chat(pin=3600.0), card(), keep_alive=300.0).keep_alive == 3600.0
    assert dress(chat(pin=60.0), card(), keep_alive=300.0).keep_alive == 300.0
    assert dress(chat(pin=60.0, keep_alive=0.0), card(), keep_alive=300.0).keep_alive == 60.0
    assert dress(chat(), card(), keep_alive=300.0).keep_alive is None


def test_rendering_is_dressed_and_checked_as_the_chat_itself():
    asked = Render(model="m", chat=talk(("user", "hi")))
    dressed = dress(asked, GUIDED)
    assert isinstance(dressed, Render)
    assert dressed.chat.messages == dress(talk(("user", "hi")), GUIDED).messages
    with pytest.raises(Unsupported, match="thinking"):
        check(Render(model="m", chat=chat(think=True)), card())


def test_reranking_needs_a_model_that_compares_or_embeds():
    asked = Rerank(model="m", pairs=(("a", "b"),))
    with pytest.raises(Unsupported, match="rerank"):
        check(asked, card())
    for able in ("rerank", "embedding"):
        check(asked, dataclasses.replace(card(), capabilities=frozenset({able})))


def test_a_picture_that_still_has_to_be_fetched_needs_a_vision_model_too():
    picture = Remote("https://example.org/a.png")
    for parts in ((picture,), (ToolResult("x", images=(picture,)),)):
        with pytest.raises(Unsupported, match="vision"):
            check(Chat(model="m", messages=(Message("user", parts),)), card())
    text = Remote("https://example.org/a.txt", "text")
    check(Chat(model="m", messages=(Message("user", (text,)),)), card())
