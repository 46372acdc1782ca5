"""What is left of workers and requests when they are gone: nothing that grows with their number."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest

from inhouse.core.errors import EngineError
from inhouse.fleet.lease import Lease, Place
from inhouse.fleet.model import Model
from inhouse.fleet.output import Output
from inhouse.fleet.process import Process, _Child
from inhouse.fleet.variants import Variant
from inhouse.fleet.worker import Worker

from .conftest import MakeYard, TinyEngine, Yard, until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")

PASSING = (Worker, Process, _Child, Output, Variant, Model, Place, Lease, TinyEngine, asyncio.Task)
"""Kinds of what lives as long as a worker or a request."""
ROUNDS, LATEST = 5, 2
"""The latest may be held a little longer, by who looks at the workers' memory."""
LONG = '/fake {"tokens": 100000, "rate": 50}'


def living() -> Counter[str]:
    gc.collect()
    return Counter(type(one).__name__ for one in gc.get_objects() if isinstance(one, PASSING))


async def running(y: Yard) -> asyncio.Task[str]:
    task = asyncio.create_task(y.ask(LONG))
    await until(lambda: bool(y.fleet.loaded()) and y.fleet.loaded()[0].busy == 1)
    return task


async def killed_idle(y: Yard) -> None:
    await y.ask()
    os.kill(y.pids[0], signal.SIGKILL)


async def killed_busy(y: Yard) -> None:
    task = await running(y)
    os.kill(y.pids[0], signal.SIGKILL)
    with pytest.raises(EngineError):
        await task
    await y.ask()  # or it would be a crash loop
    await y.fleet.stop(y.a)


async def left_by_its_client(y: Yard) -> None:
    task = await running(y)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await y.fleet.stop(y.a)


async def stopped(y: Yard) -> None:
    await y.ask()
    await y.fleet.stop(y.a)


@pytest.mark.parametrize("end", [killed_idle, killed_busy, left_by_its_client, stopped])
async def test_what_is_gone_leaves_nothing_in_memory(
    yard: MakeYard, end: Callable[[Yard], Awaitable[None]]
) -> None:
    y = yard()
    before = living()
    for _ in range(ROUNDS):
        await end(y)
        await until(lambda: y.fleet.loaded() == [] and not y.fleet._keeper.tasks)
    grown = living() - before
    assert max(grown.values(), default=0) <= LATEST, grown


async def test_what_lives_is_counted(yard: MakeYard) -> None:
    y = yard()
    before = living()
    task = await running(y)
    grown = living() - before
    assert {"Worker", "Process", "_Child", "Variant", "Model", "Place", "Lease", "TinyEngine"} <= set(grown)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
