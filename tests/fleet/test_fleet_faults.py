"""Workers that die, hang, never come up or refuse to go; and a parent that is killed."""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from inhouse.core.engine import Launch
from inhouse.core.errors import (
    CrashLoop,
    Draining,
    EngineError,
    LoadFailed,
    OutOfMemory,
    WorkerDied,
    WorkerHung,
)
from inhouse.core.models import Card
from inhouse.fleet.worker import Checkable

from .conftest import MakeYard, TinyEngine, Yard, gone, until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")


async def streaming(y: Yard, text: str = '/fake {"tokens": 100000, "rate": 50}') -> asyncio.Task[str]:
    task = asyncio.create_task(y.ask(text))
    await until(lambda: bool(y.fleet.loaded()) and y.fleet.loaded()[0].busy == 1)
    return task


async def test_a_worker_killed_while_idle_is_started_by_the_next_request(yard: MakeYard) -> None:
    y = yard({"text": "back"})
    await y.ask()
    [pid] = y.pids
    os.kill(pid, signal.SIGKILL)
    await until(lambda: y.fleet.loaded() == [])
    assert await y.ask() == "back"
    assert ("restarted", "fake:latest") in y.notes.lines


async def test_a_worker_killed_in_mid_stream_fails_its_requests_soon_and_the_next_works(
    yard: MakeYard,
) -> None:
    y = yard()
    task = await streaming(y)
    os.kill(y.pids[0], signal.SIGKILL)
    began = time.monotonic()
    with pytest.raises(WorkerDied, match="SIGKILL"):
        await task
    assert time.monotonic() - began < 2
    assert await y.ask('/fake {"text": "back"}') == "back"


async def test_a_worker_that_dies_in_prefill_fails_its_request_with_its_last_words(yard: MakeYard) -> None:
    y = yard()
    with pytest.raises(WorkerDied, match="exit code 3") as caught:
        await y.ask('/fake {"die_in": "prefill", "prefill": 0.05}')
    assert "dying as told" in caught.value.hint
    assert "dying as told" in caught.value.detail


async def test_those_who_wait_survive_the_death_of_the_worker(yard: MakeYard) -> None:
    y = yard({"slots": 1})
    dying = asyncio.create_task(y.ask('/fake {"die_after": 3, "tokens": 10, "rate": 20}'))
    await until(lambda: bool(y.fleet.loaded()) and y.fleet.loaded()[0].busy == 1)
    waiting = asyncio.create_task(y.ask('/fake {"text": "served"}'))
    with pytest.raises(WorkerDied):
        await dying
    assert await waiting == "served"


async def test_a_hung_worker_is_killed_and_its_requests_say_so(yard: MakeYard) -> None:
    y = yard(hang_timeout=0.5)
    task = await streaming(y)
    [pid] = y.pids
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(WorkerHung):
        await task
    assert gone(pid)
    assert await y.ask('/fake {"text": "back"}') == "back"


async def test_a_worker_that_freezes_by_itself_is_noticed(yard: MakeYard) -> None:
    y = yard(hang_timeout=0.5)
    with pytest.raises(WorkerHung):
        await y.ask('/fake {"freeze": true}')


async def test_an_error_of_a_healthy_worker_stays_that_error(yard: MakeYard) -> None:
    y = yard()
    await y.ask()
    began = time.monotonic()
    with pytest.raises(EngineError, match="told so") as caught:
        await y.ask('/fake {"error": {"status": 500, "message": "told so"}}')
    assert type(caught.value) is EngineError
    assert time.monotonic() - began < 1  # it did not wait for a verdict
    assert len(y.pids) == 1


async def test_a_worker_that_is_never_ready_fails_the_load_in_time(yard: MakeYard) -> None:
    y = yard({"never_ready": True}, load_timeout=0.5)
    with pytest.raises(LoadFailed, match=r"not ready after 0\.5 s") as caught:
        await y.ask()
    assert "fake engine: 4 slots" in caught.value.detail
    assert y.fleet.loaded() == []


async def test_a_worker_that_freezes_while_it_loads_is_killed_at_the_deadline(yard: MakeYard) -> None:
    y = yard({"never_ready": True}, load_timeout=1.5)
    task = asyncio.create_task(y.ask())
    await until(lambda: bool(y.pids))
    [pid] = y.pids
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(LoadFailed):
        await task
    assert gone(pid)


async def test_crashing_at_start_fails_at_once_with_the_reason_and_then_backs_off(yard: MakeYard) -> None:
    y = yard({"crash_at_start": "error: bad magic in /home/me/models/x.gguf"})
    for _ in range(3):
        with pytest.raises(LoadFailed, match="exit code 1") as caught:
            await y.ask()
        assert caught.value.hint == "error: bad magic in x.gguf"
        assert "/home/me" in caught.value.detail
        assert "/home/me" not in caught.value.message
    with pytest.raises(CrashLoop, match="3 times") as loop:
        await y.ask()
    assert loop.value.retry_after is not None
    assert 0 < loop.value.retry_after <= 1
    assert len(y.notes.lines) == 2  # restarted twice: the refused request started nothing


async def test_after_the_back_off_a_mended_model_loads(yard: MakeYard) -> None:
    y = yard({"crash_at_start": "no"})
    for _ in range(3):
        with pytest.raises(LoadFailed):
            await y.ask()
    y.options = {"text": "mended"}

    async def served() -> bool:
        try:
            return await y.ask() == "mended"
        except CrashLoop as error:
            await asyncio.sleep(error.retry_after or 0)
            return False

    async with asyncio.timeout(5):
        while not await served():
            pass


async def test_all_who_wait_for_a_load_get_its_failure(yard: MakeYard) -> None:
    y = yard({"crash_at_start": "no"})
    results = await asyncio.gather(*(y.ask() for _ in range(3)), return_exceptions=True)
    assert all(isinstance(r, LoadFailed) for r in results)
    assert len({id(r) for r in results}) == 3


async def test_a_worker_that_ignores_sigterm_is_killed(yard: MakeYard) -> None:
    y = yard({"ignore_sigterm": True}, stop_grace=0.3)
    await y.ask()
    [pid] = y.pids
    began = time.monotonic()
    assert await y.fleet.stop(y.a)
    assert 0.2 < time.monotonic() - began < 2
    assert gone(pid)


async def test_a_command_that_does_not_exist_fails_the_load(yard: MakeYard) -> None:
    y = yard()
    real = y._launch
    y.fleet._variants._launch = lambda card, load: dataclasses.replace(
        real(card, load), command=("/no/such/thing",)
    )
    with pytest.raises(LoadFailed) as caught:
        await y.ask()
    assert "/no/such" not in caught.value.message + caught.value.hint


async def test_a_failure_nobody_thought_of_fails_the_load_and_does_not_repeat(yard: MakeYard) -> None:
    y = yard()
    starts = 0

    class Broken(TinyEngine):
        async def healthy(self, timeout: float) -> bool:
            nonlocal starts
            starts += 1
            raise RuntimeError("surprise")

    y.fleet._keeper.connect = Broken
    with pytest.raises(LoadFailed) as caught:
        await y.ask()
    assert "surprise" in caught.value.detail
    assert starts == 1


async def test_a_loop_that_is_being_cancelled_starts_no_new_worker(yard: MakeYard) -> None:
    y = yard({"slots": 1})
    async with y.lease():
        [pid] = y.pids
        waiting = asyncio.create_task(y.ask())
        await until(lambda: y.fleet.loaded()[0].waiting == 1)
        for task in y.fleet._keeper.tasks:
            task.cancel()
        with pytest.raises(Draining):
            await waiting
    await until(lambda: gone(pid))
    await y.fleet.close()
    assert [line for line in y.notes.lines if line[0] == "loaded"] == [("loaded", "fake:latest")]


async def test_a_frozen_worker_can_still_be_closed(yard: MakeYard) -> None:
    y = yard(stop_grace=0.2)
    await y.ask()
    [pid] = y.pids
    os.kill(pid, signal.SIGSTOP)
    await y.fleet.close()
    assert gone(pid)


PARENT = """
import asyncio, sys
from pathlib import Path
from fleet.conftest import Yard
from inhouse.fleet import FleetSettings

async def main():
    yard = Yard(Path(sys.argv[1]), {}, FleetSettings())
    await yard.ask()
    print(yard.pids[0], flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


def _children_of_killed(spawn: Callable[[], subprocess.Popen[str]]) -> int:
    with spawn() as parent:
        try:
            assert parent.stdout is not None
            pid = int(parent.stdout.readline())
            assert psutil.pid_exists(pid)
        finally:
            parent.kill()
    return pid


async def test_no_worker_outlives_a_killed_parent(sockets: Path) -> None:
    tests = str(Path(__file__).parents[1])

    def spawn() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", PARENT, str(sockets)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "PYTHONPATH": tests},
        )

    pid = await asyncio.to_thread(_children_of_killed, spawn)

    def ended() -> bool:  # the reaper of orphans may be slow or absent: a zombie holds nothing any more
        try:
            return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    await until(ended, 2)


async def test_a_machine_that_cannot_be_asked_for_its_memory_costs_no_request_its_answer(
    yard: MakeYard,
) -> None:
    def out_of_descriptors(mapped: int) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    y = yard({"crash_at_start": "no"}, available=out_of_descriptors)
    async with asyncio.timeout(10):
        with pytest.raises(LoadFailed):
            await y.ask()
        y.options = {"text": "here"}
        assert await y.ask() == "here"
    assert y.fleet._scheduler.tickets == 0


async def test_a_worker_that_cannot_be_talked_to_is_a_failed_load_and_not_the_end_of_its_model(
    yard: MakeYard,
) -> None:
    def broken(card: Card, launch: Launch) -> TinyEngine:
        raise OSError(errno.EMFILE, "Too many open files")

    y = yard({"text": "here"})
    connect, y.fleet._keeper.connect = y.fleet._keeper.connect, broken
    async with asyncio.timeout(10):
        for _ in range(2):
            with pytest.raises(LoadFailed):
                await y.ask()
        y.fleet._keeper.connect = connect
        assert await y.ask() == "here"


async def test_another_plan_that_cannot_be_talked_to_is_a_failed_load_too(yard: MakeYard) -> None:
    y = yard({"crash_at_start": "no"})
    connect = y.fleet._keeper.connect
    y.relaunches = [{"text": "here"}]

    def broken_later(card: Card, launch: Launch) -> Checkable:
        if len(y.launches) > 1:
            raise OSError(errno.EMFILE, "Too many open files")
        return connect(card, launch)

    y.fleet._keeper.connect = broken_later
    async with asyncio.timeout(10):
        with pytest.raises(LoadFailed):
            await y.ask()
        y.fleet._keeper.connect = connect
        assert await y.ask() == "here"
    assert len(y.fleet.loaded()) == 1


async def test_what_waits_for_a_worker_that_died_is_served_by_the_plan_that_takes_its_place(
    yard: MakeYard,
) -> None:
    y = yard({"slots": 1})
    y.revivals = [{"text": "otherwise"}, OutOfMemory("no room", hint="x")]
    dying = asyncio.create_task(y.ask('/fake {"die_after": 3, "tokens": 10, "rate": 20}'))
    await until(lambda: bool(y.fleet.loaded()) and y.fleet.loaded()[0].busy == 1)
    waiting = asyncio.create_task(y.ask())
    with pytest.raises(WorkerDied):
        await dying
    assert await waiting == "otherwise"
    assert len(y.launches) == 2
    os.kill(y.pids[0], signal.SIGKILL)  # and where none can be made the same one serves
    await until(lambda: y.fleet.loaded() == [])
    assert await y.ask() == "otherwise"
