"""Requests find the worker that their model shares, and an operator hears when that is made anew."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from inhouse.compose import sharing
from inhouse.core.errors import ModelNotFound, StoreError
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
    """As much of a catalogue as sharing asks for. It waits for ``free``, as a slow disk would."""

    def __init__(self, *cards: Card) -> None:
        self.all = list(cards)
        self.changes = 0
        self.looks = 0
        self.free = asyncio.Event()
        self.free.set()

    async def cards(self) -> list[Card]:
        self.looks += 1
        found = list(self.all)
        await self.free.wait()
        return found

    async def resolve(self, text: str) -> Card:
        for one in self.all:
            if one.name == ModelName.parse(text):
                return one
        raise ModelNotFound(text)

    def store(self, *cards: Card) -> None:
        """What this server stores itself."""
        self.all += cards
        self.changes += 1


async def ask(models: Any, name: str, **more: Any) -> tuple[Complete, Card]:
    own = await models._catalog.resolve(name)
    request = await models.dress(Complete(model=name, prompts=("x",), **more), own)
    return request, (await models.route(request, own)).targets[0]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(sharing, "time", made)
    return made


@pytest.fixture
def told() -> list[Record]:
    return []


@pytest.fixture
def models(told: list[Record]) -> sharing.Sharing:
    return sharing.Sharing(Known(card("base"), card("one", "1")), keep_alive=5.0, tell=told.append)  # type: ignore[arg-type]


async def test_a_model_that_has_an_engine_by_its_name_shares_no_worker(told):
    base, mine, one = card("base"), card("mine"), card("one", "1")
    known: Any = Known(base, mine, one)
    apart = sharing.Sharing(known, keep_alive=5.0, tell=told.append, apart=lambda found: found == mine)
    assert (await ask(apart, "mine"))[1] is mine
    assert await apart.host(mine) is mine
    assert (await ask(apart, "one"))[1].name == base.name
    named = sharing.Sharing(known, keep_alive=5.0, tell=told.append, apart=lambda found: found == base)
    assert (await ask(named, "one"))[1].name != base.name, "its requests are not for the engine of another"


async def test_a_request_keeps_its_model_and_goes_to_the_worker_of_the_family(models, told):
    request, host = await ask(models, "one")
    assert request.target == card("one", "1")
    assert request.adapters == ((f"sha256:{'1' * 64}", 1.0),)
    assert (await ask(models, "base"))[1] == host
    assert host.name == ModelName.parse("base")
    assert await models.host(card("base")) == host
    assert told == []


async def test_a_new_adapter_is_found_at_once_and_told_once(models, told):
    _, before = await ask(models, "base")
    models._catalog.store(card("two", "2"))
    _, after = await ask(models, "two")
    assert after.digest != before.digest
    assert (await ask(models, "base"))[1] == after
    assert [(one.kind, one.model, one.facts["adapters"]) for one in told] == [("notice", "base:latest", 2)]


async def test_an_adapter_by_name_is_put_as_a_digest(models):
    request, _ = await ask(models, "base", adapters=(("one", 0.25),))
    assert request.adapters == ((f"sha256:{'1' * 64}", 0.25),)
    with pytest.raises(ModelNotFound):
        await ask(models, "base", adapters=(("nobody", 1.0),))


async def test_embeddings_of_a_model_with_an_adapter_go_their_own_way_untold(models, told):
    await ask(models, "base")
    own = card("one", "1")
    request = await models.dress(Embed(model="one", inputs=("x",)), own)
    assert (await models.route(request, own)).targets[0] is own
    assert told == []


async def test_the_store_is_not_read_for_every_request(models):
    for name in ("base", "one", "base"):
        await ask(models, name)
    assert models._catalog.looks == 1


async def test_what_this_server_stores_is_seen_by_the_next_request(models):
    _, before = await ask(models, "base")
    models._catalog.store(card("two", "2"))
    assert (await ask(models, "base"))[1].digest != before.digest


async def test_an_adapter_that_others_put_there_is_seen_once_it_is_asked_for(models):
    _, before = await ask(models, "base")
    models._catalog.all.append(card("two", "2"))
    assert (await ask(models, "base"))[1] == before
    assert (await ask(models, "two"))[1].digest != before.digest


async def test_what_others_did_is_found_by_a_look_that_nobody_waits_for(models, clock):
    known = models._catalog
    _, before = await ask(models, "base")
    known.all.append(card("two", "2"))
    clock.now += sharing.FRESH + 1
    known.free.clear()
    for _ in range(3):
        assert (await ask(models, "base"))[1] == before
        await asyncio.sleep(0)
    assert known.looks == 2, "one look at a time"
    known.free.set()
    await models._look
    assert (await ask(models, "base"))[1].digest != before.digest


async def test_what_is_known_for_long_is_looked_at_before_it_is_used(models, clock):
    _, before = await ask(models, "base")
    del models._catalog.all[1]
    clock.now += sharing.OLD + 1
    assert (await ask(models, "base"))[1].digest != before.digest


async def test_requests_that_come_together_share_one_look(models):
    known = models._catalog
    known.free.clear()
    asked = [asyncio.create_task(ask(models, name)) for name in ("base", "one", "base")]
    while not known.looks:
        await asyncio.sleep(0)
    known.free.set()
    assert len({host.digest for _, host in await asyncio.gather(*asked)}) == 1
    assert known.looks == 1


async def test_a_change_during_a_look_is_looked_at_again(models):
    known = models._catalog
    known.free.clear()
    early = asyncio.create_task(ask(models, "base"))
    while not known.looks:
        await asyncio.sleep(0)
    known.store(card("two", "2"))
    late = asyncio.create_task(ask(models, "base"))
    known.free.set()
    (_, before), (_, after) = await asyncio.gather(early, late)
    assert after.digest != before.digest


async def test_who_leaves_while_the_store_is_read_holds_up_nobody(models):
    known = models._catalog
    known.free.clear()
    gone = asyncio.create_task(ask(models, "base"))
    while not known.looks:
        await asyncio.sleep(0)
    gone.cancel()
    known.free.set()
    assert (await ask(models, "base"))[1].name == ModelName.parse("base")


async def test_a_store_that_cannot_be_read_is_told_to_those_who_need_it(models, clock):
    _, before = await ask(models, "base")
    read = models._catalog.cards

    async def broken() -> list[Card]:
        raise StoreError("broken")

    models._catalog.cards = broken
    clock.now += sharing.FRESH + 1
    assert (await ask(models, "base"))[1] == before
    await models._look
    models._catalog.changes += 1
    with pytest.raises(StoreError):
        await ask(models, "base")
    models._catalog.cards = read
    assert (await ask(models, "base"))[1] == before
