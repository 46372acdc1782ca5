"""Leases on real fake workers: load, share, reload, evict, leave."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any

import pytest

from inhouse.core.errors import (
    BadRequest,
    DeadlineExceeded,
    Draining,
    OutOfMemory,
    QueueFull,
)
from inhouse.core.requests import LoadOptions

from .conftest import MakeYard, Yard, answer, gone, until


async def test_a_request_loads_the_model_and_is_answered(yard: MakeYard) -> None:
    y = yard({"text": "hello there"})
    assert await y.ask() == "hello there"
    [one] = y.fleet.loaded()
    assert (one.state, one.slots, one.busy, one.waiting, one.context_length) == ("ready", 4, 0, 0, 8192)
    assert one.memory > 2**20
    assert 290 < one.expires_in <= 300
    assert one.engine == "fake"
    assert y.notes.lines == [("loaded", "fake:latest")]


async def test_a_lease_tells_the_time_it_took_to_load(yard: MakeYard) -> None:
    y = yard({"load_seconds": 0.2})
    async with y.lease() as lease:
        assert 0.2 <= lease.load < 5
        assert lease.queue < lease.load
    async with y.lease() as lease:
        assert lease.load == 0.0
        assert lease.queue < 0.1


async def test_requests_that_come_together_share_one_load(yard: MakeYard) -> None:
    y = yard({"text": "x", "load_seconds": 0.1})
    assert await asyncio.gather(*(y.ask() for _ in range(12))) == ["x"] * 12
    assert len(y.launches) == 1
    assert len(y.pids) == 1


async def test_no_more_run_than_there_are_slots(yard: MakeYard) -> None:
    y = yard({"slots": 2})
    running, most = 0, 0

    async def one() -> None:
        nonlocal running, most
        async with y.lease() as lease:
            running += 1
            most = max(most, running)
            await answer(lease, '/fake {"tokens": 5, "rate": 100}')
            running -= 1

    await asyncio.gather(*(one() for _ in range(6)))
    assert most == 2


async def test_a_wide_request_holds_several_slots(yard: MakeYard) -> None:
    y = yard({"slots": 2})
    async with y.lease(weight=2):
        [one] = y.fleet.loaded()
        assert one.busy == 2
        other = asyncio.create_task(y.ask())
        await until(lambda: y.fleet.loaded()[0].waiting == 1)
    await other


# variants


async def test_a_smaller_wish_is_served_by_a_larger_context(yard: MakeYard) -> None:
    y = yard()
    await y.ask(context=4096)
    [pid] = y.pids
    for context in (4096, 2048):
        await y.ask(context=context)
    async with y.lease(context=1024) as lease:
        assert lease.context_length == 4096
    assert y.pids == [pid]
    assert len(y.launches) == 1


async def test_a_larger_wish_reloads_after_the_running_requests(yard: MakeYard) -> None:
    y = yard()
    async with y.lease(context=2048) as lease:
        [pid] = y.pids
        larger = asyncio.create_task(y.ask(context=4096))
        await until(lambda: len(y.launches) == 2)
        assert await answer(lease, '/fake {"text": "undisturbed", "rate": 20}') == "undisturbed"
        assert y.pids == [pid]
    await larger
    [one] = y.fleet.loaded()
    assert one.context_length == 4096
    assert one.pid != pid
    assert ("evicted", "fake:latest", "reloaded") in y.notes.lines


async def test_no_wish_takes_what_runs_if_that_is_not_less_than_the_default(yard: MakeYard) -> None:
    y = yard({"context_length": 4096})
    await y.ask(context=8192)
    [pid] = y.pids
    await y.ask()
    await y.ask(load=LoadOptions(context_length=0, gpu_layers=-1))
    assert y.pids == [pid]


async def test_no_wish_reloads_what_is_less_than_the_default(yard: MakeYard) -> None:
    y = yard({"context_length": 4096})
    await y.ask(context=1024)
    async with y.lease() as lease:
        assert lease.context_length == 4096


async def test_a_wish_beyond_the_model_does_not_reload_for_ever(yard: MakeYard) -> None:
    y = yard()
    await y.ask(context=y.a.context_length)
    [pid] = y.pids
    await y.ask(context=10**9)
    await y.ask(context=10**9)
    assert y.pids == [pid]


async def test_other_options_in_conflict_reload(yard: MakeYard) -> None:
    y = yard()
    await y.ask(load=LoadOptions(threads=1))
    [pid] = y.pids
    await y.ask()
    assert y.pids == [pid]
    await y.ask(load=LoadOptions(threads=2))
    assert y.pids != [pid]
    assert len(y.pids) == 1


# memory and time


async def test_an_idle_model_gives_way_to_another(yard: MakeYard) -> None:
    y = yard(max_loaded=1)
    await y.ask()
    [old] = y.pids
    await y.ask(card=y.b)
    [one] = y.fleet.loaded()
    assert one.card == y.b
    assert gone(old)
    assert ("evicted", "fake:latest", "evicted") in y.notes.lines


async def test_two_models_under_steady_load_share_one_place(yard: MakeYard) -> None:
    y = yard({"slots": 1}, max_loaded=1)
    stop = False

    async def steady() -> None:
        while not stop:
            await y.ask('/fake {"tokens": 2, "rate": 100}')

    load = [asyncio.create_task(steady()) for _ in range(3)]
    await until(lambda: bool(y.pids))
    async with asyncio.timeout(10):
        await y.ask(card=y.b)
    stop = True
    await asyncio.gather(*load)


async def test_a_model_larger_than_the_budget_is_refused(yard: MakeYard) -> None:
    y = yard({"memory": 2**31}, memory=2**30)
    with pytest.raises(OutOfMemory):
        await y.ask()
    assert y.fleet.loaded() == []


async def test_what_the_launch_refuses_is_raised_to_every_one_who_asked(yard: MakeYard) -> None:
    y = yard({"no_such_option": 1})
    results = await asyncio.gather(y.ask(), y.ask(), return_exceptions=True)
    first, second = results
    assert isinstance(first, BadRequest)
    assert isinstance(second, BadRequest)
    assert first is not second


async def test_keep_alive_runs_out(yard: MakeYard) -> None:
    y = yard(keep_alive=0.2)
    await y.ask()
    [pid] = y.pids
    await until(lambda: y.fleet.loaded() == [])
    assert gone(pid)
    assert ("evicted", "fake:latest", "expired") in y.notes.lines


async def test_keep_alive_of_a_request_holds_for_the_model(yard: MakeYard) -> None:
    y = yard()
    await y.ask(keep_alive=math.inf)
    assert y.fleet.loaded()[0].expires_in == math.inf
    await y.ask(keep_alive=0.0)
    await until(lambda: y.fleet.loaded() == [])


# stop, drain, close


async def test_stop_waits_for_the_running_request(yard: MakeYard) -> None:
    y = yard()
    async with y.lease() as lease:
        stopping = asyncio.create_task(y.fleet.stop(y.a))
        assert await answer(lease, '/fake {"text": "a b c", "rate": 50}') == "a b c"
        assert not stopping.done()
    assert await stopping
    assert y.fleet.loaded() == []
    assert await y.fleet.stop(y.a) is False


async def test_stop_does_not_wait_for_ever(yard: MakeYard) -> None:
    y = yard()
    async with y.lease():
        assert await y.fleet.stop(y.a, wait=0.05)
        assert len(y.fleet.loaded()) == 1
    await until(lambda: y.fleet.loaded() == [])


async def test_draining_lets_running_requests_end_and_refuses_new_ones(yard: MakeYard) -> None:
    y = yard()
    running = asyncio.create_task(y.ask('/fake {"text": "to the end", "rate": 20}'))
    await until(lambda: bool(y.fleet.loaded()) and y.fleet.loaded()[0].busy == 1)
    drain = asyncio.create_task(y.fleet.drain(10))
    await asyncio.sleep(0)
    with pytest.raises(Draining):
        await y.ask()
    await drain
    assert await running == "to the end"


async def test_draining_gives_up_in_time_and_closing_cuts_what_is_left(yard: MakeYard) -> None:
    y = yard()
    stream = asyncio.create_task(y.ask('/fake {"tokens": 100000, "rate": 20}'))
    await until(lambda: bool(y.fleet.loaded()) and y.fleet.loaded()[0].busy == 1)
    began = time.monotonic()
    await y.fleet.drain(0.1)
    assert time.monotonic() - began < 2
    await y.fleet.close()
    with pytest.raises(Exception, match="stopped"):
        await stream


async def test_closing_refuses_those_who_wait(yard: MakeYard) -> None:
    y = yard({"never_ready": True})
    waiting = asyncio.create_task(y.ask())
    await until(lambda: bool(y.pids))
    await y.fleet.close()
    with pytest.raises(Draining):
        await waiting
    with pytest.raises(Draining):
        await y.ask()


# overload


async def test_a_full_queue_is_refused_at_once(yard: MakeYard) -> None:
    y = yard({"slots": 1}, max_queue=2)
    async with y.lease():
        waiting = [asyncio.create_task(y.ask()) for _ in range(2)]
        await until(lambda: y.fleet.loaded()[0].waiting == 2)
        with pytest.raises(QueueFull) as caught:
            await y.ask()
        assert caught.value.retry_after
    await asyncio.gather(*waiting)


async def test_waiting_has_a_deadline(yard: MakeYard) -> None:
    y = yard({"slots": 1}, queue_timeout=1.5)
    await y.ask()
    async with y.lease():
        with pytest.raises(DeadlineExceeded):
            await y.ask()
        assert y.fleet.loaded()[0].waiting == 0


# leaving


async def free(y: Yard) -> None:
    """All slots are free, on both sides of the socket."""
    [variant] = y.fleet._variants
    assert variant.worker is not None
    engine: Any = variant.worker.engine
    deadline = time.monotonic() + 2
    while any(slot["is_processing"] for slot in await engine.slots()):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    assert y.fleet.loaded()[0].busy == 0


async def cancelled(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_leaving_in_mid_stream_frees_the_slot(yard: MakeYard) -> None:
    y = yard({"slots": 1})
    await y.ask()
    task = asyncio.create_task(y.ask('/fake {"tokens": 100000, "rate": 50}'))
    await until(lambda: y.fleet.loaded()[0].busy == 1)
    await cancelled(task)
    await free(y)
    assert await y.ask('/fake {"text": "next"}') == "next"


async def test_leaving_during_prefill_frees_the_slot(yard: MakeYard) -> None:
    y = yard({"slots": 1})
    await y.ask()
    task = asyncio.create_task(y.ask('/fake {"prefill": 100}'))
    await until(lambda: y.fleet.loaded()[0].busy == 1)
    await cancelled(task)
    await free(y)


async def test_leaving_the_queue_gives_up_the_place(yard: MakeYard) -> None:
    y = yard({"slots": 1})
    async with y.lease():
        task = asyncio.create_task(y.ask())
        await until(lambda: y.fleet.loaded()[0].waiting == 1)
        await cancelled(task)
        assert y.fleet.loaded()[0].waiting == 0
    await free(y)


async def test_a_load_goes_on_while_somebody_waits_and_ends_with_the_last(yard: MakeYard) -> None:
    y = yard({"never_ready": True})
    first, second = asyncio.create_task(y.ask()), asyncio.create_task(y.ask())
    await until(lambda: bool(y.fleet.loaded()) and y.fleet.loaded()[0].waiting == 2 and bool(y.pids))
    [pid] = y.pids
    await cancelled(first)
    assert y.pids == [pid]
    await cancelled(second)
    await until(lambda: gone(pid), 2)
    assert y.fleet.loaded() == []
    y.options = {"text": "later"}
    assert await y.ask() == "later"


async def test_leaving_while_the_load_is_planned_leaves_nothing_behind(yard: MakeYard) -> None:
    y = yard()
    task = asyncio.create_task(y.ask())
    await asyncio.sleep(0)
    await cancelled(task)
    assert y.fleet.loaded() == []
    assert await y.ask()


async def test_a_grant_in_the_same_tick_as_a_cancel_is_given_back(yard: MakeYard) -> None:
    y = yard({"slots": 1})
    async with y.lease():
        task = asyncio.create_task(y.ask())
        await until(lambda: y.fleet.loaded()[0].waiting == 1)
    assert y.fleet.loaded()[0].busy == 1  # granted to a task that has not run yet
    await cancelled(task)
    assert y.fleet.loaded()[0].busy == 0
    await y.ask()
