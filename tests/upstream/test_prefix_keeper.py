"""What is saved of prompts, when it is read in again, and that no fault of that fails a request."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from inhouse.core.errors import EngineError, WorkerDied
from inhouse.core.events import Finished
from inhouse.core.models import Card, Footprint, ModelName
from inhouse.core.requests import Complete, Embed
from inhouse.dialects.llamaserver.saved import held_tokens
from inhouse.upstream import Rules, Shelf, WorkerEngine
from inhouse.upstream import keeper as keeper_module
from upstream.slot_double import SlotDouble

CARD = Card(ModelName.parse("m"), "0" * 64, "", "", 0, Footprint(0, 0))
RULES = Rules(minimum=50, quiet=0.0, patience=0.0)
DOC = " ".join(f"word{n}" for n in range(200))


@pytest.fixture
async def slotted(folder: Path) -> AsyncIterator[SlotDouble]:
    async with SlotDouble(folder / "w.sock") as running:
        yield running


class Worker:
    """A worker as one process after the other sees it; each has a shelf of its own, on the same disk."""

    def __init__(
        self, double: SlotDouble, *, limit: int = 2**20, rules: Rules = RULES, **launch: Any
    ) -> None:
        self.double = double
        self.shelf = Shelf(double.folder.parent, limit)
        self.engine = WorkerEngine(CARD, double.launch(**launch), shelf=self.shelf, rules=rules)
        double.engines.append(self.engine)

    async def ask(self, text: str, **fields: Any) -> Finished:
        request = Complete(model="m", prompts=(text,), **fields)
        async with aclosing(self.engine.run(request)) as events:
            async for event in events:
                if isinstance(event, Finished):
                    found = event
        await self.settle()
        return found

    async def settle(self) -> None:
        """Wait for what runs in the background."""
        tasks = self.engine._desk._keeper._tasks if self.engine._desk._keeper else set()
        while tasks:
            await asyncio.wait(set(tasks))


def restarted(double: SlotDouble) -> None:
    double.memory = {number: [] for number in double.memory}
    double.adapters.clear()
    double.moves.clear()
    double.bodies.clear()


async def test_a_beginning_that_comes_again_is_saved_and_read_in_after_a_restart(slotted):
    worker = Worker(slotted)
    assert (await worker.ask(DOC + " one")).usage.cached_tokens == 0
    assert slotted.saved() == [], "seen once, it is nothing special"
    assert (await worker.ask(DOC + " two")).usage.cached_tokens == 201
    assert len(slotted.saved()) == 1
    restarted(slotted)
    told = await Worker(slotted).ask(DOC + " three")
    assert told.usage.cached_tokens == 201
    assert 150 < told.usage.restored_tokens <= 201
    assert told.usage.restored_bytes == slotted.saved()[0].stat().st_size
    assert [step.name for step in told.steps] == ["restore"]
    assert len(slotted.moves) == 1


async def test_what_a_slot_knows_is_not_read_in(slotted):
    worker = Worker(slotted)
    for end in "abcd":
        await worker.ask(DOC + " " + end)
    assert [move.split()[0] for move in slotted.moves] == ["save"]


async def test_pinned_prompts_are_saved_at_once(slotted):
    await Worker(slotted).ask(DOC, pin=300.0)
    assert len(slotted.saved()) == 1


async def test_short_beginnings_are_not_saved(slotted):
    worker = Worker(slotted)
    for end in "ab":
        await worker.ask("a few words that come again " + end)
    assert slotted.moves == []


async def test_only_the_beginning_is_saved_of_a_prompt_that_is_much_longer(slotted):
    slotted.answer = 400
    worker = Worker(slotted)
    for end in "ab":
        await worker.ask(DOC + " " + end)
    (path,) = slotted.saved()
    words = slotted.ids(DOC, special=True)
    held = held_tokens(path)
    assert held == words[: len(held)]
    assert len(held) > 150
    restarted(slotted)
    assert (await Worker(slotted).ask(DOC + " c")).usage.cached_tokens == len(held)


async def test_two_at_once_after_a_restart_both_begin_with_what_was_saved(slotted):
    worker = Worker(slotted)
    for end in "ab":
        await worker.ask(DOC + " " + end)
    restarted(slotted)
    worker = Worker(slotted)
    told = await asyncio.gather(*(worker.ask(f"{DOC} {end}") for end in "cd"))
    assert [one.usage.cached_tokens for one in told] == [201, 201]
    assert sorted(slotted.moves) == ["restore 0", "restore 1"]
    assert {body["id_slot"] for body in slotted.sent("/completion")} == {0, 1}


@pytest.mark.parametrize("sharing, shared", [("all", True), ("memory", False), ("none", False)])
async def test_saved_prompts_are_a_tenants_own_unless_all_is_shared(slotted, sharing, shared):
    rules = dataclasses.replace(RULES, sharing=sharing)
    worker = Worker(slotted, rules=rules)
    for end in "ab":
        await worker.ask(DOC + " " + end, tenant="ann")
    restarted(slotted)
    told = await Worker(slotted, rules=rules).ask(DOC + " c", tenant="bob")
    assert bool(told.usage.cached_tokens) is shared
    told = await Worker(slotted, rules=rules).ask(DOC + " d", tenant="ann")
    assert told.usage.cached_tokens == 201


@pytest.mark.parametrize("sharing, cached", [("memory", 201), ("none", 0)])
async def test_what_is_in_memory_is_shared_unless_nothing_is(folder, sharing, cached):
    async with SlotDouble(folder / "w.sock", slots=1) as double:
        worker = Worker(double, rules=dataclasses.replace(RULES, sharing=sharing))
        await worker.ask(DOC + " a", tenant="ann")
        assert (await worker.ask(DOC + " b", tenant="bob")).usage.cached_tokens == cached
        assert (await worker.ask(DOC + " c", tenant="bob")).usage.cached_tokens == 201


async def test_several_choices_leave_the_slots_to_the_engine(slotted):
    worker = Worker(slotted, rules=dataclasses.replace(RULES, sharing="none"))
    slotted.script = lambda body: [
        part.replace(b'"index": 0', b'"index": %d' % i) for i in range(2) for part in slotted._say(body)
    ]
    await worker.ask(DOC, n=2, tenant="ann")
    (body,) = slotted.sent("/completion")
    assert "id_slot" not in body
    assert body["cache_prompt"] is False, "nobody knows whose slot it gets"


async def test_embeddings_make_all_that_is_known_of_free_slots_doubtful(slotted):
    worker = Worker(slotted)
    await worker.ask(DOC + " a")
    async with aclosing(worker.engine.run(Embed(model="m", inputs=("x",)))) as events:
        async for _ in events:
            pass
    desk = worker.engine._desk
    assert all(not slot.marks.chain for slot in desk._slots.all)


# adapters

LORA = ("sha256:" + "1" * 64, "sha256:" + "2" * 64)


async def test_each_request_says_how_much_of_every_adapter_it_wants(slotted):
    worker = Worker(slotted, adapters=LORA)
    await worker.ask("x", adapters=((LORA[1], 0.5),))
    await worker.ask("x")
    sent = [body["lora"] for body in slotted.sent("/completion")]
    assert sent == [
        [{"id": 0, "scale": 0.0}, {"id": 1, "scale": 0.5}],
        [{"id": 0, "scale": 0.0}, {"id": 1, "scale": 0.0}],
    ]


async def test_a_prompt_saved_with_one_adapter_is_not_read_in_for_another(slotted):
    worker = Worker(slotted, adapters=LORA)
    first = ((LORA[0], 1.0),)
    for end in "ab":
        await worker.ask(DOC + " " + end, adapters=first)
    restarted(slotted)
    worker = Worker(slotted, adapters=LORA)
    assert (await worker.ask(DOC + " c")).usage.cached_tokens == 0
    assert (await worker.ask(DOC + " d", adapters=((LORA[0], 0.5),))).usage.cached_tokens == 0
    assert (await worker.ask(DOC + " e", adapters=first)).usage.cached_tokens == 201


async def test_an_adapter_that_the_worker_lacks_is_refused(slotted):
    with pytest.raises(EngineError, match="adapter"):
        await Worker(slotted).ask("x", adapters=((LORA[0], 1.0),))


# faults


async def _saved(double: SlotDouble) -> None:
    worker = Worker(double)
    for end in "ab":
        await worker.ask(DOC + " " + end)
    restarted(double)
    assert len(double.saved()) == 1


def _tear(double: SlotDouble) -> None:
    path = double.saved()[0]
    path.write_bytes(path.read_bytes()[:-7])


def _flip(double: SlotDouble) -> None:
    path = double.saved()[0]
    data = bytearray(path.read_bytes())
    data[20] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "harm", [_tear, _flip, lambda double: double.saved()[0].unlink()], ids=["torn", "flipped", "gone"]
)
async def test_a_harmed_file_is_never_given_to_the_engine(slotted, harm: Callable[[SlotDouble], None]):
    await _saved(slotted)
    harm(slotted)
    told = await Worker(slotted).ask(DOC + " c")
    assert (told.usage.cached_tokens, told.usage.restored_tokens, told.steps) == (0, 0, ())
    assert slotted.moves == []
    assert slotted.saved() == []


@pytest.mark.parametrize("status", [400, 500, 501])
async def test_a_restore_that_is_refused_leaves_the_prompt_to_be_computed(slotted, status):
    await _saved(slotted)
    slotted.status = status
    told = await Worker(slotted).ask(DOC + " c")
    assert told.usage.cached_tokens == 0
    assert told.usage.completion_tokens == 1
    assert slotted.saved() == []


async def test_a_restore_that_never_ends_is_given_up(slotted, monkeypatch):
    await _saved(slotted)
    slotted.stuck = True
    monkeypatch.setattr(keeper_module, "RESTORE", 0.05)
    assert (await Worker(slotted).ask(DOC + " c")).usage.cached_tokens == 0


async def test_what_the_engine_was_too_busy_for_is_not_lost_at_once(slotted, monkeypatch):
    await _saved(slotted)
    slotted.stuck = True
    monkeypatch.setattr(keeper_module, "RESTORE", 0.05)
    await Worker(slotted).ask(DOC + " c")
    assert len(slotted.saved()) == 1
    restarted(slotted)
    await Worker(slotted).ask(DOC + " d")
    assert slotted.saved() == [], "twice is enough"


async def test_what_is_longer_than_the_workers_context_is_left_to_larger_ones(slotted):
    slotted.answer = 100
    await _saved(slotted)
    assert 256 < len(held_tokens(slotted.saved()[0])) <= 512
    small = Worker(slotted, context_length=256)
    assert (await small.ask(DOC + " c")).usage.restored_tokens == 0
    assert slotted.moves == []
    restarted(slotted)
    assert (await Worker(slotted, context_length=512).ask(DOC + " d")).usage.restored_tokens > 0


async def test_a_slot_that_the_engine_may_have_given_away_is_nobodys(slotted):
    """Amid a restore the slot is free for the engine: what it chooses slots for may have come into it."""
    rules = dataclasses.replace(RULES, sharing="none")
    worker = Worker(slotted, rules=rules)
    for end in "ab":
        await worker.ask(DOC + " " + end, tenant="ann")
    restarted(slotted)
    worker = Worker(slotted, rules=rules)
    slots = worker.engine._desk._slots
    slotted.on_restore = lambda: (slots.stray(1), slots.stray(-1))
    await worker.ask(DOC + " c", tenant="ann")
    (body,) = slotted.sent("/completion")
    assert body["cache_prompt"] is False


async def test_a_worker_that_dies_of_a_file_does_not_get_it_again(slotted):
    await _saved(slotted)
    slotted.dies = True
    with pytest.raises(WorkerDied):
        await Worker(slotted).ask(DOC + " c")
    assert slotted.saved() == []


async def test_leaving_amid_a_restore_frees_the_slot(slotted):
    await _saved(slotted)
    slotted.stuck = True
    worker = Worker(slotted)
    task = asyncio.create_task(worker.ask(DOC + " c"))
    while not slotted.moves:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not worker.engine._desk._slots.busy


async def test_saves_that_fail_are_tried_no_more(slotted):
    slotted.status = 501
    worker = Worker(slotted)
    for n in range(8):
        for end in "ab":
            await worker.ask(f"document {n} " + DOC + " " + end)
    assert len(slotted.moves) == keeper_module.FAILURES
    assert list(slotted.folder.iterdir()) == []


async def test_models_that_cannot_go_on_from_a_beginning_are_found_out(slotted):
    slotted.windowed = True
    worker = Worker(slotted)
    for n in range(4):
        for end in "ab":
            await worker.ask(f"document {n} " + DOC + " " + end)
    assert len(slotted.saved()) == 4
    restarted(slotted)
    worker = Worker(slotted)
    for n in range(4):
        assert (await worker.ask(f"document {n} " + DOC + " c")).usage.restored_tokens == 0
    assert len(slotted.moves) == keeper_module.FAILURES, "three misses are enough"


async def test_a_slot_that_went_on_to_something_else_is_not_saved(slotted):
    worker = Worker(slotted, rules=dataclasses.replace(RULES, quiet=0.02, patience=0.02))
    await worker.ask(DOC + " a")
    request = Complete(model="m", prompts=(DOC + " b",))
    async with aclosing(worker.engine.run(request)) as events:
        async for _ in events:
            pass
    for number in slotted.memory:
        slotted.memory[number] = [1, 2, 3]
    await worker.settle()
    assert slotted.saved() == []
    assert list(slotted.folder.iterdir()) == []


async def test_closing_gives_up_what_is_being_saved(slotted):
    worker = Worker(slotted, rules=dataclasses.replace(RULES, quiet=60.0, patience=60.0))
    request = Complete(model="m", prompts=(DOC,), pin=60.0)
    async with aclosing(worker.engine.run(request)) as events:
        async for _ in events:
            pass
    await worker.engine.close()
    assert slotted.moves == []


async def test_what_found_no_room_is_not_written_again_and_again(slotted, monkeypatch):
    worker = Worker(slotted, limit=10)
    for end in "abcd":
        await worker.ask(DOC + " " + end)
    assert [move.split()[0] for move in slotted.moves] == ["save"]
    worker.shelf.limit = 2**20
    await worker.ask(DOC + " e")
    assert slotted.saved() == []
    monkeypatch.setattr(keeper_module, "AGAIN", 0.0)
    await worker.ask(DOC + " f")
    assert len(slotted.saved()) == 1, "what is there is worth less as time goes by"


async def test_without_room_nothing_stays(slotted):
    worker = Worker(slotted, limit=10)
    await worker.ask(DOC, pin=60.0)
    assert list(slotted.folder.iterdir()) == []
