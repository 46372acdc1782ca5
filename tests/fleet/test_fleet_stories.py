"""What a fleet tells: steps of a request's way, records with cause and remedy, and what is tried again."""

from __future__ import annotations

import asyncio
import dataclasses
import math
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from inhouse.core.engine import Launch
from inhouse.core.errors import DeadlineExceeded, LoadFailed, OutOfMemory, QueueFull, WorkerDied
from inhouse.core.events import Event, Notice
from inhouse.core.models import Card
from inhouse.core.requests import LoadOptions
from inhouse.fleet import telling
from inhouse.fleet.footprint import MOST, Footprints, Size, measure, resident
from inhouse.fleet.rate import Rate
from inhouse.fleet.story import Ahead, Chapter, told
from inhouse.fleet.telling import retried, tried
from inhouse.fleet.wishes import RELOADS, REMEMBERED, WINDOW, Wishes, grown

from .conftest import MakeYard, Yard, answer, chat, until

# pure


def test_time_that_overlaps_with_what_happened_to_the_model_is_that_and_the_rest_is_the_queue() -> None:
    story = [
        Chapter("load", 0.0, 1.0, "an old one"),
        Chapter("evict", 9.0, 11.0, "b had to go", "more memory"),
        Chapter("retry", 11.0, 12.0, "no room"),
        Chapter("load", 12.0, 15.0, "asked for"),
    ]
    load, steps = told(story, 10.0, 16.0, "behind one", "be patient")
    assert load == 4.0
    assert [(s.name, s.seconds, s.cause, s.remedy) for s in steps] == [
        ("queue", 1.0, "behind one", "be patient"),
        ("evict", 1.0, "b had to go", "more memory"),
        ("retry", 1.0, "no room", ""),
        ("load", 3.0, "asked for", ""),
    ]
    assert told([], 10.0, 10.0, "", "") == (0.0, ())


@pytest.mark.parametrize(
    ("ahead", "cause", "remedy"),
    [
        (Ahead(), "", ""),
        (
            Ahead(1, 2, 1, 1),
            "Behind 3 requests in line for m (1 of the same key), 1 running in 1 slots.",
            "slots",
        ),
        (Ahead(1, 0, 0, 0), "Behind 1 request in line for m (1 of the same key).", "send fewer"),
        (Ahead(2, 0, 1, 4, limited=True), "as many requests running as it may; 2 more", "KEY_CONCURRENCY"),
    ],
)
def test_the_queue_says_behind_whom(ahead: Ahead, cause: str, remedy: str) -> None:
    assert cause in ahead.cause("m")
    assert remedy in ahead.remedy()
    assert bool(ahead.cause("m")) == bool(cause)


def test_tokens_per_second_are_those_of_the_last_seconds() -> None:
    now = 100.5
    rate = Rate(lambda: now)
    assert rate.now() == 0
    for _ in range(10):
        now += 0.1
        rate.add(2)
    now = 101.6
    assert rate.now() == pytest.approx(20, rel=0.15)
    for _ in range(100):
        now += 0.1
        rate.add(2)
    assert rate.now() == pytest.approx(20, rel=0.1)
    now += 2.5
    assert 0 < rate.now() < 15
    now += 4
    assert rate.now() == 0


def test_the_largest_wish_is_remembered_for_an_hour() -> None:
    wishes = Wishes()
    wishes.note("m", 8192, 0.0)
    wishes.note("m", 2048, 1.0)
    wishes.note("m", None, 2.0)
    assert wishes.largest("m") == 8192
    assert wishes.largest("other") == 0
    wishes.note("x", None, REMEMBERED + 1)
    assert wishes.largest("m") == 0


def test_other_options_reload_a_few_times_a_minute() -> None:
    wishes = Wishes()
    assert [wishes.may_reload("m", 0.0) for _ in range(RELOADS + 1)] == [True] * RELOADS + [False]
    assert wishes.may_reload("other", 0.0)
    assert wishes.may_reload("m", WINDOW + 1)


def test_contexts_grow_to_powers_of_two() -> None:
    assert [grown(n) for n in (1, 2, 3, 4096, 4097)] == [1, 2, 4, 4096, 8192]


def plan(**other: Any) -> Launch:
    return dataclasses.replace(Launch("e", (), "", slots=4, context_length=8192, memory=2**30), **other)


def test_another_build_is_a_fallback_and_a_smaller_plan_a_retry(yard: MakeYard) -> None:
    error = LoadFailed("it broke", hint="why")
    smaller = plan(slots=1, memory=2**29)
    assert retried("m", plan(), smaller, error, "r").kind == "retry"
    assert retried("m", plan(variant="cuda"), plan(variant="cpu"), error, "r").kind == "fallback"
    assert tried(plan(), smaller) == "Tried again with 1 slots of 8192 tokens, 512 MiB instead of 1.0 GiB."
    assert tried(plan(), plan(notices=("cpu now",))) == "cpu now"


def test_footprints_are_remembered_by_how_a_model_was_loaded(yard: MakeYard) -> None:
    card = yard().a
    known = Footprints()
    assert known.expected(card, plan(device_memory=2**29)) == 2**29
    known.learn(card, plan(), 5)
    assert known.expected(card, plan(address="elsewhere")) == 5
    assert known.expected(card, plan(slots=1)) == 2**30
    for number in range(MOST):
        known.learn(card, plan(context_length=number), 1)
    assert known.expected(card, plan()) == 2**30


def test_a_process_is_measured_with_its_children_and_one_that_is_gone_is_not() -> None:
    sizes = measure([os.getpid(), 2**22 - 1])
    assert list(sizes) == [os.getpid()]
    assert sizes[os.getpid()].resident >= resident(os.getpid()) * 0.8 > 2**20
    assert Size(1, 2) + Size(3, 4) == Size(4, 6)
    assert resident(None) == 0
    assert resident(2**22 - 1) == 0


# loads


async def test_a_load_that_fails_goes_on_with_another_plan_and_those_who_wait_notice_nothing_else(
    yard: MakeYard,
) -> None:
    y = yard({"crash_at_start": "failed to allocate buffer"})
    y.relaunches = [{"crash_at_start": "failed again"}, {"text": "small", "slots": 1}]
    first, second = await asyncio.gather(y.ask(request_id="r1"), y.ask(request_id="r2"))
    assert (first, second) == ("small", "small")
    assert len(y.launches) == 3
    retries = y.notes.of_kind("retry")
    assert [record.request_id for record in retries] == ["r1", "r1"]
    assert "could not be loaded" in retries[0].cause
    assert "It said: failed to allocate buffer" in retries[0].cause
    assert "Tried again with 1 slots" in retries[1].remedy
    assert not y.notes.of_kind("load_failed")
    assert not y.notes.of_kind("refusal")
    [load] = y.notes.of_kind("load")
    assert load.facts["slots"] == 1
    assert y.fleet.loaded()[0].slots == 1


async def test_the_steps_of_a_request_tell_of_the_retry(yard: MakeYard) -> None:
    y = yard({"crash_at_start": "out of memory"})
    y.relaunches = [{}]
    async with y.lease() as lease:
        names = [step.name for step in lease.steps]
        assert names[-2:] == ["retry", "load"]
        assert all(step.cause for step in lease.steps if step.name != "queue")
        assert lease.load > 0
        assert sum(s.seconds for s in lease.steps) == pytest.approx(lease.load + lease.queue, abs=0.05)


async def test_without_another_plan_the_failure_is_told_with_the_plan_that_failed(yard: MakeYard) -> None:
    y = yard({"crash_at_start": "no such file"})
    with pytest.raises(LoadFailed):
        await y.ask(request_id="r1")
    [failed], [refused] = y.notes.of_kind("load_failed"), y.notes.of_kind("refusal")
    assert failed.remedy == "no such file"
    assert failed.facts["slots"] == 4
    assert failed.request_id == refused.request_id == "r1"


async def test_where_nothing_smaller_fits_the_refusal_has_the_numbers(yard: MakeYard) -> None:
    y = yard({"crash_at_start": "out of memory"})
    y.relaunches = [OutOfMemory("900 MiB were planned, 500 MiB are available", hint="inhouse plan m")]
    with pytest.raises(OutOfMemory, match="900 MiB"):
        await y.ask()
    [record] = y.notes.of_kind("load_failed")
    assert "500 MiB" in record.cause


async def test_no_more_than_three_other_plans_are_tried(yard: MakeYard) -> None:
    y = yard({"crash_at_start": "x"})
    y.relaunches = [{"crash_at_start": "x"}] * 9
    with pytest.raises(LoadFailed):
        await y.ask()
    assert len(y.launches) == 4


async def test_a_load_nobody_waits_for_any_more_is_not_tried_again(yard: MakeYard) -> None:
    y = yard({"crash_at_start": "x"})
    begun, go_on = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow(*_: Any) -> Launch:
        loop.call_soon_threadsafe(begun.set)
        asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(5)
        return y._launch(y.a, LoadOptions())

    y.fleet._keeper._relaunch = slow
    task = asyncio.create_task(y.ask())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()
    await until(lambda: y.fleet.loaded() == [])
    assert not y.notes.of_kind("load")


async def test_a_model_that_had_to_make_room_is_in_the_steps_and_the_journal(yard: MakeYard) -> None:
    y = yard(max_loaded=1)
    await y.ask(request_id="r1")
    async with y.lease(y.b, request_id="r2") as lease:
        [evict] = [step for step in lease.steps if step.name == "evict"]
        assert evict.seconds > 0
    [record] = y.notes.of_kind("eviction")
    assert record.model == "fake:latest"
    assert record.request_id == "r2"
    assert [r.request_id for r in y.notes.of_kind("load")] == ["r1", "r2"]
    assert evict.cause == "fake:latest had to make room: INHOUSE_MAX_LOADED_MODELS lets no more be loaded."
    assert record.cause == "INHOUSE_MAX_LOADED_MODELS lets no more be loaded beside fake-b:latest."
    assert record.facts["limit"] == "models"
    for one in (evict, record):
        assert "INHOUSE_MAX_LOADED_MODELS" in one.remedy
        assert "INHOUSE_MEMORY" not in one.remedy


def test_what_goes_for_its_memory_is_told_so() -> None:
    record = telling.gone("a", "evicted", "b", "r")
    assert record.cause == "Its memory was needed for b."
    assert "limit" not in record.facts
    cause, remedy = telling.made_room("a", same=False, crowded=False)
    assert cause == "a had to make room."
    assert "INHOUSE_MEMORY" in remedy
    assert "INHOUSE_MEMORY" in record.remedy
    assert telling.made_room("a", same=True, crowded=True)[0] == "a was loaded with other options."


async def test_a_restart_tells_what_it_follows(yard: MakeYard) -> None:
    y = yard()
    with pytest.raises(WorkerDied):
        await y.ask('/fake {"die_in": "prefill"}')
    async with y.lease(request_id="r2") as lease:
        assert "Again, after: The model's worker ended" in lease.steps[-1].cause
    [record] = y.notes.of_kind("restart")
    assert "exit code 3" in record.cause
    assert record.request_id == "r2"


async def test_a_refusal_is_written_down_for_the_request_it_hit(yard: MakeYard) -> None:
    y = yard({"slots": 1}, max_queue=1)
    async with y.lease():
        waiting = asyncio.create_task(y.ask())
        await until(lambda: y.fleet.loaded()[0].waiting == 1)
        with pytest.raises(QueueFull):
            await y.ask(request_id="r9")
    await waiting
    [record] = y.notes.of_kind("refusal")
    assert record.request_id == "r9"
    assert record.facts["code"] == "queue_full"


async def test_the_queue_step_says_behind_whom_a_request_stood(yard: MakeYard) -> None:
    y = yard({"slots": 1})
    async with y.lease(tenant="a"):
        task = asyncio.create_task(y.ask(tenant="a"))
        await until(lambda: y.fleet.loaded()[0].waiting == 1)
        other = asyncio.create_task(_steps(y, tenant="b", work=70))
        await until(lambda: y.fleet.loaded()[0].waiting == 2)
        assert y.fleet.loaded()[0].queued == {"a": 1, "b": 1}
        assert y.fleet.loaded()[0].queued_work == 71
    steps = await other
    await task
    assert y.fleet.loaded()[0].queued_work == 0
    assert "1 request in line" in steps[0].cause
    assert "1 running in 1 slots" in steps[0].cause


async def _steps(y: Yard, **options: Any) -> Any:
    async with y.lease(**options) as lease:
        return lease.steps


# memory


async def test_a_loaded_model_is_measured_and_observers_hear_of_it(yard: MakeYard) -> None:
    y = yard({"memory": 2**31}, memory=2**32)
    await y.ask()
    await until(lambda: bool(y.notes.sizes))
    await until(lambda: y.fleet.taken.resident > 0)
    [model] = y.fleet._scheduler._models.values()
    assert 2**20 < model.memory < 2**30  # and not the two gigabytes it was said to need
    assert y.fleet.loaded()[0].memory == y.notes.sizes[0]
    assert y.fleet.loaded()[0].planned_memory == 2**31
    variant = next(iter(y.fleet._variants))
    assert y.fleet._keeper.footprints.expected(y.a, variant.launch) == model.memory


async def test_what_a_worker_may_still_take_is_kept_for_it(yard: MakeYard) -> None:
    y = yard()
    real = y._launch
    y.fleet._variants._launch = lambda card, load: dataclasses.replace(real(card, load), growth=2**30)
    await y.ask()
    await until(lambda: bool(y.notes.sizes))
    [model] = y.fleet._scheduler._models.values()
    assert model.memory >= 2**30
    assert y.notes.sizes[0] < 2**30


async def test_memory_that_other_programs_have_is_not_loaded_into(yard: MakeYard) -> None:
    left = 2**30
    asked: list[int] = []

    def available(mapped: int) -> int:
        asked.append(mapped)
        return left

    y = yard({"memory": 2**29}, available=available)
    await y.ask()
    left = 2**20
    await asyncio.sleep(0.3)  # longer than a figure of the machine's is believed
    with pytest.raises(OutOfMemory, match="other programs"):
        await y.ask(card=y.b)
    assert asked
    assert len(y.pids) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="oom_score_adj")
async def test_the_kernel_is_told_to_end_workers_before_the_server(yard: MakeYard) -> None:
    y = yard()
    await y.ask()
    [pid] = y.pids
    mine = int(Path("/proc/self/oom_score_adj").read_text())
    assert int(Path(f"/proc/{pid}/oom_score_adj").read_text()) == max(500, mine)


# wishes


async def test_clients_that_take_turns_with_two_contexts_reload_once(yard: MakeYard) -> None:
    y = yard()
    for _ in range(3):
        for context in (2048, 8192):
            await y.ask(context=context)
    assert y.notes.lines.count(("loaded", "fake:latest")) == 2
    await y.fleet.stop(y.a)
    for context in (2048, 8192, 2048):
        await y.ask(context=context)
    assert y.notes.lines.count(("loaded", "fake:latest")) == 3
    assert y.fleet.loaded()[0].context_length == 8192


async def test_the_usual_context_counts_as_a_wish_too(yard: MakeYard) -> None:
    y = yard({"context_length": 4096})
    for _ in range(2):
        await y.ask(context=1024)
        await y.ask()
    assert y.notes.lines.count(("loaded", "fake:latest")) == 2
    await y.fleet.stop(y.a)
    await y.ask(context=1024)
    assert y.fleet.loaded()[0].context_length == 4096


async def test_a_context_that_grows_bit_by_bit_doubles(yard: MakeYard) -> None:
    y = yard()
    for context in range(1000, 9000, 500):
        await y.ask(context=context)
    assert y.notes.lines.count(("loaded", "fake:latest")) == 5
    assert y.fleet.loaded()[0].context_length == 16384


async def test_options_that_change_with_every_request_stop_reloading_and_the_request_is_told(
    yard: MakeYard,
) -> None:
    y = yard()
    for turn in range(3):
        for threads in (1, 2):
            await y.ask(load=LoadOptions(threads=threads), request_id=f"{turn}")
    assert y.notes.lines.count(("loaded", "fake:latest")) == 1 + RELOADS
    notices = y.notes.of_kind("notice")
    assert notices
    assert "several times in the last minute" in notices[0].cause
    async with y.lease(load=LoadOptions(threads=9)) as lease:
        seen = [event async for event in lease.run(chat("hello"))]
        assert len([event for event in seen if isinstance(event, Notice)]) == 1


async def test_clients_that_take_turns_with_other_options_stop_reloading_while_both_are_always_in_line(
    yard: MakeYard,
) -> None:
    y = yard()

    async def client(threads: int) -> None:
        for _ in range(8):
            async with y.lease(load=LoadOptions(threads=threads), tenant=str(threads)):
                await asyncio.sleep(0)

    await asyncio.gather(client(1), client(2))
    assert y.notes.lines.count(("loaded", "fake:latest")) == 1 + RELOADS
    assert y.notes.of_kind("notice")


# leases


async def test_a_request_whose_time_is_over_while_its_model_is_planned_is_not_waited_for(
    yard: MakeYard,
) -> None:
    y = yard()
    go_on, launch = threading.Event(), y.fleet._variants._launch

    def slow(card: Card, load: LoadOptions) -> Launch:
        assert go_on.wait(10)
        return launch(card, load)

    y.fleet._variants._launch = slow
    with pytest.raises(DeadlineExceeded, match="not begun"):
        await y.ask(deadline=time.monotonic() + 0.05)
    go_on.set()
    assert not y.notes.of_kind("load")
    assert [record.facts["code"] for record in y.notes.of_kind("refusal")] == ["deadline_exceeded"]


async def test_a_request_ends_when_its_time_is_over_and_gives_its_slot_back(yard: MakeYard) -> None:
    y = yard({"slots": 1})
    await y.ask()
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded, match="before the answer was complete"):
        await _run(y, '/fake {"tokens": 1000, "rate": 50}', deadline=began + 0.4)
    assert 0.3 < time.monotonic() - began < 2
    assert y.fleet.loaded()[0].busy == 0
    assert await y.ask('/fake {"text": "next"}') == "next"


async def test_a_deadline_cuts_a_prefill_too(yard: MakeYard) -> None:
    y = yard({"slots": 1})
    await y.ask()
    with pytest.raises(DeadlineExceeded):
        await _run(y, '/fake {"prefill": 60}', deadline=time.monotonic() + 0.3)


async def test_an_answer_in_time_is_whole(yard: MakeYard) -> None:
    y = yard()
    events = await _run(y, '/fake {"text": "a b c"}', deadline=time.monotonic() + 60)
    assert type(events[-1]).__name__ == "Finished"


async def test_who_waits_past_the_deadline_is_dropped(yard: MakeYard) -> None:
    y = yard({"slots": 1})
    async with y.lease():
        with pytest.raises(DeadlineExceeded, match="not begun"):
            await y.ask(deadline=time.monotonic() + 0.2)
        assert y.fleet.loaded()[0].waiting == 0


async def test_a_lease_counts_the_work_and_the_pace_of_its_worker(yard: MakeYard) -> None:
    y = yard()
    async with y.lease(work=7) as lease:
        assert lease.work == 7
        events = lease.run(chat('/fake {"tokens": 100, "rate": 200}'))
        seen = 0
        async for _ in events:
            seen += 1
            if seen == 20:
                break
        assert lease.work == 4 * 20
        assert y.fleet.loaded()[0].rate > 5
        await events.aclose()


async def test_a_lease_says_what_answers(yard: MakeYard) -> None:
    y = yard()
    async with y.lease() as lease:
        assert (lease.launch.engine, lease.launch.build) == ("fake", "fake")
        assert await answer(lease, '/fake {"text": "x"}') == "x"


async def test_a_worker_that_dies_idle_is_not_charged_to_anybody(yard: MakeYard) -> None:
    y = yard(keep_alive=math.inf)
    await y.ask()
    os.kill(y.pids[0], signal.SIGKILL)
    await until(lambda: y.fleet.loaded() == [])
    assert y.fleet._scheduler.tickets == 0
    assert y.fleet.taken == Size() or await _settled(y)


async def _run(y: Yard, text: str, **options: Any) -> list[Event]:
    async with y.lease(**options) as lease:
        return [event async for event in lease.run(chat(text))]


async def _settled(y: Yard) -> bool:
    await until(lambda: y.fleet.taken == Size(), 8)
    return True
